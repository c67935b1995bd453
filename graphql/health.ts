import type { Cache, CacheState } from '../functions/cache.ts';
import type { LogFollower, LogState } from '../functions/event-log.ts';
import type { Replica, ReplicaState } from '../functions/replica.ts';
import type { Requests } from '../functions/requests.ts';
import manifest from '../package.json' with { type: 'json' };
import type { LiveApi } from './live.ts';
import type { Subscriptions } from './subscriptions.ts';

type Readiness = {
  status: 'ready' | 'unavailable';
  database: { reachable: boolean; milliseconds?: number };
  /** Where there is one. That it is lost costs no request. */
  replica?: ReplicaState;
  /** The schema that is served; the fingerprint is of what the catalog grants. */
  schema: { applied: boolean; fingerprint: string; fields: number };
  connections: { total: number; idle: number; waiting: number };
  /** Of subscribers: how many there are, what was sent to all since the start, and how many read too slowly. */
  events: LogState & { subscribers: number; deliveries: number; cutOff: number };
  /** A cache that fails is done without: it makes nothing unavailable. */
  cache: CacheState;
  versions: { plinth: string; postgres?: string; runtime: string };
};

const plinth = manifest.version;
const runtime = 'Deno' in globalThis ? `deno ${process.versions.deno}` : `node ${process.versions.node}`;

/**
 * Tells whether requests can be answered now: status 200 or 503, with the state of what they stand on. Who asks while Postgres is being
 * asked gets the same answer: however many ask, it is one query.
 */
export function openReadiness(parts: Parts): () => Promise<[number, Readiness]> {
  let asked: Promise<[number, Readiness]> | undefined;
  return () => {
    asked ??= readinessOf(parts).finally(() => {
      asked = undefined;
    });
    return asked;
  };
}

type Parts = {
  requests: Pick<Requests, 'pool' | 'connections'>;
  replica: Pick<Replica, 'state'> | undefined;
  live: LiveApi;
  eventLog: Pick<LogFollower, 'state'>;
  subscriptions: Pick<Subscriptions, 'count' | 'totals'>;
  cache: Pick<Cache, 'state'>;
};

async function readinessOf(parts: Parts): Promise<[number, Readiness]> {
  const { requests, replica, live, eventLog, subscriptions, cache } = parts;
  const { schema, fingerprint } = live.current;
  const roots = [schema.getQueryType(), schema.getMutationType()];
  const fields = roots.flatMap((type) => Object.keys(type?.getFields() ?? {})).length;
  const { deliveries, cutOff } = subscriptions.totals();
  const shared = {
    schema: { applied: fields > 0, fingerprint, fields },
    connections: requests.connections(),
    ...(replica && { replica: replica.state() }),
    events: { ...eventLog.state(), subscribers: subscriptions.count(), deliveries, cutOff },
    cache: cache.state(),
  };
  const started = performance.now();
  try {
    const { rows } = await requests.pool.query("select current_setting('server_version') as version");
    const milliseconds = Math.round((performance.now() - started) * 10) / 10;
    const versions = { plinth, postgres: rows[0].version, runtime };
    return [200, { status: 'ready', database: { reachable: true, milliseconds }, ...shared, versions }];
  } catch {
    // The message of the driver names hosts and roles, and anyone may ask.
    const database = { reachable: false };
    return [503, { status: 'unavailable', database, ...shared, versions: { plinth, runtime } }];
  }
}
