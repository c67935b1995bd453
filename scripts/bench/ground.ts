import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { applySchema } from '../../functions/apply.ts';
import { startEmbedded } from '../../functions/embedded.ts';
import { Refusal } from '../../functions/refusal.ts';

/** Gets a line for a person. */
export type Report = (line: string) => void;

/** An empty database with schema.sql, as its owner; `close` drops it with whatever was started for it. */
export type Ground = { url: string; owner: pg.Client; folder: string; close(): Promise<void> };

/** Who the requests of a bench come from. */
export type Viewer = { userId: string; sessionId: string; rooms: string[]; direct: string[] };

const repository = path.join(import.meta.dirname, '..', '..');

/**
 * Opens a database to measure on: on an embedded Postgres of its own, durable as everyone's is, or on the server of
 * DATABASE_URL or TEST_DATABASE_URL.
 */
export async function openGround(report: Report): Promise<Ground> {
  const folder = mkdtempSync(path.join(tmpdir(), 'plinth-bench-'));
  // Where root starts it, the user postgres must get in.
  chmodSync(folder, 0o711);
  const given = process.env.DATABASE_URL || process.env.TEST_DATABASE_URL;
  const server = given ? undefined : await startEmbedded({ dataDirectory: folder, log: report });
  const admin = new pg.Client({ connectionString: server?.url ?? given });
  await admin.connect();
  const name = `bench_${randomBytes(4).toString('hex')}`;
  await admin.query(`create database ${name}`);
  const url = new URL(server?.url ?? given ?? '');
  url.pathname = name;
  const owner = new pg.Client({ connectionString: url.href });
  owner.on('error', () => {});
  await owner.connect();
  await applySchema(owner, readFileSync(path.join(repository, 'schema.sql'), 'utf8'), 'schema.sql');
  const { rows } = await owner.query("select current_setting('server_version') as version");
  report(`Measuring on Postgres ${rows[0].version}, Node ${process.versions.node}`);
  return {
    url: url.href,
    owner,
    folder,
    async close() {
      // Without waiting: a statement may be under way where the bench was stopped.
      owner.end().catch(() => {});
      await admin.query(`drop database ${name} with (force)`);
      await admin.end();
      await server?.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
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

/** Makes a member of every room who has 20 direct chats, signed in. */
export async function makeViewer(owner: pg.Client): Promise<Viewer> {
  const { rows: made } = await owner.query(`
    with person as (
      insert into identity.users (username, display_name) values ('bench', 'Bench') returning id
    ), account as (
      insert into identity.accounts (user_id) select id from person returning user_id
    )
    insert into identity.sessions (user_id) select user_id from account returning id, user_id`);
  const { id: sessionId, user_id: userId } = made[0];
  await owner.query(
    `insert into chat.members (channel_id, user_id, joined_seq, last_read_seq)
    select id, $1, 0, greatest(last_seq - 10, 0) from chat.channels where kind = 'room'`,
    [userId],
  );
  const as = (id: string) => owner.query("select set_config('plinth.user_id', $1, false)", [id]);
  const { rows: others } = await owner.query(
    'select id from identity.users where id <> $1 order by username limit 20',
    [userId],
  );
  const direct: string[] = [];
  for (const other of others) {
    await as(userId);
    const { rows } = await owner.query('select (chat.open_direct($1)).id', [other.id]);
    direct.push(rows[0].id);
    await as(other.id);
    await owner.query("select chat.send_message($1, 'Hello, are you there? ' || n) from generate_series(1, 3) as n", [
      rows[0].id,
    ]);
  }
  const { rows: rooms } = await owner.query("select id from chat.channels where kind = 'room' order by id");
  return { userId, sessionId, rooms: rooms.map(({ id }) => id), direct };
}
