import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { openSorter } from '../../scripts/import/order.ts';
import { showProgress } from '../../scripts/import/progress.ts';
import { openBarrier } from '../barrier.ts';
import { launch, runScript, startPlinth, temporaryFolder } from '../running-plinth.ts';
import { openScratch, query } from '../scratch-database.ts';
import { createWithSchema } from '../world.ts';

// Of the archive that people wrote: 200 rows with 198 messages, 6 of them deleted, many over several lines and with quotes.
const fixtures = path.join(import.meta.dirname, '..', 'fixtures', 'gitter');
const russian = path.join(fixtures, 'Russian.tsv');
const linux = path.join(fixtures, 'linux.tsv');

const scratch = await openScratch();
t.teardown(() => scratch.close());

type Mention = { message: string; name: string };
const byMessageAndName = (one: Mention, other: Mention): number =>
  `${one.message} ${one.name}` < `${other.message} ${other.name}` ? -1 : 1;

const hex = (number: number): string => number.toString(16).padStart(24, '0');

/** A row of the archive. */
function row(
  number: number,
  { text = `message ${number}`, at = new Date(1_450_000_000_000 + number * 1000).toISOString() } = {},
) {
  return [hex(1), 'Test/Room', at, hex(2), 'someone', hex(1000 + number), text].join('\t');
}

/** Whom the messages of a file name, of those who speak in it. */
function mentionsIn(file: string): Mention[] {
  const rows = [
    ...readFileSync(file, 'utf8').matchAll(
      /^([^\t"]+)\t[^\t]+\t[^\t]+\t[^\t]+\t([^\t]+)\t([^\t]+)\t("(?:[^"]|"")*"|[^\n]*)$/gm,
    ),
  ];
  const people = new Map(rows.map(([, , name = '']) => [name.toLowerCase(), name]));
  const found = rows.flatMap(([, , author, message = '', text = '']) =>
    [...text.matchAll(/(?<![\w.@/-])@([A-Za-z0-9][\w.-]{2,49})/g)]
      .map(([, name = '']) => people.get(name.toLowerCase()) ?? people.get(name.toLowerCase().replace(/[.-]+$/, '')))
      .filter((name) => name && name !== author)
      .map((name) => JSON.stringify({ message, name })),
  );
  return [...new Set(found)].map((mention) => JSON.parse(mention));
}

t.test('the messages of an archive are there once, in order, however often it is imported', async (t) => {
  const DATABASE_URL = await scratch.create();
  const cwd = temporaryFolder(t);
  const first = await runScript('import', ['gitter', russian, linux], { DATABASE_URL }, cwd);
  t.match(first, { status: 0, stderr: '' });
  t.match(first.stdout, /^200 rows: 198 new, 2 known, 0 rejected; 44 users in 2 rooms; [\d.]+ s, \d+ rows a second$/m);
  t.match(first.stdout, /^100 % {2}200 of 200 rows, \d+ a second$/m);

  const rooms = `select name, is_public, external_ref, last_seq::int from chat.channels order by last_seq`;
  t.strictSame(await query(DATABASE_URL, rooms), [
    { name: 'FreeCodeCamp/linux', is_public: true, external_ref: 'gitter:56d636d4e610378809c488bc', last_seq: 78 },
    { name: 'FreeCodeCamp/Russian', is_public: true, external_ref: 'gitter:5592f45815522ed4b3e31e8d', last_seq: 120 },
  ]);
  const facts = await query(
    DATABASE_URL,
    `select count(*)::int as messages, count(deleted_at)::int as deleted,
       bool_and(in_order) as in_order, bool_and(abs(extract(epoch from public.uuid_v7_time(id) - sent_at)) < 0.01) as at_their_time
     from (select *, sent_at >= lag(sent_at, 1, '-infinity') over (partition by channel_id order by seq) as in_order
           from chat.messages) as message`,
  );
  t.strictSame(facts, [{ messages: 198, deleted: 6, in_order: true, at_their_time: true }]);
  const [{ text }] = await query(
    DATABASE_URL,
    `select text from chat.messages join chat.nonces on message_id = id where nonce = 'gitter:57dd22b7aabc89857fad1ed0'`,
  );
  const quoted = /57dd22b7aabc89857fad1ed0\t"((?:[^"]|"")*)"/.exec(readFileSync(russian, 'utf8'))?.[1];
  t.equal(text, quoted?.replaceAll('""', '"').trim(), 'quotes and lines are as they were');

  const named = `select replace(nonce, 'gitter:', '') as message, username as name
    from chat.mentions as mention join chat.nonces using (message_id) join identity.users as person on person.id = user_id
    order by 1, 2`;
  const mentions = await query(DATABASE_URL, named);
  t.strictSame(mentions, [...mentionsIn(linux), ...mentionsIn(russian)].sort(byMessageAndName));
  t.ok(mentions.length > 10, `${mentions.length} mentions`);
  t.strictSame(await query(DATABASE_URL, 'select from notifications.notifications'), [], 'nobody is told of the past');

  const again = await runScript('import', ['gitter', linux, russian], { DATABASE_URL }, cwd);
  t.match(again.stdout, /^200 rows: 0 new, 200 known, 0 rejected;/m);
  t.strictSame(readdirSync(cwd), [], 'nothing was rejected');
});

