import { z } from 'zod';
import type { Order, OrderStatus, Page, Problem, Status, Stock } from '../../functions/commerce.ts';
import { Refused } from './adapter.ts';
import type { Shop, ShopLink, Walk } from './shop.ts';
import { readEach } from './shop-api.ts';

// https://dev.wildberries.ru/docs/openapi: api-information (ping, seller-info), items (cards, warehouses, stocks), orders-fbs, as of
// August 2026. Lists are asked for by GET or by POST; none of it changes anything there.

const cardsAtOnce = 100;
const sizesAtOnce = 1000;
const ordersAtOnce = 1000;
const day = 86_400;
// Orders are told of for three months, 30 days of them at once.
const longestAgo = 89 * day;
const longestSpan = 30 * day;
// What was made just before an end may be told of only after it.
const overlap = 3600;

const id = z.int().nonnegative().transform(String);
const card = z.object({
  nmID: id,
  vendorCode: z.string().max(500),
  title: z.string().nullish(),
  brand: z.string().nullish(),
  subjectName: z.string().nullish(),
  updatedAt: z.iso.datetime({ offset: true }),
  photos: z.array(z.object({ big: z.string().nullish() })).nullish(),
  sizes: z.array(
    z.object({ chrtID: id, techSize: z.string().nullish(), skus: z.array(z.string().max(200)).max(1000).nullish() }),
  ),
});
const cards = z.object({
  cards: z.array(z.unknown()),
  cursor: z.object({ updatedAt: z.string().nullish(), nmID: z.int().nullish(), total: z.int() }),
});
const warehouse = z.object({ id, name: z.string(), isDeleting: z.boolean().nullish() });
const stock = z.object({ chrtId: id, amount: z.int().nonnegative().max(2_147_483_647) });
const task = z.object({
  id,
  orderUid: z.string().nullish(),
  article: z.string().nullish(),
  createdAt: z.iso.datetime({ offset: true }),
  warehouseId: id.nullish(),
  chrtId: id,
  price: z.int().nonnegative(),
  currencyCode: z.int().nonnegative(),
});
const standing = z.object({ id, supplierStatus: z.string(), wbStatus: z.string() });

type CardsAt = { updatedAt: string; nmID: number };
type StocksAt = { warehouses: string[]; after: string };
type OrdersAt = { from: number; to: number; until: number; next: number } | { until: number; openAfter: string };

/** The API of Wildberries for sellers. Who ships is always the seller: what lies with Wildberries is in reports only. */
export const wildberries: Shop = {
  platform: 'wildberries',
  name: 'Wildberries',

  async check(link) {
    // That the token is for these two is what their pings tell.
    const fine = z.object({ Status: z.literal('OK') });
    await link.ask(question(link, 'content-api', '/ping'), fine);
    await link.ask(question(link, 'marketplace-api', '/ping'), fine);
    try {
      const seller = z.object({ name: z.string(), sid: z.string() });
      const { name, sid } = await link.ask(question(link, 'common-api', '/api/v1/seller-info'), seller);
      return { account: sid, name };
    } catch (error) {
      // It may be asked for once a minute: who it is need not be known.
      if (error instanceof Refused && error.retryAfter !== undefined) return {};
      throw error;
    }
  },

  page(stream, at, link, walk) {
    if (stream === 'products') return cardsPage(at as CardsAt | null, link, walk);
    if (stream === 'stocks') return stocksPage(at as StocksAt | null, link, walk);
    return ordersPage(at as OrdersAt | null, link, walk);
  },
};

function question({ credentials, settings }: ShopLink, host: string, path: string, body?: unknown) {
  const root = settings.wildberriesApi.replace('*', host).replace(/\/+$/, '');
  return { url: root + path, headers: { authorization: credentials.api_key as string }, body };
}

/** Cards by when they changed, the oldest first: so their cursor is where the next walk goes on. */
async function cardsPage(at: CardsAt | null, link: ShopLink, { mark }: Walk): Promise<Page> {
  const from = at ?? (mark as CardsAt | null);
  const settings = {
    sort: { ascending: true },
    filter: { withPhoto: -1 },
    cursor: { limit: cardsAtOnce, ...from },
  };
  const answer = await link.ask(question(link, 'content-api', '/content/v2/get/cards/list', { settings }), cards);
  const { read, problems } = readEach('product', answer.cards, 'nmID', card);
  const { updatedAt, nmID, total } = answer.cursor;
  const until = updatedAt && nmID ? { updatedAt, nmID } : from;
  const isLast = total < cardsAtOnce || !until;
  return {
    products: read.map((each) => ({
      id: each.nmID,
      article: each.vendorCode,
      name: each.title || each.vendorCode,
      brand: each.brand,
      category: each.subjectName,
      picture_url: each.photos?.[0]?.big,
      changed_at: each.updatedAt,
      // "0" is the size of what has none.
      variants: each.sizes.map(({ chrtID, techSize, skus }) => ({
        id: chrtID,
        size: techSize === '0' ? null : techSize,
        barcodes: skus ?? [],
      })),
    })),
    problems,
    next: isLast ? null : until,
    ...(isLast && until && { mark: until }),
  };
}

