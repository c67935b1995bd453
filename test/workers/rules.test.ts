import t from 'tap';
import { makeLog } from '../../functions/log.ts';
import { installEngines } from '../../workers/workers.ts';
import { openJobsWorld } from './jobs-world.ts';

// What a DBA writes into the tables of jobs is checked where it is written.

const { sql, databaseUrl } = await openJobsWorld(t);
await sql(`
  insert into jobs.queues (name) values ('letters');
  insert into jobs.tasks (name, queue) values ('post', 'letters')`);

t.test('a function, a time zone or a task that there is not is refused, with what to do', async (t) => {
  const missing = {
    code: 'PT404',
    message: 'There is no function jobs.no_such.',
    hint: /payload as jsonb, or nothing/,
  };
  await t.rejects(sql("insert into jobs.tasks (name, function) values ('lost', 'jobs.no_such')"), missing);
  await t.rejects(sql("update jobs.tasks set function = 'jobs.no_such' where name = 'post'"), missing);
  await t.rejects(
    sql("insert into jobs.schedules (name, cron, function) values ('lost', '* * * * *', 'jobs.no_such')"),
    missing,
  );
  const zone = { code: 'PT400', message: 'There is no time zone Europe/Berln.', hint: /Europe\/Berlin/ };
  await t.rejects(sql("select jobs.set_schedule('nightly', '0 3 * * *', 'Europe/Berln', 'post')"), zone);
  await sql("select jobs.set_schedule('nightly', '0 3 * * *', 'Europe/Berlin', 'post')");
  await t.rejects(sql("update jobs.schedules set time_zone = 'Europe/Berln' where name = 'nightly'"), zone);
});

t.test('the policy of a queue stays, and whoever changes it is told so', async (t) => {
  await t.rejects(sql("update jobs.queues set policy = 'singleton' where name = 'letters'"), {
    code: 'PT409',
    message: 'The policy of a queue cannot be changed.',
    hint: /another queue/,
  });
  await sql("update jobs.queues set policy = 'standard', retries = 5 where name = 'letters'");
});

t.test('a task and its queue wait together, whichever is paused, and however', async (t) => {
  const paused = async (): Promise<unknown> =>
    (
      await sql(`select task.is_paused as task, queue.is_paused as queue
        from jobs.tasks as task join jobs.queues as queue on queue.name = task.queue where task.name = 'post'`)
    )[0];
  await sql("update jobs.tasks set is_paused = true where name = 'post'");
  t.same(await paused(), { task: true, queue: true });
  await sql("update jobs.queues set is_paused = false where name = 'letters'");
  t.same(await paused(), { task: false, queue: false });
  await sql("select jobs.pause('post')");
  t.same(await paused(), { task: true, queue: true });
  await sql("select jobs.resume('post')");
  t.same(await paused(), { task: false, queue: false });
});

t.test('what the engines have made is no finding of health', async (t) => {
  await installEngines(databaseUrl, makeLog({ logLevel: 'silent', logFormat: 'json' }));
  t.same(await sql("select schema, detail from operations.index_usage() where finding <> 'unused'"), []);
});
