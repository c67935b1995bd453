import { createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { isIP } from 'node:net';
import { z } from 'zod';
import { noteSent, type Outgoing, outgoingOf } from '../functions/webhooks.ts';
import { isPublic, publicLookup } from './public-address.ts';
import type { Task } from './task.ts';

const answersWithin = 10_000;

const payload = z.strictObject({ webhook: z.uuid(), event: z.looseObject({ id: z.uuid() }) });

/** Sends an event to the address of a webhook; fails, to be tried again, where that does not answer with 2xx. */
export const deliverWebhookTask: Task<z.output<typeof payload>> = {
  name: 'deliver_webhook',
  payload,
  async run({ webhook, event }, { databaseUrl, settings, signal }) {
    const outgoing = await outgoingOf(databaseUrl, webhook, event);
    if (!outgoing) return { skipped: true };
    let status: number;
    try {
      status = await post(outgoing, event.id, { isPrivate: settings.webhooksPrivate, signal });
    } catch (error) {
      // Stopped by us: the address has nothing to do with it.
      if (!signal.aborted) await noteSent(databaseUrl, webhook, { wentWell: false });
      throw error;
    }
    const wentWell = status >= 200 && status < 300;
    await noteSent(databaseUrl, webhook, { wentWell, isGone: status === 410 });
    if (!wentWell && status !== 410) throw new Error(`the address answered ${status}`);
    return { status };
  },
};

/** The signature of Standard Webhooks: by the id, the second and the body, so that none can be sent again as another or much later. */
function sign(secret: string, id: string, timestamp: number, body: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

/** Posts, and gives the status. Redirects are not followed: they would lead past the check of the address. */
function post(
  { url: given, secret, body }: Outgoing,
  id: string,
  { isPrivate, signal }: { isPrivate: boolean; signal: AbortSignal },
): Promise<number> {
  const url = new URL(given);
  if (!isPrivate) {
    if (url.protocol !== 'https:') throw new Error('the address is not https');
    // An address in numbers is not looked up.
    const host = url.hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) && !isPublic(host)) throw new Error(`${url.hostname} is not a public address`);
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
      // What it says beside the status is nobody's to read, and may have no end.
      response.destroy();
      resolve(response.statusCode ?? 0);
    });
    request.end(body);
  });
}
