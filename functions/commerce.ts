import type pg from 'pg';
import { storable } from './platforms.ts';

/** What is fetched one after another, as commerce.stream has it. */
export type Stream = 'products' | 'stocks' | 'orders';
export type Scheme = 'fbs' | 'fbo';
export type OrderStatus = 'new' | 'assembling' | 'delivering' | 'delivered' | 'cancelled' | 'disputed' | 'other';

// All ids are the platform's. Amounts of money are decimal numbers as text, so that no digit is lost.
type Product = {
  id: string;
  article: string;
  name: string;
  brand?: string | null | undefined;
  category?: string | null | undefined;
  price?: string | null | undefined;
  currency?: string | null | undefined;
  picture_url?: string | null | undefined;
  changed_at?: string | null | undefined;
  variants: { id: string; size?: string | null | undefined; barcodes: string[] }[];
};
export type Warehouse = { id: string; name: string; scheme: Scheme };
export type Stock = { warehouse: string; variant: string; quantity: number; reserved?: number | undefined };
export type Status = { id: string; status: OrderStatus; platform_status: string | null };
export type Order = Status & {
  number?: string | null | undefined;
  scheme: Scheme;
  warehouse_id?: string | null | undefined;
  currency?: string | null | undefined;
  ordered_at: string;
  items: {
    variant?: string | null | undefined;
    article?: string | null | undefined;
    name?: string | null | undefined;
    quantity: number;
    price?: string | null | undefined;
  }[];
};
/** What could not be read: which record, and why. */
export type Problem = { record: string; message: string };

/** A page of a stream in our words: what commerce._store takes. */
export type Page = {
  products?: Product[];
  warehouses?: Warehouse[];
  stocks?: Stock[];
  orders?: Order[];
  /** How orders stand that are known already. */
  statuses?: Status[];
  problems?: Problem[];
  /** Where the next page is; null at the end of the stream. */
  next: object | null;
  /** At its end: where the next run goes on. */
  mark?: object | undefined;
};

/** What asking for a page took; times are in milliseconds, but for the time of the first call. */
export type Usage = { calls: number; took: number; asked_at: string };

/** What is to be fetched next in a run. */
export type Step = {
  run: string;
  /** Which taking up of the run this is: what comes of it is told with it. */
  opened: number;
  /** How often the run was taken up since it last got on, this time included. */
  tries: number;
  integration: string;
  stream: Stream;
  /** Where the page is; null at the beginning of the stream. */
  at: unknown;
  /** Where the last walk through the stream ended; null where everything is wanted. */
  mark: unknown;
  /** How much of the run is behind it. */
  share: number;
};

/** How it went with a page that could not be fetched. */
export type NotFetched = {
  problem: string;
  /** In how many seconds to try again; null to give the stream up. */
  retryIn: number | null;
  /** Whether the platform only asked to wait. */
  isPutOff: boolean;
  /** Whether the whole run is of no use. */
  ends: boolean;
};

/** What the workers ask of the section `commerce`, as its owner. */
export function openCommerce(client: pg.ClientBase) {
  const one = async (text: string, values: unknown[]) => (await client.query(text, values)).rows[0];
  const ids = async (text: string, values: unknown[]): Promise<string[]> =>
    (await client.query(text, values)).rows.map(({ id }) => id);
  return {
    /** Takes a run up; nothing where it has ended. */
    async open(run: string): Promise<Step | undefined> {
      return (await one('select commerce._open($1) as step', [run])).step ?? undefined;
    },
    /** Stores a page; gives what is next, and nothing where the run has ended or is another worker's. */
    async store({ run, opened }: Step, page: Page & Usage): Promise<Step | undefined> {
      const values = [run, opened, storable(page)];
      return (await one('select commerce._store($1, $2, $3) as step', values)).step ?? undefined;
    },
    async notFetched(
      { run, opened }: Step,
      failed: NotFetched,
      { calls, took }: Pick<Usage, 'calls' | 'took'>,
    ): Promise<Step | undefined> {
      const { problem, retryIn, isPutOff, ends } = failed;
      const values = [run, opened, problem.replaceAll('\0', '').toWellFormed(), calls, took, retryIn, isPutOff, ends];
      const text = 'select commerce._not_fetched($1, $2, $3, $4, $5, $6, $7, $8) as step';
      return (await one(text, values)).step ?? undefined;
    },
    /** Asks for another job that goes on with the run. */
    async goOn({ run, opened }: Step): Promise<void> {
      await client.query('select commerce._go_on($1, $2)', [run, opened]);
    },
    /** Takes a turn at the platform: in how many seconds it may be asked, and when that is. None is taken where that is more than `most`. */
    async turn(integration: string, most: number): Promise<{ wait: number; at: Date }> {
      return one('select wait, at from commerce._turn($1, $2)', [integration, most]);
    },
    variants: (integration: string, after: string, most: number): Promise<string[]> =>
      ids('select known as id from commerce._variants($1, $2, $3) as known', [integration, after, most]),
    openOrders: (integration: string, scheme: Scheme, after: string, most: number): Promise<string[]> =>
      ids('select known as id from commerce._open_orders($1, $2, $3, $4) as known', [integration, scheme, after, most]),
  };
}
