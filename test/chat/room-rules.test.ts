import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openActs, ranks } from './room-acts.ts';

const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, room, bring, people, membersOf, ranked, logOf } = openActs(world);

t.test('C3 who gives which role to whom, for every pair of ranks', async (t) => {
  const ann = await ranked('roles');
  for (const [index, by] of ranks.entries())
    for (const [rank, role] of ranks.entries()) {
      const answer = await act(ann[by], 'changeMemberRole', {
        channelId: ann.channelId,
        userId: ann.other.id,
        role: role.toUpperCase(),
      });
      const may = index <= 1 && index < rank;
      const expected = may ? undefined : index <= 1 && rank === 0 ? 'BAD_USER_INPUT' : 'FORBIDDEN';
      t.equal(codeOf(answer), expected, `${by} makes someone ${role}`);
      await owner.query("update chat.members set role = 'member' where channel_id = $1 and user_id = $2", [
        ann.channelId,
        ann.other.id,
      ]);
    }
  t.equal(
    codeOf(
      await act(ann.admin, 'changeMemberRole', { channelId: ann.channelId, userId: ann.owner.id, role: 'MEMBER' }),
    ),
    'FORBIDDEN',
    'nobody unseats the owner',
  );
});

t.test('C3 an owner hands the room over, once, and operators hand over any', async (t) => {
  const { channelId, owner: ann, admin, member, other } = await ranked('heirloom');
  t.equal(codeOf(await act(admin, 'handOverRoom', { channelId, userId: admin.id })), 'FORBIDDEN');
  const [outsider, operator] = [await world.person('outside'), await world.person('root', { operator: true })];
  t.equal(codeOf(await act(ann, 'handOverRoom', { channelId, userId: outsider.id })), 'NOT_FOUND');
  const answers = await Promise.all(
    [member, other].map(({ id }) => act(ann, 'handOverRoom', { channelId, userId: id })),
  );
  t.strictSame(answers.map(codeOf).sort(), ['FORBIDDEN', undefined], 'to one of two at once');
  const members = await membersOf(channelId);
  t.equal(members.filter((each) => each.endsWith(' owner')).length, 1);
  t.ok(members.includes('heirloom-owner admin'));
  t.notOk((await act(operator, 'handOverRoom', { channelId, userId: admin.id })).errors, 'an operator');
  t.match((await membersOf(channelId))[0], 'heirloom-admin owner');
  t.equal((await logOf(channelId, operator)).at(-1), 'root OWNER_CHANGED heirloom-admin');
});

t.test('C2 settings: who changes them, what they may be, and what is told', async (t) => {
  const { channelId, ...by } = await ranked('settings');
  for (const [index, rank] of ranks.entries())
    t.equal(
      codeOf(await act(by[rank], 'updateRoom', { channelId, name: `by ${rank}` })),
      index <= 1 ? undefined : 'FORBIDDEN',
      rank,
    );
  const answer = await act(by.admin, 'updateRoom', {
    channelId,
    name: ' office ',
    description: 'work',
    maxMembers: 20,
    slowModeSeconds: 5,
    lowestWriter: 'MODERATOR',
  });
  t.strictSame(answer.data.updateRoom.channel, {
    name: 'office',
    description: 'work',
    isPublic: false,
    room: { maxMembers: 20, requiresApproval: false, lowestWriter: 'MODERATOR', slowModeSeconds: 5 },
  });
  for (const wrong of [
    { maxMembers: 0 },
    { maxMembers: 100_001 },
    { slowModeSeconds: -1 },
    { slowModeSeconds: 21_601 },
    { name: '' },
    { name: 'x'.repeat(101) },
  ])
    t.equal(
      codeOf(await act(by.admin, 'updateRoom', { channelId, ...wrong })),
      'BAD_USER_INPUT',
      JSON.stringify(wrong),
    );
  const { rows } = await owner.query(
    "select data - 'channel_id' as data from events.log where topic = $1 and type = 'room_changed'",
    [`channel:${channelId}`],
  );
  t.strictSame(rows, [{ data: { max_members: 20, lowest_writer: 'moderator', slow_mode_seconds: 5 } }]);
  t.equal(codeOf(await act(by.member, 'sendMessage', { channelId, text: 'hello' })), 'FORBIDDEN', 'announcements');
  t.notOk((await act(by.moderator, 'sendMessage', { channelId, text: 'hello' })).errors);
});

