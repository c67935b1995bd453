import { readFileSync } from 'node:fs';
import path from 'node:path';
import type pg from 'pg';
import type { Statement } from './schema-file.ts';

/** Something in a schema file that is not as the conventions say. */
export type Finding = { line: number; rule: string; message: string };

/**
 * What the tables, types, functions and indexes of a schema file lack, by what Postgres made of them.
 *
 * @param client a database that has the schema.
 */
export async function findInCatalog(client: pg.ClientBase, statements: Statement[]): Promise<Finding[]> {
  const stated = statements.map(({ kind, name, line }) => ({ kind, name, line }));
  return (await client.query<Finding>(query, [JSON.stringify(stated)])).rows;
}

const query = readFileSync(path.join(import.meta.dirname, 'schema-findings.sql'), 'utf8');
