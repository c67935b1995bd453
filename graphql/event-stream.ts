import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Exchange, Reply } from './exchange.ts';
import { type Ongoing, openOngoing } from './ongoing.ts';
import type { Sent } from './render.ts';
import type { Params } from './respond.ts';
import { openPlaces } from './shares.ts';
import type { Listener } from './subscriber.ts';
import type { Identity, Transport } from './transport.ts';

/** A place that a client has reserved: it names who the client is to what cannot send a header (EventSource). */
type Reservation = Identity & {
  leavePlace: () => void;
  response?: ServerResponse;
  operations: Ongoing;
};

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
  const takePlace = openPlaces(mostOfOne);
  const beat = setInterval(() => {
    for (const stream of streams) put(stream, ':\n\n');
    const now = Date.now();
    for (const [token, { endsAt }] of reservations) if (endsAt < now) release(token);
  }, transport.heartbeat);
  beat.unref();

  function release(token: string): void {
    const reservation = reservations.get(token);
    if (reservations.delete(token)) reservation?.leavePlace();
    reservation?.response?.end();
    reservation?.operations.stopAll();
  }

  /** Begins a stream; false where its sender has too many already. */
  function open({ request, response }: Exchange, until: number, closed: () => void): boolean {
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

  /** What writes the results of an operation; with its id, on a connection that carries many. */
  function listenerOf(response: ServerResponse, id?: string): Listener {
    const name = JSON.stringify(id);
    const [key, last] = id === undefined ? ['sse', ''] : [`sse ${id}`, ` {"id":${name}}`];
    const wrap = (text: string): string => (id === undefined ? text : `{"id":${name},"payload":${text}}`);
    const listener: Listener = {
      next: (sent) => put(response, frame(sent, key, wrap)),
      end(errors) {
        if (errors) listener.next({ text: JSON.stringify({ errors }), cursor: null, framed: new Map() });
        put(response, `event: complete\ndata:${last}\n\n`);
        if (id === undefined || response.writableLength > transport.maxBacklogBytes) letGo(response.end());
      },
      backlog: () => response.writableLength,
    };
    return listener;
  }

  /** One operation on a connection of its own. */
  function distinct(exchange: Exchange, params: Params, identity: Identity): Reply | undefined {
    const { request, response, id } = exchange;
    const operation = openOngoing(transport.serve);
    if (!open(exchange, identity.endsAt, operation.stopAll)) return tooMany();
    const asked = transport.asked(request, identity.claims, id);
    const last = request.headers['last-event-id'];
    operation.begin('', params, asked, listenerOf(response), { after: last ? String(last) : undefined });
    return undefined;
  }

  /** Where there are too many, the oldest goes that nobody has connected to: a client does so at once, one who floods never. */
  function haveRoom(): boolean {
    if (reservations.size < mostReservations) return true;
    for (const [token, { response }] of reservations) {
      if (response) continue;
      release(token);
      return true;
    }
    return false;
  }

  /** @param sender whose share of the places it takes. */
  function reserve(identity: Identity, sender: string): Reply {
    const leavePlace = takePlace(sender);
    if (!leavePlace || !haveRoom()) {
      leavePlace?.();
      return told(429, 'Too many reservations; try again later.');
    }
    const token = randomUUID();
    const endsAt = Math.min(identity.endsAt, Date.now() + longest);
    reservations.set(token, { claims: identity.claims, endsAt, leavePlace, operations: openOngoing(transport.serve) });
    return told(201, token);
  }

  /** The connection of a reservation. */
  function connect(exchange: Exchange, token: string): Reply | undefined {
    const reservation = reservations.get(token);
    if (!reservation) return told(404, 'There is no such reservation; make one by PUT.');
    if (reservation.response) return told(409, 'The stream is open already.');
    if (!open(exchange, reservation.endsAt, () => release(token))) return tooMany();
    reservation.response = exchange.response;
    return undefined;
  }

  /** An operation of a reservation: its results go to the open connection. */
  function operate({ request, id }: Exchange, token: string, params: Params): Reply {
    const reservation = reservations.get(token);
    const { operationId } = (params.extensions ?? {}) as { operationId?: unknown };
    if (!reservation?.response) return told(404, 'There is no open stream of this reservation.');
    if (typeof operationId !== 'string' || operationId === '') return told(400, 'Name it in extensions.operationId.');
    const { operations, response, claims } = reservation;
    if (operations.has(operationId)) return told(409, `Operation ${operationId} is running already.`);
    if (operations.count() >= transport.maxSubscriptions) return told(429, 'Too many operations on this stream.');
    operations.begin(operationId, params, transport.asked(request, claims, id), listenerOf(response, operationId));
    return told(202, '');
  }

  function stop(token: string, operationId: string): Reply {
    const isStopped = reservations.get(token)?.operations.stop(operationId);
    return isStopped ? told(200, '') : told(404, 'There is no such operation.');
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

function tooMany(): Reply {
  return told(429, 'Too many open connections come from your address.');
}

function told(status: number, body: string): Reply {
  return { status, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
}
