import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';

const { ask, owner, person } = await openWorld(t);
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

const openDirect = (by: Person, userId: string): Promise<Answer> =>
  ask(
    'mutation ($input: OpenDirectInput!) { openDirect(input: $input) { channel { id kind name otherUser { username } } } }',
    { input: { userId } },
    by.token,
  );
const change = (by: Person | undefined, mutation: string, input: object): Promise<Answer> => {
  const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`;
  const selection = {
    addMember: 'member { role }',
    joinRoom: 'member { role }',
    removeMember: 'ok',
    leaveChannel: 'ok',
    sendMessage: 'message { id seq }',
  }[mutation];
  return ask(`mutation ($input: ${type}!) { ${mutation}(input: $input) { ${selection} } }`, { input }, by?.token);
};
async function createRoom(by: Person, input: object): Promise<string> {
  const answer = await ask(
    'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id ownerId isPublic } } }',
    { input },
    by.token,
  );
  if (answer.errors) throw new Error(answer.errors[0]?.message);
  return answer.data.createRoom.channel.id;
}
async function membersOf(channelId: string): Promise<string[]> {
  const { rows } = await owner.query(
    "select username || ' ' || role as member from chat.members join identity.users on id = user_id where channel_id = $1 order by role, username",
    [channelId],
  );
  return rows.map(({ member }) => member);
}
const setRole = (channelId: string, { id }: Person, role: string) =>
  owner.query('update chat.members set role = $3 where channel_id = $1 and user_id = $2', [channelId, id, role]);

t.test('T3 one direct chat a pair, also when both open it at the same moment', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const answers = await Promise.all(
    Array.from({ length: 16 }, (_, index) => (index % 2 ? openDirect(ann, bob.id) : openDirect(bob, ann.id))),
  );
  t.strictSame(answers.map(codeOf).filter(Boolean), []);
  t.equal(new Set(answers.map(({ data }) => data.openDirect.channel.id)).size, 1);
  const { rows } = await owner.query(
    "select (select count(*)::integer from chat.channels where kind = 'direct') as channels, (select count(*)::integer from chat.members) as members",
  );
  t.strictSame(rows[0], { channels: 1, members: 2 }, 'nothing is left of those that came second');
});

t.test(
  'T3 a direct chat is for two: nobody opens it with themselves, joins, is added, removed or leaves',
  async (t) => {
    const [cat, dan, eve] = [await person('cat'), await person('dan'), await person('eve')];
    t.equal(codeOf(await openDirect(cat, cat.id)), 'BAD_USER_INPUT');
    t.equal(codeOf(await openDirect(cat, '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90')), 'NOT_FOUND');
    const channelId = (await openDirect(cat, dan.id)).data.openDirect.channel.id;
    t.equal(codeOf(await change(cat, 'addMember', { channelId, userId: eve.id })), 'CONFLICT');
    t.equal(codeOf(await change(cat, 'removeMember', { channelId, userId: dan.id })), 'FORBIDDEN');
    t.equal(codeOf(await change(cat, 'leaveChannel', { channelId })), 'CONFLICT');
    t.equal(codeOf(await change(eve, 'joinRoom', { channelId })), 'NOT_FOUND');
    t.strictSame(await membersOf(channelId), ['cat member', 'dan member']);
  },
);

t.test(
  'T4 the chat list is the caller’s, the last active first, with last message, unread and the other side',
  async (t) => {
    const [fay, gus, hal] = [await person('fay'), await person('gus'), await person('hal')];
    const first = (await openDirect(fay, gus.id)).data.openDirect.channel.id;
    const second = (await openDirect(hal, fay.id)).data.openDirect.channel.id;
    const room = await createRoom(gus, { name: 'lounge', isPublic: true });
    await change(fay, 'joinRoom', { channelId: room });
    await createRoom(gus, { name: 'elsewhere', isPublic: true });
    await change(hal, 'sendMessage', { channelId: second, text: 'two' });
    await change(gus, 'sendMessage', { channelId: room, text: 'three' });
    await change(gus, 'sendMessage', { channelId: first, text: 'one' });
    await change(gus, 'sendMessage', { channelId: first, text: 'more' });
    const list =
      '{ myChannels(first: 10) { totalCount nodes { name unread otherUser { username } lastMessage { text sender { username } } } } unreadTotal }';
    const { data } = await ask(list, {}, fay.token);
    t.equal(data.unreadTotal, '4');
    t.strictSame(data.myChannels, {
      totalCount: 3,
      nodes: [
        {
          name: null,
          unread: 2,
          otherUser: { username: 'gus' },
          lastMessage: { text: 'more', sender: { username: 'gus' } },
        },
        { name: 'lounge', unread: 1, otherUser: null, lastMessage: { text: 'three', sender: { username: 'gus' } } },
        {
          name: null,
          unread: 1,
          otherUser: { username: 'hal' },
          lastMessage: { text: 'two', sender: { username: 'hal' } },
        },
      ],
    });
    const page = await ask(
      '{ myChannels(first: 2) { nodes { id } pageInfo { endCursor hasNextPage } } }',
      {},
      fay.token,
    );
    t.ok(page.data.myChannels.pageInfo.hasNextPage);
    const next = await ask(
      'query ($after: String) { myChannels(first: 2, after: $after) { nodes { id } } }',
      { after: page.data.myChannels.pageInfo.endCursor },
      fay.token,
    );
    t.strictSame(next.data.myChannels.nodes, [{ id: second }], 'pages by cursor');
  },
);

t.test('C2 a public room is read and joined by anyone signed in; a private one by whom its admins bring', async (t) => {
  const [ian, joe] = [await person('ian'), await person('joe')];
  const open = await createRoom(ian, { name: ' plaza ', description: '', isPublic: true });
  const closed = await createRoom(ian, { name: 'cellar' });
  const see = async (id: string, by?: Person) =>
    (await ask('query ($id: UUID!) { channel(id: $id) { name description } }', { id }, by?.token)).data?.channel ??
    null;
  t.strictSame(await see(open, joe), { name: 'plaza', description: null }, 'trimmed');
  t.equal(await see(closed, joe), null);
  t.equal(await see(open), null, 'nobody reads without signing in');
  t.equal(
    codeOf(await change(joe, 'sendMessage', { channelId: open, text: 'hi' })),
    'FORBIDDEN',
    'join before you write',
  );
  t.equal(codeOf(await change(joe, 'joinRoom', { channelId: closed })), 'NOT_FOUND');
  t.equal((await change(joe, 'joinRoom', { channelId: open })).data.joinRoom.member.role, 'MEMBER');
  t.notOk((await change(joe, 'sendMessage', { channelId: open, text: 'hi' })).errors);
  t.equal(
    (await change(ian, 'joinRoom', { channelId: open })).data.joinRoom.member.role,
    'OWNER',
    'who is in stays what they are',
  );
  await owner.query('update chat.channels set closed_at = now() where id = $1', [open]);
  t.equal(
    codeOf(await change(await person('kim'), 'joinRoom', { channelId: open })),
    'CONFLICT',
    'a closed room is not joined',
  );
  t.equal(codeOf(await change(joe, 'sendMessage', { channelId: open, text: 'hi' })), 'CONFLICT', 'nor written in');
});

t.test('C3 who adds and removes whom, for every pair of roles', async (t) => {
  const order = ['owner', 'admin', 'moderator', 'member'];
  const boss = await person('boss');
  const room = await createRoom(boss, { name: 'ranks' });
  const people: Record<string, Person> = { owner: boss };
  for (const role of order.slice(1)) people[role] = await person(`the-${role}`);
  const [target, outsider] = [await person('target'), await person('outsider')];
  for (const role of order.slice(1)) {
    await change(boss, 'addMember', { channelId: room, userId: people[role]?.id });
    await setRole(room, people[role] as Person, role);
  }
  for (const [index, role] of order.entries()) {
    const by = people[role] as Person;
    const added = await change(by, 'addMember', { channelId: room, userId: target.id });
    t.equal(codeOf(added), index <= 1 ? undefined : 'FORBIDDEN', `${role} adds`);
    for (const [rank, other] of order.entries()) {
      await change(boss, 'addMember', { channelId: room, userId: target.id });
      await setRole(room, target, other);
      const removed = await change(by, 'removeMember', { channelId: room, userId: target.id });
      t.equal(codeOf(removed), index < rank ? undefined : 'FORBIDDEN', `${role} removes ${other}`);
    }
    await owner.query('delete from chat.members where channel_id = $1 and user_id = $2', [room, target.id]);
  }
  t.equal(
    codeOf(await change(outsider, 'addMember', { channelId: room, userId: outsider.id })),
    'NOT_FOUND',
    'an outsider',
  );
  t.equal(
    codeOf(await change(boss, 'removeMember', { channelId: room, userId: outsider.id })),
    'NOT_FOUND',
    'someone who is not in',
  );
  t.equal(
    codeOf(await change(boss, 'addMember', { channelId: room, userId: room })),
    'NOT_FOUND',
    'someone who is not',
  );
});

t.test('C3 an owner who leaves hands the room to the next in rank, then in time', async (t) => {
  const [lea, max, ned, oli] = [await person('lea'), await person('max'), await person('ned'), await person('oli')];
  const room = await createRoom(lea, { name: 'heirs' });
  for (const { id } of [max, ned, oli]) await change(lea, 'addMember', { channelId: room, userId: id });
  await setRole(room, oli, 'moderator');
  t.notOk((await change(lea, 'leaveChannel', { channelId: room })).errors);
  t.strictSame(await membersOf(room), ['oli owner', 'max member', 'ned member'], 'the moderator');
  await change(oli, 'leaveChannel', { channelId: room });
  t.strictSame(await membersOf(room), ['max owner', 'ned member'], 'then who came first');
  t.equal(codeOf(await change(oli, 'leaveChannel', { channelId: room })), 'NOT_FOUND');
  const answers = await Promise.all([max, ned].map((each) => change(each, 'leaveChannel', { channelId: room })));
  t.strictSame(answers.map(codeOf), [undefined, undefined]);
  const { rows } = await owner.query('select owner_id from chat.channels where id = $1', [room]);
  t.equal(rows[0].owner_id, null, 'the last one leaves it to nobody');
});

t.test('C3 who is removed from a private room at the moment when they join it stays out', async (t) => {
  const [ann, bob] = [await person('keeper'), await person('guest')];
  const room = await createRoom(ann, { name: 'closed' });
  await change(ann, 'addMember', { channelId: room, userId: bob.id });
  const [remover, joiner] = [await owner.connect(), await owner.connect()];
  for (const [client, by] of [
    [remover, ann],
    [joiner, bob],
  ] as const) {
    await client.query('begin');
    await client.query("select set_config('plinth.user_id', $1, true)", [by.id]);
  }
  await remover.query('select chat.remove_member($1, $2)', [room, bob.id]);
  const joined = t.rejects(joiner.query('select chat.join_room($1)', [room]), { code: 'PT404' });
  await wait(50);
  await remover.query('commit');
  await joined;
  await joiner.query('commit');
  for (const client of [remover, joiner]) client.release();
  t.strictSame(await membersOf(room), ['keeper owner']);
});

t.test('C3 who was removed reads no more', async (t) => {
  const [pam, ray] = [await person('pam'), await person('ray')];
  const room = await createRoom(pam, { name: 'secrets' });
  await change(pam, 'addMember', { channelId: room, userId: ray.id });
  await change(pam, 'sendMessage', { channelId: room, text: 'between us' });
  const read = async () =>
    (
      await ask(
        'query ($id: UUID!) { channel(id: $id) { messages { totalCount } } searchMessages(query: "between us") { totalCount } }',
        { id: room },
        ray.token,
      )
    ).data;
  t.strictSame(await read(), { channel: { messages: { totalCount: 1 } }, searchMessages: { totalCount: 1 } });
  await change(pam, 'removeMember', { channelId: room, userId: ray.id });
  t.strictSame(await read(), { channel: null, searchMessages: { totalCount: 0 } });
});
