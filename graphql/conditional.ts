import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Reply } from './exchange.ts';
import type { Asked } from './execute.ts';

/**
 * Gives the answer to a GET a validator (ETag), and leaves out the body where the client has it already. Every answer is asked for anew:
 * what someone may read changes with a grant or a membership. Only answers to callers without a token may be kept by proxies.
 */
export function conditional(request: IncomingMessage, { role }: Asked['caller'], reply: Reply): Reply {
  if (request.method !== 'GET' || reply.status !== 200 || !reply.body.startsWith('{"data":')) return reply;
  const etag = `"${createHash('sha256').update(reply.body).digest('base64url').slice(0, 27)}"`;
  const whose = role === 'anonymous' ? 'public' : 'private';
  const vary = 'authorization, x-graphql-event-stream-token, accept, origin';
  const more = { etag, 'cache-control': `${whose}, no-cache`, vary };
  if (isKnown(request, etag)) return { status: 304, headers: more, body: '' };
  return { ...reply, headers: { ...reply.headers, ...more } };
}

/** Whether the client has what has this validator already. */
export function isKnown({ headers }: IncomingMessage, etag: string): boolean {
  const known = (headers['if-none-match'] ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''));
  return known.includes(etag) || known.includes('*');
}
