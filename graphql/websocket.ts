import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GraphQLFormattedError } from 'graphql';
import { type WebSocket, WebSocketServer } from 'ws';
import { openOngoing } from './ongoing.ts';
import type { Sent } from './render.ts';
import type { Params } from './respond.ts';
import type { Listener } from './subscriber.ts';
import { type Identity, identify, type Transport } from './transport.ts';

const protocol = 'graphql-transport-ws';
const initTimeout = 10_000;
// A client that does not take its last words is not waited for longer.
const lastWords = 5_000;
// Each result repeats the id of its operation.
const longestId = 1000;
// What is received of a message up to this size is not counted; nor are those that wait for their answers up to that size.
const freeUnfinished = 16 * 1024;
const freeUnanswered = 128 * 1024;
// What a piece holds beside its bytes.
const bytesOfPiece = 200;

type Message = { type?: unknown; id?: unknown; payload?: unknown };

/** GraphQL over WebSocket: the protocol graphql-transport-ws, with operations of every kind. */
export function openWebSockets(transport: Transport) {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: transport.maxBodyBytes,
    // A piece of one byte holds some hundred.
    maxFragments: 256,
    maxBufferedChunks: 4096,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });
  const silent = new Set<WebSocket>();
  const beat = setInterval(() => {
    for (const socket of sockets.clients) {
      // It has not answered since the last time.
      if (silent.has(socket)) socket.terminate();
      else {
        silent.add(socket);
        socket.ping();
      }
    }
  }, transport.heartbeat);
  beat.unref();

  sockets.on('connection', (socket: WebSocket, request: IncomingMessage) => {
    for (const sign of ['pong', 'message'] as const) socket.on(sign, () => silent.delete(socket));
    socket.on('error', () => {});
    socket.on('close', () => silent.delete(socket));
    if (socket.protocol === protocol) converse(transport, socket, request);
    else close(socket, 4406, 'Subprotocol not acceptable');
  });

  return {
    upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
      const sender = transport.sender(request);
      const leavePlace = transport.takePlace(sender);
      if (!leavePlace) {
        turnAway(stream, '429 Too Many Requests');
        return;
      }
      stream.on('close', leavePlace);
      sockets.handleUpgrade(request, stream, head, (socket) => {
        countUnfinished(transport, socket, stream, sender);
        sockets.emit('connection', socket, request);
      });
    },
    close(): void {
      clearInterval(beat);
      for (const socket of sockets.clients) close(socket, 1012, 'The server restarts');
    },
  };
}

/** A reason may have 123 bytes; a letter that is cut through is left out. */
function close(socket: WebSocket, code: number, reason: string, wait = lastWords): void {
  const cut = new TextDecoder().decode(Buffer.from(reason).subarray(0, 123), { stream: true });
  socket.close(code, cut);
  setTimeout(() => socket.terminate(), wait).unref();
}

