import { z } from 'zod';
import { noteSent, outgoingOf } from '../functions/webhooks.ts';
import { postSigned } from './signed-post.ts';
import type { Task } from './task.ts';

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
      ({ status } = await postSigned({ ...outgoing, id: event.id }, { isPrivate: settings.webhooksPrivate, signal }));
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
