import type pg from 'pg';
import type { ApiRole } from './catalog.ts';
import { openPool } from './connection.ts';
import type { Log } from './log.ts';
import type { PipelineError, Prepared } from './pipeline.ts';
import type { Requests } from './requests.ts';

/** How the replica stands, for /ready; `lagMilliseconds` is how old what it shows may be, null where that is not known. */
export type ReplicaState = {
  state: 'used' | 'behind' | 'lost';
  lagMilliseconds: number | null;
  /** Since the process began: queries that it answered, and those that went on to the primary after it had been asked. */
  queries: number;
  handedOn: number;
  /** How many read on the primary because they have just written. */
  writers: number;
};

/** A streaming replica that queries may run on. Nothing here fails a request: what the replica does not answer is undefined. */
export type Replica = {
  /** Runs a query there, where it is fresh enough for this caller. @param who as in `wrote`. */
  run(who: string, ...request: Parameters<Requests['run']>): ReturnType<Requests['run']> | undefined;
  /** Someone has written, or has been told of what was: they read on the primary until the replica has it too. */
  wrote(who: string): void;
  setTimeouts: Requests['setTimeouts'];
  state(): ReplicaState;
  close(): Promise<void>;
};

/** The roles that look at the application. Operators look at the server itself, and the replica's statistics are its own. */
const roles = new Set<ApiRole>(['anonymous', 'member']);

// Of commits that were reported only what is flushed is certain to arrive, unless they are reported before.
const onPrimary = `select case when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()
    else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn as lsn,
  current_database() || ' of ' || (select system_identifier from pg_control_system()) as place`;
const onReplica = `select coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0) as lsn, pg_is_in_recovery() as follows,
  current_database() || ' of ' || (select system_identifier from pg_control_system()) as place`;

/**
 * Follows a replica. Several times within `maxLag` the primary is asked how far it has written, and the replica how far it has
 * come: whatever was committed before the primary was asked is then on the replica (`freshAt`). So a caller reads their own writes,
 * and those that events told them of, exactly; what others wrote through other processes they see `maxLag` late at most.
 *
 * @param primaryUrl the primary, and `url` the replica, both as plinth_server.
 * @param maxLag in milliseconds.
 * @param open opens connections to the replica for requests.
 */
