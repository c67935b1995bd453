import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { from } from 'pg-copy-streams';
import { openPlain, type Partition, type Sequence, type SourceTable, tableName } from './backup-source.ts';
import { connected } from './connection.ts';
import { quote } from './sql-names.ts';

type Table = Pick<SourceTable, 'schema' | 'name' | 'columns'>;

/** A database of the server that someone may connect to who is about to rename or drop `avoid`. */
async function administrative(databaseUrl: string, avoid: string): Promise<string> {
  for (const name of ['postgres', 'template1']) {
    if (name === avoid) continue;
    const url = urlOf(databaseUrl, name);
    if (await connected(url, async () => true).catch(() => false)) return url;
  }
  return databaseUrl;
}

function urlOf(databaseUrl: string, name: string): string {
  return Object.assign(new URL(databaseUrl), { pathname: encodeURIComponent(name) }).href;
}

export function databaseOf(databaseUrl: string): string {
  return decodeURIComponent(new URL(databaseUrl).pathname.slice(1));
}

/** A database that something is restored into, on its way to be dropped or put in the place of another. */
export type Draft = { name: string; url: string; major: number };

/** Makes an empty database on the server; `like` names the one whose encoding and locale it gets, where there is such a one. */
export async function makeDraft(databaseUrl: string, like: string): Promise<Draft> {
  const name = `${begin}${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`;
  return connected(await administrative(databaseUrl, like), async (admin) => {
    await dropLeft(admin);
    const { rows } = await admin.query(
      `
      select current_setting('server_version_num')::integer / 10000 as major, (
        select format('encoding %L lc_collate %L lc_ctype %L', pg_encoding_to_char(encoding), datcollate, datctype)
        from pg_catalog.pg_database
        where datname = $1 and datlocprovider = 'c'
      ) as options`,
      [like],
    );
    await admin.query(`create database ${quote(name)} template template0 ${rows[0].options ?? ''}`);
    return { name, url: urlOf(databaseUrl, name), major: rows[0].major };
  });
}

const begin = 'plinth_restore_';

/** What a process that was killed left behind: drafts that are older than a day. */
async function dropLeft(admin: pg.ClientBase): Promise<void> {
  const { rows } = await admin.query<{ name: string }>(
    'select datname as name from pg_catalog.pg_database where starts_with(datname, $1)',
    [begin],
  );
  for (const { name } of rows) {
    const made = Number.parseInt(name.slice(begin.length), 36);
    if (made < Date.now() - 86_400_000) await admin.query(`drop database if exists ${quote(name)} with (force)`);
  }
}

export async function dropDatabase(databaseUrl: string, name: string): Promise<void> {
  await connected(await administrative(databaseUrl, name), (admin) =>
    admin.query(`drop database if exists ${quote(name)} with (force)`),
  );
}

/** What a restore into it would take away: undefined where there is no such database. */
export async function databaseSize(databaseUrl: string, name: string): Promise<number | undefined> {
  return connected(await administrative(databaseUrl, name), async (admin) => {
    const { rows } = await admin.query(
      'select pg_database_size(oid)::float8 as bytes from pg_catalog.pg_database where datname = $1',
      [name],
    );
    return rows[0]?.bytes;
  });
}

/**
 * Puts a draft in the place of a database, in one transaction: there is never none. The former one's connections are ended, its owner,
 * settings and rights go over, and it is left under the name that is given back.
 *
 * @throws pg.DatabaseError (55006) where someone keeps using it.
 */
export async function putInPlace(databaseUrl: string, draft: string, target: string): Promise<string | undefined> {
  const url = await administrative(databaseUrl, target);
  return connected(url, async (admin) => {
    const { rowCount } = await admin.query('select from pg_catalog.pg_database where datname = $1', [target]);
    if (rowCount === 0) {
      await admin.query(`alter database ${quote(draft)} rename to ${quote(target)}`);
      return undefined;
    }
    const { rows } = await admin.query<{ statement: string }>(likeness, [target, draft]);
    for (const { statement } of rows) await admin.query(statement);
    const former = `${target.slice(0, 40)}_before_${draft.slice(begin.length)}`;
    const ending = setInterval(() => void endConnections(url, target).catch(() => {}), 200);
    try {
      await endConnections(url, target);
      // From here on nobody new gets in; it waits 5 s for who is in.
      await admin.query('begin');
      await admin.query(`alter database ${quote(target)} rename to ${quote(former)}`);
      await admin.query(`alter database ${quote(draft)} rename to ${quote(target)}`);
      await admin.query('commit');
    } catch (error) {
      await admin.query('rollback').catch(() => {});
      throw error;
    } finally {
      clearInterval(ending);
    }
    return former;
  });
}

async function endConnections(url: string, name: string): Promise<void> {
  await connected(url, (client) =>
    client.query('select pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where datname = $1', [name]),
  );
}

