import { type IncomingMessage, request } from 'node:http';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

/** One connection that carries one subscription. */
export type Stream = {
  /** Why it ended: a code of the API's errors, or what the transport says. */
  ended: Promise<string>;
  /** Breaks the connection, as a network does. */
  drop(): void;
  /** Stops reading from the socket, so that what is sent waits in the server. */
  pause(): void;
  resume(): void;
};

/** A result of a subscription, as GraphQL has it. */
export type Result = { data?: Record<string, unknown> | null; errors?: readonly ResultError[] };

type ResultError = { message: string; extensions?: Record<string, unknown> };
type Wanted = {
  /** Of the server: http://…/ */
  url: string;
  token: string;
  query: string;
  variables: Record<string, unknown>;
  /** The cursor to go on from. */
  after: string;
  /** Told of each result. */
  next(result: Result): void;
};

export type OpenStream = (wanted: Wanted) => Stream;

/** Through graphql-ws, as an application would; the cursor goes in the variable `after`. */
export function openWebSocket({ url, token, query, variables, after, next }: Wanted): Stream {
  let socket: WebSocket | undefined;
  let paused = false;
  const client = createClient({
    url: `${url.replace('http', 'ws')}graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
    lazy: true,
    on: {
      opened: (opened) => {
        socket = opened as WebSocket;
        if (paused) socket.pause();
      },
    },
  });
  const ended = new Promise<string>((resolve) => {
    client.subscribe<Record<string, unknown>>(
      { query, variables: { ...variables, after } },
      {
        next: (result) => next(result as Result),
        error: (error) => resolve(Array.isArray(error) ? codeOf(error) : reasonOf(error)),
        complete: () => resolve('complete'),
      },
    );
  });
  ended.then(() => client.dispose());
  return {
    ended,
    drop: () => (socket ? socket.terminate() : client.dispose()),
    pause: () => {
      paused = true;
      if (socket?.readyState === WebSocket.OPEN) socket.pause();
    },
    resume: () => {
      paused = false;
      socket?.resume();
    },
  };
}

/** As an EventSource reads it; the cursor goes as Last-Event-ID. */
export function openServerSentEvents({ url, token, query, variables, after, next }: Wanted): Stream {
  let response: IncomingMessage | undefined;
  let paused = false;
  const sent = request(`${url}graphql`, {
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${token}`,
      'last-event-id': after,
    },
  });
  const ended = new Promise<string>((resolve) => {
    let last = '';
    sent.on('error', (error) => resolve(reasonOf(error)));
    sent.on('close', () => resolve(last || 'closed'));
    sent.on('response', (came) => {
      response = came;
      if (came.statusCode !== 200) last = `HTTP ${came.statusCode}`;
      const isStream = came.headers['content-type']?.startsWith('text/event-stream') ?? false;
      let text = '';
      came.setEncoding('utf8');
      came.on('error', () => {});
      came.on('data', (chunk: string) => {
        if (!isStream) return;
        const blocks = (text + chunk).split('\n\n');
        text = blocks.pop() ?? '';
        for (const block of blocks) {
          const { event, id, data } = fieldsOf(block);
          if (event === 'complete') last ||= 'complete';
          if (event !== 'next') continue;
          const result = JSON.parse(data) as Result;
          // Errors without a cursor are the last word.
          if (result.errors && id === undefined) last = codeOf(result.errors);
          else next(result);
        }
      });
      if (paused) came.pause();
    });
  });
  sent.end(JSON.stringify({ query, variables }));
  return {
    ended,
    drop: () => void sent.destroy(),
    pause: () => {
      paused = true;
      response?.pause();
    },
    resume: () => {
      paused = false;
      response?.resume();
    },
  };
}

/** The fields of one event of a stream; several lines of data are one text. */
function fieldsOf(block: string): { event?: string; id?: string; data: string } {
  const fields: { event?: string; id?: string; data: string } = { data: '' };
  for (const line of block.split('\n')) {
    const [, name, value = ''] = /^(event|id|data):? ?(.*)$/s.exec(line) ?? [];
    if (name === 'data') fields.data += `${fields.data && '\n'}${value}`;
    else if (name === 'event' || name === 'id') fields[name] = value;
  }
  return fields;
}

export function codeOf(errors: readonly ResultError[]): string {
  return String(errors[0]?.extensions?.code ?? errors[0]?.message);
}

function reasonOf(error: unknown): string {
  const { code, reason, message } = error as { code?: string | number; reason?: string; message?: string };
  // The message of a socket that could not be opened names the port, which is another each time.
  const found = /\bE[A-Z]{4,}\b/.exec(`${code} ${message}`)?.[0];
  return found ?? ([code, reason || message].filter(Boolean).join(' ') || 'closed');
}
