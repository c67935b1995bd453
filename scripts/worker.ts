import { bringUpToDate, schemaFile } from '../functions/apply.ts';
import { openDatabase } from '../functions/database.ts';
import { makeLog } from '../functions/log.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { loadSettings } from '../functions/vault.ts';
import { tasks } from '../workers/tasks.ts';
import { startWorkers } from '../workers/workers.ts';
import { stopAsked } from './stop-signal.ts';

// npm run worker: runs jobs, and serves no one; any number of these beside any number of servers.

await runScript(async () => {
  let asked = false;
  const stopping = new AbortController();
  const stop = stopAsked().then(() => {
    asked = true;
    stopping.abort();
  });
  const settings = await loadSettings(process.env);
  const log = makeLog(settings);
  const report = (message: string): void => log.info(message);
  const database = await openDatabase(settings, { shared: true, log: report, signal: stopping.signal });
  try {
    const { development } = settings;
    await bringUpToDate({ databaseUrl: database.url, schemaFile, development, report });
    const workers = await startWorkers({ databaseUrl: database.url, settings, tasks, log });
    console.log('Plinth works; Ctrl-C stops it');
    const lastWords = await Promise.race([stop, database.ended]);
    await workers.stop();
    if (!asked) throw new Refusal(`Postgres has ended by itself. The end of its log:\n${lastWords}`);
  } finally {
    await database.stop();
  }
});
process.exit();
