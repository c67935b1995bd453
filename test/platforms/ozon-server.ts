import type { Test } from 'tap';
import { type Answered, type Called, openShopServer, type ShopServer } from './shop-server.ts';

// Speaks as much of https://docs.ozon.ru/api/seller as we ask for: what it answers is what is documented there.

export const keys = { client_id: '836', api_key: '0296d4f2-70a1-4c09-b507-904fd05567b9' };

type Item = { id: number; offer_id: string; name: unknown; sku: number; updated_at: string };
type Stock = { sku: number; type: string; warehouse_id?: number; present: number; reserved: number };
type Posting = {
  posting_number: string;
  status: string;
  in_process_at: string;
  changed_at: string;
  products: object[];
};

export type Ozon = ShopServer & {
  products: Map<number, Item>;
  stocks: Stock[];
  fbs: Map<string, Posting>;
  fbo: Map<string, Posting>;
  sell(id: number, own?: Partial<Item>): void;
  /** Puts a posting there, or a changed one. */
  post(scheme: 'fbs' | 'fbo', number: string, own?: Partial<Posting>): void;
};

export async function openOzon(t: Test): Promise<Ozon> {
  const products = new Map<number, Item>();
  const stocks: Stock[] = [];
  const fbs = new Map<string, Posting>();
  const fbo = new Map<string, Posting>();

  function answer({ path, headers, body }: Called): Answered {
    if (headers['client-id'] !== keys.client_id || headers['api-key'] !== keys.api_key)
      return { status: 403, body: { code: 7, message: 'Invalid Api-Key, please contact support', details: [] } };
    if (path === '/v1/seller/info') return { body: { company: { name: 'Harbour', inn: '77' }, ratings: [] } };
    if (path === '/v3/product/list') return listed(body);
    if (path === '/v3/product/info/list') return told(body);
    if (path === '/v4/product/info/stocks') return inStock(body);
    if (path === '/v2/product/info/stocks-by-warehouse/fbs') return byWarehouse(body);
    if (path === '/v4/posting/fbs/list') return posted(fbs, body);
    if (path === '/v3/posting/fbo/list') return posted(fbo, body);
    return { status: 404, body: { code: 5, message: 'Not Found' } };
  }

  function listed({ last_id: after, limit }: Called['body']): Answered {
    if (limit < 1 || limit > 1000) return wrong('limit');
    const page = [...products.values()]
      .sort((a, b) => a.id - b.id)
      .filter(({ id }) => id > Number(after || 0))
      .slice(0, limit);
    const items = page.map(({ id: product_id, offer_id }) => ({ product_id, offer_id, archived: false }));
    return { body: { result: { items, total: products.size, last_id: String(page.at(-1)?.id ?? '') } } };
  }

  function told({ product_id: ids }: Called['body']): Answered {
    if (!Array.isArray(ids) || ids.length > 1000 || ids.some((id) => typeof id !== 'string'))
      return wrong('product_id');
    return { body: { items: ids.flatMap((id) => products.get(Number(id)) ?? []) } };
  }

  function inStock({ cursor, limit }: Called['body']): Answered {
    if (limit < 1 || limit > 1000) return wrong('limit');
    const page = [...products.values()]
      .sort((a, b) => a.id - b.id)
      .filter(({ id }) => id > Number(cursor || 0))
      .slice(0, limit);
    const items = page.map(({ id, offer_id, sku }) => {
      const kinds = [...new Set(stocks.filter((each) => each.sku === sku).map(({ type }) => type))];
      return {
        product_id: id,
        offer_id,
        stocks: kinds.map((type) => {
          const mine = stocks.filter((each) => each.sku === sku && each.type === type);
          const sum = (name: 'present' | 'reserved') => mine.reduce((total, each) => total + each[name], 0);
          return { type, sku, present: sum('present'), reserved: sum('reserved'), warehouse_ids: [] };
        }),
      };
    });
    return { body: { items, total: products.size, cursor: page.length === limit ? String(page.at(-1)?.id) : '' } };
  }

  function byWarehouse({ sku, limit, cursor }: Called['body']): Answered {
    if (!Array.isArray(sku) || sku.length === 0 || limit < 1) return wrong('sku');
    const all = stocks.filter((each) => each.type === 'fbs' && sku.includes(String(each.sku)));
    const from = Number(cursor || 0);
    const page = all
      .slice(from, from + 3)
      .map(({ type: _, ...rest }) => ({ ...rest, warehouse_name: `Store ${rest.warehouse_id}` }));
    const hasNext = from + 3 < all.length;
    return { body: { products: page, has_next: hasNext, cursor: hasNext ? String(from + 3) : '' } };
  }

  function posted(from: Map<string, Posting>, { filter, limit, cursor }: Called['body']): Answered {
    const { since, to, last_changed_status_date: changed, posting_numbers: numbers } = filter;
    if (limit < 1 || limit > 100 || Date.parse(to) - Date.parse(since) > 366 * 86_400_000) return wrong('filter');
    const all = [...from.values()]
      .sort((a, b) => a.posting_number.localeCompare(b.posting_number))
      .filter((each) => each.in_process_at >= since && each.in_process_at <= to)
      .filter((each) => !changed || (each.changed_at >= changed.from && each.changed_at <= changed.to))
      .filter((each) => !numbers || numbers.includes(each.posting_number))
      .filter((each) => each.posting_number > cursor);
    const page = all.slice(0, limit);
    const postings = page.map(({ changed_at: _, ...rest }) => rest);
    return { body: { postings, has_next: all.length > limit, cursor: page.at(-1)?.posting_number ?? '' } };
  }

  return {
    ...(await openShopServer(t, answer)),
    products,
    stocks,
    fbs,
    fbo,
    sell(id, own = {}) {
      products.set(id, {
        id,
        offer_id: `offer ${id}`,
        name: `Product ${id}`,
        sku: id + 1_000_000,
        updated_at: new Date(Date.now() - 86_400_000).toISOString(),
        ...{ price: '499.90', currency_code: 'RUB', barcodes: [`OZN${id}`], primary_image: ['https://cdn.test/1.jpg'] },
        ...own,
      });
    },
    post(scheme, number, own = {}) {
      const before = new Date(Date.now() - 2 * 86_400_000).toISOString();
      (scheme === 'fbs' ? fbs : fbo).set(number, {
        posting_number: number,
        status: 'awaiting_packaging',
        in_process_at: before,
        changed_at: before,
        products: [
          {
            sku: 1_000_001,
            offer_id: 'offer 1',
            name: 'Product 1',
            quantity: 2,
            price: { amount: '499.90', currency: 'RUB' },
          },
        ],
        ...{
          order_number: number.replace(/-\d+$/, ''),
          ...(scheme === 'fbs' && { delivery_method: { warehouse_id: 22 } }),
        },
        ...own,
      });
    },
  };
}

function wrong(what: string): Answered {
  return { status: 400, body: { code: 3, message: `Invalid ${what}`, details: [] } };
}
