import { SignJWT } from 'jose';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { openQueue, until } from './listen.ts';

// graphql-transport-ws, message by message: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

t.setTimeout(120_000);
const world = await openWorld(t, { env: { MAX_SUBSCRIPTIONS_PER_CONNECTION: '3', MAX_SUBSCRIPTIONS_PER_USER: '5' } });
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const address = `${world.server.url.replace('http', 'ws')}graphql`;

// biome-ignore lint/suspicious/noExplicitAny: messages of every type
type Message = any;

/** A connection that speaks what it is told to, and no more. */
async function connect(t: Test, { protocol = 'graphql-transport-ws', token = '' } = {}) {
  const socket = new WebSocket(address, protocol || []);
  const heard = openQueue<Message>('the socket');
  const closed = new Promise<[number, string]>((resolve) => {
    socket.on('close', (code, reason) => resolve([code, reason.toString()]));
  });
  socket.on('message', (data) => heard.push(JSON.parse(data.toString())));
  socket.on('error', () => {});
  t.teardown(() => socket.terminate());
  await new Promise((resolve) => socket.once('open', resolve).once('close', resolve));
  const send = (message: unknown) => socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  if (token) {
    send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
    t.same(await heard.next(), { type: 'connection_ack' });
  }
  return { socket, send, closed, next: heard.next, heard };
}
const subscribe = (id: unknown, query: string, variables = {}) => ({
  type: 'subscribe',
  id,
  payload: { query, variables },
});
const follow = 'subscription { userEvents { event { type } } }';
/** A token of a session that ends so many seconds from now. */
async function shortToken(token: string, seconds: number): Promise<string> {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString());
  const [key] = world.keys;
  return new SignJWT({ ...claims, exp: Math.floor(Date.now() / 1000) + seconds })
    .setProtectedHeader({ alg: 'HS256', kid: key?.kid ?? '' })
    .sign(key?.key as Uint8Array);
}

t.test('what the protocol forbids closes the connection with its code', async (t) => {
  const init = { type: 'connection_init' };
  const wrong: [what: string, messages: unknown[], code: number][] = [
    ['no JSON', ['{'], 4400],
    ['null', ['null'], 4400],
    ['a number', ['5'], 4400],
    ['a list', ['[]'], 4400],
    ['an unknown type', [init, { type: 'start' }], 4400],
    ['a type of many bytes', [init, { type: 'ж'.repeat(200) }], 4400],
    ['no id', [init, { type: 'subscribe', payload: { query: follow } }], 4400],
    ['an empty id', [init, subscribe('', follow)], 4400],
    ['an id that is no text', [init, subscribe(5, follow)], 4400],
    ['no payload', [init, { type: 'subscribe', id: '1' }], 4400],
    ['an operation before the greeting', [subscribe('1', follow)], 4401],
    ['a token that is forged', [{ ...init, payload: { authorization: 'Bearer x.y.z' } }], 4403],
    ['two greetings', [init, init], 4429],
  ];
  for (const [what, messages, code] of wrong) {
    const { send, closed, next } = await connect(t);
    for (const message of messages) {
      send(message);
      if (message === init && message !== messages.at(-1)) t.same(await next(), { type: 'connection_ack' });
    }
    t.equal((await closed)[0], code, what);
  }
  t.equal(
    (await (await connect(t, { protocol: 'graphql-ws' })).closed)[0],
    1006,
    'the older protocol is not agreed to',
  );
  t.equal((await (await connect(t, { protocol: '' })).closed)[0], 4406, 'no protocol');
});

t.test('an id that runs is not given twice, however it is written', async (t) => {
  for (const id of ['1', 'ж'.repeat(100), '"\\\n', '🙂'.repeat(60)]) {
    const { send, closed } = await connect(t, { token: ann.token });
    send(subscribe(id, follow));
    send(subscribe(id, follow));
    const [code, reason] = await closed;
    t.equal(code, 4409);
    t.ok(Buffer.byteLength(reason) <= 123);
  }
});

t.test('who does not greet within ten seconds is closed', async (t) => {
  t.same(await (await connect(t)).closed, [4408, 'Connection initialisation timeout']);
});

t.test('parameters of every kind are answered, and the server lives on', async (t) => {
  const { send, next } = await connect(t, { token: ann.token });
  for (const payload of [
    [],
    {},
    { query: 5 },
    { query: '{', variables: 5 },
    { query: follow, variables: [] },
    { query: '{ me { id } }', extensions: 'x' },
    { documentId: 'nope' },
  ]) {
    send({ type: 'subscribe', id: 'odd', payload });
    t.match(await next(), { id: 'odd', type: 'error', payload: [{ message: String, extensions: { code: String } }] });
  }
  send({ type: 'complete', id: 'never begun' });
  send({ type: 'pong' });
  send(subscribe('1', '{ me { username } }'));
  t.same(await next(), { id: '1', type: 'next', payload: { data: { me: { username: 'ann' } } } });
  t.same(await next(), { id: '1', type: 'complete' });
});

