import t from 'tap';
import { openShopWorld } from './shop-world.ts';

const world = await openShopWorld(t);
const { ask, connect, eventually, ozon, person, request, rows, sql, through } = world;
const workers = await world.start();
ozon.sell(1);
ozon.stocks.push({ sku: 1_000_001, type: 'fbo', present: 9, reserved: 0 });
ozon.post('fbs', '0001-0001-1');
const shop = await connect('sara', 'ozon');

const seen = async (token: string) => {
  const { data, errors } = await ask(
    `{ products(first: 5) { nodes { name } } variants(first: 5) { nodes { externalId } } warehouses(first: 5) { nodes { name } }
      stocks(first: 5) { nodes { quantity } } orders(first: 5) { nodes { externalId } } orderItems(first: 5) { nodes { name } }
      platformRuns(first: 5) { nodes { status } } }`,
    {},
    token,
  );
  t.notOk(errors);
  return Object.values(data as Record<string, { nodes: object[] }>).map(({ nodes }) => nodes.length);
};

t.test('a run of a kind is asked for once while it is at work', async (t) => {
  ozon.faults.set('/v3/product/list', ['slow']);
  const first = await request(shop, 'FULL');
  await ozon.until('/v3/product/list', 1);
  const again = await Promise.all([request(shop, 'FULL'), request(shop, 'FULL')]);
  for (const each of again) t.strictSame(each.data, first.data, 'it is the same run');
  t.strictSame(await sql('select count(*)::int from platforms.runs'), [{ count: 1 }]);
  ozon.release();
  const { id } = first.data.requestSync.platformRun;
  t.match(await through(id), { status: 'success', opened: 1 });
  t.not((await request(shop, 'FULL')).data.requestSync.platformRun.id, id, 'another one after it');
  await eventually(
    'it has ended',
    async () => (await sql("select from platforms.runs where status = 'running'")).length === 0,
  );
});

t.test('only who answers for a shop sees what is in it; only its owner asks for runs', async (t) => {
  const [stranger, agent] = [await person('sten'), await person('sven')];
  await ask(
    'mutation ($id: UUID!, $user: UUID!) { addAgent(input: { integrationId: $id, userId: $user }) { agent { userId } } }',
    { id: shop.id, user: agent.id },
    shop.owner.token,
  );
  t.strictSame(await seen(stranger.token), [0, 0, 0, 0, 0, 0, 0]);
  t.strictSame(await seen(agent.token), [1, 1, 1, 1, 1, 1, 2]);
  t.strictSame(await seen(shop.owner.token), [1, 1, 1, 1, 1, 1, 2]);
  for (const { token } of [stranger, agent])
    t.match(await request(shop, 'FULL', token), { errors: [{ extensions: { code: 'NOT_FOUND' } }] });
  const unsigned = await ask('{ products(first: 5) { nodes { name } } }');
  t.equal(unsigned.errors?.[0]?.extensions?.code, 'FORBIDDEN');
});

t.test('there is nothing to fetch where one chats, nor from what is not connected', async (t) => {
  const [{ id }] = (await sql(
    "insert into platforms.integrations (user_id, platform_id, status) values ($1, 'telegram', 'connected') returning id",
    [shop.owner.id],
  )) as [{ id: string }];
  t.match(await request({ ...shop, id }, 'FULL'), {
    errors: [{ extensions: { code: 'BAD_USER_INPUT', argument: 'integrationId' } }],
  });
  await sql("update platforms.integrations set status = 'error' where id = $1", [shop.id]);
  t.match(await request(shop, 'FULL'), {
    errors: [{ message: /its status is error/, extensions: { code: 'CONFLICT' } }],
  });
  await sql("update platforms.integrations set status = 'connected' where id = $1", [shop.id]);
});

t.test('a schedule asks for what is due: everything first and once a week, else what has changed', async (t) => {
  const due = async () => {
    await sql('update platforms.integrations set next_sync_at = now() where id = $1', [shop.id]);
    await sql('select commerce.sync_due()');
    const [run] = await sql('select * from platforms.runs order by id desc limit 1');
    return through(run?.id);
  };
  t.match(await due(), { kind: 'incremental', status: 'success' });
  const [integration] = await sql(
    'select *, next_sync_at - last_sync_at as pause from platforms.integrations where id = $1',
    [shop.id],
  );
  t.match(integration?.pause, { hours: 1 });
  const count = async () => (await sql('select count(*)::int from platforms.runs'))[0]?.count;
  const before = await count();
  t.strictSame(await sql('select commerce.sync_due()'), [{ sync_due: '0' }]);
  t.equal(await count(), before, 'not before its time');
  await sql(
    "update platforms.runs set started_at = started_at - interval '8 days', finished_at = now() - interval '7 days' where kind = 'full'",
  );
  t.match(await due(), { kind: 'full', status: 'success' });
  await sql("update platforms.integrations set next_sync_at = now(), status = 'error' where id = $1", [shop.id]);
  t.strictSame(await sql('select commerce.sync_due()'), [{ sync_due: '0' }], 'what does not work is left alone');
  await sql("update platforms.integrations set status = 'connected' where id = $1", [shop.id]);
  const [{ planned }] = (await sql('select next_sync_at > now() as planned from platforms.integrations where id = $1', [
    shop.id,
  ])) as [{ planned: boolean }];
  t.ok(planned, 'what works again is planned anew');
});

