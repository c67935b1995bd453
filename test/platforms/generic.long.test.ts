import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { actsIn } from '../accounts/acts.ts';
import type { Person } from '../world.ts';
import { openPlatformWorld } from './platform-world.ts';

// The other system is a server that does what docs/platforms.md says of one: it checks signatures, and knows ids.

type Said = {
  id: string;
  kind: string;
  chat?: string;
  message: string;
  delivery: string;
  text?: string;
  webhook?: string;
};
type Bot = { id: string; owner: Person };
type Fault = { status: number; headers?: Record<string, string> } | 'lost' | 'cut' | 'early';

const secret = 'a secret of some length';
const world = await openPlatformWorld(t, { WEBHOOKS_PRIVATE: 'true' });
const { ask, eventually, person, server, sql } = world;
const { act, say } = actsIn(world);
await world.start();

const signed = (key: string, id: string, at: number, body: string) =>
  `v1,${createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')}`;

/** Every call that was signed, and what was taken of them: each id once. */
const calls: Said[] = [];
const taken = new Map<string, Said>();
const faults: Fault[] = [];
const other = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = request.headers;
  const isFresh = Math.abs(Date.now() / 1000 - Number(at)) < 300;
  if (!isFresh || signature !== signed(secret, String(id), Number(at), body)) return response.writeHead(401).end();
  const said: Said = JSON.parse(body);
  calls.push(said);
  const fault = said.kind === 'check' ? undefined : faults.shift();
  if (fault === 'cut') return request.socket.destroy();
  if (typeof fault === 'object') return response.writeHead(fault.status, fault.headers).end('no');
  if (id === said.id) taken.set(said.id, said);
  if (fault === 'lost') return request.socket.destroy();
  if (fault === 'early') {
    const { message, delivery: known } = said;
    await tell(bot, { id: `early ${id}`, kind: 'receipt', message, delivery: known, state: 'delivered' });
    await comesTo(message, 'DELIVERED');
  }
  response.writeHead(200).end('x'.repeat(100_000));
});
other.listen(0, '127.0.0.1');
await once(other, 'listening');
t.teardown(() => other.close());
const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}/plinth?key=hidden`;

async function connect(owner: Person, credentials: object): Promise<{ id: string; status: string; why: string }> {
  const answer = await act(owner, 'connectPlatform', { platformId: 'generic', credentials }, 'integration { id }');
  const { id } = answer.data.connectPlatform.integration;
  return eventually('it is checked', async () => {
    const [row] = await sql('select status, status_message as why from platforms.integrations where id = $1', [id]);
    return row && row.status !== 'pending' && { id, status: row.status, why: row.why };
  });
}

/** What is said at once of credentials that can be none. */
async function refused({ ask: askThere }: Pick<typeof world, 'ask'>, { token }: Person, credentials: object) {
  const { errors } = await askThere(
    'mutation ($input: ConnectPlatformInput!) { connectPlatform(input: $input) { integration { id } } }',
    { input: { platformId: 'generic', credentials } },
    token,
  );
  return { code: errors?.[0]?.extensions?.code, message: errors?.[0]?.message };
}

type Forged = { key?: string; at?: number; id?: string; as?: string; headers?: Record<string, string> };

/** Tells Plinth something, as the other system does; `as` is what is signed in place of the body. */
function tell({ id: to }: Bot, told: unknown, { key = secret, at, id = 'm1', as, headers }: Forged = {}) {
  const body = typeof told === 'string' ? told : JSON.stringify(told);
  const second = at ?? Math.floor(Date.now() / 1000);
  return fetch(`${server.url}webhooks/generic/${to}`, {
    method: 'POST',
    headers: {
      'webhook-id': id,
      'webhook-timestamp': `${second}`,
      'webhook-signature': signed(key, id, second, as ?? body),
      ...headers,
    },
    body,
  });
}

let count = 0;

/** Someone writes, elsewhere. */
function written(chat: string, text: string, own: object = {}) {
  count += 1;
  const contact = { id: chat, name: `Vera ${chat}` };
  return { id: `event ${count}`, kind: 'message', chat, message: `told ${count}`, contact, text, ...own };
}

const said = (to: Bot, chat: string) =>
  sql(
    `select message.*, known.external_id
    from platforms.conversations as place
    join chat.messages as message on message.channel_id = place.channel_id
    left join platforms.external_messages as known on known.message_id = message.id
    where place.integration_id = $1 and place.chat_id = $2 order by message.seq`,
    [to.id, chat],
  );

async function open(to: Bot, chat: string): Promise<string> {
  await tell(to, written(chat, 'Hello'));
  const [heard] = await eventually('it is there', async () => {
    const rows = await said(to, chat);
    return rows.length > 0 && rows;
  });
  return heard?.channel_id;
}

const delivery = async (id: string) =>
  (await ask('query ($id: UUID!) { message(id: $id) { delivery { state attempts error } } }', { id }, bot.owner.token))
    .data.message.delivery;

const comesTo = (id: string, state: string) =>
  eventually(`${id} is ${state}`, async () => {
    const found = await delivery(id);
    return found.state === state && found;
  });

/** Waits for a failed try, and has the next one come at once. */
async function hurry(channel: string, failures: number): Promise<void> {
  await eventually(`${failures} failures`, async () => {
    const [row] = await sql(
      "select from platforms.deliveries where channel_id = $1 and state = 'queued' and failures = $2",
      [channel, failures],
    );
    return row !== undefined;
  });
  await sql("update platforms.deliveries set due_at = now() where channel_id = $1 and state = 'queued'", [channel]);
  await sql('select platforms._ask_to_send($1)', [channel]);
}

const bot: Bot = { id: '', owner: await person('olga') };

t.test('a system that speaks HTTP is connected: it is asked by a signed request (F1, F2)', async (t) => {
  const { id, status } = await connect(bot.owner, { url, secret });
  bot.id = id;
  t.equal(status, 'connected');
  t.match(calls, [{ kind: 'check', webhook: `https://plinth.test/webhooks/generic/${id}` }]);
  const { data } = await ask('{ integrations(first: 1) { nodes { name account } } }', {}, bot.owner.token);
  t.match(data.integrations.nodes, [{ name: '127.0.0.1', account: url.replace('?key=hidden', '') }]);
});

