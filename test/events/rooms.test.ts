import t from 'tap';
import { openActs } from '../chat/room-acts.ts';
import { openWorld, type Person } from '../world.ts';
import { type Ear, fieldOf, listen } from './listen.ts';

// What happens at the door of a room and to those in it reaches whom it concerns, live.

const world = await openWorld(t);
const { done, room, bring, people } = openActs(world);

const cursor = async (by: Person): Promise<string> => (await world.ask('{ cursor }', {}, by.token)).data.cursor;
async function hear(by: Person, channelId?: string): Promise<Ear> {
  const query = channelId
    ? `subscription ($id: UUID!, $after: String) { channelEvents(channelId: $id, after: $after) { event { type data } user { username } } }`
    : `subscription ($after: String) { userEvents(after: $after) { event { type data } channel { name } } }`;
  const variables = { after: await cursor(by), ...(channelId && { id: channelId }) };
  return listen(t, world.server.url, { query, variables, token: by.token });
}
const typesOf = async (ear: Ear, count: number): Promise<string[]> =>
  (await ear.take(count)).map((each) => fieldOf(each).event.type);

t.test('C11 C13 who is invited, and who decides on a request, hears of it; the room is not told', async (t) => {
  const [ann, bob, cat] = await people('ann', 'bob', 'cat');
  const channelId = await room(ann, { name: 'cellar' });
  await bring(ann, channelId, bob);
  const [byAnn, byCat, inRoom] = [await hear(ann), await hear(cat), await hear(bob, channelId)];
  await done(ann, 'inviteToRoom', { channelId, userId: cat.id });
  const told = fieldOf(await byCat.next());
  t.match(told, {
    event: { type: 'room_invitation', data: { channel_id: channelId, user_id: ann.id } },
    channel: null,
  });
  await done(cat, 'declineInvitation', { channelId });
  await done(ann, 'withdrawInvitation', { channelId, userId: cat.id });
  await done(ann, 'updateRoom', { channelId, requiresApproval: true });
  await done(cat, 'requestToJoin', { channelId, text: 'hello?' });
  t.match(fieldOf(await byAnn.next()), {
    event: { type: 'join_requested', data: { channel_id: channelId, user_id: cat.id } },
    channel: { name: 'cellar' },
  });
  await done(ann, 'declineRequest', { channelId, userId: cat.id });
  t.strictSame(await typesOf(byCat, 1), ['join_request_declined']);
  t.strictSame(await typesOf(inRoom, 1), ['room_changed']);
  t.strictSame(await inRoom.nothing(), [], 'nor what was said at its door');
});

t.test('C13 a member hears of what is done to them, and nothing of the room once they are banned', async (t) => {
  const [ann, bob, cat] = await people('ann2', 'bob2', 'cat2');
  const channelId = await room(ann);
  await bring(ann, channelId, bob, cat);
  const [byBob, asBob, asCat] = [await hear(bob), await hear(bob, channelId), await hear(cat, channelId)];
  await done(ann, 'muteMember', { channelId, userId: bob.id, seconds: 600, reason: 'noise' });
  t.strictSame(await typesOf(asBob, 1), ['member_muted']);
  await done(ann, 'banFromRoom', { channelId, userId: bob.id, reason: 'more noise' });
  await done(ann, 'sendMessage', { channelId, text: 'he is gone' });
  t.match(
    (await byBob.take(3)).map((each) => fieldOf(each).event),
    [
      { type: 'membership_muted', data: { reason: 'noise' } },
      { type: 'membership_left' },
      { type: 'membership_banned', data: { reason: 'more noise' } },
    ],
  );
  t.strictSame(await byBob.nothing(), []);
  const rest = await asBob.rest();
  t.strictSame(
    rest.filter(({ data }) => data),
    [],
  );
  t.match(rest.at(-2)?.errors, [{ extensions: { code: 'NOT_FOUND' } }], 'whoever listened is told why it ends');
  t.strictSame(await typesOf(asCat, 4), ['member_muted', 'member_left', 'member_banned', 'message_sent']);
});
