import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { connected } from '../functions/connection.ts';
import { startEmbedded } from '../functions/embedded.ts';

/** Empty databases for a test file, all dropped by `close`. */
export type Scratch = {
  /** The server that they are on. */
  url: string;
  /** An empty one, or a copy. */
  create(template?: string): Promise<string>;
  query(sql: string): Promise<pg.QueryResult>;
  close(): Promise<void>;
};

/** Uses the server of TEST_DATABASE_URL, as `npm test` sets it; a test file run alone starts one of its own. */
export async function openScratch(): Promise<Scratch> {
  const server = process.env.TEST_DATABASE_URL ? undefined : await startOwn(() => {});
  const url = process.env.TEST_DATABASE_URL || server?.url || '';
  // One connection, so that Postgres is not asked to copy its template twice at once.
  const admin = new pg.Pool({ connectionString: url, max: 1 });
  // Its end does not wait until the connection is closed: the server that stops next may still tell it so.
  admin.on('error', () => {});
  const made: string[] = [];
  return {
    url,
    async create(template = 'template1') {
      const name = `scratch_${randomBytes(6).toString('hex')}`;
      await admin.query(`create database ${name} template ${template}`);
      made.push(name);
      const own = new URL(url);
      own.pathname = name;
      return own.href;
    },
    query: (sql) => admin.query(sql),
    async close() {
      for (const name of made) await admin.query(`drop database ${name} with (force)`);
      await admin.end();
      await server?.stop();
    },
  };
}

/** Runs statements on a connection of their own; gives the rows of the last. */
export async function query(databaseUrl: string, sql: string) {
  const results = [await connected(databaseUrl, (client) => client.query(sql))].flat();
  return results.at(-1)?.rows ?? [];
}

/** Drops the databases that test/world.ts has made to copy from. */
export async function dropTemplates(url: string): Promise<void> {
  await connected(url, async (client) => {
    const { rows } = await client.query("select datname from pg_database where datname like 'plinth\\_template\\_%'");
    for (const { datname } of rows) await client.query(`drop database if exists ${datname} with (force)`);
  });
}

// Many test files at once, each with a server and workers.
const throwAway = ['fsync=off', 'full_page_writes=off', 'synchronous_commit=off', 'max_connections=300'].flatMap(
  (flag) => ['-c', flag],
);

/** Starts a Postgres that is thrown away with all that is in it. */
export async function startOwn(log: (message: string) => void): Promise<{ url: string; stop(): Promise<void> }> {
  const dataDirectory = await mkdtemp(path.join(tmpdir(), 'plinth-test-'));
  const remove = (): Promise<void> => rm(dataDirectory, { recursive: true, force: true });
  const start = startEmbedded({ dataDirectory, log, flags: throwAway });
  const { url, stop } = await start.catch((error) => remove().then(() => Promise.reject(error)));
  return { url, stop: () => stop().finally(remove) };
}
