import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { type Ear, fieldOf, listen, messageEvents, until, wake } from './listen.ts';

// A public room that becomes private, and who listened to it. What one who may listen is sent, others are sent too who asked for the same:
// so each of them has to lose it.

t.setTimeout(180_000);
const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob, eve] = [await world.person('ann'), await world.person('bob'), await world.person('eve')];
const count = async () => (await (await fetch(`${world.server.url}ready`)).json()).events.subscribers;
const close = 'update chat.channels set is_public = false where id = $1';

t.test('S2 a right that ends between the asking for it and the joining is asked for again', async (t) => {
  const room = await acts.room(ann, [bob], true);
  const hear = ({ token }: Person) =>
    listen(t, world.server.url, { query: messageEvents, variables: { id: room }, token });
  await sleep(300);
  // Until this transaction ends the log cannot be read: who asks for the right meanwhile joins after it.
  const closing = await world.owner.connect();
  t.teardown(() => closing.release());
  await closing.query('begin');
  await closing.query('lock table events.log in access exclusive mode');
  await sleep(1500);
  const first = hear(bob);
  await until(async () => (await count()) === 1);
  const second = hear(eve);
  await until(async () => (await count()) === 2);
  await sleep(300);
  await closing.query(close, [room]);
  await closing.query('commit');
  const heard = await wake(first, () => acts.send(ann, room, 'among us'));
  t.equal(fieldOf(heard).message.text, 'among us');
  t.match(await second.next(), { errors: [{ extensions: { code: 'NOT_FOUND' } }] });
});

t.test('S2 who may no longer read a room does not see who is typing in it either', async (t) => {
  const dan = await world.person('dan');
  const room = await acts.room(ann, [bob, dan], true);
  const query = 'subscription($id: UUID!) { typing(channelId: $id) { user { username } } }';
  const hear = ({ token }: Person) => listen(t, world.server.url, { query, variables: { id: room }, token });
  const whoTypes = async (ear: Ear) => fieldOf(await wake(ear, () => acts.typing(ann, room))).user.username;
  const first = hear(bob);
  t.equal(await whoTypes(first), 'ann');
  const second = hear(eve);
  t.equal(await whoTypes(second), 'ann');
  // Whatever else ann typed comes before him.
  await acts.typing(dan, room);
  for (const ear of [first, second]) while (fieldOf(await ear.next()).user.username !== 'dan');
  await world.owner.query(close, [room]);
  t.match(await second.next(), { errors: [{ extensions: { code: 'NOT_FOUND' } }] });
  t.equal(await whoTypes(first), 'ann');
  t.same(await second.rest(), [{ end: 'error' }]);
});
