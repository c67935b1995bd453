import type pg from 'pg';
import { asOwner, connected } from './connection.ts';

type Line = { place: string; line: string; share: number };
/** Some lines of JSON, and how much of all parts is past. */
type Page = { lines: string[]; share: number };

/** What is known of the user of an export: pages of lines of JSON, one page in memory. Nothing where there is no such export. */
export async function* exportLines(client: pg.ClientBase, exportId: string): AsyncGenerator<Page> {
  let after: string | undefined;
  while (true) {
    const { rows }: pg.QueryResult<Line> = await client.query<Line>(
      'select place, line, share from accounts._export_lines($1, $2)',
      [exportId, after],
    );
    const last = rows.at(-1);
    if (!last) return;
    after = last.place;
    yield { lines: rows.map(({ line }) => `${line}\n`), share: last.share };
  }
}

export async function noteExported(client: pg.ClientBase, id: string, file: string, bytes: number): Promise<void> {
  await client.query('select accounts._export_finished($1, $2, $3)', [id, file, bytes]);
}

/** Forgets the exports that are kept no longer; gives the ids of the others. */
export async function keptExports(databaseUrl: string): Promise<Set<string>> {
  const { rows } = await connected(asOwner(databaseUrl), (client) =>
    client.query<{ id: string }>('select accounts._kept_exports() as id'),
  );
  return new Set(rows.map(({ id }) => id));
}

/** The file that a link is for; undefined where it is good for none. */
export async function exportFileOf(
  ask: (query: pg.QueryConfig) => Promise<pg.QueryResult>,
  token: string,
): Promise<string | undefined> {
  const { rows } = await ask({
    name: 'export file',
    text: 'select accounts._export_file($1) as file',
    values: [token],
  });
  return rows[0]?.file ?? undefined;
}
