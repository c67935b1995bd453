import t from 'tap';
import { fieldOf, listen, wake } from '../events/listen.ts';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './room-acts.ts';

// C3 who is banned from a public room does not read it either.

t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner, server } = world;
const { act, done, room, people } = openActs(world);
const codes = (answers: { errors?: { extensions?: Record<string, string> }[] }[]) =>
  answers.map(({ errors }) => errors?.[0]?.extensions?.code);

const reading = `query ($id: UUID!) {
  channel(id: $id) { name messages { totalCount } members { totalCount } pins { totalCount } room { memberCount } }
  messages(filter: { channelId: { eq: $id } }) { totalCount }
  searchMessages(query: "walrus") { totalCount }
}`;
const read = async (by: Person, id: string) => (await ask(reading, { id }, by.token)).data;

t.test('nothing of it is read, until the ban is lifted or ends', async (t) => {
  const [ann, guest, other] = await people('ann', 'guest', 'other');
  const id = await room(ann, { isPublic: true });
  const message = await done(ann, 'sendMessage', { channelId: id, text: 'the walrus' });
  const before = await read(guest, id);
  t.match(before, { channel: { messages: { totalCount: '1' } }, searchMessages: { totalCount: '1' } });
  await done(ann, 'banFromRoom', { channelId: id, userId: guest.id });
  t.match(await read(guest, id), {
    channel: null,
    messages: { totalCount: '0' },
    searchMessages: { totalCount: '0' },
  });
  const one = await ask('query ($id: UUID!) { message(id: $id) { text } }', { id: message.id }, guest.token);
  t.equal(one.data.message, null);
  t.strictSame(
    codes(
      await Promise.all([
        act(guest, 'addReaction', { messageId: message.id, emoji: '👍' }),
        act(guest, 'forwardMessage', { messageId: message.id, channelId: id }),
        act(guest, 'addBookmark', { messageId: message.id }),
        act(guest, 'setTyping', { channelId: id }),
        act(guest, 'sendMessage', { channelId: id, text: 'still here' }),
      ]),
    ),
    Array(5).fill('NOT_FOUND'),
  );
  t.strictSame(await read(other, id), before, 'others read it as ever');
  await done(ann, 'unbanFromRoom', { channelId: id, userId: guest.id });
  t.strictSame(await read(guest, id), before, 'lifted');
  await done(ann, 'banFromRoom', { channelId: id, userId: guest.id, seconds: 3600 });
  t.match(await read(guest, id), { messages: { totalCount: '0' } });
  await owner.query("update chat.room_bans set ends_at = now() - interval '1 second'");
  t.strictSame(await read(guest, id), before, 'over');
});

