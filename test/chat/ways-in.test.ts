import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { codeOf, openActs } from './room-acts.ts';

const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, room, bring, people, membersOf, counts } = openActs(world);
const nobody = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

t.test('C2 an invited person comes into a private room once they answer, and knows its name before', async (t) => {
  const [ann, bob, cat] = await people('ann', 'bob', 'cat');
  const channelId = await room(ann, { name: 'cellar' });
  t.notOk((await act(ann, 'inviteToRoom', { channelId, userId: bob.id })).errors);
  const mine = '{ myInvitations { nodes { channelId card { name memberCount isPublic } channel { name } } } }';
  const told = await ask(mine, {}, bob.token);
  t.strictSame(told.data.myInvitations.nodes, [
    { channelId, card: { name: 'cellar', memberCount: 1, isPublic: false }, channel: null },
  ]);
  t.strictSame((await ask(mine, {}, cat.token)).data.myInvitations.nodes, [], 'which is theirs alone');
  t.equal(codeOf(await act(cat, 'joinRoom', { channelId })), 'NOT_FOUND');
  t.equal((await done(bob, 'joinRoom', { channelId })).role, 'MEMBER');
  t.strictSame((await ask(mine, {}, bob.token)).data.myInvitations.nodes, [], 'it is spent');
  t.equal(codeOf(await act(ann, 'inviteToRoom', { channelId, userId: bob.id })), 'CONFLICT', 'who is in');
  t.equal(codeOf(await act(ann, 'inviteToRoom', { channelId, userId: nobody })), 'NOT_FOUND');
  t.equal(codeOf(await act(ann, 'inviteToRoom', { channelId, userId: cat.id, expiresIn: 1 })), 'BAD_USER_INPUT');
});

t.test('C2 an invitation is declined, withdrawn, expires, and ends with who made it', async (t) => {
  const [ann, bob, cat] = await people('ann2', 'bob2', 'cat2');
  const channelId = await room(ann);
  await bring(ann, channelId, bob);
  const invite = () => act(bob, 'inviteToRoom', { channelId, userId: cat.id });
  t.notOk((await invite()).errors, 'members invite');
  await done(ann, 'updateRoom', { channelId, membersMayInvite: false });
  t.equal(codeOf(await invite()), 'FORBIDDEN', 'unless the room says no');
  await done(ann, 'updateRoom', { channelId, membersMayInvite: true });

  t.notOk((await act(cat, 'declineInvitation', { channelId })).errors);
  t.equal(codeOf(await act(cat, 'declineInvitation', { channelId })), 'NOT_FOUND');
  t.equal(codeOf(await act(cat, 'joinRoom', { channelId })), 'NOT_FOUND');
  t.equal(codeOf(await invite()), 'CONFLICT', 'who declined is let be');
  await owner.query(
    "update chat.room_invitations set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'",
  );
  t.notOk((await invite()).errors, 'until it has expired');

  await owner.query(
    "update chat.room_invitations set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'",
  );
  t.equal(codeOf(await act(cat, 'joinRoom', { channelId })), 'NOT_FOUND', 'expired');
  await invite();
  t.equal(codeOf(await act(cat, 'withdrawInvitation', { channelId, userId: cat.id })), 'NOT_FOUND');
  t.notOk((await act(ann, 'withdrawInvitation', { channelId, userId: cat.id })).errors);
  t.equal(codeOf(await act(cat, 'joinRoom', { channelId })), 'NOT_FOUND', 'withdrawn');

  await invite();
  const { token } = (await done(bob, 'createRoomLink', { channelId })) as unknown as { token: string };
  await done(bob, 'leaveChannel', { channelId });
  t.equal(codeOf(await act(cat, 'joinRoom', { channelId })), 'NOT_FOUND', 'who invited has left');
  t.equal(codeOf(await act(cat, 'joinByLink', { token })), 'NOT_FOUND', 'and so has the maker of the link');
  t.strictSame(await membersOf(channelId), ['ann2 owner']);
});

