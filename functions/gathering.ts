import type pg from 'pg';
import type { Log } from './log.ts';
import type { LoggedEvent } from './log-reader.ts';

/** What a user says with one of their sessions; `input` are the arguments, in Postgres's text form. */
type Call = { user: string; session: string; input: Record<string, string | null> };

/**
 * Calls that are kept in memory and handed on together: what is said very often, and is over soon. A process that is killed loses those of
 * its last second.
 */
export type Gathering = {
  /** @param by the function that takes them, as it stands in SQL: one argument, a jsonb list of {user, session, age, input}. */
  gather(by: string, call: Call): void;
  /** Hands on what is there; ends when that is done. */
  flush(): Promise<void>;
  state(): { waiting: number; handedOn: number; statements: number };
  close(): Promise<void>;
};

const every = 1000;
// Where nothing is said, the function still comes in turn: it ends what is over.
const idleTurns = 10;
// Some 300 bytes each.
const mostWaiting = 200_000;
const mostAtOnce = 50_000;

/**
 * @param run runs a statement as the server.
 * @param signal is handed the signals that a function gave back: a list in jsonb.
 */
export function openGathering(
  run: (query: pg.QueryConfig) => Promise<pg.QueryResult>,
  signal: (signals: LoggedEvent[]) => void,
  log: Pick<Log, 'warn'>,
): Gathering {
  const waiting = new Map<string, Map<string, Call & { at: number }>>();
  const totals = { handedOn: 0, statements: 0 };
  let turns = 0;
  let flushing: Promise<void> | undefined;

  function waitingFor(by: string): Map<string, Call & { at: number }> {
    const known = waiting.get(by) ?? new Map();
    waiting.set(by, known);
    return known;
  }

  /** The last of each session counts. What cannot be handed on waits for the next turn, unless something newer was said. */
  async function handOn(by: string): Promise<void> {
    const calls = waitingFor(by);
    const batch = [...calls].slice(0, mostAtOnce);
    for (const [key] of batch) calls.delete(key);
    const now = performance.now();
    const told = batch.map(([, { at, ...call }]) => ({ ...call, age: Math.round(now - at) }));
    try {
      const { rows } = await run({ text: `select ${by}($1::jsonb) as signals`, values: [JSON.stringify(told)] });
      totals.statements += 1;
      totals.handedOn += batch.length;
      if (rows[0].signals?.length > 0) signal(rows[0].signals);
    } catch (error) {
      for (const [key, call] of batch) if (!calls.has(key) && calls.size < mostWaiting) calls.set(key, call);
      log.warn(
        { error: (error as Error).message, calls: batch.length },
        `${by} did not take what was gathered for it.`,
      );
    }
  }

  async function handOnAll(isIdle: boolean): Promise<void> {
    for (const [by, calls] of waiting) if (calls.size > 0 || isIdle) await handOn(by);
  }

  /** One at a time: what comes meanwhile goes with the next. */
  async function flush(isIdle = false): Promise<void> {
    await flushing;
    flushing = handOnAll(isIdle).finally(() => {
      flushing = undefined;
    });
    await flushing;
  }

  const timer = setInterval(() => {
    turns += 1;
    if (!flushing) void flush(turns % idleTurns === 0);
  }, every);
  timer.unref();

  return {
    gather(by, call) {
      const calls = waitingFor(by);
      const key = `${call.user} ${call.session}`;
      if (!calls.has(key) && calls.size >= mostWaiting) return;
      calls.delete(key);
      calls.set(key, { ...call, at: performance.now() });
    },
    flush: () => flush(),
    state: () => ({
      waiting: [...waiting.values()].reduce((sum, { size }) => sum + size, 0),
      ...totals,
    }),
    async close() {
      clearInterval(timer);
      await flush();
    },
  };
}
