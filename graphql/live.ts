import { createHash } from 'node:crypto';
import type { GraphQLSchema } from 'graphql';
import pg from 'pg';
import type { Logger } from 'pino';
import { type Catalog, readCatalog } from '../functions/catalog.ts';
import { noticesLoss } from '../functions/connection.ts';
import type { Refusal } from '../functions/refusal.ts';
import { connectionOptions, isLost } from '../functions/requests.ts';
import { buildSchema } from './schema.ts';

/** The API as the database is now. */
export type Api = { catalog: Catalog; schema: GraphQLSchema; fingerprint: string };

/** An API that follows its database: what DDL changes is served within a second. */
export type LiveApi = { current: Api; close(): Promise<void> };

// A burst of DDL, such as a whole section applied, is one change; one that does not end is served all the same.
const quiet = 50;
const longestBurst = 1000;
const between = 1000;
const longestReading = 60_000;
const openViews =
  'Views serve rows past row level security to everyone who may read them: alter view … set (security_invoker = true), or say "@asOwner" in the comment.';

/**
 * Builds the API and follows the database from then on: an event trigger notifies, and where a superuser did not make it, the catalog is
 * asked every second. A change that cannot be served (two things of one name, …) is logged, and the API stays as it was.
 *
 * @param url the database, as plinth_server.
 * @param changed told of each new API, the first one included.
 * @param heartbeat how often the database is asked whether it is still there, and how long it may take to answer, in milliseconds.
 * @throws Refusal where the first API cannot be built.
 */
export async function followDatabase(
  url: string,
  log: Logger,
  changed: (api: Api) => void,
  heartbeat = 10_000,
): Promise<LiveApi> {
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  // When the first change was made that has not been read.
  let changedAt: number | undefined;
  // The fingerprint of a catalog that cannot be served: told once.
  let refused: string | undefined;
  let isReading = false;
  const patient = { query_timeout: heartbeat };
  let client = await connect();
  const live: LiveApi = {
    current: await load().catch(async (error) => {
      closed = true;
      await client.end();
      throw error;
    }),
    async close() {
      closed = true;
      clearTimeout(timer);
      clearInterval(poll);
      clearInterval(beating);
      await client.end().catch(() => {});
    },
  };
  tell(live.current, []);

  /** Who knows of a view already need not be told again. */
  function tell(api: Api, known: string[]): void {
    const views = api.catalog.openViews.filter((name) => !known.includes(name));
    if (views.length > 0) log.warn({ views }, openViews);
    changed(api);
  }

  async function connect(): Promise<pg.Client> {
    const made = new pg.Client({
      ...noticesLoss,
      connectionString: url,
      options: connectionOptions,
      application_name: 'plinth listener',
    });
    made.on('error', () => {});
    made.on('notification', () => soon());
    try {
      await made.connect();
      await made.query({ text: 'listen plinth_ddl', ...patient });
    } catch (error) {
      await made.end().catch(() => {});
      throw error;
    }
    made.on('end', () => void reconnect());
    return made;
  }

  async function reconnect(): Promise<void> {
    for (let wait = 100; !closed; wait = Math.min(wait * 2, 5000)) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (closed) return;
      try {
        client = await connect();
        // What changed meanwhile was not heard.
        return soon();
      } catch (error) {
        log.warn({ error: (error as Error).message }, 'The database cannot be reached; trying again.');
      }
    }
  }

  /** Of a server that is gone without a word as little is heard as of one where nothing changes. What is being read has its own limit. */
  async function beat(): Promise<void> {
    if (isReading) return;
    const asked = client;
    await asked.query({ text: 'select 1', ...patient }).catch(() => asked.end().catch(() => {}));
  }

  function soon(): void {
    changedAt ??= performance.now();
    const left = changedAt + longestBurst - performance.now();
    reloadIn(Math.max(0, Math.min(quiet, left)));
  }

  function reloadIn(milliseconds: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void reload(), milliseconds);
  }

  async function reload(): Promise<void> {
    // What changes meanwhile may be too late for that.
    if (isReading) return reloadIn(quiet);
    isReading = true;
    changedAt = undefined;
    const asked = client;
    // It waits for those who change the schema; but the server may be gone.
    const limit = setTimeout(() => void asked.end().catch(() => {}), longestReading);
    const catalog = await readCatalog(asked).catch((error) => {
      // A new connection reads it anyway; one that is still there does not.
      if (closed || isLost(error)) return;
      log.warn({ error: error.message }, 'The catalog cannot be read; trying again.');
      reloadIn(between);
    });
    clearTimeout(limit);
    isReading = false;
    if (!catalog || closed) return;
    const fingerprint = fingerprintOf(catalog);
    const isKnown = fingerprint === live.current.fingerprint || fingerprint === refused;
    if (fingerprint !== refused) refused = undefined;
    if (isKnown) return;
    const { openViews: known } = live.current.catalog;
    try {
      live.current = { catalog, schema: buildSchema(catalog), fingerprint };
    } catch (error) {
      refused = fingerprint;
      const { message, remedy } = error as Refusal;
      log.error(
        { error: message, remedy },
        'The schema has changed, but its API cannot be served; the former one still is.',
      );
      return;
    }
    tell(live.current, known);
    log.info('The schema has changed: the API was built anew.');
  }

  async function load(): Promise<Api> {
    const catalog = await readCatalog(client);
    return { catalog, schema: buildSchema(catalog), fingerprint: fingerprintOf(catalog) };
  }

  const { rows } = await client.query("select from pg_catalog.pg_event_trigger where evtname = 'plinth_ddl'");
  const poll = rows.length > 0 ? undefined : setInterval(() => void reload(), between);
  poll?.unref();
  const beating = setInterval(() => void beat(), heartbeat).unref();
  return live;
}

function fingerprintOf(catalog: Catalog): string {
  return createHash('sha256').update(JSON.stringify(catalog)).digest('hex').slice(0, 16);
}