t.test('a ping is answered with its payload, before the greeting too', async (t) => {
  const { send, next } = await connect(t);
  send({ type: 'ping' });
  t.same(await next(), { type: 'pong' });
  send({ type: 'ping', payload: { at: 5 } });
  t.same(await next(), { type: 'pong', payload: { at: 5 } });
});

t.test('queries and mutations go over the socket as well; one that fails says so', async (t) => {
  const { send, next } = await connect(t, { token: ann.token });
  send(subscribe('m', 'mutation { createRoom(input: { name: "By socket" }) { channel { name } } }'));
  t.same(await next(), {
    id: 'm',
    type: 'next',
    payload: { data: { createRoom: { channel: { name: 'By socket' } } } },
  });
  t.same(await next(), { id: 'm', type: 'complete' });
  send(subscribe('q', '{ nothing }'));
  t.match(await next(), { id: 'q', type: 'error', payload: [{ message: /nothing/ }] });
  send(subscribe('f', 'mutation { createRoom(input: { name: "" }) { channel { name } } }'));
  t.match(await next(), {
    id: 'f',
    type: 'next',
    payload: { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }], data: { createRoom: null } },
  });
  t.same(await next(), { id: 'f', type: 'complete' });
});

t.test('what was completed by the client is silent, and its id free', async (t) => {
  const room = await acts.room(ann, [bob]);
  const { send, next, heard } = await connect(t, { token: bob.token });
  const query =
    'subscription($id: UUID!, $after: String) { messageEvents(channelId: $id, after: $after) { message { text } } }';
  send(subscribe('1', query, { id: room, after: await acts.cursor() }));
  await acts.send(ann, room, 'one');
  t.match(await next(), { id: '1', payload: { data: { messageEvents: { message: { text: 'one' } } } } });
  send({ type: 'complete', id: '1' });
  const after = await acts.cursor();
  await acts.send(ann, room, 'two');
  send(subscribe('1', query, { id: room, after }));
  t.match(await next(), { id: '1', payload: { data: { messageEvents: { message: { text: 'two' } } } } });
  t.equal(heard.items.length, 0);
});

t.test('a connection ends with its token, and lives on with a new one of the same session', async (t) => {
  // The same for both: when the one has ended, the other would have.
  const token = await shortToken(ann.token, 6);
  const renewed = await connect(t, { token });
  renewed.send({ type: 'ping', payload: { authorization: `Bearer ${ann.token}` } });
  t.same(await renewed.next(), { type: 'pong' }, 'the token is not said back');
  const { closed } = await connect(t, { token });
  t.same(await closed, [4403, 'The access token has expired']);
  renewed.send(subscribe('1', '{ me { username } }'));
  t.match(await renewed.next(), { payload: { data: { me: { username: 'ann' } } } });

  const other = await connect(t, { token: ann.token });
  other.send({ type: 'ping', payload: { authorization: `Bearer ${bob.token}` } });
  t.equal((await other.closed)[0], 4403, 'of another session');
  const forged = await connect(t, { token: ann.token });
  forged.send({ type: 'ping', payload: { authorization: 'Bearer x' } });
  t.equal((await forged.closed)[0], 4403);
  const service = await connect(t, { token: await world.service() });
  service.send({ type: 'ping', payload: { authorization: '' } });
  t.same(await service.closed, [4403, 'The token is of another session'], 'no token is none of the same');
});

t.test('T4 operations are limited by connection, and subscriptions by user', async (t) => {
  const count = async () => (await (await fetch(`${world.server.url}ready`)).json()).events.subscribers;
  await until(async () => (await count()) === 0, 'The end of earlier subscriptions');
  const [first, second] = [await connect(t, { token: ann.token }), await connect(t, { token: ann.token })];
  for (const id of ['1', '2', '3', '4']) first.send(subscribe(id, follow));
  t.match(await first.next(), { id: '4', type: 'error', payload: [{ extensions: { code: 'TOO_MANY_REQUESTS' } }] });
  await until(async () => (await count()) === 3);
  for (const id of ['1', '2', '3']) second.send(subscribe(id, follow));
  t.match(await second.next(), { id: '3', type: 'error', payload: [{ message: /5 subscriptions/ }] });
  const other = await connect(t, { token: bob.token });
  other.send(subscribe('1', follow));
  await until(async () => (await count()) === 6, 'The subscription of another user');
  first.socket.close();
  await until(async () => (await count()) === 3, 'What a closed connection leaves');
  second.send(subscribe('3', follow));
  await until(async () => (await count()) === 4);
});
