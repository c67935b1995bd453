import { randomUUID } from 'node:crypto';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act, direct, join, room, say, texts } = actsIn(world);
const boss = await person('boss', { operator: true });
const merge = (by: Person | undefined, fromId: string, intoId: string, reason = 'one person') =>
  act(by, 'mergeAccounts', { fromId, intoId, reason }, 'user { username }');
const unreadIn = async (by: Person, id: string): Promise<number> =>
  (await ask('query ($id: UUID!) { channel(id: $id) { unread } }', { id }, by.token)).data.channel.unread;

t.test('two accounts become one: messages, memberships and direct chats, nothing lost and nothing twice', async (t) => {
  const [old, kept, eve, fay] = [await person('old'), await person('kept'), await person('eve'), await person('fay')];
  const [both, single] = [await room(old, 'both'), await room(old, 'single')];
  await join(kept, both);
  await say(old, both, 'as the old');
  await say(kept, both, 'as the kept');
  await say(old, single, 'alone');
  const [oldDirect, keptDirect] = [await direct(old, eve.id), await direct(kept, eve.id)];
  await say(old, oldDirect, '1');
  await say(kept, keptDirect, '2');
  await say(eve, oldDirect, '3');
  await say(eve, keptDirect, '4');
  const gone = await say(old, oldDirect, 'deleted');
  await act(old, 'deleteMessage', { id: gone }, 'message { id }');
  await say(old, oldDirect, '5');
  const moved = await direct(old, fay.id);
  await say(fay, moved, 'to the old one');
  const between = await direct(old, kept.id);
  await say(old, between, 'to myself');
  await owner.query("update identity.accounts set phone = '+77010000001' where user_id = $1", [old.id]);
  t.equal(await unreadIn(eve, oldDirect), 1, 'eve has 5 to read there');

  t.equal((await merge(boss, old.id, kept.id)).data.mergeAccounts.user.username, 'kept');
  t.strictSame(await texts(kept, both), ['as the old', 'as the kept']);
  t.strictSame(await texts(kept, single), ['alone']);
  const { rows: members } = await owner.query(
    'select channel_id, role::text as role from chat.members where user_id = any ($1) and channel_id = any ($2) order by 1',
    [
      [old.id, kept.id],
      [both, single],
    ],
  );
  t.strictSame(
    members.map(({ role }) => role),
    ['owner', 'owner'],
    'once in each, with the higher role',
  );
  t.strictSame(
    await texts(kept, keptDirect),
    ['1', '2', '3', '4', null, '5'],
    'two chats are one, in the order of time',
  );
  const { rows } = await owner.query(
    `select array_agg(seq::integer order by id) as seqs, bool_and(sender_id = any ($2)) as named,
      (select last_seq::integer from chat.channels where id = $1) as last,
      (select count(*)::integer from chat.channels where id = $3) as others
    from chat.messages where channel_id = $1`,
    [keptDirect, [kept.id, eve.id], oldDirect],
  );
  t.strictSame(rows, [{ seqs: [1, 2, 3, 4, 5, 6], named: true, last: 6, others: 0 }]);
  t.equal(await unreadIn(eve, keptDirect), 1, 'what was unread is, and what was deleted is not');
  t.strictSame(await texts(kept, moved), ['to the old one']);
  t.equal(await direct(fay, kept.id), moved, 'the chat with fay is kept’s now');
  t.strictSame(await texts(kept, between), ['to myself'], 'what they said to each other stays to be read');
  t.equal(codeOf(await act(kept, 'sendMessage', { channelId: between, text: 'x' }, 'message { id }')), 'CONFLICT');
  t.equal(codeOf(await ask('{ me { username } }', {}, old.token)), 'UNAUTHENTICATED');
  const account = await owner.query(
    `select (select phone from identity.accounts where user_id = $1) as phone,
      (select count(*)::integer from identity.accounts where user_id = $2) as old,
      (select removed_at is not null from identity.users where id = $2) as removed,
      (select data ->> 'from_username' from accounts.acts where user_id = $1) as named`,
    [kept.id, old.id],
  );
  t.strictSame(account.rows, [{ phone: '+77010000001', old: 0, removed: true, named: 'old' }]);
  await say(kept, keptDirect, '6');
  t.equal((await texts(eve, keptDirect)).at(-1), '6', 'and it goes on');
});

