import { EventEmitter } from 'node:events';
import { Logger as GraphileLogger, run, runMigrations, type WorkerEvents } from 'graphile-worker';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Runner } from './runner.ts';

export type Engine = { stop(): Promise<void> };

/** Makes or renews the tables of graphile-worker. */
export async function installGraphile(pool: pg.Pool, log: Logger): Promise<void> {
  await runMigrations({ pgPool: pool, logger: toPino(log) });
}

/**
 * Takes jobs from graphile-worker; gives what runs them, too.
 *
 * @param named told the name by which it locks jobs, before it takes the first.
 * @param paused the tasks whose runs wait.
 */
export async function startGraphile({
  pool,
  concurrency,
  named,
  paused,
  log,
}: {
  pool: pg.Pool;
  concurrency: number;
  named: (name: string) => Promise<Runner>;
  paused: () => string[];
  log: Logger;
}): Promise<Engine & { runner: Runner }> {
  const events: WorkerEvents = new EventEmitter();
  const runner = new Promise<Runner>((resolve, reject) => {
    events.once('pool:create', ({ workerPool }) => named(workerPool.id).then(resolve, reject));
  });
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
      async run(payload, { job }) {
        const { run: id } = payload as { run: string };
        // jobs._hand_on gives the task as the flag by which it is paused, and its key as the queue.
        const [task] = Object.keys(job.flags ?? {});
        const hasKey = job.job_queue_id !== null;
        const ticket = { id, attempt: job.attempts, task, hasKey, job: job.id, takesNext: true };
        const { state, error } = await (await runner).run(ticket, retriesIn);
        if (state === 'again') throw error;
      },
    },
  });
  return { runner: await runner, stop: () => engine.stop() };
}

/** When graphile-worker tries again (https://worker.graphile.org/docs/exponential-backoff), in milliseconds. */
function retriesIn(attempt: number): number {
  return Math.exp(Math.min(attempt, 10)) * 1000;
}

function toPino(log: Logger): GraphileLogger {
  const levels = { error: 'error', warning: 'warn', info: 'debug', debug: 'trace' } as const;
  return new GraphileLogger(() => (level, message) => log[levels[level]](`graphile-worker: ${message}`));
}
