import type pg from 'pg';
import { cancelOn } from './cancel.ts';
import type { ApiRole } from './catalog.ts';
import { noticesLoss, openPool } from './connection.ts';
import type { Log } from './log.ts';
import { type Call, type PipelineError, pipeline, prepare, type Rows } from './pipeline.ts';
import type { QueryTimes } from './query-times.ts';
import type { Replica } from './replica.ts';
import { endSilent, millisecondsOf } from './silence.ts';
import type { Span } from './span.ts';
import { openTurns } from './turns.ts';

/** Who a request comes from: a role and the claims of a verified token, with what the server knows of the connection. */
export type Caller = { role: ApiRole; claims: Record<string, string> };

type RunOptions = {
  readOnly: boolean;
  signal?: AbortSignal;
  share?: string;
  mayLag?: boolean;
  operation?: string;
  span?: Span | undefined;
};

/** Statements run as API roles. */
export type Requests = {
  /**
   * Runs statements as a caller in one round trip and one transaction.
   *
   * @param options.readOnly refuse writes; also lets it be tried again when the connection is lost.
   * @param options.signal cancels the statement that runs.
   * @param options.operation what its time is counted under.
   * @param options.span what its time is a part of.
   * @param options.mayLag lets a replica answer, where there is one.
   * @param options.share whose share of the connections it counts against, where that is not the caller.
   * @throws PipelineError; `at` counts from the first of the calls, and is -1 where the caller was refused.
   */
  run(caller: Caller, calls: Call[], options: RunOptions): Promise<Rows[]>;
  /** Runs a query as the server itself, for what no caller has a right to; in its turn, and for 30 s at most. */
  runAsServer(query: pg.QueryConfig, share: string): Promise<pg.QueryResult>;
  /** The longest a statement of each role may run; told anew when the catalog is. */
  setTimeouts(timeouts: Record<ApiRole, string>): void;
  pool: pg.Pool;
  connections(): { total: number; idle: number; waiting: number };
  close(): Promise<void>;
};

/**
 * What every connection of ours starts with: names are qualified, times are UTC, intervals are ISO 8601; and a plan is made once and
 * kept. Left to itself, Postgres plans a statement over many partitions anew each time, which takes longer than running it. A
 * function that needs a plan for its very arguments, such as a search, says so: `set plan_cache_mode = force_custom_plan`.
 */
