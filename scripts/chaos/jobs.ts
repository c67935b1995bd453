import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isPassing } from '../../functions/requests.ts';
import { withOwner } from './database.ts';
import { openPostgres } from './postgres.ts';
import { seeded } from './random.ts';

/** What came of it; `wrong` is what must not be. */
export type JobsSummary = {
  jobs: number;
  /** Of workers. */
  kills: number;
  /** Of Postgres, with all that is not on disk. */
  crashes: number;
  seconds: number;
  succeeded: number;
  /** Backups that were made meanwhile, each restored and compared in the end. */
  backups: number;
  effectsOnce: number;
  /** Runs that were begun more than once. */
  begunAgain: number;
  /** The longest that a run of a killed worker waited to be begun again, in seconds. */
  longestTakeover: number;
  wrong: string[];
};

const workerScript = path.join(import.meta.dirname, 'worker.ts');
const processes = 3;

// In schema.sql, so that the backups hold it.
const application = `
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
  ('graphile', 'chaos.act', null, 50), ('boss', 'chaos.act', 'chaotic', 50), ('keyed', 'chaos.alone', null, 50);
update jobs.tasks set max_attempts = 50 where name in ('backup', 'prove_backup');
`;

/** Asks the database as its owner; again where the connection was lost, so that what is asked must bear it. */
type Ask = <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>;

/**
 * Kills workers (-9), and Postgres with every tenth of them, while jobs run: functions by graphile-worker, functions by pg-boss, runs of
 * one key, which must never overlap, and backups. Every job has to end, its effect to be there once, and every backup to be whole.
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
  report: (line: string) => void;
}): Promise<JobsSummary> {
  const random = seeded(seed);
  const postgres = await openPostgres(report, application);
  const began = performance.now();
  const ask: Ask = (text, values) => persistently(postgres.url, text, values);
  const { url, folder } = postgres;
  const env = { PATH: process.env.PATH, DATABASE_URL: url, PLINTH_DATA: folder, LOG_LEVEL: 'error' };
  let closed = false;
  const workers: ChildProcess[] = [];
  const held = new Map<string, number>();
  const start = (index: number): void => {
    const child = spawn(process.execPath, [workerScript], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    workers[index] = child;
    child.once('exit', () => closed || start(index));
  };
  for (let index = 0; index < processes; index += 1) start(index);
  let crashes = 0;
  try {
    const asking = enqueue(ask, jobs);
    for (let killed = 1; killed <= kills; killed += 1) {
      await sleep(random.between(300, 1500));
      const victim = workers[random.below(processes)];
      victim?.kill('SIGKILL');
      for (const id of await heldBy(ask, victim?.pid)) held.set(id, Date.now());
      if (killed % 10 > 0) continue;
      await ask("select jobs.enqueue('backup', nonce => $1)", [`after ${killed} kills`]);
      await sleep(random.between(0, 3000));
      await postgres.kill();
      await postgres.start();
      crashes += 1;
      report(`${killed} kills, ${crashes} crashes, ${await count(ask, "state = 'succeeded'")} jobs done`);
    }
    await asking;
    await whileFewer(
      () => count(ask, isOpen),
      (left) => report(`${left} jobs are left`),
    );
    const backups = await provenBackups(ask, report);
    const seconds = Math.round((performance.now() - began) / 1000);
    return await judge(ask, held, { jobs, kills, crashes, seconds, ...backups });
  } finally {
    closed = true;
    for (const worker of workers) worker.kill('SIGKILL');
    await postgres.close();
  }
}

/** Waits until none are left, for as long as they become fewer now and then: in five minutes. */
export async function whileFewer(
  left: () => Promise<number>,
  report: (left: number) => void = () => {},
): Promise<void> {
  let fewest = Number.POSITIVE_INFINITY;
  for (let waited = 0; waited < 300; waited += 1) {
    const now = await left();
    if (now === 0) return;
    if (now < fewest) waited = 0;
    fewest = Math.min(fewest, now);
    if (waited % 10 === 9) report(now);
    await sleep(1000);
  }
}

