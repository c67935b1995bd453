import { provenAt } from '../functions/backup-records.ts';
import { withDatabase } from '../functions/database.ts';
import { runningEmbedded } from '../functions/embedded.ts';
import { makeLog } from '../functions/log.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { openStorage } from '../functions/storage.ts';
import { loadSettings } from '../functions/vault.ts';
import { backUp } from '../workers/backup.ts';
import { listBackups, proveBackup, pruneBackups } from '../workers/backup-care.ts';
import type { BackupWork } from '../workers/task.ts';
import { sizeOf, workOnTerminal } from './backup-work.ts';
import { readArguments } from './terminal.ts';

// npm run backup: makes a backup; list, prove and prune what there is. It ends with 0 only where all went well, for cron and monitors.

const usage = [
  'npm run backup -- [--data-only | --section NAME] [--form portable|pg_dump] [--prove]',
  'npm run backup -- list',
  'npm run backup -- prove [NAME]',
  'npm run backup -- prune',
].join('\n');

type Options = { 'data-only'?: boolean; section?: string; form?: string; prove?: boolean };

const commands: Record<string, (work: BackupWork, name: string | undefined, options: Options) => Promise<void>> = {
  make,
  async prove(work, name) {
    tellProof(await proveBackup(work, name));
  },
  async prune(work) {
    const { removed, found, missing } = await pruneBackups(work);
    for (const each of found) console.log(`${each} was not known here, and is noted`);
    for (const each of missing) console.log(`${each} is missing in the storage`);
    console.log(`${removed.length} removed${removed.length > 0 ? `: ${removed.join(', ')}` : ''}`);
  },
};

async function make(work: BackupWork, _: string | undefined, options: Options): Promise<void> {
  const { form } = options;
  if (form !== undefined && form !== 'portable' && form !== 'pg_dump') {
    throw new Refusal(`There is no form "${form}".`, { remedy: usage });
  }
  const parts = options['data-only'] ? 'data' : options.section;
  const began = performance.now();
  const manifest = await backUp(work, { parts, form });
  const { name, kind, rows, bytes } = manifest;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const by = manifest.form === 'pg_dump' ? 'by pg_dump' : 'portable';
  console.log(`${name}: ${kind}, ${by}, ${rows} rows, ${sizeOf(bytes)}, ${seconds} s`);
  if (options.prove) tellProof(await proveBackup(work, name));
  else console.log(`It counts once it is proven: npm run backup -- prove ${name}`);
}

function tellProof({ name, seconds, rows }: { name: string; seconds: number; rows: number }): void {
  console.log(`${name} is proven: ${rows} rows restored and compared in ${seconds.toFixed(1)} s`);
}

/** Needs no database: it is what one looks at when that is gone. */
async function list(): Promise<void> {
  const settings = await loadSettings(process.env);
  const storage = openStorage(settings.backupStorage, settings);
  const all = await listBackups(storage, settings.backupKey ?? []);
  // What is listed is what the storage holds: a list is wanted most when the database is gone.
  const url = settings.databaseUrl ?? runningEmbedded(settings.plinthData);
  const proven = url ? await provenAt(url).catch(() => undefined) : undefined;
  for (const each of all) {
    if ('problem' in each) console.log(`${each.name}  ${each.problem}`);
    else {
      const { at, kind, form, parts, version, rows, bytes } = each.manifest;
      const isProven = proven?.has(each.name) ? 'proven' : 'NOT PROVEN: no backup yet';
      console.log(
        `${each.name}  ${proven ? isProven : 'proof not known: no database answers'}  ${at}  ${kind.padEnd(7)}  ${form.padEnd(8)}  ${parts}  Postgres ${version}  ${rows} rows  ${sizeOf(bytes)}`,
      );
    }
  }
  console.log(`${all.length} in ${storage.place}`);
}

await runScript(async () => {
  const { values, positionals } = readArguments(
    {
      'data-only': { type: 'boolean' },
      section: { type: 'string' },
      form: { type: 'string' },
      prove: { type: 'boolean' },
    },
    usage,
  );
  const [name = 'make', which] = positionals;
  if (name === 'list') return list();
  const command = commands[name];
  if (!command) throw new Refusal(`There is no command "${name}".`, { remedy: usage });
  const settings = await loadSettings(process.env);
  const log = makeLog({ ...settings, logLevel: 'warn' });
  await withDatabase(settings, { log: console.log, upToDate: false }, (databaseUrl) =>
    command(workOnTerminal({ databaseUrl, settings, log }), which, values),
  );
});
process.exit();
