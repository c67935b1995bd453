import { CronExpressionParser } from 'cron-parser';
import type { Schedule } from '../functions/jobs.ts';

// A schedule of every second that nobody ran for long asks for no more than this at once.
const most = 1000;

/** The times of a schedule that have come, the oldest first, and its next one; without one where it never comes again. */
export type Due = { times: Date[]; nextAt: Date | undefined };

/**
 * What a schedule asks for now. Times that nobody ran at are made up for as far back as `backfill` says, and the last of them in any case.
 *
 * @throws Error that says what is wrong with the cron line or the time zone.
 */
export function timesDue({ cron, time_zone: tz, backfill, next_at: nextAt, now }: Schedule): Due {
  const after = (date: Date) => CronExpressionParser.parse(cron, { currentDate: date, tz });
  const times: Date[] = [];
  if (nextAt && nextAt <= now) {
    const passed = after(new Date(now.getTime() + 1));
    const oldest = Math.max(nextAt.getTime(), now.getTime() - backfill * 1000);
    while (times.length < most && passed.hasPrev()) {
      const time = passed.prev().toDate();
      if (time < nextAt || (times.length > 0 && time.getTime() < oldest)) break;
      times.unshift(time);
    }
  }
  const coming = after(now);
  return { times, nextAt: coming.hasNext() ? coming.next().toDate() : undefined };
}
