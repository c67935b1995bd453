import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openJobsWorld, taskOf } from './jobs-world.ts';

const world = await openJobsWorld(t);
const { sql, ended } = world;

const enqueue = async (task: string, more: Record<string, unknown> = {}): Promise<string> => {
  const named = Object.keys(more).map((name, index) => `, ${name} => $${index + 2}`);
  const [run] = await sql(`select (jobs.enqueue($1${named.join('')})).id`, [task, ...Object.values(more)]);
  return run?.id;
};

await sql(`
  create schema work;
  create table work.done (n integer, at timestamptz default clock_timestamp());
  create function work.note(payload jsonb) returns integer language sql as
    $$ insert into work.done (n) values ((payload ->> 'n')::integer) returning n $$;
  create function work.nothing() returns void language sql as $$ insert into work.done (n) values (0) $$;
  create function work.fails(payload jsonb) returns void language plpgsql as $$
    begin
      insert into work.done (n) values (-1);
      raise exception 'It cannot be done.';
    end $$;
  create function work.waits() returns void language sql as $$ select pg_advisory_xact_lock(707) $$;
  create function work.sleeps() returns void language sql as $$ select pg_sleep(60) $$;
  insert into jobs.queues (name, retries, retry_delay, policy, concurrency) values
    ('fed', 1, '1 second', 'standard', 4), ('one', 0, '1 second', 'exclusive', 1), ('dead', 0, '1 second', 'standard', 1);
  update jobs.queues set dead_letter = 'dead' where name = 'fed';
  insert into jobs.tasks (name, function, queue, max_attempts, runs_alone) values
    ('note', 'work.note', null, 3, false), ('nothing', 'work.nothing', null, 3, false),
    ('fails', 'work.fails', null, 1, false), ('sleeps', 'work.sleeps', null, 3, false),
    ('early', 'work.note', null, 3, false),
    ('fed', null, 'fed', 9, false), ('alone', null, null, 3, true), ('slow', null, null, 3, false),
    ('one', 'work.waits', 'one', 9, false), ('buried', null, 'dead', 9, false)`);

const early = await enqueue('early', { payload: { n: 7 } });
let together = 0;
let most = 0;
const tries: Record<string, number> = {};
const buried: unknown[] = [];
const tasks = [
  taskOf('alone', async () => {
    together += 1;
    most = Math.max(most, together);
    await sleep(150);
    together -= 1;
  }),
  taskOf('fed', async (payload, { runId, progress }) => {
    const { failures = 0, n } = payload as { failures?: number; n?: number };
    progress(0.5, 'half');
    tries[runId] = (tries[runId] ?? 0) + 1;
    if ((tries[runId] ?? 0) <= failures) throw new Error('Not yet.');
    return { n };
  }),
  taskOf('slow', async (_, { signal }) => {
    await sleep(60_000, undefined, { signal });
  }),
  taskOf('buried', async (payload) => void buried.push(payload)),
];
await world.work(tasks);

t.test('what was asked for before any worker ever ran is done', async (t) => {
  t.match(await ended(early), { state: 'succeeded', result: 7, attempt: 1, error: null });
});

t.test('D8 a function is a task: its payload, its result, its times', async (t) => {
  const id = await enqueue('note', { payload: { n: 42 } });
  const run = await ended(id);
  t.match(run, { state: 'succeeded', result: 42, progress: 1, attempt: 1, asked_by: null });
  t.ok(run.created_at <= run.started_at && run.started_at <= run.finished_at);
  t.same(await sql('select n from work.done where n = 42'), [{ n: 42 }]);
  t.match(await ended(await enqueue('nothing')), { state: 'succeeded', result: null });
});

t.test('a function that fails has done nothing, and says why', async (t) => {
  t.match(await ended(await enqueue('fails', { payload: {} })), {
    state: 'failed',
    attempt: 1,
    error: 'It cannot be done.',
  });
  t.same(await sql('select n from work.done where n = -1'), []);
});

t.test('D4 asked for twice with one nonce, it is one run', async (t) => {
  const first = await enqueue('note', { payload: { n: 1000 }, nonce: 'once' });
  t.equal(await enqueue('note', { payload: { n: 1000 }, nonce: 'once' }), first);
  await ended(first);
  t.equal(await enqueue('note', { payload: { n: 1000 }, nonce: 'once' }), first);
  t.equal((await sql('select n from work.done where n = 1000')).length, 1);
});

