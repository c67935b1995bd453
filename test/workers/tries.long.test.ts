import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openJobsWorld, taskOf } from './jobs-world.ts';

// D8: each try of a run is heard, whatever is lost on the way.

const world = await openJobsWorld(t);
const { sql, ended } = world;
const begin = 'jobs._begin(worker text, ids uuid[], attempts integer[], queues text[], payloads jsonb[])';
await sql(`
  create schema work;
  create sequence work.begun;
  create function work.takes_its_time() returns void language sql as $$ select pg_sleep(20) $$;
  create function work.is_stubborn() returns void language plpgsql as $$
  begin
    perform pg_sleep(60);
  exception when query_canceled then
    perform pg_sleep(60);
  end $$;
  insert into jobs.tasks (name, function, max_attempts) values
    ('takes_its_time', 'work.takes_its_time', 5), ('is_stubborn', 'work.is_stubborn', 1);
  insert into jobs.tasks (name, max_attempts) values ('once', 1), ('held', 5)`);
const ends: (() => void)[] = [];
const signals: AbortSignal[] = [];
await world.work([
  taskOf('once', async () => {}),
  taskOf('held', (_, { signal }) => {
    signals.push(signal);
    return new Promise<void>((resolve) => ends.push(resolve));
  }),
]);
const enqueue = async (task: string): Promise<string> => (await sql('select (jobs.enqueue($1)).id', [task]))[0]?.id;

/** Has the word that a run begins fail the first time, as where its connection is lost. */
async function losingBegin(act: () => Promise<void>): Promise<void> {
  await sql(`
    alter sequence work.begun restart;
    alter function jobs._begin(text, uuid[], integer[], text[], jsonb[]) set schema work;
    create function ${begin} returns setof jobs.runs language plpgsql as $$
    begin
      if nextval('work.begun') = 1 then
        raise exception using errcode = '08006', message = 'lost';
      end if;
      return query select * from work._begin(worker, ids, attempts, queues, payloads);
    end $$`);
  await act();
  await sql('drop function jobs._begin; alter function work._begin set schema jobs');
}

t.test('what was taken, and could not begin, is taken again, however few tries it has', (t) =>
  losingBegin(async () => {
    t.match(await ended(await enqueue('once')), { state: 'succeeded', attempt: 1 });
  }),
);

t.test('a function that was not said to have begun at first is said to later, and is heard', (t) =>
  losingBegin(async () => {
    const id = await enqueue('takes_its_time');
    t.match(await ended(id, ['running']), { attempt: 1 });
    t.match(await ended(id), { state: 'succeeded', attempt: 1 });
  }),
);

t.test(
  "a try that was given up while it was at work ends for the next one, and its end is not that one's",
  async (t) => {
    const id = await enqueue('held');
    while (ends.length < 1) await sleep(50);
    await sql("select jobs._lose(run, 'The worker died.') from jobs.runs as run where id = $1", [id]);
    while (ends.length < 2) await sleep(50);
    t.match(await ended(id, ['running']), { attempt: 2 });
    t.equal(signals[0]?.aborted, true);
    t.equal(signals[1]?.aborted, false);
    ends[0]?.();
    await sleep(17_000);
    t.match(await ended(id, ['running']), { attempt: 2 }, 'it is not taken for lost');
    ends[1]?.();
    t.match(await ended(id), { state: 'succeeded', attempt: 2 });
  },
);

t.test('what a cancellation did not reach is cancelled again', async (t) => {
  const id = await enqueue('is_stubborn');
  await ended(id, ['running']);
  await sql('select jobs.cancel($1)', [id]);
  t.match(await ended(id), { state: 'cancelled' });
});
