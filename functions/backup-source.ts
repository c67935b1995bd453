import pg from 'pg';
import { to } from 'pg-copy-streams';
import { Refusal } from './refusal.ts';
import { parseSchema } from './schema-file.ts';
import { schemasOf } from './schema-privileges.ts';
import { lastVersion } from './schema-versions.ts';
import { quote } from './sql-names.ts';

/** A table that holds rows: a plain one, or a partition. Generated columns are left out: they follow from the others. */
export type SourceTable = { schema: string; name: string; columns: string[]; bytes: number };

/** A partition, after the one that it is part of. `bound` and `key` are SQL; `key` is null where it has no partitions itself. */
export type Partition = {
  schema: string;
  name: string;
  parentSchema: string;
  parent: string;
  bound: string;
  key: string | null;
  isSecured: boolean;
};

/** The last value that a sequence gave; null for none. */
export type Sequence = { schema: string; name: string; value: string | null };

/** How many rows a table has, and a number that follows from all of their text, in whatever order they stand. */
export type Digest = { rows: number; checksum: string };

/** What a database of Plinth holds. */
export type Source = {
  /** Such as 15.4, and 15. */
  version: string;
  major: number;
  /** The role that is connected. */
  owner: string;
  /** schema.sql as it was last applied. */
  applied: { sha256: string; content: string };
  schemas: string[];
  tables: SourceTable[];
  partitions: Partition[];
  sequences: Sequence[];
};

// The text of a value must not depend on who reads it; and nothing is to be cut off by a limit made for requests.
const plainText =
  "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set extra_float_digits = 1; " +
  "set bytea_output = 'hex'; set xmloption = 'content'; set client_encoding = 'UTF8'; set row_security = off; " +
  "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set search_path = ''";

/** A connection that reads or writes text as every other one does. */
export async function openPlain(databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'plinth backup', keepAlive: true });
  client.on('error', () => {});
  await client.connect();
  try {
    await client.query(plainText);
    return client;
  } catch (error) {
    drop(client);
    throw error;
  }
}

/** Ends a connection at once, whatever it is in the middle of. */
export function drop(client: pg.Client): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } };
  connection.stream.destroy();
}

/** One moment of a database, to be read by any number of connections; it holds as long as the first of them. */
export type Moment = { client: pg.Client; snapshot: string; at: Date };

export async function openMoment(databaseUrl: string): Promise<Moment> {
  const client = await openPlain(databaseUrl);
  try {
    await client.query('begin isolation level repeatable read, read only');
    const { rows } = await client.query('select pg_catalog.pg_export_snapshot() as snapshot, clock_timestamp() as at');
    return { client, ...rows[0] };
  } catch (error) {
    drop(client);
    throw error;
  }
}

/** Another connection that reads the same moment. */
export async function joinMoment(databaseUrl: string, { snapshot }: Moment): Promise<pg.Client> {
  const client = await openPlain(databaseUrl);
  try {
    await client.query('begin isolation level repeatable read, read only');
    await client.query(`set transaction snapshot ${client.escapeLiteral(snapshot)}`);
    return client;
  } catch (error) {
    drop(client);
    throw error;
  }
}

/** Reads within a moment, and lets go of the tables that were read: who is to drop one need not wait for the end of all. */
export async function releasing<Result>(client: pg.ClientBase, read: () => Promise<Result>): Promise<Result> {
  await client.query('savepoint before_reading');
  const result = await read();
  await client.query('rollback to savepoint before_reading; release savepoint before_reading');
  return result;
}

/**
 * Reads what there is to back up.
 *
 * @param parts all, data, or the name of one section: then its tables alone.
 * @throws Refusal where the database is none of Plinth's, or has no such section.
 */
