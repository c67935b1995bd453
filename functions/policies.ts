import { DelegateBackoff, handleWhen, retry } from 'cockatiel';
import type { Log } from './log.ts';
import { isPassing } from './requests.ts';

/** How something outside is asked again when it fails (E3). Waits are in milliseconds; each is up to a quarter longer by chance. */
type Patience = {
  tries: number;
  firstWait: number;
  longestWait: number;
  /** What a wait is longer than the one before. */
  factor: number;
  /** Whether the last failure is the caller's; where not, nothing is given back. */
  raises: boolean;
};

/** Every policy that there is, once. */
export const patiences = {
  /** A statement of ours, tried again only where the connection or a conflict was at fault. */
  db: { tries: 3, firstWait: 2000, longestWait: 10_000, factor: 2, raises: true },
  /** The cache: nobody waits for it for long, and nothing depends on it. */
  cache: { tries: 3, firstWait: 20, longestWait: 100, factor: 2, raises: false },
  /** The API of someone else, who may need a while. */
  api: { tries: 3, firstWait: 5000, longestWait: 60_000, factor: 4, raises: true },
  /** A service next door. */
  apiClient: { tries: 3, firstWait: 2000, longestWait: 2000, factor: 1, raises: true },
  /** What is good to have, and no loss. */
  optional: { tries: 2, firstWait: 1000, longestWait: 1000, factor: 1, raises: false },
} as const satisfies Record<string, Patience>;

type PolicyName = keyof typeof patiences;
type Result<Name extends PolicyName, Value> = (typeof patiences)[Name]['raises'] extends true
  ? Value
  : Value | undefined;

/** Does work under a policy. `what` names it in the log; an aborted signal ends the waiting. */
export type Policies = {
  [Name in PolicyName]: <Value>(
    what: string,
    work: (signal: AbortSignal) => PromiseLike<Value> | Value,
    signal?: AbortSignal,
  ) => Promise<Result<Name, Value>>;
};

/**
 * The policies of E3. Each retry is logged. What no repetition can mend is told at once: an error with `permanent: true` (a request
 * that was understood and refused).
 */
export function openPolicies(log: Pick<Log, 'warn'>): Policies {
  const opened = Object.entries(patiences).map(([name, patience]) => [name, openPolicy(name, patience, log)]);
  return Object.fromEntries(opened) as Policies;
}

function openPolicy(name: string, { tries, raises, ...waits }: Patience, log: Pick<Log, 'warn'>) {
  const mends = name === 'db' ? isPassing : (error: unknown) => (error as { permanent?: unknown }).permanent !== true;
  const backoff = new DelegateBackoff(({ attempt }: { attempt: number }) => waitBefore(attempt, waits));
  return async (what: string, work: (signal: AbortSignal) => unknown, signal?: AbortSignal): Promise<unknown> => {
    const policy = retry(
      handleWhen((error) => !isBroken(error) && mends(error)),
      { maxAttempts: tries - 1, backoff },
    );
    policy.onRetry((failed) => {
      const error = 'error' in failed ? (failed.error as Error).message : undefined;
      log.warn({ what, policy: name, attempt: failed.attempt, wait: Math.round(failed.delay), error }, 'Trying again.');
    });
    try {
      return await policy.execute((context) => work(context.signal), signal);
    } catch (error) {
      if (raises) throw error;
      return undefined;
    }
  };
}

/** How long to wait before the try after this one, in milliseconds. */
export function waitBefore(
  attempt: number,
  { firstWait, longestWait, factor }: Omit<Patience, 'tries' | 'raises'>,
): number {
  const wait = firstWait * factor ** (attempt - 1);
  return Math.min(longestWait, wait * (1 + Math.random() / 4));
}

export type BreakerState = {
  state: 'closed' | 'open' | 'half-open';
  /** Failures in a row, by now. */
  failures: number;
  /** How often it has opened since the start. */
  opened: number;
};

/** Keeps off what has failed: not asked at all, it costs nothing. */
export type Breaker = {
  /** @throws what `work` throws; Broken, at once, where it is not asked. */
  run<Value>(work: () => Promise<Value>): Promise<Value>;
  /** Whether it would not be asked now: who can do without need not try. */
  isShut(): boolean;
  state(): BreakerState;
};

/** Said in place of what was not asked. */
class Broken extends Error {}

/** Whether an error says that a breaker did not let it through. */
export function isBroken(error: unknown): boolean {
  return error instanceof Broken;
}

/**
 * A circuit breaker (E1): after `failures` in a row it is open for `openFor` milliseconds, then half-open: one call is let through, and
 * closes it or opens it again. The others are turned away meanwhile: they do not wait for that one.
 */
export function openBreaker(what: string, log: Pick<Log, 'warn'>, { failures = 3, openFor = 30_000 } = {}): Breaker {
  // Not that of cockatiel, which goes by the wall's clock: set back by an hour, it stays open for one.
  let inRow = 0;
  let opened = 0;
  // Until when it is open; undefined while it is closed.
  let until: number | undefined;
  let isTrying = false;
  const isShut = (): boolean => until !== undefined && (isTrying || performance.now() < until);
  return {
    async run(work) {
      if (isShut()) throw new Broken(`${what} is not asked for a while`);
      const isTrial = until !== undefined;
      isTrying ||= isTrial;
      try {
        const value = await work();
        if (isTrial) {
          until = undefined;
          log.warn({ what }, 'The breaker is closed again.');
        }
        if (until === undefined) inRow = 0;
        return value;
      } catch (error) {
        inRow += 1;
        if (isTrial || (until === undefined && inRow >= failures)) {
          opened += 1;
          until = performance.now() + openFor;
          log.warn({ what, failures: inRow, seconds: openFor / 1000 }, 'The breaker is open.');
        }
        throw error;
      } finally {
        if (isTrial) isTrying = false;
      }
    },
    isShut,
    state: () => ({
      state: isTrying ? 'half-open' : until === undefined ? 'closed' : 'open',
      failures: inRow,
      opened,
    }),
  };
}
