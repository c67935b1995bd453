import type { Test } from 'tap';
import type { Answer, Person } from '../world.ts';
import { keys, type Ozon, openOzon } from './ozon-server.ts';
import { openPlatformWorld, type PlatformWorld } from './platform-world.ts';
import { openWildberries, token, type Wildberries } from './wildberries-server.ts';

// biome-ignore lint/suspicious/noExplicitAny: rows of whatever is asked for
type Row = Record<string, any>;
type Connected = { id: string; owner: Person };

const credentialsOf: Record<string, Record<string, string>> = {
  wildberries: { api_key: token, supplier_id: '42' },
  ozon: keys,
};

export type ShopWorld = Omit<PlatformWorld, 'connect'> & {
  wildberries: Wildberries;
  ozon: Ozon;
  /** A user with a shop, whose credentials are tried; nothing is fetched by itself. */
  connect(username: string, platform: string, credentials?: Record<string, string>): Promise<Connected>;
  request(of: Connected, kind: string, token?: string): Promise<Answer>;
  /** Asks for a run, and gives it when it has ended. */
  sync(of: Connected, kind: string): Promise<Row>;
  /** A run, when it has ended. */
  through(run: string): Promise<Row>;
  rows(of: Connected, table: string): Promise<Row[]>;
};

/** A world with workers, a Wildberries and an Ozon; both may be asked as often as one likes. */
export async function openShopWorld(t: Test): Promise<ShopWorld> {
  const wildberries = await openWildberries(t);
  const ozon = await openOzon(t);
  const world = await openPlatformWorld(t, { WILDBERRIES_API: `${wildberries.url}/*`, OZON_API: ozon.url });
  const { ask, eventually, person, sql } = world;
  await sql("update platforms.platforms set calls_per_second = 1000 where type = 'ecommerce'");
  await sql("update jobs.schedules set is_paused = true where name = 'sync shops'");

  async function request({ id, owner }: Connected, kind: string, token = owner.token): Promise<Answer> {
    return ask(
      `mutation ($id: UUID!, $kind: RunKind!) {
        requestSync(input: { integrationId: $id, kind: $kind }) { platformRun { id kind status } }
      }`,
      { id, kind },
      token,
    );
  }

  const through = (run: string): Promise<Row> =>
    eventually('the run has ended', async () => {
      const [row] = await sql('select * from platforms.runs where id = $1', [run]);
      return row?.status !== 'running' && row;
    });

  return {
    ...world,
    wildberries,
    ozon,
    request,
    through,
    async connect(username, platform, credentials = credentialsOf[platform]) {
      const owner = await person(username);
      const answer = await ask(
        `mutation ($platform: String!, $credentials: JSON!) {
          connectPlatform(input: { platformId: $platform, credentials: $credentials }) { integration { id } }
        }`,
        { platform, credentials },
        owner.token,
      );
      if (answer.errors) throw new Error(JSON.stringify(answer.errors));
      const { id } = answer.data.connectPlatform.integration;
      await eventually('the credentials are tried', async () => {
        const [row] = await sql('select status from platforms.integrations where id = $1', [id]);
        return row?.status !== 'pending';
      });
      return { id, owner };
    },
    async sync(of, kind) {
      const answer = await request(of, kind);
      if (answer.errors) throw new Error(JSON.stringify(answer.errors));
      return through(answer.data.requestSync.platformRun.id);
    },
    rows: ({ id }, table) =>
      sql(`select * from commerce.${table} where integration_id = $1 order by ${keyOf[table]}`, [id]),
  };
}

const keyOf: Record<string, string> = {
  products: 'external_id',
  variants: 'external_id',
  warehouses: 'external_id',
  stocks: 'warehouse_id, variant_id',
  orders: 'external_id',
  order_items: 'order_id, position',
};

/** What rows say, but for when they were fetched. */
export function saidBy(rows: Row[]): Row[] {
  return rows.map(({ fetched_at: _, ...rest }) => rest);
}
