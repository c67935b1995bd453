// Made from schema.sql by `npm run generate`.
import { z } from 'zod';
import { caller } from '../callers.ts';

/**
 * The place in the log that belongs to everything else that this query reads: subscribe `after` it, and nothing is
 * missed or repeated.
 */
export const cursor = caller({
  sql: 'events.cursor',
  volatile: false,
  input: z.strictObject({}),
  arguments: [],
  json: 'to_json(r)',
  result: z.string(),
});
