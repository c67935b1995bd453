import pino from 'pino';
import t from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { startServer } from '../../graphql/server.ts';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { fieldOf, type Heard, listen, messageEvents, type Over, until, userEvents, wake } from './listen.ts';

// Whoever comes back goes on where they were, at whichever process.

t.setTimeout(180_000);
const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const { url } = world.server;
const transports: Over[] = ['ws', 'sse'];

for (const over of transports) {
  t.test(`over ${over}`, async (t) => {
    const hear = (query: string, variables: object, by: Person) =>
      listen(t, url, { over, query, variables: { ...variables }, token: by.token });

    t.test('a cursor read with the state: nothing is missed or repeated while others write', async (t) => {
      const id = await acts.room(ann, [bob]);
      let writing = true;
      const write = async (who: Person) => {
        for (let n = 0; n < 60 && writing; n += 1) await acts.send(who, id, `${who.username} ${n}`);
      };
      const writers = Promise.all([write(ann), write(bob)]);
      const state = `query($id: UUID!) {
        cursor
        channel(id: $id) { messages(first: 100, orderBy: ID_ASC) { nodes { id } totalCount } }
      }`;
      for (let round = 0; round < 5; round += 1) {
        const { data } = await world.ask(state, { id }, bob.token);
        const seen: string[] = data.channel.messages.nodes.map((node: { id: string }) => node.id);
        if (seen.length >= 95) break;
        const ear = hear(messageEvents, { id, after: data.cursor }, bob);
        const heard = (await ear.take(5)).map((each) => fieldOf(each).message.id);
        await ear.stop();
        const all = await world.ask(state, { id }, bob.token);
        const ids = all.data.channel.messages.nodes.map((node: { id: string }) => node.id);
        t.same([...seen, ...heard], ids.slice(0, seen.length + 5), `round ${round}`);
      }
      writing = false;
      await writers;
    });

    t.test('whoever comes back with any cursor they were given goes on from there', async (t) => {
      const eve = await world.person(`eva-${over}`);
      const rooms = [await acts.room(ann, [eve]), await acts.room(bob, [eve]), await acts.room(ann, [eve])];
      const after = await acts.cursor();
      // Several topics in one transaction make batches of many events.
      for (let n = 0; n < 4; n += 1) {
        await world.owner.query(
          `select events.publish('user:' || $1, 'tick', jsonb_build_object('n', n)) from generate_series(1, 3) as n`,
          [eve.id],
        );
        for (const room of rooms) await acts.send(room === rooms[1] ? bob : ann, room, `${n}`);
      }
      const names = (heard: Heard[]) =>
        heard.map((each) => fieldOf(each).event).map(({ topic, seq }) => `${topic} ${seq}`);
      const whole = hear(userEvents, { after }, eve);
      const all = await whole.take(24);
      await whole.stop();
      const byTopic = (list: string[]) => [...list].sort();
      t.equal(new Set(names(all)).size, 24, 'each once');
      for (let tries = 0; tries < 12; tries += 1) {
        const at = Math.floor(Math.random() * 23);
        const { cursor } = fieldOf(all[at] as Heard).event;
        const ear = hear(userEvents, { after: cursor }, eve);
        const rest = await ear.take(23 - at);
        t.same(byTopic(names(rest)), byTopic(names(all.slice(at + 1))), `after ${at}: ${cursor}`);
        // And from the middle of that.
        if (rest.length > 2) {
          const middle = Math.floor(Math.random() * (rest.length - 1));
          const again = hear(userEvents, { after: fieldOf(rest[middle] as Heard).event.cursor }, eve);
          const last = await again.take(rest.length - 1 - middle);
          t.same(names(last).sort(), names(rest.slice(middle + 1)).sort(), `then after ${middle}`);
          await again.stop();
        }
        await ear.stop();
      }
    });
  });
}

t.test('a seq is a cursor as well where there is one topic', async (t) => {
  const id = await acts.room(ann);
  for (const text of ['one', 'two', 'three']) await acts.send(ann, id, text);
  const ear = listen(t, url, { query: messageEvents, variables: { id, after: '2' }, token: ann.token });
  t.same(
    (await ear.take(2)).map((each) => fieldOf(each).message.text),
    ['two', 'three'],
  );
});

t.test('D6 a subscriber at another server process hears what is said at this one, and the reverse', async (t) => {
  const settings = readSettings({ PORT: '0', HOST: '127.0.0.1', PLINTH_ENV: 'development' });
  const other = await startServer({
    settings: { ...settings, serverDatabaseUrl: world.proxy.url },
    keys: world.keys,
    databaseUrl: world.databaseUrl,
    log: pino({ level: 'silent' }),
    deliver: async () => {},
  });
  t.teardown(() => other.close());
  const id = await acts.room(ann, [bob]);
  const there = listen(t, other.url, {
    query: messageEvents,
    variables: { id, after: await acts.cursor() },
    token: bob.token,
  });
  const here = listen(t, url, {
    over: 'sse',
    query: messageEvents,
    variables: { id, after: await acts.cursor() },
    token: bob.token,
  });
  for (const text of ['one', 'two', 'three']) await acts.send(ann, id, text);
  for (const ear of [there, here]) {
    t.same(
      (await ear.take(3)).map((each) => fieldOf(each).message.text),
      ['one', 'two', 'three'],
    );
  }
  const ready = async () => (await (await fetch(`${url}ready`)).json()).events;
  await until(async () => (await ready()).processes === 2, 'Knowing of each other');
  const typing = listen(t, other.url, {
    query: 'subscription($id: UUID!) { typing(channelId: $id) { user { username } } }',
    variables: { id },
    token: bob.token,
  });
  t.equal(fieldOf(await wake(typing, () => acts.typing(ann, id))).user.username, 'ann');
  await there.stop();
  const { cursor } = fieldOf(
    (
      await listen(t, url, { query: messageEvents, variables: { id, after: '3' }, token: bob.token }).take(1)
    )[0] as Heard,
  ).event;
  const moved = listen(t, other.url, { query: messageEvents, variables: { id, after: cursor }, token: bob.token });
  t.equal(fieldOf(await moved.next()).message.text, 'three', 'a cursor of one is good at the other');
});
