// Made from schema.sql by `npm run generate`.
import { query } from '../callers.ts';
import { orNull, pg, row, type ValueOf } from '../kinds.ts';

/** A topic that may be listened to. */
export const Position = row('events."position"', {
  /** Its name. */
  topic: orNull(pg.text),
  /** The seq of its newest event; null where the log does not keep the topic. */
  seq: orNull(pg.int8),
});
export type Position = ValueOf<typeof Position>;

/**
 * The place in the log that belongs to everything else that this query reads: subscribe `after` it, and nothing is
 * missed or repeated.
 */
export const cursor = query('events.cursor', {}, pg.text);
