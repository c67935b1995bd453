import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Outgoing, Platforms } from '../../functions/platforms.ts';
import { patiences, waitBefore } from '../../functions/policies.ts';
import type { Task, Work } from '../task.ts';
import { Refused } from './adapter.ts';
import { type Linked, linkTo, withPlatforms } from './link.ts';

// What is due sooner is waited for; a run for it would begin no earlier.
const shortWait = 1;
const payload = z.strictObject({ conversation: z.uuid() });

/**
 * Sends what was said in a conversation, in order, until nothing waits. Runs of one conversation never overlap; one that finds a message
 * that another was sending when it died leaves it as `unsure`: platforms have no way to ask whether they have it.
 */
export const sendOutboundTask: Task<z.output<typeof payload>> = {
  name: 'send_outbound',
  payload,
  run: ({ conversation }, work) =>
    withPlatforms(work, async (platforms) => {
      const integration = await platforms.integrationOf(conversation);
      if (!integration) return { sent: 0 };
      // Before anything is claimed: what cannot be decrypted here was surely not sent. A worker that is to stop lets a call
      // end: broken off, nobody would know what came of it.
      const linked = await linkTo(platforms, integration, { ...work, signal: new AbortController().signal });
      let sent = 0;
      for (;;) {
        work.signal.throwIfAborted();
        const next = await platforms.claim(conversation);
        if (!next) return { sent };
        if ('wait' in next) {
          if (next.wait > shortWait) {
            await platforms.askToSend(conversation, next.wait);
            return { sent, waits: next.wait };
          }
          await sleep(Math.max(next.wait, 0) * 1000 + 5, undefined, { signal: work.signal });
          continue;
        }
        if (await send(platforms, next, linked, work)) sent += 1;
      }
    }),
};

async function send(
  platforms: Platforms,
  outgoing: Outgoing,
  linked: Linked | undefined,
  work: Work,
): Promise<boolean> {
  const began = performance.now();
  const took = (): number => performance.now() - began;
  let ids: string[];
  try {
    if (!linked) throw new Refused('There is no way to this platform.', { isFinal: true });
    ids = await linked.adapter.send(outgoing, linked.link);
  } catch (error) {
    await noteFailed(platforms, outgoing, error as Error, took(), work);
    return false;
  }
  await platforms.sent(outgoing, ids, took());
  return true;
}

async function noteFailed(
  platforms: Platforms,
  outgoing: Outgoing,
  error: Error,
  took: number,
  { log }: Pick<Work, 'log'>,
): Promise<void> {
  const refused = error instanceof Refused ? error : undefined;
  const isPutOff = refused?.retryAfter !== undefined;
  // To change or delete twice does no harm; to send twice does.
  const isUnsure = !refused && outgoing.action === 'send';
  const mayRetry = !isUnsure && !refused?.isFinal && (isPutOff || outgoing.tries < patiences.api.tries);
  const retryIn = mayRetry ? (refused?.retryAfter ?? waitBefore(outgoing.tries, patiences.api) / 1000) : null;
  const { integration, action, tries } = outgoing;
  log.warn({ integration, action, tries, retryIn, error: error.message }, 'a platform did not take a message');
  const isOfChat = refused?.isOfChat === true;
  await platforms.notSent(outgoing, { problem: error.message, took, retryIn, isPutOff, isUnsure, isOfChat });
  if (refused?.isOfCredentials) await platforms.checked(integration, { problem: error.message });
}
