import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { bringUpToDate, schemaFile } from './apply.ts';
import { connected } from './connection.ts';
import { runningEmbedded, startEmbedded } from './embedded.ts';
import { Refusal } from './refusal.ts';
import type { Settings } from './settings.ts';

/** A database as its owner. `stop` ends what was started for it, and nothing else. */
export type Database = { url: string; stop(): Promise<void>; ended: Promise<string | undefined> };

const answersWithin = 10_000;
const looksEvery = 500;
// cannot_connect_now
const startingUp = '57P03';
const oldest = 15;
const newest = 18;

/**
 * The database that the settings name, checked to answer: DATABASE_URL, or the embedded one, started unless a Plinth
 * that runs already has started it (only when `shared`).
 *
 * @param shared whether to join the embedded database of a Plinth that runs, as the scripts do beside a server.
 * @param log told what is done, in sentences.
 * @param signal ends the waiting for one that is starting up, which may take it long (it recovers from a crash).
 * @throws Refusal when it does not answer within 10 s, is older than Postgres 15 or newer than 18, or cannot start.
 */
export async function openDatabase(
  { databaseUrl, plinthData }: Pick<Settings, 'databaseUrl' | 'plinthData'>,
  { shared, log, signal }: { shared: boolean; log: (message: string) => void; signal?: AbortSignal },
): Promise<Database> {
  const url = databaseUrl ?? (shared ? runningEmbedded(plinthData) : undefined);
  if (!url) return startEmbedded({ dataDirectory: plinthData, log });
  await checkAnswer(url, log, signal);
  return { url, stop: async () => {}, ended: new Promise(() => {}) };
}

/**
 * Runs what a script does with the database, beside a server or alone.
 *
 * @param upToDate whether the database gets schema.sql first.
 */
export async function withDatabase<Result>(
  settings: Settings,
  { log, upToDate }: { log: (message: string) => void; upToDate: boolean },
  work: (url: string) => Promise<Result>,
): Promise<Result> {
  const { url, stop } = await openDatabase(settings, { shared: true, log });
  try {
    const { development } = settings;
    if (upToDate) await bringUpToDate({ databaseUrl: url, schemaFile, development, report: log });
    return await work(url);
  } finally {
    await stop();
  }
}

async function checkAnswer(url: string, log: (message: string) => void, signal?: AbortSignal): Promise<void> {
  const { host, pathname } = new URL(url);
  const name = `${host}${pathname}`;
  const patience = { connectionTimeoutMillis: answersWithin, query_timeout: answersWithin };
  const ask = (): Promise<pg.QueryResult> =>
    connected(url, (client) => client.query('show server_version_num'), patience).catch(async (cause) => {
      if (cause.code !== startingUp || signal?.aborted) {
        throw new Refusal(`The database at ${name} does not answer: ${cause.message || cause.code}`, {
          remedy: 'Start it, or correct DATABASE_URL; without DATABASE_URL an embedded one is started.',
          cause,
        });
      }
      if (!isToldOf) log(`The database at ${name} is not ready yet (${cause.message}): waiting for it`);
      isToldOf = true;
      await sleep(looksEvery, undefined, { signal }).catch(() => {});
      return ask();
    });
  let isToldOf = false;
  const { rows } = await ask();
  const version = Math.floor(Number(rows[0].server_version_num) / 10_000);
  if (version >= oldest && version <= newest) return;
  throw new Refusal(`The database at ${name} is Postgres ${version}; Plinth runs on ${oldest} to ${newest}.`, {
    remedy: 'Set DATABASE_URL to another server, or leave it out: an embedded Postgres 18 is started.',
  });
}
