import type { Test } from 'tap';
import { type Answered, type Called, openShopServer, type ShopServer } from './shop-server.ts';

// Speaks as much of https://dev.wildberries.ru/docs/openapi as we ask for: what it answers is what is documented there. The names of the
// hosts are the first part of the path (WILDBERRIES_API=http://…/*).

export const token = 'eyJhbGciOiJFUzI1NiJ9.a-seller';

type Card = { nmID: number; vendorCode: string; title: unknown; updatedAt: string; sizes: object[]; brand?: string };
type Task = { id: number; createdAt: string; price: unknown; supplierStatus: string; wbStatus: string; chrtId: number };

export type Wildberries = ShopServer & {
  cards: Map<number, Card>;
  warehouses: { id: number; name: string; isDeleting?: boolean }[];
  /** By warehouse and size. */
  stocks: Map<string, number>;
  orders: Map<number, Task>;
  /** Puts a card there, or a changed one; each later than those before it. */
  sell(nmID: number, own?: Partial<Card>): void;
  order(id: number, own?: Partial<Task>): void;
};

export async function openWildberries(t: Test): Promise<Wildberries> {
  const cards = new Map<number, Card>();
  const warehouses: Wildberries['warehouses'] = [];
  const stocks = new Map<string, number>();
  const orders = new Map<number, Task>();
  let changes = Date.parse('2026-01-01T00:00:00Z');

  function answer({ path, query, headers, body }: Called): Answered {
    if (headers.authorization !== token) {
      const detail = 'access token problem; token is malformed';
      return { status: 401, body: { title: 'unauthorized', detail, code: '07e4668e', status: 401 } };
    }
    if (/^\/[a-z-]+\/ping$/.test(path)) return { body: { TS: '2026-08-17T10:00:00Z', Status: 'OK' } };
    if (path === '/common-api/api/v1/seller-info')
      return {
        body: { name: 'OOO Harbour', sid: '0f2b6a1e-d1c1-5f7c-8c55-4e3b8a5ac7d1', tin: '7700000000', tradeMark: 'H' },
      };
    if (path === '/content-api/content/v2/get/cards/list') return cardsOf(body);
    if (path === '/marketplace-api/api/v3/warehouses') return { body: warehouses };
    const [, place] = /^\/marketplace-api\/api\/v3\/stocks\/(\d+)$/.exec(path) ?? [];
    if (place) return stocksOf(place, body.chrtIds);
    if (path === '/marketplace-api/api/v3/orders') return ordersOf(query);
    if (path === '/marketplace-api/api/v3/orders/status') return statusesOf(body.orders);
    return { status: 404, body: { title: 'path not found', status: 404 } };
  }

  function cardsOf({ settings: { sort, cursor } }: Called['body']): Answered {
    const { limit = 10, updatedAt = '', nmID = 0 } = cursor;
    if (limit > 100 || sort?.ascending !== true) return wrong('limit or sort');
    const page = [...cards.values()]
      .sort((a, b) => a.updatedAt.localeCompare(b.updatedAt) || a.nmID - b.nmID)
      .filter((each) => each.updatedAt > updatedAt || (each.updatedAt === updatedAt && each.nmID > nmID))
      .slice(0, limit);
    const last = page.at(-1);
    return {
      body: {
        cards: page,
        cursor: { ...(last && { updatedAt: last.updatedAt, nmID: last.nmID }), total: page.length },
      },
    };
  }

  function stocksOf(place: string, chrtIds: number[]): Answered {
    if (!Array.isArray(chrtIds) || chrtIds.length === 0 || chrtIds.length > 1000) return wrong('chrtIds');
    const found = chrtIds.flatMap((chrtId) => {
      const amount = stocks.get(`${place} ${chrtId}`);
      return amount === undefined ? [] : [{ chrtId, sku: `b${chrtId}`, amount }];
    });
    return { body: { stocks: found } };
  }

  function ordersOf(query: URLSearchParams): Answered {
    const [limit = 0, next = 0, from = 0, to = 0] = ['limit', 'next', 'dateFrom', 'dateTo'].map((name) =>
      Number(query.get(name)),
    );
    if (limit < 1 || limit > 1000 || to - from > 30 * 86_400) return wrong('limit or period');
    const page = [...orders.values()]
      .sort((a, b) => a.id - b.id)
      .filter(
        ({ id, createdAt }) => id > next && Date.parse(createdAt) / 1000 >= from && Date.parse(createdAt) / 1000 <= to,
      )
      .slice(0, limit);
    return {
      body: {
        next: page.at(-1)?.id ?? 0,
        orders: page.map(({ supplierStatus: _, wbStatus: __, ...rest }) => rest),
      },
    };
  }

  function statusesOf(ids: number[]): Answered {
    if (!Array.isArray(ids) || ids.length === 0 || ids.length > 1000) return wrong('orders');
    const found = ids.flatMap((id) => {
      const { supplierStatus, wbStatus } = orders.get(id) ?? {};
      return supplierStatus ? [{ id, supplierStatus, wbStatus, isCancellable: true }] : [];
    });
    return { body: { orders: found } };
  }

  return {
    ...(await openShopServer(t, answer)),
    cards,
    warehouses,
    stocks,
    orders,
    sell(nmID, own = {}) {
      changes += 1000;
      cards.set(nmID, {
        nmID,
        vendorCode: `article ${nmID}`,
        title: `Card ${nmID}`,
        brand: 'Harbour',
        updatedAt: new Date(changes).toISOString(),
        sizes: [{ chrtID: nmID * 10, techSize: '0', skus: [`b${nmID}`] }],
        ...own,
      });
    },
    order(id, own = {}) {
      orders.set(id, {
        id,
        createdAt: new Date(Date.now() - 60_000).toISOString(),
        price: 199_900,
        supplierStatus: 'new',
        wbStatus: 'waiting',
        chrtId: 10,
        ...{ currencyCode: 643, article: 'article 1', orderUid: `uid ${id}`, warehouseId: 7, nmId: 1, skus: ['b1'] },
        ...own,
      });
    },
  };
}

function wrong(what: string): Answered {
  return { status: 400, body: { code: 'IncorrectRequest', message: `Incorrect ${what}` } };
}