async function persistently<Row extends object>(url: string, text: string, values?: unknown[]): Promise<Row[]> {
  for (let tries = 1; ; tries += 1) {
    try {
      return (await withOwner(url, (owner) => owner.query<Row>(text, values))).rows;
    } catch (error) {
      if (tries === 10 || !isPassing(error)) throw error;
      await sleep(500);
    }
  }
}

/** Asks for jobs in small lots, so that there is work all the time; twice, where no one heard whether it was done. */
async function enqueue(ask: Ask, jobs: number): Promise<void> {
  const lot = 100;
  for (let first = 1; first <= jobs; first += lot) {
    await ask(
      `select count(jobs.enqueue(
        task, jsonb_build_object('n', n, 'task', task, 'key', key), key => case when task = 'keyed' then key end,
        nonce => 'job ' || n
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
async function heldBy(ask: Ask, pid: number | undefined): Promise<string[]> {
  const rows = await ask<{ id: string }>(
    `select run.id from jobs.runs as run join jobs.workers as worker on worker.id = run.worker
    where worker.process_id = $1 and run.state = 'running'`,
    [pid],
  );
  return rows.map(({ id }) => id);
}

const isOpen = "state in ('queued', 'running')";

async function count(ask: Ask, condition: string): Promise<number> {
  const [row] = await ask<{ count: number }>(
    `select count(*)::integer from jobs.runs where schedule is null and task not like '%backup' and ${condition}`,
  );
  return row?.count ?? 0;
}

/** Restores every backup that is said to be there, and compares. */
async function provenBackups(
  ask: Ask,
  report: (line: string) => void,
): Promise<{ backups: number; unproven: string[] }> {
  const waitFor = (condition: string): Promise<void> =>
    whileFewer(async () => {
      const [row] = await ask<{ count: number }>(`select count(*)::integer from jobs.runs where ${condition}`);
      return row?.count ?? 0;
    });
  await waitFor(`task = 'backup' and ${isOpen}`);
  const backups = await ask<{ name: string; state: string }>(
    `select run.result ->> 'name' as name, run.state from jobs.runs as run where run.task = 'backup'
    union select backup.name, 'succeeded' from operations.backups as backup where backup.state in ('finished', 'proven')`,
  );
  report(`${backups.length} backups are restored and compared`);
  for (const { name } of backups) {
    if (name)
      await ask("select jobs.enqueue('prove_backup', jsonb_build_object('name', $1::text), nonce => $1)", [name]);
  }
  await waitFor(`task = 'prove_backup' and ${isOpen}`);
  const proven = await ask<{ name: string }>("select name from operations.backups where state = 'proven'");
  const names = new Set(proven.map(({ name }) => name));
  const unproven = backups.filter(({ name }) => !names.has(name)).map(({ name, state }) => name ?? `one that ${state}`);
  return { backups: names.size, unproven };
}

async function judge(
  ask: Ask,
  held: Map<string, number>,
  {
    unproven,
    ...known
  }: Pick<JobsSummary, 'jobs' | 'kills' | 'crashes' | 'seconds' | 'backups'> & { unproven: string[] },
): Promise<JobsSummary> {
  const [effects] = await ask<{ once: number; more: number }>(`select
      count(*) filter (where times = 1)::integer as once, count(*) filter (where times > 1)::integer as more
    from (select n, count(*) as times from chaos.effects group by n) as counted`);
  const { once = 0, more = 0 } = effects ?? {};
  const [overlaps] = await ask<{ count: number }>('select count(*)::integer from chaos.overlaps');
  const again = await ask<{ id: string; started_at: Date }>(
    'select id, started_at from jobs.runs where schedule is null and attempt > 1',
  );
  const waits = again.map(({ id, started_at: at }) => at.getTime() - (held.get(id) ?? at.getTime()));
  const succeeded = await count(ask, "state = 'succeeded'");
  const wrong = [
    succeeded < known.jobs && `${known.jobs - succeeded} jobs did not succeed`,
    once < known.jobs && `${known.jobs - once} jobs have not had their effect once`,
    more > 0 && `${more} jobs had their effect more than once`,
    overlaps?.count !== 0 && `${overlaps?.count} runs of one key overlapped`,
    unproven.length > 0 && `backups that could not be restored: ${unproven.join(', ')}`,
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
