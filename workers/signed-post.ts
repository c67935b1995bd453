import { createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import { isPublic, NotPublic, publicLookup } from './public-address.ts';

const answersWithin = 10_000;

/** What is sent, where, under an id that stays the same when it is sent again. */
type Signed = { url: string; secret: string; id: string; body: string };

/** What was answered beside the status is nobody's to read, and may have no end. */
type Answered = { status: number; retryAfter: string | undefined };

/**
 * The signature of Standard Webhooks: by the id, the second and the body, so that none can be sent again as another or much later.
 *
 * @param secret `whsec_` and base64, or any other text as it is.
 */
export function sign(secret: string, id: string, timestamp: number | string, body: string): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : secret;
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

/**
 * Posts JSON. Redirects are not followed: they would lead past the check of the address.
 *
 * @param isPrivate whether it may go to private addresses, and by plain http.
 * @throws NotPublic before anything is sent; else what the connection says.
 */
export async function postSigned(
  { url: given, secret, id, body }: Signed,
  { isPrivate, signal }: { isPrivate: boolean; signal: AbortSignal },
): Promise<Answered> {
  const url = new URL(given);
  if (!isPrivate) {
    if (url.protocol !== 'https:') throw new NotPublic('the address is not https');
    // An address in numbers is not looked up.
    const host = url.hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) && !isPublic(host)) throw new NotPublic(`${url.hostname} is not a public address`);
  }
  const timestamp = Math.floor(Date.now() / 1000);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answersWithin)]);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, {
      method: 'POST',
      agent: false,
      signal: patience,
      ...(!isPrivate && { lookup: publicLookup }),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'Plinth-Webhooks',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': sign(secret, id, timestamp, body),
      },
    });
    request.on('error', reject);
    request.on('response', (response) => {
      response.destroy();
      resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] });
    });
    request.end(body);
  });
}
