import pg from 'pg';

/**
 * What every connection begins with. A server may vanish without a word (its power, its network, another one in its place): who connects
 * waits no longer than this, and while nothing runs the system asks whether the other end is there; node's own delay would be two hours.
 * What runs needs a time limit of its own: of what was sent and not acknowledged the system tells after a quarter of an hour.
 */
export const noticesLoss = {
  connectionTimeoutMillis: 10_000,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10_000,
} satisfies pg.ClientConfig;

/** Runs `work` on a connection of its own, which is closed after it. */
export async function connected<Result>(
  connectionString: string,
  work: (client: pg.Client) => Promise<Result>,
  options: pg.ClientConfig = {},
): Promise<Result> {
  const client = new pg.Client({ ...noticesLoss, connectionString, ...options });
  // A connection that breaks fails the query that is running; without a listener it would end the process too.
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** Where connectionTimeoutMillis were given to the pool, it would end the waiting for a connection that is free, too. */
class PooledClient extends pg.Client {
  constructor(config: pg.ClientConfig = {}) {
    // The pool hides it from a spread.
    super({ ...noticesLoss, ...config, password: config.password });
  }
}

/**
 * A pool whose connections may break: what was asked on one fails then, and nothing else.
 *
 * @param lost told of those that nobody used.
 */
export function openPool(config: pg.PoolConfig, lost: (error: Error) => void = () => {}): pg.Pool {
  const pool = new pg.Pool({ Client: PooledClient, ...config });
  pool.on('error', lost);
  // One that is in use says it twice: to its query, and as an event that would end the process.
  pool.on('connect', (client) => void client.on('error', () => {}));
  return pool;
}

/** The owner's connection, acting as the role that owns what is in schema.sql; with settings of its session. */
export function asOwner(databaseUrl: string, session: Record<string, string> = {}): string {
  const url = new URL(databaseUrl);
  const own = Object.entries({ role: 'plinth_owner', ...session }).map(([name, value]) => `-c ${name}=${value}`);
  const options = [...url.searchParams.getAll('options'), ...own].join(' ');
  url.searchParams.delete('options');
  // Not by searchParams, which writes a space as +: libpq takes that for a plus.
  return `${url.href}${url.search ? '&' : '?'}options=${encodeURIComponent(options)}`;
}
