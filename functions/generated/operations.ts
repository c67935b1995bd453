// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { optional, pg } from '../kinds.ts';

/** Makes the monthly partitions of messages that are missing from `since` until `months_ahead`; returns how many. */
export const ensurePartitions = mutation('operations.ensure_partitions', {
  since: optional(pg.timestamptz),
  monthsAhead: optional(pg.int4),
}, pg.int4);

/** Removes codes, counts of tries and sessions that are over; returns how many rows. */
export const expireCodes = mutation('operations.expire_codes', {}, pg.int8);
