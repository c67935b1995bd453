import { readFileSync } from 'node:fs';
import path from 'node:path';
import type pg from 'pg';

/** Gives the column `name`. */
export const openViewsQuery = readFileSync(path.join(import.meta.dirname, 'open-views.sql'), 'utf8');

/** The views that serve tables past their row level security, and do not say that they are meant to. */
export async function readOpenViews(client: pg.ClientBase): Promise<string[]> {
  return (await client.query<{ name: string }>(openViewsQuery)).rows.map(({ name }) => name);
}
