import { createServer } from 'node:net';
import { bringUpToDate, schemaFile } from '../functions/apply.ts';
import { openDatabase } from '../functions/database.ts';
import { noteAddress, refuseHeld } from '../functions/embedded/holder.ts';
import { makeLog } from '../functions/log.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { developmentKeys } from '../functions/signing-keys.ts';
import { loadSettings } from '../functions/vault.ts';
import { startServer } from '../graphql/server.ts';
import { fileOutbox, noGateway } from '../workers/outbox.ts';
import { openDoor } from '../workers/platforms/door.ts';
import { openExports } from '../workers/stored-exports.ts';
import { tasks } from '../workers/tasks.ts';
import { installEngines, startWorkers } from '../workers/workers.ts';
import { stopAsked } from './stop-signal.ts';

// Brings everything up in order, and takes down what is up in the opposite order: when asked to stop, and when a step
// fails, so that nothing is left half started.

const began = performance.now();

function report(message: string): void {
  console.log(`${((performance.now() - began) / 1000).toFixed(2).padStart(7)} s  ${message}`);
}

async function start(): Promise<void> {
  let asked = false;
  const stopping = new AbortController();
  const stop = stopAsked().then(() => {
    asked = true;
    stopping.abort();
  });
  const settings = await loadSettings(process.env);
  const keys = settings.jwtKeys ?? developmentKeys(settings);
  // Else the port would be told to be another program's.
  if (!settings.databaseUrl) refuseHeld(settings.plinthData);
  await checkPort(settings);
  const takeDown: (() => Promise<void>)[] = [];
  try {
    report(settings.databaseUrl ? 'Connecting to the database of DATABASE_URL' : 'Starting the embedded Postgres');
    const database = await openDatabase(settings, { shared: false, log: report, signal: stopping.signal });
    takeDown.push(database.stop);
    if (asked) return;
    report('Bringing the database up to date with schema.sql');
    await bringUpToDate({ databaseUrl: database.url, schemaFile, development: settings.development, report });
    if (asked) return;
    const log = makeLog(settings);
    // Before the API is built: else it would be built anew as their tables come.
    if (settings.workers) await installEngines(database.url, log);
    if (asked) return;
    report('Starting the server');
    const deliver = settings.development ? fileOutbox(settings.outbox, log) : noGateway();
    const openExport = openExports(settings);
    const platformDoor = openDoor(settings.credentialsKey);
    const given = { settings, keys, databaseUrl: database.url, log, deliver, openExport, platformDoor };
    const server = await startServer(given);
    takeDown.push(server.close);
    if (!settings.databaseUrl) noteAddress(settings.plinthData, server.url);
    if (settings.workers && !asked) {
      report('Starting the workers');
      const workers = await startWorkers({ databaseUrl: database.url, settings, tasks, log });
      takeDown.push(workers.stop);
    }
    report('Ctrl-C stops it');
    console.log(`Plinth is ready at ${server.url}`);
    const lastWords = await Promise.race([stop, database.ended]);
    if (!asked) throw new Refusal(`Postgres has ended by itself. The end of its log:\n${lastWords}`);
    report('Stopping');
  } finally {
    for (const down of takeDown.reverse()) await down();
  }
}

/** Before anything is started, because a port in use is the commonest mistake. */
function checkPort({ host, port }: Pick<Settings, 'host' | 'port'>): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const reasons: Record<string, string> = {
        EADDRINUSE: 'is in use by another program',
        EACCES: 'may not be used by this user',
        EADDRNOTAVAIL: 'is not an address of this machine',
      };
      const remedy = `Set PORT (and HOST) to another, such as PORT=${port + 1}, or stop the program that uses it.`;
      const reason = reasons[error.code ?? ''] ?? `cannot be listened on (${error.message})`;
      reject(new Refusal(`Port ${port} of ${host} (PORT, HOST) ${reason}.`, { remedy, cause: error }));
    });
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}

await runScript(start);
process.exit();