for (const query of [
  'subscription($id: UUID!) { messageEvents(channelId: $id) { message { text } } }',
  'subscription($id: UUID!) { channelEvents(channelId: $id) { event { type } } }',
  'subscription($id: UUID!) { typing(channelId: $id) { user { username } } }',
]) {
  const [, name = ''] = /\{ (\w+)\(/.exec(query) ?? [];
  t.test(`${name} ends for who is banned, member or not, and no new one begins`, async (t) => {
    const [ann, member, looking, staying] = await people(
      ...(['ann', 'member', 'looking', 'staying'] as const).map((each) => `${each}-${name}`),
    );
    if (!ann || !member || !looking || !staying) throw new Error('Four people were asked for.');
    const id = await room(ann, { isPublic: true });
    await done(member, 'joinRoom', { channelId: id });
    const hear = (by: Person) => listen(t, server.url, { query, variables: { id }, token: by.token });
    const happen = () =>
      name === 'typing'
        ? act(ann, 'setTyping', { channelId: id })
        : act(ann, 'sendMessage', { channelId: id, text: 'said' });
    const ears = [member, looking, staying].map(hear);
    for (const ear of ears) await wake(ear, happen);
    const [ofMember, ofLooking, ofStaying] = ears as [(typeof ears)[0], (typeof ears)[0], (typeof ears)[0]];
    for (const each of [member, looking]) await done(ann, 'banFromRoom', { channelId: id, userId: each.id });
    await done(ann, 'sendMessage', { channelId: id, text: 'after' });
    for (const ear of [ofMember, ofLooking]) {
      const heard = await ear.rest();
      t.match(heard.find(({ errors }) => errors)?.errors, [{ extensions: { code: 'NOT_FOUND' } }]);
      const texts = heard.filter(({ data }) => data).map((each) => fieldOf(each).message?.text);
      t.notOk(texts.includes('after'));
    }
    const again = await hear(looking).rest();
    t.match(again[0]?.errors, [{ extensions: { code: 'NOT_FOUND' } }]);
    await ofStaying.nothing();
    t.ok((await wake(ofStaying, happen)).data, 'who stays hears on');
  });
}

t.test('C3 nor is it seen, nor read by a bot of theirs, which goes with them', async (t) => {
  const [boss, guest] = await people('boss', 'guest-with-bot');
  const id = await room(boss, { isPublic: true, name: 'the square' });
  await done(boss, 'sendMessage', { channelId: id, text: 'the second walrus' });
  const bots = [];
  for (const name of ['inside', 'outside']) {
    const { rows } = await owner.query(
      `with made as (insert into identity.users (username, display_name) values ($1, 'Bot') returning id), account as (
        insert into identity.accounts (user_id) select id from made
      ), bot as (insert into identity.bots (user_id, owner_id) select id, $2 from made)
      insert into identity.sessions (user_id, scopes) select id, '{send,manage}' from made returning id, user_id`,
      [`bot-${name}`, guest.id],
    );
    const token = await world.tokens.sign({ sub: rows[0].user_id, sid: rows[0].id, role: 'member' });
    bots.push({ id: rows[0].user_id as string, username: name, token });
  }
  const [inside, outside] = bots as [Person, Person];
  await done(boss, 'addMember', { channelId: id, userId: inside.id });
  const seen = async (by: Person) => Number((await read(by, id)).messages.totalCount);
  for (const each of [guest, inside, outside]) t.equal(await seen(each), 1);
  const query = 'subscription($id: UUID!) { messageEvents(channelId: $id) { message { text } } }';
  const [ofBot, staying] = [outside, boss].map((by) =>
    listen(t, server.url, { query, variables: { id }, token: by.token }),
  ) as [ReturnType<typeof listen>, ReturnType<typeof listen>];
  const speak = () => act(boss, 'sendMessage', { channelId: id, text: 'said' });
  for (const ear of [ofBot, staying]) await wake(ear, speak);
  await done(boss, 'banFromRoom', { channelId: id, userId: guest.id });
  t.match((await ofBot.rest()).find(({ errors }) => errors)?.errors, [{ extensions: { code: 'NOT_FOUND' } }]);
  await staying.nothing();
  t.ok((await wake(staying, speak)).data, 'who stays hears on');
  await owner.query("delete from chat.messages where channel_id = $1 and text = 'said'", [id]);
  for (const each of [guest, inside, outside]) {
    t.equal(await seen(each), 0, each.username);
    t.equal((await read(each, id)).channel, null);
    t.equal((await act(each, 'joinRoom', { channelId: id })).errors?.[0]?.extensions?.code, 'FORBIDDEN');
  }
  t.strictSame(codes([await act(boss, 'addMember', { channelId: id, userId: outside.id })]), ['FORBIDDEN']);
  const why = await ask('{ me { roomBans { nodes { name channel { name } } } } }', {}, guest.token);
  t.strictSame(
    why.data.me.roomBans.nodes,
    [{ name: 'the square', channel: null }],
    'they know of what they are banned',
  );
  await done(boss, 'unbanFromRoom', { channelId: id, userId: guest.id });
  t.equal(await seen(outside), 1, 'and lifted it is for all');
});