t.test('a bad row goes to the rejects with its line and the reason, and stops nothing', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  const cwd = temporaryFolder(t);
  const source = path.join(cwd, 'archive');
  mkdirSync(source);
  const file = path.join(source, 'Room.tsv');
  const lines = [
    row(1),
    'rubbish',
    row(2, { at: 'yesterday' }),
    row(3, { text: '"never closed' }),
    row(4, { text: '"two\nlines"' }),
    row(5).split('\t').slice(0, 6).join('\t'),
    row(6, { text: 'x'.repeat(10_001) }),
    row(7, { text: 'a NUL \0' }),
    row(8),
    row(9, { at: '2016-02-31T00:00:00.000Z' }),
  ];
  writeFileSync(file, `${lines.join('\r\n')}\r\n`);
  const { status, stdout } = await runScript('import', ['gitter', file], { DATABASE_URL }, cwd);
  t.equal(status, 0);
  t.match(stdout, /^10 rows: 3 new, 0 known, 7 rejected;/m);
  t.match(stdout, /reasons: Room\.tsv\.rejects\.tsv$/m);
  t.strictSame(readdirSync(source), ['Room.tsv'], 'nothing is written beside the source');
  const rejects = readFileSync(path.join(cwd, 'Room.tsv.rejects.tsv'), 'utf8').trimEnd().split('\n');
  t.equal(rejects.shift(), 'line\treason');
  const [rubbish, yesterday, unclosed, short, nul, long, never] = rejects;
  t.equal(rubbish, '2\tIt has 1 columns, not 7.');
  t.match(unclosed, /^4\tQuote Not Closed/);
  t.equal(short, '7\tIt has 6 columns, not 7.');
  t.match(nul, /^9\t.*NUL/);
  t.equal(yesterday, '3\t"yesterday" is not a time such as 2016-12-06T20:30:56.994Z.');
  t.match(never, /^11\tIt cannot have been sent at 2016-02-31/);
  t.match(long, /^8\t.*text_is_1_to_10000_characters/);
  const found = await query(DATABASE_URL, 'select text from chat.messages order by id');
  t.strictSame(
    found.map(({ text }) => text),
    ['message 1', 'two\nlines', 'message 8'],
  );
});

