import { setTimeout as sleep } from 'node:timers/promises';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import type { Answer } from '../world.ts';

export type Over = 'ws' | 'sse';

/** What a listener got: a result; or, as the last, how it ended: `complete`, or the code of a socket that was closed. */
export type Heard = Answer & { end?: string | number };

/** An open subscription. */
export type Ear = {
  /** What came next; fails where nothing comes for so long. */
  next(milliseconds?: number): Promise<Heard>;
  /** The next so many. */
  take(count: number): Promise<Heard[]>;
  /** What came up to the last word, that included. */
  rest(): Promise<Heard[]>;
  /** What has come and was not taken, after a moment in which more could have. */
  nothing(): Promise<Heard[]>;
  stop(): Promise<void>;
};

export type Listening = {
  over?: Over;
  query: string;
  variables?: Record<string, unknown>;
  token?: string | undefined;
  headers?: Record<string, string>;
};

const patience = 60_000;

/** A queue that is filled from one side and awaited on the other. */
export function openQueue<Item>(name = 'the listener') {
  const items: Item[] = [];
  let arrived = (): void => {};
  return {
    items,
    push(item: Item): void {
      items.push(item);
      arrived();
    },
    async next(milliseconds = patience): Promise<Item> {
      const until = Date.now() + milliseconds;
      while (items.length === 0) {
        const left = until - Date.now();
        if (left <= 0) throw new Error(`Nothing came to ${name} within ${milliseconds} ms.`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          arrived = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      return items.shift() as Item;
    },
  };
}

/** Asks until it is so; fails when it does not become so. */
export async function until(wanted: () => boolean | Promise<boolean>, what = 'It'): Promise<void> {
  const end = Date.now() + patience;
  while (!(await wanted())) {
    if (Date.now() > end) throw new Error(`${what} did not come about.`);
    await sleep(10);
  }
}

/** Subscribes at a server, by the client of graphql-ws or graphql-sse. It ends with the test. */
export function listen(t: Test, url: string, { over = 'ws', query, variables = {}, token, headers }: Listening): Ear {
  const queue = openQueue<Heard>(query.slice(0, 60));
  const sink = {
    next: (result: unknown) => queue.push(result as Heard),
    error: (error: unknown) => {
      const { code } = error as { code?: number };
      if (Array.isArray(error)) queue.push({ errors: error as NonNullable<Heard['errors']> });
      queue.push({ end: code ?? (Array.isArray(error) ? 'error' : String(error)) });
    },
    complete: () => queue.push({ end: 'complete' }),
  };
  const authorization: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  const client =
    over === 'ws'
      ? createWsClient({
          url: `${url.replace('http', 'ws')}graphql`,
          webSocketImpl: WebSocket,
          connectionParams: authorization,
          retryAttempts: 0,
        })
      : createSseClient({ url: `${url}graphql`, headers: { ...authorization, ...headers }, retryAttempts: 0 });
  const unsubscribe = client.subscribe({ query, variables }, sink);
  const stop = async (): Promise<void> => {
    unsubscribe();
    await client.dispose();
  };
  t.teardown(stop);
  const next = queue.next;
  return {
    next,
    stop,
    async take(count) {
      const taken: Heard[] = [];
      while (taken.length < count) taken.push(await next());
      return taken;
    },
    async rest() {
      const all = [await next()];
      while (all.at(-1)?.end === undefined) all.push(await next());
      return all;
    },
    async nothing() {
      await sleep(150);
      return queue.items.splice(0);
    },
  };
}

/** The one field of each result. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is that of the query each test sends
export const fieldOf = ({ data, errors, end }: Heard): any => {
  if (!data) throw new Error(`No data: ${JSON.stringify({ errors, end })}`);
  return Object.values(data)[0];
};

/** Pokes until the listener hears it: what the log does not keep is only heard by who listens already. */
export async function wake(ear: Ear, poke: () => Promise<unknown>): Promise<Heard> {
  for (let tries = 0; ; tries += 1) {
    await poke();
    try {
      return await ear.next(500);
    } catch (error) {
      if (tries > 30) throw error;
    }
  }
}

export const messageEvents = `subscription($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) {
    event { cursor topic seq type data metadata }
    message { id text deletedAt sender { username } }
  }
}`;

export const userEvents = `subscription($after: String) {
  userEvents(after: $after) { event { cursor topic seq type data } channel { id unread } }
}`;
