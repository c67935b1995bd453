import type pg from 'pg';
import { applyToEmpty, type Report, readSchema, seconds, type Target } from './apply.ts';
import { inTransaction, withClient } from './schema-connection.ts';
import { parseSchema } from './schema-file.ts';

/**
 * Drops every schema of a database with all that is in it and applies the file, in one transaction: when the file does
 * not apply, nothing is lost.
 */
export async function resetDatabase({ databaseUrl, schemaFile, report }: Target & { report: Report }): Promise<void> {
  const { text, fileName } = await readSchema(schemaFile);
  const file = await parseSchema(text, fileName);
  await withClient(databaseUrl, async (client) => {
    const started = performance.now();
    const done = await inTransaction(client, async () => {
      await dropEverything(client);
      return applyToEmpty(client, file);
    });
    report(`Emptied; ${done} in ${seconds(started)}`);
  });
}

/** What a reset would take away: the schemas with tables in them, and how many rows Postgres believes there to be. */
export async function databaseContents(
  databaseUrl: string,
): Promise<{ schema: string; tables: number; rows: number }[]> {
  return withClient(databaseUrl, async (client) => {
    const { rows } = await client.query(
      `
      select relnamespace::regnamespace::text as schema, count(*)::int as tables,
        sum(pg_stat_get_live_tuples(oid))::float8 as rows
      from pg_catalog.pg_class
      where relkind = 'r' and relnamespace = any ($1::regnamespace[])
      group by relnamespace
      order by schema`,
      [await schemasIn(client)],
    );
    return rows;
  });
}

/** The schemas of a database that are not Postgres's own, as SQL writes their names. */
async function schemasIn(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(`
    select quote_ident(nspname) as name from pg_catalog.pg_namespace
    where nspname !~ '^pg_' and nspname <> 'information_schema'
    order by nspname`);
  return rows.map(({ name }) => name);
}

async function dropEverything(client: pg.ClientBase): Promise<void> {
  for (const name of await schemasIn(client)) await client.query(`drop schema ${name} cascade`);
  await client.query('create schema public');
  await client.query('alter schema public owner to pg_database_owner');
  await client.query('grant usage on schema public to public');
}
