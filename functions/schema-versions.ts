import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { SchemaFile } from './schema-file.ts';

/** What schema.sql was when it was last applied to a database. */
type SchemaVersion = { applied_at: Date; sha256: string; content: string };

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The schema that the database has, or undefined when Plinth has not given it any. */
export async function lastVersion(client: pg.ClientBase): Promise<SchemaVersion | undefined> {
  const { rows: table } = await client.query("select to_regclass('public.schema_versions') as oid");
  if (table[0].oid === null) return undefined;
  const { rows } = await client.query<SchemaVersion>(
    'select applied_at, sha256, content from public.schema_versions order by id desc limit 1',
  );
  return rows[0];
}

export async function createVersions(client: pg.ClientBase): Promise<void> {
  await client.query(`
    create table public.schema_versions (
      id         bigint      primary key generated always as identity,
      applied_at timestamptz not null default now(),
      sha256     text        not null,
      content    text        not null
    )`);
  await client.query(
    "comment on table public.schema_versions is 'Every schema.sql that this database has been given.'",
  );
  await client.query('revoke all on public.schema_versions from public');
}

export async function recordVersion(client: pg.ClientBase, { text }: SchemaFile): Promise<void> {
  await client.query('insert into public.schema_versions (sha256, content) values ($1, $2)', [sha256(text), text]);
}
