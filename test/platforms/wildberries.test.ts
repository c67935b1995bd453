import t from 'tap';
import { openShopWorld, saidBy } from './shop-world.ts';
import { token } from './wildberries-server.ts';

const world = await openShopWorld(t);
const { ask, connect, eventually, rows, server, sql, sync, wildberries } = world;
await world.start();

const day = 86_400_000;
const cards = '/content-api/content/v2/get/cards/list';
const orders = '/marketplace-api/api/v3/orders';
const shop = await connect('wilma', 'wildberries');

for (let n = 1; n <= 250; n += 1) wildberries.sell(n);
wildberries.sell(251, { sizes: ['S', 'M'].map((techSize, n) => ({ chrtID: 9000 + n, techSize, skus: [`b${n}`] })) });
wildberries.warehouses.push(
  { id: 7, name: 'Tula' },
  { id: 8, name: 'Kazan' },
  { id: 9, name: 'Old', isDeleting: true },
);
wildberries.stocks.set('7 10', 5).set('8 10', 2).set('8 9001', 1);
for (let n = 1; n <= 1100; n += 1) {
  wildberries.order(n, { createdAt: new Date(Date.now() - (n % 80) * day - 60_000).toISOString() });
}
Object.assign(wildberries.orders.get(1) ?? {}, { supplierStatus: 'complete', wbStatus: 'sold' });
Object.assign(wildberries.orders.get(2) ?? {}, { supplierStatus: 'confirm', wbStatus: 'waiting' });
Object.assign(wildberries.orders.get(3) ?? {}, { supplierStatus: 'complete', wbStatus: 'declined_by_client' });

t.test('a shop is connected by a token that is tried (F1, F2)', async (t) => {
  const { data } = await ask('{ integrations { nodes { status name account nextSyncAt } } }', {}, shop.owner.token);
  t.match(data.integrations.nodes, [
    { status: 'CONNECTED', name: 'OOO Harbour', account: '0f2b6a1e-d1c1-5f7c-8c55-4e3b8a5ac7d1', nextSyncAt: String },
  ]);
  const knock = await fetch(`${server.url}webhooks/wildberries/${shop.id}`, { method: 'POST', body: '{}' });
  t.equal(knock.status, 404, 'where nobody chats there is no webhook');
});

t.test('a full run fetches cards, stocks and orders, page by page (F5)', async (t) => {
  const run = await sync(shop, 'FULL');
  t.match(run, { status: 'success', records_failed: 0, failures: 0, errors: [], tries: 1 });
  t.equal(wildberries.of(cards).length, 3, 'three pages of cards');
  t.ok(wildberries.of(orders).length >= 3, 'months of orders, 30 days at once');
  t.equal(run.calls, wildberries.calls.length - 3, 'all calls are counted, but those that tried the token');
  t.ok(run.took > 0);
  t.equal((await rows(shop, 'products')).length, 251);
  t.equal((await rows(shop, 'variants')).length, 252);
  t.strictSame(
    (await rows(shop, 'stocks')).map(({ warehouse_id: at, variant_id: of, quantity }) => `${at} ${of} ${quantity}`),
    ['7 10 5', '8 10 2', '8 9001 1'],
  );
  t.equal((await rows(shop, 'orders')).length, 1100);
  t.equal((await rows(shop, 'order_items')).length, 1100);
  const { data, errors } = await ask(
    `query ($id: UUID!) {
      product(integrationId: $id, externalId: "251") {
        name article brand variants(first: 5) { nodes { size barcodes stocks(first: 5) { nodes { quantity warehouse { name } } } } }
      }
      integration(id: $id) {
        orders(first: 2, orderBy: ORDERED_AT_DESC, filter: { status: { eq: DELIVERED } }) {
          totalCount
          nodes { externalId number status platformStatus total currency items(first: 5) { nodes { article quantity price variant { product { name } } } } }
        }
        platformRuns(first: 1) { nodes { kind status recordsSynced } }
        lastSyncAt nextSyncAt
      }
    }`,
    { id: shop.id },
    shop.owner.token,
  );
  t.strictSame(errors, undefined);
  t.match(data.product, {
    name: 'Card 251',
    article: 'article 251',
    brand: 'Harbour',
    variants: {
      nodes: [
        { size: 'S', barcodes: ['b0'] },
        { size: 'M', stocks: { nodes: [{ quantity: 1, warehouse: { name: 'Kazan' } }] } },
      ],
    },
  });
  t.strictSame(data.integration.orders, {
    totalCount: 1,
    nodes: [
      {
        externalId: '1',
        number: 'uid 1',
        status: 'DELIVERED',
        platformStatus: 'complete/sold',
        total: '1999.00',
        currency: 'RUB',
        items: {
          nodes: [{ article: 'article 1', quantity: 1, price: '1999.00', variant: { product: { name: 'Card 1' } } }],
        },
      },
    ],
  });
  t.match(data.integration.platformRuns.nodes, [{ kind: 'FULL', status: 'SUCCESS', recordsSynced: 251 + 3 + 1100 }]);
  t.ok(data.integration.nextSyncAt > data.integration.lastSyncAt);
  const states = await sql('select external_id, status from commerce.orders where external_id = any ($1) order by 1', [
    ['1', '2', '3'],
  ]);
  t.strictSame(
    states.map(({ status }) => status),
    ['delivered', 'assembling', 'cancelled'],
  );
});

