import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { connectionOptions } from './requests.ts';

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

type Place = { topic: string; seq: string | null };

export type LogFollower = {
  /** The cursor up to which everything was handed on. */
  position(): string;
  /** Calls back right after the next read, which begins after this call; what becomes visible later is handed on after it. */
  atBoundary(reached: (position: string) => void): void;
  /** Hands signals to those who listen, here and in the other processes. */
  signal(signals: LoggedEvent[]): void;
  /** The seqs that a cursor saw of topics; `counted` is what each has counted by now. @throws with code PT410 */
  seqsAt(topics: string[], counted: string[], cursor: string): Promise<string[]>;
  /** A page of what topics hold between two seqs of each, by topic and seq. */
  missed(topics: string[], past: string[], upto: string[]): Promise<LoggedEvent[]>;
  state(): LogState;
  close(): Promise<void>;
};

/** How the log is followed; times in seconds. */
export type LogState = {
  connected: boolean;
  /** Whether this process is the one that writers see awake or asleep. */
  leader: boolean;
  processes: number;
  /** The longest that an event of the last batch had waited; and how long ago the log was last read. */
  lag: number;
  lastRead: number;
  eventsPerSecond: number;
  /** How long the oldest running transaction that writes has been running. */
  oldestTransaction: number;
  /** The share of the queue of NOTIFY that is in use. */
  notifyQueue: number;
};

const pageSize = 1000;
// Gathering a backlog takes what it takes (half a second for 500,000 events), and has to come to its end one day.
const gatheringTimeout = 600_000;

const columns =
  "xid, topic, seq::text as seq, id, type, version, to_json(at) #>> '{}' as timestamp, producer, data, " +
  "jsonb_strip_nulls(jsonb_build_object('trace_id', trace_id, 'user_id', user_id)) as metadata, rechecks";
const firstPage = `
  select now.until::text as until, clock_timestamp() as now, pg_notification_queue_usage() as queue, ${columns}
  from (select pg_current_snapshot() as until) as now
  left join lateral events._new_in_log($1, now.until, $2, '', 0, ${pageSize}) as log on true`;
const backlog = `declare backlog no scroll cursor for select ${columns} from events._new_in_log($1, $2, $3, $4, $5) as log`;
const nextPage = `fetch ${pageSize} from backlog`;
const allRechecks = 'select topic, rechecks from events._rechecks_in_log($1, $2, $3)';
const newestXid = 'select events._newest_in_log($1, $2, $3) as newest';
const missedPage = `select ${columns} from events._missed($1, $2, $3) as log`;

// One process leads: it holds the first lock, and the second while it is awake (events.publish).
const leads = '7546, 1';
const isAwake = '7546, 2';

// Awake, it reads at this pace, in milliseconds; after as long without an event it begins to go to sleep.
const busyPace = 3;
const idlePace = 8;
const idleFor = 150;
// Whatever else fails, every process reads this often.
const slowestPace = 1000;

/**
 * Follows the event log of a database: hands on every event that becomes visible, once, in the order of its topic, whichever process
 * wrote it. docs/events.md tells how.
 *
 * @param url the database, as plinth_server; `run` runs queries there for subscribers, who are many.
 * @param take is handed each batch, and each list of signals; it must not wait.
 */
