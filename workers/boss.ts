import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { PgBoss } from 'pg-boss';
import type { Logger } from 'pino';
import type { Queue } from '../functions/jobs.ts';
import { type Feed, openFeed } from './feed.ts';
import type { Engine } from './graphile.ts';
import type { Runner } from './runner.ts';

export type BossEngine = Engine & {
  /** Makes, changes, pauses and resumes queues as jobs.queues says; what cannot be made is logged once, and tried again the next time. */
  follow(queues: Queue[]): Promise<void>;
};

// Where pg-boss says that a queue has got a job. As pg-boss computes it from its schema's name; if an upgrade changes it, jobs start up to a
// second later.
const channel = `pgboss_${createHash('sha224').update('pgboss').digest('hex').slice(0, 24)}`;
const stopsWithin = 9000;

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
  url: string;
  runner: Runner;
  isOurs: (task: string) => boolean;
  log: Logger;
}): Promise<BossEngine> {
  // It listens by itself, and keeps time by itself: jobs.schedules and workers/feed.ts.
  const boss = new PgBoss({ connectionString: url, max: 4, schedule: false });
  boss.on('error', (error) => log.warn({ err: error }, 'pg-boss has met an error'));
  await boss.start();
  const known = new Map<string, Queue>();
  const existing = new Set<string>();
  try {
    for (const { name } of await boss.getQueues()) existing.add(name);
  } catch (error) {
    await boss.stop({ graceful: false }).catch(() => {});
    throw error;
  }
  const failing = new Set<string>();
  const feeds = new Map<string, Feed>();
  const ending = new Set<Promise<void>>();
  // Only a hint: feeds look by themselves, too.
  const wakeAll = (): void => {
    for (const feed of feeds.values()) feed.wake();
  };
  const listening = await boss
    .getDb()
    .listen?.(channel, (queue) => feeds.get(queue)?.wake(), wakeAll)
    .catch((error) => void log.warn({ err: error }, 'the queues are not listened to, only looked at each second'));

  async function follow(queues: Queue[]): Promise<void> {
    for (const queue of queues) {
      const before = known.get(queue.name);
      if (isDeepStrictEqual(before, queue)) continue;
      try {
        await make(queue);
      } catch (error) {
        // It holds up no other.
        if (!failing.has(queue.name))
          log.warn({ err: error, queue: queue.name }, 'a queue cannot be made; it is tried again');
        failing.add(queue.name);
        continue;
      }
      failing.delete(queue.name);
      feed(queue);
    }
  }

  function feed(queue: Queue): void {
    end(queue.name);
    if (queue.task && !queue.is_paused && isOurs(queue.task)) {
      feeds.set(queue.name, openFeed(boss, queue, runner, log));
    }
    known.set(queue.name, queue);
  }

  /** Nobody waits for what it has taken, but whoever stops the worker. */
  function end(queue: string): void {
    const feed = feeds.get(queue);
    if (!feed) return;
    feeds.delete(queue);
    const ended = feed.stop().finally(() => ending.delete(ended));
    ending.add(ended);
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
      await boss.updateQueue(queue.name, { ...options, deadLetter: queue.dead_letter });
      return;
    }
    const letters = queue.dead_letter && { deadLetter: queue.dead_letter };
    await boss.createQueue(queue.name, { ...options, ...letters, policy: queue.policy });
    existing.add(queue.name);
  }

  return {
    follow,
    async stop() {
      for (const queue of [...feeds.keys()]) end(queue);
      await Promise.race([Promise.all(ending), sleep(stopsWithin, undefined, { ref: false })]);
      await listening?.close();
      await boss.stop({ graceful: false });
    },
  };
}

function through(pool: pg.Pool) {
  return { executeSql: (text: string, values?: unknown[]) => pool.query(text, values) };
}
