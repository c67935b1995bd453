import { setTimeout as sleep } from 'node:timers/promises';

/** Lets calls to someone else's API go at the pace that it allows (D13). */
export type Pace = {
  /** Runs work in its turn: those that waited longest first. @throws the reason of the signal; nothing is used up by that */
  run<Value>(work: () => Promise<Value>, signal?: AbortSignal): Promise<Value>;
  /** Nothing is begun for so long: they have said so themselves (Retry-After). */
  hold(milliseconds: number): void;
  state(): { waiting: number };
};

/** @param most how many calls may begin within any stretch of `within` milliseconds. */
export function openPace({ most, within }: { most: number; within: number }): Pace {
  // When the last calls began; as many as may.
  const begun: number[] = [];
  let heldUntil = 0;
  let waiting = 0;
  let line: Promise<unknown> = Promise.resolve();

  async function turn(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const now = performance.now();
      const oldest = begun.length < most ? Number.NEGATIVE_INFINITY : (begun[0] as number);
      const wait = Math.max(oldest + within, heldUntil) - now;
      if (wait <= 0) return;
      await sleep(Math.ceil(wait), undefined, { ...(signal && { signal }) });
    }
  }

  return {
    async run(work, signal) {
      waiting += 1;
      const begins = line
        .then(() => turn(signal))
        .then(() => {
          try {
            // In a box: the next in line waits for its beginning, not for its end.
            return { result: work() };
          } finally {
            // Once it has begun: counted earlier, it could begin closer to those that follow than it may.
            if (begun.push(performance.now()) > most) begun.shift();
          }
        })
        .finally(() => {
          waiting -= 1;
        });
      line = begins.catch(() => {});
      return (await begins).result;
    },
    hold(milliseconds) {
      heldUntil = Math.max(heldUntil, performance.now() + milliseconds);
    },
    state: () => ({ waiting }),
  };
}
