import t from 'tap';
import { openActs } from '../events/acts.ts';
import { openWorld, type Person } from '../world.ts';

// C11: what is said and done in rooms becomes a notification.

const world = await openWorld(t);
const { ask, person } = world;
const acts = openActs(world);

const notificationsOf = async (by: Person) =>
  (await ask('{ notifications { nodes { type channel { id } actor { username } } } }', {}, by.token)).data.notifications
    .nodes;
const send = (by: Person, channelId: string, text: string) =>
  ask(
    'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }',
    { input: { channelId, text, nonce: text } },
    by.token,
  );

t.test('who is named with @ is told, once, and not who names themselves', async (t) => {
  const [anna, boris] = [await person('tolda'), await person('toldb')];
  const room = await acts.room(anna, [boris]);
  await send(anna, room, 'hello @toldb and @tolda');
  await send(anna, room, 'hello @toldb and @tolda');
  t.match(await notificationsOf(boris), [{ type: 'MENTION', channel: { id: room }, actor: { username: 'tolda' } }]);
  t.same(
    (await notificationsOf(anna)).filter(({ type }: { type: string }) => type === 'MENTION'),
    [],
  );
});

t.test('who is invited into a room is told', async (t) => {
  const [anna, clara] = [await person('toldc'), await person('toldd')];
  const room = await acts.room(anna);
  const invited = await ask(
    'mutation ($input: InviteToRoomInput!) { inviteToRoom(input: $input) { roomInvitation { channelId } } }',
    { input: { channelId: room, userId: clara.id } },
    anna.token,
  );
  t.equal(invited.errors, undefined);
  t.match(await notificationsOf(clara), [{ type: 'ROOM_INVITATION', actor: { username: 'toldc' } }]);
});
