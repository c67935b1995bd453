// The clients, in a process of their own: so many connections, each sending its next request when it has the answer to the
// last. They write to sockets and look for the end of an answer, no more, so that they take little from what is measured.
import { connect } from 'node:net';

/** What to send, where, and for how long. */
export type Load = {
  port: number;
  connections: number;
  /** Before this, what happens is not counted. */
  warmSeconds: number;
  seconds: number;
  requests: { path: string; body: string; token: string }[];
};

/** What came of it; p50 and p99 are the milliseconds within which half and 99 % of the requests were answered. */
export type Measured = { rps: number; p50: number; p99: number; failed: number; failure?: string };

process.on('message', async (load: Load) => {
  const measured = await run(load).catch(
    ({ message }: Error): Measured => ({ rps: 0, p50: 0, p99: 0, failed: 1, failure: message }),
  );
  if (process.connected) process.send?.(measured);
});

async function run({ port, connections, warmSeconds, seconds, requests }: Load): Promise<Measured> {
  const sent = requests.map((request) => bytesOf(request));
  const began = performance.now() + warmSeconds * 1000;
  const ends = began + seconds * 1000;
  const times: number[] = [];
  const failures: string[] = [];
  let next = 0;

  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let received = '';
      let asked = 0;
      const ask = () => {
        asked = performance.now();
        socket.write(sent[next++ % sent.length] as Buffer);
      };
      socket.setEncoding('latin1');
      socket.once('connect', ask);
      socket.once('error', reject);
      socket.on('data', (chunk: string) => {
        received += chunk;
        if (!isWhole(received)) return;
        const now = performance.now();
        if (now >= began && now < ends) times.push(now - asked);
        if (!received.startsWith('HTTP/1.1 200') || received.includes('{"errors"')) failures.push(received);
        received = '';
        if (now < ends) return ask();
        socket.end();
        resolve();
      });
    });
  await Promise.all(Array.from({ length: connections }, one));

  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(times.length * share)] ?? Number.NaN;
  const [failure] = failures;
  return {
    rps: times.length / seconds,
    p50: at(0.5),
    p99: at(0.99),
    failed: failures.length,
    ...(failure && { failure: failure.slice(0, 2000) }),
  };
}

function bytesOf({ path, body, token }: Load['requests'][number]): Buffer {
  const head = [
    `POST ${path} HTTP/1.1`,
    'host: 127.0.0.1',
    'accept: application/json',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `authorization: Bearer ${token}`,
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function isWhole(received: string): boolean {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, end));
  if (length) return received.length >= end + 4 + Number(length[1]);
  return received.endsWith('0\r\n\r\n');
}
