import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import pino from 'pino';
import type { Test } from 'tap';
import { applySchema } from '../functions/apply.ts';
import { serverUrl } from '../functions/server-role.ts';
import { readSettings } from '../functions/settings.ts';
import type { SigningKey } from '../functions/signing-keys.ts';
import { openTokens, type Tokens } from '../functions/tokens.ts';
import { type Server, startServer } from '../graphql/server.ts';
import type { Delivery } from '../workers/outbox.ts';
import { openDoor } from '../workers/platforms/door.ts';
import { openExports } from '../workers/stored-exports.ts';
import { type DatabaseProxy, openProxy } from './postgres-proxy.ts';
import { openScratch } from './scratch-database.ts';

export const schemaFile = path.join(import.meta.dirname, '..', 'schema.sql');

/** schema.sql, and behind it the files of test/fixtures. */
export function schemaWith(...fixtures: string[]): string {
  const files = fixtures.map((name) => path.join(import.meta.dirname, 'fixtures', `${name}.sql`));
  return [schemaFile, ...files].map((file) => readFileSync(file, 'utf8')).join('');
}

export type Answer = {
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of the query each test sends
  data?: any;
  errors?: { message: string; path?: string[]; extensions?: Record<string, string> }[];
};

type Env = Record<string, string>;

export type Person = { id: string; username: string; token: string };

/** A database with schema.sql, a server on it, and what tests ask of both. It is gone when the test ends. */
export type World = {
  databaseUrl: string;
  /** The owner's connections to the database. */
  owner: pg.Pool;
  server: Server;
  /** What the server reaches the database through. */
  proxy: DatabaseProxy;
  tokens: Tokens;
  /** What tokens are signed with. */
  keys: SigningKey[];
  /** The texts and mails that were sent, oldest first. */
  delivered: Delivery[];
  /** What was logged. */
  logged: Record<string, unknown>[];
  /** A GraphQL request by POST. */
  ask(query: string, variables?: object, token?: string): Promise<Answer>;
  /** A signed-in user, made in SQL. */
  person(username: string, options?: { operator?: boolean }): Promise<Person>;
  /** A token of the role service. */
  service(): Promise<string>;
};

/**
 * Opens a world.
 *
 * @param options.schema another schema.sql, as text.
 * @param options.env settings that differ from the defaults, or what makes them of the database's URL.
 * @param options.heartbeat how often a quiet connection is written to, in milliseconds.
 */
export async function openWorld(
  t: Test,
  {
    schema,
    env = {},
    heartbeat,
  }: { schema?: string; env?: Env | ((databaseUrl: string) => Env); heartbeat?: number } = {},
): Promise<World> {
  const scratch = await openScratch();
  // The last opened is closed first; what fails on the way leaves nothing behind.
  const closing = [scratch.close];
  t.teardown(async () => {
    for (const close of closing) await close();
  });
  const databaseUrl = await createWithSchema(scratch, schema);
  const owner = new pg.Pool({ connectionString: databaseUrl, max: 4 });
  closing.unshift(() => owner.end());
  owner.on('error', () => {});
  await liftLimits(owner);
  const keys = [{ kid: 'test', key: randomBytes(32) }];
  const delivered: Delivery[] = [];
  const logged: Record<string, unknown>[] = [];
  const own = typeof env === 'function' ? env(databaseUrl) : env;
  const settings = readSettings({ PORT: '0', HOST: '127.0.0.1', PLINTH_ENV: 'development', ...own });
  const proxy = await openProxy(await serverUrl(databaseUrl));
  closing.unshift(proxy.close);
  const server = await startServer({
    settings: { ...settings, serverDatabaseUrl: proxy.url },
    keys,
    databaseUrl,
    log: pino(
      { level: settings.logLevel, base: null },
      { write: (line: string) => void logged.push(JSON.parse(line)) },
    ),
    deliver: async (delivery) => void delivered.push(delivery),
    openExport: openExports(settings),
    platformDoor: openDoor(settings.credentialsKey),
    ...(heartbeat !== undefined && { heartbeat }),
  });
  closing.unshift(server.close);
  const tokens = openTokens(keys);

  return {
    databaseUrl,
    owner,
    server,
    proxy,
    tokens,
    keys,
    delivered,
    logged,
    service: () => tokens.sign({ role: 'service' }),
    async ask(query, variables = {}, token) {
      const response = await fetch(`${server.url}graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ query, variables }),
      });
      return (await response.json()) as Answer;
    },
    async person(username, { operator = false } = {}) {
      const made = await owner.query(
        `with made as (
          insert into identity.users (username, display_name) values ($1, $1) returning id
        ), account as (
          insert into identity.accounts (user_id, is_operator) select id, $2 from made returning user_id
        )
        select user_id from account`,
        [username, operator],
      );
      const { rows } = await owner.query('select (identity.open_session($1)).access_token as claims', [
        made.rows[0].user_id,
      ]);
      return { id: made.rows[0].user_id, username, token: await tokens.sign(rows[0].claims) };
    },
  };
}

/** Limits that are counted as ever, and that no test meets unless it means to. */
async function liftLimits(owner: pg.Pool): Promise<void> {
  const { rows } = await owner.query("select to_regclass('access.rate_limits') as limits");
  if (rows[0].limits) await owner.query('update access.rate_limits set count = 1000000000');
}

/** A copy of a database that has schema.sql already, or another schema: milliseconds, where applying takes seconds. */
export async function createWithSchema(
  scratch: Awaited<ReturnType<typeof openScratch>>,
  schema = readFileSync(schemaFile, 'utf8'),
): Promise<string> {
  const server = new URL(scratch.url);
  // Who made it owns what is in it: another role has its own.
  const made = createHash('sha256').update(`${server.username} ${schema}`).digest('hex').slice(0, 16);
  const template = `plinth_template_${made}`;
  server.pathname = 'postgres';
  const client = new pg.Client({ connectionString: server.href });
  await client.connect();
  try {
    // One process makes it, the others wait; the name appears when it is whole.
    await client.query(`select pg_advisory_lock(hashtext('${template}'))`);
    const { rowCount } = await client.query('select from pg_database where datname = $1', [template]);
    if (rowCount === 0) await makeTemplate(client, server, template, schema);
    // While the others wait: Postgres copies a template once at a time.
    return await scratch.create(template);
  } finally {
    await client.end();
  }
}

async function makeTemplate(client: pg.Client, server: URL, template: string, schema: string): Promise<void> {
  const draft = `${template}_draft`;
  await client.query(`drop database if exists ${draft}`);
  await client.query(`create database ${draft}`);
  const url = new URL(server);
  url.pathname = draft;
  const own = new pg.Client({ connectionString: url.href });
  await own.connect();
  try {
    await applySchema(own, schema, 'schema.sql');
  } finally {
    await own.end();
  }
  await client.query(`alter database ${draft} rename to ${template}`);
}
