import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { type Ear, fieldOf, listen } from './listen.ts';

// A state that was read once, with every event applied to it, is the state as it is read again: whatever people do.

t.setTimeout(180_000);
const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const people = [ann, bob];
// Stays: a room that everyone has left is closed.
const cat = await world.person('cat');
const { url } = world.server;

const operation = fc.record({
  by: fc.constantFrom(0, 1),
  what: fc.constantFrom('send', 'send', 'edit', 'delete', 'join', 'leave', 'read'),
  which: fc.nat(5),
});
type Operation = { by: number; what: string; which: number };

/** What a client holds: the room as bob sees it. */
type State = { messages: Record<string, string | null>; members: string[]; unread: number | null };
type Read = { state: State; cursor: string };

async function read(room: string): Promise<Read> {
  const query = `query($id: UUID!) {
    cursor
    channel(id: $id) {
      unread
      messages(first: 100, orderBy: ID_ASC) { nodes { id text } }
      members(first: 10) { nodes { user { username } } }
    }
  }`;
  const { data } = await world.ask(query, { id: room }, bob.token);
  const { unread, messages, members } = data.channel;
  return {
    cursor: data.cursor,
    state: {
      messages: Object.fromEntries(
        messages.nodes.map((each: { id: string; text: string | null }) => [each.id, each.text]),
      ),
      members: members.nodes.map((each: { user: { username: string } }) => each.user.username).sort(),
      unread,
    },
  };
}

/** Applies what a listener hears, up to the event of the channel that is the last. */
async function apply(state: State, last: string, ears: { messages: Ear; channel: Ear; user: Ear }): Promise<State> {
  const after: State = structuredClone(state);
  const each = async (ear: Ear, take: (field: ReturnType<typeof fieldOf>) => boolean): Promise<void> => {
    while (!take(fieldOf(await ear.next())));
  };
  await each(ears.messages, ({ message }) => {
    if (message.text === 'the end') return true;
    after.messages[message.id] = message.text;
    return false;
  });
  const seqs: number[] = [];
  await each(ears.channel, ({ event, user }) => {
    seqs.push(Number(event.seq));
    if (event.type === 'member_joined') after.members = [...new Set([...after.members, user.username])].sort();
    if (event.type === 'member_left') after.members = after.members.filter((name) => name !== user.username);
    return event.seq === last;
  });
  assert.deepEqual(
    seqs,
    seqs.map((_, index) => (seqs[0] as number) + index),
    'every event of the channel, in order',
  );
  await each(ears.user, ({ event, channel }) => {
    if (channel) after.unread = channel.unread;
    return event.topic === `channel:${channel?.id}` && event.seq === last;
  });
  return after;
}

async function perform(room: string, sent: string[], { by, what, which }: Operation): Promise<void> {
  const who = people[by] as Person;
  const message = sent[which % Math.max(sent.length, 1)] ?? room;
  const act: Record<string, () => Promise<unknown>> = {
    send: async () => void sent.push(await acts.send(who, room, `${sent.length}`)),
    edit: () => acts.edit(who, message, `edited ${which}`),
    delete: () => acts.delete(who, message),
    join: () => acts.join(who, room),
    leave: () => acts.leave(who, room),
    read: () => acts.read(who, room, which + 1),
  };
  // What is refused changes nothing, and that is part of life.
  await act[what]?.().catch((error: Error) => assert.match(error.message, /NOT_FOUND|FORBIDDEN|CONFLICT/));
}

t.test('verify: state once, with events applied, equals state again', async (t) => {
  const property = fc.asyncProperty(fc.array(operation, { maxLength: 12 }), fc.nat(12), async (operations, at) => {
    const room = await acts.room(ann, [bob, cat], true);
    const sent: string[] = [];
    for (const each of operations.slice(0, at)) await perform(room, sent, each);
    const { state, cursor } = await read(room);
    const hear = (query: string, variables = {}) =>
      listen(t, url, { query, variables: { ...variables, after: cursor }, token: bob.token });
    const channel = { id: room };
    const ears = {
      messages: hear(
        'subscription($id: UUID!, $after: String) { messageEvents(channelId: $id, after: $after) { message { id text } } }',
        channel,
      ),
      channel: hear(
        'subscription($id: UUID!, $after: String) { channelEvents(channelId: $id, after: $after) { event { seq type } user { username } } }',
        channel,
      ),
      user: hear(
        'subscription($after: String) { userEvents(after: $after) { event { topic seq } channel { id unread } } }',
      ),
    };
    for (const each of operations.slice(at)) await perform(room, sent, each);
    const again = await read(room);
    // What ends it.
    for (const who of people) await acts.join(who, room).catch(() => {});
    await acts.send(bob, room, 'the end');
    const { rows } = await world.owner.query(
      "update chat.channels set description = 'ended' where id = $1 returning event_seq",
      [room],
    );
    const final = await read(room);
    const applied = await apply(state, rows[0].event_seq, ears);
    assert.deepEqual(applied.messages, again.state.messages);
    assert.deepEqual(applied.members, final.state.members);
    assert.equal(applied.unread, final.state.unread);
    for (const ear of Object.values(ears)) await ear.stop();
  });
  await t.resolves(
    fc.assert(property, { numRuns: 25, interruptAfterTimeLimit: 30_000, markInterruptAsFailure: false }),
  );
});
