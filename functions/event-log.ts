import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { noticesLoss } from './connection.ts';
import type { Log } from './log.ts';
import {
  type Batch,
  eventColumns,
  type LoggedEvent,
  openLogReader,
  type ReadingState,
  type Restored,
} from './log-reader.ts';
import { connectionOptions } from './requests.ts';

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

/** How the log is followed. */
export type LogState = ReadingState & {
  connected: boolean;
  /** Whether this process is the one that writers see awake or asleep. */
  leader: boolean;
  processes: number;
};

const missedPage = `select ${eventColumns} from events._missed($1, $2, $3) as log`;

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
  log: Pick<Log, 'warn'>,
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
  const outgoing: LoggedEvent[] = [];
  let lastTry = Number.NEGATIVE_INFINITY;
  let lastEvent = Number.NEGATIVE_INFINITY;
  let processes = 1;
  // Told once: whoever notifies that may do it without end.
  let heardOthers = false;
  const reader = openLogReader(take, () => closed);

  async function connect(): Promise<pg.Client> {
    const made = new pg.Client({
      ...noticesLoss,
      connectionString: url,
      options: `${connectionOptions} -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3`,
      application_name: 'plinth events',
      query_timeout: 30_000,
    });
    made.on('error', () => {});
    made.on('end', () => wake());
    made.on('notification', ({ channel, payload = '' }) => {
      if (channel !== 'plinth_signals') wake();
      else if (!payload.startsWith(self)) hear(payload.slice(self.length));
    });
    try {
      await made.connect();
      await made.query('listen plinth_events; listen plinth_batches; listen plinth_signals');
      reader.begin((await made.query('select events.cursor() as now')).rows[0].now);
    } catch (error) {
      made.end().catch(() => {});
      throw error;
    }
    [leader, awake, asleep] = [false, false, false];
    return made;
  }

  /** Anyone who may connect may notify: what is not ours ends nothing here. */
  function hear(payload: string): void {
    const signals = signalsIn(payload);
    if (signals) take({ signals });
    else if (!heardOthers) {
      heardOthers = true;
      log.warn({ bytes: payload.length }, 'What was notified on plinth_signals is no signal: left out.');
    }
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

  async function wakeOthers(from: pg.Client): Promise<void> {
    if (processes > 1) await from.query("select pg_notify('plinth_batches', '')");
  }

  /** Reads, and waits as long as it is good before the next time. */
  async function step(from: pg.Client): Promise<void> {
    const count = await reader.read(from);
    if (count > 0) lastEvent = performance.now();
    if (performance.now() - lastTry > 500) {
      lastTry = performance.now();
      const others =
        "select count(*)::integer as processes from pg_stat_activity where application_name = 'plinth events' and datname = current_database()";
      processes = (await from.query(others)).rows[0].processes;
      leader ||= await tryToLead(from);
    }
    if (!leader) return pause(slowestPace);
    if (count > 0) await wakeOthers(from);
    if (asleep && count === 0) return pause(slowestPace);
    asleep = false;
    awake ||= await tryToWake(from);
    if (count > 0) return sleep(busyPace);
    if (performance.now() - lastEvent < idleFor) return pause(idlePace);
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
      if ((await reader.read(from)) > 0) {
        lastEvent = performance.now();
        return wakeOthers(from);
      }
      if (reader.oldestRunning() >= fence) break;
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
    // The same for all parts: where it is lost between two of them, there is none for a while.
    const from = client;
    if (outgoing.length === 0 || !from) return;
    const parts: string[] = [];
    for (const text of outgoing.splice(0).map((each) => JSON.stringify(each))) {
      const last = parts.at(-1);
      // Postgres carries 8,000 bytes; what is larger than that is heard in this process alone.
      if (last !== undefined && Buffer.byteLength(last) + Buffer.byteLength(text) < 7800)
        parts[parts.length - 1] = `${last},${text}`;
      else if (Buffer.byteLength(text) < 7800) parts.push(text);
    }
    for (const part of parts) {
      await from.query('select pg_notify($1, $2)', ['plinth_signals', `${self}[${part}]`]).catch(() => {});
    }
  }

  client = await connect();
  const following = follow();
  const relaying = setInterval(() => void relay(), 50);
  return {
    position: reader.position,
    atBoundary(reached) {
      reader.atBoundary(reached);
      wake();
    },
    signal(signals) {
      take({ signals });
      if (processes > 1 && outgoing.length < 10_000) outgoing.push(...signals);
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
      processes,
      ...reader.state(),
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

/** The signals that another process notifies; undefined where it is something else. */
function signalsIn(payload: string): LoggedEvent[] | undefined {
  try {
    const read: unknown = JSON.parse(payload);
    return Array.isArray(read) && read.every((each) => typeof each?.topic === 'string') ? read : undefined;
  } catch {
    return undefined;
  }
}