t.test('the owner says how often, within bounds', async (t) => {
  const every = (interval: string) =>
    ask(
      `mutation ($id: UUID!, $every: Interval!) {
        updateIntegration(input: { id: $id, syncInterval: $every }) { integration { syncInterval lastSyncAt nextSyncAt } }
      }`,
      { id: shop.id, every: interval },
      shop.owner.token,
    );
  const { data, errors } = await every('PT15M');
  t.notOk(errors);
  const { lastSyncAt, nextSyncAt } = data.updateIntegration.integration;
  t.equal(Date.parse(nextSyncAt) - Date.parse(lastSyncAt), 900_000);
  for (const wrong of ['PT30S', 'P31D'])
    t.match(await every(wrong), {
      errors: [{ message: /syncs every minute to every 30 days/, extensions: { code: 'BAD_USER_INPUT' } }],
    });
});

t.test('a run whose job is gone is seen to again; one that kills whoever takes it is given up', async (t) => {
  const begun = async () => (await sql("select (platforms._begin_run($1, 'orders')).id", [shop.id]))[0]?.id as string;
  const lost = await begun();
  t.strictSame(await sql('select commerce.sync_due()'), [{ sync_due: '1' }]);
  t.match(await through(lost), { status: 'success' });
  const deadly = await begun();
  await sql('update platforms.runs set tries = 20 where id = $1', [deadly]);
  await sql('select commerce.sync_due()');
  t.match(await through(deadly), { status: 'failed', errors: [{ message: /came no further/ }] });
});

t.test('a shop that is disconnected is asked no more', async (t) => {
  const ended = await connect('dina', 'ozon');
  ozon.faults.set('/v3/product/list', ['slow']);
  const run = (await request(ended, 'FULL')).data.requestSync.platformRun.id;
  const asked = ozon.of('/v3/product/list').length;
  await ozon.until('/v3/product/list', asked + 1);
  await ask(
    'mutation ($id: UUID!) { disconnectIntegration(input: { id: $id }) { integration { id } } }',
    { id: ended.id },
    ended.owner.token,
  );
  const calls = ozon.calls.length;
  ozon.release();
  t.match(await through(run), { errors: [{ message: 'The integration is disconnected.' }] });
  t.strictSame(
    ozon.calls.slice(calls).map(({ path }) => path),
    ['/v3/product/info/list'],
    'the page was ended',
  );
  t.strictSame(await sql('select next_sync_at from platforms.integrations where id = $1', [ended.id]), [
    { next_sync_at: null },
  ]);
});

t.test('a page that was asked for earlier changes nothing, nor does a worker that was overtaken', async (t) => {
  await workers.stop();
  const run = (await sql("select (platforms._begin_run($1, 'full')).id", [shop.id]))[0]?.id as string;
  const open = async () => (await sql('select commerce._open($1) as step', [run]))[0]?.step.opened as number;
  const tell = async (opened: number, asked_at: string, name: string, changed_at: string | null, status: string) =>
    (
      await sql('select commerce._store($1, $2, $3) as step', [
        run,
        opened,
        {
          asked_at,
          calls: 1,
          took: 1,
          next: {},
          products: [{ id: '77', article: 'a', name, changed_at, variants: [] }],
          orders: [{ id: '77', scheme: 'fbs', status, ordered_at: '2026-01-01T00:00:00Z', items: [] }],
        },
      ])
    )[0]?.step;
  const known = async () => [
    (await rows(shop, 'products')).find(({ external_id: id }) => id === '77')?.name,
    (await rows(shop, 'orders')).find(({ external_id: id }) => id === '77')?.status,
  ];
  const first = await open();
  t.ok(await tell(first, '2026-01-03T00:00:00Z', 'third', '2026-01-03T00:00:00Z', 'delivering'));
  t.ok(await tell(first, '2026-01-02T00:00:00Z', 'second', null, 'new'));
  t.strictSame(await known(), ['third', 'delivering'], 'asked for earlier');
  t.ok(await tell(first, '2026-01-04T00:00:00Z', 'older', '2026-01-01T00:00:00Z', 'delivered'));
  t.strictSame(await known(), ['third', 'delivered'], 'changed earlier');
  const second = await open();
  t.equal(await tell(first, '2026-01-05T00:00:00Z', 'overtaken', null, 'cancelled'), null);
  t.strictSame(await known(), ['third', 'delivered']);
  t.ok(await tell(second, '2026-01-05T00:00:00Z', 'fifth', null, 'cancelled'));
  t.strictSame(await known(), ['fifth', 'cancelled']);
});

t.test('what was asked is in the figures (F6)', async (t) => {
  await sql('select platforms.roll_up()');
  const { data } = await ask(
    `query ($id: UUID!) { integration(id: $id) { metrics(first: 20, filter: { period: { eq: DAY } }) { nodes { metric count total } } } }`,
    { id: shop.id },
    shop.owner.token,
  );
  const counted = (metric: string): number =>
    data.integration.metrics.nodes
      .filter((each: { metric: string }) => each.metric === metric)
      .reduce((sum: number, { count }: { count: string }) => sum + Number(count), 0);
  const [{ runs, calls }] = (await sql(
    "select count(*)::int as runs, sum(calls)::int as calls from platforms.runs where integration_id = $1 and status <> 'running'",
    [shop.id],
  )) as [{ runs: number; calls: number }];
  t.equal(counted('API_CALLS'), calls);
  t.equal(counted('RESPONSE_TIME'), calls);
  t.equal(counted('SYNC_DURATION'), runs);
});

t.test('runs are limited by the hour (F7)', async (t) => {
  await sql("delete from platforms.runs where status = 'running'");
  await sql("update identity.attempts set count = 30 where subject = 'sync:' || $1", [shop.id]);
  t.match(await request(shop, 'FULL'), { errors: [{ extensions: { code: 'TOO_MANY_REQUESTS' } }] });
});
