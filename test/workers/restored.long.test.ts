import t from 'tap';
import { backUp } from '../../workers/backup.ts';
import { restore } from '../../workers/restore.ts';
import { until } from '../events/listen.ts';
import { openBench } from './backups.ts';
import { openJobsWorld, taskOf } from './jobs-world.ts';

// A restore puts another database in the place of the one that a worker takes its jobs from.

const world = await openJobsWorld(t);
const { sql, ended } = world;
await sql(`
  insert into jobs.tasks (name, function) values ('greet', 'jobs.expire_runs');
  insert into jobs.queues (name) values ('letters'), ('parcels');
  insert into jobs.tasks (name, queue) values ('post', 'letters'), ('carry', 'parcels');
  select jobs.enqueue('greet', run_at => 'infinity', nonce => 'waits')`);
const carried = [taskOf('post', async () => ({ posted: 1 })), taskOf('carry', async () => ({ carried: 1 }))];

const asked = async (task: string): Promise<string> =>
  (await sql('select (jobs.enqueue($1)).id', [task]))[0]?.id as string;

t.test('E5 a worker whose database is restored goes on: both engines, what waited, and schedules', async (t) => {
  const workers = await world.work(carried);
  t.match(await ended(await asked('post')), { state: 'succeeded' });
  const before = workers.name;
  const bench = openBench(t, world.databaseUrl);
  const { name } = await backUp(bench);
  for (const time of ['first', 'second']) {
    await restore(bench, { name });
    for (const task of ['greet', 'post', 'carry']) {
      t.match(await ended(await asked(task)), { state: 'succeeded' }, `${task}, the ${time} time`);
    }
  }
  await sql("update jobs.runs set run_at = now() where nonce = 'waits'");
  await sql(
    `delete from graphile_worker._private_jobs where key = (select id::text from jobs.runs where nonce = 'waits')`,
  );
  const [waited] = await sql("select id from jobs.runs where nonce = 'waits'");
  t.match(await ended(waited?.id), { state: 'succeeded' });
  await sql("insert into jobs.schedules (name, cron, task) values ('post often', '* * * * * *', 'post')");
  await until(
    async () => (await sql("select from jobs.runs where schedule = 'post often' and state = 'succeeded'")).length > 1,
    'The runs of the schedule',
  );
  t.not(workers.name, before);
  await until(async () => (await sql('select from jobs.workers')).length === 1, 'The former name gone');
});