t.test('what was sent twice by one nonce stays once', async (t) => {
  const [one, two] = [await person('one'), await person('two')];
  const place = await room(one);
  await join(two, place);
  for (const { token } of [one, two])
    await ask(
      'mutation ($id: UUID!) { sendMessage(input: { channelId: $id, text: "hi", nonce: "same" }) { message { id } } }',
      { id: place },
      token,
    );
  t.notOk((await merge(boss, one.id, two.id)).errors);
  const { rowCount } = await owner.query('select from chat.nonces where sender_id = $1', [two.id]);
  t.equal(rowCount, 1);
});

t.test('a merge that may not be is refused, and changes nothing', async (t) => {
  const [gil, hal] = [await person('gil'), await person('hal')];
  t.equal(codeOf(await merge(undefined, gil.id, hal.id)), 'FORBIDDEN');
  t.equal(codeOf(await merge(gil, gil.id, hal.id)), 'FORBIDDEN');
  t.equal(codeOf(await merge(boss, gil.id, gil.id)), 'BAD_USER_INPUT');
  t.equal(codeOf(await merge(boss, gil.id, randomUUID())), 'NOT_FOUND');
  t.equal(codeOf(await merge(boss, boss.id, hal.id)), 'FORBIDDEN', 'an operator’s');
  t.equal(codeOf(await merge(boss, gil.id, hal.id, ' ')), 'BAD_USER_INPUT', 'without a reason');
  t.notOk((await act(boss, 'placeHold', { userId: gil.id, reason: 'a case' }, 'act { id }')).errors);
  t.equal(codeOf(await merge(boss, gil.id, hal.id)), 'CONFLICT', 'under a legal hold');
  for (const { token } of [gil, hal]) t.notOk((await ask('{ me { id } }', {}, token)).errors);
});

t.test('who is merged while they write loses nothing, and writes no more after it', async (t) => {
  const [lee, mia] = [await person('lee'), await person('mia')];
  const place = await room(lee);
  await join(mia, place);
  const sent = Array.from({ length: 20 }, (_, n) =>
    act(n % 2 ? lee : mia, 'sendMessage', { channelId: place, text: `${n}` }, 'message { id seq }'),
  );
  const [merged, ...answers] = await Promise.all([merge(boss, lee.id, mia.id), ...sent]);
  t.notOk(merged.errors);
  const went = answers.filter((answer) => !answer.errors).length;
  t.ok(answers.every((answer) => [undefined, 'UNAUTHENTICATED', 'FORBIDDEN', 'NOT_FOUND'].includes(codeOf(answer))));
  const { rows } = await owner.query(
    `select count(*)::integer as kept, count(distinct seq)::integer as seqs, bool_and(sender_id = $2) as named
    from chat.messages where channel_id = $1`,
    [place, mia.id],
  );
  t.strictSame(rows, [{ kept: went, seqs: went, named: true }]);
});

t.test('two merges at the same moment, crosswise or of one account, end with one winner', async (t) => {
  const [ida, jon, kim] = [await person('ida'), await person('jon'), await person('kim')];
  const place = await room(ida);
  for (const each of [jon, kim]) await join(each, place);
  for (const each of [ida, jon, kim]) await say(each, place, each.username);
  const answers = await Promise.all([
    merge(boss, ida.id, jon.id),
    merge(boss, jon.id, ida.id),
    merge(boss, ida.id, kim.id),
  ]);
  const codes = answers.map(codeOf);
  t.equal(codes.filter((code) => code === undefined).length >= 1, true, codes.join());
  t.ok(
    codes.every((code) => code === undefined || ['NOT_FOUND', 'RETRY'].includes(code)),
    codes.join(),
  );
  const { rows } = await owner.query(
    `select count(*)::integer as lost from chat.messages as message join identity.users as sender on sender.id = message.sender_id
    where message.channel_id = $1 and sender.removed_at is not null`,
    [place],
  );
  t.equal(rows[0].lost, 0, 'no message is left with an account that is gone');
});
