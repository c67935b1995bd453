import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { inherited } from '../running-plinth.ts';
import { openScratch } from '../scratch-database.ts';

const scripts = path.join(import.meta.dirname, '../../scripts');
const root = mkdtempSync(path.join(tmpdir(), 'plinth-start-'));
// Where root runs the tests, the user postgres must get in.
chmodSync(root, 0o711);
t.teardown(() => rmSync(root, { recursive: true, force: true }));

type Run = { process: ChildProcessWithoutNullStreams; text(): string; ended: Promise<number | null> };

/** Runs a script of the folder with these settings and no others. */
function run(args: string[], settings: Record<string, string>): Run {
  const env = { ...inherited, PORT: '0', ...settings };
  const child = spawn(process.execPath, args, { env, cwd: root });
  t.teardown(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (data) => (text += data));
  child.stderr.on('data', (data) => (text += data));
  return {
    process: child,
    text: () => text,
    ended: new Promise((resolve) => child.once('close', (code) => resolve(code))),
  };
}

function start(settings: Record<string, string>): Run {
  return run([path.join(scripts, 'run.mjs'), 'start'], settings);
}

/** The address of a start that is ready; fails when it ends instead. */
async function ready(t: Tap, started: Run): Promise<string> {
  let over = false;
  started.ended.then(() => {
    over = true;
  });
  while (!over) {
    const url = /^Plinth is ready at (\S+)$/m.exec(started.text())?.[1];
    if (url) return url;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.fail(`it ended: ${started.text()}`);
  throw new Error('not ready');
}

type Tap = { fail(message: string): unknown };

function listen(): Promise<{ server: Server; port: number }> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, 'localhost', () => resolve({ server, port: (server.address() as AddressInfo).port }));
  });
}

async function ask(url: string): Promise<unknown> {
  const response = await fetch(new URL('graphql', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ __typename }' }),
  });
  return response.json();
}

t.test('Ctrl-C stops all that a start began, and a second start keeps the data', async (t) => {
  const PLINTH_DATA = path.join(root, 'data');
  const first = start({ PLINTH_DATA });
  const url = await ready(t, first);
  t.same(await ask(url), { data: { __typename: 'Query' } });
  t.match(first.text(), /\d\.\d\d s {2}Making the database \(once\)/, 'it tells what it does, with times');
  const held = start({ PLINTH_DATA, PORT: new URL(url).port });
  t.equal(await held.ended, 1);
  t.match(held.text(), /is in use by the Plinth of process \d+, which serves \S+\.\nStop that one/);
  t.ok(held.text().includes(`serves ${url}.`), 'where it is, and not that the port is taken by another program');
  t.same(await ask(url), { data: { __typename: 'Query' } }, 'the first one runs on');
  first.process.kill('SIGINT');
  t.equal(await first.ended, 0);
  t.notOk(existsSync(path.join(PLINTH_DATA, 'postgres/postmaster.pid')), 'Postgres has ended');
  t.notOk(existsSync(path.join(PLINTH_DATA, 'holder.json')));

  const made = statSync(path.join(PLINTH_DATA, 'postgres/PG_VERSION')).ino;
  const second = start({ PLINTH_DATA });
  await ready(t, second);
  t.equal(statSync(path.join(PLINTH_DATA, 'postgres/PG_VERSION')).ino, made);
  second.process.kill('SIGKILL');
  await second.ended;

  const third = start({ PLINTH_DATA });
  await ready(t, third);
  t.pass('a start after a kill -9 finds the way free');
  third.process.kill('SIGTERM');
  t.equal(await third.ended, 0);
});

t.test('a port in use is told before anything is started', async (t) => {
  const { server, port } = await listen();
  t.teardown(() => server.close());
  const PLINTH_DATA = path.join(root, 'port');
  const started = start({ PLINTH_DATA, PORT: `${port}` });
  t.equal(await started.ended, 1);
  t.match(
    started.text(),
    new RegExp(`^Port ${port} of localhost \\(PORT, HOST\\) is in use by another program.\nSet PORT`),
  );
  t.notMatch(started.text(), /\n {4}at /, 'no stack');
  t.notOk(existsSync(path.join(PLINTH_DATA, 'postgres')));
});

t.test('mistakes in settings are told before anything is started', async (t) => {
  const PLINTH_DATA = path.join(root, 'settings');
  const started = start({ PLINTH_DATA, PORT: 'http', LOG_LEVEL: 'loud' });
  t.equal(await started.ended, 1);
  t.match(started.text(), /^2 settings are wrong:\n {2}PORT .*\n {2}LOG_LEVEL .*\nCorrect/);
  t.notOk(existsSync(PLINTH_DATA));
});

t.test('DATABASE_URL is used instead of an embedded Postgres', async (t) => {
  const scratch = await openScratch();
  t.teardown(scratch.close);
  const DATABASE_URL = await scratch.create();
  const PLINTH_DATA = path.join(root, 'external');
  const started = start({ PLINTH_DATA, DATABASE_URL });
  t.same(await ask(await ready(t, started)), { data: { __typename: 'Query' } });
  started.process.kill('SIGINT');
  t.equal(await started.ended, 0);
  t.same(readdirSync(PLINTH_DATA), ['keys.json']);
});

t.test('a database that does not answer is told', async (t) => {
  const { server, port } = await listen();
  t.teardown(() => server.close());
  const PLINTH_DATA = path.join(root, 'silent');
  const silent = start({ PLINTH_DATA, DATABASE_URL: `postgres://owner:hidden@localhost:${port}/plinth` });
  t.equal(await silent.ended, 1);
  t.match(
    silent.text(),
    new RegExp(`The database at localhost:${port}/plinth does not answer: .*\nStart it, or correct`),
  );
  t.notMatch(silent.text(), /hidden/, 'its password is not told');
  server.close();
  const refused = start({ PLINTH_DATA, DATABASE_URL: 'postgres://owner:hidden@localhost:1/plinth' });
  t.equal(await refused.ended, 1);
  t.match(refused.text(), /The database at localhost:1\/plinth does not answer: .*ECONNREFUSED/);
});

t.test('the runner names the scripts that there are', async (t) => {
  const unknown = run([path.join(scripts, 'run.mjs'), 'strat'], {});
  t.equal(await unknown.ended, 1);
  t.match(unknown.text(), /There is no script "strat".* start/);
});
