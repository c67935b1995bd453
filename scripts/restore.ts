import { openDatabase } from '../functions/database.ts';
import { makeLog } from '../functions/log.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { databaseOf, databaseSize } from '../functions/restore-database.ts';
import type { Settings } from '../functions/settings.ts';
import { loadSettings } from '../functions/vault.ts';
import { shelfOf } from '../workers/backup-files.ts';
import { readManifest } from '../workers/manifest.ts';
import { restore } from '../workers/restore.ts';
import { sizeOf, workOnTerminal } from './backup-work.ts';
import { askForYes, readArguments } from './terminal.ts';

// npm run restore -- NAME: restores a backup, and asks before it overwrites. It ends with 0 only where all went well.

const usage = 'npm run restore -- NAME [--into DATABASE] [--keep] [--yes]; npm run backup -- list tells the names.';

async function run(name: string, { into, keep, yes }: { into?: string; keep?: boolean; yes?: boolean }): Promise<void> {
  const settings = await loadSettings(process.env);
  const { at, version, rows, bytes } = await readManifest(shelfOf(settings, name));
  const { url: databaseUrl, stop } = await server(settings);
  try {
    const target = into ?? databaseOf(databaseUrl);
    const former = await databaseSize(databaseUrl, target);
    console.log(`${name}: the data of ${at}, from Postgres ${version}, ${rows} rows, ${sizeOf(bytes)}`);
    if (former !== undefined && !yes) {
      const { host } = new URL(databaseUrl);
      console.log(
        `The database ${target} at ${host} (${sizeOf(former)}) is going to be replaced, and what it holds ${keep ? 'set aside' : 'lost'}.`,
      );
      await askForYes();
    }
    const log = makeLog({ ...settings, logLevel: 'warn' });
    const restored = await restore(workOnTerminal({ databaseUrl, settings, log }), {
      name,
      into: target,
      keep: keep ?? false,
    });
    console.log(`Restored into ${target} in ${restored.seconds.toFixed(1)} s; every table is what it was.`);
    if (restored.former) console.log(`What was there before is the database ${restored.former}.`);
  } finally {
    await stop();
  }
}

/** The database itself may be what is gone: then its server is enough. */
async function server(settings: Settings): Promise<{ url: string; stop(): Promise<void> }> {
  const { databaseUrl } = settings;
  if (!databaseUrl) return openDatabase(settings, { shared: true, log: console.log });
  await databaseSize(databaseUrl, databaseOf(databaseUrl)).catch((cause) => {
    throw new Refusal(`The server of DATABASE_URL does not answer: ${cause.message}`, {
      remedy: 'Start it, or correct DATABASE_URL.',
      cause,
    });
  });
  return { url: databaseUrl, stop: async () => {} };
}

await runScript(async () => {
  const { values, positionals } = readArguments(
    { into: { type: 'string' }, keep: { type: 'boolean' }, yes: { type: 'boolean' } },
    usage,
  );
  const [name] = positionals;
  if (!name) throw new Refusal('Restore which backup?', { remedy: usage });
  await run(name, values);
});
process.exit();