export const connectionOptions = [
  'search_path=',
  'timezone=UTC',
  'intervalstyle=iso_8601',
  'datestyle=ISO',
  'client_min_messages=error',
  'plan_cache_mode=force_generic_plan',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

// Of what the server itself asks, in milliseconds. A request has that of its role.
const ownTimeout = 30_000;

const begin = prepare('select identity.begin_request($1, $2::jsonb, $3, $4)');

/**
 * Opens the pool that requests run on.
 *
 * @param url the database, as plinth_server.
 * @param log told of connections that were lost.
 * @param times told of every round trip.
 * @param replica where queries may run instead. Closed with this.
 * @param grace how much longer than its statements may run an answer may take, in milliseconds; then its connection counts as lost.
 */
export function openRequests(
  url: string,
  {
    size,
    log,
    times,
    replica,
    grace = 5000,
  }: {
    size: number;
    log: Pick<Log, 'warn'>;
    times?: QueryTimes;
    replica?: Replica | undefined;
    grace?: number;
  },
): Requests {
  const config = { ...noticesLoss, connectionString: url, options: connectionOptions, application_name: 'plinth' };
  const pool = openPool(
    {
      ...config,
      max: size,
      idleTimeoutMillis: 60_000,
      statement_timeout: ownTimeout,
    },
    (error) => log.warn({ error: error.message }, 'A database connection was lost.'),
  );
  const wait = endSilent(pool, config, ownTimeout, grace);
  const turns = openTurns(size);
  let timeouts: Partial<Record<ApiRole, string>> = {};

  async function once(
    caller: Caller,
    calls: Call[],
    { readOnly, signal, share, operation = 'other', span }: RunOptions,
  ): Promise<Rows[]> {
    const { role, claims } = caller;
    signal?.throwIfAborted();
    const endTurn = await turns.take(share ?? whoIs(caller), signal);
    const client = await pool.connect().catch((error) => {
      endTurn();
      throw error;
    });
    const timeout = timeouts[role] ?? '10s';
    const values = [role, JSON.stringify(claims), timeout, readOnly ? 'on' : 'off'];
    const cancelled = signal && cancelOn(signal, config, client);
    let lost: Error | undefined;
    let sentAt = 0;
    let within: Span | undefined;
    let failure: unknown;
    try {
      signal?.throwIfAborted();
      within = span?.child('postgres', { 'db.system.name': 'postgresql', 'db.query.text': textOf(calls) });
      sentAt = performance.now();
      // Postgres counts it for each statement anew, and sends what it has when the last is done.
      wait(client, millisecondsOf(timeout) * calls.length);
      const [, ...results] = await pipeline(client, [{ statement: begin, values }, ...calls]);
      return results;
    } catch (error) {
      failure = error;
      if (isLost(error)) lost = error as Error;
      if (typeof (error as PipelineError).at === 'number') (error as PipelineError & { at: number }).at -= 1;
      throw error;
    } finally {
      within?.end(failure);
      if (sentAt > 0) times?.add(performance.now() - sentAt, operation, caller, calls);
      // A cancellation under way would hit whatever runs next on this connection.
      const isClean = (await cancelled?.()) ?? true;
      client.release(lost ?? !isClean);
      endTurn();
    }
  }

  return {
    pool,
    connections: () => ({
      total: pool.totalCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount + turns.waiting(),
    }),
    setTimeouts(each) {
      timeouts = each;
      replica?.setTimeouts(each);
    },
    async run(caller, calls, options) {
      if (replica && options.mayLag) {
        const rows = await replica.run(whoIs(caller), caller, calls, options);
        if (rows) return rows;
      }
      try {
        return await once(caller, calls, options);
      } catch (error) {
        if (!options.readOnly || !isLost(error) || options.signal?.aborted) throw error;
        return once(caller, calls, options);
      } finally {
        if (!options.readOnly) replica?.wrote(whoIs(caller));
      }
    },
    async runAsServer(query, share) {
      const endTurn = await turns.take(share);
      try {
        return await pool.query(query);
      } finally {
        endTurn();
      }
    },
    async close() {
      await Promise.all([pool.end(), replica?.close()]);
    },
  };
}

/** Who counts as one: a user, or who is at an address. */
function whoIs({ role, claims }: Caller): string {
  return claims.sub ?? claims.address ?? role;
}

/** The statements of a round trip. Values are not in them. */
function textOf(calls: Call[]): string {
  return calls.map(({ statement }) => statement.text).join(';\n');
}

/** Whether the connection itself failed, so that nothing is known of what it ran. */
export function isLost(error: unknown): boolean {
  const { code = '', message = '' } = error as { code?: string; message?: string };
  return (
    /^(08|57P0[1-3])|^E(CONN|PIPE|TIMEDOUT|HOST|NET|AI_AGAIN|NOTFOUND)/.test(code) ||
    /Connection terminated|connection timeout|timeout expired|timeout exceeded when trying to connect|not queryable/i.test(
      message,
    )
  );
}

/** Whether an error of Postgres is of the moment: the connection, a conflict, a shortage. */
export function isPassing(error: unknown): boolean {
  return isLost(error) || /^(40|53|55P03|57P0)/.test((error as { code?: string }).code ?? '');
}

/** The error that public.refuse kept for after the commit, from its JSON. */
export function refusedError(kept: string): Error {
  const { sqlstate, message, column } = JSON.parse(kept) as Record<string, string | null>;
  return Object.assign(new Error(message ?? ''), { code: sqlstate, column });
}