/** Node hands the connection over as it is: nobody else hears of its errors, or ends it. */
export function turnAway(stream: Duplex, status: string): void {
  stream.on('error', () => {});
  stream.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`, () => stream.destroy());
}

/** Counts what the connection holds of a message that has not come to its end, which any connection may, greeted or not. */
function countUnfinished({ hold }: Transport, socket: WebSocket, stream: Duplex, sender: string): void {
  let [unfinished, pieces, ended, counted] = [0, 0, 0, 0];
  const onEnd = ({ length }: Buffer): void => {
    // With its head: its length in 1, 3 or 9 bytes, and five others.
    ended += length + (length < 126 ? 6 : length < 65_536 ? 8 : 14);
  };
  socket.on('message', onEnd).on('ping', onEnd).on('pong', onEnd);
  // The messages that end in it have been told of by then.
  stream.on('data', ({ length }: Buffer) => {
    const left = Math.max(0, unfinished + length - ended);
    pieces = ended > 0 ? 1 : pieces + 1;
    unfinished = ended > 0 ? Math.min(left, length) : left;
    ended = 0;
    const held = unfinished + pieces * bytesOfPiece;
    const wanted = held > freeUnfinished ? held : 0;
    if (wanted !== counted && hold(sender, wanted - counted)) counted = wanted;
    if (wanted === counted) return;
    socket.pause();
    // What it holds is given back as soon as the client can have been told.
    close(socket, 1013, 'Too many large messages are being read', 500);
  });
  socket.on('close', () => hold(sender, -counted));
}

function converse(transport: Transport, socket: WebSocket, request: IncomingMessage): void {
  const sender = transport.sender(request);
  const operations = openOngoing(transport.serve);
  let identity: Identity | undefined;
  let greeted = false;
  let requests = 0;
  let timer = setTimeout(() => close(socket, 4408, 'Connection initialisation timeout'), initTimeout);

  /** Who asks on without reading the answers is not answered for ever. */
  function say(message: object): void {
    socket.send(JSON.stringify(message));
    if (socket.bufferedAmount > transport.maxBacklogBytes) close(socket, 1013, 'Too slow');
  }

  socket.on('close', () => {
    clearTimeout(timer);
    operations.stopAll();
  });
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    // What comes after the last word (that the token has ended, say) is not done.
    if (socket.readyState !== socket.OPEN) return;
    let message: Message;
    try {
      message = JSON.parse(isBinary ? '' : data.toString());
    } catch {
      return close(socket, 4400, 'A message is JSON text');
    }
    // What no other check foresaw, such as lists a hundred thousand deep, ends this connection and nothing else.
    receive(message ?? {}, data.length).catch(() => close(socket, 4400, 'A message that cannot be understood'));
  });

  async function receive({ type, id, payload }: Message, size: number): Promise<unknown> {
    switch (type) {
      case 'connection_init':
        if (greeted) return close(socket, 4429, 'Too many initialisation requests');
        greeted = true;
        if (await authenticate(payload)) say({ type: 'connection_ack' });
        return;
      case 'ping':
        // A client with a new token says so with a ping, as the protocol has no message of its own for it.
        if (identity && authorizationOf(payload) !== undefined && !(await authenticate(payload))) return;
        return say({
          type: 'pong',
          ...(payload !== undefined && authorizationOf(payload) === undefined && { payload }),
        });
      case 'pong':
        return;
      case 'subscribe':
        return subscribe(id, payload, size);
      case 'complete':
        if (typeof id !== 'string') return close(socket, 4400, 'A complete message has an id');
        return operations.stop(id);
      default:
        return close(socket, 4400, `Invalid message type ${JSON.stringify(type)}`);
    }
  }

  /** Takes an identity, and closes the connection when it ends. */
  async function authenticate(payload: unknown): Promise<boolean> {
    try {
      const found = await identify(transport.verify, authorizationOf(payload) ?? request.headers.authorization);
      if (identity && !isSame(found, identity)) {
        close(socket, 4403, 'The token is of another session');
        return false;
      }
      identity = found;
    } catch (error) {
      close(socket, 4403, (error as Error).message);
      return false;
    }
    clearTimeout(timer);
    if (Number.isFinite(identity.endsAt)) {
      timer = setTimeout(() => close(socket, 4403, 'The access token has expired'), identity.endsAt - Date.now());
    }
    return socket.readyState === socket.OPEN;
  }

  function subscribe(id: unknown, payload: unknown, size: number): unknown {
    if (!identity) return close(socket, 4401, 'Unauthorized');
    if (typeof id !== 'string' || id === '' || typeof payload !== 'object' || payload === null) {
      return close(socket, 4400, 'A subscribe message has an id and a payload');
    }
    if (id.length > longestId) return close(socket, 4400, `An id has at most ${longestId} characters`);
    if (operations.has(id)) return close(socket, 4409, `Subscriber for ${id} already exists`);
    if (operations.count() >= transport.maxSubscriptions) {
      const message = `A connection carries at most ${transport.maxSubscriptions} operations at once.`;
      return say({ id, type: 'error', payload: [{ message, extensions: { code: 'TOO_MANY_REQUESTS' } }] });
    }
    const held = size > freeUnanswered ? size : 0;
    if (!transport.hold(sender, held)) {
      const message = 'Too many large requests are being answered.';
      return say({ id, type: 'error', payload: [{ message, extensions: { code: 'UNAVAILABLE' } }] });
    }
    requests += 1;
    const asked = transport.asked(request, identity.claims, `${requests}`);
    operations.begin(id, payload as Params, asked, listenerOf(id), { done: () => transport.hold(sender, -held) });
    return undefined;
  }

  function listenerOf(id: string): Listener {
    const key = `ws ${id}`;
    const before = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
    return {
      next(sent: Sent) {
        const known = sent.framed.get(key);
        const frame = known ?? Buffer.from(`${before}${sent.text}}`);
        if (!known) sent.framed.set(key, frame);
        socket.send(frame, { binary: false });
      },
      end: (errors?: GraphQLFormattedError[]) =>
        say(errors ? { id, type: 'error', payload: errors } : { id, type: 'complete' }),
      backlog: () => socket.bufferedAmount,
    };
  }
}

/** Whether a token renews another: what runs on the connection goes on as who began it. */
function isSame({ claims: one }: Identity, { claims: other }: Identity): boolean {
  return one.sid === other.sid && one.sub === other.sub && one.role === other.role;
}

function authorizationOf(payload: unknown): unknown {
  const given = (payload ?? {}) as { authorization?: unknown; Authorization?: unknown };
  return given.authorization ?? given.Authorization;
}
