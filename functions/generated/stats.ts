// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { optional, pg } from '../kinds.ts';

/** Writes what a process has measured: an object of metrics and their values. */
export const recordMetrics = mutation('stats.record_metrics', { serverId: pg.text, metrics: pg.jsonb });

/** Counts the days since the last one that was counted, or those since a day again; returns how many. */
export const updateDailyStats = mutation('stats.update_daily_stats', { since: optional(pg.date) }, pg.int4);
