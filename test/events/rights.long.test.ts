import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { type Ear, fieldOf, type Heard, listen, type Over, until, wake } from './listen.ts';

// Who loses the right to listen hears nothing of what is committed later, and is told why.

t.setTimeout(180_000);
const world = await openWorld(t);
const { owner } = world;
const acts = openActs(world);
const { url } = world.server;
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const names = new Set<string>();
const someone = () => world.person(`guest-${names.add(`${names.size}`).size}`);

const messageEvents = `subscription($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) { event { cursor } message { text } }
}`;
const userEvents = `subscription($after: String) {
  userEvents(after: $after) { event { type data } channel { id name } }
}`;
const textsOf = (heard: Heard[]): string[] =>
  heard.filter(({ data }) => data).map((each) => fieldOf(each).message.text);

type Loss = [how: string, lose: (guest: Person, room: string) => Promise<unknown>, code: string | RegExp];
const losses: Loss[] = [
  ['is removed from the room', (guest, room) => acts.remove(ann, room, guest), 'NOT_FOUND'],
  ['leaves', (guest, room) => acts.leave(guest, room), 'NOT_FOUND'],
  ['logs out', (guest) => world.ask('mutation { logOut { ok } }', {}, guest.token), 'UNAUTHENTICATED'],
  ['ends all sessions', (guest) => acts.done(guest, 'revokeSessions', {}), 'UNAUTHENTICATED'],
  [
    'is banned',
    ({ id }) => owner.query("update identity.accounts set status = 'banned' where user_id = $1", [id]),
    'UNAUTHENTICATED',
  ],
  [
    'becomes an operator, whose token says less',
    ({ id }) => owner.query('update identity.accounts set is_operator = true where user_id = $1', [id]),
    'UNAUTHENTICATED',
  ],
  [
    'removes the account',
    (guest) => world.ask('mutation { removeAccount { ok } }', {}, guest.token),
    // Asked between the two, whether the session holds and whether the room may be read, it is the room that is gone.
    /^(UNAUTHENTICATED|NOT_FOUND)$/,
  ],
  [
    'has a session that is deleted',
    ({ id }) => owner.query('delete from identity.sessions where user_id = $1', [id]),
    'UNAUTHENTICATED',
  ],
];

for (const over of ['ws', 'sse'] as Over[]) {
  t.test(`over ${over}`, async (t) => {
    for (const [how, lose, code] of losses) {
      t.test(`who ${how} hears nothing after that, and is told why`, async (t) => {
        const guest = await someone();
        const room = await acts.room(ann, [guest, bob]);
        const after = await acts.cursor();
        const hear = (by: Person) =>
          listen(t, url, { over, query: messageEvents, variables: { id: room, after }, token: by.token });
        // The one who stays may listen in one group with the one who goes.
        const [going, staying] = [hear(guest), hear(bob)];
        await acts.send(ann, room, 'before');
        await Promise.all([going.next(), staying.next()]);
        // Written while it happens, so that it happens in the middle of batches.
        let writing = true;
        const write = async () => {
          for (let n = 0; writing && n < 50; n += 1) await acts.send(ann, room, `${n}`);
        };
        const written = write();
        await until(
          async () =>
            (await owner.query('select last_seq from chat.channels where id = $1', [room])).rows[0].last_seq > 4,
        );
        await lose(guest, room);
        const { rows } = await owner.query('select last_seq::integer as seq from chat.channels where id = $1', [room]);
        writing = false;
        await written;
        await acts.send(ann, room, 'after');
        const heard = await going.rest();
        const texts = textsOf(heard);
        t.ok(texts.length < rows[0].seq, 'nothing that was said when it was over');
        t.notOk(texts.includes('after'));
        t.match(heard.find(({ errors }) => errors)?.errors, [{ extensions: { code } }]);
        const all: string[] = [];
        while (all.at(-1) !== 'after') all.push(...textsOf([await staying.next()]));
        t.same(all, [...all.keys()].map(String).slice(0, -1).concat('after'), 'who stays misses nothing');
      });
    }
  });
}

t.test('who only looked on at a public room hears nothing once it is private; members do', async (t) => {
  const guest = await someone();
  const room = await acts.room(ann, [bob], true);
  const after = await acts.cursor();
  const hear = (by: Person) =>
    listen(t, url, { query: messageEvents, variables: { id: room, after }, token: by.token });
  const [looking, member] = [hear(guest), hear(bob)];
  await acts.send(ann, room, 'open');
  t.same(textsOf([await looking.next(), await member.next()]), ['open', 'open']);
  await owner.query('update chat.channels set is_public = false where id = $1', [room]);
  await acts.send(ann, room, 'closed');
  const heard = await looking.rest();
  t.same(textsOf(heard), []);
  t.match(heard[0]?.errors, [{ extensions: { code: 'NOT_FOUND' } }]);
  t.same(textsOf([await member.next()]), ['closed']);
});

