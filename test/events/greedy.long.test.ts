import { once } from 'node:events';
import { connect as connectTo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { countedAddress } from '../../graphql/address.ts';
import { openWorld } from '../world.ts';
import { openQueue, until } from './listen.ts';

// Clients that take what all have together: memory, and places. Who they are is told by their address.

t.setTimeout(180_000);
const env = { MAX_BODY_BYTES: '100000', MAX_CONNECTIONS_PER_ADDRESS: '50', TRUSTED_PROXIES: '1' };
const world = await openWorld(t, { env });
const ann = await world.person('ann');
const { hostname, port } = new URL(world.server.url);
const graphql = `${world.server.url}graphql`;
const from = (address: string) => ({ 'x-forwarded-for': address });

/** A WebSocket byte by byte, without a greeting. */
async function dial(t: Test, address: string): Promise<Socket & { received: () => string }> {
  const socket = connectTo(Number(port), hostname);
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  let text = '';
  socket.on('data', (data) => (text += data.toString('latin1')));
  socket.write(
    'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\nX-Forwarded-For: ${address}\r\n\r\n`,
  );
  await until(() => text.includes('\r\n\r\n'), 'An answer');
  return Object.assign(socket, { received: () => text });
}

/** A text message with a mask of zeros, of so many bytes. */
function frame(text: string): Buffer {
  const head = Buffer.alloc(14);
  head.writeUInt8(0x81, 0);
  head.writeUInt8(0xff, 1);
  head.writeBigUInt64BE(BigInt(text.length), 2);
  return Buffer.concat([head, Buffer.from(text)]);
}

t.test('S1 unfinished messages of all WebSockets together hold no more than bodies may, greeted or not', async (t) => {
  const large = frame('x'.repeat(100_000));
  const slow = await Promise.all(Array.from({ length: 40 }, () => dial(t, '192.0.2.1')));
  for (const socket of slow) socket.write(large.subarray(0, 90_000));
  const refused = () => slow.filter((socket) => socket.received().includes('Too many large messages'));
  await until(() => refused().length >= 22, 'The end of what is over half of 3.2 MB');
  t.ok(refused().length <= 24, `${refused().length} of 40`);

  const talk = async () => {
    const socket = new WebSocket(`ws://${hostname}:${port}/graphql`, 'graphql-transport-ws', {
      headers: from('192.0.2.1'),
    });
    t.teardown(() => socket.terminate());
    const heard = openQueue<string>();
    socket.on('message', (data) => heard.push(String(data)));
    socket.on('close', (code) => heard.push(`closed ${code}`));
    await once(socket, 'open');
    return (message: object): Promise<string> => {
      socket.send(JSON.stringify(message));
      return heard.next();
    };
  };
  t.match(await (await talk())({ type: 'connection_init' }), /connection_ack/, 'who asks plainly is heard meanwhile');
  const ping = { type: 'ping', payload: { text: 'x'.repeat(90_000) } };
  t.equal(await (await talk())(ping), 'closed 1013');
  for (const socket of slow) socket.destroy();
  await until(async () => (await (await talk())(ping)).includes('pong'), 'What they held, free again');
  const ask = await talk();
  for (let count = 0; count < 40; count += 1) t.match(await ask(ping), /pong/, 'what came to its end is not counted');
});

t.test('S1 a message of single bytes, one piece each, is counted with what its pieces hold', async (t) => {
  const socket = await dial(t, '192.0.2.2');
  socket.setNoDelay();
  socket.write(frame('x'.repeat(99_000)).subarray(0, 14));
  const before = socket.received().length;
  const isEnded = () => socket.received().length > before || socket.closed;
  for (let sent = 0; sent < 10_000 && !isEnded(); sent += 1) {
    await new Promise<void>((resolve) => socket.write('x', () => resolve()));
    await new Promise(setImmediate);
  }
  t.ok(isEnded(), 'it is ended long before its end');
});

t.test(
  'S1 one address has so many WebSockets and event streams, one IPv6 network as many, and others theirs',
  async (t) => {
    const all = await Promise.all(Array.from({ length: 48 }, (_, n) => dial(t, `2001:db8:1:2::${n}`)));
    t.ok(all.every((socket) => socket.received().startsWith('HTTP/1.1 101')));
    const query = encodeURIComponent('subscription { userEvents { event { type } } }');
    const statusOf = async (address: string): Promise<number> => {
      const gone = new AbortController();
      t.teardown(() => gone.abort());
      const headers = { accept: 'text/event-stream', authorization: `Bearer ${ann.token}`, ...from(address) };
      return (await fetch(`${graphql}?query=${query}`, { headers, signal: gone.signal })).status;
    };
    t.same([await statusOf('2001:db8:1:2::a'), await statusOf('2001:db8:1:2:ff::')], [200, 200]);
    t.equal(await statusOf('2001:db8:1:2::b'), 429);
    t.match((await dial(t, '2001:db8:1:2::c')).received(), /^HTTP\/1.1 429 /);
    t.match((await dial(t, '2001:db8:1:3::c')).received(), /^HTTP\/1.1 101 /, 'the network beside it');
    all[0]?.destroy();
    await until(async () => (await dial(t, '2001:db8:1:2::d')).received().startsWith('HTTP/1.1 101'), 'A free place');
  },
);

t.test('S1 one address has so many connections, whatever it says on them or does not, and others theirs', async (t) => {
  const { server } = await openWorld(t, { env: { MAX_CONNECTIONS_PER_ADDRESS: '20' } });
  const { port } = new URL(server.url);
  const open = (localAddress: string) => {
    const socket = connectTo({ port: Number(port), host: '127.0.0.1', localAddress });
    socket.on('error', () => {});
    t.teardown(() => socket.destroy());
    return socket;
  };
  const silent = Array.from({ length: 30 }, () => open('127.0.0.1'));
  await until(() => silent.filter(({ closed }) => closed).length >= 10, 'The end of what is too many');
  const healthOf = async (localAddress: string): Promise<string> => {
    const socket = open(localAddress);
    let text = '';
    socket.on('data', (data) => (text += data));
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    await once(socket, 'close');
    return text;
  };
  t.match(await healthOf('127.0.0.2'), /^HTTP\/1.1 200 /, 'another address');
  t.equal(await healthOf('127.0.0.1'), '', 'closed unanswered');
  t.equal(silent.filter(({ closed }) => !closed).length, 20);
  silent.find(({ closed }) => !closed)?.destroy();
  await until(async () => (await healthOf('127.0.0.1')) !== '', 'A free place');
});

t.test('S1 reservations are counted by network too', async (t) => {
  const reserve = async (address: string) => (await fetch(graphql, { method: 'PUT', headers: from(address) })).status;
  for (let n = 0; n < 100; n += 1) t.equal(await reserve(`2001:db8:9:9::${n.toString(16)}`), 201);
  t.equal(await reserve('2001:db8:9:9:ffff::1'), 429);
  t.equal(await reserve('2001:db8:9:a::1'), 201);
});

t.test('S1 who takes all reservations there are keeps nobody from one, and ends none that is connected', async (t) => {
  const put = async (address: string) => {
    const response = await fetch(graphql, { method: 'PUT', headers: from(address) });
    return { status: response.status, token: await response.text() };
  };
  const connect = async ({ token }: { token: string }) => {
    const response = await fetch(graphql, {
      headers: { 'x-graphql-event-stream-token': token, accept: 'text/event-stream' },
    });
    // Held until then: a stream that nobody refers to is ended.
    t.teardown(() => response.body?.cancel());
    return response.status;
  };
  const early = await put('198.51.100.1');
  t.equal(await connect(early), 200);
  for (let network = 0; network < 100; network += 1) {
    // One after the other on one connection, written at once.
    const socket = connectTo(Number(port), hostname);
    let text = '';
    socket.on('data', (data) => (text += data.toString('latin1')));
    const head = `PUT /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-Forwarded-For: 2001:db8:ff:${network.toString(16)}::1`;
    socket.write(`${head}\r\n\r\n`.repeat(99));
    socket.write(`${head}\r\nConnection: close\r\n\r\n`);
    await once(socket, 'close');
    t.equal(text.split('HTTP/1.1 201 ').length, 101);
  }
  const late = await put('198.51.100.2');
  t.equal(late.status, 201);
  t.equal(await connect(late), 200);
  t.equal(await connect(early), 409, 'it is open still');
});

t.test('an address is counted here as it is in SQL', async (t) => {
  for (const address of [
    ...['2001:db8:1:2:3:4:5:6', '2001:DB8:1:2:ffff::1', '2001:db8::', '::1', '::', 'fe80::1%eth0', '::ffff:192.0.2.7'],
    ...['192.0.2.7', '1:2:3:4:5:6:7:8', '1::8', '64:ff9b::192.0.2.33'],
  ]) {
    const { rows } = await world.owner.query(
      `with asked as materialized (select set_config('plinth.address', $1, false))
      select identity._counted_address() as counted from asked`,
      [address],
    );
    const same = (one: string, other: string) => world.owner.query('select $1::inet = $2::inet as same', [one, other]);
    const [ours, theirs] = [countedAddress(address), rows[0].counted];
    t.equal((await same(ours, theirs)).rows[0].same, true, `${address}: ${ours} and ${theirs}`);
  }
  t.equal(countedAddress('unknown'), 'unknown');
});
