import t from 'tap';
import { keys } from './ozon-server.ts';
import { openShopWorld } from './shop-world.ts';

const world = await openShopWorld(t);
const { ask, connect, eventually, ozon, request, rows, sql, sync, through, wildberries } = world;
await world.start();
const cards = '/content-api/content/v2/get/cards/list';
const orders = '/marketplace-api/api/v3/orders';
const shop = await connect('fiona', 'wildberries');
for (let n = 1; n <= 150; n += 1) wildberries.sell(n);
wildberries.warehouses.push({ id: 7, name: 'Tula' });
wildberries.order(1);

/** What waits for its next try need not. */
async function hurry(): Promise<void> {
  await sql("select commerce._enqueue(run) from platforms.runs as run where status = 'running'");
}

async function beginning(kind: string): Promise<string> {
  return (await request(shop, kind)).data.requestSync.platformRun.id;
}

const standing = async (run: string) => (await sql('select * from platforms.runs where id = $1', [run]))[0];

t.test('what Wildberries puts off is asked for when it said, and is no failed try (D13)', async (t) => {
  wildberries.faults.set(cards, [
    { status: 429, headers: { 'x-ratelimit-retry': '1' }, body: { title: 'too many requests' } },
  ]);
  const before = wildberries.of(cards).length;
  const run = await sync(shop, 'PRODUCTS');
  t.match(run, { status: 'success', failures: 1, tries: 1 });
  const [refused, again] = wildberries.of(cards).slice(before);
  t.ok((again?.at ?? 0) - (refused?.at ?? 0) >= 1000, 'not before the second that it asked for');
});

t.test(
  'a platform that asks to wait for long is not asked for anything else either, and no worker waits',
  async (t) => {
    wildberries.faults.set(cards, [{ status: 429, headers: { 'x-ratelimit-retry': '1800' }, body: {} }]);
    const first = await beginning('PRODUCTS');
    await eventually('it is put off', async () => (await standing(first))?.failures >= 1);
    const second = await beginning('ORDERS');
    const jobOf = (run: string) =>
      sql(
        "select extract(epoch from run_at - now())::int as wait from jobs.runs where payload ->> 'run' = $1 and state = 'queued' and run_at > now()",
        [run],
      );
    await eventually('so is the other', async () => (await jobOf(second)).length > 0);
    for (const run of [first, second]) {
      const [{ wait }] = (await jobOf(run)) as [{ wait: number }];
      t.ok(wait > 1700 && wait <= 1800, `${wait} s`);
    }
    t.match(await standing(second), { status: 'running', calls: 0, failures: 0 });
    await sql('update platforms.inboxes set calls_at = now()');
    await hurry();
    for (const run of [first, second]) t.match(await through(run), { status: 'success' });
  },
);

t.test('what fails is asked for three times in all, then the run goes on with the rest (E3)', async (t) => {
  wildberries.faults.set(cards, [{ status: 500, body: {} }, 'page', 'cut']);
  const run = await beginning('INCREMENTAL');
  for (const failures of [1, 2]) {
    await eventually(`${failures} have failed`, async () => (await standing(run))?.failures >= failures);
    const [{ wait }] = (await sql(
      "select extract(epoch from max(run_at - created_at))::int as wait from jobs.runs where payload ->> 'run' = $1",
      [run],
    )) as [{ wait: number }];
    t.ok(wait >= (failures === 1 ? 5 : 20), `not before ${wait} s`);
    await hurry();
  }
  const ended = await through(run);
  t.match(ended, { status: 'partial', failures: 3, errors: [{ record: 'products', message: /did not answer/ }] });
  t.equal((await rows(shop, 'orders')).length, 1, 'orders were fetched all the same');
});

t.test('what cannot be read as JSON is a failed try like any other', async (t) => {
  wildberries.faults.set(cards, ['bad JSON']);
  const run = await beginning('PRODUCTS');
  await eventually('it has failed', async () => (await standing(run))?.failures >= 1);
  await hurry();
  t.match(await through(run), { status: 'success', failures: 1, errors: [] });
});