t.test('who is removed does not see who types from then on', async (t) => {
  const query = 'subscription($id: UUID!) { typing(channelId: $id) { user { username } } }';
  for (let round = 0; round < 10; round += 1) {
    const guest = await someone();
    const room = await acts.room(ann, [guest, bob]);
    const ear = listen(t, url, { query, variables: { id: room }, token: guest.token });
    await wake(ear, () => acts.typing(ann, room));
    // Whatever else ann typed comes before him.
    await acts.typing(bob, room);
    while (fieldOf(await ear.next()).user.username !== 'bob');
    await acts.remove(ann, room, guest);
    await Promise.all([acts.typing(bob, room), acts.typing(bob, room)]);
    const heard = await ear.rest();
    t.match(heard, [{ errors: [{ extensions: { code: 'NOT_FOUND' } }] }, { end: /./ }], `round ${round}`);
    t.equal(heard.length, 2);
  }
});

t.test('userEvents goes on without the channels that were left, and names nothing of them', async (t) => {
  const guest = await someone();
  const [kept, left] = [await acts.room(ann, [guest]), await acts.room(ann, [guest])];
  const ear = listen(t, url, { query: userEvents, variables: { after: await acts.cursor() }, token: guest.token });
  await acts.remove(ann, left, guest);
  await acts.send(ann, left, 'secret');
  await owner.query("update chat.channels set name = 'Secret' where id = $1", [left]);
  await acts.send(ann, kept, 'here');
  const heard = (await ear.take(2)).map(fieldOf);
  const by = Object.fromEntries(heard.map((each) => [each.event.type, each.channel]));
  t.same(by, { membership_left: null, message_sent: { id: kept, name: 'Room' } });
  t.same(await ear.nothing(), []);
});

t.test('who stays hears all, though the one whom the server asks as is removed just then', async (t) => {
  const small = await openWorld(t, { env: { POOL_SIZE: '1' } });
  const does = openActs(small);
  const [owner, going, staying] = [
    await small.person('owner'),
    await small.person('going'),
    await small.person('staying'),
  ];
  const as = "select set_config('plinth.user_id', $1, false)";
  for (const order of [
    [going, staying],
    [staying, going],
  ]) {
    const room = await does.room(owner, [going, staying]);
    const ears = new Map<Person, Ear>();
    for (const by of order) {
      const variables = { id: room, after: await does.cursor() };
      ears.set(by, listen(t, small.server.url, { query: messageEvents, variables, token: by.token }));
      await does.send(owner, room, 'before');
      for (const ear of ears.values()) await ear.next();
    }
    // The one connection of the server is held up: what is said is read for them only after one of them was removed.
    const held = await small.owner.connect();
    await held.query('begin; lock table identity.attempts in access exclusive mode');
    const holding = small.ask('mutation { requestCode(input: { phone: "+77010000000" }) { codeRequest { id } } }');
    await until(async () => {
      const waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
      return (await small.owner.query(waiting)).rows.length > 0;
    });
    const other = await small.owner.connect();
    await other.query(as, [owner.id]);
    await other.query("select chat.send_message($1, 'held')", [room]);
    await sleep(200);
    await other.query('select chat.remove_member($1, $2)', [room, going.id]);
    other.release(true);
    await held.query('rollback');
    held.release();
    await holding;
    t.same(textsOf([await (ears.get(staying) as Ear).next()]), ['held']);
    const rest = await (ears.get(going) as Ear).rest();
    t.match(rest.at(-2)?.errors, [{ extensions: { code: 'NOT_FOUND' } }]);
  }
});

t.test('what depends on who looks is each one’s own, though others listen to the same document', async (t) => {
  const room = await acts.room(ann, [bob], true);
  const guest = await someone();
  await owner.query(
    "update identity.accounts set email = username || '@example.com' from identity.users where users.id = user_id",
  );
  const query = `subscription($id: UUID!, $after: String) {
    messageEvents(channelId: $id, after: $after) {
      message {
        text
        channel { unread otherUser { username } members(first: 10) { nodes { user { username account { email } } } } }
        sender { username account { email } memberships(first: 100) { nodes { channel { id } } } }
      }
    }
  }`;
  const others = await acts.room(ann, []);
  await acts.send(bob, room, 'unread by ann');
  const after = await acts.cursor();
  const hear = (by: Person) => listen(t, url, { query, variables: { id: room, after }, token: by.token });
  const ears = [ann, bob, guest, ann].map(hear);
  await acts.send(ann, room, 'hello');
  const own = async (ear: Ear | undefined) => fieldOf(await (ear as Ear).next()).message;
  const [byAnn, byBob, byGuest, again] = [
    await own(ears[0]),
    await own(ears[1]),
    await own(ears[2]),
    await own(ears[3]),
  ];
  t.same(byAnn, again);
  t.match(byAnn, { channel: { unread: 0 }, sender: { account: { email: 'ann@example.com' } } });
  t.match(byBob, { channel: { unread: 1 }, sender: { account: null } });
  t.match(byGuest, { channel: { unread: null }, sender: { account: null } });
  const rooms = (message: typeof byAnn) =>
    message.sender.memberships.nodes.map((node: { channel: { id: string } }) => node.channel.id);
  t.ok(rooms(byAnn).includes(others), 'her own rooms');
  t.notOk(rooms(byBob).includes(others), 'not told to others');
});