t.test(
  'C2 a room by password: the hash alone is kept, argon2id; a wrong one says what a missing room says',
  async (t) => {
    const [ann, bob, cat] = await people('ann3', 'bob3', 'cat3');
    const channelId = await room(ann);
    await bring(ann, channelId, cat);
    t.equal(codeOf(await act(cat, 'setRoomPassword', { channelId, password: 'of no right' })), 'FORBIDDEN');
    t.equal(codeOf(await act(bob, 'setRoomPassword', { channelId, password: 'of no right' })), 'NOT_FOUND');
    t.equal(codeOf(await act(ann, 'setRoomPassword', { channelId, password: 'short' })), 'BAD_USER_INPUT');
    const set = await act(ann, 'setRoomPassword', { channelId, password: 'open sesame' });
    t.strictSame(set.data.setRoomPassword.channel.room, { hasPassword: true });
    const { rows } = await owner.query('select password_hash from chat.rooms where channel_id = $1', [channelId]);
    t.match(rows[0].password_hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    t.equal(
      codeOf(
        await ask('query ($id: UUID!) { channel(id: $id) { room { passwordHash } } }', { id: channelId }, ann.token),
      ),
      'BAD_REQUEST',
      'nobody reads it',
    );

    const wrong = await act(bob, 'joinRoom', { channelId, password: 'open barley' });
    const missing = await act(bob, 'joinRoom', { channelId: nobody, password: 'open barley' });
    t.equal(codeOf(wrong), 'NOT_FOUND');
    t.strictSame(wrong.errors?.[0], missing.errors?.[0], 'word for word');
    t.equal(codeOf(await act(bob, 'joinRoom', { channelId })), 'NOT_FOUND', 'without one');
    t.equal(codeOf(await act(bob, 'joinRoom', { channelId, password: null })), 'NOT_FOUND', 'with none');
    t.equal((await done(bob, 'joinRoom', { channelId, password: 'open sesame' })).role, 'MEMBER');

    t.equal(codeOf(await act(ann, 'updateRoom', { channelId, isPublic: true })), 'CONFLICT', 'what is public has none');
    await done(ann, 'setRoomPassword', { channelId });
    await done(bob, 'leaveChannel', { channelId });
    t.equal(codeOf(await act(bob, 'joinRoom', { channelId, password: 'open sesame' })), 'NOT_FOUND', 'removed');
    t.notOk((await act(ann, 'updateRoom', { channelId, isPublic: true })).errors);
    t.equal(codeOf(await act(ann, 'setRoomPassword', { channelId, password: 'open sesame' })), 'CONFLICT');
  },
);

t.test('C2 tries of a password are limited, also those at the same moment, and for a room that is not', async (t) => {
  const [ann, eve] = await people('ann4', 'eve4');
  const channelId = await room(ann);
  await done(ann, 'setRoomPassword', { channelId, password: 'open sesame' });
  const guess = (id: string) => act(eve, 'joinRoom', { channelId: id, password: `guess ${Math.random()}` });
  const answers = await Promise.all(Array.from({ length: 16 }, (_, n) => guess(n % 2 ? channelId : nobody)));
  const codes = answers.map(codeOf);
  t.equal(codes.filter((code) => code === 'NOT_FOUND').length, 10);
  t.equal(codes.filter((code) => code === 'TOO_MANY_REQUESTS').length, 6);
  const right = await act(eve, 'joinRoom', { channelId, password: 'open sesame' });
  t.equal(codeOf(right), 'TOO_MANY_REQUESTS', 'the right one, too');
  t.strictSame(await membersOf(channelId), ['ann4 owner']);
});

t.test('C2 a room that approves: asked, told to its moderators, approved or declined', async (t) => {
  const [ann, bob, cat, dan] = await people('ann5', 'bob5', 'cat5', 'dan5');
  const channelId = await room(ann, { isPublic: true });
  t.equal(codeOf(await act(bob, 'requestToJoin', { channelId })), 'CONFLICT', 'an open room is joined');
  await done(ann, 'updateRoom', { channelId, requiresApproval: true });
  await bring(ann, channelId, dan);
  t.equal(codeOf(await act(bob, 'joinRoom', { channelId })), 'CONFLICT', 'one that approves is asked');
  const asked = await Promise.all(
    Array.from({ length: 4 }, () => act(bob, 'requestToJoin', { channelId, text: ' let me in ' })),
  );
  t.strictSame(
    asked.map((answer) => answer.data.requestToJoin.joinRequest.text),
    Array(4).fill('let me in'),
  );
  t.notOk((await act(cat, 'requestToJoin', { channelId })).errors);

  const waiting = 'query ($id: UUID!) { channel(id: $id) { joinRequests { nodes { text user { username } } } } }';
  const seen = async (by: Person) => (await ask(waiting, { id: channelId }, by.token)).data.channel.joinRequests.nodes;
  t.strictSame(await seen(ann), [
    { text: 'let me in', user: { username: 'bob5' } },
    { text: null, user: { username: 'cat5' } },
  ]);
  t.strictSame(await seen(bob), [{ text: 'let me in', user: { username: 'bob5' } }], 'one’s own');
  t.strictSame(await seen(dan), [], 'not for plain members');
  const { rows } = await owner.query(
    "select count(*)::integer from events.log where type = 'join_requested' and topic = $1",
    [`user:${ann.id}`],
  );
  t.equal(rows[0].count, 2, 'each request told once');

  t.equal(codeOf(await act(dan, 'approveRequest', { channelId, userId: bob.id })), 'FORBIDDEN');
  t.equal(codeOf(await act(ann, 'approveRequest', { channelId, userId: nobody })), 'NOT_FOUND');
  const twice = await Promise.all([1, 2].map(() => act(ann, 'approveRequest', { channelId, userId: bob.id })));
  t.strictSame(twice.map(codeOf).sort(), ['NOT_FOUND', undefined], 'approved once');
  t.notOk((await act(ann, 'declineRequest', { channelId, userId: cat.id })).errors);
  t.equal(codeOf(await act(cat, 'requestToJoin', { channelId })), 'CONFLICT', 'declined, they wait');
  await owner.query("update chat.join_requests set declined_at = now() - interval '8 days'");
  t.notOk((await act(cat, 'requestToJoin', { channelId })).errors, 'and ask again');
  t.notOk((await act(cat, 'withdrawRequest', { channelId })).errors);
  t.equal(codeOf(await act(cat, 'withdrawRequest', { channelId })), 'NOT_FOUND');
  t.strictSame(await membersOf(channelId), ['ann5 owner', 'bob5 member', 'dan5 member']);
});

t.test('C2 a link: its token kept as a hash, what it leads to shown, expiry, revocation', async (t) => {
  const [ann, bob, cat] = await people('ann6', 'bob6', 'cat6');
  const channelId = await room(ann, { name: 'attic', description: 'under the roof' });
  const made = (await done(ann, 'createRoomLink', { channelId, maxUses: 2 })) as unknown as {
    token: string;
    link: { id: string };
  };
  const { rows } = await owner.query('select to_jsonb(room_links)::text as row from chat.room_links');
  t.equal(rows.length, 1);
  t.notOk(rows[0].row.includes(made.token), 'the token is nowhere');
  const preview = (token: string, by?: Person) =>
    ask('query ($token: String!) { roomByLink(token: $token) { name description memberCount } }', { token }, by?.token);
  t.strictSame((await preview(made.token, bob)).data.roomByLink, {
    name: 'attic',
    description: 'under the roof',
    memberCount: 1,
  });
  t.equal((await preview('nonsense', bob)).data.roomByLink, null);
  t.ok((await preview(made.token)).errors, 'for who is signed in');
  t.strictSame(await done(bob, 'joinByLink', { token: made.token }), { channelId, role: 'MEMBER' });
  t.strictSame(await done(bob, 'joinByLink', { token: made.token }), { channelId, role: 'MEMBER' }, 'again');
  t.equal((await owner.query('select uses from chat.room_links')).rows[0].uses, 1, 'which uses nothing up');

  t.equal(codeOf(await act(bob, 'revokeRoomLink', { id: made.link.id })), 'NOT_FOUND', 'it is not theirs');
  t.notOk((await act(ann, 'revokeRoomLink', { id: made.link.id })).errors);
  t.equal(codeOf(await act(cat, 'joinByLink', { token: made.token })), 'NOT_FOUND', 'revoked');
  const brief = (await done(ann, 'createRoomLink', { channelId, expiresIn: 60 })) as unknown as { token: string };
  await owner.query(
    "update chat.room_links set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'",
  );
  const late = await act(cat, 'joinByLink', { token: brief.token });
  t.equal(codeOf(late), 'NOT_FOUND', 'expired');
  t.strictSame(late.errors, (await act(cat, 'joinByLink', { token: 'made up' })).errors, 'as one that never was');
  t.equal((await preview(brief.token, cat)).data.roomByLink, null);
  for (const wrong of [{ expiresIn: 0 }, { expiresIn: 2147483647 }, { maxUses: 0 }, { maxUses: -1 }])
    t.equal(codeOf(await act(ann, 'createRoomLink', { channelId, ...wrong })), 'BAD_USER_INPUT');
});

t.test('C2 a room has at most 100 links, of which those that are over do not count', async (t) => {
  const [ann] = await people('ann7');
  const channelId = await room(ann);
  await owner.query(
    "insert into chat.room_links (channel_id, hash, created_by, expires_at) select $1, sha256(n::text::bytea), $2, now() + interval '1 day' from generate_series(1, 99) as n",
    [channelId, ann.id],
  );
  const both = await Promise.all([1, 2].map(() => act(ann, 'createRoomLink', { channelId })));
  t.strictSame(both.map(codeOf).sort(), ['CONFLICT', undefined], 'one of two at once');
  await owner.query(
    'update chat.room_links set max_uses = 1, uses = 1 where id = (select id from chat.room_links where channel_id = $1 limit 1)',
    [channelId],
  );
  t.notOk((await act(ann, 'createRoomLink', { channelId })).errors);
});

t.test('C2 50 who join at once meet a limit of 10', async (t) => {
  const crowd = await people(...Array.from({ length: 50 }, (_, n) => `crowd${n}`));
  const [ann] = await people('ann8');
  const channelId = await room(ann, { isPublic: true });
  await done(ann, 'updateRoom', { channelId, maxMembers: 10 });
  const { token } = (await done(ann, 'createRoomLink', { channelId })) as unknown as { token: string };
  const answers = await Promise.all(
    crowd.map((each, n) =>
      n % 3 === 0
        ? act(each, 'joinByLink', { token })
        : n % 3 === 1
          ? act(ann, 'addMember', { channelId, userId: each.id })
          : act(each, 'joinRoom', { channelId }),
    ),
  );
  const codes = answers.map(codeOf);
  t.equal(codes.filter((code) => code === undefined).length, 9, 'beside its owner nine');
  t.equal(codes.filter((code) => code === 'CONFLICT').length, 41, 'all others are told');
  t.match(answers.find(({ errors }) => errors)?.errors?.[0]?.message, /at most 10 members/);
  t.strictSame(await counts(channelId), { kept: 10, counted: 10 });
  const joinedByLink = answers.filter((answer, n) => n % 3 === 0 && !answer.errors).length;
  const { rows } = await owner.query('select uses from chat.room_links where channel_id = $1', [channelId]);
  t.equal(rows[0].uses, joinedByLink, 'who found it full used no link up');
  t.equal(codeOf(await act(ann, 'updateRoom', { channelId, maxMembers: 9 })), 'CONFLICT', 'nor is the limit below');
});

t.test('C2 of 30 who take a link for 5 at once, 5 come in', async (t) => {
  const crowd = await people(...Array.from({ length: 30 }, (_, n) => `taker${n}`));
  const [ann] = await people('ann9');
  const channelId = await room(ann);
  const { token } = (await done(ann, 'createRoomLink', { channelId, maxUses: 5 })) as unknown as { token: string };
  const codes = (await Promise.all(crowd.map((each) => act(each, 'joinByLink', { token })))).map(codeOf);
  t.equal(codes.filter((code) => code === undefined).length, 5);
  t.equal(codes.filter((code) => code === 'NOT_FOUND').length, 25);
  t.strictSame(await counts(channelId), { kept: 6, counted: 6 });
  const { rows } = await owner.query('select uses from chat.room_links where channel_id = $1', [channelId]);
  t.equal(rows[0].uses, 5);
});

t.test('C2 joining, leaving and being removed at once, the count stays what a recount says', async (t) => {
  const crowd = await people(...Array.from({ length: 12 }, (_, n) => `mill${n}`));
  const [ann] = await people('ann10');
  const channelId = await room(ann, { isPublic: true });
  await done(ann, 'updateRoom', { channelId, maxMembers: 6 });
  for (let round = 0; round < 3; round += 1) {
    await Promise.all(
      crowd.flatMap((each, n) => [
        act(each, 'joinRoom', { channelId }),
        n % 2 ? act(each, 'leaveChannel', { channelId }) : act(ann, 'removeMember', { channelId, userId: each.id }),
      ]),
    );
    const { kept, counted } = await counts(channelId);
    t.equal(kept, counted);
    t.ok(counted <= 6, `${counted} of 6`);
  }
});
