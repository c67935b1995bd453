import { z } from 'zod';
import type { Order, OrderStatus, Page, Problem, Scheme, Stock, Warehouse } from '../../functions/commerce.ts';
import type { Shop, ShopLink, Walk } from './shop.ts';
import { readEach } from './shop-api.ts';

// https://docs.ozon.ru/api/seller, as of August 2026: since then postings are told of by /v4/posting/fbs/list and /v3/posting/fbo/list
// with a cursor (those with an offset were shut down on 2026-08-31). Everything is a POST; none of it changes anything there.

const productsAtOnce = 1000;
const skusAtOnce = 500;
const postingsAtOnce = 100;
const hour = 3_600_000;
// A list of postings covers a year at most.
const longestAgo = 364 * 24 * hour;
// What has changed just before a walk began may be told of only after it.
const overlap = hour;

const id = z.int().positive().transform(String);
const amount = z.string().regex(/^\d{1,15}(\.\d{1,6})?$/);
const time = z.iso.datetime({ offset: true });
const count = z.int().nonnegative().max(2_147_483_647);
const listed = z.object({
  result: z.object({ items: z.array(z.object({ product_id: z.int() })), last_id: z.string() }),
});
const product = z.object({
  id,
  offer_id: z.string().max(500),
  name: z.string(),
  sku: z.int().nonnegative().nullish(),
  barcodes: z.array(z.string().max(200)).max(1000).nullish(),
  price: amount.nullish().or(z.literal('')),
  currency_code: z.string().max(10).nullish(),
  primary_image: z.array(z.string()).nullish(),
  updated_at: time.nullish(),
});
const lying = z.object({
  product_id: z.int(),
  stocks: z.array(z.object({ type: z.string(), present: count, reserved: count, sku: z.int() })),
});
const placed = z.object({
  sku: id,
  warehouse_id: z.int(),
  warehouse_name: z.string().nullish(),
  present: count,
  reserved: count,
});
const money = z.object({ amount, currency: z.string().max(10) });
const posting = z
  .object({
    posting_number: z.string().min(1).max(200),
    order_number: z.string().nullish(),
    status: z.string(),
    created_at: time.nullish(),
    in_process_at: time.nullish(),
    delivery_method: z.object({ warehouse_id: z.int().nullish() }).nullish(),
    products: z
      .array(
        z.object({
          sku: z.int().nullish(),
          offer_id: z.string().nullish(),
          name: z.string().nullish(),
          quantity: z.int().positive().max(2_147_483_647),
          price: money.nullish(),
        }),
      )
      .max(1000),
  })
  .refine((each) => each.created_at ?? each.in_process_at, { error: 'It does not say when it was made.' });
const postings = z.object({
  postings: z.array(z.unknown()),
  has_next: z.boolean().nullish(),
  cursor: z.string().nullish(),
});

type ProductsAt = { last_id: string; began: number };
type StocksAt = { cursor: string };
type OrdersAt = { scheme: Scheme; cursor: string; began: number } | { began: number; openAfter: string };
type Mark = { began: number } | null;

/** The Seller API of Ozon. */
export const ozon: Shop = {
  platform: 'ozon',
  name: 'Ozon',

  async check(link) {
    const seller = z.object({ company: z.object({ name: z.string() }) });
    const { company } = await link.ask(question(link, '/v1/seller/info', {}), seller);
    return { account: link.credentials.client_id as string, name: company.name };
  },

  page(stream, at, link, walk) {
    if (stream === 'products') return productsPage(at as ProductsAt | null, link, walk);
    if (stream === 'stocks') return stocksPage(at as StocksAt | null, link);
    return ordersPage(at as OrdersAt | null, link, walk);
  },
};

function question({ credentials, settings }: ShopLink, path: string, body: object) {
  const headers = { 'client-id': credentials.client_id as string, 'api-key': credentials.api_key as string };
  return { url: settings.ozonApi.replace(/\/+$/, '') + path, headers, body };
}