t.test('a run that is refused a part of what it wants names that part (F5)', async (t) => {
  const missing = { status: 403, body: { message: 'access denied' } };
  wildberries.faults.set(orders, [missing]);
  t.match(await sync(shop, 'INCREMENTAL'), {
    status: 'partial',
    errors: [{ record: 'orders', message: 'Wildberries answered 403: access denied' }],
  });
  wildberries.faults.set(orders, [missing]);
  t.match(await sync(shop, 'ORDERS'), { status: 'failed', errors: [{ record: 'orders' }] }, 'nothing of it is there');
});

t.test('one item that is wrong is named, and costs no other', async (t) => {
  wildberries.sell(3, { title: 7 });
  wildberries.sell(4, { title: 'NUL \0 and half \ud800' });
  wildberries.order(2, { price: 'a lot' });
  wildberries.order(3);
  const run = await sync(shop, 'INCREMENTAL');
  t.match(run, { status: 'partial', records_failed: 2 });
  t.match(run.errors, [
    { record: 'product 3', message: /^title: / },
    { record: 'order 2', message: /^price: / },
  ]);
  const known = new Map((await rows(shop, 'products')).map((row) => [row.external_id, row.name]));
  t.equal(known.get('3'), 'Card 3', 'it is as it was');
  t.equal(known.get('4'), 'NUL  and half \ufffd');
  t.strictSame(
    (await rows(shop, 'orders')).map(({ external_id: id }) => id),
    ['1', '3'],
  );
  t.equal((await sync(shop, 'FULL')).status, 'partial');
  t.strictSame(
    (await rows(shop, 'products')).filter(({ gone_at: at }) => at),
    [],
    'what cannot be read is not gone',
  );
});

t.test('a shop with a thousand bad items names a hundred', async (t) => {
  for (let n = 1001; n <= 1200; n += 1) wildberries.sell(n, { title: n });
  const run = await sync(shop, 'PRODUCTS');
  t.match(run, { status: 'partial', records_failed: 200 });
  t.equal(run.errors.length, 100);
  for (let n = 1001; n <= 1200; n += 1) wildberries.cards.delete(n);
});

t.test('a shop that is asked too often while its credentials are tried is tried later', async (t) => {
  const busy = { status: 429, headers: { 'retry-after': '1' }, body: { code: 8, message: 'request rate limit' } };
  ozon.faults.set('/v1/seller/info', [busy, busy, busy]);
  const patient = await connect('paula', 'ozon');
  const { data } = await ask('{ integrations { nodes { status statusMessage } } }', {}, patient.owner.token);
  t.match(data.integrations.nodes, [{ status: 'CONNECTED', statusMessage: null }]);
  t.equal(ozon.of('/v1/seller/info').length, 4);
});

t.test('wrong credentials are found when a shop is connected', async (t) => {
  const wrong = await connect('frank', 'ozon', { ...keys, api_key: 'wrong-key-of-frank' });
  const { data } = await ask('{ integrations { nodes { status statusMessage } } }', {}, wrong.owner.token);
  t.match(data.integrations.nodes, [{ status: 'ERROR', statusMessage: /^Ozon answered 403: Invalid Api-Key/ }]);
  t.match(await request(wrong, 'FULL'), { errors: [{ extensions: { code: 'CONFLICT' } }] });
  t.equal(ozon.calls.length, 5, 'it is not asked again');
});

t.test('credentials that are taken back end the run, and the owner is told', async (t) => {
  const denied = { status: 401, body: { title: 'unauthorized', detail: 'access token problem; token is withdrawn' } };
  wildberries.faults.set(cards, [denied]);
  const run = await sync(shop, 'INCREMENTAL');
  t.match(run, { status: 'failed', errors: [{ message: /401: access token problem/ }] });
  await eventually('the owner is told', async () => {
    const { data } = await ask('{ integrations { nodes { status statusMessage } } }', {}, shop.owner.token);
    return data.integrations.nodes[0]?.status === 'ERROR';
  });
  t.match(await request(shop, 'FULL'), { errors: [{ extensions: { code: 'CONFLICT' } }] });
});
