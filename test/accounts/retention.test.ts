import { randomUUID } from 'node:crypto';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act, direct, join, room, say, sayEarlier, texts } = actsIn(world);
const boss = await person('boss', { operator: true });
const keepFor = (by: Person | undefined, channelId: string, days?: number) =>
  act(by, 'setRetention', { channelId, ...(days !== undefined && { days }) }, 'channel { retention { days } }');
const hold = (by: Person | undefined, what: object) =>
  act(by, 'placeHold', { reason: 'a case', ...what }, 'act { kind }');
const release = (what: object) => act(boss, 'releaseHold', { reason: 'closed', ...what }, 'act { kind }');
const expire = async (most = 20_000): Promise<number> =>
  Number((await owner.query('select accounts.expire_messages($1) as removed', [most])).rows[0].removed);
const remove = (by: Person, id: string) => act(by, 'deleteMessage', { id }, 'message { id }');

t.test('messages of a room go after its days: from history, from search, and from what is unread', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const place = await room(ann);
  await join(bob, place);
  await owner.query('update chat.members set joined_seq = 0 where user_id = $1', [bob.id]);
  for (const [days, text] of [
    [40, 'walrus forty'],
    [31, 'walrus thirty-one'],
    [5, 'walrus five'],
  ] as const)
    await sayEarlier(place, ann, days, text);
  await say(ann, place, 'walrus today');
  const unread = async () =>
    (await ask('query ($id: UUID!) { channel(id: $id) { unread } }', { id: place }, bob.token)).data.channel.unread;
  const found = async () =>
    (await ask('{ searchMessages(query: "walrus") { totalCount } }', {}, bob.token)).data.searchMessages.totalCount;
  t.equal(await unread(), 4);
  t.equal(await found(), 4);
  t.equal(await expire(), 0, 'without a rule all is kept');

  t.strictSame((await keepFor(ann, place, 30)).data.setRetention.channel.retention, { days: 30 });
  t.equal(await expire(), 2);
  t.strictSame(await texts(bob, place), ['walrus five', 'walrus today']);
  t.equal(await found(), 2);
  t.equal(await unread(), 2);
  t.equal(await expire(), 0, 'once');
  t.equal((await keepFor(ann, place)).data.setRetention.channel.retention, null, 'for ever again');
  const { rows } = await owner.query(
    `select type, data ->> 'upto_seq' as upto from events.log where topic = 'channel:' || $1 and type ~ 'expired|retention' order by seq`,
    [place],
  );
  t.strictSame(
    rows.map(({ type }) => type),
    ['retention_changed', 'messages_expired', 'retention_changed'],
  );
  t.equal(rows[1].upto, '2');
});

t.test('only owners and admins of a room set it, within bounds', async (t) => {
  const [cal, dee, eve] = [await person('cal'), await person('dee'), await person('eve')];
  const place = await room(cal, 'private', false);
  await act(cal, 'addMember', { channelId: place, userId: dee.id }, 'member { role }');
  t.equal(codeOf(await keepFor(undefined, place, 30)), 'FORBIDDEN');
  t.equal(codeOf(await keepFor(dee, place, 30)), 'FORBIDDEN');
  t.equal(codeOf(await keepFor(eve, place, 30)), 'NOT_FOUND', 'who may not know of it');
  for (const days of [0, -1, 3651, 2_147_483_647])
    t.equal(codeOf(await keepFor(cal, place, days)), 'BAD_USER_INPUT', String(days));
  t.equal(codeOf(await keepFor(cal, await direct(cal, dee.id), 30)), 'CONFLICT', 'not of a direct chat');
  t.equal(codeOf(await keepFor(cal, randomUUID(), 30)), 'NOT_FOUND');
  const answers = await Promise.all([keepFor(cal, place, 10), keepFor(cal, place, 20)]);
  t.strictSame(answers.map(codeOf), [undefined, undefined], 'two at once');
  const seen = await ask('{ retentions { nodes { days } } }', {}, eve.token);
  t.strictSame(seen.data.retentions.nodes, [], 'seen by who may read the room');
});

t.test('they go in batches, and no room keeps another waiting', async (t) => {
  const fin = await person('fin');
  const places = [await room(fin, 'one'), await room(fin, 'two')];
  for (const place of places) {
    for (const text of ['a', 'b', 'c']) await sayEarlier(place, fin, 100, text);
    await keepFor(fin, place, 30);
  }
  await owner.query("update accounts.retentions set expired_at = now() - interval '1 hour'");
  await owner.query('update accounts.retentions set expired_at = null where channel_id = any ($1)', [places]);
  t.equal(await expire(2), 2);
  t.equal(await expire(2), 2);
  const left = await Promise.all(places.map((place) => texts(fin, place)));
  t.strictSame(left, [['c'], ['c']], 'the oldest of each first');
  t.equal(await expire(), 2);
});

