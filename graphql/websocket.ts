import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GraphQLFormattedError } from 'graphql';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Sent } from './render.ts';
import type { Params } from './respond.ts';
import type { Listener } from './subscriptions.ts';
import { heartbeat, type Identity, identify, type Transport } from './transport.ts';

const protocol = 'graphql-transport-ws';
const initTimeout = 10_000;
// A client that does not take its last words is not waited for longer.
const lastWords = 5_000;
// Each result repeats the id of its operation.
const longestId = 1000;

type Message = { type?: unknown; id?: unknown; payload?: unknown };

/** GraphQL over WebSocket: the protocol graphql-transport-ws, with operations of every kind. */
export function openWebSockets(transport: Transport) {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: transport.maxBodyBytes,
    // A piece of one byte holds some hundred.
    maxFragments: 256,
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
  }, heartbeat);
  beat.unref();

  sockets.on('connection', (socket: WebSocket, request: IncomingMessage) => {
    for (const sign of ['pong', 'message'] as const) socket.on(sign, () => silent.delete(socket));
    socket.on('error', () => {});
    socket.on('close', () => silent.delete(socket));
    if (socket.protocol === protocol) converse(transport, socket, request);
    else close(socket, 4406, 'Subprotocol not acceptable');
  });

  return {
    upgrade: (request: IncomingMessage, stream: Duplex, head: Buffer) =>
      sockets.handleUpgrade(request, stream, head, (socket) => sockets.emit('connection', socket, request)),
    close(): void {
      clearInterval(beat);
      for (const socket of sockets.clients) close(socket, 1012, 'The server restarts');
    },
  };
}

/** A reason may have 123 bytes; a letter that is cut through is left out. */
function close(socket: WebSocket, code: number, reason: string): void {
  const cut = new TextDecoder().decode(Buffer.from(reason).subarray(0, 123), { stream: true });
  socket.close(code, cut);
  setTimeout(() => socket.terminate(), lastWords).unref();
}

function converse(transport: Transport, socket: WebSocket, request: IncomingMessage): void {
  const operations = new Map<string, () => void>();
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
    for (const stop of operations.values()) stop();
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
    receive(message ?? {}).catch(() => close(socket, 4400, 'A message that cannot be understood'));
  });

  async function receive({ type, id, payload }: Message): Promise<unknown> {
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
        return subscribe(id, payload);
      case 'complete': {
        if (typeof id !== 'string') return close(socket, 4400, 'A complete message has an id');
        const stop = operations.get(id);
        operations.delete(id);
        return stop?.();
      }
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

  function subscribe(id: unknown, payload: unknown): unknown {
    if (!identity) return close(socket, 4401, 'Unauthorized');
    if (typeof id !== 'string' || id === '' || typeof payload !== 'object' || payload === null) {
      return close(socket, 4400, 'A subscribe message has an id and a payload');
    }
    if (id.length > longestId) return close(socket, 4400, `An id has at most ${longestId} characters`);
    if (operations.has(id)) return close(socket, 4409, `Subscriber for ${id} already exists`);
    if (operations.size >= transport.maxSubscriptions) {
      const message = `A connection carries at most ${transport.maxSubscriptions} operations at once.`;
      return say({ id, type: 'error', payload: [{ message, extensions: { code: 'TOO_MANY_REQUESTS' } }] });
    }
    requests += 1;
    const gone = new AbortController();
    operations.set(id, () => gone.abort());
    const asked = { ...transport.asked(request, identity.claims, `${requests}`), signal: gone.signal };
    const stop = transport.serve(payload as Params, asked, listenerOf(id));
    if (operations.has(id)) {
      operations.set(id, () => {
        gone.abort();
        stop();
      });
    }
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
        if (operations.has(id)) socket.send(frame, { binary: false });
      },
      end(errors?: GraphQLFormattedError[]) {
        if (!operations.delete(id)) return;
        say(errors ? { id, type: 'error', payload: errors } : { id, type: 'complete' });
      },
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
