import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { until } from '../events/listen.ts';
import { launch, temporaryFolder } from '../running-plinth.ts';
import { openJobsWorld, taskOf } from './jobs-world.ts';

// The process that npm run worker starts, stopped and killed; and what it does that no function can.

const world = await openJobsWorld(t);
const { sql, ended } = world;
await sql(`
  create schema work;
  create table work.done (n integer);
  create table work.may_go_on ();
  -- Sleeps for as long as nobody lets it go on.
  create function work.act(payload jsonb) returns void language plpgsql as $$
  begin
    insert into work.done values ((payload ->> 'n')::integer);
    if not exists (select from work.may_go_on) then
      perform pg_sleep(120);
    end if;
  end $$;
  insert into jobs.tasks (name, function) values ('act', 'work.act')`);

/** A worker process that has begun a run of the task. */
async function atWork(t: Test, n: number): Promise<{ child: ChildProcess; id: string; exited: Promise<unknown> }> {
  await sql('delete from work.may_go_on');
  const env = { DATABASE_URL: world.databaseUrl, PLINTH_DATA: temporaryFolder(t), LOG_LEVEL: 'silent' };
  const { child, ended: exited } = launch('worker', [], env);
  t.teardown(() => void child.kill('SIGKILL'));
  const [run] = await sql(`select (jobs.enqueue('act', jsonb_build_object('n', $1::integer))).id`, [n]);
  await ended(run?.id, ['running']);
  return { child, id: run?.id, exited };
}

t.test('a worker that is asked to stop hands back what it cannot end, and says good-bye', async (t) => {
  const { child, id, exited } = await atWork(t, 1);
  child.kill('SIGTERM');
  t.match(await exited, { status: 0 });
  t.match(await ended(id, ['queued']), { state: 'queued', attempt: 0, error: null });
  t.same(await sql('select n from work.done'), [], 'nothing of it has happened');
  t.same(await sql('select id from jobs.workers'), []);
  await sql('insert into work.may_go_on default values');
  const { stop } = await world.work();
  t.match(await ended(id), { state: 'succeeded', attempt: 1 });
  await stop();
});

t.test('what a killed worker had begun is begun again, and happens once', async (t) => {
  const { child, id, exited } = await atWork(t, 2);
  child.kill('SIGKILL');
  await exited;
  await sql('insert into work.may_go_on default values');
  const { stop } = await world.work();
  t.match(await ended(id), { state: 'succeeded', attempt: 2, error: 'The worker died.' });
  t.same(await sql('select n from work.done where n = 2'), [{ n: 2 }]);
  await until(async () => (await sql('select from jobs.workers')).length === 1);
  await stop();
});

t.test('what was taken by someone who is not known, or left since, is taken from them', async (t) => {
  await sql('insert into work.may_go_on default values');
  const [run] = await sql("select (jobs.enqueue('act', '{\"n\": 3}', key => 'held')).id");
  for (const table of ['_private_jobs', '_private_job_queues']) {
    await sql(`update graphile_worker.${table} set locked_by = 'gone', locked_at = now() - interval '1 minute'`);
  }
  const { stop } = await world.work();
  t.match(await ended(run?.id), { state: 'succeeded', attempt: 2, error: 'The worker died.' });
  await stop();
});

t.test('a worker that was taken for dead is not heard, and ends what it runs', async (t) => {
  await sql("insert into jobs.tasks (name) values ('held')");
  let reason: unknown;
  const held = taskOf('held', async (_, { signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    reason = signal.reason;
  });
  const { stop } = await world.work([held]);
  const [run] = await sql("select (jobs.enqueue('held')).id");
  await ended(run?.id, ['running']);
  await sql("insert into jobs.workers (id, host, process_id) values ('another', 'elsewhere', 1)");
  await sql("update jobs.runs set attempt = 2, worker = 'another' where id = $1", [run?.id]);
  await until(() => reason !== undefined, 'The signal');
  await sleep(500);
  t.match(await sql('select state, attempt, worker, error from jobs.runs where id = $1', [run?.id]), [
    { state: 'running', attempt: 2, worker: 'another', error: null },
  ]);
  await sql('delete from jobs.runs where id = $1', [run?.id]);
  await stop();
});

t.test('C13 days of the log that are kept no longer go while others read and write', async (t) => {
  await sql("select events._ensure_partition('search', now() - interval '9 days')");
  const name = (
    await sql("select to_char(now() at time zone 'UTC' - interval '9 days', '\"log_search_\"YYYY_MM_DD') as name")
  )[0]?.name;
  const reader = await world.owner.connect();
  await reader.query('begin; select count(*) from chat.messages');
  const { tasks } = await import('../../workers/tasks.ts');
  await world.work(tasks);
  const [run] = await sql("select (jobs.enqueue('retire_partitions')).id");
  await sleep(500);
  await sql("select events.publish('search:all', 'still_written')");
  await reader.query('commit');
  reader.release();
  t.match(await ended(run?.id), { state: 'succeeded', result: [name] });
  t.same(await sql(`select to_regclass('events.${name}') as found`), [{ found: null }]);
});

t.test('queues are made whatever they are called, and one that cannot be made holds up no schedule', async (t) => {
  const { stop } = await world.work();
  await sql(`
    insert into jobs.queues (name, dead_letter) values ('c_end', null), ('b_mid', 'c_end'), ('a_first', 'b_mid');
    insert into jobs.tasks (name, function, queue) values ('chained', 'jobs.expire_runs', 'a_first')`);
  const [run] = await sql("select (jobs.enqueue('chained')).id");
  t.match(await ended(run?.id), { state: 'succeeded' });
  await sql(`
    insert into jobs.queues (name, dead_letter) values ('ring_a', null), ('ring_b', 'ring_a');
    update jobs.queues set dead_letter = 'ring_b' where name = 'ring_a';
    insert into jobs.schedules (name, cron, function) values ('go on', '* * * * * *', 'jobs.expire_runs')`);
  const done = "select from jobs.runs where schedule = 'go on' and state = 'succeeded'";
  await until(async () => (await sql(done)).length > 0, 'A run of the schedule');
  await stop();
});
