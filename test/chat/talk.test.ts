import t from 'tap';
import { openActs } from '../events/acts.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const acts = openActs(world);
const [ann, bob, cat, eve] = [await person('ann'), await person('bob'), await person('cat.o'), await person('eve')];
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const room = await acts.room(ann, [bob, cat]);

const call = (by: Person | undefined, mutation: string, input: object, selection: string): Promise<Answer> => {
  const type = `${mutation[0]?.toUpperCase()}${mutation.slice(1)}Input`;
  const text = `mutation($input: ${type}!) { ${mutation}(input: $input) { ${selection} } }`;
  return ask(text, { input }, by?.token);
};
const read = async (id: string, selection: string, by: Person = ann) =>
  (await ask(`query($id: UUID!) { message(id: $id) { ${selection} } }`, { id }, by.token)).data.message;
const toldTo = async (topic: string, type: string): Promise<number> =>
  (await owner.query('select count(*)::int as told from events.log where topic = $1 and type = $2', [topic, type]))
    .rows[0].told;

t.test('T4 whom a message names with @ is resolved when it is sent, and told once', async (t) => {
  const id = await acts.send(ann, room, 'Hi @BOB, @cat.o. and @eve, @nobody, @ann; not mail@bob or @bo');
  const named = async () =>
    (await read(id, 'mentions { nodes { user { username } } }')).mentions.nodes
      .map(({ user }: { user: Person | null }) => user?.username ?? 'everyone')
      .sort();
  t.strictSame(await named(), ['bob', 'cat.o'], 'members of the channel, in any case; nobody else, not oneself');
  t.equal(await toldTo(`user:${bob.id}`, 'mentioned'), 1);
  t.equal(await toldTo(`user:${eve.id}`, 'mentioned'), 0);
  await acts.edit(ann, id, 'Hi @bob');
  t.strictSame(await named(), ['bob']);
  t.equal(await toldTo(`user:${bob.id}`, 'mentioned'), 1, 'who was named before is not told again');
  await acts.edit(ann, id, 'Hi @cat.o');
  t.strictSame(await named(), ['cat.o']);
  await acts.edit(ann, id, 'Hi');
  t.strictSame(await named(), []);
});

t.test('@room is one row, for who moderates the room; one finds what names one', async (t) => {
  const said = await acts.send(ann, room, '@room listen');
  t.strictSame((await read(said, 'mentions { nodes { userId } }')).mentions.nodes, [{ userId: null }]);
  const vain = await acts.send(bob, room, '@room listen to me');
  t.strictSame((await read(vain, 'mentions { nodes { userId } }')).mentions.nodes, []);
  const own = await acts.send(ann, room, '@bob you');
  const mine = async (by: Person) =>
    (
      await ask('{ myMentions(first: 10) { nodes { mentioningMessage { id } } } }', {}, by.token)
    ).data.myMentions.nodes.map((each: { mentioningMessage: { id: string } }) => each.mentioningMessage.id);
  t.strictSame(await mine(bob), [own, said], 'the last first');
  t.strictSame(await mine(eve), []);
  await acts.delete(ann, own);
  t.strictSame(await mine(bob), [said], 'a deleted message names nobody');
  await acts.join(eve, await acts.room(ann, [], true));
  const late = await person('late');
  await acts.add(ann, room, late);
  t.strictSame(await mine(late), [], 'before they came nobody meant them');
});

t.test('a text of nothing but names names at most fifty people', async (t) => {
  const names = Array.from({ length: 60 }, (_, n) => `crowd${n}`);
  await owner.query(
    `with made as (insert into identity.users (username, display_name) select n, n from unnest($2::text[]) as n returning id)
     insert into chat.members (channel_id, user_id) select $1, id from made`,
    [room, names],
  );
  const id = await acts.send(ann, room, names.map((name) => `@${name}`).join(' '));
  t.equal((await read(id, 'mentions { totalCount }')).mentions.totalCount, 50);
  const dense = await acts.send(ann, room, '@'.repeat(10_000));
  t.equal((await read(dense, 'mentions { totalCount }')).mentions.totalCount, 0);
});

