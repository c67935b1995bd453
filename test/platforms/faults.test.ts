import t from 'tap';
import type { Fault } from '../../scripts/chaos/telegram.ts';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

const world = await openPlatformWorld(t);
const { ask, connect, eventually, post, said, sql, telegram } = world;
const { act, say } = actsIn(world);
await world.start();
const bot = await connect('gina');

/** A conversation with someone who has written. */
async function conversation(chat: number): Promise<string> {
  await post(bot, writes(chat, 'Hello'));
  const [heard] = await eventually('it is there', async () => {
    const rows = await said(bot, chat);
    return rows.length > 0 && rows;
  });
  return heard?.channel_id as string;
}

const delivery = (id: string) => world.deliveryOf(bot.owner, id);
const comesTo = (id: string, state: string) => world.comesTo(bot.owner, id, state);
const shownIn = (chat: number) => telegram.shown.filter((each) => each.chat === String(chat)).map(({ text }) => text);

/** What waits for its next try need not. */
async function hurry(channel: string): Promise<void> {
  await sql("update platforms.deliveries set due_at = now() where channel_id = $1 and state = 'queued'", [channel]);
  await sql('update platforms.inboxes set calls_at = now() where integration_id = $1', [bot.id]);
  await sql('select platforms._ask_to_send($1)', [channel]);
}

t.test('what Telegram puts off is sent when it said, in order, and is no failed try (D13)', async (t) => {
  const channel = await conversation(601);
  telegram.faults.set('sendMessage', [
    { kind: 'status', status: 429, retryAfter: 1, description: 'Too Many Requests' },
  ]);
  const before = telegram.calls.length;
  const [first, second] = [await say(bot.owner, channel, 'first'), await say(bot.owner, channel, 'second')];
  await comesTo(second, 'SENT');
  t.match(await delivery(first), { state: 'SENT', attempts: 1, failures: 1 });
  t.strictSame(shownIn(601), ['first', 'second']);
  const [refused, again] = telegram.calls.slice(before).filter(({ method }) => method === 'sendMessage');
  t.ok((again?.at ?? 0) - (refused?.at ?? 0) >= 1000, 'not before the second that it asked for');
});

t.test('what Telegram fails at is tried three times, then shown on the message (E3)', async (t) => {
  const channel = await conversation(602);
  const failing: Fault = { kind: 'status', status: 500, description: 'Internal Server Error' };
  telegram.faults.set('sendMessage', [failing, failing, failing]);
  const id = await say(bot.owner, channel, 'again and again');
  for (const tries of [1, 2, 3]) {
    await eventually(`try ${tries}`, async () => {
      const [row] = await sql('select state, failures from platforms.deliveries where message_id = $1', [id]);
      return row?.failures === tries && row.state !== 'sending';
    });
    if (tries === 1) {
      const [{ due }] = (await sql(
        "select due_at > updated_at + interval '3 seconds' as due from platforms.deliveries where message_id = $1",
        [id],
      )) as [{ due: boolean }];
      t.ok(due, 'not at once');
    }
    if (tries < 3) await hurry(channel);
  }
  t.strictSame(await comesTo(id, 'FAILED'), {
    state: 'FAILED',
    attempts: 3,
    failures: 3,
    error: 'Telegram answered 500: Internal Server Error',
  });
  const resent = await act(bot.owner, 'resendMessage', { messageId: id }, 'delivery { state }');
  t.notOk(resent.errors);
  await comesTo(id, 'SENT');
  t.strictSame(shownIn(602), ['again and again']);
  const once = await act(bot.owner, 'resendMessage', { messageId: id }, 'delivery { state }');
  t.equal(once.errors?.[0]?.extensions?.code, 'CONFLICT', 'what is there is not sent again');
});

t.test('what Telegram refuses is not tried again, and does not hold up the next', async (t) => {
  const channel = await conversation(603);
  telegram.faults.set('sendMessage', [{ kind: 'status', status: 400, description: 'Bad Request: chat not found' }]);
  const [first, second] = [await say(bot.owner, channel, 'never'), await say(bot.owner, channel, 'all the same')];
  await comesTo(second, 'SENT');
  t.match(await delivery(first), { state: 'FAILED', attempts: 1, error: /chat not found/ });
  t.strictSame(shownIn(603), ['all the same']);
});

t.test('what may have arrived is not sent twice by itself', async (t) => {
  const channel = await conversation(604);
  for (const [kind, isThere] of [
    ['lost', true],
    ['bad JSON', true],
    ['cut', false],
  ] as const) {
    telegram.faults.set('sendMessage', [{ kind }]);
    const id = await say(bot.owner, channel, kind);
    const found = await comesTo(id, 'UNSURE');
    t.match(found, { attempts: 1, error: /did not answer/ });
    t.notMatch(JSON.stringify(found), world.telegramToken, 'the token is in no error');
    t.equal(shownIn(604).includes(kind), isThere);
  }
  telegram.faults.set('sendMessage', [{ kind: 'page', status: 502 }]);
  await comesTo(await say(bot.owner, channel, 'a page'), 'UNSURE');
  t.strictSame(shownIn(604), ['lost', 'bad JSON']);
});

t.test('what is longer than Telegram takes is refused where it is written', async (t) => {
  const channel = await conversation(605);
  const answer = await act(bot.owner, 'sendMessage', { channelId: channel, text: 'x'.repeat(4097) }, 'message { id }');
  t.match(answer.errors?.[0], { message: /up to 4096/, extensions: { code: 'BAD_USER_INPUT' } });
});

t.test('credentials that Telegram refuses are told to their owner', async (t) => {
  const channel = await conversation(606);
  telegram.faults.set('sendMessage', [{ kind: 'status', status: 401, description: 'Unauthorized' }]);
  await comesTo(await say(bot.owner, channel, 'locked out'), 'FAILED');
  const { data } = await ask('{ integrations(first: 1) { nodes { status statusMessage } } }', {}, bot.owner.token);
  t.match(data.integrations.nodes, [{ status: 'ERROR', statusMessage: /401: Unauthorized/ }]);
  t.notMatch(JSON.stringify(world.logged), world.telegramToken);
});
