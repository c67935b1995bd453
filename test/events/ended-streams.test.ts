import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openEventStreams } from '../../graphql/event-stream.ts';
import type { Listener } from '../../graphql/subscriber.ts';

t.test('a stream whose token has ended, and whose client has not read to its end, is sent nothing more', async (t) => {
  let listener: Listener | undefined;
  const sent = (text: string) => ({ text, cursor: '1', framed: new Map() });
  const streams = openEventStreams({
    verify: () => Promise.reject(new Error('nobody asks')),
    asked: (_request, claims, id) => ({ caller: { role: claims.role, claims: {} }, id }),
    serve: (_params, _asked, given) => {
      listener = given;
      // More than sockets hold, so that the end of the stream waits behind it.
      given.next(sent('x'.repeat(20_000_000)));
      return () => {};
    },
    ...{ maxSubscriptions: 1, maxBodyBytes: 1000, maxBacklogBytes: 100_000_000, heartbeat: 12_000 },
    sender: () => 'one',
    takePlace: () => () => {},
    hold: () => true,
  });
  const server = createServer((request, response) =>
    streams.distinct(
      { request, response, id: 'test' },
      {},
      { claims: { role: 'anonymous' }, endsAt: Date.now() + 300 },
    ),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const asked = get({ port: (server.address() as AddressInfo).port, agent: false });
  asked.on('error', () => {});
  const [response] = await once(asked, 'response');
  t.teardown(() => {
    asked.destroy();
    streams.close();
    server.close();
  });
  response.pause();
  await sleep(600);
  const held = listener?.backlog() ?? 0;
  t.ok(held > 1_000_000, `${held} bytes wait`);
  // Written after the end, it would be an error that ends the process.
  listener?.next(sent('late'));
  t.equal(listener?.backlog(), held, 'nothing was added to what waits');
  await sleep(50);
});
