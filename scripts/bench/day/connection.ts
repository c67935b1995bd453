import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

/** A subscription that goes on from its cursor whenever the connection is made anew. */
export type Followed = {
  query: string;
  variables: Record<string, unknown>;
  /** The cursor of what came last. */
  after: string;
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of each document
  next(data: any): void;
};

/** One WebSocket of a client, with its subscriptions. */
export type Connection = {
  follow(followed: Followed): void;
  unfollow(followed: Followed): void;
  /** Breaks it, as a network does: nothing is said to the server. */
  drop(): void;
  /** Opens it again, with every subscription that there is; settled when the server has acknowledged it. */
  open(): Promise<void>;
  close(): Promise<void>;
};

/**
 * Through graphql-ws, as an application would.
 *
 * @param failed told why a connection or a subscription ended that was not to end; whoever is told opens it again.
 */
export function openConnection(port: number, token: () => Promise<string>, failed: (why: string) => void): Connection {
  const followed = new Map<Followed, (() => void) | undefined>();
  let client: Client | undefined;
  let socket: WebSocket | undefined;

  function subscribe(each: Followed): void {
    const own = client;
    if (!own) return;
    const ended = (why: string) => {
      if (own === client && followed.has(each)) failed(why);
    };
    const release = own.subscribe(
      { query: each.query, variables: { ...each.variables, after: each.after } },
      {
        next({ data, errors }) {
          if (own !== client || !followed.has(each)) return;
          if (data) each.next(data);
          else ended(String(errors?.[0]?.extensions?.code ?? errors?.[0]?.message));
        },
        error: (error) => ended(reasonOf(error)),
        complete: () => ended('complete'),
      },
    );
    followed.set(each, release);
  }

  return {
    follow(each) {
      followed.set(each, undefined);
      subscribe(each);
    },
    unfollow(each) {
      const release = followed.get(each);
      followed.delete(each);
      release?.();
    },
    drop() {
      const [old, broken] = [client, socket];
      client = undefined;
      socket = undefined;
      broken?.terminate();
      void old?.dispose();
    },
    async open() {
      const given = await token();
      await new Promise<void>((resolve, reject) => {
        const own: Client = createClient({
          url: `ws://127.0.0.1:${port}/graphql`,
          webSocketImpl: WebSocket,
          connectionParams: { authorization: `Bearer ${given}` },
          retryAttempts: 0,
          lazy: false,
          onNonLazyError: (error) => reject(new Error(reasonOf(error))),
          on: {
            opened: (opened) => {
              socket = opened as WebSocket;
            },
            // From here on it can carry subscriptions.
            connected: () => {
              client = own;
              resolve();
            },
            closed: (event) => {
              const why = reasonOf(event);
              reject(new Error(why));
              if (own === client) failed(why);
            },
          },
        });
      });
      for (const each of followed.keys()) subscribe(each);
    },
    async close() {
      const old = client;
      client = undefined;
      await old?.dispose();
    },
  };
}

function reasonOf(error: unknown): string {
  if (Array.isArray(error)) return String(error[0]?.extensions?.code ?? error[0]?.message);
  const { code, reason, message } = error as { code?: string | number; reason?: string; message?: string };
  return [code, reason || message].filter(Boolean).join(' ') || 'closed';
}
