import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbedded } from '../functions/embedded.ts';

/** Empty databases for a test file, all dropped by `close`. */
export type Scratch = {
  create(): Promise<string>;
  query(sql: string): Promise<pg.QueryResult>;
  close(): Promise<void>;
};

/** Uses the server of TEST_DATABASE_URL, as `npm test` sets it; a test file run alone starts one of its own. */
export async function openScratch(): Promise<Scratch> {
  const server = process.env.TEST_DATABASE_URL ? undefined : await startOwn();
  const url = process.env.TEST_DATABASE_URL || server?.url || '';
  // One connection, so that Postgres is not asked to copy its template twice at once.
  const admin = new pg.Pool({ connectionString: url, max: 1 });
  // Its end does not wait until the connection is closed: the server that stops next may still tell it so.
  admin.on('error', () => {});
  const made: string[] = [];
  return {
    async create() {
      const name = `scratch_${randomBytes(6).toString('hex')}`;
      await admin.query(`create database ${name}`);
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

/** Drops the databases that test/world.ts has made to copy from. */
export async function dropTemplates(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query("select datname from pg_database where datname like 'plinth\\_template\\_%'");
    for (const { datname } of rows) await client.query(`drop database if exists ${datname} with (force)`);
  } finally {
    await client.end();
  }
}

async function startOwn(): Promise<{ url: string; stop(): Promise<void> }> {
  const dataDirectory = await mkdtemp(path.join(tmpdir(), 'plinth-test-'));
  const database = await startEmbedded({ dataDirectory, log: () => {}, flags: ['-c', 'fsync=off'] });
  const stop = async () => {
    await database.stop();
    await rm(dataDirectory, { recursive: true, force: true });
  };
  return { url: database.url, stop };
}
