import { setTimeout as sleep } from 'node:timers/promises';
import type { Page, Received } from './ledger.ts';
import { codeOf, type OpenStream, openServerSentEvents, openWebSocket, type Result, type Stream } from './streams.ts';

/** A client that follows something all along, coming back to any server with its last cursor. */
export type Subscriber = {
  name: string;
  topics: string[];
  page: Page;
  /** When the newest event that it was sent was written; in milliseconds of the clock, like all times here. */
  newest(): number;
  drop(): void;
  pause(): void;
  resume(): void;
  close(): Promise<void>;
};

type Followed = { field: 'messageEvents' | 'channelEvents' | 'userEvents'; channelId?: string; selects: string };

export type Hub = {
  /** Any server of those that run. */
  url(): string;
  /** A wait before coming back, in milliseconds. */
  wait(): number;
  token(): Promise<string>;
  /** How long an event took from being written to being read. */
  delay(milliseconds: number): void;
  /** Told why a connection ended. */
  ended(reason: string): void;
  /** Told of what must not be. */
  fail(what: string): void;
};

const event = 'event { cursor topic seq type timestamp data }';

/** The message of each event; `copies` of its text make a listener whose events are large. */
export function messagesOf(channelId: string, copies = 1): Followed {
  const texts = Array.from({ length: copies }, (_, index) => `text${index}: text`).join(' ');
  return { field: 'messageEvents', channelId, selects: `${event} message { id ${texts} }` };
}

export function eventsOf(channelId: string): Followed {
  return { field: 'channelEvents', channelId, selects: `${event} user { username }` };
}

export const ownEvents: Followed = { field: 'userEvents', selects: `${event} channel { id lastSeq }` };

export const transports: Record<'ws' | 'sse', OpenStream> = { ws: openWebSocket, sse: openServerSentEvents };

/**
 * Follows from a cursor on, until it is closed.
 *
 * @param after the cursor that belongs to where `page` begins.
 */
export function follow(
  name: string,
  { field, channelId, selects }: Followed,
  {
    transport,
    topics,
    page,
    after,
    hub,
  }: {
    transport: OpenStream;
    topics: string[];
    page: Page;
    after: string;
    hub: Hub;
  },
): Subscriber {
  const declared = channelId ? '($channelId: UUID!, $after: String)' : '($after: String)';
  const passed = channelId ? '(channelId: $channelId, after: $after)' : '(after: $after)';
  const query = `subscription Follow${declared} { ${field}${passed} { ${selects} } }`;
  const variables = { ...(channelId && { channelId }) };
  let cursor = after;
  let newest = 0;
  let paused = false;
  let closed = false;
  let stream: Stream | undefined;

  function take({ data, errors }: Result): void {
    if (errors) {
      hub.fail(`${name} was sent an error in place of an event: ${codeOf(errors)}`);
      return;
    }
    type Payload = { event: Received & { cursor: string }; message?: { id: string; text0: string } };
    const { event, message } = (data as Record<string, Payload>)[field] as Payload;
    if (message && message.id !== event.data.message_id)
      hub.fail(`${name} was sent another message than ${message.id}`);
    page.take(event);
    cursor = event.cursor;
    const written = Date.parse(event.timestamp);
    newest = Math.max(newest, written);
    if (!paused) hub.delay(Date.now() - written);
  }

  async function run(): Promise<void> {
    while (!closed) {
      stream = transport({ url: hub.url(), token: await hub.token(), query, variables, after: cursor, next: take });
      if (closed) stream.drop();
      if (paused) stream.pause();
      const reason = await stream.ended;
      if (closed) return;
      hub.ended(reason);
      if (['CURSOR_EXPIRED', 'BAD_USER_INPUT', 'INTERNAL'].includes(reason)) {
        hub.fail(`${name} could not go on after ${cursor}: ${reason}`);
      }
      await sleep(hub.wait());
    }
  }

  const running = run();
  return {
    name,
    topics,
    page,
    newest: () => newest,
    drop: () => stream?.drop(),
    pause() {
      paused = true;
      stream?.pause();
    },
    resume() {
      paused = false;
      stream?.resume();
    },
    async close() {
      closed = true;
      stream?.drop();
      await running;
    },
  };
}