t.test('D8 runs of a task that runs alone, and of one key, never overlap', async (t) => {
  const ids = await Promise.all(['one', undefined, 'three'].map((key) => enqueue('alone', { ...(key && { key }) })));
  for (const id of ids) t.match(await ended(id), { state: 'succeeded' });
  t.equal(most, 1);
  t.match(await ended(await enqueue('note', { payload: { n: 2000 }, key: 'k'.repeat(200) })), { state: 'succeeded' });
});

// From here on they wait for seconds, each for things of its own: at once. Options are made for each: tap keeps what came
// of a test in them, and with one object for all tells the same of all.
t.jobs = 9;
const beside = () => ({ buffered: true });

t.test('a queue tries again, and counts; what fails for good goes to its dead letter', beside(), async (t) => {
  const id = await enqueue('fed', { payload: { failures: 1, n: 5 } });
  t.match(await ended(id), { state: 'succeeded', attempt: 2, max_attempts: 2, error: 'Not yet.', result: { n: 5 } });
  const lost = await enqueue('fed', { payload: { failures: 9, n: 6 } });
  t.match(await ended(lost), { state: 'failed', attempt: 2, error: 'Not yet.' });
  for (let waited = 0; buried.length === 0 && waited < 20_000; waited += 100) await sleep(100);
  t.match(buried, [{ failures: 9, n: 6 }]);
  t.same(await sql("select jobs.redrive('fed') as count"), [{ count: 1 }]);
  t.match(await ended(lost), { state: 'failed', attempt: 2 });
});

t.test('a policy of a queue holds for what SQL asks for', beside(), async (t) => {
  const holder = await world.owner.connect();
  t.teardown(() => holder.release(true));
  await holder.query('select pg_advisory_lock(707)');
  const first = await enqueue('one');
  await ended(first, ['running']);
  await t.rejects(enqueue('one'), { code: 'PT409' });
  await holder.query('select pg_advisory_unlock(707)');
  t.match(await ended(first), { state: 'succeeded' });
  // pg-boss is told a moment later.
  const told = "select from pgboss.job where id = $1 and state = 'completed'";
  while ((await sql(told, [first])).length === 0) await sleep(50);
  t.match(await ended(await enqueue('one')), { state: 'succeeded' });
});

t.test('what has ended, and pg-boss was not told, holds up no other of its key', beside(), async (t) => {
  const first = await enqueue('fed', { payload: { n: 7 }, key: 'held' });
  t.match(await ended(first), { state: 'succeeded' });
  const stateOf = "select state::text from pgboss.job where id = $1 and state = 'completed'";
  while ((await sql(stateOf, [first])).length === 0) await sleep(50);
  // As a worker leaves it that is killed in between.
  await sql("update jobs.runs set finished_at = now() - interval '1 minute' where id = $1", [first]);
  await sql("update pgboss.job set state = 'active', started_on = now() - interval '1 minute' where id = $1", [first]);
  t.match(await ended(await enqueue('fed', { payload: { n: 8 }, key: 'held' })), { state: 'succeeded' });
});

t.test('a paused task waits from that moment, whatever workers have taken, and goes on', beside(), async (t) => {
  await sql("select jobs.pause('note')");
  const id = await enqueue('note', { payload: { n: 3000 } });
  await sleep(1500);
  t.match(await ended(id, ['queued']), { state: 'queued' });
  await sql("select jobs.resume('note')");
  t.match(await ended(id), { state: 'succeeded' });
});

for (const task of ['slow', 'sleeps']) {
  t.test(`what runs is cancelled: ${task}`, beside(), async (t) => {
    const id = await enqueue(task);
    await ended(id, ['running']);
    await sql('select jobs.cancel($1)', [id]);
    t.match(await ended(id), { state: 'cancelled' });
    await sql('select jobs.retry($1)', [id]);
    t.match(await ended(id, ['running']), { state: 'running', attempt: 1 });
    await sql('select jobs.cancel($1)', [id]);
    t.match(await ended(id), { state: 'cancelled' });
  });
}

