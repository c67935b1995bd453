import { setTimeout } from 'node:timers/promises';
import pino from 'pino';
import t, { type Test } from 'tap';
import { prepare } from '../../functions/pipeline.ts';
import { isLost, openRequests } from '../../functions/requests.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { millisecondsOf } from '../../functions/silence.ts';
import { openProxy } from '../postgres-proxy.ts';
import { openWorld, schemaWith } from '../world.ts';

t.test('T8 a connection is nobody between two requests, however the first one ended', async (t) => {
  const schema = schemaWith('things', 'sleep');
  const world = await openWorld(t, { schema });
  const alice = await world.person('alice');
  const { sid } = JSON.parse(Buffer.from(alice.token.split('.')[1] as string, 'base64url').toString());
  const requests = openRequests(await serverUrl(world.databaseUrl), { size: 1, log: pino({ level: 'silent' }) });
  requests.setTimeouts({ anonymous: '150ms', member: '5s', operator: '5s', service: '5s' });
  t.teardown(requests.close);
  const member = { role: 'member', claims: { role: 'member', sub: alice.id, sid, request_id: 'hers' } } as const;
  const anonymous = { role: 'anonymous', claims: { role: 'anonymous' } } as const;
  const call = (text: string) => ({ statement: prepare(text), values: [] });
  const state = async () => {
    const { rows } = await requests.pool.query(
      `select current_user::text, current_setting('role') as role, current_setting('statement_timeout') as timeout,
        current_setting('transaction_read_only') as read_only, nullif(current_setting('plinth.user_id', true), '') as user_id, pg_backend_pid() as pid,
        (select array_agg(name || '=' || setting) from pg_settings where source = 'session') as session`,
    );
    return rows[0];
  };
  const clean = await state();
  t.same([clean.current_user, clean.user_id], ['plinth_server', null]);
  const whose = call(`select nullif(current_setting('plinth.user_id', true), ''), current_user::text`);
  t.same(await requests.run(member, [whose], { readOnly: true }), [[[alice.id, 'member']]]);
  t.same(await state(), clean, 'after one that went well');

  for (const [name, caller, text] of [
    ['failed', member, 'select 1 / (select 0)'],
    ['was not understood', member, 'select from nowhere at all'],
    ['wrote where it may only read', member, 'create temporary table kept (id int)'],
    ['took too long', anonymous, 'select things.sleep(2)'],
    ['tried to stay somebody', member, `select set_config('role', 'operator', false), 1 / (select 0)`],
  ] as const) {
    await t.rejects(requests.run(caller, [call(text)], { readOnly: true }));
    t.same(await state(), clean, `after one that ${name}`);
  }

  // Whoever asks from here on has to be answered, however slowly.
  requests.setTimeouts({ anonymous: '10s', member: '10s', operator: '5s', service: '5s' });
  // From before it begins until it runs.
  for (const wait of [0, 0, 0, 1, 1, 2, 2, 3, 5, 10, 20, 50]) {
    const gone = new AbortController();
    const cancelled = requests.run(member, [call('select things.sleep(1)')], { readOnly: false, signal: gone.signal });
    await Promise.all([t.rejects(cancelled), setTimeout(wait).then(() => gone.abort())]);
    t.same(await requests.run(anonymous, [whose], { readOnly: true }), [[[null, 'anonymous']]]);
    const { pid: _, ...now } = await state();
    t.match(clean, now, `after one that was cancelled ${wait} ms after it began`);
  }
});

t.test('D8 a server that is gone without a word costs one wait: who reads is answered by the next', async (t) => {
  const world = await openWorld(t, { schema: schemaWith('things', 'sleep') });
  const proxy = await openProxy(await serverUrl(world.databaseUrl));
  t.teardown(proxy.close);
  const requests = openRequests(proxy.url, { size: 4, log: pino({ level: 'silent' }), grace: 1500 });
  // One wait is 4.5 s: no machine is as slow as that by itself.
  requests.setTimeouts({ anonymous: '3s', member: '5s', operator: '5s', service: '5s' });
  t.teardown(requests.close);
  const call = (text: string) => ({ statement: prepare(text), values: [] });
  const [one, moment] = [call('select 1'), call('select things.sleep(0.2)')];
  const run = (readOnly: boolean, calls = [one], address = 'here') =>
    requests.run({ role: 'anonymous', claims: { role: 'anonymous', address } }, calls, { readOnly });
  const openAll = () => Promise.all(['here', 'there', 'elsewhere'].map((address) => run(true, [moment], address)));
  const timeOf = async (work: Promise<unknown>) => {
    const begun = performance.now();
    await work;
    return performance.now() - begun;
  };
  const quick = async (t: Test, name: string) => {
    const time = await timeOf(run(true));
    t.ok(time < 4500, `${name}: ${time} ms`);
  };

  await openAll();
  t.ok(requests.connections().idle > 1, 'some are open');
  proxy.freeze();
  const time = await timeOf(run(true));
  t.ok(time >= 4490 && time < 8900, `it is read again after ${time} ms`);
  await quick(t, 'those that were idle are not waited for');

  await openAll();
  proxy.freeze();
  const error = await run(false).catch((thrown) => thrown);
  t.ok(isLost(error), `what writes is not done again: ${error.message}`);
  await quick(t, 'and the next is answered');

  const many = Array.from({ length: 4 }, () => call('select things.sleep(1.3)'));
  t.same(await run(true, many), Array(4).fill([['t']]), 'many that take long together are waited for');
  t.same(
    ['150ms', '10s', '1.5 min', '2h', '1d', '3000', '0', 'a while'].map(millisecondsOf),
    [150, 10_000, 90_000, 7_200_000, 86_400_000, 3000, 0, 0],
    'as settings are written',
  );
});
