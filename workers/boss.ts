import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { Queue } from '../functions/jobs.ts';
import type { Engine } from './graphile.ts';
import type { Runner } from './runner.ts';

export type BossEngine = Engine & {
  /** Makes, changes, pauses and resumes queues as jobs.queues says. */
  follow(queues: Queue[]): Promise<void>;
};

/** Makes or renews the tables of pg-boss. */
export async function installBoss(pool: pg.Pool): Promise<void> {
  const boss = new PgBoss({ db: through(pool), supervise: false, schedule: false, migrate: true });
  await boss.start();
  await boss.stop({ graceful: false });
}

/**
 * Takes jobs from pg-boss.
 *
 * @param isOurs whether a task is run here; the jobs of other queues are left for whoever fetches them.
 */
export async function startBoss({
  url,
  runner,
  isOurs,
  log,
}: {
  /** For listening. */
  url: string;
  runner: Runner;
  isOurs: (task: string) => boolean;
  log: Logger;
}): Promise<BossEngine> {
  // A small pool of its own, since it listens on one of them.
  const boss = new PgBoss({ connectionString: url, max: 4, useListenNotify: true, schedule: false });
  boss.on('error', (error) => log.warn({ err: error }, 'pg-boss has met an error'));
  await boss.start();
  const known = new Map<string, Queue>();
  const existing = new Set((await boss.getQueues()).map(({ name }) => name));

  async function follow(queues: Queue[]): Promise<void> {
    for (const queue of queues) {
      const before = known.get(queue.name);
      if (isDeepStrictEqual(before, queue)) continue;
      await make(queue);
      const takes = (one: Queue | undefined): boolean => !!one?.task && !one.is_paused && isOurs(one.task);
      if (takes(before)) await boss.offWork(queue.name);
      if (takes(queue)) await work(queue);
      known.set(queue.name, queue);
    }
  }

  async function make(queue: Queue): Promise<void> {
    const options = {
      retryLimit: queue.retries,
      retryDelay: queue.retry_delay,
      retryDelayMax: queue.retry_delay_max,
      retryBackoff: true,
      expireInSeconds: queue.expires_after,
      deleteAfterSeconds: queue.kept,
      notify: true,
    };
    if (existing.has(queue.name)) {
      const old = await boss.getQueue(queue.name);
      if (old?.policy !== queue.policy) {
        log.warn({ queue: queue.name }, 'the policy of a queue that has been made cannot be changed: it stays');
      }
      await boss.updateQueue(queue.name, { ...options, deadLetter: queue.dead_letter });
      return;
    }
    const letters = queue.dead_letter && { deadLetter: queue.dead_letter };
    await boss.createQueue(queue.name, { ...options, ...letters, policy: queue.policy });
    existing.add(queue.name);
  }

  async function work({ name, concurrency, retry_delay: delay, retry_delay_max: longest }: Queue): Promise<void> {
    // As pg-boss waits: twice as long each time, half of it by chance.
    const retriesIn = (attempt: number): number => Math.min(delay * 2 ** attempt, longest) * 1000;
    const options = {
      batchSize: 1,
      // Jobs of one key, which is their group, one at a time.
      groupConcurrency: 1,
      pollingIntervalSeconds: 1,
      notifyPollingIntervalSeconds: 1,
    };
    for (let place = 0; place < concurrency; place += 1) {
      let id = '';
      id = await boss.work<object, unknown, typeof options>(name, options, async ([job]) => {
        if (!job) return;
        const ticket = { id: job.id, attempt: job.retryCount + 1, queue: name, payload: job.data };
        const { error } = await runner.run(ticket, retriesIn);
        // Where there was one, there may be more: the next is not waited for.
        boss.notifyWorker(id);
        // Tried again, or a dead letter, by the count of its tries (jobs._fail).
        if (error) throw error;
      });
    }
  }

  return { follow, stop: () => boss.stop({ graceful: true, timeout: 9000 }) };
}

function through(pool: pg.Pool) {
  return { executeSql: (text: string, values?: unknown[]) => pool.query(text, values) };
}
