import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Sent } from './render.ts';
import type { Params } from './respond.ts';
import type { Listener } from './subscriber.ts';
import type { Identity, Transport } from './transport.ts';

/** A place that a client has reserved: it names who the client is to what cannot send a header (EventSource). */
type Reservation = Identity & {
  sender: string;
  response?: ServerResponse;
  operations: Map<string, () => void>;
};

type Answer = { status: number; headers: Record<string, string>; body: string };

const mostReservations = 10_000;
const mostOfOne = 100;
const lastWords = 5_000;
// A reservation ends with the access token that it was made with; one that was made without a token, after this.
const longest = 15 * 60_000;

/**
 * GraphQL over server-sent events: a connection an operation ("distinct connections"), whose events have their cursors as ids, and many
 * operations on one ("single connection").
 */
export function openEventStreams(transport: Transport) {
  const streams = new Set<ServerResponse>();
  const reservations = new Map<string, Reservation>();
  const beat = setInterval(() => {
    for (const stream of streams) put(stream, ':\n\n');
    const now = Date.now();
    for (const [token, { endsAt }] of reservations) if (endsAt < now) release(token);
  }, transport.heartbeat);
  beat.unref();

  function release(token: string): void {
    const reservation = reservations.get(token);
    reservations.delete(token);
    reservation?.response?.end();
    for (const stop of reservation?.operations.values() ?? []) stop();
  }

  /** Begins a stream; false where its sender has too many already. */
  function open(request: IncomingMessage, response: ServerResponse, until: number, closed: () => void): boolean {
    const leavePlace = transport.takePlace(transport.sender(request));
    if (!leavePlace) return false;
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      connection: 'keep-alive',
    });
    response.write(':\n\n');
    streams.add(response);
    // The client comes back with a new token, and its last cursor.
    const timer = Number.isFinite(until) ? setTimeout(() => response.end(), until - Date.now()) : undefined;
    response.on('close', () => {
      clearTimeout(timer);
      streams.delete(response);
      leavePlace();
      closed();
    });
    return true;
  }

  /** One operation on a connection of its own. */
  function distinct(
    request: IncomingMessage,
    response: ServerResponse,
    params: Params,
    identity: Identity,
    id: string,
  ): Answer | undefined {
    const gone = new AbortController();
    let stop = (): void => {};
    const isOpen = open(request, response, identity.endsAt, () => {
      gone.abort();
      stop();
    });
    if (!isOpen) return tooMany();
    const listener: Listener = {
      next(sent) {
        put(
          response,
          frame(sent, 'sse', (text) => text),
        );
      },
      end(errors) {
        if (errors) listener.next({ text: JSON.stringify({ errors }), cursor: null, framed: new Map() });
        put(response, 'event: complete\ndata:\n\n');
        letGo(response.end());
      },
      backlog: () => response.writableLength,
    };
    const asked = { ...transport.asked(request, identity.claims, id), signal: gone.signal };
    const last = request.headers['last-event-id'];
    stop = transport.serve(params, asked, listener, typeof last === 'string' && last !== '' ? last : undefined);
    return undefined;
  }

  /** @param sender whose share of the places it takes. */
  function reserve(identity: Identity, sender: string): Answer {
    const own = [...reservations.values()].filter((each) => each.sender === sender);
    if (own.length >= mostOfOne || reservations.size >= mostReservations) {
      return told(429, 'Too many reservations; try again later.');
    }
    const token = randomUUID();
    const endsAt = Math.min(identity.endsAt, Date.now() + longest);
    reservations.set(token, { claims: identity.claims, endsAt, sender, operations: new Map() });
    return told(201, token);
  }

  /** The connection of a reservation. */
  function connect(request: IncomingMessage, response: ServerResponse, token: string): Answer | undefined {
    const reservation = reservations.get(token);
    if (!reservation) return told(404, 'There is no such reservation; make one by PUT.');
    if (reservation.response) return told(409, 'The stream is open already.');
    if (!open(request, response, reservation.endsAt, () => release(token))) return tooMany();
    reservation.response = response;
    return undefined;
  }

  /** An operation of a reservation: its results go to the open connection. */
  function operate(request: IncomingMessage, token: string, params: Params, id: string): Answer {
    const reservation = reservations.get(token);
    const { operationId } = (params.extensions ?? {}) as { operationId?: unknown };
    if (!reservation?.response) return told(404, 'There is no open stream of this reservation.');
    if (typeof operationId !== 'string' || operationId === '') return told(400, 'Name it in extensions.operationId.');
    const { operations, response, claims } = reservation;
    if (operations.has(operationId)) return told(409, `Operation ${operationId} is running already.`);
    if (operations.size >= transport.maxSubscriptions) return told(429, 'Too many operations on this stream.');
    const gone = new AbortController();
    operations.set(operationId, () => gone.abort());
    const name = JSON.stringify(operationId);
    const listener: Listener = {
      next(sent) {
        put(
          response,
          frame(sent, `sse ${operationId}`, (text) => `{"id":${name},"payload":${text}}`),
        );
      },
      end(errors) {
        if (!operations.delete(operationId)) return;
        if (errors) listener.next({ text: JSON.stringify({ errors }), cursor: null, framed: new Map() });
        put(response, `event: complete\ndata: {"id":${name}}\n\n`);
        if (response.writableLength > transport.maxBacklogBytes) letGo(response.end());
      },
      backlog: () => response.writableLength,
    };
    const asked = { ...transport.asked(request, claims, id), signal: gone.signal };
    const stop = transport.serve(params, asked, listener);
    if (operations.has(operationId)) {
      operations.set(operationId, () => {
        gone.abort();
        stop();
      });
    }
    return told(202, '');
  }

  function stop(token: string, operationId: string): Answer {
    const operations = reservations.get(token)?.operations;
    const running = operations?.get(operationId);
    if (!operations || !running) return told(404, 'There is no such operation.');
    operations.delete(operationId);
    running();
    return told(200, '');
  }

  return {
    distinct,
    reserve,
    connect,
    operate,
    stop,
    /** Who holds a reservation. */
    holder(token: string): Identity | undefined {
      const reservation = reservations.get(token);
      return reservation && reservation.endsAt > Date.now() ? reservation : undefined;
    },
    close(): void {
      clearInterval(beat);
      for (const stream of streams) stream.end();
    },
  };
}

/** A stream that was ended stays until the client has taken what waits for it: what comes meanwhile is not for it. */
function put(response: ServerResponse, chunk: string | Buffer): void {
  if (!response.writableEnded) response.write(chunk);
}

/** A client that does not take its last words is not waited for long. */
function letGo(response: ServerResponse): void {
  setTimeout(() => response.destroy(), lastWords).unref();
}

/** A result as an event, made once for all who are sent it; a text of several lines is several lines of data. */
function frame(sent: Sent, key: string, wrap: (text: string) => string): Buffer {
  const known = sent.framed.get(key);
  if (known) return known;
  const lines = wrap(sent.text).replaceAll('\n', '\ndata: ');
  const made = Buffer.from(`event: next\n${sent.cursor === null ? '' : `id: ${sent.cursor}\n`}data: ${lines}\n\n`);
  sent.framed.set(key, made);
  return made;
}

function tooMany(): Answer {
  return told(429, 'Too many open connections come from your address.');
}

function told(status: number, body: string): Answer {
  return { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
}
