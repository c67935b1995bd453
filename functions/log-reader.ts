import type pg from 'pg';

/** An event as the log keeps it. `data` and `metadata` are JSON. */
export type LoggedEvent = {
  topic: string;
  /** Null for a signal, which the log does not keep. */
  seq: string | null;
  id: string;
  type: string;
  version: string;
  timestamp: string;
  producer: string;
  data: unknown;
  metadata: unknown;
  /** Whose right to listen has to be asked again before anything later reaches them. */
  rechecks?: string | null;
};

/** Whose right to listen has to be asked again: a user's, or everyone's on a topic. */
type Recheck = { topic: string; rechecks: string };

/**
 * What became visible between two snapshots, ordered by topic and seq. A long one comes in several parts; the first tells the rechecks
 * of all.
 */
export type Batch = { since: string; until: string; events: LoggedEvent[]; rechecks: Recheck[]; isLast: boolean };

/** The database is another one than before, restored from a backup: no cursor from before counts. */
export type Restored = { restored: true };

/** Where a batch was broken off. */
type Place = { topic: string; seq: string | null };

/** How the log is read; times in seconds. */
export type ReadingState = {
  /** The longest that an event of the last batch had waited; and how long ago the log was last read. */
  lag: number;
  lastRead: number;
  eventsPerSecond: number;
  /** How long the oldest running transaction that writes has been running. */
  oldestTransaction: number;
  /** The share of the queue of NOTIFY that is in use. */
  notifyQueue: number;
};

export type LogReader = {
  /** Begins at a cursor of the database, or goes on from where it was, unless this is another database than before. */
  begin(now: string): void;
  /** Reads and hands on everything new; gives how much there was. */
  read(from: pg.Client): Promise<number>;
  /** The cursor up to which everything was handed on. */
  position(): string;
  /** Calls back right after the next read that begins after this call. */
  atBoundary(reached: (position: string) => void): void;
  /** The oldest transaction that was running at the last read. */
  oldestRunning(): bigint;
  state(): ReadingState;
};

const pageSize = 1000;
// Gathering a backlog takes what it takes (half a second for 500,000 events), and has to come to its end one day.
const gatheringTimeout = 600_000;

/** What of an event is handed on. */
export const eventColumns =
  "xid, topic, seq::text as seq, id, type, version, to_json(at) #>> '{}' as timestamp, producer, data, " +
  "jsonb_strip_nulls(jsonb_build_object('trace_id', trace_id, 'user_id', user_id)) as metadata, rechecks";
const firstPage = `
  select now.until::text as until, clock_timestamp() as now, pg_notification_queue_usage() as queue, ${eventColumns}
  from (select pg_current_snapshot() as until) as now
  left join lateral events._new_in_log($1, now.until, $2, '', 0, ${pageSize}) as log on true`;
const backlog = `declare backlog no scroll cursor for select ${eventColumns} from events._new_in_log($1, $2, $3, $4, $5) as log`;
const nextPage = `fetch ${pageSize} from backlog`;
const allRechecks = 'select topic, rechecks from events._rechecks_in_log($1, $2, $3)';
const newestXid = 'select events._newest_in_log($1, $2, $3) as newest';

/**
 * Reads the event log of a database from where it was read last, whichever connection it is given.
 *
 * @param take is handed each batch; it must not wait.
 */
