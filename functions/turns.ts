/** A server that is asked for more than it can hold: told at once, not after a wait. */
export class Overloaded extends Error {
  readonly code = '53300';
}

/** Gives a turn, now or later, and with it what ends it. @throws Overloaded; the reason of the signal */
type TakeTurn = (caller: string, signal?: AbortSignal) => Promise<() => void>;

export type Turns = { take: TakeTurn; waiting(): number };

const mostWaiting = 1000;
const mostWaitingOfOne = 200;

/**
 * Turns of which `size` run at once, shared out among callers. One caller may run as many as it leaves free, so that alone it has half of
 * them, and one is there for who comes next; the others of it wait. Of those who wait, who runs least is next.
 */
export function openTurns(size: number): Turns {
  const running = new Map<string, number>();
  const waiting = new Map<string, Set<() => void>>();
  let free = size;
  let waitingCount = 0;

  const runs = (caller: string): number => running.get(caller) ?? 0;

  function begin(caller: string): () => void {
    free -= 1;
    running.set(caller, runs(caller) + 1);
    return () => {
      free += 1;
      if (runs(caller) === 1) running.delete(caller);
      else running.set(caller, runs(caller) - 1);
      next();
    };
  }

  function next(): void {
    for (;;) {
      let chosen: string | undefined;
      for (const caller of waiting.keys()) {
        if (runs(caller) < free && (chosen === undefined || runs(caller) < runs(chosen))) chosen = caller;
      }
      const [first] = waiting.get(chosen ?? '') ?? [];
      if (!first) return;
      first();
    }
  }

  const take: TakeTurn = (caller, signal) => {
    if (runs(caller) < free && !waiting.has(caller)) return Promise.resolve(begin(caller));
    const own = waiting.get(caller) ?? new Set();
    if (waitingCount >= mostWaiting || own.size >= mostWaitingOfOne) {
      return Promise.reject(new Overloaded('Too many requests wait for the database.'));
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal?.removeEventListener('abort', onAbort);
        waitingCount -= 1;
        own.delete(start);
        waiting.delete(caller);
        // Behind the others, who have waited since.
        if (own.size > 0) waiting.set(caller, own);
      };
      const start = (): void => {
        leave();
        resolve(begin(caller));
      };
      const onAbort = (): void => {
        leave();
        reject(signal?.reason);
      };
      waitingCount += 1;
      waiting.set(caller, own.add(start));
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  };
  return { take, waiting: () => waitingCount };
}
