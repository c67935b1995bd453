import pg from 'pg';
import { from } from 'pg-copy-streams';
import { openPlain, type Partition, type Sequence, type SourceTable, tableName } from './backup-source.ts';
import { quote } from './sql-names.ts';

type Table = Pick<SourceTable, 'schema' | 'name' | 'columns'>;

/** A connection that loads rows: neither triggers nor foreign keys are asked, where this role may leave them out. */
export async function openLoader(databaseUrl: string): Promise<pg.Client> {
  const client = await openPlain(databaseUrl);
  await client.query("set synchronous_commit = off; set maintenance_work_mem = '256MB'");
  await client.query('set session_replication_role = replica').catch((error) => {
    if (error.code !== '42501') throw error;
  });
  return client;
}

/** Makes the partitions that were there and are not, as part of what they were part of. */
export async function makePartitions(client: pg.ClientBase, partitions: Partition[]): Promise<void> {
  for (const each of partitions) {
    const name = tableName(each);
    const { rows } = await client.query('select to_regclass($1) as found', [name]);
    if (rows[0].found !== null) continue;
    const parent = tableName({ schema: each.parentSchema, name: each.parent });
    const { rows: owners } = await client.query(
      'select quote_ident(relowner::regrole::text) as owner from pg_catalog.pg_class where oid = $1::regclass',
      [parent],
    );
    const key = each.key === null ? '' : ` partition by ${each.key}`;
    await client.query(`create table ${name} partition of ${parent} ${each.bound}${key}`);
    await client.query(`alter table ${name} owner to ${owners[0].owner}`);
    if (each.isSecured) await client.query(`alter table ${name} enable row level security`);
  }
}

/** Statements for when the rows are in: those of `together` in any order and beside each other, then those of `after` in theirs. */
export type Postponed = { together: string[]; after: string[] };

/**
 * Makes the tables ready for their rows: empty; without the indexes that are faster made afterwards; without foreign keys to tables that are
 * not loaded. Where this role may not leave out triggers (openLoader), they are turned off until then.
 */
export async function prepare(client: pg.ClientBase, tables: Table[]): Promise<Postponed> {
  const names = tables.map(tableName);
  if (names.length === 0) return { together: [], after: [] };
  const { rows: foreign } = await client.query<{ statement: string }>(foreignKeysOutOf, [names]);
  for (const { statement } of foreign) await client.query(statement);
  const triggers = await triggersOff(client, names);
  // Emptying fires triggers, too.
  await client.query(`truncate ${names.join(', ')} cascade`);
  const { rows: indexes } = await client.query<{ dropped: string; statement: string; parts: string[] }>(indexesOf, [
    names,
  ]);
  for (const { dropped } of indexes) await client.query(dropped);
  const wholes = indexes.filter(({ parts }) => parts.length > 0).map(({ statement }) => statement);
  return {
    together: indexes.flatMap(({ statement, parts }) => (parts.length > 0 ? parts : [statement])),
    after: [...wholes, ...triggers],
  };
}

async function triggersOff(client: pg.ClientBase, names: string[]): Promise<string[]> {
  const { rows } = await client.query("select current_setting('session_replication_role') as role");
  if (rows[0].role === 'replica') return [];
  const { rows: triggers } = await client.query<{ off: string; statement: string }>(triggersOf, [names]);
  for (const { off } of triggers) await client.query(off);
  return triggers.map(({ statement }) => statement);
}

// Those of partitions go with their parent's.
const foreignKeysOutOf = `
  select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
  from pg_catalog.pg_constraint
  where contype = 'f' and conparentid = 0
    and conrelid in (select root from unnest($1::regclass[]) as loaded, lateral coalesce(pg_partition_root(loaded), loaded) as root)
    and confrelid not in (select root from unnest($1::regclass[]) as loaded, lateral coalesce(pg_partition_root(loaded), loaded) as root)`;