t.test('an import that was killed goes on where it was', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  const cwd = temporaryFolder(t);
  const file = path.join(cwd, 'Long.tsv');
  writeFileSync(file, Array.from({ length: 3000 }, (_, index) => row(3000 - index)).join('\n'));
  const barrier = await openBarrier(t, DATABASE_URL, 'chat.messages');
  await barrier.close('(select count(*) from chat.messages) >= 500');
  const { child, ended } = launch('import', ['gitter', file], { DATABASE_URL }, cwd);
  const count = async () => (await query(DATABASE_URL, 'select count(*)::int from chat.messages'))[0].count;
  await barrier.reached();
  child.kill('SIGKILL');
  await ended;
  await barrier.open();
  // The statement that ran when it was killed may still commit.
  const running =
    "select count(*)::int from pg_stat_activity where datname = current_database() and application_name = 'plinth'";
  while ((await query(DATABASE_URL, running))[0].count > 0) await delay(20);
  const before = await count();
  t.ok(before > 0 && before < 3000, `${before} messages are there`);

  await barrier.close(`(select count(*) from chat.messages) >= ${before + 500}`);
  const interrupted = launch('import', ['gitter', file], { DATABASE_URL }, cwd);
  await barrier.reached();
  interrupted.child.kill('SIGINT');
  await barrier.open();
  t.match(await interrupted.ended, { status: 1, stderr: /^Stopped: \d+ rows are left\.\nRun it again/ });
  const then = await count();
  t.ok(then > before && then < 3000, `${then} messages are there`);

  const { stdout } = await runScript('import', ['gitter', file], { DATABASE_URL }, cwd);
  t.match(stdout, new RegExp(`^3000 rows: ${3000 - then} new, ${then} known, 0 rejected;`, 'm'));
  const seqs = await query(
    DATABASE_URL,
    "select bool_and(text = 'message ' || seq) as ok, count(*)::int from chat.messages",
  );
  t.strictSame(seqs, [{ ok: true, count: 3000 }], 'each once, in order');
});

t.test('it works beside a server, on its embedded database', async (t) => {
  const { env } = await startPlinth(t);
  const { status, stdout } = await runScript('import', ['gitter', linux], env, temporaryFolder(t));
  t.equal(status, 0);
  t.match(stdout, /^80 rows: 78 new, 2 known, 0 rejected;/m);
});

t.test('what it cannot import it refuses before it starts anything', async (t) => {
  const env = { PLINTH_DATA: path.join(temporaryFolder(t), 'data') };
  t.match(await runScript('import', [], env), { status: 1, stderr: /npm run import -- gitter FILE/ });
  t.match(await runScript('import', ['gutter', linux], env), { status: 1, stderr: /There is no format "gutter"/ });
  t.match(await runScript('import', ['gitter'], env), { status: 1, stderr: /which files/ });
  t.match(await runScript('import', ['gitter', 'none.tsv'], env), {
    status: 1,
    stderr: /none\.tsv cannot be read: ENOENT/,
  });
  t.match(await runScript('import', ['gitter', fixtures], env), { status: 1, stderr: /is not a file/ });
  t.notOk(existsSync(env.PLINTH_DATA));
});

t.test('what does not fit into memory is sorted all the same', async (t) => {
  const sorter = openSorter<{ room: string; at: number; text: string }>(({ room, at }) => [room, at], 10);
  const items = Array.from({ length: 95 }, (_, n) => ({
    room: `room ${n % 3}`,
    at: (n * 37) % 95,
    text: `line\u2028${n}`,
  }));
  for (const item of items) await sorter.add(item);
  const sorted = [];
  for await (const item of sorter.sorted()) sorted.push(item);
  await sorter.close();
  t.strictSame(
    sorted,
    [...items].sort((a, b) => (a.room === b.room ? a.at - b.at : a.room < b.room ? -1 : 1)),
  );
});

t.test('on a terminal a bar moves, elsewhere there are lines', async (t) => {
  const written: string[] = [];
  const out = (isTTY: boolean) => ({ isTTY, write: (text: string) => written.push(text) });
  showProgress(200, 'rows', out(true)).show(200);
  t.match(written.pop()?.replace('\r\u001b[K', '<back>'), /^<back>\[█{30}\] 100 % {2}200 of 200 rows, \d+ a second$/);
  showProgress(200, 'rows', out(false)).show(100);
  t.strictSame(written, [], 'not before there is something to tell');
  showProgress(200, 'rows', out(false)).show(200);
  t.match(written.pop(), /^100 % {2}200 of 200 rows, \d+ a second\n$/);
});
