import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import type { Settings } from '../functions/settings.ts';
import type { Span } from '../functions/span.ts';
import type { Claims, Tokens } from '../functions/tokens.ts';
import { addressOf, countedAddress } from './address.ts';
import type { Answers } from './answers.ts';
import { openBodies } from './bodies.ts';
import { conditional } from './conditional.ts';
import { tellError } from './errors.ts';
import { openEventStreams } from './event-stream.ts';
import type { Asked, Engine } from './execute.ts';
import type { Gate } from './gate.ts';
import type { Metrics } from './metrics.ts';
import type { Operation } from './operations.ts';
import { bodyOf, type GoodParams, goodParams, type Outcome, type Params, respond, withoutHttp } from './respond.ts';
import { openPlaces, openShares } from './shares.ts';
import type { Listener } from './subscriber.ts';
import type { Subscriptions } from './subscriptions.ts';
import { type Identity, identify } from './transport.ts';
import type { readTrustedDocuments } from './trusted.ts';
import { openWebSockets } from './websocket.ts';
import { openYoga } from './yoga.ts';

// What is being received of large requests may hold as much together, in largest bodies.
const bodiesTogether = 32;
export type Sent = { status: number; headers: Record<string, string>; body: string };

/** What operations are found and executed with; both change with the database. */
type Api = { engine(): Engine; operations(text: string, name: string | undefined): Operation };

