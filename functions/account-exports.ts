import type pg from 'pg';
import { asOwner, connected } from './connection.ts';

type Line = { id: string | null; line: string };

/** What is known of the user of an export: pages of lines of JSON, one page in memory. Nothing where there is no such export. */
export async function* exportLines(client: pg.ClientBase, exportId: string): AsyncGenerator<string[]> {
  let after: string | null = null;
  while (true) {
    const { rows }: pg.QueryResult<Line> = await client.query<Line>(
      'select id, line from accounts._export_lines($1, $2)',
      [exportId, after],
    );
    if (rows.length === 0) return;
    yield rows.map(({ line }) => `${line}\n`);
    const last: string | null = rows.at(-1)?.id ?? null;
    // Only the first page has lines without an id, and it ends with messages where there are any.
    if (last === null) return;
    after = last;
  }
}

export async function noteExported(client: pg.ClientBase, id: string, file: string, bytes: number): Promise<void> {
  await client.query('select accounts._export_finished($1, $2, $3)', [id, file, bytes]);
}

/** Forgets the exports that are kept no longer; gives the files of the others. */
export async function keptExportFiles(databaseUrl: string): Promise<Set<string>> {
  const { rows } = await connected(asOwner(databaseUrl), (client) =>
    client.query<{ file: string }>('select accounts._kept_export_files() as file'),
  );
  return new Set(rows.map(({ file }) => file));
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
