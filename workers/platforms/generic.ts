import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Outgoing } from '../../functions/platforms.ts';
import { leastSecret } from '../../functions/sealing.ts';
import { NotPublic } from '../public-address.ts';
import { postSigned, sign } from '../signed-post.ts';
import { type Adapter, type Link, Refused, type Update } from './adapter.ts';
import { isSame } from './same.ts';

/** How far the clocks of two systems may be apart, in seconds: what is older is no longer taken. */
const freshFor = 300;
const mostAtOnce = 100;
const mostWait = 3600;

const id = z.string().min(1).max(200);
const file = z.object({
  id: z.string().min(1).max(2000),
  kind: z.string().min(1).max(50),
  name: z.string().max(255).optional(),
  media_type: z.string().max(255).optional(),
  bytes: z.int().min(0).optional(),
});
const update = z.discriminatedUnion('kind', [
  z.object({
    kind: z.enum(['message', 'edit', 'press']),
    chat: id,
    message: id,
    contact: z.object({
      id,
      name: z.string(),
      username: z.string().optional(),
      language: z.string().optional(),
    }),
    text: z.string().min(1),
    shape: z.enum(['text', 'image', 'file']).optional(),
    revision: z.int().min(0).optional(),
    sent_at: z.iso.datetime({ offset: true }).optional(),
    reply_to: id.optional(),
    album: id.optional(),
    files: z.array(file).max(20).optional(),
    pressed: id.optional(),
  }),
  z.object({
    kind: z.literal('receipt'),
    message: id,
    state: z.enum(['delivered', 'read', 'failed']),
    delivery: z
      .string()
      .regex(/^\d{1,18}$/)
      .optional(),
    error: z.string().optional(),
  }),
]) satisfies z.ZodType<Update>;
const events = z.array(z.looseObject({ id })).min(1).max(mostAtOnce);

/**
 * Any system that speaks this (docs/platforms.md): JSON in our own words, signed in both directions as Standard Webhooks are
 * (https://www.standardwebhooks.com). What is sent again has the id that it had, by which the other system knows it.
 */
export const generic: Adapter = {
  platform: 'generic',

  verify({ headers, body }, { secret = '' }) {
    const { 'webhook-id': given = '', 'webhook-timestamp': at = '', 'webhook-signature': signatures = '' } = headers;
    const isFresh = /^\d{1,12}$/.test(at) && Math.abs(Date.now() / 1000 - Number(at)) <= freshFor;
    const right = sign(secret, given, at, body);
    // Several, while a secret is replaced.
    const isSigned = signatures.split(' ', 8).some((signature) => isSame(signature, right));
    return isFresh && isSigned && secret.length >= leastSecret;
  },

  receive: (body) => events.parse(Array.isArray(body) ? body : [body]).map((event) => ({ id: event.id, body: event })),

  parse: (body) => [update.parse(body)],

  async send(outgoing, link) {
    if (outgoing.files.length > 0) throw new Refused('Files cannot be sent there.', { isFinal: true });
    const { action, message } = outgoing;
    await post(link, action === 'send' ? message : `${message}:${outgoing.id}`, saidOf(outgoing));
    return [message];
  },

  async check(link, webhook) {
    const { url = '' } = link.credentials;
    await post(link, randomUUID(), { kind: 'check', ...(webhook && { webhook }) });
    const { origin, pathname, hostname } = new URL(url);
    return { account: `${origin}${pathname}`, name: hostname };
  },
};

function saidOf({ id, action, chat, message, text, buttons, reply_to }: Outgoing): object {
  const about = { kind: action, chat, message, delivery: `${id}` };
  if (action === 'delete') return about;
  return { ...about, text, ...(buttons !== null && { buttons }), ...(reply_to && { reply_to }) };
}

/** Whatever went wrong, it may be sent again: the other system knows it by its id. */
async function post({ credentials, settings, signal }: Link, id: string, said: object): Promise<void> {
  const { url = '', secret = '' } = credentials;
  const body = JSON.stringify({ id, ...said });
  const { status, retryAfter } = await postSigned(
    { url, secret, id, body },
    { isPrivate: settings.webhooksPrivate, signal },
  ).catch((error: Error) => {
    throw new Refused(`The address did not answer: ${error.message}`, { isFinal: error instanceof NotPublic });
  });
  if (status >= 200 && status < 300) return;
  const isBusy = status === 429 || status === 503;
  const mayBeAskedAgain = isBusy || status === 408 || status === 425 || status >= 500;
  throw new Refused(`The address answered ${status}.`, {
    isOfCredentials: status === 401 || status === 403,
    isFinal: !mayBeAskedAgain,
    ...(isBusy && /^\d{1,9}$/.test(retryAfter ?? '') && { retryAfter: Math.min(Number(retryAfter), mostWait) }),
  });
}
