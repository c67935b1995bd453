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
    channel: {
      name: 'room',
      messages: { totalCount: '0' },
      members: { totalCount: '0' },
      pins: { totalCount: '0' },
      room: null,
    },
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