t.test('nothing of a held room is removed, whoever asks', async (t) => {
  const gus = await person('gus');
  const place = await room(gus);
  await sayEarlier(place, gus, 100, 'old');
  const id = await say(gus, place, 'new');
  await keepFor(gus, place, 30);
  t.equal((await hold(boss, { channelId: place })).data.placeHold.act.kind, 'HELD');
  t.equal(await expire(), 0, 'not by upkeep');
  t.equal(codeOf(await remove(gus, id)), 'CONFLICT', 'not by who wrote it');
  for (const statement of [
    'delete from chat.messages where channel_id = $1',
    'update chat.messages set text = null, deleted_at = now() where channel_id = $1',
    'delete from chat.channels where id = $1',
  ])
    await t.rejects(owner.query(statement, [place]), { code: 'PT409' }, 'not by who has the database');
  t.strictSame(await texts(gus, place), ['old', 'new']);
  t.notOk((await release({ channelId: place })).errors);
  t.equal(await expire(), 1);
  t.notOk((await remove(gus, id)).errors);
});

t.test('nothing of a held user is removed: their messages, their account, their direct chats', async (t) => {
  const [hal, ida] = [await person('hal'), await person('ida')];
  const [place, chat] = [await room(hal), await direct(hal, ida.id)];
  await join(ida, place);
  await sayEarlier(place, hal, 100, 'of hal');
  await sayEarlier(place, ida, 100, 'of ida');
  const [toHal, inRoom] = [await say(ida, chat, 'to hal'), await say(hal, place, 'now')];
  await keepFor(hal, place, 30);
  t.notOk((await hold(boss, { userId: hal.id })).errors);
  t.equal(codeOf(await remove(hal, inRoom)), 'CONFLICT');
  t.equal(codeOf(await remove(ida, toHal)), 'CONFLICT', 'what others wrote to them');
  t.equal(codeOf(await ask('mutation { removeAccount { ok } }', {}, hal.token)), 'CONFLICT');
  t.equal((await ask('{ me { username } }', {}, hal.token)).data.me.username, 'hal', 'their session goes on');
  t.equal(await expire(), 1, 'others’ messages in a room go');
  t.strictSame(await texts(ida, place), ['of hal', 'now']);
  t.notOk((await release({ userId: hal.id })).errors);
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, hal.token)).errors);
});

t.test('holds are for operators, once at a time, and logged', async (t) => {
  const jon = await person('jon');
  t.equal(codeOf(await hold(jon, { userId: jon.id })), 'FORBIDDEN');
  t.equal(codeOf(await hold(undefined, { userId: jon.id })), 'FORBIDDEN');
  t.equal(codeOf(await hold(boss, {})), 'BAD_USER_INPUT');
  t.equal(codeOf(await hold(boss, { userId: jon.id, channelId: randomUUID() })), 'BAD_USER_INPUT');
  t.equal(codeOf(await hold(boss, { userId: randomUUID() })), 'NOT_FOUND');
  t.equal(codeOf(await hold(boss, { channelId: randomUUID() })), 'NOT_FOUND');
  t.equal(codeOf(await hold(boss, { userId: jon.id, reason: '' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await release({ userId: jon.id })), 'CONFLICT');
  const answers = await Promise.all([hold(boss, { userId: jon.id }), hold(boss, { userId: jon.id })]);
  t.strictSame(answers.map(codeOf).sort(), ['CONFLICT', undefined].sort());
  const mine = await ask('{ acts { nodes { kind } } }', {}, jon.token);
  t.strictSame(mine.data.acts.nodes, [], 'who is held does not see it in the log');
  t.equal(codeOf(await ask('{ legalHolds { nodes { id } } }', {}, jon.token)), 'FORBIDDEN');
  const { data } = await ask('{ legalHolds { nodes { reason user { username } } } }', {}, boss.token);
  t.strictSame(data.legalHolds.nodes, [{ reason: 'a case', user: { username: 'jon' } }]);
  t.notOk((await release({ userId: jon.id })).errors);
});

t.test('a hold that is placed while a message is being deleted waits for it, or keeps it', async (t) => {
  const kim = await person('kim');
  const place = await room(kim);
  const ids = [await say(kim, place, '1'), await say(kim, place, '2'), await say(kim, place, '3')];
  const [held, ...removed] = await Promise.all([hold(boss, { channelId: place }), ...ids.map((id) => remove(kim, id))]);
  t.notOk(held.errors);
  const left = (await texts(kim, place)).filter((text) => text !== null).length;
  t.equal(left, removed.filter((answer) => codeOf(answer) === 'CONFLICT').length, 'what was refused is there');
});
