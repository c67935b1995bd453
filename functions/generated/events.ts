// Made from schema.sql by `npm run generate`.
import { query } from '../callers.ts';
import { pg } from '../kinds.ts';

/**
 * The place in the log that belongs to everything else that this query reads: subscribe `after` it, and nothing is
 * missed or repeated.
 */
export const cursor = query('events.cursor', {}, pg.text);
