import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { exportAccountTask } from '../../workers/account-export.ts';
import { pruneExportsTask } from '../../workers/stored-exports.ts';
import { openJobsWorld } from '../workers/jobs-world.ts';
import type { Answer, Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const folder = await mkdtemp(path.join(tmpdir(), 'plinth-exports-'));
const env = { BACKUP_STORAGE: folder, BACKUP_KEY: randomBytes(32).toString('base64url') };
const world = await openJobsWorld(t, { env });
t.teardown(() => rm(folder, { recursive: true, force: true }));
const { ask, ended, owner, person, server, sql } = world;
const { act, direct, room, say } = actsIn(world);
await world.work([exportAccountTask, pruneExportsTask], env);

const request = (by?: Person) =>
  ask('mutation { requestExport { export { id runId finishedAt bytes } } }', {}, by?.token);
const link = (by: Person | undefined, id: string) =>
  act(by, 'createExportLink', { id }, 'exportLink { path expiresAt }');
const pathIn = (answer: Answer): string => answer.data.createExportLink.exportLink.path;
const get = (at: string, init?: RequestInit) => fetch(`${server.url.replace(/\/$/, '')}${at}`, init);
async function exported(by: Person): Promise<string> {
  const { id, runId } = (await request(by)).data.requestExport.export;
  t.equal((await ended(runId)).state, 'succeeded');
  return id;
}
const stored = async (): Promise<string[]> => readdir(path.join(folder, 'exports')).catch(() => []);

t.test('a user gets all that is kept of them as lines of JSON, by a link', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const place = await room(ann, 'club');
  const chat = await direct(ann, bob.id);
  const id = await say(ann, place, 'before');
  await act(ann, 'editMessage', { id, text: 'after' }, 'message { id }');
  for (let n = 0; n < 30; n += 1) await say(ann, chat, `message ${n}`);
  await say(bob, chat, 'what bob said');
  await sql("update identity.accounts set email = 'ann@plinth.test' where user_id = $1", [ann.id]);
  await sql("insert into identity.passwords (user_id, hash) values ($1, '$argon2id$secret')", [ann.id]);

  const made = await exported(ann);
  const at = pathIn(await link(ann, made));
  const response = await get(at);
  t.equal(response.status, 200);
  t.equal(response.headers.get('cache-control'), 'no-store');
  const text = gunzipSync(Buffer.from(await response.arrayBuffer())).toString();
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const of = (type: string) => lines.filter((line) => line.type === type).map(({ data }) => data);
  t.equal(of('user')[0].username, 'ann');
  t.equal(of('account')[0].email, 'ann@plinth.test');
  t.equal(of('session').length, 1);
  t.strictSame(
    of('membership')
      .map(({ channel_kind }) => channel_kind)
      .sort(),
    ['direct', 'room'],
  );
  t.equal(of('message').length, 31);
  t.match(
    of('message').find((message) => message.text === 'after'),
    { edits: [{ text: 'before' }] },
  );
  t.notMatch(text, /what bob said|argon2id/, 'nothing that others said, and no secret');

  const [file = ''] = await stored();
  t.match(file, /\.sealed$/);
  t.equal(
    (await readFile(path.join(folder, 'exports', file))).subarray(0, 6).toString(),
    'plinth',
    'encrypted on disk',
  );
  const { data } = await ask('{ exports { nodes { id bytes finishedAt } } }', {}, ann.token);
  t.ok(data.exports.nodes[0].bytes > 0 && data.exports.nodes[0].finishedAt);
  t.strictSame((await ask('{ exports { nodes { id } } }', {}, bob.token)).data.exports.nodes, []);
});

t.test('more messages than a page are all in it', async (t) => {
  const cal = await person('cal');
  const place = await room(cal);
  await sql(
    `with channel as (select * from chat.channels where id = $1)
    insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched)
    select public.uuid_v7(), channel.id, n, $2, 'text ' || n, 'simple', now(), '' from channel, generate_series(1, 2500) as n`,
    [place, cal.id],
  );
  const response = await get(pathIn(await link(cal, await exported(cal))));
  const text = gunzipSync(Buffer.from(await response.arrayBuffer())).toString();
  t.equal(new Set(text.match(/"text \d+"/g)).size, 2500);
});

