import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

type Asked = { text: string; platform: string; language?: string };

const world = await openPlatformWorld(t);
const { ask, connect, eventually, post, said, sql, telegram } = world;
const { act } = actsIn(world);

/** A service that knows two things; `answers` is what it does in place of that, in turn. */
const asked: Asked[] = [];
const answers: ((response: ServerResponse) => void)[] = [];
const known: Record<string, object> = {
  'Where is my order 77?': { intent: 'Order_Status', entities: { order: 77 }, confidence: 0.93 },
  'Perhaps an order?': { intent: 'order_status', entities: {}, confidence: 0.4 },
};
const service = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.headers.authorization !== 'Bearer of intents') return response.writeHead(401).end();
  asked.push(JSON.parse(body));
  const own = answers.shift();
  if (own) return own(response);
  const { text } = asked.at(-1) as Asked;
  response.end(JSON.stringify(known[text] ?? { intent: null }));
});
service.listen(0, '127.0.0.1');
await once(service, 'listening');
t.teardown(() => {
  service.closeAllConnections();
  service.close();
});
const { port } = service.address() as AddressInfo;
// Each a service of its own to the breaker, which lives as long as the process.
const at = (path: string, milliseconds = 1500) => ({
  INTENT_URL: `http://127.0.0.1:${port}/${path}`,
  INTENT_TOKEN: 'of intents',
  INTENT_TIMEOUT_MS: String(milliseconds),
});
// What it answers counts here, and not how soon.
let workers = await world.start(at('one', 20_000));
const bot = await connect('uma');

async function there(chat: number, count: number): Promise<Record<string, unknown>[]> {
  return eventually(`${count} are there in ${chat}`, async () => {
    const rows = (await said(bot, chat)).filter(({ direction }) => direction === 'inbound');
    return rows.length === count && rows;
  });
}

t.test('what a service says that someone wants is kept with the message, and leads on (F4)', async (t) => {
  const follows = (input: object) =>
    act(bot.owner, 'setTransition', { integrationId: bot.id, ...input }, 'transition { trigger sure }');
  const made = await follows({
    ...{ state: 'initial', trigger: 'intent:Order_Status', nextState: 'order', reply: 'One moment.' },
    sure: 0.8,
  });
  t.match(made.data.setTransition.transition, { trigger: 'intent:order_status', sure: 0.8 });
  await follows({ state: 'initial', trigger: '*', nextState: 'initial', reply: 'Pardon?' });
  await follows({ state: 'initial', trigger: 'where is my order 78?', nextState: 'initial', reply: 'Lost.' });
  known['Where is my order 78?'] = known['Where is my order 77?'] as object;
  const texts = ['intent:order_status', 'Perhaps an order?', 'Where is my order 78?', 'Where is my order 77?', '/help'];
  for (const text of texts) await post(bot, writes(921, text));
  const rows = await there(921, 5);
  await eventually('all is answered', async () => telegram.shown.filter(({ chat }) => chat === '921').length === 5);
  const shown = telegram.shown.filter(({ chat }) => chat === '921').map(({ text }) => text);
  t.strictSame(shown.slice(0, 4), ['Pardon?', 'Pardon?', 'Lost.', 'One moment.']);
  t.same(new Set(asked.map(({ text }) => text)), new Set(texts.slice(0, 4)), 'commands are not told to anyone else');
  t.match(asked[0], { platform: 'telegram', language: 'ru' });
  const intentOf = async (id: unknown) =>
    (
      await ask(
        'query ($id: UUID!) { message(id: $id) { intent { name entities confidence } } }',
        { id },
        bot.owner.token,
      )
    ).data.message.intent;
  t.strictSame(await intentOf(rows[3]?.id), { name: 'order_status', entities: { order: 77 }, confidence: 0.93 });
  t.equal(await intentOf(rows[0]?.id), null, 'where it does not know');
  t.equal(await intentOf(rows[4]?.id), null, 'where it was not asked');
  const [place] = await sql('select state from platforms.conversations where chat_id = $1', ['921']);
  t.equal(place?.state, 'order');
});

t.test('whatever the service does, all that came is there, in order', async (t) => {
  const wrong: Record<string, (response: ServerResponse) => void> = {
    'an error': (response) => response.writeHead(500).end('{"intent":null}'),
    'no JSON': (response) => response.end('{"intent":'),
    'no answer of ours': (response) => response.end('{"intent": 7}'),
    'no confidence': (response) => response.end('{"intent": "x", "confidence": 7}'),
    'a redirect': (response) => response.writeHead(302, { location: '/elsewhere' }).end(),
    'half an answer': (response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{');
      response.destroy();
    },
    'an answer without an end': (response) => {
      const more = (): void => {
        if (!response.destroyed) response.write('x'.repeat(10_000), () => setImmediate(more));
      };
      more();
    },
    silence: () => {},
    'more than can be kept': (response) =>
      response.end(JSON.stringify({ intent: 'x', entities: { all: Array(5000).fill(1) }, confidence: 1 })),
  };
  let chat = 930;
  for (const [name, answer] of Object.entries(wrong)) {
    chat += 1;
    await workers.stop();
    workers = await world.start(at(name.replaceAll(' ', '-')));
    answers.push(answer, answer);
    const before = asked.length;
    for (const text of ['one', 'two', 'three']) await post(bot, writes(chat, text));
    const rows = await there(chat, 3);
    t.strictSame(
      rows.map(({ text }) => text),
      ['one', 'two', 'three'],
      name,
    );
    t.ok(asked.length > before, 'it was asked');
    answers.length = 0;
  }
  t.strictSame(await sql('select from platforms.inbound where error is not null'), []);
});

t.test('a service that has failed three times is left alone', async (t) => {
  await workers.stop();
  workers = await world.start(at('down'));
  const before = asked.length;
  for (let times = 0; times < 100; times += 1) answers.push((response) => response.writeHead(503).end());
  for (let number = 1; number <= 40; number += 1) await post(bot, writes(950, `${number}`));
  const rows = await there(950, 40);
  t.strictSame(
    rows.map(({ text }) => text),
    rows.map((_, index) => `${index + 1}`),
  );
  const tried = asked.length - before;
  // Those that were under way when it opened have been asked too.
  t.ok(tried >= 3 && tried <= 18, `${tried} of 40 were asked for`);
  answers.length = 0;
  await post(bot, writes(950, 'Where is my order 77?'));
  await there(950, 41);
  t.equal(asked.length - before, tried, 'nobody asks while the breaker is open');
});
