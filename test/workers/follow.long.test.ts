import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { listen } from '../events/listen.ts';
import { runScript } from '../running-plinth.ts';
import { openJobsWorld, taskOf } from './jobs-world.ts';

const world = await openJobsWorld(t);
const { sql, ended, ask } = world;
const boss = await world.person('boss', { operator: true });
const member = await world.person('somebody');
const service = await world.service();

await sql(`insert into jobs.tasks (name, max_attempts) values ('count', 2), ('mistaken', 2)`);
await world.work([
  taskOf('count', async (_, { runId, progress, signal }) => {
    progress(0.4, 'two of five');
    // Noted beside this: what has ended by then is not told of it any more.
    const noted = () => sql('select from jobs.runs where id = $1 and progress > 0', [runId]);
    while ((await noted()).length === 0) await sleep(20, undefined, { signal });
    return { counted: 5 };
  }),
  taskOf('mistaken', async () => {
    throw new Error('No.');
  }),
]);

const enqueue = `mutation ($task: String!, $nonce: String) {
  enqueue(input: {task: $task, nonce: $nonce}) { run { id state } }
}`;
const cancel = `mutation ($id: UUID!) { cancel(input: {runId: $id}) { run { id state } } }`;

for (const over of ['ws', 'sse'] as const) {
  t.test(`an operator asks for a run, and follows it to its end (${over})`, async (t) => {
    await sql("select jobs.pause('count')");
    await sleep(1500);
    const after = (await ask('{ cursor }')).data.cursor;
    const { data } = await ask(enqueue, { task: 'count' }, boss.token);
    const { id, state } = data.enqueue.run;
    t.equal(state, 'QUEUED');
    const ear = listen(t, world.server.url, {
      over,
      query: `subscription ($id: UUID!, $after: String) {
        runEvents(runId: $id, after: $after) { event { type } run { state progress note result } }
      }`,
      variables: { id, after },
      token: boss.token,
    });
    await sql("select jobs.resume('count')");
    const told = await ear.take(3);
    t.match(
      told.map((each) => each.data?.runEvents.event.type),
      ['run_running', 'run_running', 'run_succeeded'],
    );
    t.match(told[2]?.data?.runEvents.run, { state: 'SUCCEEDED', progress: 1, result: { counted: 5 } });
    await ear.stop();
  });
}

t.test(
  'who follows from the first event misses none; what no user asked for is not followed, and says so',
  async (t) => {
    const query = `subscription ($id: UUID!, $after: String) {
    runEvents(runId: $id, after: $after) { event { type } run { state } }
  }`;
    const { data } = await ask(enqueue, { task: 'count' }, boss.token);
    const { id } = data.enqueue.run;
    await ended(id);
    const ear = listen(t, world.server.url, { query, variables: { id, after: '0' }, token: boss.token });
    const types = (await ear.take(3)).map(({ data }) => data.runEvents.event.type);
    t.strictSame([types[0], types.at(-1)], ['run_running', 'run_succeeded']);
    await ear.stop();
    const other = await ask(enqueue, { task: 'count' }, service);
    const deaf = listen(t, world.server.url, { query, variables: { id: other.data.enqueue.run.id }, token: service });
    t.match(await deaf.next(), { errors: [{ extensions: { code: 'NOT_FOUND', hint: /query run\(id\)/ } }] });
  },
);

t.test('a member sees and ends no run of others, and asks for none', async (t) => {
  const { data } = await ask(enqueue, { task: 'count', nonce: 'other' }, service);
  const { id } = data.enqueue.run;
  await ended(id);
  t.match(await ask(enqueue, { task: 'count' }, member.token), { errors: [{ extensions: { code: 'FORBIDDEN' } }] });
  t.match(await ask(cancel, { id }, member.token), { errors: [{ extensions: { code: 'NOT_FOUND' } }] });
  t.match(await ask('query ($id: UUID!) { run(id: $id) { id } }', { id }, member.token), { data: { run: null } });
  t.match(await ask('query ($id: UUID!) { run(id: $id) { state } }', { id }, boss.token), {
    data: { run: { state: 'SUCCEEDED' } },
  });
  t.match(await ask('{ overview { task } }', {}, member.token), { errors: [{ extensions: { code: 'FORBIDDEN' } }] });
});

t.test('an operator changes the time of a schedule, and what it runs stays as it is', async (t) => {
  await sql(`insert into jobs.schedules (name, cron, function, payload) values
    ('yearly', '0 0 1 1 *', 'operations.expire_codes', '{"by": "the DBA"}')`);
  const set = `mutation ($input: SetScheduleInput!) {
    setSchedule(input: $input) { schedule { cron task function payload isPaused } }
  }`;
  const change = async (input: object, token = boss.token) => {
    const { data, errors } = await ask(set, { input }, token);
    return errors ?? data.setSchedule.schedule;
  };
  const yearly = { function: 'operations.expire_codes', task: null, payload: { by: 'the DBA' } };
  t.match(await change({ name: 'yearly', cron: '0 0 2 1 *', isPaused: true }), { ...yearly, isPaused: true });
  t.match(await change({ name: 'counted', cron: '0 0 1 1 *', task: 'count', payload: { n: 1 } }), { task: 'count' });
  const later = { name: 'counted', cron: '0 0 3 1 *' };
  t.match(await change(later), { cron: '0 0 3 1 *', task: 'count', function: null, payload: { n: 1 } });
  t.match(await change({ name: 'of nothing', cron: '0 0 1 1 *' }), [{ message: 'It names a task or a function.' }]);
  t.match(await change(later, member.token), [{ extensions: { code: 'FORBIDDEN' } }]);
});

t.test('what is wrong is said: a task that there is not, a run that has not failed', async (t) => {
  t.match(await ask(enqueue, { task: 'nothing like it' }, service), {
    errors: [{ extensions: { code: 'NOT_FOUND', argument: 'task' } }],
  });
  const { data } = await ask(enqueue, { task: 'count' }, service);
  await ended(data.enqueue.run.id);
  t.match(
    await ask(
      'mutation ($id: UUID!) { retry(input: {runId: $id}) { run { id } } }',
      { id: data.enqueue.run.id },
      service,
    ),
    { errors: [{ extensions: { code: 'CONFLICT' } }] },
  );
});

t.test('npm run jobs shows what there is, asks for more, and refuses what it does not know', async (t) => {
  const env = { DATABASE_URL: world.databaseUrl };
  const asked = await runScript('jobs', ['run', 'count', '{"n": 1}'], env);
  t.match(asked, { status: 0, stdout: /count +queued/ });
  const [id = ''] = asked.stdout.split(' ');
  t.match(await ended(id), { state: 'succeeded', payload: { n: 1 } });
  const shown = await runScript('jobs', [], env);
  t.match(shown, { status: 0, stdout: /count +graphile-worker/ });
  t.match(await runScript('jobs', ['run', 'no_such'], env), { status: 1, stderr: /There is no task called no_such/ });
  t.match(await runScript('jobs', ['run', 'count', '[1]'], env), { status: 1, stderr: /not a JSON object/ });
  t.match(await runScript('jobs', ['cancel', 'abc'], env), {
    status: 1,
    stderr: /^abc is not the id of a run.\n.*shows/,
  });
  t.match(await runScript('jobs', ['fly'], env), { status: 1, stderr: /npm run jobs -- retry/ });
});
