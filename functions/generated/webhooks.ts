// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { arrayOf, optional, orNull, pg, row, type ValueOf } from '../kinds.ts';

/** A webhook that was just made. */
export const NewWebhook = row('webhooks.new_webhook', {
  /** The webhook. */
  id: orNull(pg.uuid),
  /** What its events are signed with: shown this once. */
  secret: orNull(pg.text),
});
export type NewWebhook = ValueOf<typeof NewWebhook>;

/**
 * Has the events of a channel that the caller is in sent to an address: of some `types`, or all. 10 a channel, 3
 * of them of one user, 20 a user in all.
 */
export const createWebhook = mutation('webhooks.create_webhook', {
  channelId: pg.uuid,
  url: pg.text,
  types: optional(arrayOf(pg.text)),
}, NewWebhook);

/** Ends a webhook; for its owner, and for the owner and admins of the room. */
export const removeWebhook = mutation('webhooks.remove_webhook', { id: pg.uuid });
