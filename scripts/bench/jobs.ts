import { setTimeout as sleep } from 'node:timers/promises';
import { Logger, run } from 'graphile-worker';
import type pg from 'pg';
import { PgBoss } from 'pg-boss';
import pino from 'pino';
import { asOwner, openPool } from '../../functions/connection.ts';
import { readSettings } from '../../functions/settings.ts';
import { installEngines, startWorkers } from '../../workers/workers.ts';
import type { Ground, Report } from './ground.ts';
import { median, rounded } from './rounds.ts';

type Row = Record<string, string | number>;
/** A way to have jobs done: `ask` asks for so many in one transaction; while it is open they are done. */
type Way = {
  name: string;
  bare?: string;
  open(): Promise<() => Promise<void>>;
  ask(first: number, count: number): Promise<unknown>;
};

const concurrency = 8;

/**
 * Jobs a second and their latency through jobs.enqueue, beside graphile-worker and pg-boss by themselves. Each job writes one row. All of
 * them are asked for in one transaction and timed from its commit to the last row; latency is timed with one job at a time.
 */
export async function benchJobs(ground: Ground, quick: boolean, report: Report): Promise<Row[]> {
  const log = pino({ level: 'silent' });
  const url = asOwner(ground.url);
  const pool = openPool({ connectionString: url, max: concurrency + 4 });
  const act = 'insert into bench.done (n) values ($1)';
  await installEngines(ground.url, log);
  await ground.owner.query(`
    set role plinth_owner;
    create schema bench;
    create table bench.done (n integer, at timestamptz default clock_timestamp());
    create function bench.act(payload jsonb) returns void language sql as
      $$ insert into bench.done (n) values ((payload ->> 'n')::integer) $$;
    insert into jobs.queues (name, concurrency) values ('bench', ${concurrency}), ('bare', ${concurrency});
    insert into jobs.tasks (name, function, queue) values ('bench', 'bench.act', null), ('bench_fed', 'bench.act', 'bench');
    update jobs.schedules set is_paused = true`);
  const settings = readSettings({ PLINTH_ENV: 'development', WORKER_CONCURRENCY: `${concurrency}` });
  const plinth = async () => (await startWorkers({ databaseUrl: ground.url, settings, tasks: [], log })).stop;
  const enqueue = (task: string) => (first: number, count: number) =>
    pool.query(
      `select count(jobs.enqueue($1, jsonb_build_object('n', n))) from generate_series($2::integer, $2 + $3 - 1) as n`,
      [task, first, count],
    );
  const bare = new PgBoss({ connectionString: url, max: 4, useListenNotify: true, schedule: false });
  bare.on('error', () => {});
  await bare.start();
  await bare.createQueue('bare', { notify: true });
  const ways: Way[] = [
    {
      name: 'graphile-worker',
      async open() {
        const runner = await run({
          ...{ pgPool: pool, concurrency, pollInterval: 1000, noHandleSignals: true, parsedCronItems: [] },
          logger: new Logger(() => () => {}),
          preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
          taskList: { act: (payload, { query }) => query(act, [(payload as { n: number }).n]).then(() => {}) },
        });
        return () => runner.stop();
      },
      ask: (first, count) =>
        pool.query(
          `select count(graphile_worker.add_job('act', json_build_object('n', n))) from generate_series($1::integer, $1 + $2 - 1) as n`,
          [first, count],
        ),
    },
    { name: 'Plinth by graphile-worker', bare: 'graphile-worker', open: plinth, ask: enqueue('bench') },
    {
      name: 'pg-boss',
      async open() {
        const options = {
          ...{ batchSize: 1, groupConcurrency: 1 },
          ...{ pollingIntervalSeconds: 1, notifyPollingIntervalSeconds: 1 },
        };
        for (let place = 0; place < concurrency; place += 1) {
          let id = '';
          id = await bare.work<{ n: number }, unknown, typeof options>('bare', options, async ([job]) => {
            await pool.query(act, [job?.data.n]);
            bare.notifyWorker(id);
          });
        }
        return () => bare.offWork('bare');
      },
      ask: (first, count) =>
        bare.insert(
          'bare',
          Array.from({ length: count }, (_, index) => ({ data: { n: first + index } })),
        ),
    },
    { name: 'Plinth by pg-boss', bare: 'pg-boss', open: plinth, ask: enqueue('bench_fed') },
  ];
  const count = quick ? 1000 : 5000;
  const singles = quick ? 20 : 100;
  const rates = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
  const latencies = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
  for (let round = 0; round < (quick ? 1 : 5); round += 1) {
    for (const { name, open, ask } of ways) {
      report(`round ${round + 1}: ${name}`);
      const close = await open();
      await sleep(500);
      await pool.query('truncate bench.done');
      await ask(1, count);
      const asked = performance.now();
      await done(pool, count);
      rates.get(name)?.push(count / ((performance.now() - asked) / 1000));
      for (let n = 1; n <= singles; n += 1) {
        await ask(count + n, 1);
        const at = performance.now();
        await done(pool, count + n);
        latencies.get(name)?.push(performance.now() - at);
      }
      await close();
    }
  }
  await bare.stop({ graceful: false });
  await pool.end();
  return ways.map(({ name, bare: alone }) => {
    const own = rates.get(name) as number[];
    const ratio = alone && median(own.map((rate, round) => rate / (rates.get(alone)?.[round] as number)));
    return {
      name,
      jobsASecond: Math.round(median(own)),
      ...(ratio && { ofBare: rounded(ratio as number) }),
      p50: rounded(median(latencies.get(name) as number[])),
    };
  });
}

async function done(pool: pg.Pool, count: number): Promise<void> {
  for (;;) {
    const { rows } = await pool.query('select count(*)::integer from bench.done');
    if (rows[0].count >= count) return;
    await sleep(count > 100 && rows[0].count < count - 100 ? 20 : 2);
  }
}
