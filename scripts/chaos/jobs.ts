import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { onGround, type Report } from '../bench/ground.ts';
import { seeded } from './random.ts';

/** What came of it; `wrong` is what must not be. */
export type JobsSummary = {
  jobs: number;
  kills: number;
  seconds: number;
  succeeded: number;
  effectsOnce: number;
  /** Runs that were begun more than once. */
  begunAgain: number;
  /** The longest that a run of a killed worker waited to be begun again, in seconds. */
  longestTakeover: number;
  wrong: string[];
};

const workerScript = path.join(import.meta.dirname, '..', 'worker.ts');
const processes = 3;

/**
 * Kills workers (-9) while jobs run: functions by graphile-worker, functions by pg-boss, and runs of one key, which must never overlap.
 * Every job has to end, and its effect to be there once.
 */
export async function chaosJobs({
  jobs,
  kills,
  seed,
  report,
}: {
  jobs: number;
  kills: number;
  seed: number;
  report: Report;
}): Promise<JobsSummary> {
  const random = seeded(seed);
  return onGround(report, async ({ url, owner, folder }) => {
    const began = performance.now();
    await arrange(owner);
    const env = { PATH: process.env.PATH, DATABASE_URL: url, PLINTH_DATA: folder, LOG_LEVEL: 'warn' };
    let closed = false;
    const workers: ChildProcess[] = [];
    const held = new Map<string, number>();
    const start = (index: number): void => {
      const child = spawn(process.execPath, [workerScript], { env, stdio: ['ignore', 'ignore', 'inherit'] });
      workers[index] = child;
      child.once('exit', () => closed || start(index));
    };
    for (let index = 0; index < processes; index += 1) start(index);
    try {
      const asking = ask(owner, jobs);
      for (let killed = 1; killed <= kills; killed += 1) {
        await sleep(random.between(300, 1500));
        const victim = workers[random.below(processes)];
        victim?.kill('SIGKILL');
        for (const id of await heldBy(owner, victim?.pid)) held.set(id, Date.now());
        if (killed % 10 === 0) report(`${killed} kills, ${await count(owner, "state = 'succeeded'")} jobs done`);
      }
      await asking;
      for (let waited = 0; waited < 300 && (await count(owner, "state in ('queued', 'running')")) > 0; waited += 1) {
        await sleep(1000);
        if (waited % 10 === 9) report(`${await count(owner, "state in ('queued', 'running')")} jobs are left`);
      }
      return await judge(owner, held, { jobs, kills, seconds: Math.round((performance.now() - began) / 1000) });
    } finally {
      closed = true;
      for (const worker of workers) worker.kill('SIGKILL');
    }
  });
}

async function arrange(owner: pg.Client): Promise<void> {
  await owner.query(`
    set role plinth_owner;
    create schema chaos;
    create table chaos.effects (n integer, task text);
    create table chaos.overlaps (n integer);
    create function chaos.act(payload jsonb) returns void language plpgsql as $$
    begin
      insert into chaos.effects values ((payload ->> 'n')::integer, payload ->> 'task');
      perform pg_sleep(random() * 0.02);
    end $$;
    create function chaos.alone(payload jsonb) returns void language plpgsql as $$
    begin
      if not pg_try_advisory_xact_lock(hashtext('chaos ' || (payload ->> 'key'))) then
        insert into chaos.overlaps values ((payload ->> 'n')::integer);
      end if;
      perform chaos.act(payload);
    end $$;
    insert into jobs.queues (name, retries, concurrency) values ('chaotic', 50, 4);
    insert into jobs.tasks (name, function, queue, max_attempts) values
      ('graphile', 'chaos.act', null, 50), ('boss', 'chaos.act', 'chaotic', 50), ('keyed', 'chaos.alone', null, 50)`);
}

/** Asks for jobs in small lots, so that there is work all the time. */
async function ask(owner: pg.Client, jobs: number): Promise<void> {
  const lot = 100;
  for (let first = 1; first <= jobs; first += lot) {
    await owner.query(
      `select count(jobs.enqueue(
        task, jsonb_build_object('n', n, 'task', task, 'key', key), key => case when task = 'keyed' then key end
      ))
      from (
        select n, (array['graphile', 'boss', 'keyed'])[n % 3 + 1] as task, 'key ' || n % 20 as key
        from generate_series($1::integer, $2::integer) as n
      ) as wanted`,
      [first, Math.min(first + lot - 1, jobs)],
    );
    await sleep(200);
  }
}

/** The runs that a process has begun and not ended. */
async function heldBy(owner: pg.Client, pid: number | undefined): Promise<string[]> {
  const { rows } = await owner.query(
    `select run.id from jobs.runs as run join jobs.workers as worker on worker.id = run.worker
    where worker.process_id = $1 and run.state = 'running'`,
    [pid],
  );
  return rows.map(({ id }) => id);
}

async function count(owner: pg.Client, condition: string): Promise<number> {
  const { rows } = await owner.query(`select count(*)::integer from jobs.runs where schedule is null and ${condition}`);
  return rows[0].count;
}

async function judge(
  owner: pg.Client,
  held: Map<string, number>,
  known: Pick<JobsSummary, 'jobs' | 'kills' | 'seconds'>,
): Promise<JobsSummary> {
  const { rows: effects } = await owner.query(`select
      count(*) filter (where times = 1)::integer as once, count(*) filter (where times > 1)::integer as more
    from (select n, count(*) as times from chaos.effects group by n) as counted`);
  const { rows: overlaps } = await owner.query('select count(*)::integer from chaos.overlaps');
  const { rows: again } = await owner.query<{ id: string; started_at: Date }>(
    'select id, started_at from jobs.runs where schedule is null and attempt > 1',
  );
  const waits = again.map(({ id, started_at: at }) => at.getTime() - (held.get(id) ?? at.getTime()));
  const succeeded = await count(owner, "state = 'succeeded'");
  const { once, more } = effects[0];
  const wrong = [
    succeeded < known.jobs && `${known.jobs - succeeded} jobs did not succeed`,
    once < known.jobs && `${known.jobs - once} jobs have not had their effect once`,
    more > 0 && `${more} jobs had their effect more than once`,
    overlaps[0].count > 0 && `${overlaps[0].count} runs of one key overlapped`,
  ].filter((line) => line !== false);
  return {
    ...known,
    succeeded,
    effectsOnce: once,
    begunAgain: again.length,
    longestTakeover: Math.max(0, ...waits) / 1000,
    wrong,
  };
}
