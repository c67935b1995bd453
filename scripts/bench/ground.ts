import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { readSchema, schemaFile } from '../../functions/apply.ts';
import { startEmbedded } from '../../functions/embedded.ts';
import { Refusal } from '../../functions/refusal.ts';
import { onScratch } from '../../functions/scratch-database.ts';

/** Gets a line for a person. */
export type Report = (line: string) => void;

/** A database with schema.sql, as its owner, and a folder, both gone in the end. */
export type Ground = { url: string; owner: pg.Client; folder: string };

/** Who the requests of a bench come from. */
export type Viewer = { userId: string; sessionId: string; rooms: string[]; direct: string[] };

/** What a server knows of the viewer's requests. */
export function claimsOf({ userId, sessionId }: Viewer): Record<string, string> {
  return { sub: userId, sid: sessionId, address: '127.0.0.1', user_agent: '', request_id: 'bench' };
}

const repository = path.join(import.meta.dirname, '..', '..');

/**
 * Measures on a database made for it: on an embedded Postgres of its own, durable as everyone's is, or on the server of DATABASE_URL
 * or TEST_DATABASE_URL.
 */
export async function onGround<Result>(report: Report, work: (ground: Ground) => Promise<Result>): Promise<Result> {
  const folder = mkdtempSync(path.join(tmpdir(), 'plinth-bench-'));
  const given = process.env.DATABASE_URL || process.env.TEST_DATABASE_URL;
  const server = given ? undefined : await startEmbedded({ dataDirectory: folder, log: report });
  try {
    return await onScratch(given ?? server?.url ?? '', await readSchema(schemaFile), async (owner, url) => {
      const { rows } = await owner.query('show server_version');
      // Counted as ever, and not met.
      await owner.query('update access.rate_limits set count = 1000000000');
      report(`Measuring on Postgres ${rows[0].server_version}, Node ${process.versions.node}`);
      return work({ url, owner, folder });
    });
  } finally {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Fills a database with the messages that people wrote, and with someone to read them: in every room, behind in some, with
 * direct chats.
 *
 * @param gitter the folder of the archive.
 */
export async function populate(ground: Ground, gitter: string | undefined, report: Report): Promise<Viewer> {
  const files = gitterFiles(
    gitter ?? process.env.GITTER_DATA ?? path.join(repository, '..', 'shared', 'data', 'gitter'),
  );
  const began = performance.now();
  report(`Importing ${files.length} files of messages`);
  await importFiles(ground, files);
  const viewer = await makeViewer(ground.owner);
  await ground.owner.query('vacuum analyze');
  const { rows } = await ground.owner.query('select count(*) from chat.messages');
  report(
    `${rows[0].count} messages in ${viewer.rooms.length} rooms, ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
  return viewer;
}

/** @throws Refusal where the folder has none. */
function gitterFiles(folder: string): string[] {
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.tsv')) : [];
  if (files.length > 0) return files.sort().map((name) => path.join(folder, name));
  throw new Refusal(`There are no messages to measure with: ${folder} has no .tsv files.`, {
    remedy: 'Name the folder of the Gitter archive: npm run bench -- read --gitter FOLDER (or GITTER_DATA).',
  });
}

/** As everyone imports: by scripts/import.ts, which brings them into order and tells of the rows that it refuses. */
async function importFiles({ url, folder }: Ground, files: string[]): Promise<void> {
  const log = path.join(folder, 'import.log');
  const output = openSync(log, 'a');
  const child = spawn(process.execPath, [path.join(repository, 'scripts', 'import.ts'), 'gitter', ...files], {
    env: { ...process.env, DATABASE_URL: url, PLINTH_DATA: path.join(folder, 'plinth') },
    stdio: ['ignore', output, output],
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`The import failed:\n${readFileSync(log, 'utf8')}`);
}

export async function makeViewer(owner: pg.Client): Promise<Viewer> {
  const results = (await runFile(owner, 'viewer.sql')) as unknown as pg.QueryResult<Viewer>[];
  return results.at(-1)?.rows[0] as Viewer;
}

/** Runs `work` without some indexes, which are made again after it: row by row they would take most of the time. */
export async function withoutIndexes(owner: pg.Client, names: string[], work: () => Promise<unknown>): Promise<void> {
  const { rows } = await owner.query<{ dropped: string; made: string }>(
    `select format('drop index %s', name::regclass) as dropped, replace(pg_get_indexdef(name::regclass), ' ON ONLY ', ' ON ') as made
    from unnest($1::text[]) as name`,
    [names],
  );
  for (const { dropped } of rows) await owner.query(dropped);
  await work();
  for (const { made } of rows) await owner.query(made);
}

/** Runs the statements of a file beside this one. */
export function runFile(owner: pg.Client, file: string): Promise<pg.QueryResult> {
  return owner.query(readFileSync(path.join(import.meta.dirname, file), 'utf8'));
}
