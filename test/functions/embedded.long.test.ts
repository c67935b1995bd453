import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { findBinaries, program } from '../../functions/embedded/binaries.ts';
import { makeCluster } from '../../functions/embedded/cluster.ts';
import { findPlace } from '../../functions/embedded/place.ts';
import { runAs } from '../../functions/embedded/run-as.ts';
import { runningEmbedded, startEmbedded } from '../../functions/embedded.ts';
import { query } from '../scratch-database.ts';

const root = mkdtempSync(path.join(tmpdir(), 'plinth-embedded-'));
chmodSync(root, 0o711);
t.teardown(() => rmSync(root, { recursive: true, force: true }));
const isLinux = process.platform === 'linux';
const isRoot = process.getuid?.() === 0;
const flags = ['-c', 'fsync=off'];
const quiet = () => {};

/** A process that starts the database, commits a row and waits; it prints the address. */
async function startInChild(dataDirectory: string): Promise<{ child: ChildProcess; url: string }> {
  const code = `
    import { startEmbedded } from ${JSON.stringify(path.join(import.meta.dirname, '../../functions/embedded.ts'))};
    import pg from 'pg';
    const { url } = await startEmbedded({ dataDirectory: ${JSON.stringify(dataDirectory)}, log() {}, flags: ['-c', 'fsync=off'] });
    const client = new pg.Client(url);
    await client.connect();
    await client.query('create table if not exists kept (at timestamptz)');
    await client.query('insert into kept values (now())');
    console.log(url);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: path.join(import.meta.dirname, '../..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const url of createInterface({ input: child.stdout })) return { child, url };
  throw new Error('the child ended before it was ready');
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

function postmaster(dataDirectory: string): number {
  return Number(readFileSync(path.join(dataDirectory, 'postgres/postmaster.pid'), 'utf8').split('\n')[0]);
}

/** State and parent of a process (proc_pid_stat(5)). */
function processOf(pid: number): { state: string; parent: number } {
  const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
  const [state = '', parent] = stat.replace(/^.*\) /s, '').split(' ');
  return { state, parent: Number(parent) };
}

/** A process that has ended may still wait, as a zombie, for the one that takes its exit code. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return processOf(pid).state !== 'Z';
}

async function endsWithin(milliseconds: number, pid: number): Promise<boolean> {
  for (let waited = 0; waited < milliseconds; waited += 50) {
    if (!isAlive(pid)) return true;
    await delay(50);
  }
  return false;
}

t.test('the first start makes the database, the second one keeps its data and its port', async (t) => {
  const dataDirectory = path.join(root, 'first');
  const told: string[] = [];
  const first = await startEmbedded({ dataDirectory, log: (message) => told.push(message), flags });
  t.same(told, ['Making the database (once)']);
  await query(first.url, 'create table kept as select 1 as one');
  t.match(await query(first.url, 'select current_setting($$server_version_num$$)::int / 10000 as major'), [
    { major: 18 },
  ]);
  await query(first.url, 'create extension pg_trgm');
  const trigrams = await query(
    first.url,
    `select cardinality(show_trgm('привет')) as ru, cardinality(show_trgm('你好')) as zh`,
  );
  t.match(trigrams, [{ ru: 7, zh: 3 }], 'trigrams see the letters of Cyrillic and Chinese');
  t.equal(statSync(path.join(dataDirectory, 'postgres.json')).mode & 0o777, 0o600);
  await Promise.all([first.stop(), first.stop()]);
  t.equal(await first.ended, undefined);
  t.notOk(existsSync(path.join(dataDirectory, 'postgres/postmaster.pid')));

  const second = await startEmbedded({ dataDirectory, log: quiet, flags });
  t.equal(second.url, first.url);
  t.same(await query(second.url, 'select one from kept'), [{ one: 1 }]);
  await second.stop();
});

t.test('Postgres ends by itself when its server is killed, and nothing committed is lost', async (t) => {
  const dataDirectory = path.join(root, 'killed');
  const first = await startInChild(dataDirectory);
  const pid = postmaster(dataDirectory);
  await kill(first.child);
  t.ok(await endsWithin(10_000, pid), 'no Postgres is left');
  const second = await startInChild(dataDirectory);
  await kill(second.child);
  const third = await startEmbedded({ dataDirectory, log: quiet, flags });
  t.same(
    await query(third.url, 'select count(*)::int from kept'),
    [{ count: 2 }],
    'a start during the shutdown waits for it',
  );
  await third.stop();
});

t.test('a Postgres whose watcher was killed too is stopped by the next start', { skip: !isLinux }, async (t) => {
  const dataDirectory = path.join(root, 'orphan');
  const { child } = await startInChild(dataDirectory);
  const pid = postmaster(dataDirectory);
  const watcher = processOf(pid).parent;
  for (const other of readdirSync('/proc').map(Number).filter(Boolean)) {
    if (other !== pid && processOf(other).parent === watcher) process.kill(other, 'SIGKILL');
  }
  process.kill(watcher, 'SIGKILL');
  await kill(child);
  await delay(200);
  t.ok(isAlive(pid), 'it is an orphan');
  const told: string[] = [];
  const next = await startEmbedded({ dataDirectory, log: (message) => told.push(message), flags });
  t.match(told, [/left from a start that was killed/]);
  t.notOk(isAlive(pid));
  t.same(await query(next.url, 'select count(*)::int from kept'), [{ count: 1 }]);
  await next.stop();
});

t.test('a folder that another process holds is refused, and its database can be joined', async (t) => {
  const dataDirectory = path.join(root, 'held');
  t.equal(runningEmbedded(dataDirectory), undefined);
  const { child, url } = await startInChild(dataDirectory);
  const refusal = {
    name: 'Refusal',
    message: /in use by the Plinth of process/,
    remedy: new RegExp(`kill ${child.pid}`),
  };
  await t.rejects(startEmbedded({ dataDirectory, log: quiet }), refusal);
  t.equal(runningEmbedded(dataDirectory), url);
  rmSync(path.join(dataDirectory, 'holder.json'));
  const foreign = { name: 'Refusal', message: /in use by a Postgres that Plinth did not start/ };
  await t.rejects(startEmbedded({ dataDirectory, log: quiet }), foreign);
  t.same(await query(url, 'select count(*)::int from kept'), [{ count: 1 }], 'it runs on');
  const pid = postmaster(dataDirectory);
  await kill(child);
  t.ok(await endsWithin(10_000, pid));
});

t.test('a process id that another program has now does not stand in the way', async (t) => {
  const dataDirectory = path.join(root, 'reused');
  await (await startEmbedded({ dataDirectory, log: quiet, flags })).stop();
  writeFileSync(path.join(dataDirectory, 'holder.json'), JSON.stringify({ pid: process.ppid, began: 'another time' }));
  writeFileSync(path.join(dataDirectory, 'postgres/postmaster.pid'), `${process.ppid}\n`);
  await t.resolves(startEmbedded({ dataDirectory, log: quiet, flags }).then(({ stop }) => stop()));
});

t.test('data of another Postgres version is refused', async (t) => {
  const dataDirectory = path.join(root, 'version');
  await (await startEmbedded({ dataDirectory, log: quiet, flags })).stop();
  const file = path.join(dataDirectory, 'postgres/PG_VERSION');
  writeFileSync(file, '17\n');
  const refusal = {
    name: 'Refusal',
    message: /holds data of Postgres 17, and this is Postgres 18/,
    remedy: /DATABASE_URL/,
  };
  await t.rejects(startEmbedded({ dataDirectory, log: quiet, flags }), refusal);
  writeFileSync(file, '18\n');
  await (await startEmbedded({ dataDirectory, log: quiet, flags })).stop();
});

t.test('a first start that was killed is done again', async (t) => {
  const dataDirectory = path.join(root, 'interrupted');
  mkdirSync(path.join(dataDirectory, 'postgres.new-1234/cluster/base'), { recursive: true });
  const kept = { password: 'never used', port: 0, base: dataDirectory };
  writeFileSync(path.join(dataDirectory, 'postgres.json'), JSON.stringify(kept));
  const database = await startEmbedded({ dataDirectory, log: quiet, flags });
  await query(database.url, 'select 1');
  await database.stop();
  t.same(readdirSync(dataDirectory).sort(), ['postgres', 'postgres.json', 'postgres.log']);
});

t.test('a lost password or database is told, never replaced', async (t) => {
  const dataDirectory = path.join(root, 'lost');
  await (await startEmbedded({ dataDirectory, log: quiet, flags })).stop();
  const file = path.join(dataDirectory, 'postgres.json');
  const kept = readFileSync(file);
  rmSync(file);
  await t.rejects(startEmbedded({ dataDirectory, log: quiet }), {
    name: 'Refusal',
    message: /postgres.json.* is missing/,
  });
  writeFileSync(file, kept);
  rmSync(path.join(dataDirectory, 'postgres'), { recursive: true });
  await t.rejects(startEmbedded({ dataDirectory, log: quiet }), {
    name: 'Refusal',
    message: /was kept in .* is not there/,
  });
});

t.test('what Postgres says when it does not start is in the message', async (t) => {
  const dataDirectory = path.join(root, 'failing');
  const refusal = { name: 'Refusal', message: /did not start[\s\S]*work_mem/, remedy: /./ };
  await t.rejects(startEmbedded({ dataDirectory, log: quiet, flags: [...flags, '-c', 'work_mem=plenty'] }), refusal);
  await (await startEmbedded({ dataDirectory, log: quiet, flags })).stop();
});

t.test('what initdb says when it fails is in the message', async (t) => {
  const base = path.join(root, 'no-programs');
  mkdirSync(base);
  const binaries = { folder: path.join(base, 'nothing'), major: '18' };
  const refusal = { name: 'Refusal', message: /could not be made[\s\S]*ENOENT/ };
  await t.rejects(makeCluster(base, { base, binaries, account: undefined }, false), refusal);
  t.same(readdirSync(base), []);
});

t.test('a folder that cannot be made is refused', async (t) => {
  const file = path.join(root, 'file');
  writeFileSync(file, '');
  const refusal = { name: 'Refusal', message: /cannot be used/, remedy: /PLINTH_DATA/ };
  await t.rejects(startEmbedded({ dataDirectory: path.join(file, 'data'), log: quiet }), refusal);
});

t.test(
  'below a folder closed to the user postgres, root keeps database and programs elsewhere',
  { skip: !isRoot },
  async (t) => {
    const closed = path.join(root, 'closed');
    const dataDirectory = path.join(closed, 'clone/.plinth');
    mkdirSync(closed, { mode: 0o700 });
    const told: string[] = [];
    const first = await startEmbedded({ dataDirectory, log: (message) => told.push(message), flags });
    const { base } = JSON.parse(readFileSync(path.join(dataDirectory, 'postgres.json'), 'utf8'));
    t.teardown(() => rmSync(base, { recursive: true, force: true }));
    t.match(told[0], /cannot reach .* the database is kept in \/var\/lib\/plinth\/clone-/);
    t.ok(existsSync(path.join(base, 'postgres/PG_VERSION')));
    await query(first.url, 'create table kept as select 1 as one');
    await first.stop();
    chmodSync(closed, 0o711);
    const second = await startEmbedded({ dataDirectory, log: quiet, flags });
    t.same(await query(second.url, 'select one from kept'), [{ one: 1 }], 'it stays there when the folder is opened');
    await second.stop();

    chmodSync(closed, 0o700);
    const packaged = await findBinaries();
    cpSync(path.dirname(packaged.folder), path.join(closed, 'package'), { recursive: true, verbatimSymlinks: true });
    const moved = { folder: path.join(closed, 'package/native'), major: packaged.major };
    const place = await findPlace(dataDirectory, base, moved, (message) => told.push(message));
    t.match(told.at(-1), /its programs are copied to \/var\/lib\/plinth/);
    t.match(await runAs(place.account, program(place.binaries, 'postgres'), ['--version']), {
      failed: false,
      output: /18/,
    });
  },
);
