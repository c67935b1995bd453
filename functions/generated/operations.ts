// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { optional, pg } from '../kinds.ts';

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