t.test('C2 an archived room is read, and neither written in nor entered; it is reopened', async (t) => {
  const { channelId, member, admin, other } = await ranked('archive', { isPublic: true });
  const [late] = await people('late');
  const { token } = (await done(admin, 'createRoomLink', { channelId })) as unknown as { token: string };
  await done(admin, 'inviteToRoom', { channelId, userId: late.id });
  await done(member, 'sendMessage', { channelId, text: 'before' });
  t.equal(codeOf(await act(member, 'archiveRoom', { channelId })), 'FORBIDDEN');
  t.ok((await done(admin, 'archiveRoom', { channelId })).closedAt);
  t.equal(codeOf(await act(member, 'sendMessage', { channelId, text: 'after' })), 'CONFLICT');
  t.equal(codeOf(await act(late, 'joinRoom', { channelId })), 'CONFLICT');
  t.equal(codeOf(await act(late, 'joinByLink', { token })), 'CONFLICT');
  t.equal(codeOf(await act(admin, 'addMember', { channelId, userId: late.id })), 'CONFLICT');
  t.equal(codeOf(await act(admin, 'createRoomLink', { channelId })), 'CONFLICT');
  t.notOk((await act(other, 'leaveChannel', { channelId })).errors, 'but left');
  t.equal(
    (await ask('{ searchMessages(query: "before") { totalCount } }', {}, member.token)).data.searchMessages.totalCount,
    1,
  );
  t.equal((await done(admin, 'reopenRoom', { channelId })).closedAt, null);
  t.notOk((await act(late, 'joinRoom', { channelId })).errors);
  t.notOk((await act(late, 'sendMessage', { channelId, text: 'after' })).errors);
});

t.test('C3 own permissions go beyond a role, or below it, and no further than those of who gives them', async (t) => {
  const { channelId, owner: ann, admin, moderator, member, other } = await ranked('rights');
  const give = (by: Person, to: Person, permission: string, isAllowed?: boolean) =>
    act(by, 'setMemberPermission', {
      channelId,
      userId: to.id,
      permission,
      ...(isAllowed !== undefined && { isAllowed }),
    });
  t.equal(codeOf(await give(moderator, member, 'MUTE', true)), 'FORBIDDEN', 'moderators give none');
  t.equal(codeOf(await give(admin, ann, 'WRITE', false)), 'FORBIDDEN', 'nor anyone to who stands above');
  t.equal(codeOf(await give(ann, await world.person('elsewhere'), 'WRITE', false)), 'NOT_FOUND');

  const { id } = await done(other, 'sendMessage', { channelId, text: 'spam' });
  t.equal(codeOf(await act(member, 'deleteMessage', { id })), 'FORBIDDEN');
  t.notOk((await give(admin, member, 'DELETE_MESSAGES', true)).errors);
  t.notOk((await act(member, 'deleteMessage', { id })).errors, 'beyond their role');
  t.notOk((await give(admin, member, 'MUTE', true)).errors);
  t.notOk((await act(member, 'muteMember', { channelId, userId: other.id, seconds: 60 })).errors);
  t.equal(codeOf(await act(member, 'muteMember', { channelId, userId: moderator.id })), 'FORBIDDEN', 'not above them');
  t.equal(codeOf(await act(member, 'muteMember', { channelId, userId: member.id })), 'FORBIDDEN');

  t.notOk((await give(ann, admin, 'BAN', false)).errors);
  t.equal(codeOf(await act(admin, 'banFromRoom', { channelId, userId: member.id })), 'FORBIDDEN', 'below their role');
  t.equal(codeOf(await give(admin, moderator, 'BAN', true)), 'FORBIDDEN', 'nor given on');
  t.notOk((await give(ann, member, 'WRITE', false)).errors);
  t.equal(codeOf(await act(member, 'sendMessage', { channelId, text: 'x' })), 'FORBIDDEN');
  t.notOk((await give(ann, member, 'WRITE')).errors, 'the role decides again');
  t.notOk((await act(member, 'sendMessage', { channelId, text: 'x' })).errors);
  const may = async (by: Person) =>
    (await ask('query ($id: UUID!) { channel(id: $id) { myPermissions } }', { id: channelId }, by.token)).data.channel
      .myPermissions;
  t.strictSame(await may(member), ['WRITE', 'INVITE', 'MUTE', 'DELETE_MESSAGES'], 'which each can ask for');
  t.strictSame(await may(admin), ['WRITE', 'INVITE', 'ADD', 'APPROVE', 'MUTE', 'REMOVE', 'DELETE_MESSAGES', 'MANAGE']);
  const list = 'query ($id: UUID!) { memberPermissions(filter: { channelId: { eq: $id } }) { totalCount } }';
  const count = async (by: Person) =>
    (await ask(list, { id: channelId }, by.token)).data.memberPermissions.totalCount as number;
  t.equal(await count(ann), 3);
  t.equal(await count(other), 0, 'for who moderates, and for oneself');
  t.notOk((await give(ann, member, 'WRITE', false)).errors);
  await done(member, 'leaveChannel', { channelId });
  await bring(ann, channelId, member);
  t.strictSame(await may(member), ['INVITE'], 'who leaves and comes again has not what was given, nor what was taken');
});