export function openLogReader(take: (given: Batch | Restored) => void, isClosed: () => boolean): LogReader {
  // A snapshot; cursors are that behind the mark of a restored database (events.restores).
  let position = '';
  let mark = '';
  // The oldest transaction that was running at the last read.
  let running = 0n;
  // A batch of which not every part was handed on, when the connection was lost.
  let unfinished: (Place & { until: string }) | undefined;
  let boundaries: ((position: string) => void)[] = [];
  // By a clock that does not jump.
  const seen = {
    lag: 0,
    at: Number.NEGATIVE_INFINITY,
    queue: 0,
    counted: 0,
    countedSince: performance.now(),
    perSecond: 0,
  };
  // The newest transaction of some snapshots, and their times: what still ran at the oldest needed one is not older than it.
  let samples: { at: number; xmax: bigint }[] = [];

  function begin(now: string): void {
    const found = now.slice(0, now.indexOf('.') + 1);
    if (position && found === mark) return;
    const isOther = position !== '';
    [mark, position] = [found, now.slice(found.length)];
    unfinished = undefined;
    samples = [];
    if (isOther) take({ restored: true });
  }

  const cursorOf = (snapshot: string): string => mark + snapshot;

  async function read(from: pg.Client): Promise<number> {
    if (unfinished) return readBacklog(from, unfinished.until);
    const asked = boundaries;
    boundaries = [];
    try {
      return await readNew(from);
    } catch (error) {
      boundaries.push(...asked.splice(0));
      throw error;
    } finally {
      for (const reached of asked) reached(cursorOf(position));
    }
  }

  const recent = (): string => (samples[0] ? new Date(samples[0].at - 86_400_000).toISOString() : '-infinity');

  async function readNew(from: pg.Client): Promise<number> {
    const { rows } = await from.query({ name: 'first', text: firstPage, values: [position, recent()] });
    const { until: seenBy, now, queue } = rows[0];
    const events: (LoggedEvent & { xid: string })[] = rows.filter(({ topic }) => topic !== null);
    note(seenBy, now.getTime(), events, queue);
    if (events.length < pageSize) {
      const until = durable(
        seenBy,
        position,
        events.map(({ xid }) => xid),
      );
      if (events.length > 0) {
        const rechecks = rechecksOf(events);
        take({ since: cursorOf(position), until: cursorOf(until), events, rechecks, isLast: true });
      }
      position = until;
      return events.length;
    }
    const between = [position, seenBy, recent()];
    const { rows: rechecks } = await from.query(allRechecks, between);
    const { newest } = (await from.query(newestXid, between)).rows[0];
    return readBacklog(from, durable(seenBy, position, [newest]), events, rechecks);
  }

  /**
   * Hands on a batch of many pages. All of it is gathered once, and a cursor goes through it: to gather it for each page took minutes for
   * some hundred thousand events.
   *
   * @param page the first; where it is not given, it goes on after the page that was handed on last.
   */
  async function readBacklog(
    from: pg.Client,
    until: string,
    page?: LoggedEvent[],
    rechecks: Recheck[] = [],
  ): Promise<number> {
    const { topic, seq } = page?.at(-1) ?? (unfinished as Place);
    const patient = { query_timeout: gatheringTimeout };
    const fetch = async (): Promise<LoggedEvent[]> => (await from.query({ text: nextPage, ...patient })).rows;
    await from.query('begin');
    await from.query(backlog, [position, until, recent(), topic, seq]);
    let count = 0;
    for (let [events, isLast] = [page ?? (await fetch()), false]; !isLast && !isClosed(); ) {
      const next = await fetch();
      isLast = next.length === 0;
      take({
        since: cursorOf(position),
        until: cursorOf(until),
        events,
        rechecks: count === 0 ? rechecks : [],
        isLast,
      });
      count += events.length;
      const last = events.at(-1);
      unfinished = isLast || !last ? undefined : { until, topic: last.topic, seq: last.seq };
      if (isLast) position = until;
      events = next;
      seen.at = performance.now();
    }
    await from.query('commit');
    return count;
  }

  function note(until: string, now: number, events: LoggedEvent[], queue: number): void {
    const [xmin, xmax] = until.split(':').slice(0, 2).map(BigInt) as [bigint, bigint];
    if (now - (samples.at(-1)?.at ?? 0) > 1000 || samples.length === 0) samples.push({ at: now, xmax });
    while (samples.length > 1 && (samples[1]?.xmax as bigint) <= xmin) samples.shift();
    running = xmin;
    // A transaction that never ends must not fill the memory: half of the samples are as good.
    if (samples.length > 5000) samples = samples.filter((_, index) => index % 2 === 0);
    seen.at = performance.now();
    seen.queue = queue;
    const oldest = events.reduce((least, { timestamp }) => Math.min(least, Date.parse(timestamp)), now);
    if (events.length > 0) seen.lag = (now - oldest) / 1000;
    seen.counted += events.length;
    const seconds = (seen.at - seen.countedSince) / 1000;
    if (seconds >= 5) Object.assign(seen, { perSecond: seen.counted / seconds, counted: 0, countedSince: seen.at });
  }

  return {
    begin,
    read,
    position: () => cursorOf(position),
    atBoundary: (reached) => void boundaries.push(reached),
    oldestRunning: () => running,
    state: () => ({
      lag: seen.lag,
      lastRead: (performance.now() - seen.at) / 1000,
      eventsPerSecond: seen.perSecond,
      oldestTransaction: samples[0] ? Math.max(0, (Date.now() - samples[0].at) / 1000) : 0,
      notifyQueue: seen.queue,
    }),
  };
}

/** A snapshot as a place in the log that a crash of Postgres does not change (events._durable); `xids` are those of the events since. */
function durable(seenBy: string, since: string, xids: string[]): string {
  const [xmin = '', xmax = '', running = ''] = seenBy.split(':');
  const known = BigInt(since.split(':')[1] as string);
  const bound = xids.reduce((most, xid) => (BigInt(xid) >= most ? BigInt(xid) + 1n : most), known);
  const least = (xid: string): string => (BigInt(xid) < bound ? xid : `${bound}`);
  const before = running.split(',').filter((xid) => xid !== '' && BigInt(xid) < bound);
  return `${least(xmin)}:${least(xmax)}:${before.join(',')}`;
}

function rechecksOf(events: LoggedEvent[]): Recheck[] {
  return events.flatMap(({ topic, rechecks }) => (rechecks ? [{ topic, rechecks }] : []));
}