t.test('a link is for its owner to make, good for an hour, and the newest alone is good', async (t) => {
  const [dee, eve] = [await person('dee'), await person('eve')];
  const id = await exported(dee);
  t.equal(codeOf(await link(eve, id)), 'NOT_FOUND');
  t.equal(codeOf(await link(undefined, id)), 'FORBIDDEN');
  const first = pathIn(await link(dee, id));
  const second = pathIn(await link(dee, id));
  t.equal((await get(first)).status, 404);
  t.equal((await get(second)).status, 200);
  t.equal((await get(second, { method: 'POST' })).status, 405);
  for (const wrong of ['/exports/', '/exports/x', `/exports/${'0'.repeat(64)}`, '/exports/..%2f..%2fetc', "/exports/'"])
    t.equal((await get(wrong)).status, 404, wrong);
  await sql("update accounts.export_links set expires_at = now() - interval '1 second' where export_id = $1", [id]);
  t.equal((await get(second)).status, 404, 'an hour later');
});

t.test('one is made at a time, three a day, and none for an operator who acts as a user', async (t) => {
  const fin = await person('fin');
  t.equal(codeOf(await request()), 'FORBIDDEN');
  await sql("select jobs.pause('export_account')");
  const answers = await Promise.all([request(fin), request(fin)]);
  t.strictSame(answers.map(codeOf).sort(), ['CONFLICT', undefined].sort(), 'two at once');
  await sql("select jobs.resume('export_account')");
  await ended(answers.find((answer) => !answer.errors)?.data.requestExport.export.runId);
  await exported(fin);
  await exported(fin);
  t.equal(codeOf(await request(fin)), 'TOO_MANY_REQUESTS');
  const boss = await person('boss', { operator: true });
  const { accessToken } = (
    await act(boss, 'impersonate', { userId: fin.id, reason: 'a ticket' }, 'sessionTokens { accessToken }')
  ).data.impersonate.sessionTokens;
  t.equal(codeOf(await request({ ...fin, token: accessToken })), 'FORBIDDEN');
});

t.test('files go when they have expired, and with the account', async (t) => {
  const [gus, hal] = [await person('gus'), await person('hal')];
  const [late, gone] = [await exported(gus), await exported(hal)];
  const open = pathIn(await link(hal, gone));
  await sql("update accounts.exports set expires_at = now() - interval '1 second' where id = $1", [late]);
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, hal.token)).errors);
  t.equal((await get(open)).status, 404, 'at once');
  const before = await stored();
  const [{ id: run }] = (await sql("select (jobs.enqueue('prune_exports')).id")) as [{ id: string }];
  t.strictSame((await ended(run)).result, { removed: 2 });
  const after = await stored();
  t.equal(before.length - after.length, 2);
  t.notOk(after.some((name) => name.startsWith(late) || name.startsWith(gone)));
  t.equal((await owner.query('select from accounts.exports where id = $1', [late])).rowCount, 0);
});

t.test('downloads are counted as requests are, whether the link is good or guessed', async (t) => {
  const ivy = await person('ivy');
  const good = pathIn(await link(ivy, await exported(ivy)));
  await owner.query(
    "insert into access.rate_limits (subject, covers, count, per) values ('address', 'request', 5, '1 hour')\n    on conflict (subject, covers) do update set count = 5, per = '1 hour'",
  );
  let last: Response | undefined;
  for (let tries = 0; tries < 400 && last?.status !== 429; tries += 1) {
    last = await get(tries % 2 === 0 ? good : `/exports/${'0'.repeat(64)}`);
    await last.arrayBuffer();
  }
  t.equal(last?.status, 429);
  t.ok(Number(last?.headers.get('retry-after')) > 0);
  t.match((await (await get(good)).json()) as Answer, { errors: [{ extensions: { code: 'TOO_MANY_REQUESTS' } }] });
});
