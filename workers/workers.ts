import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { asOwner, openPool } from '../functions/connection.ts';
import { hasEngines } from '../functions/engines.ts';
import { openHostMetrics } from '../functions/host.ts';
import { openJobs, type Queue, type Task as TaskRow, withEnginesLocked } from '../functions/jobs.ts';
import type { Settings } from '../functions/settings.ts';
import { type BossEngine, installBoss, startBoss } from './boss.ts';
import { type Engine, installGraphile, startGraphile } from './graphile.ts';
import { openRunner, type Runner } from './runner.ts';
import { timesDue } from './schedule.ts';
import type { Task } from './task.ts';

export type Workers = {
  /** The name of this process in jobs.workers. */
  name: string;
  /** Ends what runs within 10 s, or hands it back. */
  stop(): Promise<void>;
};

const beatEvery = 2000;
// Many beats missed: the rest of the minute is for beginning again.
const silentFor = '25 seconds';
const followEvery = 1000;
const handOverEvery = 5000;
// It pauses so many times as long as it took.
const handOverShare = 20;
const measureEvery = 60_000;
const stopsWithin = 7000;
// What waits for Postgres, as it is stopped.
const waitsAtMost = 2000;

// What runs for a worker that is gone, or that the network has lost, ends soon: else it would hold its run until it is through.
const session = {
  client_connection_check_interval: '5s',
  tcp_keepalives_idle: '15s',
  tcp_keepalives_interval: '5s',
  tcp_keepalives_count: '2',
};

/** Makes what the engines need in the database: their own tables. */
export async function installEngines(databaseUrl: string, log: Logger): Promise<void> {
  const pool = openPool({ connectionString: asOwner(databaseUrl, session), max: 2 });
  try {
    await withEnginesLocked(databaseUrl, async () => {
      await installGraphile(pool, log);
      await installBoss(pool);
    });
  } finally {
    await pool.end();
  }
}

type Given = {
  /** The owner's connection. */
  databaseUrl: string;
  settings: Settings;
  /** Those in TypeScript. */
  tasks: Task[];
  log: Logger;
};

/**
 * Runs the jobs of a database: takes them from both engines, asks for those of schedules, and takes over from workers that died. Where a
 * restore puts another database in its place, which has no engines, or graphile-worker gives up, it begins anew.
 */
export async function startWorkers(given: Given): Promise<Workers> {
  const { log } = given;
  const stopping = new AbortController();
  let workers = await openWorkers(given);
  let anew = Promise.resolve();

  function watch(): void {
    workers.lost.then((reason) => {
      anew = beginAnew(reason);
    });
  }

  async function beginAnew(reason: string): Promise<void> {
    log.warn({ reason }, 'the worker begins anew');
    await workers.stop().catch((error) => log.warn({ err: error }, 'the worker did not stop in order'));
    while (!stopping.signal.aborted) {
      try {
        workers = await openWorkers(given);
        watch();
        return;
      } catch (error) {
        log.warn({ err: error }, 'the worker cannot begin anew; it tries again');
        await sleep(followEvery);
      }
    }
  }

  watch();
  return {
    get name() {
      return workers.name;
    },
    async stop() {
      stopping.abort();
      await anew;
      await workers.stop();
    },
  };
}

