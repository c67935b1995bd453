// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { optional, pg } from '../kinds.ts';

/** Renews the statistics of messages as a whole: autovacuum does so for each month, never for all of them together. */
export const analyzeMessages = mutation('operations.analyze_messages', {});

/**
 * Makes the monthly partitions of messages that are missing from `since` until `months_ahead`; returns how many. Makes
 * those of the event log for the coming days too.
 */
export const ensurePartitions = mutation('operations.ensure_partitions', {
  since: optional(pg.timestamptz),
  monthsAhead: optional(pg.int4),
}, pg.int4);

/** Removes codes, counts of tries and sessions that are over; returns how many rows. */
export const expireCodes = mutation('operations.expire_codes', {}, pg.int8);

/** Drops the days of the event log that are kept no longer; returns how many. */
export const expireEvents = mutation('operations.expire_events', {}, pg.int4);

/**
 * Removes the names that clients gave to messages more than 30 days ago: sent again after that, it is another message.
 * Those of imported users stay, since an import relies on them. Returns how many.
 */
export const expireNonces = mutation('operations.expire_nonces', {}, pg.int8);
