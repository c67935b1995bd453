// Subscribers, in a process of their own: so many WebSockets, each listening to a channel. They look for the ends of frames and read the
// time of every hundredth delivery, no more, so that they take little from what is measured.
import { connect, type Socket } from 'node:net';

/** What the parent sends: open these, or measure for some seconds. */
export type Order =
  | { open: { port: number; token: string; query: string; channels: string[] } }
  | { measure: { seconds: number } };

/** How many deliveries came, and how long after the event was written, in milliseconds. */
export type Heard = { deliveries: number; seconds: number; latencies: number[] };

let deliveries = 0;
let latencies: number[] = [];
const sockets: Socket[] = [];

process.on('message', async (order: Order) => {
  if ('open' in order) {
    for (const socket of sockets.splice(0)) socket.destroy();
    const { port, token, query, channels } = order.open;
    const waiting = [...channels];
    // So many at once as a server's queue of connections takes.
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        for (let channel = waiting.pop(); channel; channel = waiting.pop()) {
          sockets.push(await listen(port, token, query, channel));
        }
      }),
    );
    process.send?.('open');
    return;
  }
  deliveries = 0;
  latencies = [];
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, order.measure.seconds * 1000));
  process.send?.({ deliveries, seconds: (performance.now() - began) / 1000, latencies } satisfies Heard);
});

/** A socket that listens from when the promise is kept. */
function listen(port: number, token: string, query: string, id: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  socket.write(
    `GET /graphql HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n` +
      'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n',
  );
  let rest = Buffer.alloc(0);
  let upgraded = false;
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('The server closed a connection.')));
    socket.on('data', (chunk) => {
      rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
      if (!upgraded) {
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0) return;
        upgraded = true;
        rest = rest.subarray(end + 4);
        socket.write(frame({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } }));
      }
      for (let size = sizeOf(rest); size > 0 && size <= rest.length; size = sizeOf(rest)) {
        const whole = rest.subarray(0, size);
        rest = rest.subarray(size);
        const opcode = (whole[0] as number) & 15;
        if (opcode === 9) socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]));
        else if (opcode === 1) take(whole);
      }
    });
    function take(whole: Buffer): void {
      const head = whole.subarray(0, 60).toString('latin1');
      if (head.includes('"next"')) {
        deliveries += 1;
        if (deliveries % 100 === 1 || latencies.length < 500) noteLatency(whole);
      } else if (head.includes('connection_ack')) {
        socket.write(frame({ type: 'subscribe', id: '1', payload: { query, variables: { id } } }));
        // The server has it when it answers what was sent after it; it listens a moment later.
        socket.write(frame({ type: 'ping' }));
      } else if (head.includes('"pong"')) setTimeout(() => resolve(socket), 300);
      else reject(new Error(whole.toString()));
    }
  });
}

function noteLatency(whole: Buffer): void {
  const timestamp = /"timestamp" ?: ?"([^"]+)"/.exec(whole.toString('latin1'))?.[1];
  if (timestamp) latencies.push(performance.timeOrigin + performance.now() - Date.parse(timestamp));
}

/** The length of the first frame of a server; 0 where it is not known yet. */
function sizeOf(buffer: Buffer): number {
  if (buffer.length < 2) return 0;
  const short = (buffer[1] as number) & 127;
  if (short < 126) return 2 + short;
  return buffer.length < 4 ? 0 : 4 + buffer.readUInt16BE(2);
}

/** A frame of a client: masked, with a mask of nothing. */
function frame(message: object): Buffer {
  const payload = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(payload.length < 126 ? 6 : 8);
  head[0] = 0x81;
  if (payload.length < 126) head[1] = 0x80 | payload.length;
  else {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(payload.length, 2);
  }
  return Buffer.concat([head, payload]);
}