const reactions = 'reactions { nodes { emoji count mine reactors { nodes { user { username } } } } }';
const react = (by: Person | undefined, messageId: string, emoji: string) =>
  call(by, 'addReaction', { messageId, emoji }, `message { ${reactions} }`);

t.test('reactions count each person once, and know the caller’s own', async (t) => {
  const id = await acts.send(ann, room, 'react!');
  await react(bob, id, '👍');
  await react(bob, id, '👍');
  const { data } = await react(cat, id, '👍');
  t.match(data.addReaction.message.reactions.nodes, [
    {
      emoji: '👍',
      count: 2,
      mine: true,
      reactors: { nodes: [{ user: { username: 'bob' } }, { user: { username: 'cat.o' } }] },
    },
  ]);
  t.match((await read(id, reactions)).reactions.nodes, [{ emoji: '👍', count: 2, mine: false }]);
  t.equal(await toldTo(`channel:${room}`, 'reaction_added'), 2);
  for (const by of [bob, bob, ann]) await call(by, 'removeReaction', { messageId: id, emoji: '👍' }, 'message { id }');
  t.match((await read(id, reactions)).reactions.nodes, [{ count: 1 }]);
  t.equal(await toldTo(`channel:${room}`, 'reaction_removed'), 1);
  await acts.delete(ann, id);
  t.strictSame((await read(id, reactions)).reactions.nodes, [], 'they go with the message');
});

t.test('a reaction is one sign; there are twenty kinds at most, however many people ask at once', async (t) => {
  const id = await acts.send(ann, room, 'react!');
  for (const emoji of ['❤️', '1️⃣', '👨‍👩‍👧‍👦', ':party_parrot:', '🏴󠁧󠁢󠁥󠁮󠁧󠁿'])
    t.equal(codeOf(await react(bob, id, emoji)), undefined, emoji);
  for (const emoji of [
    '',
    ' ',
    'ok',
    '<b>',
    '\u202e👍',
    '\u200b',
    '👍'.repeat(21),
    `:${'x'.repeat(31)}:`,
    'x'.repeat(100_000),
    '\u0000',
  ])
    t.equal(codeOf(await react(bob, id, emoji)), 'BAD_USER_INPUT', JSON.stringify(emoji.slice(0, 5)));
  const kinds = Array.from({ length: 30 }, (_, n) => `:kind${n}:`);
  const answers = await Promise.all(kinds.map((emoji) => react(bob, id, emoji)));
  t.equal(answers.filter((answer) => codeOf(answer) === 'CONFLICT').length, 15);
  t.equal((await read(id, 'reactions { totalCount }')).reactions.totalCount, 20);
  const again = await acts.send(ann, room, 'all at once');
  await Promise.all([ann, bob, cat, ann, bob, cat].map((by) => react(by, again, '🎉')));
  t.match((await read(again, reactions)).reactions.nodes, [{ emoji: '🎉', count: 3 }]);
});

t.test('who is not in the channel neither reacts nor pins, and sees nothing of it', async (t) => {
  const id = await acts.send(ann, room, 'ours @bob');
  await react(bob, id, '👍');
  for (const [by, code] of [
    [eve, 'NOT_FOUND'],
    [undefined, 'FORBIDDEN'],
  ] as const) {
    t.equal(codeOf(await react(by, id, '👎')), code);
    t.equal(codeOf(await call(by, 'removeReaction', { messageId: id, emoji: '👍' }, 'message { id }')), code);
    t.equal(codeOf(await call(by, 'pinMessage', { messageId: id }, 'pin { messageId }')), code);
    t.equal(codeOf(await call(by, 'unpinMessage', { messageId: id }, 'ok')), code);
  }
  const seen = await ask(
    `query($id: UUID!) { reactions(filter: { messageId: { eq: $id } }) { totalCount } reactors(filter: { messageId: { eq: $id } }) { totalCount }
      mentions(filter: { messageId: { eq: $id } }) { totalCount } pins(filter: { messageId: { eq: $id } }) { totalCount } }`,
    { id },
    eve.token,
  );
  for (const [name, { totalCount }] of Object.entries<{ totalCount: number }>(seen.data)) t.equal(totalCount, 0, name);
});

