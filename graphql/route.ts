import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Logger } from 'pino';
import type { Settings } from '../functions/settings.ts';
import type { Claims, Tokens } from '../functions/tokens.ts';
import { addressOf, countedAddress } from './address.ts';
import { openBodies } from './bodies.ts';
import { conditional } from './conditional.ts';
import { openEventStreams } from './event-stream.ts';
import { type Exchange, type Reply, refuse } from './exchange.ts';
import type { Asked } from './execute.ts';
import { isMultipart } from './multipart.ts';
import { bodyOf, type Params } from './respond.ts';
import type { Serving } from './serve.ts';
import { openPlaces, openShares } from './shares.ts';
import { type Identity, identify, type Transport } from './transport.ts';
import type { Uploads } from './uploads.ts';
import { openWebSockets } from './websocket.ts';
import { openYoga } from './yoga.ts';

// What is being received of large requests may hold as much together, in largest bodies.
const bodiesTogether = 32;

/** Serves /graphql over each transport: plain JSON, server-sent events, WebSocket, and what Yoga knows to say. */
export function openRoute({
  serving,
  settings,
  verify,
  log,
  heartbeat,
  uploads,
}: {
  serving: Serving;
  settings: Settings;
  verify: Tokens['verify'];
  log: Logger;
  heartbeat: number;
  uploads: Uploads;
}) {
  const { answer, kindOf } = serving;
  const hold = openShares(settings.maxBodyBytes * bodiesTogether);
  const readBody = openBodies(settings.maxBodyBytes, hold);
  const yoga = openYoga(settings, answer);
  const transport: Transport = {
    verify,
    asked: (request, claims, id) => ({
      caller: callerOf(addressOf(request, settings.trustedProxies), request, claims, id),
      id,
    }),
    serve: serving.serve,
    maxSubscriptions: settings.maxSubscriptionsPerConnection,
    maxBodyBytes: settings.maxBodyBytes,
    maxBacklogBytes: settings.maxBacklogBytes,
    heartbeat,
    sender: (request) => countedAddress(addressOf(request, settings.trustedProxies)),
    takePlace: openPlaces(settings.maxConnectionsPerAddress),
    hold,
  };
  const webSockets = openWebSockets(transport);
  const eventStreams = openEventStreams(transport);

  /** Answers a request; nothing where nobody is there to be answered, or a stream has begun. */
  async function handle(exchange: Exchange): Promise<Reply | undefined> {
    const { request, response, id, span } = exchange;
    // Listened for from the first: who went away while the token was checked is not told of later.
    const gone = new AbortController();
    response.on('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    if (request.method === 'OPTIONS') return { status: 204, headers: {}, body: '' };

    const turnAway: typeof refuse = (status, code, message, headers) => {
      log.info({ id, status, code }, 'request');
      return refuse(status, code, message, headers);
    };
    const address = addressOf(request, settings.trustedProxies);
    if (isMultipart(request)) return answerMultipart(exchange, address, gone.signal);
    const body = await readBody(request, countedAddress(address), (then) => response.on('close', then));
    if ('refused' in body) {
      if (body.refused === 'gone') return;
      if (body.refused === 'too many') return turnAway(503, 'UNAVAILABLE', 'Too many large requests are being read.');
      return turnAway(413, 'LIMIT_EXCEEDED', `The body is larger than ${settings.maxBodyBytes} bytes.`);
    }
    const search = new URL(request.url ?? '/', 'http://localhost').searchParams;
    const reservation = String(request.headers['x-graphql-event-stream-token'] ?? search.get('token') ?? '');
    const holder = eventStreams.holder(reservation);
    if (reservation && request.method !== 'PUT' && !holder) {
      return turnAway(404, 'NOT_FOUND', 'There is no such reservation; make one by PUT.');
    }
    let identity: Identity;
    try {
      identity = holder ?? (await identify(verify, request.headers.authorization));
    } catch (error) {
      return turnAway(401, 'UNAUTHENTICATED', (error as Error).message, { 'www-authenticate': 'Bearer' });
    }
    if (response.destroyed) return undefined;
    const { claims } = identity;
    const caller = callerOf(address, request, claims, id);
    const params = paramsOf(request, search, body.text);
    const accept = request.headers.accept ?? '';
    if (request.method === 'PUT') return eventStreams.reserve(identity, claims.sub ?? countedAddress(address));
    if (reservation && request.method === 'DELETE')
      return eventStreams.stop(reservation, search.get('operationId') ?? '');
    const streams = /text\/event-stream/.test(accept);
    // A page of any origin may send what is not JSON, and open a stream by GET, without being asked first.
    if (request.method === 'POST' && (reservation || streams) && !isJson(request)) {
      return turnAway(
        415,
        'BAD_REQUEST',
        'Send the parameters as JSON, with the header "Content-Type: application/json".',
      );
    }
    if (request.method === 'GET' && streams && params && kindOf(params, caller) === 'mutation') {
      return turnAway(405, 'BAD_REQUEST', 'A GET request only reads: send a mutation by POST.', { allow: 'POST' });
    }
    if (reservation && request.method === 'POST') return eventStreams.operate(exchange, reservation, params ?? {});
    if (reservation && !search.has('query')) return eventStreams.connect(exchange, reservation);
    if (streams && params && (!/json|\*\/\*/.test(accept) || kindOf(params, caller) === 'subscription')) {
      return eventStreams.distinct(exchange, params, identity);
    }
    const asked: Asked = { caller, id, signal: gone.signal, span };
    return (
      (await answerPlain(request, body.text, asked)) ??
      conditional(request, caller, await yoga(request, body.text, asked))
    );
  }

  // What nearly every client sends, a JSON body by POST, is answered here. Everything else (GET, GraphiQL, other media types,
  // malformed requests and how to say so) is Yoga's, through the same `answer`.
  async function answerPlain(request: IncomingMessage, body: string, asked: Asked): Promise<Reply | undefined> {
    const type = isJson(request) ? mediaType(request) : undefined;
    if (!type) return;
    let params: Params;
    try {
      params = JSON.parse(body);
    } catch {
      return;
    }
    if (typeof params !== 'object' || params === null || Array.isArray(params)) return;
    return answerAs(type, params, asked);
  }

  // A page of any origin may send this form without being asked first, but not with the header that says who sends it.
  async function answerMultipart(
    { request, id, span }: Exchange,
    address: string,
    signal: AbortSignal,
  ): Promise<Reply | undefined> {
    const told = (status: number, code: string, message: string, extensions?: Record<string, unknown>): Reply => {
      log.info({ id, status, code }, 'request');
      return refuse(status, code, message, { connection: 'close' }, extensions);
    };
    const identity = await identify(verify, request.headers.authorization).catch((error: Error) => error);
    if (identity instanceof Error) return told(401, 'UNAUTHENTICATED', identity.message);
    if (!identity.claims.sub) return told(401, 'UNAUTHENTICATED', 'Sign in first.');
    const asked: Asked = { caller: callerOf(address, request, identity.claims, id), id, signal, span };
    const received = await uploads.receive(request, asked, (params) => serving.requireMutation(params, asked.caller));
    if ('told' in received) {
      if (!received.told) return;
      const { status, code, message, extensions } = received.told;
      return told(status, code, message, extensions);
    }
    try {
      return await answerAs(mediaType(request) ?? 'application/json; charset=utf-8', received.params, asked);
    } finally {
      await received.end();
    }
  }

  async function answerAs(type: string, params: Params, asked: Asked): Promise<Reply | undefined> {
    const outcome = await answer(params, asked, false);
    if (!outcome) return;
    // What was refused before it ran is an error of the request; older clients expect 200 for it all the same.
    const usual = outcome.executed || type.startsWith('application/json') ? 200 : 400;
    const { status = usual, headers } = outcome.http ?? {};
    return { status, headers: { ...headers, 'content-type': type }, body: bodyOf(outcome) };
  }

  return {
    handle,
    upgrade: webSockets.upgrade,
    close() {
      webSockets.close();
      eventStreams.close();
    },
  };
}

function callerOf(address: string, request: IncomingMessage, { role, sub, sid }: Claims, id: string): Asked['caller'] {
  return {
    role,
    claims: {
      ...(sub && { sub }),
      ...(sid && { sid }),
      ...(isIP(address) && { address }),
      user_agent: (request.headers['user-agent'] ?? '').slice(0, 500),
      request_id: id,
    },
  };
}

/** The media type to answer a plain request with; undefined where it is not one. */
function mediaType({ method, headers }: IncomingMessage): string | undefined {
  if (method !== 'POST') return;
  const accept = headers.accept ?? '*/*';
  if (accept.includes('application/graphql-response+json')) return 'application/graphql-response+json; charset=utf-8';
  if (/application\/json|\*\/\*|application\/\*/.test(accept)) return 'application/json; charset=utf-8';
  return undefined;
}

function isJson({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  return /^application\/json(\s*;\s*charset="?utf-?8"?)?\s*$/i.test(headers['content-type'] ?? '');
}

/** The parameters of a request, from its URL or its JSON body; nothing where there are none. */
function paramsOf({ method }: IncomingMessage, search: URLSearchParams, body: string): Params | undefined {
  try {
    if (method !== 'GET') return JSON.parse(body);
    const parsed = (name: string): unknown => JSON.parse(search.get(name) ?? 'null');
    const query = search.get('query') ?? undefined;
    const documentId = search.get('documentId') ?? undefined;
    if (query === undefined && documentId === undefined) return undefined;
    const named = { query, operationName: search.get('operationName') ?? undefined, documentId };
    return { ...named, variables: parsed('variables'), extensions: parsed('extensions') };
  } catch {
    return undefined;
  }
}
