import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeLog } from '../../functions/log.ts';
import { readSettings } from '../../functions/settings.ts';
import { installEngines } from '../../workers/workers.ts';
import { openJobsWorld } from './jobs-world.ts';

// A job of graphile-worker that is taken with the end of the one before it ends like any other (E2, T7).

const world = await openJobsWorld(t);
const { sql, ended } = world;
await sql(`
  create schema work;
  create table work.done (n integer, at timestamptz default now(), taken_at timestamptz, place bigserial);
  create function work.act(payload jsonb) returns void language plpgsql as $$
  begin
    if act.payload ? 'fails' then
      raise exception 'It fails.';
    end if;
    if act.payload ? 'pauses' then
      perform jobs.pause('act');
    end if;
    insert into work.done (n, taken_at)
    select (act.payload ->> 'n')::integer, ticket.locked_at
    from graphile_worker._private_jobs as ticket
    join jobs.runs as run on run.id = ticket.key::uuid
    where run.payload = act.payload;
  end $$;
  insert into jobs.tasks (name, function, max_attempts) values ('act', 'work.act', 2), ('other', 'work.act', 2)`);

await installEngines(world.databaseUrl, makeLog(readSettings({ PLINTH_ENV: 'development', LOG_LEVEL: 'silent' })));

const ask = 'select (jobs.enqueue($1, $2, key => $3, priority => $4)).id';
const tickets = 'select count(*)::integer as left from graphile_worker.jobs where locked_at is not null';
const inOrder = async () => (await sql('select n from work.done order by place')).map(({ n }) => n);

async function askAll(...payloads: { task?: string; key?: string; priority?: number; payload: object }[]) {
  const ids: string[] = [];
  for (const { task = 'act', key = null, priority = null, payload } of payloads) {
    ids.push((await sql(ask, [task, JSON.stringify(payload), key, priority]))[0]?.id);
  }
  return ids;
}

t.beforeEach(() => sql('truncate work.done'));

t.test('what fails is tried again, and what comes behind goes on', async (t) => {
  const ids = await askAll(
    ...Array.from({ length: 30 }, (_, n) => ({ payload: { n, ...(n % 10 === 7 && { fails: true }) } })),
  );
  const { stop } = await world.work([], { WORKER_CONCURRENCY: '1' });
  for (const [n, id] of ids.entries()) {
    const expected =
      n % 10 === 7 ? { state: 'failed', attempt: 2, error: 'It fails.' } : { state: 'succeeded', attempt: 1 };
    t.match(await ended(id), expected, `run ${n}`);
  }
  t.same(
    await inOrder(),
    Array.from({ length: 30 }, (_, n) => n).filter((n) => n % 10 !== 7),
  );
  const [taken] = await sql(`select count(*)::integer as times
    from work.done as before join work.done as after on after.n = before.n + 1 and after.taken_at = before.at`);
  t.ok(taken?.times > 0, `${taken?.times} were taken with the end of the one before`);
  await stop();
  t.same(await sql(tickets), [{ left: 0 }]);
});

t.test('what is more urgent, of another task or of a key comes in its turn', async (t) => {
  const ids = await askAll(
    { payload: { n: 4 } },
    { payload: { n: 5 } },
    { task: 'other', priority: 7, payload: { n: 2 } },
    { priority: 5, key: 'mine', payload: { n: 3 } },
    { priority: 9, payload: { n: 0 } },
    { priority: 9, payload: { n: 1 } },
  );
  const { stop } = await world.work([], { WORKER_CONCURRENCY: '1' });
  for (const id of ids) t.match(await ended(id), { state: 'succeeded', attempt: 1 });
  t.same(await inOrder(), [0, 1, 2, 3, 4, 5]);
  await stop();
});

t.test('none begins after its task was paused', async (t) => {
  const ids = await askAll({ payload: { n: 0, pauses: true } }, { payload: { n: 1 } }, { payload: { n: 2 } });
  await world.work([], { WORKER_CONCURRENCY: '1' });
  await ended(ids[0] as string);
  await sleep(1500);
  t.same(await inOrder(), [0]);
  await sql("select jobs.resume('act')");
  for (const id of ids) t.match(await ended(id), { state: 'succeeded', attempt: 1 });
});

t.test(
  'what fails while it is being said to have begun is tried again, and no try begins that nobody runs',
  async (t) => {
    const begin = 'jobs._begin(worker text, ids uuid[], attempts integer[], queues text[], payloads jsonb[])';
    await sql(`
    alter function jobs._begin(text, uuid[], integer[], text[], jsonb[]) set schema work;
    create function ${begin} returns setof jobs.runs language plpgsql as $$
    begin
      perform pg_sleep(0.5);
      return query select * from work._begin(worker, ids, attempts, queues, payloads);
    end $$`);
    const [id] = await askAll({ payload: { n: 0, fails: true } });
    t.match(await ended(id as string), { state: 'failed', attempt: 2, error: 'It fails.' });
    await sql(`drop function jobs._begin; alter function work._begin set schema jobs`);
  },
);

t.test('what is said to have begun before its statement comes to it runs at once, and once', async (t) => {
  await sql(`
    alter function jobs._perform(uuid, text, bigint, boolean) set schema work;
    create function jobs._perform(
      id uuid, worker text, job bigint, takes_next boolean,
      out is_done boolean, out next_job text, out next_run uuid, out next_attempt integer
    ) language plpgsql as $$
    begin
      perform pg_sleep(0.8);
      select * into is_done, next_job, next_run, next_attempt from work._perform(id, worker, job, takes_next);
    end $$`);
  const ids = await askAll({ payload: { n: 0 } }, { payload: { n: 1, fails: true } });
  t.match(await ended(ids[0] as string), { state: 'succeeded', attempt: 1 });
  t.match(await ended(ids[1] as string), { state: 'failed', attempt: 2, error: 'It fails.' });
  t.same(await inOrder(), [0]);
});
