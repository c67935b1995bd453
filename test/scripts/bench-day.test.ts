import t from 'tap';
import {
  judgeSent,
  judgeUnread,
  openAccount,
  openPositions,
  type Told,
  type Truth,
} from '../../scripts/bench/day/account.ts';
import { broken, startClock } from '../../scripts/bench/day/figures.ts';
import { idleTime, pickAction, weights } from '../../scripts/bench/day/model.ts';
import { seeded } from '../../scripts/chaos/random.ts';

// The bench of a messenger's day finds what is wrong: everything here is planted.

const truth: Truth = {
  seqs: new Map([
    ['room', 13],
    ['chat', 2],
  ]),
  messages: new Map([
    ['room', new Map([11, 12, 13].map((seq) => [seq, `room-${seq}`]))],
    ['chat', new Map([1, 2].map((seq) => [seq, `chat-${seq}`]))],
  ]),
};
const told = (channel_id: string, seq: number, message_id = `${channel_id}-${seq}`): Told => ({
  ...{ cursor: '', topic: `channel:${channel_id}`, type: 'message_sent', timestamp: '' },
  data: { channel_id, message_id, seq },
});
const everything = [told('room', 11), told('chat', 1), told('room', 12), told('chat', 2), told('room', 13)];

function judge(events: Told[]) {
  const said: string[] = [];
  // The room had 10 messages when it began; the chat was opened later.
  const account = openAccount('someone', new Map([['room', 10]]), (what) => said.push(what));
  for (const event of events) account.take(event);
  return { ...account.judge(truth, ['room', 'chat']), said: said.length };
}
const good = { lost: 0, repeated: 0, outOfOrder: 0, different: 0, delivered: 5, said: 0 };

t.test('what each was sent', async (t) => {
  t.same(judge(everything), good);
  const edited = { ...told('room', 11), type: 'message_edited' };
  t.same(judge([...everything, edited]), good, 'only what is sent is counted');

  t.test('a message that never came: in the middle, at the end, all of a channel', async (t) => {
    t.match(judge(everything.toSpliced(2, 1)), { lost: 1, repeated: 0, said: 1 });
    t.match(judge(everything.slice(0, -1)), { lost: 1, repeated: 0, said: 1 });
    t.match(judge(everything.slice(0, -3)), { lost: 3, said: 2 });
    t.match(judge([]), { lost: 5, delivered: 0 });
  });
  t.test('one that came twice, at once or after a reconnect', async (t) => {
    t.match(judge([...everything, told('room', 13)]), { repeated: 1, lost: 0, said: 1 });
    t.match(judge([...everything, told('room', 12), told('room', 13)]), { repeated: 2, lost: 0, said: 2 });
    t.match(judge([told('room', 10), ...everything]), { repeated: 1, lost: 0 }, 'what was read with the state');
  });
  t.test('one that came late', async (t) => {
    const late = [told('room', 12), told('room', 11), told('room', 13), told('chat', 1), told('chat', 2)];
    t.match(judge(late), { outOfOrder: 1, lost: 0, repeated: 0 });
  });
  t.test('another one than is there', async (t) => {
    t.match(judge(everything.with(0, told('room', 11, 'ghost'))), { different: 1, lost: 0, said: 1 });
    t.match(judge([...everything, told('chat', 3)]), { different: 1 });
  });
});

t.test('what was acknowledged is there, once', async (t) => {
  const said: string[] = [];
  const judged = (kept: { nonce: string; id: string }[]) =>
    judgeSent(
      new Map([
        ['a', '1'],
        ['b', '2'],
      ]),
      kept,
      (what) => said.push(what),
    );
  const kept = [
    { nonce: 'a', id: '1' },
    { nonce: 'b', id: '2' },
    { nonce: 'unanswered', id: '3' },
  ];
  t.same(judged(kept), { acknowledged: 2, lost: 0, twice: 0 });
  t.same(said, []);
  t.same(judged(kept.slice(1)), { acknowledged: 2, lost: 1, twice: 0 });
  t.same(judged(kept.with(0, { nonce: 'a', id: '9' })), { acknowledged: 2, lost: 1, twice: 0 });
  t.same(judged([...kept, { nonce: 'a', id: '9' }]), { acknowledged: 2, lost: 0, twice: 1 });
  t.equal(said.length, 3);
});

