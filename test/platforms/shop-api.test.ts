import t from 'tap';
import { z } from 'zod';
import { Refused } from '../../workers/platforms/adapter.ts';
import { openAsk, readEach } from '../../workers/platforms/shop-api.ts';
import { type Fault, openShopServer } from './shop-server.ts';

const secret = 'a-secret-of-ours';
const server = await openShopServer(t, () => ({ body: { fine: true } }));

async function asked(fault?: Fault, signal = new AbortController().signal): Promise<unknown> {
  server.faults.set('/list', fault ? [fault] : []);
  const patience = typeof fault === 'string' && /silent|drip|slow/.test(fault) ? 300 : 20_000;
  const { ask } = openAsk({ name: 'The shop', credentials: { api_key: secret }, signal, patience });
  const question = { url: `${server.url}/list?key=${secret}`, headers: { authorization: secret }, body: {} };
  return ask(question, z.object({ fine: z.literal(true) })).catch((error) => error);
}

t.test('an answer is read, and counted', async (t) => {
  t.strictSame(await asked(), { fine: true });
  const { ask, usage } = openAsk({ name: 'The shop', credentials: {}, signal: new AbortController().signal });
  const at = Date.now();
  await ask({ url: `${server.url}/list`, headers: {} }, z.unknown());
  t.match(usage(), { calls: 1, took: Number });
  t.ok(Date.parse(usage().asked_at) >= at - 1);
});

t.test('what is no answer is told as such, and may be asked again', async (t) => {
  for (const fault of ['silent', 'drip', 'cut', 'slow'] as const) {
    const error = await asked(fault);
    t.match(error, { message: /^The shop did not answer: /, isFinal: false, retryAfter: undefined }, fault);
    t.ok(error instanceof Refused);
  }
  server.release();
  t.match(await asked('bad JSON'), { message: /^The shop answered what cannot be read/, isFinal: false });
  t.match(await asked({ body: { fine: 'no' } }), { message: /cannot be read: fine: /, isFinal: false });
  t.match(await asked('page'), { message: 'The shop answered 502', isFinal: false });
});

t.test('how long to wait is believed, within an hour (D13)', async (t) => {
  const after = async (status: number, headers: Record<string, string>) =>
    ((await asked({ status, headers, body: {} })) as Refused).retryAfter;
  t.equal(await after(429, { 'x-ratelimit-retry': '17' }), 17);
  t.equal(await after(429, { 'retry-after': '3' }), 3);
  t.equal(await after(429, {}), 30);
  t.equal(await after(429, { 'retry-after': 'soon' }), 30);
  t.equal(await after(429, { 'retry-after': '999999' }), 3600);
  const date = await after(503, { 'retry-after': new Date(Date.now() + 60_000).toUTCString() });
  t.ok(date && date > 50 && date <= 60);
  t.equal(await after(500, {}), undefined);
});

t.test('what is refused says whether the credentials are at fault, and never which they are', async (t) => {
  const refused = (status: number, message: string) => asked({ status, body: { message } });
  t.match(await refused(401, `token ${secret} is malformed`), {
    message: 'The shop answered 401: token … is malformed',
    isOfCredentials: true,
    isFinal: true,
  });
  t.match(await refused(403, 'Invalid Api-Key, please contact support'), { isOfCredentials: true });
  t.match(await refused(403, 'Api-key is missing a required role'), { isOfCredentials: false, isFinal: true });
  t.match(await refused(400, 'no'), { isOfCredentials: false, isFinal: true });
});

t.test('who is stopped does not blame the shop', async (t) => {
  const stop = new AbortController();
  const error = asked('silent', stop.signal);
  stop.abort(new Error('stopped'));
  t.match(await error, { message: 'stopped' });
});

t.test('one item that is wrong costs no other', async (t) => {
  const schema = z.object({ id: z.int(), name: z.string() });
  const items = [
    { id: 1, name: 'one' },
    { id: 2, name: 3 },
    null,
    { id: 'x', name: 'y' },
    'five',
    { id: 6, name: 'six' },
  ];
  const { read, problems } = readEach('thing', items, 'id', schema);
  t.strictSame(
    read.map(({ id }) => id),
    [1, 6],
  );
  t.match(problems, [
    { record: 'thing 2', message: /^name: / },
    { record: 'thing at place 3' },
    { record: 'thing x', message: /^id: / },
    { record: 'thing at place 5' },
  ]);
});