export function openReplica(
  primaryUrl: string,
  url: string,
  maxLag: number,
  open: (url: string) => Requests,
  log: Log,
): Replica {
  const every = Math.min(maxLag / 4, 1000);
  const patience = Math.min(Math.max(maxLag, 1000), 5000);
  const probes = [primaryUrl, url].map((connectionString) => openProbe(connectionString, patience)) as [
    pg.Pool,
    pg.Pool,
  ];
  let requests = open(url);
  let timeouts: Parameters<Requests['setTimeouts']>[0] | undefined;
  let freshAt = -Infinity;
  let isLost = true;
  let told: ReplicaState['state'] | undefined;
  const counts = { queries: 0, handedOn: 0 };
  // What the primary said lately, oldest first: while it writes, the replica is never where the primary is now.
  let said: { at: number; lsn: bigint }[] = [];
  // By time, oldest first.
  const writers = new Map<string, number>();
  const running = new Set<() => void>();
  const onlyOnPrimary = new WeakSet<Prepared>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let current = Promise.resolve();

  const isFresh = (): boolean => !isLost && performance.now() - freshAt <= maxLag;

  function another(probe: pg.Pool, to: string): pg.Pool {
    probe.end().catch(() => {});
    return openProbe(to, patience);
  }

  async function probe(): Promise<void> {
    const at = performance.now();
    // Of those who wrote longer ago the replica knows, or it is not asked. First of all: it may be lost for days.
    for (const [who, wroteAt] of writers) {
      if (at - wroteAt <= maxLag) break;
      writers.delete(who);
    }
    const [primary, replica] = await Promise.allSettled([probes[0].query(onPrimary), probes[1].query(onReplica)]);
    if (closed) return;
    const [ahead, behind] = [primary, replica].map((each) =>
      each.status === 'fulfilled' ? each.value.rows[0] : undefined,
    );
    if (!behind?.follows || (ahead && ahead.place !== behind.place)) {
      const wrong = behind && (behind.follows ? 'it is another database' : 'it follows no primary');
      // Its connection may be to a database that has another name by now: the next one is to the one of that name.
      if (wrong) probes[1] = another(probes[1], url);
      return lose(wrong ?? (replica as PromiseRejectedResult).reason.message);
    }
    isLost = false;
    if (ahead) said.push({ at, lsn: BigInt(ahead.lsn) });
    const reached = said.findLast(({ lsn }) => lsn <= BigInt(behind.lsn));
    if (reached) freshAt = reached.at;
    const now = performance.now();
    said = said.filter((each) => each.at >= freshAt && now - each.at <= maxLag);
    tell();
  }

  function lose(reason: string): void {
    const before = isLost;
    isLost = true;
    said = [];
    tell(reason);
    if (before) return;
    // What runs there may wait for an answer for ever, where the machine is gone: its requests go to the primary now.
    for (const abandon of running) abandon();
    requests.close().catch(() => {});
    requests = open(url);
    if (timeouts) requests.setTimeouts(timeouts);
  }

  function tell(reason?: string): void {
    const { state } = replica.state();
    if (state === told) return;
    told = state;
    if (state === 'used') log.info({}, 'Queries run on the replica.');
    else log.warn({ ...(reason && { reason }) }, `The replica is ${state}: queries run on the primary.`);
  }

  async function runThere(...[caller, calls, options]: Parameters<Requests['run']>) {
    let abandon = (): void => {};
    const abandoned = new Promise<never>((_, reject) => {
      abandon = () => reject(new Error('The replica is lost.'));
    });
    running.add(abandon);
    try {
      const rows = await Promise.race([requests.run(caller, calls, options), abandoned]);
      counts.queries += 1;
      return rows;
    } catch (error) {
      const { code } = error as PipelineError;
      // Too long there is too long here; anything else may be because the replica is behind, or is none any more.
      if (options.signal?.aborted || code === '57014') throw error;
      if (code === '25006') for (const { statement } of calls) onlyOnPrimary.add(statement);
      counts.handedOn += 1;
      return undefined;
    } finally {
      running.delete(abandon);
    }
  }

  const turn = (): void => {
    current = probe().finally(() => {
      if (!closed) timer = setTimeout(turn, every);
    });
  };

  const replica: Replica = {
    run(who, caller, calls, options) {
      if (!isFresh() || !roles.has(caller.role) || (writers.get(who) ?? -Infinity) >= freshAt) return;
      if (calls.some(({ statement }) => onlyOnPrimary.has(statement))) return;
      return runThere(caller, calls, options) as ReturnType<Requests['run']>;
    },
    wrote(who) {
      writers.delete(who);
      writers.set(who, performance.now());
    },
    setTimeouts(each) {
      timeouts = each;
      requests.setTimeouts(each);
    },
    state() {
      const lag = performance.now() - freshAt;
      return {
        state: isLost ? 'lost' : isFresh() ? 'used' : 'behind',
        lagMilliseconds: Number.isFinite(lag) ? Math.round(lag) : null,
        ...counts,
        writers: writers.size,
      };
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await Promise.all([requests.close(), ...probes.map((each) => each.end()), current]);
    },
  };
  turn();
  return replica;
}

/** A connection of its own, so that a probe does not wait behind requests. */
function openProbe(connectionString: string, patience: number): pg.Pool {
  return openPool({
    ...{ connectionString, max: 1, application_name: 'plinth probe' },
    ...{ connectionTimeoutMillis: patience, query_timeout: patience },
  });
}
