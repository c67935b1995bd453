import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { makeLog } from '../../functions/log.ts';
import { readSettings } from '../../functions/settings.ts';
import { installEngines } from '../../workers/workers.ts';
import { openJobsWorld, taskOf } from './jobs-world.ts';

// E3, D8: an engine that fails, wherever it does, is begun anew or does without: no job waits for the process to be begun again.

/** Makes a statement fail the first time, as where a connection is lost or refused. */
const refuseOnce = (when: string): string => `
  create sequence public.tries;
  create function public.refuse_once() returns trigger language plpgsql as $$
  begin
    if nextval('public.tries') = 1 then
      raise exception using errcode = '53300', message = 'not this time';
    end if;
    return coalesce(new, old);
  end $$;
  grant usage on sequence public.tries to public;
  create trigger refuse_once ${when} execute function public.refuse_once()`;

t.test('a graphile-worker that cannot say once how a job ended gives up: its worker begins anew', async (t) => {
  const world = await openJobsWorld(t);
  await world.sql("insert into jobs.tasks (name) values ('outside')");
  const waiting: (() => void)[] = [];
  const outside = taskOf('outside', () => new Promise<void>((resolve) => waiting.push(resolve)));
  const worker = await world.work([outside], { WORKER_CONCURRENCY: '4' });
  const { name } = worker;
  await world.sql(refuseOnce('before delete on graphile_worker._private_jobs for each row'));
  const enqueue = async (): Promise<string> => (await world.sql("select (jobs.enqueue('outside')).id"))[0]?.id;
  const ids = await Promise.all(Array.from({ length: 4 }, enqueue));
  const atWork = async (count: number): Promise<void> => {
    while (waiting.length < count) await sleep(50);
  };
  await atWork(4);
  for (const end of waiting) {
    end();
    await sleep(300);
  }
  while (worker.name === name) await sleep(50);
  ids.push(await enqueue());
  await atWork(5);
  waiting[4]?.();
  for (const id of ids) t.match(await world.ended(id), { state: 'succeeded', attempt: 1 });
  const left = () => world.sql('select key from graphile_worker.jobs where key = any ($1)', [ids]);
  for (let waited = 0; waited < 20_000 && (await left()).length > 0; waited += 100) await sleep(100);
  t.same(await left(), [], 'what is done is forgotten');
});

t.test('a graphile-worker that could not read its task once would take no job: its worker begins anew', async (t) => {
  const world = await openJobsWorld(t);
  await world.sql("insert into jobs.tasks (name) values ('outside')");
  await installEngines(world.databaseUrl, makeLog(readSettings({ PLINTH_ENV: 'development', LOG_LEVEL: 'silent' })));
  await world.sql(refuseOnce('before insert on graphile_worker._private_tasks for each statement'));
  await world.work([taskOf('outside', async () => {})]);
  const [asked] = await world.sql("select (jobs.enqueue('outside')).id");
  t.match(await world.ended(asked?.id), { state: 'succeeded', attempt: 1 });
});

t.test('a worker that cannot say that it lives does not begin, and leaves nothing behind that does', async (t) => {
  const world = await openJobsWorld(t);
  await world.sql(refuseOnce('before insert on jobs.workers for each row'));
  await t.rejects(world.work(), { message: 'not this time' });
  const held = `select application_name from pg_stat_activity where datname = current_database() and application_name = 'plinth worker'`;
  while ((await world.sql(held)).length > 0) await sleep(50);
  await world.sql("insert into jobs.tasks (name) values ('outside')");
  await world.work([taskOf('outside', async () => {})]);
  const [asked] = await world.sql("select (jobs.enqueue('outside')).id");
  t.match(await world.ended(asked?.id), { state: 'succeeded', attempt: 1 }, 'the next one does');
});

t.test('a queue that cannot be made holds up no other, and no worker', async (t) => {
  const world = await openJobsWorld(t);
  await world.sql(`
    insert into jobs.queues (name) values ('a_first');
    insert into jobs.queues (name, dead_letter) values ('b_second', 'a_first');
    update jobs.queues set dead_letter = 'b_second' where name = 'a_first';
    insert into jobs.queues (name) values ('z_last');
    insert into jobs.tasks (name, queue) values ('outside', 'z_last')`);
  await world.work([taskOf('outside', async () => {})]);
  const [asked] = await world.sql("select (jobs.enqueue('outside')).id");
  t.match(await world.ended(asked?.id), { state: 'succeeded', attempt: 1 });
});
