import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { listen, messageEvents, until } from './listen.ts';

// Clients that break the protocols on purpose. Where the process does not survive them, neither does this test.

t.setTimeout(120_000);
const world = await openWorld(t);
const ann = await world.person('ann');
const { hostname, port } = new URL(world.server.url);

async function connect(t: Test, token?: string) {
  const socket = new WebSocket(`ws://${hostname}:${port}/graphql`, 'graphql-transport-ws');
  const closed = new Promise<number>((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  t.teardown(() => socket.terminate());
  await once(socket, 'open');
  if (token) {
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }));
    await once(socket, 'message');
  }
  return { socket, closed };
}
const isAlive = async () => (await fetch(`${world.server.url}health`)).status === 200;

t.test('S1 a message of any form closes at most the connection that it came over', async (t) => {
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
  for (const [what, message] of [
    ['an id without a text', '{"type":"complete","id":{"toString":null}}'],
    ['an id that is no text', '{"type":"complete","id":5}'],
    ['an id that is deep', `{"type":"complete","id":${deep}}`],
    ['a type that is deep', `{"type":${deep}}`],
    ['a ping that is deep', `{"type":"ping","payload":${deep}}`],
  ] as const) {
    const { socket, closed } = await connect(t);
    socket.send(message);
    t.equal(await closed, 4400, what);
  }
  const { socket, closed } = await connect(t, ann.token);
  const query = 'subscription { userEvents { event { type } } }';
  socket.send(JSON.stringify({ type: 'subscribe', id: 'x'.repeat(1001), payload: { query } }));
  t.equal(await closed, 4400, 'an id of more than 1,000 characters, which each result would repeat');
  t.ok(await isAlive());
});

t.test('S1 who asks on without reading the answers is closed, and they do not pile up', async (t) => {
  const { socket, closed } = await connect(t, ann.token);
  let answers = 0;
  socket.on('message', () => (answers += 1));
  socket.pause();
  const ping = JSON.stringify({ type: 'ping', payload: { text: 'x'.repeat(1_000_000) } });
  for (let sent = 0; sent < 64; sent += 1) socket.send(ping);
  await until(() => socket.bufferedAmount === 0, 'The end of what was sent');
  socket.resume();
  // The last word waits for a while; who comes to read only later finds the connection gone.
  t.ok([1013, 1006].includes(await closed));
  t.ok(answers < 64, `${answers} of 64 were answered`);
  t.ok(await isAlive());
});

t.test('S1 an upgrade to nowhere is answered and its connection ended, whatever the client does', async (t) => {
  const upgrade = 'GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  for (let tries = 0; tries < 20; tries += 1) {
    const stream = net.connect(Number(port), hostname);
    stream.on('error', () => {});
    await once(stream, 'connect');
    stream.write(upgrade);
    await sleep(tries % 5);
    stream.resetAndDestroy();
  }
  // It does not say that it has ended: the server does not wait for that.
  const stream = net.connect({ port: Number(port), host: hostname, allowHalfOpen: true });
  stream.on('error', () => {});
  stream.write(upgrade);
  const [answer] = await once(stream, 'data');
  t.match(answer.toString(), /^HTTP\/1\.1 404 /);
  await until(() => {
    stream.write('x');
    return stream.destroyed;
  }, 'The end of the connection');
  t.ok(await isAlive());
});

t.test(
  'S1 a page of another origin cannot make a change by a stream: neither by GET nor by a plain form',
  async (t) => {
    const query = 'mutation { requestCode(input: { phone: "+14155550123" }) { codeRequest { id } } }';
    const accept = 'text/event-stream';
    const got = await fetch(`${world.server.url}graphql?query=${encodeURIComponent(query)}`, { headers: { accept } });
    t.equal(got.status, 405);
    t.match(await got.json(), { errors: [{ extensions: { code: 'BAD_REQUEST' } }] });
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', '']) {
      const headers: Record<string, string> = { accept, ...(type && { 'content-type': type }) };
      const body = new TextEncoder().encode(JSON.stringify({ query }));
      const sent = await fetch(`${world.server.url}graphql`, { method: 'POST', headers, body });
      // A form with files is answered, but only to who says in a header who they are: no page of another origin can.
      t.equal(sent.status, type.startsWith('multipart/') ? 401 : 415, type || 'no type');
      await sent.text();
    }
    t.same(world.delivered, []);
  },
);

t.test('S1 a cursor that no client could send back in a header is none', async (t) => {
  const acts = openActs(world);
  const room = await acts.room(ann);
  for (let count = 0; count < 100; count += 1) await acts.send(ann, room, 'x');
  const after = `${'0'.repeat(20_000)}3:3:`;
  const ear = listen(t, world.server.url, { query: messageEvents, variables: { id: room, after }, token: ann.token });
  t.match(await ear.rest(), [
    { errors: [{ extensions: { code: 'BAD_USER_INPUT', argument: 'after' } }] },
    { end: 'error' },
  ]);
});

t.test(
  'S1 a subscription keeps no more than 64 kB of variables; whoever gives lists without end gives them up',
  async (t) => {
    const query = 'subscription { userEvents { event { type } } }';
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    for (const over of ['ws', 'sse'] as const) {
      const variables = { unused: 'x'.repeat(70_000) };
      const ear = listen(t, world.server.url, { over, query, variables, token: ann.token });
      t.match((await ear.next()).errors, [{ extensions: { code: 'LIMIT_EXCEEDED' } }], over);
    }
    const { socket } = await connect(t, ann.token);
    const heard = once(socket, 'message');
    socket.send(`{"type":"subscribe","id":"1","payload":{"query":"${query}","variables":{"unused":${deep}}}}`);
    t.match(JSON.parse(String((await heard)[0])), {
      ...{ type: 'error', id: '1' },
      payload: [{ extensions: { code: 'LIMIT_EXCEEDED' } }],
    });
    const headers = {
      authorization: `Bearer ${ann.token}`,
      accept: 'text/event-stream',
      'content-type': 'application/json',
    };
    const body = `{"query":"${query}","variables":{"unused":${deep}}}`;
    const response = await fetch(`${world.server.url}graphql`, { method: 'POST', headers, body });
    t.match(await response.text(), /LIMIT_EXCEEDED/);
    t.ok(await isAlive());
  },
);

t.test('S1 who goes away while their token is checked leaves no subscription behind', async () => {
  const count = async () => (await (await fetch(`${world.server.url}ready`)).json()).events.subscribers;
  await until(async () => (await count()) === 0, 'The end of earlier subscriptions');
  const query = encodeURIComponent('subscription { userEvents { event { type } } }');
  for (let tries = 0; tries < 150; tries += 1) {
    const stream = net.connect(Number(port), hostname);
    stream.on('error', () => {});
    await once(stream, 'connect');
    const headers = `Host: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${ann.token}`;
    stream.write(`GET /graphql?query=${query} HTTP/1.1\r\n${headers}\r\n\r\n`, () => stream.resetAndDestroy());
    await once(stream, 'close');
  }
  await until(async () => (await count()) === 0, 'The end of what was left');
});