t.test(
  'within one try progress only rises, in whatever order it is told; the next begins anew',
  beside(),
  async (t) => {
    const id = await enqueue('slow');
    const { attempt, worker } = await ended(id, ['running']);
    const tell = (share: number | null, note: string) =>
      sql('select jobs._progress($1, $2, $3, $4, $5)', [id, attempt, worker, share, note]);
    const known = () => sql('select progress, note from jobs.runs where id = $1', [id]);
    await tell(0.6, 'the second');
    await tell(0.3, 'the first');
    t.same(await known(), [{ progress: 0.6, note: 'the second' }]);
    await tell(null, 'the third');
    t.same(await known(), [{ progress: 0.6, note: 'the third' }]);
    const client = await world.owner.connect();
    t.teardown(() => client.release(true));
    await client.query('begin');
    await client.query("update jobs.runs set state = 'queued' where id = $1", [id]);
    const begun = await client.query(`select * from jobs._begin('another', array[$1::uuid], '{}', '{}', '{}')`, [id]);
    t.match(begun.rows, [{ attempt: attempt + 1, progress: 0, note: null }]);
    await client.query('rollback');
    await sql('select jobs.cancel($1)', [id]);
    t.match(await ended(id), { state: 'cancelled', progress: 0.6 });
  },
);

t.test('what waits is cancelled at once', beside(), async (t) => {
  const inTime = (milliseconds: number) => ({ run_at: new Date(Date.now() + milliseconds) });
  const id = await enqueue('note', { payload: { n: 4000 }, ...inTime(8000) });
  t.match(await sql('select (jobs.cancel($1)).state', [id]), [{ state: 'cancelled' }]);
  // What was to run after it has run.
  await ended(await enqueue('note', { payload: { n: 4001 }, ...inTime(10_000) }));
  t.same(await sql('select n from work.done where n in (4000, 4001)'), [{ n: 4001 }]);
});

t.test('a schedule changed in SQL is in force within seconds, and each time is asked for once', beside(), async (t) => {
  await world.work(tasks);
  await sql(`insert into jobs.schedules (name, cron, function) values ('every second', '* * * * * *', 'work.nothing')`);
  const runs = () => sql(`select id, scheduled_for from jobs.runs where schedule = 'every second' order by 2`);
  while ((await runs()).length < 3) await sleep(100);
  await sql(`update jobs.schedules set is_paused = true where name = 'every second'`);
  await sleep(1500);
  const all = await runs();
  t.equal(new Set(all.map((run) => `${run.scheduled_for}`)).size, all.length);
  for (const { id } of all) t.match(await ended(id), { state: 'succeeded' });
  t.equal((await runs()).length, all.length, 'none comes after that');
});

t.test('times that were missed are made up for as far as the schedule says', beside(), async (t) => {
  await sql(`insert into jobs.schedules (name, cron, function, backfill, next_at) values
    ('made up for', '0 * * * *', 'work.nothing', '3 hours', date_trunc('hour', now()) - interval '10 hours'),
    ('only the last', '0 * * * *', 'work.nothing', '0', date_trunc('hour', now()) - interval '10 hours')`);
  const due = "select from jobs.schedules where name in ('made up for', 'only the last') and next_at <= now()";
  while ((await sql(due)).length > 0) await sleep(50);
  const counts = await sql(`select schedule, count(*)::integer as count from jobs.runs
    where schedule in ('made up for', 'only the last') group by 1 order by 1`);
  t.match(counts, [
    { schedule: 'made up for', count: 3 },
    { schedule: 'only the last', count: 1 },
  ]);
});

t.test('a schedule that cannot be read says so', beside(), async (t) => {
  await sql(`insert into jobs.schedules (name, cron, time_zone, function) values
    ('unread', '0 25 * * *', 'UTC', 'work.nothing'), ('never', '0 3 30 2 *', 'Europe/Berlin', 'work.nothing')`);
  const told = "select name, problem from jobs.schedules where name in ('unread', 'never') and problem is not null";
  while ((await sql(told)).length < 2) await sleep(50);
  const rows = await sql(told);
  t.ok(
    rows.every(({ problem }) => typeof problem === 'string' && problem.length > 5),
    JSON.stringify(rows),
  );
});
