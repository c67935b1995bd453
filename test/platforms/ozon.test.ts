import t from 'tap';
import { keys } from './ozon-server.ts';
import { openShopWorld, saidBy } from './shop-world.ts';

const world = await openShopWorld(t);
const { ask, connect, ozon, rows, sync } = world;
await world.start();
const shop = await connect('olga', 'ozon');
const list = '/v3/product/list';
const fbs = '/v4/posting/fbs/list';
const fbo = '/v3/posting/fbo/list';

for (let n = 1; n <= 2100; n += 1) ozon.sell(n);
ozon.stocks.push({ sku: 1_000_001, type: 'fbo', present: 9, reserved: 1 });
for (const place of [21, 22, 23, 24])
  ozon.stocks.push({ sku: 1_000_001, type: 'fbs', warehouse_id: place, present: place, reserved: 0 });
for (let n = 1; n <= 250; n += 1) ozon.post('fbs', `0001-${String(n).padStart(4, '0')}-1`);
for (let n = 1; n <= 110; n += 1) ozon.post('fbo', `0002-${String(n).padStart(4, '0')}-1`, { status: 'delivering' });

t.test('a shop is connected by its keys (F1, F2)', async (t) => {
  const { data } = await ask('{ integrations { nodes { status name account } } }', {}, shop.owner.token);
  t.match(data.integrations.nodes, [{ status: 'CONNECTED', name: 'Harbour', account: keys.client_id }]);
});

t.test('a full run fetches products, stocks and postings, page by page (F5)', async (t) => {
  const run = await sync(shop, 'FULL');
  t.match(run, { status: 'success', records_failed: 0, errors: [] });
  t.equal(ozon.of(list).length, 3);
  t.equal(ozon.of(fbs).length, 3);
  t.equal((await rows(shop, 'products')).length, 2100);
  t.match((await rows(shop, 'products'))[0], { article: 'offer 1', price: '499.90', currency: 'RUB' });
  t.strictSame(
    (await rows(shop, 'stocks')).map(({ warehouse_id: at, quantity, reserved }) => `${at} ${quantity} ${reserved}`),
    ['21 21 0', '22 22 0', '23 23 0', '24 24 0', 'fbo 9 1'],
  );
  t.match(await rows(shop, 'warehouses'), [
    { name: 'Store 21', scheme: 'fbs' },
    ...[{}, {}, {}],
    { name: 'Ozon', scheme: 'fbo' },
  ]);
  const orders = await rows(shop, 'orders');
  t.equal(orders.length, 360);
  t.match(orders[0], {
    number: '0001-0001',
    scheme: 'fbs',
    status: 'new',
    warehouse_id: '22',
    total: '999.80',
    currency: 'RUB',
  });
  t.match(orders.at(-1), { number: '0002-0110', scheme: 'fbo', status: 'delivering', platform_status: 'delivering' });
});

t.test('the same again is the same rows', async (t) => {
  const tables = ['products', 'variants', 'warehouses', 'stocks', 'orders', 'order_items'];
  const before = await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table))));
  t.match(await sync(shop, 'FULL'), { status: 'success' });
  t.strictSame(await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table)))), before);
});

t.test('an incremental run stores what has changed', async (t) => {
  const now = new Date().toISOString();
  const before = await rows(shop, 'products');
  const primary_image = ['javascript:alert(1)'];
  ozon.sell(7, { name: 'Another name', updated_at: now, ...{ primary_image } });
  ozon.post('fbs', '0001-0003-1', { status: 'awaiting_deliver', changed_at: now });
  ozon.post('fbs', '0003-0001-1', { in_process_at: now, changed_at: now });
  ozon.post('fbo', '0002-0004-1', { status: 'delivered', products: [{ sku: 1_000_002, quantity: 1 }] });
  const asked = ozon.calls.length;
  const run = await sync(shop, 'INCREMENTAL');
  t.match(run, { status: 'success', records_synced: 1 + 5 + 2 + 110 });
  const postings = ozon.calls.slice(asked).filter(({ path }) => path === fbs);
  t.equal(postings.length, 1);
  t.match(postings[0]?.body.filter.last_changed_status_date, { from: String, to: String });
  const open = ozon.calls.slice(asked).filter(({ path, body }) => path === fbo && body.filter.posting_numbers);
  t.strictSame(
    open.map(({ body }) => body.filter.posting_numbers.length),
    [100, 10],
    'those of Ozon that may change yet',
  );
  const after = await rows(shop, 'products');
  const changed = after.filter((row, index) => row.fetched_at.getTime() !== before[index]?.fetched_at.getTime());
  t.strictSame(
    changed.map(({ name }) => name),
    ['Another name'],
  );
  t.match(after[0], { picture_url: 'https://cdn.test/1.jpg' });
  t.strictSame(
    after.filter(({ picture_url: url }) => url === null).map(({ external_id: id }) => id),
    ['7'],
    'what is no picture on the web is none',
  );
  const orders = new Map((await rows(shop, 'orders')).map((row) => [row.external_id, row]));
  t.match(orders.get('0001-0003-1'), { status: 'assembling' });
  t.match(orders.get('0003-0001-1'), { status: 'new' });
  t.match(orders.get('0002-0004-1'), { status: 'delivered', total: null });
  t.match(
    (await rows(shop, 'order_items')).filter(({ order_id: id }) => id === '0002-0004-1'),
    [{ variant_id: '1000002', quantity: 1, price: null }],
  );
});
