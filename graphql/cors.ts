import type { IncomingMessage } from 'node:http';

/** The headers that let pages of the given origins call the API; none for other origins. */
export function corsHeaders({ headers }: IncomingMessage, origins: string[]): [string, string][] {
  const { origin } = headers;
  if (!origin || origins.length === 0) return [];
  if (!origins.includes('*') && !origins.includes(origin)) return [['vary', 'origin']];
  return [
    ['access-control-allow-origin', origin],
    ['access-control-allow-methods', 'GET, POST, PUT, DELETE, OPTIONS'],
    [
      'access-control-allow-headers',
      'authorization, content-type, x-request-id, last-event-id, x-graphql-event-stream-token',
    ],
    [
      'access-control-expose-headers',
      'x-request-id, retry-after, ratelimit, ratelimit-policy, etag, content-range, content-disposition',
    ],
    ['access-control-max-age', '86400'],
    ['vary', 'origin'],
  ];
}