/** Workers, and why they can take no more jobs, once it is so; then they are to be stopped. */
async function openWorkers({ databaseUrl, settings, tasks, log }: Given): Promise<Workers & { lost: Promise<string> }> {
  await installEngines(databaseUrl, log);
  const url = asOwner(databaseUrl, session);
  const config = { connectionString: url, application_name: 'plinth worker' };
  const { workerConcurrency: concurrency } = settings;
  const cut = (error: Error): void => log.debug({ err: error }, 'a connection was lost');
  const pool = openPool({ ...config, max: concurrency + 3 }, cut);
  const enginePool = openPool({ ...config, max: concurrency + 2 }, cut);
  const jobs = openJobs(pool);
  const inTypeScript = new Map(tasks.map((task) => [task.name, task]));
  let rows = new Map<string, TaskRow>();
  let name = '';
  const lost = Promise.withResolvers<string>();
  let stopping: Promise<void> | undefined;

  async function readTasks(): Promise<void> {
    rows = new Map((await jobs.tasks()).map((row) => [row.name, row]));
  }

  async function rowOf(task: string): Promise<TaskRow> {
    if (!rows.has(task)) await readTasks();
    const row = rows.get(task);
    if (!row) throw new Error(`There is no task ${task} in jobs.tasks.`);
    return row;
  }

  let graphile: Engine | undefined;
  const startEngines = async (): Promise<{ boss: BossEngine; running: Runner }> => {
    await readTasks();
    const started = await startGraphile({
      pool: enginePool,
      concurrency,
      log,
      ended: () => stopping || lost.resolve('graphile-worker has ended by itself'),
      paused: () => [...rows.values()].filter(({ is_paused: isPaused }) => isPaused).map((row) => row.name),
      async named(given) {
        name = given;
        // Nobody may take it for dead before it has begun.
        await jobs.beat(name, hostname(), []);
        return openRunner({
          ...{ jobs, pool, config, worker: name, rowOf },
          ...{ tasks: inTypeScript, settings, databaseUrl, log },
        });
      },
    });
    graphile = started;
    const { runner } = started;
    const isOurs = (task: string): boolean => inTypeScript.has(task) || !!rows.get(task)?.function;
    return { boss: await startBoss({ url, runner, isOurs, log }), running: runner };
  };
  const { boss, running } = await startEngines().catch(async (error) => {
    // The engine that did start would go on taking jobs, and nobody would say that its worker lives.
    await graphile?.stop().catch(() => {});
    await inTime(Promise.all([pool.end(), enginePool.end()]));
    throw error;
  });

  async function beat(): Promise<void> {
    running.cancel(await jobs.beat(name, hostname(), running.running()));
    await jobs.rescue(silentFor);
  }

  async function follow(): Promise<void> {
    await readTasks();
    await boss.follow(lettersFirst(await jobs.queues()));
    for (const schedule of await jobs.dueSchedules()) {
      try {
        const { times, nextAt } = timesDue(schedule);
        await jobs.fire(schedule.name, times, nextAt, nextAt ? undefined : 'It never comes again.');
      } catch (error) {
        if (isOfDatabase(error)) throw error;
        log.warn({ schedule: schedule.name, problem: (error as Error).message }, 'a schedule cannot be read');
        await jobs.fire(schedule.name, [], undefined, (error as Error).message);
      }
    }
  }

  // Each run that waits is looked at, some 6 µs each: where there are many, less often.
  let nextHandOver = 0;
  const handOver = async (): Promise<void> => {
    const began = performance.now();
    if (began < nextHandOver) return;
    await jobs.handOver();
    const now = performance.now();
    nextHandOver = now + (now - began) * handOverShare;
  };

  const hostMetrics = openHostMetrics(settings.plinthData);
  const measure = async (): Promise<void> => jobs.recordMetrics(hostname(), await hostMetrics());

  async function watch(): Promise<void> {
    if (!(await hasEngines(pool))) lost.resolve('another database is in the place of the one whose jobs were taken');
  }

  const repeated: (() => Promise<void>)[] = [];
  try {
    await follow();
    await handOver();
  } catch (error) {
    await shutDown();
    throw error;
  }
  repeated.push(repeat(beatEvery, beat, log), repeat(followEvery, follow, log));
  repeated.push(repeat(handOverEvery, handOver, log));
  repeated.push(repeat(followEvery, watch, log), repeat(measureEvery, measure, log));
  log.info({ worker: name, concurrency }, 'jobs are taken');

  async function shutDown(): Promise<void> {
    const rounds = Promise.all(repeated.map((end) => end()));
    await inTime(rounds);
    const hurry = setTimeout(() => running.stop(), stopsWithin);
    const engines = await Promise.allSettled([graphile?.stop(), boss.stop()]);
    clearTimeout(hurry);
    for (const engine of engines) {
      if (engine.status === 'rejected') log.warn({ err: engine.reason }, 'an engine did not stop in order');
    }
    await inTime(jobs.leave(name).catch(() => {}));
    await inTime(Promise.all([pool.end(), enginePool.end()]));
  }

  return {
    name,
    lost: lost.promise,
    stop() {
      stopping ??= shutDown();
      return stopping;
    },
  };
}

/** Queues in the order in which they can be made: the one that gets its dead letters before each. */
function lettersFirst(queues: Queue[]): Queue[] {
  const byName = new Map(queues.map((queue) => [queue.name, queue]));
  const ordered = new Set<Queue>();
  const add = (queue: Queue | undefined, above: Queue[] = []): void => {
    if (!queue || ordered.has(queue) || above.includes(queue)) return;
    add(byName.get(queue.dead_letter ?? ''), [...above, queue]);
    ordered.add(queue);
  };
  for (const queue of queues) add(queue);
  return [...ordered];
}

/** What hangs, as on a connection that the network has lost, is not waited for. */
async function inTime(work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, sleep(waitsAtMost, undefined, { signal: over.signal }).catch(() => {})]);
  over.abort();
}

function isOfDatabase(error: unknown): boolean {
  return typeof (error as { code?: unknown }).code === 'string';
}

/** Does something again and again, each time so long after the last has ended; what fails is logged once. */
function repeat(every: number, act: () => Promise<void>, log: Logger): () => Promise<void> {
  let timer: NodeJS.Timeout;
  let current = Promise.resolve();
  let ended = false;
  let failing = false;
  const turn = (): void => {
    current = act()
      .then(() => {
        failing = false;
      })
      .catch((error) => {
        if (!failing) log.warn({ err: error }, 'the worker cannot do its rounds; it tries again');
        failing = true;
      })
      .finally(() => {
        if (!ended) timer = setTimeout(turn, every);
      });
  };
  timer = setTimeout(turn, every);
  return () => {
    ended = true;
    clearTimeout(timer);
    return current;
  };
}
