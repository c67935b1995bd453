import type pg from 'pg';
import type { ApiRole } from './catalog.ts';
import type { Limit } from './rate-limits.ts';

/** Who may not read, or not write, during maintenance; `endsIn` seconds, null: not known. */
type Closed = { role: ApiRole; writes: boolean; message: string; endsIn: number | null };

/** What the database says of who is let in, and how often. */
export type Rules = { closed: Closed[]; limits: Limit[]; unlimited: ApiRole[] };

/** The topic of what changes them. */
export const rulesTopic = 'system:access';

/** Reads the rules; a database whose schema has none lets everyone in. */
export async function readRules(pool: pg.Pool): Promise<Rules> {
  const { rows } = await pool.query("select to_regprocedure('access._gate()') is not null as has_rules");
  if (!rows[0].has_rules) return { closed: [], limits: [], unlimited: [] };
  return (await pool.query('select access._gate() as rules')).rows[0].rules;
}

/** Adds to the counts that servers share through the database. */
export async function countTogether(
  pool: pg.Pool,
  counts: { key: string; by: number; milliseconds: number }[],
): Promise<number[]> {
  const { rows } = await pool.query({
    name: 'count requests',
    text: 'select access._count_requests($1, $2, $3)::text[] as totals',
    values: [
      counts.map(({ key }) => key),
      counts.map(({ by }) => by),
      counts.map(({ milliseconds }) => Math.ceil(milliseconds / 1000)),
    ],
  });
  return rows[0].totals.map(Number);
}
