import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { type Ear, fieldOf, type Heard, listen, until } from './listen.ts';

// Subscriptions to topics of one's own, of which each is many others' too: what all are sent the same is read once.

t.setTimeout(180_000);
const world = await openWorld(t, { env: { MAX_SUBSCRIPTIONS_PER_USER: '1000' } });
const { owner } = world;
const acts = openActs(world);
const { url } = world.server;
const ann = await world.person('ann');
const operator = await world.person('operator', { operator: true });
const names = new Set<string>();
const someone = () => world.person(`guest-${names.add(`${names.size}`).size}`);

const selected = 'event { type data } channel { id name lastSeq lastMessage { text sender { username } } }';
const theSame = `subscription($after: String) { userEvents(after: $after) { ${selected} } }`;
const theirOwn = `subscription($after: String) { userEvents(after: $after) { ${selected.replace('name', 'name unread')} } }`;

const hear = (by: Person, query: string, after: string): Ear =>
  listen(t, url, { query, variables: { after }, token: by.token });
const textOf = (heard: Heard): string | undefined => fieldOf(heard).channel?.lastMessage?.text;
const subscribers = async (): Promise<number> => (await (await fetch(`${url}ready`)).json()).events.subscribers;

/** How many round trips the server has made to render what subscriptions are sent. */
async function rendered(): Promise<number> {
  const response = await fetch(`${url}admin/db_metrics`, { headers: { authorization: `Bearer ${operator.token}` } });
  const { operations } = (await response.json()) as { operations: { operation: string; queries: number }[] };
  return operations.find(({ operation }) => operation === 'subscriptions')?.queries ?? 0;
}

/** Everyone listens live: what was sent before has come. */
async function listening(people: Person[], room: string, query: string): Promise<Ear[]> {
  const after = await acts.cursor();
  const ears = people.map((person) => hear(person, query, after));
  await until(async () => (await subscribers()) >= people.length, 'That all listen');
  await acts.send(ann, room, 'ready');
  for (const ear of ears) t.equal(textOf(await ear.next()), 'ready');
  return ears;
}

for (const [name, query, isShared] of [
  ['C13 what is the same for all is read once, however many hear it', theSame, true],
  ['what differs is read for each', theirOwn, false],
] as [string, string, boolean][]) {
  t.test(name, async (t) => {
    const people = await Promise.all(Array.from({ length: 12 }, someone));
    const room = await acts.room(ann, people);
    const ears = await listening(people, room, query);
    // Those who joined last have read on by themselves until now.
    await acts.send(ann, room, 'once more');
    for (const ear of ears) await ear.next();
    const before = await rendered();
    await acts.send(ann, room, 'hello');
    for (const ear of ears) {
      t.match(fieldOf(await ear.next()), {
        event: { type: 'message_sent', data: { channel_id: room, seq: 3 } },
        channel: { id: room, name: 'Room', lastSeq: '3', lastMessage: { text: 'hello', sender: { username: 'ann' } } },
      });
    }
    const count = (await rendered()) - before;
    t.ok(isShared ? count <= 3 : count >= people.length, `${count} statements for ${people.length} people`);
    await Promise.all(ears.map((ear) => ear.stop()));
    await until(async () => (await subscribers()) === 0, 'That all have gone');
  });
}

t.test('each hears of the channels that are theirs, and in the order of each', async (t) => {
  const people = await Promise.all(Array.from({ length: 6 }, someone));
  const [all, some] = [await acts.room(ann, people), await acts.room(ann, people.slice(0, 3))];
  const ears = await listening(people, all, theSame);
  const spoken = await Promise.all(
    Array.from({ length: 40 }, (_, n) => acts.send(ann, n % 2 === 0 ? all : some, `${n}`)),
  );
  await acts.send(ann, all, 'the end');
  for (const [place, ear] of ears.entries()) {
    const heard: Heard[] = await ear.take(place < 3 ? spoken.length + 1 : spoken.length / 2 + 1);
    for (const id of [all, some]) {
      const seqs = heard.map((each) => fieldOf(each).event.data).filter(({ channel_id }) => channel_id === id);
      const first = id === all ? 2 : 1;
      t.same(
        seqs.map(({ seq }) => seq),
        seqs.map((_, index) => first + index),
      );
    }
    t.same(await ear.nothing(), []);
    await ear.stop();
  }
});

t.test('who is in no channel hears what concerns them alone', async (t) => {
  const people = await Promise.all(Array.from({ length: 4 }, someone));
  const after = await acts.cursor();
  const ears = people.map((person) => hear(person, theSame, after));
  const rooms: string[] = [];
  for (const person of people) rooms.push(await acts.room(ann, [person]));
  for (const [place, ear] of ears.entries()) {
    t.match(fieldOf(await ear.next()), { event: { type: 'membership_joined' }, channel: { id: rooms[place] } });
    t.same(await ear.nothing(), []);
  }
});

t.test('who is removed is shown nothing that was said later, not even beside what was said before', async (t) => {
  const people = await Promise.all(Array.from({ length: 5 }, someone));
  const guest = await someone();
  const room = await acts.room(ann, [guest, ...people]);
  const ears = await listening([guest, ...people], room, theSame);
  const [going, staying] = ears as [Ear, Ear];
  const [holder, writer] = [await owner.connect(), await owner.connect()];
  try {
    await writer.query("select set_config('plinth.user_id', $1, false)", [ann.id]);
    // Requests wait while the sessions are locked; who writes as the owner does not.
    await holder.query('begin');
    await holder.query('lock table identity.sessions');
    await writer.query('select chat.send_message($1, $2)', [room, 'before']);
    await until(async () => {
      const { rowCount } = await writer.query(
        "select from pg_locks where not granted and relation = 'identity.sessions'::regclass",
      );
      return rowCount !== 0;
    }, 'That it is about to be read for those who listen');
    await writer.query('select chat.remove_member($1, $2)', [room, guest.id]);
    await writer.query('select chat.send_message($1, $2)', [room, 'secret']);
    await holder.query('commit');
  } finally {
    holder.release(true);
    writer.release(true);
  }
  const heard: Heard[] = [];
  while (fieldOf(heard.at(-1) ?? (await push(heard, going))).event.type !== 'membership_left') await push(heard, going);
  t.same(
    heard.map(textOf).filter((text) => text === 'secret'),
    [],
  );
  t.same(await going.nothing(), []);
  t.same(
    (await staying.take(2)).map((each) => fieldOf(each).event.data.seq),
    [2, 3],
    'who stays misses nothing',
  );
});

async function push(heard: Heard[], ear: Ear): Promise<Heard> {
  const next = await ear.next();
  heard.push(next);
  return next;
}