// What makes the database $2 like $1, beside what is in it.
const likeness = `
  select format('alter database %I owner to %I', $2::text, datdba::regrole::text) as statement
  from pg_catalog.pg_database
  where datname = $1 and datdba <> current_user::regrole
  union all
  select format(
    'alter database %I set %I = %L', $2, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
  )
  from pg_catalog.pg_db_role_setting
  join pg_catalog.pg_database on pg_database.oid = setdatabase
  cross join unnest(setconfig) as setting
  where datname = $1 and setrole = 0
  union all
  select format('revoke all on database %I from public', $2)
  from pg_catalog.pg_database
  where datname = $1 and datacl is not null
  union all
  select format(
    'grant %s on database %I to %s%s', privilege_type, $2,
    case when grantee = 0 then 'public' else quote_ident(grantee::regrole::text) end,
    case when is_grantable then ' with grant option' else '' end
  )
  from pg_catalog.pg_database
  cross join aclexplode(datacl)
  where datname = $1 and grantee <> datdba`;

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
    const { rows } = await client.query('select to_regclass($1) as found, current_user as self', [name]);
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

/** What is to be done again once the rows are in. */
export type Postponed = { statement: string }[];

/**
 * Makes the tables ready for their rows: empty; without the indexes that are faster made afterwards; without foreign keys to tables that are
 * not loaded. Where this role may not leave out triggers (openLoader), they are turned off until then.
 */
export async function prepare(client: pg.ClientBase, tables: Table[]): Promise<Postponed> {
  const names = tables.map(tableName);
  if (names.length === 0) return [];
  const { rows: foreign } = await client.query<{ statement: string }>(foreignKeysOutOf, [names]);
  for (const { statement } of foreign) await client.query(statement);
  const triggers = await triggersOff(client, names);
  // Emptying fires triggers, too.
  await client.query(`truncate ${names.join(', ')} cascade`);
  const { rows: indexes } = await client.query<{ dropped: string; statement: string }>(indexesOf, [names]);
  for (const { dropped } of indexes) await client.query(dropped);
  return [...indexes, ...triggers];
}

async function triggersOff(client: pg.ClientBase, names: string[]): Promise<Postponed> {
  const { rows } = await client.query("select current_setting('session_replication_role') as role");
  if (rows[0].role === 'replica') return [];
  const { rows: triggers } = await client.query<{ off: string; statement: string }>(triggersOf, [names]);
  for (const { off } of triggers) await client.query(off);
  return triggers;
}

// Those of partitions go with their parent's.
const foreignKeysOutOf = `
  select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
  from pg_catalog.pg_constraint
  where contype = 'f' and conparentid = 0
    and conrelid in (select root from unnest($1::regclass[]) as loaded, lateral coalesce(pg_partition_root(loaded), loaded) as root)
    and confrelid not in (select root from unnest($1::regclass[]) as loaded, lateral coalesce(pg_partition_root(loaded), loaded) as root)`;

const indexesOf = `
  select format('drop index %s', indexrelid::regclass) as dropped,
    replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') as statement
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

/**
 * Runs `work` where a role exists that what it makes is to belong to. Where it has to be made for that, what belongs to it goes over to who is
 * connected, and it is dropped again: on another cluster another role is the owner.
 */
export async function withOwner(databaseUrl: string, role: string, work: () => Promise<void>): Promise<void> {
  const name = quote(role);
  const isMissing = await connected(databaseUrl, async (client) => {
    const { rowCount } = await client.query('select from pg_catalog.pg_roles where rolname = $1', [role]);
    if (rowCount === 1) return false;
    // What belongs to a superuser may be given to one only (an event trigger).
    const { rows } = await client.query("select current_setting('is_superuser') = 'on' as super");
    await client.query(`create role ${name} nologin ${rows[0].super ? 'superuser' : ''}`);
    await client.query(`grant ${name} to current_user`);
    return true;
  });
  if (!isMissing) return work();
  const end = (first: string): Promise<unknown> =>
    connected(databaseUrl, (client) => client.query(`${first}drop owned by ${name}; drop role ${name}`));
  try {
    await work();
  } catch (error) {
    await end('').catch(() => {});
    throw error;
  }
  await end(`reassign owned by ${name} to current_user; `);
}

/** What schema.sql gives a database beside what is in it; pg_dump leaves it out. */
export async function grantOwner(client: pg.ClientBase, name: string): Promise<void> {
  await client.query(`grant create on database ${quote(name)} to plinth_owner`);
  // It comes with the rest, but only after objects were given to that role, which asks for it.
  await client.query('grant usage, create on schema public to plinth_owner');
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
  return error instanceof pg.DatabaseError && /^(22|23|42)/.test(error.code ?? '');
}
