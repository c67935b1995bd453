import type pg from 'pg';
import { drop } from '../functions/backup-source.ts';

/** How many connections read or write at once. */
export const lanes = 4;

/** Does something with each item, in turn, on several connections at once; the first error ends all. */
export async function eachInLanes<Item>(
  items: Item[],
  connect: () => Promise<pg.Client>,
  act: (client: pg.Client, item: Item) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const clients: pg.Client[] = [];
  const waiting = [...items];
  let failed: { error: unknown } | undefined;
  const stop = (): void => {
    for (const client of clients) drop(client);
  };
  signal.addEventListener('abort', stop);
  const lane = async (): Promise<void> => {
    try {
      const client = await connect();
      clients.push(client);
      for (let item = waiting.shift(); item !== undefined && !failed; item = waiting.shift()) {
        signal.throwIfAborted();
        await act(client, item);
      }
    } catch (error) {
      failed ??= { error: signal.aborted ? signal.reason : error };
      stop();
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(lanes, items.length) }, lane));
    if (failed) throw failed.error;
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}