t.test('C3 what was taken from a member is not taken from an owner, however they became it', async (t) => {
  const { channelId, owner: ann, admin, moderator } = await ranked('heir');
  await done(ann, 'muteMember', { channelId, userId: admin.id });
  await done(ann, 'setMemberPermission', { channelId, userId: admin.id, permission: 'WRITE', isAllowed: false });
  t.equal(codeOf(await act(admin, 'setTyping', { channelId })), 'FORBIDDEN', 'who is muted does not even type');
  await done(ann, 'leaveChannel', { channelId });
  t.equal((await membersOf(channelId))[0], 'heir-admin owner');
  t.notOk((await act(admin, 'sendMessage', { channelId, text: 'mine now' })).errors);
  t.equal(codeOf(await act(moderator, 'muteMember', { channelId, userId: admin.id })), 'FORBIDDEN');
});

t.test('C16 upkeep removes what is over, and nothing that holds', async (t) => {
  const { channelId, owner: ann, member, other } = await ranked('upkeep');
  const [guest, late] = await people('guest', 'late-guest');
  for (const [index, each] of [member, other].entries()) {
    await done(ann, 'muteMember', { channelId, userId: each.id, seconds: 60 });
    await done(ann, 'inviteToRoom', { channelId, userId: [guest, late][index]?.id });
    await done(ann, 'createRoomLink', { channelId });
  }
  await owner.query(
    "update chat.room_mutes set ends_at = now() - interval '1 minute' where channel_id = $1 and user_id = $2",
    [channelId, member.id],
  );
  await owner.query(
    "update chat.room_invitations set created_at = now() - interval '2 days', expires_at = now() - interval '1 day' where user_id = $1",
    [guest.id],
  );
  await owner.query(
    "update chat.room_links set created_at = now() - interval '99 days', expires_at = now() - interval '31 days' where id = (select min(id::text)::uuid from chat.room_links where channel_id = $1)",
    [channelId],
  );
  const left = async () =>
    (
      await owner.query(
        'select (select count(*)::integer from chat.room_mutes where channel_id = $1) as mutes, (select count(*)::integer from chat.room_invitations where channel_id = $1) as invitations, (select count(*)::integer from chat.room_links where channel_id = $1) as links',
        [channelId],
      )
    ).rows[0];
  t.strictSame(await left(), { mutes: 2, invitations: 2, links: 2 });
  await owner.query('select chat.expire_rooms()');
  t.strictSame(await left(), { mutes: 1, invitations: 1, links: 1 });
  const { rows } = await owner.query("select cron from jobs.schedules where function = 'chat.expire_rooms'");
  t.equal(rows.length, 1);
});

