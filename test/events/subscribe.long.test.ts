import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { fieldOf, type Heard, listen, messageEvents, type Over, userEvents, wake } from './listen.ts';

// The subscriptions of the API, over both transports: what they send.

t.setTimeout(180_000);
const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob, cat] = [await world.person('ann'), await world.person('bob'), await world.person('cat')];
const { url } = world.server;
const transports: Over[] = ['ws', 'sse'];

const channelEvents = `subscription($id: UUID!, $after: String) {
  channelEvents(channelId: $id, after: $after) { event { seq type } user { username } }
}`;

const typeOf = (heard: Heard): string => fieldOf(heard).event.type;

for (const over of transports) {
  t.test(`over ${over}`, async (t) => {
    const hear = (query: string, variables: object, by: Person, headers?: Record<string, string>) =>
      listen(t, url, { over, query, variables: { ...variables }, token: by.token, ...(headers && { headers }) });

    t.test('C13 messageEvents: messages as they are sent, edited and deleted, and nothing else', async (t) => {
      const id = await acts.room(ann, [bob]);
      const ear = hear(messageEvents, { id, after: await acts.cursor() }, bob);
      const message = await acts.send(ann, id, 'one');
      const sent = fieldOf(await ear.next());
      t.match(sent, {
        event: {
          topic: `channel:${id}`,
          seq: '3',
          type: 'message_sent',
          data: { channel_id: id, message_id: message },
        },
        message: { id: message, text: 'one', sender: { username: 'ann' } },
      });
      t.match(sent.event.metadata, { user_id: ann.id, trace_id: String });
      await acts.edit(ann, message, 'two');
      t.match(fieldOf(await ear.next()), { event: { type: 'message_edited' }, message: { text: 'two' } });
      await acts.join(cat, await acts.room(ann, [], true));
      await acts.add(ann, id, cat);
      await acts.delete(ann, message);
      t.match(fieldOf(await ear.next()), { event: { type: 'message_deleted' }, message: { text: null } });
    });

    t.test('channelEvents: everything, with whom it is about, else who did it', async (t) => {
      const id = await acts.room(ann, [], true);
      const ear = hear(channelEvents, { id, after: await acts.cursor() }, ann);
      await acts.join(bob, id);
      await acts.send(bob, id, 'here I am');
      await acts.leave(bob, id);
      await world.owner.query("update chat.channels set name = 'Hall' where id = $1", [id]);
      const heard = (await ear.take(4)).map(fieldOf);
      t.same(
        heard.map(({ event, user }) => [event.seq, event.type, user?.username]),
        [
          ['2', 'member_joined', 'bob'],
          ['3', 'message_sent', 'bob'],
          ['4', 'member_left', 'bob'],
          ['5', 'channel_changed', undefined],
        ],
      );
    });

    t.test('userEvents: what concerns oneself, in channels joined and left meanwhile too', async (t) => {
      const eve = await world.person(`eve-${over}`);
      const [first, second] = [await acts.room(ann, [eve]), await acts.room(ann, [], true)];
      const ear = hear(userEvents, { after: await acts.cursor() }, eve);
      await acts.send(ann, second, 'not for eve');
      await acts.send(ann, first, 'for eve');
      t.match(fieldOf(await ear.next()), { event: { type: 'message_sent' }, channel: { id: first, unread: 1 } });
      await acts.join(eve, second);
      await acts.send(ann, second, 'for eve now');
      // The order is that of each topic.
      t.same((await ear.take(2)).map(typeOf).sort(), ['membership_joined', 'message_sent']);
      await acts.leave(eve, second);
      await acts.send(ann, second, 'no longer for eve');
      await acts.read(eve, first);
      t.match((await ear.take(2)).map(fieldOf), [
        { event: { type: 'membership_left' } },
        { event: { type: 'message_read' }, channel: { id: first, unread: 0 } },
      ]);
      t.same(await ear.nothing(), []);
    });

    t.test('typing and presence: who listens is told, and nothing is written', async (t) => {
      const id = await acts.room(ann, [bob]);
      const count = async () => (await world.owner.query('select count(*)::integer as n from events.log')).rows[0].n;
      const before = await count();
      const typing = hear(
        'subscription($id: UUID!) { typing(channelId: $id) { event { type seq cursor } user { username } } }',
        { id },
        bob,
      );
      t.same(fieldOf(await wake(typing, () => acts.typing(ann, id))), {
        event: { type: 'typing', seq: null, cursor: null },
        user: { username: 'ann' },
      });
      const presence = hear(
        'subscription($ids: [UUID!]!) { presence(userIds: $ids) { event { data } user { username } } }',
        { ids: [ann.id, cat.id] },
        bob,
      );
      // Only what changes is told, and what was said within a second is written as one: a status stays for three pokes.
      let turns = 0;
      const status = () => (['AWAY', 'ONLINE'] as const)[Math.floor(turns++ / 3) % 2] as string;
      t.match(fieldOf(await wake(presence, () => acts.presence(ann, status()))), {
        event: { data: { user_id: ann.id, status: /^(away|online)$/ } },
        user: { username: 'ann' },
      });
      await acts.presence(bob, 'ONLINE');
      const heard = await wake(presence, () => acts.presence(cat, status()));
      t.equal(fieldOf(heard).user.username === 'bob', false, 'only those who were named');
      t.equal(await count(), before);
    });

    t.test('aliases, fragments, __typename and directives are answered as in a query', async (t) => {
      const id = await acts.room(ann);
      const query = `subscription S($id: UUID!, $after: String, $no: Boolean!) {
        room: messageEvents(channelId: $id, after: $after) {
          __typename
          what: event { kind: type ...Place }
          said: message { ... on Message { __typename words: text, id @include(if: $no) } }
          again: message { text }
        }
      }
      fragment Place on Event { seq __typename }`;
      const ear = hear(query, { id, after: await acts.cursor(), no: false }, ann);
      await acts.send(ann, id, 'hello "you"\n\u2028 ☃');
      t.same((await ear.next()).data, {
        room: {
          __typename: 'MessageEventsPayload',
          what: { kind: 'message_sent', seq: '2', __typename: 'Event' },
          said: { __typename: 'Message', words: 'hello "you"\n\u2028 ☃' },
          again: { text: 'hello "you"\n\u2028 ☃' },
        },
      });
    });

    t.test('what is wrong is told, and ends it', async (t) => {
      const id = await acts.room(ann);
      const told = async (query: string, variables: object, by?: Person) => {
        const ear = listen(t, url, { over, query, variables: { ...variables }, token: by?.token });
        const rest = await ear.rest();
        return rest[0]?.errors?.[0];
      };
      const refused = { extensions: { code: 'NOT_FOUND', argument: 'channelId' } };
      t.match(await told(messageEvents, { id: ann.id }, ann), refused, 'no such channel');
      t.match(await told(messageEvents, { id }, cat), refused, 'not theirs');
      t.match(
        await told(messageEvents, { id }),
        { extensions: { code: /UNAUTHENTICATED|FORBIDDEN/ } },
        'not signed in',
      );
      for (const after of ['nonsense', '', '1:2', '-1', '1:1:~2', `${'9'.repeat(30)}`, '1:1:1,x', '1:5:~1:6:~x~y']) {
        t.match(
          await told(messageEvents, { id, after }, ann),
          { extensions: { code: /BAD_USER_INPUT|CURSOR_EXPIRED/ } },
          after,
        );
      }
      t.match(await told(messageEvents, { id, after: '99999' }, ann), { extensions: { code: 'CURSOR_EXPIRED' } });
      t.match(await told(messageEvents, { id: 5 }, ann), { extensions: { code: 'BAD_USER_INPUT' } });
      t.match(await told('subscription { nothingSuch { id } }', {}, ann), { message: /nothingSuch/ });
      t.match(await told('subscription { userEvents { event { id } } b: userEvents { event { id } } }', {}, ann), {
        message: /only one/,
      });
      t.match(await told('subscription { presence(userIds: []) { event { id } } }', {}, ann), {
        extensions: { code: 'BAD_USER_INPUT', argument: 'userIds' },
      });
    });
  });
}
