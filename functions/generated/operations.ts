// Made from schema.sql by `npm run generate`.
import { z } from 'zod';
import { caller } from '../callers.ts';

/**
 * Makes the monthly partitions of messages that are missing from `since` until `months_ahead`; returns how many. Makes
 * those of the event log for the coming days too.
 */
export const ensurePartitions = caller({
  sql: 'operations.ensure_partitions',
  volatile: true,
  input: z.strictObject({
    since: z.iso.datetime({ offset: true }).nullish(),
    monthsAhead: z.int32().nullish(),
  }),
  arguments: [
    '"since" => $since::timestamptz',
    '"months_ahead" => $monthsAhead::int4',
  ],
  json: 'to_json(r)',
  result: z.int32(),
});

/** Removes codes, counts of tries and sessions that are over; returns how many rows. */
export const expireCodes = caller({
  sql: 'operations.expire_codes',
  volatile: true,
  input: z.strictObject({}),
  arguments: [],
  json: 'to_json(r::text)',
  result: z.string(),
});

/** Drops the days of the event log that are kept no longer; returns how many. */
export const expireEvents = caller({
  sql: 'operations.expire_events',
  volatile: true,
  input: z.strictObject({}),
  arguments: [],
  json: 'to_json(r)',
  result: z.int32(),
});