export async function readSource(client: pg.ClientBase, parts: string): Promise<Source> {
  const applied = await lastVersion(client);
  if (!applied) {
    throw new Refusal('The database is empty, or not from Plinth: it keeps no record of a schema.', {
      remedy: 'Check DATABASE_URL.',
    });
  }
  const own = schemasOf([await parseSchema(applied.content, 'schema.sql')]);
  if (parts !== 'all' && parts !== 'data' && !own.includes(parts)) {
    throw new Refusal(`There is no section "${parts}".`, { remedy: `There are: ${own.join(', ')}.` });
  }
  const schemas = parts === 'all' || parts === 'data' ? ['public', ...own, ...(await byHand(client, own))] : [parts];
  const { rows: version } = await client.query(
    "select current_setting('server_version_num')::integer / 10000 as major, split_part(current_setting('server_version'), ' ', 1) as version, current_user as owner",
  );
  const { rows: tables } = await client.query<SourceTable>(
    `
    select nspname as schema, relname as name, relpages * 8192::float8 as bytes, array(
      select attname::text
      from pg_catalog.pg_attribute
      where attrelid = class.oid and attnum > 0 and not attisdropped and attgenerated = ''
      order by attnum
    ) as columns
    from pg_catalog.pg_class as class
    join pg_catalog.pg_namespace as namespace on namespace.oid = relnamespace
    where relkind = 'r' and nspname = any ($1) and ${notOfAnExtension}
    order by relpages desc, 1, 2`,
    [schemas],
  );
  const { rows: partitions } = await client.query<Partition>(
    `
    select class.relnamespace::regnamespace::text as schema, class.relname as name,
      parent.relnamespace::regnamespace::text as "parentSchema", parent.relname as parent,
      pg_get_expr(class.relpartbound, class.oid) as bound, pg_get_partkeydef(class.oid) as key,
      class.relrowsecurity as "isSecured"
    from pg_catalog.pg_class as class
    join pg_catalog.pg_inherits on inhrelid = class.oid
    join pg_catalog.pg_class as parent on parent.oid = inhparent
    where class.relispartition and class.relkind in ('r', 'p') and class.relnamespace = any ($1::regnamespace[])
    order by (select count(*) from pg_partition_ancestors(class.oid)), 1, 2`,
    [schemas.map(quote)],
  );
  const { rows: sequences } = await client.query<Sequence>(
    'select schemaname as schema, sequencename as name, last_value::text as value from pg_catalog.pg_sequences where schemaname = any ($1) order by 1, 2',
    [schemas],
  );
  return { ...version[0], applied, schemas, tables, partitions, sequences };
}

/** Schemas that schema.sql does not make: their rows are backed up as well, so that nobody believes a backup that cannot restore them. */
async function byHand(client: pg.ClientBase, own: string[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `
    select nspname as name
    from pg_catalog.pg_namespace as namespace
    where nspname !~ '^pg_' and nspname not in ('public', 'information_schema', 'graphile_worker', 'pgboss')
      and nspname <> all ($1)
      and exists (
        select from pg_catalog.pg_class as class
        where relnamespace = namespace.oid and relkind = 'r' and ${notOfAnExtension}
      )
    order by 1`,
    [own],
  );
  return rows.map(({ name }) => name);
}

const notOfAnExtension =
  "not exists (select from pg_catalog.pg_depend where classid = 'pg_catalog.pg_class'::regclass and objid = class.oid and deptype = 'e')";

type Columns = Pick<SourceTable, 'schema' | 'name' | 'columns'>;

export function tableName({ schema, name }: { schema: string; name: string }): string {
  return `${quote(schema)}.${quote(name)}`;
}

/** The rows of a table as text, a line each, in the columns' order. */
export function copyOut(client: pg.ClientBase, table: Columns): ReturnType<typeof to> {
  const copy = client.query(to(`copy ${tableName(table)} (${table.columns.map(quote).join(', ')}) to stdout`));
  // Whoever has given it up may still hear that its connection was ended: that is no news then.
  copy.on('error', () => {});
  return copy;
}

/** The sum of 64 bits of each row's MD5: it shows what was lost or altered, and does not protect from someone who means to. */
export async function digestOf(client: pg.ClientBase, table: Columns): Promise<Digest> {
  const { rows } = await client.query(
    `
    select count(*)::float8 as rows,
      coalesce(sum(('x' || left(md5(kept::text), 16))::bit(64)::bigint), 0)::text as checksum
    from (select ${table.columns.map(quote).join(', ')} from only ${tableName(table)}) as kept`,
  );
  return rows[0];
}
