import type { JobWithMetadata, PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { Queue } from '../functions/jobs.ts';
import { openPolicies } from '../functions/policies.ts';
import type { Runner } from './runner.ts';

export type Feed = {
  /** Looks for jobs now. */
  wake(): void;
  /** Takes no more, and ends when what was taken has ended. */
  stop(): Promise<void>;
};

type Job = Pick<JobWithMetadata<object>, 'id' | 'data' | 'retryCount'> & { groupId?: string | null };

const pollEvery = 1000;

/**
 * Feeds a runner from a queue of pg-boss. Not by its work(), which fetches, runs and completes one job after the other, or waits for the
 * longest of a lot: here as many are fetched by one statement as there are places free, each runs by itself, and those that end meanwhile
 * are completed together.
 */
export function openFeed(boss: PgBoss, queue: Queue, runner: Runner, log: Logger): Feed {
  const { name, task, concurrency, retry_delay: delay, retry_delay_max: longest } = queue;
  // As pg-boss waits: twice as long each time, half of it by chance.
  const retriesIn = (attempt: number): number => Math.min(delay * 2 ** attempt, longest) * 1000;
  const { db: persistently } = openPolicies(log);
  const atWork = new Set<Promise<void>>();
  let done: Job[] = [];
  let completing = Promise.resolve();
  let fetching: Promise<void> | undefined;
  let mayBeMore = false;
  let isStopped = false;

  function wake(): void {
    mayBeMore = true;
    fetching ??= fetchAll().finally(() => {
      fetching = undefined;
      // Woken while it ended.
      if (mayBeMore && hasRoom()) wake();
    });
  }

  function hasRoom(): boolean {
    return !isStopped && atWork.size < concurrency;
  }

  async function fetchAll(): Promise<void> {
    // What ends in one turn of the event loop makes room for one lot.
    await new Promise(setImmediate);
    while (mayBeMore && hasRoom()) {
      mayBeMore = false;
      try {
        // Jobs of one key, which is their group, one at a time.
        const jobs = await boss.fetch<object>(name, { batchSize: concurrency - atWork.size, groupConcurrency: 1 });
        for (const job of jobs) begin(job);
        if (jobs.length > 0) mayBeMore = true;
      } catch (error) {
        log.warn({ err: error, queue: name }, 'jobs of a queue cannot be fetched; it is tried again');
        return;
      }
    }
  }

  function begin(job: Job): void {
    const working = work(job)
      .catch((error) => log.warn({ err: error, queue: name, job: job.id }, 'how a job ended was not heard'))
      .finally(() => {
        atWork.delete(working);
        // Where there was one, there may be more.
        wake();
      });
    atWork.add(working);
  }

  async function work(job: Job): Promise<void> {
    const ticket = {
      ...{ id: job.id, attempt: job.retryCount + 1, payload: job.data },
      ...{ queue: name, task: task ?? undefined, hasKey: typeof job.groupId === 'string' },
    };
    const { error } = await runner.run(ticket, retriesIn).catch((failed: Error) => ({ error: failed }));
    if (!error) return complete(job);
    // Tried again, or a dead letter, by the count of its tries (jobs._fail).
    await persistently('a job of a queue failed', () => boss.fail(name, [job], error));
  }

  function complete(job: Job): void {
    done.push(job);
    // Whoever comes first brings the others' along, at the earliest when the lot before is through.
    if (done.length === 1) completing = completing.then(completeAll);
  }

  /** Its run says already that it is done: what is not heard here is found to be done when it is fetched again. */
  async function completeAll(): Promise<void> {
    await new Promise(setImmediate);
    const lot = done;
    done = [];
    await persistently('jobs of a queue are completed', () => boss.complete(name, lot)).catch((error) =>
      log.warn({ err: error, queue: name, jobs: lot.length }, 'that jobs of a queue ended was not heard'),
    );
  }

  const timer = setInterval(wake, pollEvery);
  wake();
  return {
    wake,
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await fetching;
      while (atWork.size > 0) await Promise.all(atWork);
      await completing;
    },
  };
}
