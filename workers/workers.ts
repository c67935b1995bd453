import { hostname } from 'node:os';
import pg from 'pg';
import type { Logger } from 'pino';
import { openJobs, type Task as TaskRow, withEnginesLocked } from '../functions/jobs.ts';
import type { Settings } from '../functions/settings.ts';
import { installBoss, startBoss } from './boss.ts';
import { installGraphile, startGraphile } from './graphile.ts';
import { openHostMetrics } from './host.ts';
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
const measureEvery = 60_000;
const stopsWithin = 7000;

// What runs for a worker that is gone, or that the network has lost, ends soon: else it would hold its run until it is through.
const session = {
  role: 'plinth_owner',
  client_connection_check_interval: '5s',
  tcp_keepalives_idle: '15s',
  tcp_keepalives_interval: '5s',
  tcp_keepalives_count: '2',
};

/** The owner's connection, acting as the role that owns everything. */
function asOwner(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  const options = Object.entries(session).map(([name, value]) => `-c ${name}=${value}`);
  url.searchParams.set('options', options.join(' '));
  return url.href;
}

/** A pool whose connections may break: what was asked on one fails then, and nothing else. */
function openPool(config: pg.PoolConfig, log: Logger): pg.Pool {
  const pool = new pg.Pool(config);
  const lost = (error: Error): void => log.debug({ err: error }, 'a connection was lost');
  pool.on('error', lost);
  // While it is out of the pool, too.
  pool.on('connect', (client) => client.on('error', lost));
  return pool;
}

/** Makes what the engines need in the database: their own tables. */
export async function installEngines(databaseUrl: string, log: Logger): Promise<void> {
  const pool = openPool({ connectionString: asOwner(databaseUrl), max: 2 }, log);
  try {
    await withEnginesLocked(databaseUrl, async () => {
      await installGraphile(pool, log);
      await installBoss(pool);
    });
  } finally {
    await pool.end();
  }
}

/**
 * Runs the jobs of a database: takes them from both engines, asks for those of schedules, and takes over from workers that died.
 *
 * @param databaseUrl the owner's connection.
 * @param tasks those in TypeScript.
 */
export async function startWorkers({
  databaseUrl,
  settings,
  tasks,
  log,
}: {
  databaseUrl: string;
  settings: Settings;
  tasks: Task[];
  log: Logger;
}): Promise<Workers> {
  await installEngines(databaseUrl, log);
  const url = asOwner(databaseUrl);
  const config = { connectionString: url, application_name: 'plinth worker' };
  const { workerConcurrency: concurrency } = settings;
  const pool = openPool({ ...config, max: concurrency + 3 }, log);
  const enginePool = openPool({ ...config, max: concurrency + 2 }, log);
  const jobs = openJobs(pool);
  const inTypeScript = new Map(tasks.map((task) => [task.name, task]));
  let rows = new Map((await jobs.tasks()).map((row) => [row.name, row]));
  let name = '';
  let runner: Runner | undefined;

  async function rowOf(task: string): Promise<TaskRow> {
    if (!rows.has(task)) rows = new Map((await jobs.tasks()).map((row) => [row.name, row]));
    return rows.get(task) as TaskRow;
  }

  const graphile = await startGraphile({
    pool: enginePool,
    concurrency,
    log,
    paused: () => [...rows.values()].filter(({ is_paused: isPaused }) => isPaused).map((row) => row.name),
    async named(given) {
      name = given;
      // Nobody may take it for dead before it has begun.
      await jobs.beat(name, hostname(), []);
      runner = openRunner({
        ...{ jobs, pool, config, worker: name, rowOf },
        ...{ tasks: inTypeScript, settings, databaseUrl, log },
      });
      return runner;
    },
  });
  const running = runner as unknown as Runner;
  const isOurs = (task: string): boolean => inTypeScript.has(task) || !!rows.get(task)?.function;
  const boss = await startBoss({ url, runner: running, isOurs, log });

  async function beat(): Promise<void> {
    running.cancel(await jobs.beat(name, hostname(), running.running()));
    await jobs.rescue(silentFor);
  }

  async function follow(): Promise<void> {
    rows = new Map((await jobs.tasks()).map((row) => [row.name, row]));
    await boss.follow(await jobs.queues());
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
    await jobs.handOver();
  }

  const hostMetrics = openHostMetrics('.');
  const measure = async (): Promise<void> => jobs.recordMetrics(hostname(), await hostMetrics());

  await follow();
  const repeated = [repeat(beatEvery, beat, log), repeat(followEvery, follow, log), repeat(measureEvery, measure, log)];
  log.info({ worker: name, concurrency }, 'jobs are taken');

  async function shutDown(): Promise<void> {
    await Promise.all(repeated.map((end) => end()));
    const hurry = setTimeout(() => running.stop(), stopsWithin);
    const engines = await Promise.allSettled([graphile.stop(), boss.stop()]);
    clearTimeout(hurry);
    for (const engine of engines) {
      if (engine.status === 'rejected') log.warn({ err: engine.reason }, 'an engine did not stop in order');
    }
    await jobs.leave(name).catch(() => {});
    await Promise.all([pool.end(), enginePool.end()]);
  }

  let stopping: Promise<void> | undefined;
  return {
    name,
    stop() {
      stopping ??= shutDown();
      return stopping;
    },
  };
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
        if (!failing) log.warn({ err: error }, 'the worker cannot reach its database; it tries again');
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