t.test('what cannot be is told to the owner, and nothing is sent to it', async (t) => {
  const wrong = { url, secret: 'another secret of some length' };
  t.match(await connect(await person('pavel'), wrong), { status: 'error', why: /answered 401/ });
  const rita = await person('rita');
  for (const [credentials, why] of [
    [{ url, secret: 'short' }, 'The credential secret has fewer than 16 characters.'],
    [{ url: 'nowhere', secret }, 'The credential url is no http or https address.'],
    [{ url: 'ftp://127.0.0.1/', secret }, 'The credential url is no http or https address.'],
    [{ url, secret: `${secret}…` }, 'The credential secret has a character that is not of Latin-1.'],
    [{ url: `${url}\n`, secret }, 'The credential url has a character that is not of Latin-1.'],
  ] as const)
    t.same(await refused(world, rita, credentials), { code: 'BAD_USER_INPUT', message: why });
  t.same(await sql('select from platforms.integrations where user_id = $1', [rita.id]), [], 'nothing is kept of it');
  t.equal(calls.length, 1, 'only what was signed rightly came that far');
});

t.test('a message comes in, an answer goes out, receipts come back (F4)', async (t) => {
  const channel = await open(bot, 'c1');
  const id = await say(bot.owner, channel, 'Good day');
  await comesTo(id, 'SENT');
  t.match(taken.get(id), { id, kind: 'send', chat: 'c1', message: id, text: 'Good day' });
  await tell(bot, [
    { id: 'r1', kind: 'receipt', message: id, state: 'delivered' },
    { id: 'r2', kind: 'receipt', message: id, state: 'read' },
    { id: 'r3', kind: 'receipt', message: id, state: 'delivered' },
  ]);
  await comesTo(id, 'READ');
  await tell(bot, written('c1', 'And now?', { reply_to: id }));
  const answered = await eventually('it is there', async () =>
    (await said(bot, 'c1')).find(({ text }) => text === 'And now?'),
  );
  t.equal(answered.reply_to_id, id);
  t.equal((await delivery(id)).state, 'READ', 'a receipt that is told late changes nothing');
  await act(bot.owner, 'editMessage', { id, text: 'Good evening' }, 'message { id }');
  await act(bot.owner, 'deleteMessage', { id }, 'message { id }');
  await eventually('it is gone there', async () => [...taken.values()].some(({ kind }) => kind === 'delete'));
  const changes = [...taken.values()].filter(({ message, kind }) => message === id && kind !== 'send');
  t.ok(changes.every(({ id: own }) => own.startsWith(`${id}:`)));
});

t.test('a receipt that overtakes the answer counts, where it names the delivery', async (t) => {
  const channel = await open(bot, 'c6');
  faults.push('early');
  const id = await say(bot.owner, channel, 'quickly');
  await comesTo(await say(bot.owner, channel, 'and next'), 'SENT');
  t.match(await delivery(id), { state: 'DELIVERED', attempts: 1 });
});