/** There is no list of what has changed: all are listed, and of those that have not changed nothing is stored. */
async function productsPage(at: ProductsAt | null, link: ShopLink, walk: Walk): Promise<Page> {
  const began = at?.began ?? Date.now();
  const filter = { visibility: 'ALL' };
  const asked = question(link, '/v3/product/list', { filter, last_id: at?.last_id ?? '', limit: productsAtOnce });
  const { result } = await link.ask(asked, listed);
  const isLast = result.items.length < productsAtOnce || result.last_id === '';
  const end: Pick<Page, 'next' | 'mark'> = isLast
    ? { next: null, mark: { began } }
    : { next: { last_id: result.last_id, began } };
  if (result.items.length === 0) return end;
  const ids = result.items.map(({ product_id }) => String(product_id));
  const { items } = await link.ask(
    question(link, '/v3/product/info/list', { product_id: ids }),
    z.object({ items: z.array(z.unknown()) }),
  );
  const { read, problems } = readEach('product', items, 'id', product);
  const mark = walk.mark as Mark;
  const fresh = read.filter(({ updated_at: at }) => !mark || !at || new Date(at).getTime() >= mark.began - overlap);
  return {
    products: fresh.map((each) => ({
      id: each.id,
      article: each.offer_id,
      name: each.name || each.offer_id,
      price: each.price || null,
      currency: each.currency_code,
      picture_url: each.primary_image?.[0],
      changed_at: each.updated_at,
      variants: each.sku ? [{ id: String(each.sku), barcodes: each.barcodes ?? [] }] : [],
    })),
    problems: [...problems, ...untold(ids, items)],
    ...end,
  };
}

function untold(ids: string[], items: unknown[]): Problem[] {
  const told = new Set(items.map((item) => String((item as { id?: unknown } | null)?.id)));
  return ids
    .filter((each) => !told.has(each))
    .map((each) => ({ record: `product ${each}`, message: 'It is listed, but nothing is told of it.' }));
}

/** What lies with Ozon is told as one number; what lies with the seller, by warehouse, is asked for beside it. */
async function stocksPage(at: StocksAt | null, link: ShopLink): Promise<Page> {
  const filter = { visibility: 'ALL' };
  const answer = await link.ask(
    question(link, '/v4/product/info/stocks', { filter, cursor: at?.cursor ?? '', limit: productsAtOnce }),
    z.object({ items: z.array(z.unknown()), cursor: z.string().nullish() }),
  );
  const { read, problems } = readEach('stock of product', answer.items, 'product_id', lying);
  const all = read.flatMap(({ stocks }) => stocks).filter(({ sku }) => sku > 0);
  const theirs = all.filter(({ type }) => type in common);
  const ours = [...new Set(all.filter(({ type }) => !(type in common)).map(({ sku }) => String(sku)))];
  const warehouses = new Map<string, Warehouse>();
  const stocks: Stock[] = theirs.map(({ type, sku, present: quantity, reserved }) => {
    warehouses.set(type, { id: type, name: common[type] as string, scheme: 'fbo' });
    return { warehouse: type, variant: String(sku), quantity, reserved };
  });
  for (let from = 0; from < ours.length; from += skusAtOnce) {
    const found = await byWarehouse(ours.slice(from, from + skusAtOnce), link);
    problems.push(...found.problems);
    for (const each of found.read) {
      const place = String(each.warehouse_id);
      warehouses.set(place, { id: place, name: each.warehouse_name || place, scheme: 'fbs' });
      stocks.push({ warehouse: place, variant: each.sku, quantity: each.present, reserved: each.reserved });
    }
  }
  const isLast = answer.items.length < productsAtOnce || !answer.cursor;
  return { warehouses: [...warehouses.values()], stocks, problems, next: isLast ? null : { cursor: answer.cursor } };
}

const common: Record<string, string> = { fbo: 'Ozon', fbp: "Ozon's partners" };

async function byWarehouse(sku: string[], link: ShopLink) {
  const read: z.output<typeof placed>[] = [];
  const problems: Problem[] = [];
  for (let cursor = ''; ; ) {
    const answer = await link.ask(
      question(link, '/v2/product/info/stocks-by-warehouse/fbs', { sku, limit: productsAtOnce, cursor }),
      z.object({ products: z.array(z.unknown()), has_next: z.boolean().nullish(), cursor: z.string().nullish() }),
    );
    const found = readEach('stock of', answer.products, 'sku', placed);
    read.push(...found.read);
    problems.push(...found.problems);
    if (!answer.has_next || !answer.cursor || answer.cursor === cursor) return { read, problems };
    cursor = answer.cursor;
  }
}

