import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { applySchema } from '../functions/apply.ts';
import { connected } from '../functions/connection.ts';
import { Refusal } from '../functions/refusal.ts';
import { type Draft, dropDatabase, grantOwner, makeDraft, withOwner } from '../functions/restore-database.ts';
import { fetchFile, type Shelf, unfit } from './backup-files.ts';
import { lanes } from './lanes.ts';
import type { Manifest } from './manifest.ts';
import { findTool, runTool } from './postgres-tools.ts';
import type { BackupWork } from './task.ts';

/** Restores what pg_dump wrote, by pg_restore, into an empty database. */
export async function restoreDump(
  { databaseUrl, signal, progress }: BackupWork,
  shelf: Shelf,
  manifest: Manifest,
  draft: Draft,
  schema: string,
  folder: string,
): Promise<void> {
  const { name, major, owner, dumpMajor, dump } = manifest;
  if (major > draft.major) {
    throw new Refusal(`The backup ${name} was written by pg_dump from Postgres ${major}; this is ${draft.major}.`, {
      remedy: 'Restore it into that version or a newer one. One made with --form portable goes into any.',
    });
  }
  const tool = await findTool('pg_restore', dumpMajor ?? major);
  if (!tool) {
    throw new Refusal(`The backup ${name} needs pg_restore of Postgres ${dumpMajor} or newer.`, {
      remedy: 'Install the client programs of Postgres.',
    });
  }
  const target = path.join(folder, 'dump');
  await mkdir(target, { mode: 0o700 });
  for (const [index, file] of dump.entries()) {
    const to = path.join(target, path.basename(file.name).replace(/\.sealed$/, ''));
    await fetchFile(shelf, file, 'none', (content) => writeFile(to, content, { mode: 0o600 }), signal);
    progress((index / dump.length) * 0.3, file.name);
  }
  // Roles belong to the cluster, so pg_dump leaves them out; schema.sql makes them, also in a database that is dropped again.
  const roles = await makeDraft(databaseUrl, draft.name);
  try {
    await connected(roles.url, (client) => applySchema(client, schema, `schema.sql of ${name}`));
  } finally {
    await dropDatabase(databaseUrl, roles.name);
  }
  await connected(draft.url, (client) => grantOwner(client, draft.name));
  const options = [
    '--format=directory',
    `--jobs=${lanes}`,
    '--exit-on-error',
    '--no-password',
    `--dbname=${draft.name}`,
  ];
  await withOwner(draft.url, owner, () => runTool(tool.program, [...options, target], draft.url, signal)).catch(
    (error: Error) => {
      throw signal.aborted ? error : unfit(name, error.message, error);
    },
  );
  progress(0.9, 'restored');
}
