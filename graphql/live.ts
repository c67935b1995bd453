import { createHash } from 'node:crypto';
import type { GraphQLSchema } from 'graphql';
import pg from 'pg';
import type { Logger } from 'pino';
import { type Catalog, readCatalog } from '../functions/catalog.ts';
import type { Refusal } from '../functions/refusal.ts';
import { connectionOptions } from '../functions/requests.ts';
import { buildSchema } from './schema.ts';

/** The API as the database is now. */
export type Api = { catalog: Catalog; schema: GraphQLSchema; fingerprint: string };

/** An API that follows its database: what DDL changes is served within a second. */
export type LiveApi = { current: Api; close(): Promise<void> };

// A burst of DDL, such as a whole section applied, is one change.
const quiet = 50;
const between = 1000;
const openViews =
  'Views serve rows past row level security to everyone who may read them: alter view … set (security_invoker = true), or say "@asOwner" in the comment.';

/**
 * Builds the API and follows the database from then on: an event trigger notifies, and where a superuser did not make it, the catalog is
 * asked every second. A change that cannot be served (two things of one name, …) is logged, and the API stays as it was.
 *
 * @param url the database, as plinth_server.
 * @param changed told of each new API, the first one included.
 * @throws Refusal where the first API cannot be built.
 */
export async function followDatabase(url: string, log: Logger, changed: (api: Api) => void): Promise<LiveApi> {
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  // The fingerprint of a catalog that cannot be served: told once.
  let refused: string | undefined;
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
      connectionString: url,
      options: connectionOptions,
      application_name: 'plinth listener',
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
    });
    made.on('error', () => {});
    made.on('notification', () => soon());
    try {
      await made.connect();
      await made.query('listen plinth_ddl');
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

  function soon(): void {
    clearTimeout(timer);
    timer = setTimeout(() => void reload(), quiet);
  }

  async function reload(): Promise<void> {
    const catalog = await readCatalog(client).catch(() => undefined);
    // Without an answer the connection is lost; the next one loads again.
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
  return live;
}

function fingerprintOf(catalog: Catalog): string {
  return createHash('sha256').update(JSON.stringify(catalog)).digest('hex').slice(0, 16);
}
