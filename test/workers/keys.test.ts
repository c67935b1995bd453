import { setImmediate as turn } from 'node:timers/promises';
import pg from 'pg';
import t from 'tap';
import { openJobsWorld } from './jobs-world.ts';

// What graphile-worker keeps of each key goes again, beside those who ask and those who run.

const world = await openJobsWorld(t);
const { sql, ended } = world;
await sql(`
  create schema work;
  create table work.done (key text);
  create table work.overlaps (key text);
  create function work.act(payload jsonb) returns void language plpgsql as $$
  begin
    if not pg_try_advisory_xact_lock(hashtext('work ' || (payload ->> 'key'))) then
      insert into work.overlaps values (payload ->> 'key');
    end if;
    insert into work.done values (payload ->> 'key');
  end $$;
  insert into jobs.tasks (name, function) values ('act', 'work.act')`);
const { stop } = await world.work();

const ask = "select (jobs.enqueue('act', jsonb_build_object('key', $1::text), key => $1)).id";
const forget = async (): Promise<string | null> => (await sql('select jobs._forget_keys() as removed'))[0]?.removed;
const kept = async (): Promise<number> =>
  (await sql('select count(*)::integer as keys from graphile_worker._private_job_queues'))[0]?.keys;

async function connect(): Promise<pg.Client> {
  const client = new pg.Client(`${world.databaseUrl}?options=-c%20role%3Dplinth_owner`);
  await client.connect();
  t.teardown(() => client.end());
  return client;
}

t.test('keys go while they are asked for and run: no run is lost, none of one key overlap', async (t) => {
  const askers = 4;
  const enough = 20;
  let asked = 0;
  let asking = askers;
  let removed = 0;
  const all = Array.from({ length: askers }, async () => {
    const client = await connect();
    while (removed < enough && asked < 2000) {
      await client.query('begin');
      asked += 1;
      const { rows } = await client.query(ask, [`key ${asked % 7}`]);
      await client.query('commit');
      // Now and then a key is not asked for any more.
      if (asked % 5 === 0) t.match(await ended(rows[0].id), { state: 'succeeded', attempt: 1 });
    }
    asking -= 1;
  });
  while (asking > 0) {
    removed += Number((await forget()) ?? 0);
    await turn();
  }
  await Promise.all(all);
  t.ok(removed >= enough, `${removed} were removed meanwhile`);
  for (const { id } of await sql("select id from jobs.runs where task = 'act'")) await ended(id, ['succeeded']);
  t.match(await sql('select count(*)::integer as done from work.done'), [{ done: asked }]);
  t.same(await sql('select key from work.overlaps'), []);
});

t.test('nothing goes that someone has looked for and not yet committed', async (t) => {
  const client = await connect();
  await client.query('begin');
  const { rows } = await client.query(ask, ['in the making']);
  t.equal(await forget(), null);
  await client.query('commit');
  t.match(await ended(rows[0].id), { state: 'succeeded' });
});

t.test('a run that names a key which is gone is given it again', async (t) => {
  const [first] = await sql(ask, ['seen before']);
  await ended(first?.id);
  const client = await connect();
  await client.query('begin isolation level repeatable read');
  await client.query('select from jobs.tasks');
  for (await forget(); (await kept()) > 0; await forget()) await turn();
  const { rows } = await client.query(ask, ['seen before']);
  await client.query('commit');
  const stranded = 'select queue_name from graphile_worker.jobs where key = $1';
  t.same(await sql(stranded, [rows[0].id]), [{ queue_name: null }]);
  await forget();
  t.match(await ended(rows[0].id), { state: 'succeeded' });
  await stop();
});
