import { text as textOf } from 'node:stream/consumers';
import type pg from 'pg';
import { applySchema, readSchema, schemaFile } from '../functions/apply.ts';
import { digestOf, drop, openPlain } from '../functions/backup-source.ts';
import { connected } from '../functions/connection.ts';
import { Refusal } from '../functions/refusal.ts';
import {
  type Draft,
  databaseOf,
  databaseSize,
  dropDatabase,
  makeDraft,
  putInPlace,
} from '../functions/restore-database.ts';
import {
  analyze,
  copyIn,
  doesNotFit,
  inOrder,
  makePartitions,
  noteRestored,
  openLoader,
  prepare,
  setSequences,
} from '../functions/restore-rows.ts';
import { sha256 } from '../functions/schema-versions.ts';
import { inFolder } from './backup-dump.ts';
import { type BackupFile, fetchFile, type Shelf, shelfOf, unfit } from './backup-files.ts';
import { eachInLanes } from './lanes.ts';
import { filesOf, type Manifest, readManifest } from './manifest.ts';
import { restoreDump } from './restore-dump.ts';
import type { BackupWork } from './task.ts';

/** What was restored: the backup, into which database, how long it took, and what the former one is called now. */
export type Restored = { manifest: Manifest; database: string; seconds: number; former: string | undefined };

/**
 * Restores a backup as a database. It is made beside and compared with the backup first, table by table; only then it takes the place of one
 * that is there, so that a backup that cannot be used changes nothing.
 *
 * @param options.into the database; without it that of databaseUrl.
 * @param options.keep leaves the former database there, under another name.
 * @throws Refusal where the backup is missing, altered, cut short, encrypted with another key, or does not fit this Postgres.
 */
export async function restore(
  work: BackupWork,
  { name, into, keep = false }: { name: string; into?: string | undefined; keep?: boolean },
): Promise<Restored> {
  const { databaseUrl, log } = work;
  const began = performance.now();
  const target = into ?? databaseOf(databaseUrl);
  const { parts } = await readManifest(shelfOf(work.settings, name));
  if (parts !== 'all' && parts !== 'data' && (await databaseSize(databaseUrl, target)) !== undefined) {
    throw new Refusal(`${name} holds the section ${parts} alone, and the database ${target} exists.`, {
      remedy: 'Restore it into a new one with --into, and take from there what you need.',
    });
  }
  return inDraft(work, name, target, async (draft, manifest) => {
    const former = await putInPlace(databaseUrl, draft.name, target);
    if (former && !keep) {
      await dropDatabase(databaseUrl, former).catch((error) =>
        log.warn({ error: error.message, former }, 'The former database could not be dropped'),
      );
    }
    const seconds = (performance.now() - began) / 1000;
    return { manifest, database: target, seconds, former: keep ? former : undefined };
  });
}

/** Proves a backup: restores it beside, compares it, and drops that again. */
export async function restoreAside(work: BackupWork, name: string): Promise<{ manifest: Manifest; seconds: number }> {
  const began = performance.now();
  return inDraft(work, name, databaseOf(work.databaseUrl), async (draft, manifest) => {
    const seconds = (performance.now() - began) / 1000;
    await dropDatabase(work.databaseUrl, draft.name);
    return { manifest, seconds };
  });
}

/** Makes a database from a backup and hands it over; where anything fails, it is dropped. */
async function inDraft<Result>(
  work: BackupWork,
  name: string,
  target: string,
  then: (draft: Draft, manifest: Manifest) => Promise<Result>,
): Promise<Result> {
  const { databaseUrl, settings, signal, progress } = work;
  const began = performance.now();
  const shelf = shelfOf(work.settings, name);
  const manifest = await readManifest(shelf);
  await checkFiles(shelf, manifest);
  const draft = await makeDraft(databaseUrl, target);
  try {
    const schema = await schemaOf(shelf, manifest, signal);
    if (manifest.form === 'portable') await load(work, shelf, manifest, draft, schema);
    else await inFolder(settings.plinthData, (folder) => restoreDump(work, shelf, manifest, draft, schema, folder));
    await compare(work, manifest, draft);
    await connected(draft.url, async (client) => {
      await noteRestored(client, manifest, (performance.now() - began) / 1000);
      await analyze(client);
    });
    signal.throwIfAborted();
    const result = await then(draft, manifest);
    progress(1);
    return result;
  } catch (error) {
    await dropDatabase(databaseUrl, draft.name).catch(() => {});
    throw signal.aborted ? signal.reason : error;
  }
}