t.test('C2 what is pinned is in sight of all; moderators pin, fifty at most', async (t) => {
  const talk = await acts.room(ann, [bob]);
  const pin = (by: Person, messageId: string) =>
    call(by, 'pinMessage', { messageId }, 'pin { pinnedMessage { text } pinnedBy }');
  const first = await acts.send(bob, talk, 'the plan');
  t.equal(codeOf(await pin(bob, first)), 'FORBIDDEN');
  t.match((await pin(ann, first)).data.pinMessage.pin, { pinnedMessage: { text: 'the plan' } });
  await pin(ann, first);
  t.equal(await toldTo(`channel:${talk}`, 'message_pinned'), 1, 'again, nothing changes');
  const direct = await acts.direct(ann, bob);
  t.notOk(codeOf(await pin(bob, await acts.send(ann, direct, 'x'))), 'either side of a direct chat pins');

  const ids = [];
  for (let n = 0; n < 55; n += 1) ids.push(await acts.send(bob, talk, `number ${n}`));
  const answers = await Promise.all(ids.map((id) => pin(ann, id)));
  t.equal(answers.filter((answer) => codeOf(answer) === 'CONFLICT').length, 6);
  await acts.delete(ann, first);
  const pins = async () =>
    (await ask('query($id: UUID!) { channel(id: $id) { pins { totalCount } } }', { id: talk }, bob.token)).data.channel
      .pins.totalCount;
  t.equal(await pins(), 49, 'a deleted message is not pinned');
  for (const id of ids) await call(ann, 'unpinMessage', { messageId: id }, 'ok');
  t.equal(await pins(), 0);
});

t.test('C5 a thread reads as one page, with its count', async (t) => {
  const id = await acts.send(ann, room, 'why?');
  const reply = (by: Person, text: string) =>
    call(by, 'sendMessage', { channelId: room, text, replyToId: id }, 'message { id }');
  await Promise.all(['a', 'b', 'c'].map((text, n) => reply([ann, bob, cat][n] as Person, text)));
  const gone = (await reply(bob, 'd')).data.sendMessage.message.id;
  await acts.delete(bob, gone);
  const page = await read(
    id,
    'text replyCount replies(first: 2) { nodes { text sender { username } } pageInfo { hasNextPage } }',
  );
  t.match(page, { text: 'why?', replyCount: '3', replies: { pageInfo: { hasNextPage: true } } });
  t.equal(page.replies.nodes.length, 2);
  t.equal((await read(gone, 'replyCount')).replyCount, '0');
});

t.test('what a page of messages tells of each is part of its one statement, found by key', async (t) => {
  const client = await owner.connect();
  await client.query('begin');
  await client.query("select set_config('plinth.user_id', $1, true)", [ann.id]);
  await client.query('set local role member; set local enable_seqscan = off');
  const { rows } = await client.query(`explain select (select * from chat.reply_count(message)),
      (select jsonb_agg((reaction.emoji, reaction.count, (select * from chat.mine(reaction)))) from chat.reactions(message) as reaction),
      (select count(*) from chat.mentions(message)), (select author_id from chat.forwarded_from(message)), (select note from chat.bookmark(message))
    from chat.messages as message order by id desc limit 50`);
  await client.query('rollback');
  client.release();
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
  t.notMatch(plan, 'Function Scan', 'all of it is inlined');
  for (const key of [
    'threads_pkey',
    'reactions_pkey',
    'reactors_pkey',
    'mentions_message_id_user_id_key',
    'forwards_pkey',
    'bookmarks_pkey',
  ])
    t.match(plan, key);
});
