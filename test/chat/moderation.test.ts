import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';
import { codeOf, openActs, ranks } from './room-acts.ts';

const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, room, bring, people, membersOf, ranked, logOf } = openActs(world);

t.test('C3 who mutes, removes and bans whom, for every pair of ranks', async (t) => {
  const { channelId, ...by } = await ranked('order');
  const [target] = await people('target');
  for (const [index, rank] of ranks.entries())
    for (const [place, other] of ranks.entries()) {
      for (const mutation of ['muteMember', 'removeMember', 'banFromRoom']) {
        await owner.query('delete from chat.room_bans');
        await bring(by.owner, channelId, target);
        await owner.query('update chat.members set role = $3 where channel_id = $1 and user_id = $2', [
          channelId,
          target.id,
          other,
        ]);
        const answer = await act(by[rank], mutation, { channelId, userId: target.id });
        const may = index <= 2 && index < place;
        t.equal(codeOf(answer), may ? undefined : 'FORBIDDEN', `${mutation}: ${rank} of ${other}`);
      }
      await owner.query('delete from chat.room_mutes');
    }
  t.equal(
    codeOf(await act(by.moderator, 'banFromRoom', { channelId, userId: by.moderator.id })),
    'FORBIDDEN',
    'oneself',
  );
});

t.test('C3 who is muted reads and does not write, until it ends by itself or is lifted', async (t) => {
  const { channelId, moderator, member } = await ranked('mutes');
  const say = (nonce?: string) => act(member, 'sendMessage', { channelId, text: 'hello', ...(nonce && { nonce }) });
  const first = await done(member, 'sendMessage', { channelId, text: 'hello', nonce: 'first' });
  await done(moderator, 'muteMember', { channelId, userId: member.id, seconds: 600, reason: 'too loud' });
  const refused = await say();
  t.equal(codeOf(refused), 'FORBIDDEN');
  t.match(refused.errors?.[0]?.extensions?.hint, /^Until \d{4}-\d\d-\d\dT[^"]*\.$/);
  t.equal(codeOf(await act(member, 'editMessage', { id: first.id, text: 'hello!' })), 'FORBIDDEN', 'nor by an edit');
  t.equal((await say('first')).data.sendMessage.message.id, first.id, 'a copy of what was sent before stays that');
  t.notOk((await ask('{ myChannels { nodes { messages { totalCount } } } }', {}, member.token)).errors);
  await act(member, 'leaveChannel', { channelId });
  await bring(moderator, channelId).then(() => done(moderator, 'inviteToRoom', { channelId, userId: member.id }));
  await done(member, 'joinRoom', { channelId });

  t.equal(codeOf(await say()), 'FORBIDDEN', 'nor by coming back');
  const { rows } = await owner.query(
    "update chat.room_mutes set ends_at = clock_timestamp() + interval '1 second' where user_id = $1 returning ends_at",
    [member.id],
  );
  let answer: Answer = await say();
  while (codeOf(answer) === 'FORBIDDEN') {
    await wait(100);
    answer = await say();
  }
  t.ok(new Date(answer.data.sendMessage.message.sentAt) >= rows[0].ends_at, 'it ends at its time');

  await done(moderator, 'muteMember', { channelId, userId: member.id });
  t.equal(codeOf(await say()), 'FORBIDDEN', 'without an end');
  t.notOk((await act(moderator, 'unmuteMember', { channelId, userId: member.id })).errors);
  t.equal(codeOf(await act(moderator, 'unmuteMember', { channelId, userId: member.id })), 'NOT_FOUND');
  t.notOk((await say()).errors, 'lifted');
  for (const seconds of [0, -1, 31_536_001])
    t.equal(codeOf(await act(moderator, 'muteMember', { channelId, userId: member.id, seconds })), 'BAD_USER_INPUT');
  const long = await act(moderator, 'muteMember', { channelId, userId: member.id, reason: 'x'.repeat(501) });
  t.equal(codeOf(long), 'BAD_USER_INPUT');
});

t.test('C3 who is banned comes in no way, and after it is lifted like anyone', async (t) => {
  const { channelId, owner: ann, moderator, member: bad } = await ranked('bans');
  await done(ann, 'setRoomPassword', { channelId, password: 'open sesame' });
  const { token } = (await done(ann, 'createRoomLink', { channelId })) as unknown as { token: string };
  const own = (await done(bad, 'createRoomLink', { channelId })) as unknown as { token: string };
  t.notOk((await act(moderator, 'banFromRoom', { channelId, userId: bad.id, reason: 'spam' })).errors);
  const ways = async () =>
    (
      await Promise.all([
        act(bad, 'joinRoom', { channelId }),
        act(bad, 'joinRoom', { channelId, password: 'open sesame' }),
        act(bad, 'joinByLink', { token }),
        act(bad, 'joinByLink', { token: own.token }),
        act(bad, 'requestToJoin', { channelId }),
        act(ann, 'addMember', { channelId, userId: bad.id }),
        act(ann, 'inviteToRoom', { channelId, userId: bad.id }),
        act(bad, 'sendMessage', { channelId, text: 'spam' }),
      ])
    ).map(codeOf);
  t.strictSame(await ways(), [
    'NOT_FOUND',
    'FORBIDDEN',
    'FORBIDDEN',
    'NOT_FOUND',
    'NOT_FOUND',
    'FORBIDDEN',
    'CONFLICT',
    'NOT_FOUND',
  ]);
  await done(ann, 'setRoomPassword', { channelId });
  await done(ann, 'updateRoom', { channelId, isPublic: true });
  t.equal(codeOf(await act(bad, 'joinRoom', { channelId })), 'FORBIDDEN', 'nor where it is public');
  await done(ann, 'updateRoom', { channelId, requiresApproval: true });
  t.equal(codeOf(await act(bad, 'requestToJoin', { channelId })), 'FORBIDDEN', 'nor by asking');
  t.equal(codeOf(await act(bad, 'joinRoom', { channelId })), 'FORBIDDEN');
  await done(ann, 'updateRoom', { channelId, requiresApproval: false });
  const told = await ask('{ me { roomBans { nodes { reason endsAt } } } }', {}, bad.token);
  t.strictSame(told.data.me.roomBans.nodes, [{ reason: 'spam', endsAt: null }], 'they are told why');
  t.equal(codeOf(await act(ann, 'unbanFromRoom', { channelId, userId: ann.id })), 'NOT_FOUND');
  t.notOk((await act(moderator, 'unbanFromRoom', { channelId, userId: bad.id })).errors);
  t.notOk((await act(bad, 'joinRoom', { channelId })).errors);

  const [stranger] = await people('stranger');
  t.notOk(
    (await act(moderator, 'banFromRoom', { channelId, userId: stranger.id, seconds: 3600 })).errors,
    'beforehand',
  );
  t.equal(codeOf(await act(stranger, 'joinRoom', { channelId })), 'FORBIDDEN');
  await owner.query("update chat.room_bans set ends_at = now() - interval '1 second'");
  t.notOk((await act(stranger, 'joinRoom', { channelId })).errors, 'until it ends');
});

t.test('C3 a ban and a join at the same moment: nobody who is banned is in', async (t) => {
  const [ann] = await people('gatekeeper');
  const channelId = await room(ann, { isPublic: true });
  const crowd = await people(...Array.from({ length: 12 }, (_, n) => `runner${n}`));
  const answers = await Promise.all(
    crowd.flatMap((each) => [
      act(each, 'joinRoom', { channelId }),
      act(ann, 'banFromRoom', { channelId, userId: each.id }),
      act(each, 'joinRoom', { channelId }),
    ]),
  );
  t.strictSame([...new Set(answers.map(codeOf))].sort(), ['FORBIDDEN', undefined]);
  t.strictSame(await membersOf(channelId), ['gatekeeper owner']);
});

t.test(
  'C2 slow mode: of ten messages at once one is taken; moderators do not wait; a copy is no message',
  async (t) => {
    const { channelId, moderator, member, other, admin } = await ranked('slow');
    await done(admin, 'updateRoom', { channelId, slowModeSeconds: 600 });
    const ten = (by: Person) =>
      Promise.all(
        Array.from({ length: 10 }, (_, n) => act(by, 'sendMessage', { channelId, text: `${n}`, nonce: `n${n}` })),
      );
    const [slow, free, neighbour] = await Promise.all([ten(member), ten(moderator), ten(other)]);
    const taken = slow.filter(({ errors }) => !errors);
    t.equal(taken.length, 1);
    t.equal(slow.map(codeOf).filter((code) => code === 'TOO_MANY_REQUESTS').length, 9);
    t.equal(neighbour.filter(({ errors }) => !errors).length, 1, 'each waits for themselves');
    t.equal(free.filter(({ errors }) => !errors).length, 10);
    const refused = slow.find(({ errors }) => errors)?.errors?.[0];
    t.match(refused?.message, 'one message every 600 seconds');
    t.match(refused?.extensions?.hint, /^Write again in (600|5\d\d) seconds\.$/);
    const nonce = `n${slow.findIndex(({ errors }) => !errors)}`;
    const again = await act(member, 'sendMessage', { channelId, text: 'again', nonce });
    t.equal(again.data.sendMessage.message.id, taken[0]?.data.sendMessage.message.id, 'the first message again');
    const bad = await act(other, 'sendMessage', { channelId, text: '' });
    t.equal(codeOf(bad), 'BAD_USER_INPUT', 'what is no message takes no turn');
    await done(other, 'leaveChannel', { channelId });
    await bring(admin, channelId, other);
    t.equal(codeOf(await act(other, 'sendMessage', { channelId, text: 'me again' })), 'TOO_MANY_REQUESTS');
    await owner.query("update chat.slow_turns set spoke_at = spoke_at - interval '600 seconds'");
    t.notOk((await act(member, 'sendMessage', { channelId, text: 'in time' })).errors);
  },
);

t.test('C3 the log: who did what, for moderators and operators; nobody changes or removes it', async (t) => {
  const { channelId, owner: ann, moderator, member, other } = await ranked('log');
  const { id } = await done(other, 'sendMessage', { channelId, text: 'rude' });
  const mine = await done(other, 'sendMessage', { channelId, text: 'mine' });
  await done(other, 'deleteMessage', { id: mine.id });
  await done(moderator, 'deleteMessage', { id, reason: 'rude' });
  await done(moderator, 'muteMember', { channelId, userId: other.id, seconds: 60, reason: 'cool down' });
  await done(moderator, 'banFromRoom', { channelId, userId: other.id });
  t.notOk((await act(member, 'muteMember', { channelId, userId: moderator.id })).data?.muteMember);
  const told = [
    'log-owner MEMBER_ADDED log-admin',
    'log-owner MEMBER_ADDED log-moderator',
    'log-owner MEMBER_ADDED log-member',
    'log-owner MEMBER_ADDED log-other',
    'log-owner ROLE_CHANGED log-admin',
    'log-owner ROLE_CHANGED log-moderator',
    'log-moderator MESSAGE_DELETED log-other rude',
    'log-moderator MUTED log-other cool down',
    'log-moderator BANNED log-other',
  ];
  t.strictSame(await logOf(channelId, moderator), told, 'neither what was refused, nor what one does with one’s own');
  t.strictSame(await logOf(channelId, ann), told);
  t.strictSame(await logOf(channelId, await world.person('auditor', { operator: true })), told, 'an operator');
  for (const by of [member, other, await world.person('nosy')])
    t.strictSame(await logOf(channelId, by), [], 'nobody else');
  t.notOk(JSON.stringify((await owner.query('select * from chat.moderation_entries')).rows).includes('"text"'));

  for (const statement of [
    "update chat.moderation_entries set reason = 'none'",
    'delete from chat.moderation_entries',
    'truncate chat.moderation_entries',
  ])
    await t.rejects(owner.query(statement), { message: /Nobody changes or removes/ }, 'not even who owns the table');
  await t.rejects(owner.query('delete from chat.channels where id = $1', [channelId]), { code: '23503' });
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, moderator.token)).errors);
  t.equal((await logOf(channelId, ann)).length, told.length, 'nor is it gone with who did it');
});

t.test('C13 what is done to someone is told: to the room, and to them with the reason', async (t) => {
  const { channelId, moderator, member } = await ranked('told');
  await done(moderator, 'muteMember', { channelId, userId: member.id, seconds: 60, reason: 'noise' });
  await done(moderator, 'unmuteMember', { channelId, userId: member.id });
  await done(moderator, 'banFromRoom', { channelId, userId: member.id, reason: 'noise' });
  await done(moderator, 'unbanFromRoom', { channelId, userId: member.id });
  const typesOf = async (topic: string) =>
    (
      await owner.query(
        "select type || coalesce(' ' || (data ->> 'reason'), '') as type from events.log where topic = $1 order by seq desc limit 5",
        [topic],
      )
    ).rows
      .map(({ type }) => type)
      .reverse();
  t.strictSame(await typesOf(`channel:${channelId}`), [
    'member_muted',
    'member_unmuted',
    'member_left',
    'member_banned',
    'member_unbanned',
  ]);
  t.strictSame(await typesOf(`user:${member.id}`), [
    'membership_muted noise',
    'membership_unmuted',
    'membership_left',
    'membership_banned noise',
    'membership_unbanned',
  ]);
});
