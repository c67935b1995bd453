import type pg from 'pg';
import type { Logger } from 'pino';
import { cancelOn } from '../functions/cancel.ts';
import type { Jobs, Run, Task as TaskRow, Ticket } from '../functions/jobs.ts';
import { openPolicies } from '../functions/policies.ts';
import type { Settings } from '../functions/settings.ts';
import type { Task } from './task.ts';

/** How a ticket ended: `done`, `again` where its engine is to try it again, or `failed` for good. */
type Ended = { state: 'done' | 'again' | 'failed'; error?: Error };
/** Whether the engine's job went with it, and the one that was taken then. */
type EndedOne = Ended & { isGone?: boolean; next?: Ticket | undefined };

export type Runner = {
  /**
   * Runs what a ticket of an engine stands for.
   *
   * @param retriesIn how long the engine waits before it tries again, in milliseconds.
   */
  run(ticket: Ticket, retriesIn: (attempt: number) => number): Promise<Ended>;
  /** The runs that are at work. */
  running(): string[];
  /** Ends runs before their time. */
  cancel(ids: string[]): void;
  /** Ends all; what is not done is handed back. */
  stop(): void;
};

const stopped = new Error('The worker stops.');
const progressEvery = 1000;
// A function that takes longer is said to have begun, so that everyone sees it run.
const momentOfFunction = 250;