/**
 * What the seller ships, by when it changed; then what Ozon ships, by when it was made, and of that what we know and may change yet.
 */
async function ordersPage(at: OrdersAt | null, link: ShopLink, walk: Walk): Promise<Page> {
  const place = at ?? { scheme: 'fbs' as const, cursor: '', began: Date.now() };
  if ('openAfter' in place) return openOrdersPage(place, link, walk);
  const { scheme, cursor, began } = place;
  const mark = walk.mark as Mark;
  const to = iso(began);
  const changed = mark ? { last_changed_status_date: { from: iso(mark.began - overlap), to } } : {};
  const filter =
    scheme === 'fbs'
      ? { since: iso(began - longestAgo), to, ...changed }
      : { since: iso(mark ? mark.began - overlap : began - longestAgo), to };
  const path = scheme === 'fbs' ? '/v4/posting/fbs/list' : '/v3/posting/fbo/list';
  const asked = question(link, path, { filter, cursor, limit: postingsAtOnce, sort_dir: 'ASC' });
  const answer = await link.ask(asked, postings);
  const hasNext = answer.has_next && answer.cursor && answer.cursor !== cursor;
  const after = scheme === 'fbs' ? { scheme: 'fbo', cursor: '', began } : { began, openAfter: '' };
  return { ...ordersOf(answer.postings, scheme), next: hasNext ? { ...place, cursor: answer.cursor } : after };
}

async function openOrdersPage(
  { began, openAfter }: { began: number; openAfter: string },
  link: ShopLink,
  walk: Walk,
): Promise<Page> {
  const open = await walk.openOrders('fbo', openAfter, postingsAtOnce);
  const isLast = open.length < postingsAtOnce;
  const end: Pick<Page, 'next' | 'mark'> = isLast
    ? { next: null, mark: { began } }
    : { next: { began, openAfter: open.at(-1) as string } };
  // Without a mark all of them have just been told of.
  if (open.length === 0 || !walk.mark) return { next: null, mark: { began } };
  const filter = { posting_numbers: open, since: iso(began - longestAgo), to: iso(began) };
  const asked = question(link, '/v3/posting/fbo/list', { filter, cursor: '', limit: postingsAtOnce, sort_dir: 'ASC' });
  return { ...ordersOf((await link.ask(asked, postings)).postings, 'fbo'), ...end };
}

function iso(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

function ordersOf(items: unknown[], scheme: Scheme): { orders: Order[]; problems: Problem[] } {
  const { read, problems } = readEach('order', items, 'posting_number', posting);
  const orders = read.map(
    (each): Order => ({
      id: each.posting_number,
      number: each.order_number,
      scheme,
      status: statuses[each.status] ?? 'other',
      platform_status: each.status,
      warehouse_id: each.delivery_method?.warehouse_id ? String(each.delivery_method.warehouse_id) : null,
      currency: each.products[0]?.price?.currency,
      ordered_at: (each.created_at ?? each.in_process_at) as string,
      items: each.products.map(({ sku, offer_id: article, name, quantity, price }) => ({
        variant: sku ? String(sku) : null,
        article,
        name,
        quantity,
        price: price?.amount,
      })),
    }),
  );
  return { orders, problems };
}

const statuses: Record<string, OrderStatus> = {
  awaiting_verification: 'new',
  awaiting_registration: 'new',
  acceptance_in_progress: 'new',
  awaiting_approve: 'new',
  awaiting_packaging: 'new',
  awaiting_deliver: 'assembling',
  sent_by_seller: 'delivering',
  driver_pickup: 'delivering',
  delivering: 'delivering',
  delivered: 'delivered',
  cancelled: 'cancelled',
  cancelled_from_split_pending: 'cancelled',
  arbitration: 'disputed',
  client_arbitration: 'disputed',
};
