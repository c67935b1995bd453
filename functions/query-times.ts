import type { Log } from './log.ts';
import type { Call } from './pipeline.ts';
import type { Caller } from './requests.ts';

/** What the round trips of one operation came to; times in milliseconds. */
type OperationTimes = {
  operation: string;
  queries: number;
  slow: number;
  milliseconds: number;
  longest: number;
};

/** What all of them came to, since the process began. */
type QueryTotals = { since: Date; queries: number; slow: number; milliseconds: number };

export type QueryTimes = {
  /** Counts a round trip, and logs a slow one. */
  add(milliseconds: number, operation: string, caller: Caller, calls: Call[]): void;
  totals(): QueryTotals;
  /** The operations that took longest all together, the first of them first. */
  operations(most: number): OperationTimes[];
};

// Clients may send documents without end. The totals count all of them.
const mostOperations = 1000;

/**
 * Counts what the server waits for Postgres, by operation.
 *
 * @param slowQueryMs from how many milliseconds on a round trip is slow.
 * @param logParameters whether a slow one is logged with the values that were sent.
 */
export function openQueryTimes(
  { slowQueryMs, logParameters }: { slowQueryMs: number; logParameters: boolean },
  log: Pick<Log, 'warn'>,
): QueryTimes {
  const totals: QueryTotals = { since: new Date(), queries: 0, slow: 0, milliseconds: 0 };
  const byOperation = new Map<string, OperationTimes>();

  function timesOf(operation: string): OperationTimes {
    const known = byOperation.get(operation);
    if (known) return known;
    if (byOperation.size >= mostOperations) {
      let least: OperationTimes | undefined;
      for (const each of byOperation.values()) if (!least || each.milliseconds < least.milliseconds) least = each;
      byOperation.delete(least?.operation ?? '');
    }
    const times = { operation, queries: 0, slow: 0, milliseconds: 0, longest: 0 };
    byOperation.set(operation, times);
    return times;
  }

  function tell(milliseconds: number, operation: string, { role, claims }: Caller, calls: Call[]): void {
    log.warn(
      {
        id: claims.request_id,
        operation,
        role,
        ms: Math.round(milliseconds),
        sql: calls.map(({ statement }) => statement.text),
        parameters: logParameters ? calls.map(({ values }) => values) : 'redacted',
      },
      'slow query',
    );
  }

  return {
    add(milliseconds, operation, caller, calls) {
      const times = timesOf(operation);
      totals.queries += 1;
      totals.milliseconds += milliseconds;
      times.queries += 1;
      times.milliseconds += milliseconds;
      if (milliseconds > times.longest) times.longest = milliseconds;
      if (milliseconds < slowQueryMs) return;
      totals.slow += 1;
      times.slow += 1;
      tell(milliseconds, operation, caller, calls);
    },
    totals: () => totals,
    operations: (most) =>
      [...byOperation.values()].toSorted((one, other) => other.milliseconds - one.milliseconds).slice(0, most),
  };
}