t.test('C2 C3 what a client can make grow has a bound, and the error says it', async (t) => {
  const { channelId, owner: ann, member } = await ranked('bounds');
  const [guest] = await people('bounded');
  const filled = async (
    by: Person,
    mutation: string,
    input: object,
    fill: string,
    values: unknown[],
    bound: RegExp,
  ) => {
    await owner.query(fill, values);
    const answer = await act(by, mutation, input);
    t.match(answer.errors?.[0]?.message, bound, mutation);
    t.match(codeOf(answer), /^(CONFLICT|TOO_MANY_REQUESTS)$/);
  };
  await owner.query(
    "insert into identity.users (username, display_name) select 'filling' || n, 'Filling' from generate_series(1, 10000) as n",
  );
  await filled(
    ann,
    'inviteToRoom',
    { channelId, userId: guest.id },
    "insert into chat.room_invitations (channel_id, user_id, invited_by, expires_at) select $1, id, $2, now() + interval '1 day' from identity.users where username like 'filling%' limit 1000",
    [channelId, ann.id],
    /at most 1,000 invitations/,
  );
  await owner.query(
    'update chat.room_invitations set declined_at = now() where ctid = (select ctid from chat.room_invitations where channel_id = $1 limit 1)',
    [channelId],
  );
  t.notOk(codeOf(await act(ann, 'inviteToRoom', { channelId, userId: guest.id })), 'what was declined waits no more');
  await filled(
    ann,
    'banFromRoom',
    { channelId, userId: guest.id },
    "insert into chat.room_bans (channel_id, user_id) select $1, id from identity.users where username like 'filling%'",
    [channelId],
    /at most 10,000 bans/,
  );
  const asked = await room(ann, { isPublic: true });
  await done(ann, 'updateRoom', { channelId: asked, requiresApproval: true });
  await filled(
    guest,
    'requestToJoin',
    { channelId: asked },
    "insert into chat.join_requests (channel_id, user_id) select $1, id from identity.users where username like 'filling%' limit 1000",
    [asked],
    /at most 1,000 requests/,
  );
  await owner.query(
    'update chat.join_requests set declined_at = now() where ctid = (select ctid from chat.join_requests where channel_id = $1 limit 1)',
    [asked],
  );
  t.notOk(codeOf(await act(guest, 'requestToJoin', { channelId: asked })), 'what was declined waits no more');
  await filled(
    member,
    'inviteToRoom',
    { channelId, userId: guest.id },
    "insert into identity.attempts (subject, started_at, count) values ('invite:' || $1::text, now(), 200) on conflict (subject) do update set count = 200",
    [member.id],
    /200 people an hour/,
  );
  await filled(
    ann,
    'archiveRoom',
    { channelId },
    "insert into chat.moderation_entries (channel_id, action, actor_id) select $1, 'settings_changed', $2 from generate_series(1, 1000)",
    [channelId, ann.id],
    /1,000 times an hour/,
  );
  await filled(
    guest,
    'createRoom',
    { name: 'one more' },
    "insert into identity.attempts (subject, started_at, count) values ('room:' || $1::text, now(), 1000)",
    [guest.id],
    /1,000 rooms an hour/,
  );
});

t.test('C2 a room that is imported counts its members, and takes in as many as it had elsewhere', async (t) => {
  const batch = ['a', 'b', 'c', 'a'].map((who, n) => ({
    message_id: `${n}`,
    room_id: 'harbour',
    room: 'Harbour',
    user_id: who,
    username: `sailor-${who}`,
    sent_at: '2020-01-01T00:00:00Z',
    text: 'ahoy',
  }));
  await owner.query("select chat.import_messages('gitter', $1)", [JSON.stringify(batch)]);
  const [guest] = await people('passenger');
  const { rows } = await owner.query("select id from chat.channels where external_ref = 'gitter:harbour'");
  await done(guest, 'joinRoom', { channelId: rows[0].id });
  const answer = await ask(
    'query ($id: UUID!) { channel(id: $id) { room { memberCount maxMembers } } }',
    { id: rows[0].id },
    guest.token,
  );
  t.strictSame(answer.data.channel.room, { memberCount: 4, maxMembers: 100_000 });
});
