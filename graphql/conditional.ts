import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Sent } from './route.ts';

/**
 * Gives the answer to a GET a validator (ETag), and leaves out the body where the client has it already. Every answer is asked for anew:
 * what someone may read changes with a grant or a membership. Only answers to callers without a token may be kept by proxies.
 */
export function conditional({ method, headers }: IncomingMessage, sent: Sent): Sent {
  if (method !== 'GET' || sent.status !== 200 || !sent.body.startsWith('{"data":')) return sent;
  const etag = `"${createHash('sha256').update(sent.body).digest('base64url').slice(0, 27)}"`;
  const whose = headers.authorization === undefined ? 'public' : 'private';
  const more = { etag, 'cache-control': `${whose}, no-cache`, vary: 'authorization, accept, origin' };
  const known = (headers['if-none-match'] ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''));
  if (known.includes(etag) || known.includes('*')) return { status: 304, headers: more, body: '' };
  return { ...sent, headers: { ...sent.headers, ...more } };
}