/** The stocks of all sizes that we know, in one warehouse after another. */
async function stocksPage(at: StocksAt | null, link: ShopLink, walk: Walk): Promise<Page> {
  if (!at) {
    const answer = await link.ask(question(link, 'marketplace-api', '/api/v3/warehouses'), z.array(z.unknown()));
    const { read, problems } = readEach('warehouse', answer, 'id', warehouse);
    const there = read.filter(({ isDeleting }) => !isDeleting);
    return {
      warehouses: there.map(({ id, name }) => ({ id, name, scheme: 'fbs' })),
      problems,
      next: there.length > 0 ? { warehouses: there.map((each) => each.id), after: '' } : null,
    };
  }
  const { warehouses, after } = at;
  const [place, ...others] = warehouses as [string, ...string[]];
  const known = await walk.variants(after, sizesAtOnce);
  const isLast = known.length < sizesAtOnce;
  const next = isLast ? { warehouses: others, after: '' } : { warehouses, after: known.at(-1) as string };
  const page = { next: next.warehouses.length > 0 ? next : null };
  if (known.length === 0) return page;
  const asked = question(link, 'marketplace-api', `/api/v3/stocks/${place}`, { chrtIds: known.map(Number) });
  const { stocks } = await link.ask(asked, z.object({ stocks: z.array(z.unknown()) }));
  const { read, problems } = readEach(`stock in ${place} of`, stocks, 'chrtId', stock);
  // What it does not name it has none of.
  const told = new Map<string, Stock>(known.map((variant) => [variant, { warehouse: place, variant, quantity: 0 }]));
  for (const { chrtId, amount } of read) told.set(chrtId, { warehouse: place, variant: chrtId, quantity: amount });
  return { ...page, stocks: [...told.values()], problems };
}

/** Orders by when they were made, then how those stand that we know and that may change yet. */
async function ordersPage(at: OrdersAt | null, link: ShopLink, walk: Walk): Promise<Page> {
  const place = at ?? firstSpan(walk.mark as { until: number } | null);
  if ('openAfter' in place) return openOrdersPage(place, link, walk);
  const { from, to, until, next } = place;
  const query = new URLSearchParams({
    limit: String(ordersAtOnce),
    next: String(next),
    dateFrom: String(from),
    dateTo: String(to),
  });
  const answer = await link.ask(
    question(link, 'marketplace-api', `/api/v3/orders?${query}`),
    z.object({ orders: z.array(z.unknown()), next: z.int() }),
  );
  const { read, problems } = readEach('order', answer.orders, 'id', task);
  const stand = await statusesOf(
    read.map((each) => each.id),
    link,
  );
  const isLast = answer.orders.length < ordersAtOnce || answer.next === 0;
  return {
    orders: read.map((each) => orderOf(each, stand.statuses.get(each.id))),
    problems: [...problems, ...stand.problems],
    next: isLast ? spanAfter(to, until) : { ...place, next: answer.next },
  };
}

function firstSpan(mark: { until: number } | null): OrdersAt {
  const until = Math.floor(Date.now() / 1000);
  return spanFrom(Math.max(mark ? mark.until - overlap : 0, until - longestAgo), until);
}

function spanFrom(from: number, until: number): OrdersAt {
  return { from, to: Math.min(from + longestSpan, until), until, next: 0 };
}

function spanAfter(to: number, until: number): OrdersAt {
  return to < until ? spanFrom(to, until) : { until, openAfter: '' };
}

async function openOrdersPage(
  { until, openAfter }: { until: number; openAfter: string },
  link: ShopLink,
  walk: Walk,
): Promise<Page> {
  const open = await walk.openOrders('fbs', openAfter, ordersAtOnce);
  const { statuses, problems } = await statusesOf(open, link);
  const isLast = open.length < ordersAtOnce;
  return {
    statuses: [...statuses.values()],
    problems,
    next: isLast ? null : { until, openAfter: open.at(-1) as string },
    ...(isLast && { mark: { until } }),
  };
}

async function statusesOf(
  ids: string[],
  link: ShopLink,
): Promise<{ statuses: Map<string, Status>; problems: Problem[] }> {
  if (ids.length === 0) return { statuses: new Map(), problems: [] };
  const asked = question(link, 'marketplace-api', '/api/v3/orders/status', { orders: ids.map(Number) });
  const { orders } = await link.ask(asked, z.object({ orders: z.array(z.unknown()) }));
  const { read, problems } = readEach('status of order', orders, 'id', standing);
  const statuses = read.map(({ id, supplierStatus, wbStatus }): [string, Status] => [
    id,
    { id, status: statusOf(supplierStatus, wbStatus), platform_status: `${supplierStatus}/${wbStatus}` },
  ]);
  return { statuses: new Map(statuses), problems };
}

function orderOf(
  { id, orderUid, article, createdAt, warehouseId, chrtId, price, currencyCode }: z.output<typeof task>,
  stands: Status | undefined,
): Order {
  return {
    id,
    number: orderUid,
    scheme: 'fbs',
    status: stands?.status ?? 'new',
    platform_status: stands?.platform_status ?? null,
    warehouse_id: warehouseId,
    currency: currencies[currencyCode] ?? String(currencyCode),
    ordered_at: createdAt,
    // An order of theirs is one piece; its price is in hundredths.
    items: [{ variant: chrtId, article, quantity: 1, price: (price / 100).toFixed(2) }],
  };
}

/** The seller's word, and Wildberries's once it has the goods. */
function statusOf(seller: string, platform: string): OrderStatus {
  if (/cancel|declined|defect/.test(`${seller} ${platform}`)) return 'cancelled';
  if (platform === 'sold') return 'delivered';
  if (platform !== 'waiting') return /^(sorted|ready|postponed|accepted|sent)/.test(platform) ? 'delivering' : 'other';
  return sellers[seller] ?? 'other';
}

const sellers: Record<string, OrderStatus> = { new: 'new', confirm: 'assembling', complete: 'delivering' };

// ISO 4217, of the countries in which Wildberries sells.
const currencies: Record<number, string> = {
  51: 'AMD',
  156: 'CNY',
  398: 'KZT',
  417: 'KGS',
  643: 'RUB',
  840: 'USD',
  860: 'UZS',
  933: 'BYN',
  949: 'TRY',
  972: 'TJS',
  978: 'EUR',
  981: 'GEL',
};
