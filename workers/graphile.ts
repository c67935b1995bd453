import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger as GraphileLogger, type Job, run, runMigrations, type WorkerEvents } from 'graphile-worker';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Runner } from './runner.ts';

export type Engine = {
  /** Takes no more, and ends when what was taken has ended. */
  stop(): Promise<void>;
};

// How jobs ended is said within this time after the last of them.
const saysWithin = 2000;

/** Makes or renews the tables of graphile-worker. */
export async function installGraphile(pool: pg.Pool, log: Logger): Promise<void> {
  await runMigrations({ pgPool: pool, logger: toPino(log) });
}

/**
 * Takes jobs from graphile-worker; gives what runs them, too.
 *
 * @param named told the name by which it locks jobs, before it takes the first.
 * @param paused the tasks whose runs wait.
 * @param ended called when it takes no more: stopped, or by itself, as it does where it cannot say how a job ended.
 */
export async function startGraphile({
  pool,
  concurrency,
  named,
  paused,
  ended,
  log,
}: {
  pool: pg.Pool;
  concurrency: number;
  named: (name: string) => Promise<Runner>;
  paused: () => string[];
  ended: () => void;
  log: Logger;
}): Promise<Engine & { runner: Runner }> {
  const events: WorkerEvents = new EventEmitter();
  const runner = new Promise<Runner>((resolve, reject) => {
    events.once('pool:create', ({ workerPool }) => named(workerPool.id).then(resolve, reject));
  });
  events.once('pool:gracefulShutdown', ended);
  // Where it could not read its task once, it keeps that error for good, and takes no job (0.18).
  let last: unknown;
  events.on('worker:getJob:error', ({ error }) => {
    if (error === last) ended();
    last = error;
  });
  const atWork = new Set<Promise<void>>();

  async function work(payload: unknown, job: Job): Promise<void> {
    const { run: id } = payload as { run: string };
    // jobs._hand_on gives the task as the flag by which it is paused, and its key as the queue.
    const [task] = Object.keys(job.flags ?? {});
    const hasKey = job.job_queue_id !== null;
    const ticket = { id, attempt: job.attempts, task, hasKey, job: job.id, takesNext: true };
    const { state, error } = await (await runner).run(ticket, retriesIn);
    if (state === 'again') throw error;
  }

  const engine = await run({
    pgPool: pool,
    concurrency,
    events,
    pollInterval: 1000,
    noHandleSignals: true,
    logger: toPino(log),
    forbiddenFlags: () => (paused().length > 0 ? paused() : null),
    // Not its local queue, which is quicker: while Postgres is away it gives up, and ends the process.
    preset: { worker: { gracefulShutdownAbortTimeout: 9000, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    parsedCronItems: [],
    taskList: {
      run(payload, { job }) {
        const working = work(payload, job).finally(() => atWork.delete(working));
        atWork.add(working);
        return working;
      },
    },
  });

  /** Where it has ended by itself, it neither waits for what it had taken nor always says that it is through. */
  async function stop(): Promise<void> {
    const stopped = engine.stop().then(
      () => {},
      () => engine.promise,
    );
    while (atWork.size > 0) await Promise.allSettled(atWork);
    await Promise.race([stopped, sleep(saysWithin, undefined, { ref: false })]);
  }

  try {
    return { runner: await runner, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** When graphile-worker tries again (https://worker.graphile.org/docs/exponential-backoff), in milliseconds. */
function retriesIn(attempt: number): number {
  return Math.exp(Math.min(attempt, 10)) * 1000;
}

function toPino(log: Logger): GraphileLogger {
  const levels = { error: 'error', warning: 'warn', info: 'debug', debug: 'trace' } as const;
  return new GraphileLogger(() => (level, message) => log[levels[level]](`graphile-worker: ${message}`));
}
