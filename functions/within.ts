/**
 * Ends what takes too long, or is called off. Not by the signal alone: Node's fetch holds its own weakly, and after a garbage collection
 * hears nothing any more (nodejs/node#55428).
 */
export function within<Result>(
  milliseconds: number,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const control = new AbortController();
    const end = (reason: unknown): void => {
      control.abort(reason);
      reject(reason);
    };
    const calledOff = (): void => end(signal?.reason);
    const timer = setTimeout(() => end(new Error(`no answer within ${milliseconds / 1000} s`)), milliseconds);
    signal?.addEventListener('abort', calledOff, { once: true });
    act(control.signal)
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', calledOff);
      });
  });
}