// Those of partitions are made first, by their names, and taken up by the statement of the whole. That would find names for them itself:
// for two indexes that are made beside each other the same ones.
const indexesOf = `
  select format('drop index %s', indexrelid::regclass) as dropped,
    replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') as statement,
    array(select pg_get_indexdef(relid) from pg_partition_tree(indexrelid) where isleaf) as parts
  from pg_catalog.pg_index
  join pg_catalog.pg_class as index on index.oid = indexrelid
  where indrelid in (select root from unnest($1::regclass[]) as loaded, lateral coalesce(pg_partition_root(loaded), loaded) as root)
    and not relispartition and obj_description(indexrelid, 'pg_class') is null
    and not exists (select from pg_catalog.pg_constraint where conindid = indexrelid)`;

const triggersOf = `
  select format('alter table %s disable trigger user', root) as off,
    format('alter table %s enable trigger user', root) as statement
  from (
    select distinct coalesce(pg_partition_root(loaded), loaded) as root
    from unnest($1::regclass[]) as loaded
  ) as roots`;

/** Tables in an order in which each stands behind those that it refers to. */
export async function inOrder<T extends Table>(client: pg.ClientBase, tables: T[]): Promise<T[][]> {
  const { rows } = await client.query<{ from: string[]; to: string }>(
    `
    select conrelid::regclass::text || array(select relid::text from pg_partition_tree(conrelid) where isleaf) as from, confrelid::regclass::text as to
    from pg_catalog.pg_constraint
    where contype = 'f' and conparentid = 0 and conrelid <> confrelid`,
  );
  const plain = await client.query('select array_agg(name::regclass::text) as names from unnest($1::text[]) as name', [
    tables.map(tableName),
  ]);
  const nameOf = new Map(tables.map((table, index) => [table, plain.rows[0].names[index] as string]));
  const levels: T[][] = [];
  let left = tables;
  while (left.length > 0) {
    const names = new Set(left.map((table) => nameOf.get(table)));
    const ready = left.filter(
      (table) => !rows.some(({ from, to }) => from.includes(nameOf.get(table) as string) && names.has(to)),
    );
    // Tables that refer to each other: nothing is in the way where foreign keys are not asked.
    levels.push(ready.length > 0 ? ready : left);
    left = ready.length > 0 ? left.filter((table) => !ready.includes(table)) : [];
  }
  return levels;
}

/**
 * Takes the rows of a table as copyOut gives them. Where they fail, the connection is left in the middle and is to be dropped: a stream of
 * COPY that is destroyed waits for an answer, and for ever if the connection is gone.
 */
export async function copyIn(client: pg.Client, table: Table, rows: AsyncIterable<Uint8Array>): Promise<void> {
  const copy = client.query(from(`copy ${tableName(table)} (${table.columns.map(quote).join(', ')}) from stdin`));
  let gone = (): void => {};
  const failed = new Promise<never>((_, reject) => {
    copy.on('error', reject);
    gone = () => reject(new Error('Connection terminated'));
    client.once('end', gone);
  });
  failed.catch(() => {});
  for await (const chunk of rows) {
    if (!copy.write(chunk)) await Promise.race([new Promise((resolve) => copy.once('drain', resolve)), failed]);
  }
  await Promise.race([new Promise<void>((resolve) => void copy.end(resolve)), failed]);
  client.off('end', gone);
}

export async function setSequences(client: pg.ClientBase, sequences: Sequence[]): Promise<void> {
  for (const { schema, name, value } of sequences) {
    if (value !== null) await client.query('select setval($1::regclass, $2)', [tableName({ schema, name }), value]);
  }
}

/** Tells a restored database that it is one, where its schema knows of that. */
export async function noteRestored(
  client: pg.ClientBase,
  given: { name: string; startedAt: string; finishedAt: string; bytes: number; rows: number },
  seconds: number,
): Promise<void> {
  const { rows } = await client.query("select to_regproc('operations.restored') as known");
  if (rows[0].known === null) return;
  const { name, startedAt, finishedAt, bytes, rows: count } = given;
  await client.query('select operations.restored($1, $2, $3, $4, $5, $6)', [
    ...[name, startedAt, finishedAt, bytes, count, seconds],
  ]);
}

export async function analyze(client: pg.ClientBase): Promise<void> {
  await client.query('analyze');
}

/** Whether an error says that what is to be loaded does not fit the tables. */
export function doesNotFit(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && /^(22|23|3F|42)/.test(error.code ?? '');
}