t.test('what is unread', async (t) => {
  // Of the room's 13 messages the fifth was deleted; of the chat's 2 none.
  const left = (channelId: string, seq: number) =>
    channelId === 'chat' ? Math.max(0, 2 - seq) : 13 - Math.min(seq, 13) - (seq < 5 ? 1 : 0);
  const judged = (said: Record<string, number>, act = (_: ReturnType<typeof openPositions>): void => {}) => {
    const positions = openPositions(new Map([['room', 4]]));
    act(positions);
    const channels = new Map(Object.entries(said));
    const total = [...channels.values()].reduce((all, each) => all + each, 0);
    return judgeUnread('someone', { total, channels }, { positions, left, channels: ['room', 'chat'] }, () => {});
  };
  t.same(judged({ room: 8, chat: 2 }), { checked: 2, doubted: 0, wrong: 0 });
  t.match(judged({ room: 9, chat: 2 }), { wrong: 1 }, 'one too many: the one that was deleted');
  t.match(judged({ room: 7, chat: 2 }), { wrong: 1 }, 'one too few');
  t.match(judged({ room: 8 }), { wrong: 1 }, 'a channel that is not told of');
  t.match(judged({ room: 8, chat: 2, other: 0 }), { wrong: 1 }, 'one that they are not in');
  const read = judged({ room: 8, chat: 2 }, (positions) => positions.read('room', 10));
  t.match(read, { wrong: 1 }, 'what was read and still counts');
  const back = judged({ room: 3, chat: 2 }, (positions) => {
    positions.read('room', 10);
    positions.read('room', 6);
  });
  t.match(back, { wrong: 0 }, 'nobody reads back');
  const doubted = judged({ room: 8, chat: 1 }, (positions) => positions.doubt('chat'));
  t.same(doubted, { checked: 1, doubted: 1, wrong: 0 }, 'what nobody can know is told apart');
  const sum = { total: 11, channels: new Map(Object.entries({ room: 8, chat: 2 })) };
  const positions = openPositions(new Map([['room', 4]]));
  t.match(
    judgeUnread('someone', sum, { positions, left, channels: ['room', 'chat'] }, () => {}),
    { wrong: 1 },
  );
});

t.test('the bounds: means, percentiles and failures', async (t) => {
  let now = 0;
  const clock = startClock(() => now);
  for (let n = 0; n < 990; n += 1) clock.took('send message', 10);
  for (let n = 0; n < 10; n += 1) clock.took('search', 1990);
  now = 10_000;
  const [all, ...each] = clock.figures();
  t.match(all, { name: 'all requests', count: 1000, rate: 100, mean: 29.8, p95: 10, p99: 1990, failed: 0 });
  t.same(
    each.map(({ name }) => name),
    ['search', 'send message'],
  );
  const figure = { name: 'all', count: 4000, rate: 1, mean: 99, p95: 1, p99: 1999, failed: 1 };
  t.same(broken(figure), []);
  t.equal(broken({ ...figure, mean: 100 }).length, 1);
  t.equal(broken({ ...figure, p99: 2000 }).length, 1);
  t.equal(broken({ ...figure, failed: 2 }).length, 1);
  clock.took('event', 5000);
  t.match(clock.figures()[0], { count: 1000 }, 'how late events come is no request');
  clock.failed('search', 'INTERNAL');
  t.match(clock.figures()[0], { failed: 1 });
  clock.reset();
  t.match(clock.figures(), [{ count: 0, failed: 0 }]);
  t.same(clock.reasons(), { 'search: INTERNAL': 1 });
});

t.test('what people do, and how often', async (t) => {
  const random = seeded(1);
  const counts: Record<string, number> = {};
  let idle = 0;
  for (let n = 0; n < 200_000; n += 1) {
    const action = pickAction(random);
    counts[action] = (counts[action] ?? 0) + 1;
    idle += idleTime(random);
  }
  const sent = counts['send message'] as number;
  for (const [action, weight] of Object.entries(weights)) {
    const share = (counts[action] ?? 0) / sent;
    t.ok(Math.abs(share - weight) < weight * 0.2, `${action}: ${share.toFixed(3)} to one message, of ${weight}`);
  }
  t.ok(Math.abs(idle / 200_000 - 20_000) < 100, 'three actions a minute');
});
