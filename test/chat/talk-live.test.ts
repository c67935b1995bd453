import t from 'tap';
import { openActs } from '../events/acts.ts';
import { fieldOf, listen } from '../events/listen.ts';
import { openWorld } from '../world.ts';

const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const { url } = world.server;

t.test('C13 reactions and pins come with the message as it is now', async (t) => {
  const room = await acts.room(ann, [bob]);
  const messageId = await acts.send(ann, room, 'look');
  const ear = listen(t, url, {
    query: `subscription($id: UUID!, $after: String) { messageEvents(channelId: $id, after: $after) {
      event { type } message { id reactions { nodes { emoji count mine } } } } }`,
    variables: { id: room, after: await acts.cursor() },
    token: bob.token,
  });
  await acts.done(bob, 'addReaction', { messageId, emoji: '🎉' });
  t.match(fieldOf(await ear.next()), {
    event: { type: 'reaction_added' },
    message: { id: messageId, reactions: { nodes: [{ emoji: '🎉', count: 1, mine: true }] } },
  });
  await acts.done(ann, 'pinMessage', { messageId });
  t.match(fieldOf(await ear.next()), { event: { type: 'message_pinned' }, message: { id: messageId } });
});

t.test('C13 a mention, and a draft from another device, come over userEvents', async (t) => {
  const room = await acts.room(ann, [bob]);
  const ear = listen(t, url, {
    query: `subscription($after: String) { userEvents(after: $after) { event { type data } channel { id draft { text } } } }`,
    variables: { after: await acts.cursor() },
    token: bob.token,
  });
  await acts.done(bob, 'setDraft', { channelId: room, text: 'I thi' });
  t.match(fieldOf(await ear.next()), {
    event: { type: 'draft_changed' },
    channel: { id: room, draft: { text: 'I thi' } },
  });
  const said = await acts.send(ann, room, 'hello @bob');
  let mention = fieldOf(await ear.next());
  while (mention.event.type !== 'mentioned') mention = fieldOf(await ear.next());
  t.match(mention, { event: { data: { message_id: said, user_id: ann.id } }, channel: { id: room } });
});