/** Serves /graphql over each transport: plain JSON, server-sent events, WebSocket, and what Yoga knows to say. */
export function openRoute(
  { engine, operations }: Api,
  subscriptions: Subscriptions,
  {
    settings,
    verify,
    trusted,
    log,
    metrics,
    heartbeat,
    gate,
    answers,
  }: {
    settings: Settings;
    verify: Tokens['verify'];
    trusted: ReturnType<typeof readTrustedDocuments>;
    log: Logger;
    metrics: Metrics | undefined;
    heartbeat: number;
    gate: Gate;
    answers: Answers;
  },
) {
  /** With a trusted document in place of its name; nothing where they are malformed. */
  function readParams(params: Params): GoodParams | GraphQLError | undefined {
    const found = trusted.resolve(params);
    return found instanceof GraphQLError ? found : goodParams(found);
  }

  const answer = async (params: Params, asked: Asked, readOnly: boolean): Promise<Outcome | undefined> => {
    const started = performance.now();
    const good = readParams(params);
    if (!good) return;
    const outcome: Outcome =
      good instanceof GraphQLError
        ? { executed: false, data: null, errors: [good.toJSON()], rows: 0 }
        : await respond(engine(), operations, good, asked, { readOnly, gate, answers });
    const code = outcome.errors && String(outcome.errors[0]?.extensions?.code ?? 'BAD_REQUEST');
    metrics?.executed(outcome.operation?.kind ?? 'none', code ?? 'OK', outcome.rows);
    log.info(
      {
        id: asked.id,
        operation: outcome.operation?.name ?? outcome.operation?.kind,
        role: asked.caller.role,
        ms: Math.round((performance.now() - started) * 100) / 100,
        rows: outcome.rows,
        ...(code !== undefined && { code }),
      },
      'request',
    );
    return outcome;
  };
  const hold = openShares(settings.maxBodyBytes * bodiesTogether);
  const readBody = openBodies(settings.maxBodyBytes, hold);
  const yoga = openYoga(settings, answer);

  /** The kind of a request's operation; nothing where it has none. */
  function kindOf(params: Params): Operation['kind'] | undefined {
    const good = readParams(params);
    if (!good || good instanceof GraphQLError) return undefined;
    try {
      return operations(good.query, good.operationName).kind;
    } catch {
      return undefined;
    }
  }

  function serve(params: Params, asked: Asked, listener: Listener, after?: string): () => void {
    const good = readParams(params);
    if (good && !(good instanceof GraphQLError) && kindOf(params) === 'subscription') {
      const { query, operationName, variables } = good;
      try {
        gate.arrive(asked as Asked);
        gate.admit(asked as Asked, operations(query, operationName));
      } catch (error) {
        const told = tellError(error, engine().errorCodes, asked.id, engine().unforeseen);
        metrics?.executed('subscription', String(told.extensions?.code), 0);
        listener.end([withoutHttp(told)]);
        return () => {};
      }
      // A client may begin and end them by the ten thousand: each a line would fill the disk.
      log.debug({ id: asked.id, operation: operationName ?? 'subscription', role: asked.caller.role }, 'subscription');
      metrics?.executed('subscription', 'OK', 0);
      return subscriptions.subscribe(
        { open: () => operations(query, operationName), variables, asked, after },
        listener,
      );
    }
    answer(params, asked, false)
      .then((outcome) => {
        const malformed = {
          message: 'The parameters of the operation are malformed.',
          extensions: { code: 'BAD_REQUEST' },
        };
        if (!outcome) return listener.end([malformed]);
        if (!outcome.executed) return listener.end(outcome.errors);
        listener.next({ text: bodyOf(outcome), cursor: null, framed: new Map() });
        listener.end();
      })
      .catch((error) => listener.end([tellError(error, engine().errorCodes, asked.id, engine().unforeseen)]));
    return () => {};
  }
  const transport = {
    verify,
    asked: (request: IncomingMessage, claims: Claims, id: string) => ({
      caller: callerOf(addressOf(request, settings.trustedProxies), request, claims, id),
      id,
    }),
    serve,
    maxSubscriptions: settings.maxSubscriptionsPerConnection,
    maxBodyBytes: settings.maxBodyBytes,
    maxBacklogBytes: settings.maxBacklogBytes,
    heartbeat,
    sender: (request: IncomingMessage) => countedAddress(addressOf(request, settings.trustedProxies)),
    takePlace: openPlaces(settings.maxConnectionsPerAddress),
    hold,
  };
  const webSockets = openWebSockets(transport);
  const eventStreams = openEventStreams(transport);

  /** Answers a request; nothing where nobody is there to be answered, or a stream has begun. */
  async function handle(
    request: IncomingMessage,
    response: ServerResponse,
    id: string,
    span: Span | undefined,
  ): Promise<Sent | undefined> {
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
    const body = await readBody(request, countedAddress(address), (then) => response.on('close', then));
    if ('refused' in body) {
      if (body.refused === 'gone') return;
      if (body.refused === 'too many') return turnAway(503, 'UNAVAILABLE', 'Too many large requests are being read.');
      return turnAway(413, 'LIMIT_EXCEEDED', `The body is larger than ${settings.maxBodyBytes} bytes.`);
    }
    const search = new URL(request.url ?? '/', 'http://localhost').searchParams;
    const reservation = String(request.headers['x-graphql-event-stream-token'] ?? search.get('token') ?? '');
    if (reservation && request.method !== 'PUT' && !eventStreams.holder(reservation)) {
      return turnAway(404, 'NOT_FOUND', 'There is no such reservation; make one by PUT.');
    }
    let identity: Identity;
    try {
      identity = eventStreams.holder(reservation) ?? (await identify(verify, request.headers.authorization));
    } catch (error) {
      return turnAway(401, 'UNAUTHENTICATED', (error as Error).message, { 'www-authenticate': 'Bearer' });
    }
    if (response.destroyed) return undefined;
    const { claims } = identity;
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
    if (request.method === 'GET' && streams && params && kindOf(params) === 'mutation') {
      return turnAway(405, 'BAD_REQUEST', 'A GET request only reads: send a mutation by POST.', { allow: 'POST' });
    }
    if (reservation && request.method === 'POST') return eventStreams.operate(request, reservation, params ?? {}, id);
    if (reservation && !search.has('query')) return eventStreams.connect(request, response, reservation);
    if (streams && params && (!/json|\*\/\*/.test(accept) || kindOf(params) === 'subscription')) {
      return eventStreams.distinct(request, response, params, identity, id);
    }
    const asked: Asked = {
      caller: callerOf(address, request, claims, id),
      id,
      signal: gone.signal,
      span,
    };
    return (
      (await answerPlain(request, body.text, asked)) ?? conditional(request, await yoga(request, body.text, asked))
    );
  }

  // What nearly every client sends, a JSON body by POST, is answered here. Everything else (GET, GraphiQL, other media types,
  // malformed requests and how to say so) is Yoga's, through the same `answer`.
  async function answerPlain(request: IncomingMessage, body: string, asked: Asked): Promise<Sent | undefined> {
    const type = mediaType(request);
    if (!type) return;
    let params: Params;
    try {
      params = JSON.parse(body);
    } catch {
      return;
    }
    if (typeof params !== 'object' || params === null || Array.isArray(params)) return;
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
  if (method !== 'POST' || !isJson({ headers })) return;
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

export function json(status: number, value: unknown): Sent {
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(value) };
}

export function refuse(status: number, code: string, message: string, headers: Record<string, string> = {}): Sent {
  const sent = json(status, { errors: [{ message, extensions: { code } }] });
  return {
    ...sent,
    headers: { ...sent.headers, ...headers, ...((status === 413 || status === 503) && { connection: 'close' }) },
  };
}
