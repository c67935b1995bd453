import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

// biome-ignore lint/suspicious/noExplicitAny: whatever was sent
type Body = any;
export type Called = { path: string; query: URLSearchParams; headers: IncomingHttpHeaders; body: Body; at: number };
export type Answered = { status?: number; headers?: Record<string, string>; body: unknown };

/** What happens to a call in place of an answer, once. What is slow is answered when it is released. */
export type Fault = Answered | 'slow' | 'silent' | 'cut' | 'drip' | 'bad JSON' | 'page';

export type ShopServer = {
  url: string;
  calls: Called[];
  /** What happens to the next calls of a path, in turn. */
  faults: Map<string, Fault[]>;
  /** The calls of a path. */
  of(path: string): Called[];
  /** Waits until so many calls of a path have come. */
  until(path: string, count: number): Promise<void>;
  release(): void;
};

/** A server that answers by JSON, and with faults where a test wants them. */
export async function openShopServer(t: Test, answer: (called: Called) => Answered): Promise<ShopServer> {
  const calls: Called[] = [];
  const faults = new Map<string, Fault[]>();
  const held: (() => void)[] = [];
  const waiting: (() => void)[] = [];

  const server = createServer(async (request, response) => {
    const { pathname: path, searchParams: query } = new URL(request.url ?? '/', 'http://shop.test');
    let text = '';
    for await (const part of request) text += part;
    const called = { path, query, headers: request.headers, body: text && JSON.parse(text), at: Date.now() };
    calls.push(called);
    for (const look of waiting) look();
    const fault = faults.get(path)?.shift();
    if (fault === 'silent') return;
    if (fault === 'slow') await new Promise<void>((resolve) => held.push(resolve));
    if (fault === 'page')
      return response.writeHead(502, { 'content-type': 'text/html' }).end('<html>Bad Gateway</html>');
    if (fault === 'bad JSON') return response.writeHead(200).end('{"cards": [{');
    const { status = 200, headers, body } = typeof fault === 'object' ? fault : answer(called);
    const json = JSON.stringify(body);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    if (fault === 'cut' || fault === 'drip') {
      response.write(json.slice(0, json.length / 2));
      if (fault === 'cut') setImmediate(() => request.socket.destroy());
      return;
    }
    response.end(json);
  });

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const release of held.splice(0)) release();
    server.closeAllConnections();
    server.close();
  });
  const of = (path: string): Called[] => calls.filter((each) => each.path === path);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    faults,
    of,
    until: (path, count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (of(path).length >= count) resolve();
        };
        waiting.push(look);
        look();
      }),
    release() {
      for (const release of held.splice(0)) release();
    },
  };
}