t.test('what is not signed by the other system, or was long ago, is turned away', async (t) => {
  const update = written('c2', 'Hello');
  const now = Math.floor(Date.now() / 1000);
  const forged: Record<string, Forged> = {
    'another secret': { key: 'another secret of some length' },
    'another body': { as: JSON.stringify({ ...update, text: 'Hullo' }) },
    'another id': { headers: { 'webhook-id': 'm2' } },
    'another second': { headers: { 'webhook-timestamp': `${now - 1}` } },
    'six minutes ago': { at: now - 360 },
    'in six minutes': { at: now + 360 },
    'no second': { headers: { 'webhook-timestamp': '' } },
    'no signature': { headers: { 'webhook-signature': '' } },
    'half a signature': { headers: { 'webhook-signature': 'v1,' } },
  };
  for (const [name, how] of Object.entries(forged)) t.equal((await tell(bot, update, how)).status, 404, name);
  t.strictSame(await sql('select from platforms.inbound where external_id = $1', [update.id]), []);
  const right = signed(secret, 'm1', now, JSON.stringify(update));
  const both = { 'webhook-timestamp': `${now}`, 'webhook-signature': `v1,AAAA ${right}` };
  t.equal((await tell(bot, update, { headers: both })).status, 200, 'one of several signatures is enough');
  for (let times = 0; times < 3; times += 1) t.equal((await tell(bot, update, { headers: both })).status, 200);
  await tell(bot, written('c2', 'the last'));
  await eventually('all is there', async () => (await said(bot, 'c2')).some(({ text }) => text === 'the last'));
  t.strictSame(
    (await said(bot, 'c2')).map(({ text }) => text),
    ['Hello', 'the last'],
    'a replay changes nothing',
  );
});

t.test('what cannot be read is refused or set aside, and does not hold up the rest', async (t) => {
  for (const body of ['', '{', '[]', 'null', '7', '{"kind":"message"}', JSON.stringify([{ id: 'x' }, {}])])
    t.equal((await tell(bot, body)).status, 400, body);
  const many = Array.from({ length: 101 }, () => written('c3', 'x'));
  t.equal((await tell(bot, many)).status, 400);
  const strange = [
    { id: 's1', kind: 'song' },
    written('c3', ''),
    written('c3', 'x', { id: 's3', contact: { id: 'x'.repeat(300), name: '' } }),
    written('c3', 'x', { id: 's4', sent_at: 'yesterday' }),
    { id: 's5', kind: 'receipt', message: 'm', state: 'lost' },
  ];
  t.equal((await tell(bot, [...strange, written('c3', 'as ever')])).status, 200);
  await eventually('the last is there', async () => (await said(bot, 'c3')).length > 0);
  t.equal((await said(bot, 'c3')).length, 1);
  t.equal((await sql('select from platforms.inbound where error is not null')).length, strange.length);
});

t.test('what got no answer is sent again under its id, and is taken once', async (t) => {
  const channel = await open(bot, 'c4');
  for (const fault of ['lost', 'cut', { status: 500 }, { status: 408 }] as const) {
    faults.push(fault);
    const id = await say(bot.owner, channel, `after ${JSON.stringify(fault)}`);
    await hurry(channel, 1);
    t.match(await comesTo(id, 'SENT'), { attempts: 2 });
    t.equal(calls.filter((call) => call.id === id).length, 2, 'the same id');
  }
  const texts = [...taken.values()].filter(({ chat }) => chat === 'c4').map(({ text }) => text);
  t.equal(new Set(texts).size, 4);
  t.equal(texts.length, 4);
});

t.test('what it puts off or refuses is put off or refused', async (t) => {
  const channel = await open(bot, 'c5');
  faults.push({ status: 429, headers: { 'retry-after': '1' } });
  const [first, second] = [await say(bot.owner, channel, 'first'), await say(bot.owner, channel, 'second')];
  await comesTo(second, 'SENT');
  t.match(await delivery(first), { state: 'SENT', attempts: 1 });
  const order = [...taken.values()].filter(({ chat }) => chat === 'c5').map(({ text }) => text);
  t.strictSame(order, ['first', 'second']);
  for (const status of [400, 301, 410]) {
    faults.push({ status, headers: { location: url } });
    const before = calls.length;
    t.match(await comesTo(await say(bot.owner, channel, `${status}`), 'FAILED'), {
      attempts: 1,
      error: `The address answered ${status}.`,
    });
    t.equal(calls.length, before + 1, 'a redirect is not followed');
  }
});

t.test('an address that is not public is not asked, unless those who run the place say so', async (t) => {
  const shut = await openPlatformWorld(t);
  await shut.start();
  const owner = await shut.person('tanya');
  const before = calls.length;
  t.match(await refused(shut, owner, { url, secret }), { message: 'The credential url is no https address.' });
  for (const [address, why] of [
    ['https://127.0.0.1/', /not a public address/],
    ['https://localhost/', /not at a public address/],
    ['https://169.254.169.254/latest', /not a public address/],
  ] as const) {
    await actsIn(shut).act(
      owner,
      'connectPlatform',
      { platformId: 'generic', credentials: { url: address, secret } },
      'integration { id }',
    );
    const [row] = await shut.eventually(address, async () => {
      const rows = await shut.sql('select status_message as why from platforms.integrations where status = $1', [
        'error',
      ]);
      return why.test(rows[0]?.why) && rows;
    });
    t.notMatch(row?.why, 'hidden', 'what stands in the address is in no error');
  }
  t.equal(calls.length, before);
});
