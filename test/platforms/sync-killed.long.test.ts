import t from 'tap';
import { openShopWorld, saidBy } from './shop-world.ts';
import { startProcess } from './worker-process.ts';

const world = await openShopWorld(t);
const { connect, request, rows, sql, sync, through, wildberries } = world;
const cards = '/content-api/content/v2/get/cards/list';

t.test('a worker that is killed between two pages: the run goes on at its cursor (F5, D8)', async (t) => {
  for (let n = 1; n <= 450; n += 1) wildberries.sell(n);
  wildberries.warehouses.push({ id: 7, name: 'Tula' });
  wildberries.stocks.set('7 10', 5);
  for (let n = 1; n <= 30; n += 1) wildberries.order(n);
  const first = startProcess(t, world);
  const shop = await connect('karl', 'wildberries');
  // The third page is asked for, and the worker dies before it has it.
  wildberries.faults.set(cards, [{ body: pageOf(0) }, { body: pageOf(100) }, 'slow']);
  const run = (await request(shop, 'FULL')).data.requestSync.platformRun.id;
  await wildberries.until(cards, 3);
  t.equal((await rows(shop, 'products')).length, 200, 'what was fetched is there');
  first.kill('SIGKILL');
  await new Promise((resolve) => first.once('exit', resolve));
  wildberries.release();
  const others = await world.start();

  const ended = await through(run);
  t.match(ended, { id: run, status: 'success', opened: 2, records_synced: 450 + 1 + 30, records_failed: 0 });
  const asked = wildberries.of(cards).map(({ body }) => body.settings.cursor.nmID ?? 0);
  t.strictSame(asked, [0, 100, 200, 200, 300, 400], 'only the page that nobody had is asked for again');
  t.strictSame(await sql('select count(*)::int from platforms.runs'), [{ count: 1 }], 'it is the same run');
  t.equal((await rows(shop, 'products')).length, 450);
  const tables = ['products', 'variants', 'stocks', 'orders', 'order_items'];
  const once = await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table))));
  t.match(await sync(shop, 'FULL'), { status: 'success' });
  t.strictSame(await Promise.all(tables.map(async (table) => saidBy(await rows(shop, table)))), once);
  await others.stop();
});

t.test('a worker that stops hands its run on: what it was asking for is asked for again', async (t) => {
  const workers = await world.start();
  const shop = await connect('lena', 'wildberries');
  const before = wildberries.of(cards).length;
  wildberries.faults.set(cards, [{ body: pageOf(0) }, 'slow']);
  const run = (await request(shop, 'PRODUCTS')).data.requestSync.platformRun.id;
  await wildberries.until(cards, before + 2);
  await workers.stop();
  wildberries.release();
  await world.start();
  t.match(await through(run), { status: 'success', failures: 0, opened: 2 });
  t.equal((await rows(shop, 'products')).length, 450);
});

function pageOf(from: number): object {
  const page = [...wildberries.cards.values()].slice(from, from + 100);
  const last = page.at(-1);
  return { cards: page, cursor: { updatedAt: last?.updatedAt, nmID: last?.nmID, total: page.length } };
}
