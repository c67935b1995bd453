import { appendFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';

/** A text or a mail to one person: `to` is a phone number (+…) or an e-mail address. */
export type Delivery = { channel: 'sms' | 'mail'; to: string; text: string };

/** Sends one; settled when it is on its way. */
export type Deliver = (delivery: Delivery) => Promise<void>;

/**
 * Delivers into a file that a developer looks at, `<folder>/outbox.jsonl`: a line of JSON for each. The log tells that
 * it did, and nothing of the text, in which codes stand.
 */
export function fileOutbox(folder: string, log: Logger): Deliver {
  const file = path.join(folder, 'outbox.jsonl');
  return async ({ channel, to, text }) => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await appendFile(file, `${JSON.stringify({ at: new Date().toISOString(), channel, to, text })}\n`, { mode: 0o600 });
    log.info({ channel, to, file }, 'delivered to the outbox');
  };
}

/** Delivers nothing: what production has until a gateway is set. */
export function noGateway(): Deliver {
  return async ({ channel }) => {
    throw new Error(`no gateway for ${channel} is set, so nothing can be delivered in production`);
  };
}
