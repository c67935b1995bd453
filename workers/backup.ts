import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { noteFailed, noteFinished, noteStarted } from '../functions/backup-records.ts';
import {
  copyOut,
  type Digest,
  digestOf,
  drop,
  joinMoment,
  type Moment,
  openMoment,
  openPlain,
  readSource,
  releasing,
  type Source,
  type SourceTable,
} from '../functions/backup-source.ts';
import { Refusal } from '../functions/refusal.ts';
import { isLost } from '../functions/requests.ts';
import { dump } from './backup-dump.ts';
import { type BackupFile, bestCompression, type Compression, type Shelf, shelfOf, store } from './backup-files.ts';
import { eachInLanes } from './lanes.ts';
import { filesOf, type Manifest, removeBackup, writeManifest } from './manifest.ts';
import { findTool } from './postgres-tools.ts';
import type { BackupWork } from './task.ts';

/**
 * Backs up one moment of the database, and notes it in operations.backups. By pg_dump where one of the right version is installed, else in
 * Plinth's portable form: schema.sql as it was applied, and each table's rows.
 *
 * @param options.parts all, data (without the schema), or the name of one section; the latter two are always portable.
 * @param options.form portable, for a backup that can be restored into any version of Postgres.
 * @throws Refusal where production has no key to encrypt with, where another backup is running, where the database is none of Plinth's.
 */
export async function backUp(
  work: BackupWork,
  { parts = 'all', form }: { parts?: string | undefined; form?: 'portable' | 'pg_dump' | undefined } = {},
): Promise<Manifest> {
  const { databaseUrl, settings, log } = work;
  const name = `${new Date().toISOString().replace(/\.\d+|[-:]/g, '')}-${randomBytes(2).toString('hex')}`;
  const shelf = shelfOf(settings, name);
  checkKeys(work, shelf);
  const notes = await openPlain(databaseUrl);
  try {
    const { major } = await readSource(notes, parts);
    const tool = parts === 'all' && form !== 'portable' ? await findTool('pg_dump', major) : undefined;
    if (form === 'pg_dump' && !tool) {
      throw new Refusal(`There is no pg_dump of Postgres ${major} or newer for all of the database.`, {
        remedy: 'Install the client programs of Postgres, or leave out --form.',
      });
    }
    const found = { name, form: tool ? ('pg_dump' as const) : ('portable' as const), parts };
    const kind = await noteStarted(notes, { ...found, storage: shelf.storage.place });
    try {
      const manifest = await write(work, shelf, { ...found, kind, tool });
      await noteFinished(notes, name, manifest.bytes, manifest.rows);
      return manifest;
    } catch (error) {
      await removeBackup(shelf.storage, name).catch(() => {});
      const told = isLost(error) && !work.signal.aborted ? lost(error as Error) : (error as Error);
      const problem = work.signal.aborted ? 'It was stopped.' : told.message;
      await noteFailed(databaseUrl, name, problem).catch((cause) => log.warn({ error: cause.message }, 'not noted'));
      throw told;
    }
  } finally {
    // With it goes the lock that says that a backup is running.
    drop(notes);
  }
}

function lost(cause: Error): Refusal {
  return new Refusal(`The connection to the database was lost: ${cause.message}`, { remedy: 'Try again.', cause });
}

/** Nothing secret leaves production in the clear unless someone has said so. */
function checkKeys({ settings, log }: BackupWork, { keys }: Shelf): void {
  if (keys.length > 0) return;
  if (!settings.development && !settings.backupPlain) {
    throw new Refusal('There is no key to encrypt the backup with (BACKUP_KEY).', {
      remedy:
        'Make one: head -c 32 /dev/urandom | base64 | tr +/ -_ | tr -d =; keep it elsewhere than the backups. Or set BACKUP_PLAIN=true.',
    });
  }
  log.warn('The backup is not encrypted: BACKUP_KEY is not set');
}

type Wanted = Pick<Manifest, 'name' | 'kind' | 'form' | 'parts'> & { tool: Awaited<ReturnType<typeof findTool>> };

async function write(work: BackupWork, shelf: Shelf, { tool, ...wanted }: Wanted): Promise<Manifest> {
  const { databaseUrl, signal, progress } = work;
  const startedAt = new Date().toISOString();
  const moment = await openMoment(databaseUrl);
  try {
    const source = await readSource(moment.client, wanted.parts);
    const compression = bestCompression;
    const dumped = tool ? await dump(work, shelf, { tool, snapshot: moment.snapshot }) : [];
    const tables = await readTables(work, shelf, moment, source, tool ? undefined : compression);
    const { content } = source.applied;
    const schemaFile =
      wanted.parts === 'data'
        ? null
        : await store(shelf, { name: 'schema.sql', from: Readable.from([Buffer.from(content)]), compression }, signal);
    const holds = { schemaFile, tables, dump: dumped };
    const manifest: Manifest = {
      ...wanted,
      ...{ startedAt, at: moment.at.toISOString(), finishedAt: new Date().toISOString() },
      ...{
        version: source.version,
        major: source.major,
        owner: source.owner,
        dumpMajor: tool?.major ?? null,
        compression,
      },
      ...{ schemaHash: source.applied.sha256, schemas: source.schemas },
      ...{ partitions: source.partitions, sequences: source.sequences, ...holds },
      rows: tables.reduce((sum, { rows }) => sum + rows, 0),
      bytes: filesOf(holds).reduce((sum, { bytes }) => sum + bytes, 0),
    };
    signal.throwIfAborted();
    await writeManifest(shelf, manifest);
    progress(1);
    return manifest;
  } finally {
    drop(moment.client);
  }
}

/** Counts every table, and stores its rows where `compression` says how; the largest first, several at once. */
async function readTables(
  { databaseUrl, signal, progress }: BackupWork,
  shelf: Shelf,
  moment: Moment,
  { tables }: Source,
  compression: Compression | undefined,
): Promise<Manifest['tables']> {
  const total = tables.reduce((sum, { bytes }) => sum + bytes, 1);
  let done = 0;
  const read = new Map<SourceTable, Digest & { file: BackupFile | null }>();
  await eachInLanes(
    tables,
    () => joinMoment(databaseUrl, moment),
    async (client, table) => {
      const name = `${table.schema}.${table.name}.copy`;
      const found = await releasing(client, async () => {
        const file = compression
          ? await store(shelf, { name, from: copyOut(client, table), compression }, signal)
          : null;
        return { ...(await digestOf(client, table)), file };
      });
      read.set(table, found);
      done += table.bytes;
      progress((done / total) * 0.99, `${table.schema}.${table.name}`);
    },
    signal,
  );
  return tables.map((table) => {
    const { schema, name, columns } = table;
    return { schema, name, columns, ...(read.get(table) as Digest & { file: BackupFile | null }) };
  });
}