/** Begins runs, does them, and says what came of them. */
export function openRunner({
  jobs,
  pool,
  config,
  worker,
  rowOf,
  tasks,
  settings,
  databaseUrl,
  log,
}: {
  jobs: Jobs;
  pool: pg.Pool;
  /** The way to the server, for cancelling. */
  config: pg.ClientConfig;
  worker: string;
  rowOf(task: string): Promise<TaskRow>;
  tasks: Map<string, Task>;
  settings: Settings;
  databaseUrl: string;
  log: Logger;
}): Runner {
  const running = new Map<string, AbortController>();
  // Those that run, whether it has been said that they began or not.
  const functions = new Set<AbortController>();
  let isStopped = false;
  // How a run ended is said again where the connection was lost meanwhile; after that the next beat finds it lost.
  const { db: persistently } = openPolicies(log);

  async function run(ticket: Ticket, retriesIn: (attempt: number) => number): Promise<Ended> {
    const ended = await runOne(ticket, retriesIn);
    if (ended.next) await runOn(ended.next, retriesIn);
    return ended;
  }

  /** Runs what was taken with the end of the one before, for a moment; then the engine takes its turn. */
  async function runOn(first: Ticket, retriesIn: (attempt: number) => number): Promise<void> {
    const until = performance.now() + momentOfFunction;
    let next: Ticket | undefined = first;
    while (next) {
      const ticket: Ticket = { ...next, takesNext: !isStopped && performance.now() < until };
      const ended: EndedOne = await runOne(ticket, retriesIn).catch((error) => ({ state: 'again', error }));
      if (!ended.isGone) {
        const retriesAt = ended.state === 'again' ? new Date(Date.now() + retriesIn(ticket.attempt)) : undefined;
        await persistently('a job ended', () => jobs.settle(ticket, worker, retriesAt));
      }
      next = ended.next;
    }
  }

  async function runOne(ticket: Ticket, retriesIn: (attempt: number) => number): Promise<EndedOne> {
    if (ticket.task && !ticket.hasKey && (ticket.task === 'function' || (await rowOf(ticket.task)).function)) {
      const ended = await runFunction(ticket, await rowOf(ticket.task), retriesIn);
      if (ended) return ended;
    }
    const begun = await jobs.begin(ticket, worker);
    if (!begun) {
      // Cancelled, or done already; but what another worker still holds is not given up for it.
      if ((await jobs.stateOf(ticket.id)) !== 'running') return { state: 'done' };
      return { state: 'again', error: new Error('Another worker still runs it.') };
    }
    const ending = new AbortController();
    runs(begun.id, ending);
    try {
      await perform(begun, ending);
      return { state: 'done' };
    } catch (error) {
      return await conclude(begun, error as Error, ending.signal, retriesIn);
    } finally {
      runsNoMore(begun.id, ending);
    }
  }

  /** Where this worker was taken for dead meanwhile, and has begun the run again itself, the try before is over. */
  function runs(id: string, ending: AbortController): void {
    if (running.get(id) !== ending) running.get(id)?.abort(new Error('It was begun again.'));
    running.set(id, ending);
  }

  function runsNoMore(id: string, ending: AbortController): void {
    if (running.get(id) === ending) running.delete(id);
  }

  /** Runs a function by one statement, and lets it begin meanwhile where it takes its time; undefined where it is to begin first. */
  async function runFunction(
    ticket: Ticket,
    row: TaskRow,
    retriesIn: (attempt: number) => number,
  ): Promise<EndedOne | undefined> {
    const ending = new AbortController();
    let beginning: Promise<Run | undefined> | undefined;
    const begin = async (): Promise<Run | undefined> => {
      const begun = await persistently('a run begins', () => jobs.begin(ticket, worker));
      if (begun) runs(ticket.id, ending);
      return begun;
    };
    let timer = setTimeout(() => {
      beginning = begin();
      beginning.catch((error) => log.debug({ err: error }, 'that a run began was not noted'));
      timer = endAfter(row.timeout - momentOfFunction / 1000, ending);
    }, momentOfFunction);
    functions.add(ending);
    try {
      const performing = onConnection(ending.signal, (client) => jobs.perform(client, ticket, worker));
      // From here on it would not begin this try but the next, which nobody runs.
      const { isDone, next } = await performing.finally(() => clearTimeout(timer));
      if (isDone) return { state: 'done', isGone: true, next };
      // On a busy machine it is said to have begun before the statement comes to it: then it is run as what has begun.
      const begun = await beginning;
      if (!begun) return undefined;
      await perform(begun, ending);
      return { state: 'done' };
    } catch (error) {
      // It is said that it began, so that it can be said how it ended; where it did not, it has ended or is another's.
      const begun =
        (await beginning?.catch(() => undefined)) ??
        (await persistently('a run begins', () => jobs.begin(ticket, worker)));
      if (!begun) return undefined;
      return await conclude(begun, error as Error, ending.signal, retriesIn);
    } finally {
      functions.delete(ending);
      await beginning?.catch(() => {});
      runsNoMore(ticket.id, ending);
    }
  }

  async function perform(begun: Run, ending: AbortController): Promise<void> {
    const row = await rowOf(begun.task);
    const timer = endAfter(row.timeout, ending);
    try {
      if (begun.function ?? row.function) {
        await onConnection(ending.signal, (client) => jobs.finish(client, begun, worker));
      } else {
        const result = await performTask(begun, ending.signal);
        await persistently('a run succeeded', () => jobs.succeed(begun, worker, result));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Does something on a connection of its own, whose statement is cancelled when the signal says so. */
  async function onConnection<Result>(
    signal: AbortSignal,
    act: (client: pg.PoolClient) => Promise<Result>,
  ): Promise<Result> {
    const client = await pool.connect();
    const cancelled = cancelOn(signal, config, client);
    let failure: Error | undefined;
    try {
      signal.throwIfAborted();
      return await act(client);
    } catch (error) {
      failure = error as Error;
      throw signal.aborted ? signal.reason : error;
    } finally {
      // A cancellation under way would hit whatever runs next on this connection.
      const isClean = (await cancelled()) ?? true;
      client.release(failure ?? !isClean);
    }
  }

  async function performTask(begun: Run, signal: AbortSignal): Promise<unknown> {
    const task = tasks.get(begun.task);
    if (!task) throw new Error(`There is no task ${begun.task} in workers/tasks.ts, and jobs.tasks names no function.`);
    const payload = task.payload.safeParse(begun.payload);
    if (!payload.success) throw new BadPayload(payload.error.issues.map(({ message }) => message).join('; '));
    let told = Number.NEGATIVE_INFINITY;
    const progress = (share: number | undefined, note?: string): void => {
      if (performance.now() - told < progressEvery) return;
      told = performance.now();
      jobs.progress(begun, worker, share, note).catch((error) => log.debug({ err: error }, 'progress was not noted'));
    };
    const work = { runId: begun.id, attempt: begun.attempt, databaseUrl, settings, signal, progress, log };
    // What is done is done, also where it was cancelled meanwhile.
    return task.run(payload.data, work);
  }

  async function conclude(
    begun: Run,
    error: Error,
    signal: AbortSignal,
    retriesIn: (attempt: number) => number,
  ): Promise<Ended> {
    if (signal.reason === stopped) {
      await persistently('a run is handed back', () => jobs.handBack(begun, worker));
      return { state: 'done' };
    }
    log.warn({ err: error, run: begun.id, task: begun.task, attempt: begun.attempt }, 'a run failed');
    const failure = {
      message: error.message || String(error),
      isFinal: error instanceof BadPayload,
      retriesAt: new Date(Date.now() + retriesIn(begun.attempt)),
    };
    const state = await persistently('a run failed', () => jobs.fail(begun, worker, failure));
    if (state === 'queued') return { state: 'again', error };
    return state === 'failed' ? { state: 'failed', error } : { state: 'done' };
  }

  return {
    run,
    running: () => [...running.keys()],
    cancel(ids) {
      for (const id of ids) running.get(id)?.abort(new Error('It was cancelled.'));
    },
    stop() {
      isStopped = true;
      for (const ending of [...running.values(), ...functions]) ending.abort(stopped);
    },
  };
}

function endAfter(seconds: number, ending: AbortController): NodeJS.Timeout {
  return setTimeout(() => ending.abort(new Error(`It took longer than ${seconds} s.`)), seconds * 1000);
}

class BadPayload extends Error {}
