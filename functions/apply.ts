import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { Refusal } from './refusal.ts';
import { type Change, compareSchemas, listChanges, sameGrants } from './schema-changes.ts';
import { inTransaction, withClient } from './schema-connection.ts';
import { parseSchema, type SchemaFile } from './schema-file.ts';
import { applyLive } from './schema-live.ts';
import { schemasOf } from './schema-privileges.ts';
import { executeAll } from './schema-statement.ts';
import { createVersions, lastVersion, recordVersion, sha256 } from './schema-versions.ts';

/** The application. */
export const schemaFile = path.join(import.meta.dirname, '..', 'schema.sql');

/** A database and the schema file that it is to have. */
export type Target = { databaseUrl: string; schemaFile: string };

/** Gets a line for a person whenever something was done. */
export type Report = (line: string) => void;

/** How a database stands to the schema file. */
type SchemaStatus =
  | { state: 'empty' }
  | { state: 'current'; appliedAt: Date }
  | { state: 'changed'; appliedAt: Date; changes: Change[] };

/**
 * Gives an empty database the schema. In development, a database that has it takes over what a live one can: changed
 * functions, triggers, policies, grants, comments and idempotent data. Any number of processes may call this at once.
 *
 * @throws Refusal for a file that does not apply, for changes that a live database does not take, for a database that
 *   Plinth did not make; the database is left as it was
 */
export async function bringUpToDate(target: Target & { development: boolean; report: Report }): Promise<void> {
  const { databaseUrl, schemaFile, development, report } = target;
  const { text, fileName } = await readSchema(schemaFile);
  await withClient(databaseUrl, async (client) => {
    if ((await lastVersion(client))?.sha256 === sha256(text)) return;
    const started = performance.now();
    const file = await parseSchema(text, fileName);
    const done = await inTransaction(client, async () => {
      const last = await lastVersion(client);
      if (!last) return applyToEmpty(client, file);
      if (last.sha256 === sha256(text)) return undefined;
      return update(client, await parseSchema(last.content, fileName), file, development);
    });
    if (done) report(`${done} in ${seconds(started)}`);
  });
}

/**
 * Applies a schema to an empty database, in one transaction on the given connection.
 *
 * @param fileName what messages call the schema
 * @throws Refusal when a statement fails; nothing of the others remains then
 */
export async function applySchema(client: pg.ClientBase, text: string, fileName: string): Promise<void> {
  const file = await parseSchema(text, fileName);
  await inTransaction(client, () => applyToEmpty(client, file));
}

/** Compares a database with the schema file and changes nothing. */
export async function schemaStatus({ databaseUrl, schemaFile }: Target): Promise<SchemaStatus> {
  const { text, fileName } = await readSchema(schemaFile);
  return withClient(databaseUrl, async (client) => {
    const last = await lastVersion(client);
    if (!last) return { state: 'empty' };
    if (last.sha256 === sha256(text)) return { state: 'current', appliedAt: last.applied_at };
    const changes = compareSchemas(await parseSchema(last.content, fileName), await parseSchema(text, fileName));
    return { state: 'changed', appliedAt: last.applied_at, changes };
  });
}

/** Applies a schema to an empty database, inside the caller's transaction; gives back a line that says so. */
export async function applyToEmpty(client: pg.ClientBase, file: SchemaFile): Promise<string> {
  await refuseForeign(client, file);
  await refuseEncoding(client);
  // Nobody queues behind what an empty database waits for: a role, which another database of the cluster is given too.
  await client.query("set local lock_timeout = '5min'");
  // First of all, while the role is the one that connected: the file may change it for what follows.
  await createVersions(client);
  await recordVersion(client, file);
  await executeAll(client, file);
  return `${file.fileName} applied: ${file.statements.length} statements`;
}

async function update(
  client: pg.ClientBase,
  before: SchemaFile,
  after: SchemaFile,
  development: boolean,
): Promise<string> {
  const { fileName } = after;
  const changes = compareSchemas(before, after);
  await recordVersion(client, after);
  if (changes.length === 0 && sameGrants(before, after)) return `${fileName} differs in its comments only: noted`;
  const list = listChanges(changes, fileName) || '  the order of its grants';
  if (!development) {
    throw new Refusal(`${fileName} is not the one that this database has:\n${list}`, {
      remedy:
        'In production nothing is changed by itself. Make the changes by hand and run `npm run db -- adopt`, or start with the former file.',
    });
  }
  const planned = changes.filter(({ live }) => !live);
  if (planned.length > 0) {
    const inTheWay = listChanges(planned, fileName);
    throw new Refusal(`${fileName} has changes that a database with data does not take by itself:\n${inTheWay}`, {
      remedy: wayOn,
    });
  }
  try {
    await applyLive(client, before, after, changes);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { message, cause } = error;
    // A mistake in a statement (class 42) is there to be corrected; that a view changes its columns (42P16) is none.
    const remedy = /^42(?!P16)/.test((cause as { code?: string }).code ?? '') ? 'Correct it, and start again.' : wayOn;
    throw new Refusal(`${message}\n\nIt was one of these changes:\n${list}`, { remedy, cause });
  }
  return `${fileName} has changed, and the database with it:\n${list}\napplied`;
}

const wayOn =
  'To keep the data, make the changes in the database by hand and run `npm run db -- adopt`, which compares the two; or take them back. ' +
  '`npm run db -- reset` empties the database and applies the file; development data is lost.';

async function refuseForeign(client: pg.ClientBase, file: SchemaFile): Promise<void> {
  const { rows } = await client.query(
    'select nspname from pg_catalog.pg_namespace where nspname = any ($1) order by 1',
    [schemasOf([file])],
  );
  if (rows.length === 0) return;
  const found = rows.map(({ nspname }) => nspname);
  throw new Refusal(
    `The database has ${found.join(', ')} already, but not from Plinth: it keeps no record of a schema.`,
    { remedy: 'Use an empty database, or in development empty this one with `npm run db -- reset`.' },
  );
}

/** In another encoding than UTF-8 words are not known as such, and most of the world's signs cannot be kept. */
async function refuseEncoding(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query('show server_encoding');
  const encoding = rows[0].server_encoding;
  if (encoding === 'UTF8') return;
  throw new Refusal(`The database has the encoding ${encoding}; it must be UTF8.`, {
    remedy: "Make another: create database NAME encoding 'UTF8' locale 'C.UTF-8' template template0.",
  });
}

/** The text of a schema file, and what messages call it. */
export async function readSchema(schemaFile: string): Promise<{ text: string; fileName: string }> {
  try {
    return { text: await readFile(schemaFile, 'utf8'), fileName: spoken(schemaFile) };
  } catch (cause) {
    throw new Refusal(`The schema cannot be read: ${(cause as Error).message}`, {
      remedy: 'It is the file schema.sql in the repository.',
      cause,
    });
  }
}

/** The shorter of a path and the way to it from the current folder. */
function spoken(file: string): string {
  const fromHere = path.relative('', file);
  return fromHere.length < file.length ? fromHere : file;
}

/** How long it has been, for a person. */
export function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
