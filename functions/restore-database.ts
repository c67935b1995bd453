import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { connected } from './connection.ts';
import { quote } from './sql-names.ts';

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
