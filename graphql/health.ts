import type pg from 'pg';
import type { LiveApi } from './live.ts';

type Readiness = {
  status: 'ready' | 'unavailable';
  database: { reachable: boolean; version?: string; milliseconds?: number; error?: string };
  api: { fields: number };
  connections: { total: number; idle: number; waiting: number };
  runtime: string;
};

/** Whether requests can be answered now: status 200 or 503, with the state of what they stand on. */
export async function readinessOf(pool: pg.Pool, live: LiveApi): Promise<[number, Readiness]> {
  const { schema } = live.current;
  const fields = [schema.getQueryType(), schema.getMutationType()].flatMap((type) =>
    Object.keys(type?.getFields() ?? {}),
  );
  const shared = {
    api: { fields: fields.length },
    connections: { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount },
    runtime: 'Deno' in globalThis ? `deno ${process.versions.deno}` : `node ${process.versions.node}`,
  };
  const started = performance.now();
  try {
    const { rows } = await pool.query("select current_setting('server_version') as version");
    const milliseconds = Math.round((performance.now() - started) * 10) / 10;
    return [200, { status: 'ready', database: { reachable: true, version: rows[0].version, milliseconds }, ...shared }];
  } catch (error) {
    return [503, { status: 'unavailable', database: { reachable: false, error: (error as Error).message }, ...shared }];
  }
}
