import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { QueryConfig, QueryResult } from 'pg';
import type { Logger } from 'pino';
import { openArrivals } from '../functions/platforms.ts';
import { addressOf, countedAddress } from './address.ts';
import { openBodies } from './bodies.ts';
import { type Exchange, type Reply, refuse } from './exchange.ts';
import type { Gate } from './gate.ts';
import { openShares } from './shares.ts';

/** A request at the webhook of an integration, and what is answered; see workers/platforms/door.ts. */
export type PlatformDoor = (
  arrivals: ReturnType<typeof openArrivals>,
  platform: string,
  integration: string,
  arrived: {
    method: string;
    headers: Record<string, string | undefined>;
    query: URLSearchParams;
    body: string;
  },
) => Promise<{ status: number; body: string }>;

const path = /^\/webhooks\/([a-z][a-z0-9_]{0,49})\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
const bodiesTogether = 16;
const codes: Record<number, string> = { 404: 'NOT_FOUND', 503: 'UNAVAILABLE' };

/** Serves /webhooks: where platforms tell what has come. It is stored, and answered at once; a job does the rest. */
export function openPlatformRoute({
  door,
  ask,
  gate,
  log,
  settings: { maxBodyBytes, trustedProxies },
}: {
  door: PlatformDoor;
  /** Runs a query as plinth_server. */
  ask: (query: QueryConfig) => Promise<QueryResult>;
  gate: Gate;
  log: Logger;
  settings: { maxBodyBytes: number; trustedProxies: number };
}) {
  const readBody = openBodies(maxBodyBytes, openShares(maxBodyBytes * bodiesTogether));
  const arrivals = openArrivals(ask);

  return async ({ request, response, id }: Exchange, asked: string): Promise<Reply | undefined> => {
    const [, platform, integration] = path.exec(asked) ?? [];
    if (!platform || !integration) return refuse(404, 'NOT_FOUND', 'There is no such webhook.');
    const address = addressOf(request, trustedProxies);
    const caller = { role: 'anonymous' as const, claims: { ...(isIP(address) && { address }) } };
    if (!gate.hasRoom(caller)) return refuse(429, 'TOO_MANY_REQUESTS', 'Too many requests.', { 'retry-after': '60' });
    const body = await readBody(request, countedAddress(address), (then) => response.on('close', then));
    if ('refused' in body) {
      if (body.refused === 'gone') return;
      if (body.refused === 'too many') return refuse(503, 'UNAVAILABLE', 'Too many large requests are being read.');
      return refuse(413, 'LIMIT_EXCEEDED', `The body is larger than ${maxBodyBytes} bytes.`);
    }
    const { searchParams: query } = new URL(request.url ?? '/', 'http://localhost');
    const arrived = { method: request.method ?? 'GET', headers: headersOf(request), query, body: body.text };
    const { status, body: answer } = await door(arrivals, platform, integration, arrived);
    if (status < 400) return { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: answer };
    // Platforms send much from few addresses: only what is not theirs counts against one.
    gate.count(caller);
    log.info({ id, status, platform }, 'a webhook was turned away');
    return refuse(status, codes[status] ?? 'BAD_REQUEST', answer);
  };
}

function headersOf({ headers }: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
