import { connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openWorld, type World } from '../world.ts';

/** A connection that a client writes to as it likes. */
async function open(t: Test, { server }: World): Promise<Socket & { received: () => string }> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.setNoDelay();
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  let text = '';
  socket.on('data', (data) => (text += data));
  await new Promise((resolve) => socket.once('connect', resolve));
  return Object.assign(socket, { received: () => text });
}

const head = (more: string): string =>
  `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${more}\r\n\r\n`;
const until = async (condition: () => unknown): Promise<boolean> => {
  for (const end = Date.now() + 60_000; Date.now() < end; await setTimeout(20)) if (await condition()) return true;
  return false;
};

t.test('D14 bodies as nobody should send them', async (t) => {
  const world = await openWorld(t, { env: { MAX_BODY_BYTES: '100000', MAX_CONNECTIONS: '200' } });
  const { ask, logged } = world;

  t.test('one that announces too much is refused before it is sent', async (t) => {
    const socket = await open(t, world);
    socket.write(head('content-length: 100001'));
    t.ok(await until(() => /^HTTP\/1.1 413.*LIMIT_EXCEEDED/s.test(socket.received())));
  });

  t.test('one of single bytes is read all the same', async (t) => {
    const socket = await open(t, world);
    socket.write(head('transfer-encoding: chunked'));
    for (const byte of `{"query":"{ __typename }"${' '.repeat(3000)}}`) socket.write(`1\r\n${byte}\r\n`);
    socket.write('0\r\n\r\n');
    t.ok(await until(() => /"data":{"__typename":"Query"}/.test(socket.received())));
  });

  t.test('letters of several bytes are not broken where the buffer grows', async (t) => {
    const text = 'né…😀'.repeat(3000);
    const { errors } = await ask('query ($text: Int!) { users(first: $text) { totalCount } }', { text });
    t.ok(errors?.some(({ message }) => message.includes(text)));
  });

  t.test('one that is broken off is no error of ours', async (t) => {
    logged.length = 0;
    const socket = await open(t, world);
    socket.write(`${head('content-length: 50000')}{"query":`);
    await setTimeout(50);
    socket.destroy();
    await setTimeout(100);
    t.same(logged, []);
  });

  t.test('large ones that are sent slowly are refused when they are too many, plain requests are not', async (t) => {
    const slow = await Promise.all(Array.from({ length: 40 }, () => open(t, world)));
    for (const socket of slow) socket.write(`${head('content-length: 99000')}${' '.repeat(90_000)}`);
    const refused = () => slow.filter((socket) => /^HTTP\/1.1 503.*UNAVAILABLE/s.test(socket.received()));
    t.ok(await until(() => refused().length === 24), `${refused().length} of 40: the rest is the half of one address`);
    t.match(await ask('{ __typename }'), { data: { __typename: 'Query' } });
    for (const socket of slow) socket.destroy();
    const body = JSON.stringify({ query: '{ __typename }', variables: { x: ' '.repeat(90_000) } });
    const isTaken = async () => {
      const again = await open(t, world);
      again.write(head(`content-length: ${body.length}`) + body);
      await until(() => /"(data|errors)":/.test(again.received()));
      return /"data":/.test(again.received());
    };
    t.ok(await until(isTaken), 'what they held is free again');
  });
});

t.test('D14 connections are as many as the setting says', async (t) => {
  const world = await openWorld(t, { env: { MAX_CONNECTIONS: '5' } });
  const all = await Promise.all(Array.from({ length: 8 }, () => open(t, world)));
  t.ok(await until(() => all.filter(({ closed }) => closed).length === 3));
  for (const socket of all) socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n');
  t.ok(await until(() => all.filter((socket) => / 200 OK/.test(socket.received())).length === 5));
});