export async function followLog(
  url: string,
  run: (query: pg.QueryConfig) => Promise<pg.QueryResult>,
  log: { warn(details: object, message: string): void },
  take: (given: Batch | { signals: LoggedEvent[] } | Restored) => void,
): Promise<LogFollower> {
  const self = randomUUID();
  let closed = false;
  let client: pg.Client | undefined;
  let leader = false;
  let awake = false;
  let asleep = false;
  let woken = false;
  let wake = (): void => {
    woken = true;
  };
  // A snapshot; cursors are that behind the mark of a restored database (events.restores).
  let position = '';
  let mark = '';
  // The oldest transaction that was running at the last read.
  let running = 0n;
  // A batch of which not every part was handed on, when the connection was lost.
  let unfinished: (Place & { until: string }) | undefined;
  let boundaries: ((position: string) => void)[] = [];
  const outgoing: LoggedEvent[] = [];
  let lastTry = 0;
  let lastEvent = 0;
  const seen = { lag: 0, at: 0, queue: 0, processes: 1, counted: 0, countedSince: Date.now(), perSecond: 0 };
  // The newest transaction of some snapshots, and their times: what still ran at the oldest needed one is not older than it.
  let samples: { at: number; xmax: bigint }[] = [];

  async function connect(): Promise<pg.Client> {
    const made = new pg.Client({
      connectionString: url,
      options: `${connectionOptions} -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3`,
      application_name: 'plinth events',
      connectionTimeoutMillis: 10_000,
      query_timeout: 30_000,
      keepAlive: true,
    });
    made.on('error', () => {});
    made.on('end', () => wake());
    made.on('notification', ({ channel, payload = '' }) => {
      if (channel !== 'plinth_signals') wake();
      else if (!payload.startsWith(self)) take({ signals: JSON.parse(payload.slice(self.length)) });
    });
    try {
      await made.connect();
      await made.query('listen plinth_events; listen plinth_batches; listen plinth_signals');
      begin((await made.query('select events.cursor() as now')).rows[0].now);
    } catch (error) {
      made.end().catch(() => {});
      throw error;
    }
    [leader, awake, asleep] = [false, false, false];
    return made;
  }

  /** Goes on from where it was, unless this is another database than before. */
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

  /** Reads and hands on everything new; gives how much there was. */
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
    for (let [events, isLast] = [page ?? (await fetch()), false]; !isLast && !closed; ) {
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
      seen.at = Date.now();
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
    seen.at = Date.now();
    seen.queue = queue;
    const oldest = events.reduce((least, { timestamp }) => Math.min(least, Date.parse(timestamp)), now);
    if (events.length > 0) seen.lag = (now - oldest) / 1000;
    seen.counted += events.length;
    const seconds = (seen.at - seen.countedSince) / 1000;
    if (seconds >= 5) Object.assign(seen, { perSecond: seen.counted / seconds, counted: 0, countedSince: seen.at });
  }

  async function tryToLead(from: pg.Client): Promise<boolean> {
    return (await from.query(`select pg_try_advisory_lock(${leads}) as held`)).rows[0].held;
  }

  /**
   * Waits for the lock, since writers who notify hold it too and there may always be one; as soon as it is asked for, later ones do not get
   * it any more. Not for long: one may hold it for as long as its transaction takes.
   */
  async function tryToWake(from: pg.Client): Promise<boolean> {
    const text = `select set_config('lock_timeout', '20ms', true), pg_advisory_lock(${isAwake})`;
    return from.query(text).then(
      () => true,
      (error) => {
        if (error.code === '55P03') return false;
        throw error;
      },
    );
  }

  /** Reads, and waits as long as it is good before the next time. */
  async function step(from: pg.Client): Promise<void> {
    const count = await read(from);
    if (count > 0) lastEvent = Date.now();
    if (Date.now() - lastTry > 500) {
      lastTry = Date.now();
      const others =
        "select count(*)::integer as processes from pg_stat_activity where application_name = 'plinth events' and datname = current_database()";
      seen.processes = (await from.query(others)).rows[0].processes;
      leader ||= await tryToLead(from);
    }
    if (!leader) return pause(slowestPace);
    if (count > 0 && seen.processes > 1) await from.query("select pg_notify('plinth_batches', '')");
    if (asleep && count === 0) return pause(slowestPace);
    asleep = false;
    awake ||= await tryToWake(from);
    if (count > 0) return sleep(busyPace);
    if (Date.now() - lastEvent < idleFor) return pause(idlePace);
    await fallAsleep(from);
  }

  /**
   * From the moment that the lock is let go, writers notify. Those who saw it held before are among the transactions that run now:
   * what they write is read before the process sleeps.
   */
  async function fallAsleep(from: pg.Client): Promise<void> {
    if (awake) await from.query(`select pg_advisory_unlock(${isAwake})`);
    awake = false;
    const { rows } = await from.query('select pg_snapshot_xmax(pg_current_snapshot())::text as fence');
    const fence = BigInt(rows[0].fence);
    for (let wait = idlePace; !closed; wait = Math.min(wait * 2, 50)) {
      if ((await read(from)) > 0) {
        lastEvent = Date.now();
        if (seen.processes > 1) await from.query("select pg_notify('plinth_batches', '')");
        return;
      }
      if (running >= fence) break;
      await pause(wait);
    }
    asleep = true;
  }

  /** Waits, or until there is something to do. */
  async function pause(milliseconds: number): Promise<void> {
    if (!woken && !closed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    woken = false;
    wake = () => {
      woken = true;
    };
  }

  async function follow(): Promise<void> {
    for (let wait = 50; !closed; ) {
      try {
        client ??= await connect();
        await step(client);
        wait = 50;
      } catch (error) {
        if (closed) return;
        log.warn({ error: (error as Error).message }, 'The event log cannot be read; trying again.');
        client?.end().catch(() => {});
        client = undefined;
        await sleep(wait);
        wait = Math.min(wait * 2, 1000);
      }
    }
  }

  async function relay(): Promise<void> {
    if (outgoing.length === 0 || !client) return;
    const parts: string[] = [];
    for (const text of outgoing.splice(0).map((each) => JSON.stringify(each))) {
      const last = parts.at(-1);
      // Postgres carries 8,000 bytes; what is larger than that is heard in this process alone.
      if (last !== undefined && Buffer.byteLength(last) + Buffer.byteLength(text) < 7800)
        parts[parts.length - 1] = `${last},${text}`;
      else if (Buffer.byteLength(text) < 7800) parts.push(text);
    }
    for (const part of parts) {
      await client.query('select pg_notify($1, $2)', ['plinth_signals', `${self}[${part}]`]).catch(() => {});
    }
  }

  client = await connect();
  const following = follow();
  const relaying = setInterval(() => void relay(), 50);
  return {
    position: () => cursorOf(position),
    atBoundary(reached) {
      boundaries.push(reached);
      wake();
    },
    signal(signals) {
      take({ signals });
      if (seen.processes > 1 && outgoing.length < 10_000) outgoing.push(...signals);
    },
    async seqsAt(topics, counted, cursor) {
      const text = 'select events._seqs_at($1, $2, $3)::text[] as seqs';
      return (await run({ name: 'seqs at', text, values: [topics, counted, cursor] })).rows[0].seqs;
    },
    async missed(topics, past, upto) {
      return (await run({ name: 'missed', text: missedPage, values: [topics, past, upto] })).rows;
    },
    state: () => ({
      connected: client !== undefined,
      leader,
      processes: seen.processes,
      lag: seen.lag,
      lastRead: (Date.now() - seen.at) / 1000,
      eventsPerSecond: seen.perSecond,
      oldestTransaction: samples[0] ? Math.max(0, (Date.now() - samples[0].at) / 1000) : 0,
      notifyQueue: seen.queue,
    }),
    async close() {
      closed = true;
      clearInterval(relaying);
      wake();
      await following;
      await client?.end().catch(() => {});
    },
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
