import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { queryTotals } from '../functions/generated/operations.ts';
import type { QueryTimes } from '../functions/query-times.ts';
import type { Requests } from '../functions/requests.ts';
import type { Tokens } from '../functions/tokens.ts';
import { json, type Reply, refuse } from './exchange.ts';
import { type Metrics, metricsType } from './metrics.ts';
import { identify } from './transport.ts';

const mostOperations = 50;

/** What operators and machines are told beside GraphQL: /admin/db_metrics and /metrics. */
export function openAdmin({
  verify,
  requests,
  times,
  metrics,
  slowQueryMs,
  metricsToken,
}: {
  verify: Tokens['verify'];
  requests: Requests;
  times: QueryTimes;
  /** Nothing where they are off. */
  metrics: Metrics | undefined;
  slowQueryMs: number;
  metricsToken: string | undefined;
}) {
  /** What the server has waited for Postgres (E4), and what Postgres itself counts; times in seconds. For operators. */
  async function dbMetrics(request: IncomingMessage, id: string): Promise<Reply> {
    const { claims } = await identify(verify, request.headers.authorization).catch((error) => ({ claims: error }));
    if (claims instanceof Error) return unauthenticated(claims.message);
    if (claims.role === 'anonymous') return unauthenticated('Sign in as an operator.');
    if (claims.role !== 'operator') return refuse(403, 'FORBIDDEN', 'This is for operators.');
    const { role, sub, sid } = claims;
    const caller = { role, claims: { sub, sid, request_id: id } };
    // Read before it asks Postgres itself.
    const ours = { db_metrics: serverTotals(), operations: serverOperations() };
    let postgres: unknown;
    try {
      // Asked as the operator: whether the session still holds, Postgres tells.
      postgres = await queryTotals(
        (calls, { readOnly }) => requests.run(caller, calls, { readOnly, operation: 'db_metrics' }),
        { slowMilliseconds: slowQueryMs },
      );
    } catch (error) {
      const { code, message, hint } = error as Error & { code?: string; hint?: string };
      if (code === 'PT401') return unauthenticated(message);
      if (code !== 'PT409') throw error;
      postgres = { unavailable: message, remedy: hint };
    }
    return json(200, { ...ours, postgres });
  }

  function serverTotals() {
    const { since, queries, slow, milliseconds } = times.totals();
    const percentage = queries > 0 ? (100 * slow) / queries : 0;
    return {
      since,
      total_queries: queries,
      slow_queries: slow,
      total_time: seconds(milliseconds),
      avg_time: seconds(queries > 0 ? milliseconds / queries : 0),
      slow_query_percentage: Math.round(percentage * 100) / 100,
      slow_query_threshold: slowQueryMs / 1000,
      is_flagged: percentage > 1,
    };
  }

  function serverOperations() {
    return times.operations(mostOperations).map(({ operation, queries, slow, milliseconds, longest }) => ({
      operation,
      queries,
      slow_queries: slow,
      total_time: seconds(milliseconds),
      avg_time: seconds(milliseconds / queries),
      max_time: seconds(longest),
    }));
  }

  async function prometheus(request: IncomingMessage): Promise<Reply> {
    if (!metrics) return refuse(404, 'NOT_FOUND', 'There are no metrics here (METRICS).');
    if (metricsToken !== undefined && !isSame(request.headers.authorization ?? '', `Bearer ${metricsToken}`)) {
      return unauthenticated('Send METRICS_TOKEN as a bearer token.');
    }
    return { status: 200, headers: { 'content-type': metricsType }, body: await metrics.text() };
  }

  return { dbMetrics, prometheus };
}

function unauthenticated(message: string): Reply {
  return refuse(401, 'UNAUTHENTICATED', message, { 'www-authenticate': 'Bearer' });
}

/** To the microsecond. */
function seconds(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1_000_000;
}

function isSame(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}
