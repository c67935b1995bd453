import pg from 'pg';
import { cancelOn } from './cancel.ts';
import { connected } from './connection.ts';
import { connectionOptions } from './requests.ts';

/** An export of contracts that is to be made, and as whom its rows are read. */
export type Wanted = {
  kind: 'contracts' | 'findings';
  format: 'xlsx' | 'csv' | 'jsonl';
  criteria: Record<string, unknown>;
  user_id: string;
  username: string;
  role: 'member' | 'operator';
  asked_at: string;
};

/** A value as Postgres writes it. */
export type Value = string | null;
export type Column = { name: string; kind: 'text' | 'sum' | 'number' | 'integer' | 'date' | 'moment' | 'truth' };
/** Rows to be read once, a page of them in memory. */
export type Table = { columns: Column[]; total: number; pages: AsyncGenerator<Value[][]> };

/** What is to be made; nothing where it has been, or where its user may have it no longer. */
export async function exportToMake(client: pg.ClientBase, id: string): Promise<Wanted | undefined> {
  const { rows } = await client.query<Wanted>('select * from procurement._export_to_make($1)', [id]);
  return rows[0];
}

/** Says that an export is made, and tells its user; `address` is where this server is reached, for the link. */
export async function noteExportMade(
  client: pg.ClientBase,
  id: string,
  { file, bytes, rows, address }: { file: string; bytes: number; rows: number; address: string | undefined },
): Promise<void> {
  await client.query('select procurement._export_made($1, $2, $3, $4, $5)', [id, file, bytes, rows, address ?? null]);
}

const atOnce = 200;

/**
 * Reads the rows of an export as its user sees them, by a cursor, within one snapshot.
 *
 * @param url the database, as plinth_server: it may become the user's role.
 * @param signal ends the statement that runs.
 */
export function withExportRows<Result>(
  url: string,
  { kind, criteria, user_id, role }: Wanted,
  signal: AbortSignal,
  use: (table: Table) => Promise<Result>,
): Promise<Result> {
  const work = async (client: pg.Client): Promise<Result> => {
    const cancelled = cancelOn(signal, { connectionString: url }, client);
    try {
      signal.throwIfAborted();
      await client.query('begin isolation level repeatable read read only');
      // Planned for these criteria: those that are not told cost nothing then, and a year is one partition. A statement may take as long as
      // one of the role service: who becomes a role by a setting does not come by its timeout.
      await client.query(
        "select set_config('plinth.user_id', $1, true), set_config('role', $2, true), set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', '10min', true)",
        [user_id, role],
      );
      const from = kind === 'contracts' ? 'procurement._exported_contracts($1)' : 'procurement._exported_findings($1)';
      const counted = await client.query<{ total: string }>(`select count(*) as total from ${from}`, [criteria]);
      await client.query(`declare rows no scroll cursor for select * from ${from}`, [criteria]);
      const fetch = () => client.query<Value[]>({ text: `fetch ${atOnce} from rows`, rowMode: 'array', types: asText });
      const first = await fetch();
      const pages = async function* (): AsyncGenerator<Value[][]> {
        for (let page = first.rows; page.length > 0; page = (await fetch()).rows) yield page;
      };
      const columns = first.fields.map(({ name, dataTypeID }): Column => ({ name, kind: kinds[dataTypeID] ?? 'text' }));
      return await use({ columns, total: Number(counted.rows[0]?.total), pages: pages() });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      await cancelled();
    }
  };
  return connected(url, work, { options: connectionOptions });
}

const { BOOL, INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC, DATE, TIMESTAMPTZ } = pg.types.builtins;
const kinds: Record<number, Column['kind']> = {
  [BOOL]: 'truth',
  [INT2]: 'integer',
  [INT4]: 'integer',
  [INT8]: 'integer',
  [FLOAT4]: 'number',
  [FLOAT8]: 'number',
  [NUMERIC]: 'sum',
  [DATE]: 'date',
  [TIMESTAMPTZ]: 'moment',
};
const asText = { getTypeParser: () => (value: string) => value };
