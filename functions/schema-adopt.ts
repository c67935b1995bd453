import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Node } from 'libpg-query';
import type pg from 'pg';
import { readSchema, type Target } from './apply.ts';
import { Refusal } from './refusal.ts';
import { additions, type Change, compareSchemas } from './schema-changes.ts';
import { inTransaction, withClient } from './schema-connection.ts';
import { parseSchema, type SchemaFile, type Statement } from './schema-file.ts';
import { applyLive } from './schema-live.ts';
import { lastVersion, recordVersion, sha256 } from './schema-versions.ts';
import { onScratch } from './scratch-database.ts';
import { nameOf, quote, relationName } from './sql-names.ts';

type Picture = Map<string, string>;

/**
 * Records the schema file as the one that a database has, where somebody has brought it there by hand: compares its catalog with that
 * of a database made from the file. What a live database takes by itself (functions, policies, grants, …) need not be done by hand.
 *
 * @param databaseUrl a role that may create databases.
 * @returns a line that says what was done.
 * @throws Refusal that names each object that differs; the database is left as it was.
 */
export async function adoptSchema({ databaseUrl, schemaFile }: Target): Promise<string> {
  const { text, fileName } = await readSchema(schemaFile);
  const file = await parseSchema(text, fileName);
  const wanted = await onScratch(databaseUrl, { text, fileName }, takePicture);
  return withClient(databaseUrl, (client) =>
    inTransaction(client, async () => {
      const last = await lastVersion(client);
      if (!last) {
        throw new Refusal('The database keeps no record of a schema: Plinth has not given it any.', {
          remedy: '`npm start` applies schema.sql to an empty database.',
        });
      }
      if (last.sha256 === sha256(text)) return `${fileName} is the one that the database was given.`;
      await client.query('savepoint by_hand');
      const failed = await takeLive(client, await parseSchema(last.content, fileName), file);
      if (failed) await client.query('rollback to savepoint by_hand');
      const differences = compare(await takePicture(client), wanted, fileName);
      if (differences.length > 0) {
        const first = failed ? `${failed.message}\n\nSo nothing new was taken. ` : '';
        throw new Refusal(`${first}The database is not as ${fileName} says:\n${differences.join('\n')}`, {
          remedy: 'Change the one or the other (psql "$(npm run --silent db -- url)"), and run it again.',
        });
      }
      if (failed) throw failed;
      await recordVersion(client, file);
      return `The database is as ${fileName} says; noted.`;
    }),
  );
}

/**
 * Does what the start would do, and makes all functions anew: a body in standard SQL holds the columns that `select *` stood for when it
 * was made, and fails beside a new one.
 *
 * @returns what stands in the way; nothing is told before the catalogs have been compared, which names the cause.
 */
async function takeLive(client: pg.ClientBase, before: SchemaFile, file: SchemaFile): Promise<Refusal | undefined> {
  const changes: Change[] = [];
  for (const change of compareSchemas(before, file)) {
    if (change.live && !(change.change === 'added' && (await isThere(client, change.after)))) changes.push(change);
  }
  const fresh = new Set(changes.map(({ after }) => after));
  const functions = file.statements.filter((statement) => statement.kind === 'function' && !fresh.has(statement));
  try {
    await applyLive(client, before, file, [
      ...changes,
      ...functions.map((same): Change => ({ change: 'changed', before: same, after: same, live: true })),
    ]);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

/** Whether a schema, type, table, index or view has been made by hand; whether rightly, the pictures show. */
async function isThere(client: pg.ClientBase, { kind, tree }: Statement): Promise<boolean> {
  if (!additions.includes(kind)) return false;
  const [look, name] = placeOf(tree);
  const { rows } = await client.query(`select ${look}($1) is not null as found`, [name]);
  return rows[0].found;
}

function placeOf(tree: Node): [look: string, name: string] {
  if ('CreateSchemaStmt' in tree) return ['to_regnamespace', quote(tree.CreateSchemaStmt.schemaname ?? '')];
  if ('CreateEnumStmt' in tree) return ['to_regtype', nameOf(tree.CreateEnumStmt.typeName, quote)];
  if ('CreateDomainStmt' in tree) return ['to_regtype', nameOf(tree.CreateDomainStmt.domainname, quote)];
  if ('CreateRangeStmt' in tree) return ['to_regtype', nameOf(tree.CreateRangeStmt.typeName, quote)];
  if ('CompositeTypeStmt' in tree) return ['to_regtype', relationName(tree.CompositeTypeStmt.typevar, quote)];
  if ('CreateStmt' in tree) return ['to_regclass', relationName(tree.CreateStmt.relation, quote)];
  if ('ViewStmt' in tree) return ['to_regclass', relationName(tree.ViewStmt.view, quote)];
  if ('CreateTableAsStmt' in tree) return ['to_regclass', relationName(tree.CreateTableAsStmt.into?.rel, quote)];
  if ('IndexStmt' in tree) {
    const { idxname = '', relation } = tree.IndexStmt;
    return ['to_regclass', relationName({ ...relation, relname: idxname }, quote)];
  }
  throw new Error(`Where a statement puts what it makes is not known: ${Object.keys(tree)}`);
}

async function takePicture(client: pg.ClientBase): Promise<Picture> {
  // Names come qualified.
  await client.query("select set_config('search_path', '', false)");
  const { rows } = await client.query<Record<'kind' | 'name' | 'state', string>>(query);
  return new Map(rows.map(({ kind, name, state }) => [`${kind} ${name}`, state]));
}

function compare(found: Picture, wanted: Picture, fileName: string): string[] {
  const names = [...new Set([...wanted.keys(), ...found.keys()])].sort();
  return names.flatMap((name) => {
    const [is, should] = [found.get(name), wanted.get(name)];
    if (is === should) return [];
    if (is === undefined) return [`  ${name}: only in ${fileName}`];
    if (should === undefined) return [`  ${name}: only in the database`];
    const [old, now] = [is.split('\n'), should.split('\n')];
    const line = old.findIndex((each, index) => each !== now[index]);
    const at = line < 0 ? old.length : line;
    return [
      `  ${name}:`,
      `    in the database  ${old[at] ?? '(nothing)'}`,
      `    in ${fileName}  ${now[at] ?? '(nothing)'}`,
    ];
  });
}

const query = readFileSync(path.join(import.meta.dirname, 'schema-picture.sql'), 'utf8');