t.test('the same again is the same rows', async (t) => {
  const tables = ['products', 'variants', 'warehouses', 'stocks', 'orders', 'order_items'];
  const before = await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table))));
  t.match(await sync(shop, 'FULL'), { status: 'success' });
  t.strictSame(await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table)))), before);
  const told = await sql("select data from events.log where topic = $1 and type = 'orders_changed'", [
    `user:${shop.owner.id}`,
  ]);
  t.strictSame(told, [], 'what comes with everything is no news');
});

t.test('an incremental run asks for what has changed, and tells of it', async (t) => {
  const seen = (await rows(shop, 'products')).find(({ external_id: id }) => id === '5')?.fetched_at;
  wildberries.sell(6, { title: 'Another name' });
  wildberries.order(2001);
  Object.assign(wildberries.orders.get(2) ?? {}, { supplierStatus: 'complete', wbStatus: 'sorted' });
  wildberries.stocks.delete('8 10');
  const asked = wildberries.of(cards).length;
  const run = await sync(shop, 'INCREMENTAL');
  t.match(run, { status: 'success', kind: 'incremental' });
  const [only, ...others] = wildberries.of(cards).slice(asked);
  t.match(only?.body.settings.cursor, { updatedAt: /^2026/, nmID: 251 }, 'after the last card of the last walk');
  t.strictSame(others, []);
  const known = await rows(shop, 'products');
  t.equal(known.find(({ external_id: id }) => id === '6')?.name, 'Another name');
  t.strictSame(known.find(({ external_id: id }) => id === '5')?.fetched_at, seen, 'what has not changed is left alone');
  const stocks = await rows(shop, 'stocks');
  t.equal(stocks.find(({ warehouse_id: at, variant_id: of }) => at === '8' && of === '10')?.quantity, 0);
  const [event] = await eventually('they are told', async () => {
    const found = await sql("select data from events.log where topic = $1 and type = 'orders_changed' order by seq", [
      `user:${shop.owner.id}`,
    ]);
    return found.length === 2 && found;
  });
  t.match(event?.data, { integration_id: shop.id, count: 1, orders: [{ id: '2001', status: 'new', was: null }] });
  const ended = await sql(
    "select data from events.log where topic = $1 and type = 'sync_ended' order by seq desc limit 1",
    [`user:${shop.owner.id}`],
  );
  t.match(ended, [{ data: { run_id: run.id, kind: 'incremental', status: 'success' } }]);
});

t.test('what is gone from the shop is found by a full run only, and may come back', async (t) => {
  const gone = wildberries.cards.get(7);
  wildberries.cards.delete(7);
  const isGone = async () =>
    (await rows(shop, 'products')).filter(({ gone_at: at }) => at).map(({ external_id: id }) => id);
  await sync(shop, 'PRODUCTS');
  t.strictSame(await isGone(), []);
  await sync(shop, 'FULL');
  t.strictSame(await isGone(), ['7']);
  wildberries.sell(7, gone);
  await sync(shop, 'FULL');
  t.strictSame(await isGone(), []);
});

t.test('the token stands nowhere', async (t) => {
  for (const table of ['platforms.runs', 'platforms.integrations', 'jobs.runs', 'commerce.marks'])
    t.notMatch(JSON.stringify(await sql(`select * from ${table}`)), token, table);
  t.notMatch(JSON.stringify(world.logged), token);
});