/** What can be seen before anything is read. */
async function checkFiles({ storage, backup }: Shelf, manifest: Manifest): Promise<void> {
  const stored = new Map((await storage.list(`${backup}/`)).map(({ name, bytes }) => [name, bytes]));
  for (const { name, bytes } of filesOf(manifest)) {
    const found = stored.get(`${backup}/${name}`);
    if (found === undefined) throw unfit(backup, `${name} is missing`);
    if (found !== bytes) throw unfit(backup, `${name} holds ${found} bytes instead of ${bytes}`);
  }
}

async function load(
  { signal, progress }: BackupWork,
  shelf: Shelf,
  manifest: Manifest,
  draft: Draft,
  schema: string,
): Promise<void> {
  await connected(draft.url, (client) => applySchema(client, schema, `schema.sql of ${manifest.name}`));
  const main = await openLoader(draft.url);
  try {
    await makePartitions(main, manifest.partitions);
    const postponed = await prepare(main, manifest.tables);
    const total = manifest.tables.reduce((sum, { file }) => sum + (file?.bytes ?? 0), 1);
    let done = 0;
    for (const level of await inOrder(main, manifest.tables)) {
      await eachInLanes(
        level,
        () => openLoader(draft.url),
        async (client, table) => {
          const file = table.file as BackupFile;
          await fetchFile(shelf, file, manifest.compression, (rows) => copyIn(client, table, rows), signal);
          done += file.bytes;
          progress((done / total) * 0.7, `${table.schema}.${table.name}`);
        },
        signal,
      );
    }
    await setSequences(main, manifest.sequences);
    await eachInLanes(
      postponed.together,
      () => openLoader(draft.url),
      async (client: pg.Client, statement) => void (await client.query(statement)),
      signal,
    );
    for (const statement of postponed.after) {
      signal.throwIfAborted();
      await main.query(statement);
    }
    progress(0.9, 'indexes');
  } catch (error) {
    if (!doesNotFit(error)) throw error;
    throw new Refusal(
      `The backup ${manifest.name} cannot be used: it does not fit its schema or this Postgres: ${error.message}.`,
      {
        remedy:
          'Where the database was changed by hand, say so in schema.sql, run npm run db -- adopt, and make another backup.',
        cause: error,
      },
    );
  } finally {
    drop(main);
  }
}

/** The schema of the backup; for data alone that of the repository, if it is the same. */
async function schemaOf(shelf: Shelf, manifest: Manifest, signal: AbortSignal): Promise<string> {
  const { backup } = shelf;
  if (manifest.schemaFile === null) {
    const { text } = await readSchema(schemaFile);
    if (sha256(text) === manifest.schemaHash) return text;
    throw new Refusal(`The backup ${backup} holds data alone, of another schema.sql than the one here.`, {
      remedy: 'Restore it with the schema.sql that it was made with, or use a backup that holds the schema.',
    });
  }
  let text = '';
  const read = async (content: AsyncIterable<Uint8Array>): Promise<void> => {
    text = await textOf(content);
  };
  await fetchFile(shelf, manifest.schemaFile, manifest.compression, read, signal);
  if (sha256(text) !== manifest.schemaHash) throw unfit(backup, 'schema.sql is not the one that was applied');
  return text;
}

/** Every table must be what it was when it was backed up. */
async function compare({ signal, progress }: BackupWork, manifest: Manifest, draft: Draft): Promise<void> {
  await eachInLanes(
    manifest.tables,
    () => openPlain(draft.url),
    async (client, table) => {
      const { rows, checksum } = await digestOf(client, table);
      const name = `${table.schema}.${table.name}`;
      if (rows !== table.rows) throw unfit(manifest.name, `${name} has ${rows} rows instead of ${table.rows}`);
      if (checksum !== table.checksum) throw unfit(manifest.name, `the rows of ${name} are not those of the backup`);
    },
    signal,
  );
  progress(0.98, 'compared');
}
