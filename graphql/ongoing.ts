import type { Asked } from './execute.ts';
import type { Params } from './respond.ts';
import type { Listener } from './subscriber.ts';
import type { Transport } from './transport.ts';

/** The operations of one connection, by the ids that its client gave them. */
export type Ongoing = {
  /**
   * Begins one; its listener hears nothing more once it has ended.
   *
   * @param options.after a cursor that goes before the one in the document.
   * @param options.done called when it ends, by itself or before its time.
   */
  begin(
    id: string,
    params: Params,
    asked: Omit<Asked, 'signal'>,
    listener: Listener,
    options?: { after?: string | undefined; done?: () => void },
  ): void;
  has(id: string): boolean;
  count(): number;
  /** Ends one before its time; false where there is none. */
  stop(id: string): boolean;
  stopAll(): void;
};

export function openOngoing(serve: Transport['serve']): Ongoing {
  const running = new Map<string, () => void>();

  function stop(id: string): boolean {
    const found = running.get(id);
    running.delete(id);
    found?.();
    return found !== undefined;
  }

  return {
    begin(id, params, asked, listener, { after, done = () => {} } = {}) {
      const gone = new AbortController();
      let leave = (): void => {};
      const abort = (): void => {
        gone.abort();
        leave();
        done();
      };
      // The id may be another operation's by the time that this one has its answer.
      const isRunning = (): boolean => running.get(id) === abort;
      running.set(id, abort);
      const heard: Listener = {
        next(sent) {
          if (isRunning()) listener.next(sent);
        },
        end(errors) {
          if (!isRunning()) return;
          running.delete(id);
          done();
          listener.end(errors);
        },
        backlog: listener.backlog,
      };
      leave = serve(params, { ...asked, signal: gone.signal }, heard, after);
      // Stopped before there was anything to leave.
      if (gone.signal.aborted) leave();
    },
    has: (id) => running.has(id),
    count: () => running.size,
    stop,
    stopAll() {
      for (const id of running.keys()) stop(id);
    },
  };
}
