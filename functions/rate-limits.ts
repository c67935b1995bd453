/** How often one address or one user may ask; a row of access.rate_limits. */
export type Limit = { subject: 'address' | 'user'; covers: string; count: number; seconds: number };

/** What is to be counted against a limit: whose, and how often. */
type Taking = { limit: Limit; who: string; times: number };

/** Where a limit stands after a request. */
export type Standing = { limit: Limit; remaining: number /** Seconds until there is room again. */; wait: number };

/** Adds to counts that several processes share; gives the totals, nothing where they cannot be asked. */
type Share = (counts: { key: string; by: number; milliseconds: number }[]) => Promise<number[] | undefined>;

export type RateLimits = {
  /** Counts a request against all its limits, or against none where one of them is used up, which is told. */
  take(takings: Taking[]): Standing & { isRefused: boolean };
  /** Whether it would be refused. */
  isFull(takings: Taking[]): boolean;
  state(): { counted: number; refused: number };
  close(): void;
};

type Counted = {
  limit: Limit;
  window: number;
  /** Of this window, of all processes as far as it is known; and what of it the others have not been told. */
  total: number;
  untold: number;
  /** Of the window before. */
  before: number;
};

// What others have let through meanwhile is not known: a limit may be exceeded by that.
const shareEvery = 500;
const mostTold = 1000;
// Some 200 bytes each.
const mostCounted = 50_000;

/**
 * Counts requests in windows of time. What was asked in the window before counts for the share of it that is still within reach, so that
 * twice as much cannot be had at the seam of two windows. A request waits for nothing: processes tell each other their counts twice a second.
 *
 * @param share where they do; it may be that there is nobody to tell.
 */
export function openRateLimits(share: Share, now: () => number = Date.now): RateLimits {
  const counted = new Map<string, Counted>();
  const seen = { counted: 0, refused: 0 };
  let telling = false;

  function find({ limit, who }: Taking, window: number): Counted {
    const key = `${limit.subject}:${limit.covers}:${who}`;
    const known = counted.get(key);
    if (known?.window === window) return known;
    const before = known?.window === window - 1 ? known.total : 0;
    const fresh = { limit, window, total: 0, untold: 0, before };
    counted.delete(key);
    counted.set(key, fresh);
    if (counted.size > mostCounted) counted.delete(counted.keys().next().value as string);
    return fresh;
  }

  function standingOf(takings: Taking[]): Standing & { found: Counted[] } {
    const at = now() / 1000;
    let tightest: Standing | undefined;
    const found = takings.map((taking) => {
      const { limit, times } = taking;
      const elapsed = (at % limit.seconds) / limit.seconds;
      const each = find(taking, Math.floor(at / limit.seconds));
      const room = limit.count - each.total - each.before * (1 - elapsed);
      const remaining = room - times;
      if (!tightest || remaining / limit.count < tightest.remaining / tightest.limit.count) {
        tightest = { limit, remaining, wait: remaining >= 0 ? 0 : waitFor(each, times, elapsed) };
      }
      return each;
    });
    return { ...(tightest as Standing), found };
  }

  function take(takings: Taking[]): Standing & { isRefused: boolean } {
    const { limit, remaining, wait, found } = standingOf(takings);
    const isRefused = remaining < 0;
    if (isRefused) seen.refused += 1;
    else {
      seen.counted += 1;
      for (const [index, each] of found.entries()) {
        each.total += (takings[index] as Taking).times;
        each.untold += (takings[index] as Taking).times;
      }
    }
    return { limit, remaining: Math.max(0, Math.floor(remaining)), wait, isRefused };
  }

  /** What was not told in time is of no use any more: windows that are over are not shared. */
  async function tell(): Promise<void> {
    const at = now() / 1000;
    const due: [string, Counted, number][] = [];
    for (const [key, each] of counted) {
      if (each.window < Math.floor(at / each.limit.seconds) - 1) counted.delete(key);
      else if (each.untold > 0 && each.window === Math.floor(at / each.limit.seconds) && due.length < mostTold)
        due.push([key, each, each.untold]);
    }
    // Behind the others: who asks all the time does not keep them from being told.
    for (const [key, each] of due) {
      counted.delete(key);
      counted.set(key, each);
    }
    const totals = await share(
      due.flatMap(([key, { window, limit }, by]) => {
        const milliseconds = Math.ceil(limit.seconds * 2000);
        return [
          { key: `${key}:${window}`, by, milliseconds },
          { key: `${key}:${window - 1}`, by: 0, milliseconds },
        ];
      }),
    );
    if (!totals) return;
    for (const [index, [, each, by]] of due.entries()) {
      each.untold -= by;
      each.total = Math.max(each.total, (totals[index * 2] ?? 0) + each.untold);
      each.before = Math.max(each.before, totals[index * 2 + 1] ?? 0);
    }
  }

  const timer = setInterval(() => {
    if (telling) return;
    telling = true;
    tell()
      .catch(() => {})
      .finally(() => {
        telling = false;
      });
  }, shareEvery);
  timer.unref();
  const isFull = (takings: Taking[]): boolean => standingOf(takings).remaining < 0;
  return { take, isFull, state: () => ({ ...seen }), close: () => clearInterval(timer) };
}

/** In how many seconds there is room for so many more, where nobody asks meanwhile. */
function waitFor({ total, before, limit }: Counted, times: number, elapsed: number): number {
  const allowed = Math.max(0, limit.count - times);
  const left = 1 - elapsed;
  // In this window, once enough of the one before is out of reach; or else in the next, whose one before this is.
  const share = total <= allowed ? Math.min(left, (allowed - total) / Math.max(before, 1)) : 0;
  const windows = total <= allowed ? left - share : left + Math.max(0, 1 - allowed / total);
  return Math.max(1, Math.ceil(windows * limit.seconds));
}
