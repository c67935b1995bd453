import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import { followLog, type LogFollower } from '../functions/event-log.ts';
import { openRequests } from '../functions/requests.ts';
import { serverUrl } from '../functions/server-role.ts';
import type { Settings } from '../functions/settings.ts';
import type { SigningKey } from '../functions/signing-keys.ts';
import { type Claims, openTokens } from '../functions/tokens.ts';
import { openBodies } from './bodies.ts';
import { corsHeaders } from './cors.ts';
import { unforeseenTo } from './errors.ts';
import { openEventStreams } from './event-stream.ts';
import type { Asked, Deliver, Engine } from './execute.ts';
import { openReadiness } from './health.ts';
import { followDatabase } from './live.ts';
import { type Operation, openOperations } from './operations.ts';
import { bodyOf, goodParams, type Outcome, type Params, respond } from './respond.ts';
import { type Listener, openSubscriptions } from './subscriptions.ts';
import { type Identity, identify } from './transport.ts';
import { readTrustedDocuments } from './trusted.ts';
import { openWebSockets } from './websocket.ts';
import { openYoga } from './yoga.ts';

export type Server = { url: string; close(): Promise<void> };

// A client has 15 s to send a request; proxies keep connections for a minute, so ours are kept a little longer.
const timeouts = {
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  connectionsCheckingInterval: 5000,
  keepAliveTimeout: 65_000,
};
const bodiesTogether = 32;

type Sent = { status: number; headers: Record<string, string>; body: string };

/**
 * Serves the API of a database: GraphQL at /graphql, the health of the process at /health and of all at /ready.
 *
 * @param databaseUrl the owner's connection; the server logs in as plinth_server.
 * @param deliver sends the texts and mails that functions ask for.
 * @throws Refusal where the database does not let it in, or the catalog cannot be served.
 */
export async function startServer({
  settings,
  keys,
  databaseUrl,
  log,
  deliver,
}: {
  settings: Settings;
  keys: SigningKey[];
  databaseUrl: string;
  log: Logger;
  deliver: Deliver;
}): Promise<Server> {
  const url = settings.serverDatabaseUrl ?? (await serverUrl(databaseUrl));
  const tokens = openTokens(keys);
  const trusted = readTrustedDocuments(settings.trustedDocuments, settings.trustedDocumentsOnly);
  const requests = openRequests(url, { size: settings.poolSize, log });
  let engine: Engine;
  let operations: (text: string, name: string | undefined) => Operation;
  let eventLog: LogFollower;
  const subscriptions = openSubscriptions(
    () => engine,
    () => eventLog,
    settings,
  );
  const live = await followDatabase(url, log, ({ catalog, schema }) => {
    requests.setTimeouts(catalog.statementTimeouts);
    operations = openOperations(schema, settings);
    engine = {
      schema,
      errorCodes: catalog.errorCodes,
      requests,
      sign: tokens.sign,
      deliver,
      unforeseen: unforeseenTo(log),
      signal: (signals) => eventLog.signal(signals),
    };
    subscriptions.changed();
  }).catch(async (error) => {
    await requests.close();
    throw error;
  });
  eventLog = await followLog(url, requests.pool, log, subscriptions.take).catch(async (error) => {
    await Promise.all([live.close(), requests.close()]);
    throw error;
  });

  const readiness = openReadiness(requests.pool, live, () => ({
    ...eventLog.state(),
    subscribers: subscriptions.count(),
  }));
  const answer = async (params: Params, asked: Asked, readOnly: boolean): Promise<Outcome | undefined> => {
    const started = performance.now();
    const found = trusted.resolve(params);
    const good = found instanceof GraphQLError ? found : goodParams(found);
    if (!good) return;
    const outcome: Outcome =
      good instanceof GraphQLError
        ? { executed: false, data: null, errors: [good.toJSON()], rows: 0 }
        : await respond(engine, operations, good, asked, { readOnly });
    const code = outcome.errors?.[0]?.extensions?.code;
    log.info(
      {
        id: asked.id,
        operation: outcome.operation?.name ?? outcome.operation?.kind,
        role: asked.caller.role,
        ms: Math.round((performance.now() - started) * 100) / 100,
        rows: outcome.rows,
        ...(outcome.errors && { code: code ?? 'BAD_REQUEST' }),
      },
      'request',
    );
    return outcome;
  };
  const readBody = openBodies(settings.maxBodyBytes, settings.maxBodyBytes * bodiesTogether);
  const yoga = openYoga(settings, answer);

  /** The kind of a request's operation; nothing where it has none. */
  function kindOf(params: Params): Operation['kind'] | undefined {
    const found = trusted.resolve(params);
    const good = found instanceof GraphQLError ? undefined : goodParams(found);
    try {
      return good && operations(good.query, good.operationName).kind;
    } catch {
      return undefined;
    }
  }

  function serve(params: Params, asked: Asked, listener: Listener, after?: string): () => void {
    const found = trusted.resolve(params);
    const good = found instanceof GraphQLError ? found : goodParams(found);
    if (good && !(good instanceof GraphQLError) && kindOf(params) === 'subscription') {
      const { query, operationName, variables } = good;
      log.info({ id: asked.id, operation: operationName ?? 'subscription', role: asked.caller.role }, 'subscription');
      return subscriptions.subscribe(
        { open: () => operations(query, operationName), variables, asked, after },
        listener,
      );
    }
    answer(params, asked, false).then((outcome) => {
      const malformed = {
        message: 'The parameters of the operation are malformed.',
        extensions: { code: 'BAD_REQUEST' },
      };
      if (!outcome) return listener.end([malformed]);
      if (!outcome.executed) return listener.end(outcome.errors);
      listener.next({ text: bodyOf(outcome), cursor: null, framed: new Map() });
      listener.end();
    });
    return () => {};
  }
  const transport = {
    verify: tokens.verify,
    asked: (request: IncomingMessage, claims: Claims, id: string) => ({
      caller: callerOf(addressOf(request, settings.trustedProxies), request, claims, id),
      id,
    }),
    serve,
    maxSubscriptions: settings.maxSubscriptionsPerConnection,
    maxBodyBytes: settings.maxBodyBytes,
    maxBacklogBytes: settings.maxBacklogBytes,
  };
  const webSockets = openWebSockets(transport);
  const eventStreams = openEventStreams(transport);

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<Sent | undefined> {
    // Listened for from the first: who went away while the token was checked is not told of later.
    const gone = new AbortController();
    response.on('close', () => {
      if (!response.writableFinished) gone.abort();
    });
    const id = requestId(request);
    response.setHeader('x-request-id', id);
    for (const [name, value] of corsHeaders(request, settings.corsOrigins)) response.setHeader(name, value);
    const path = (request.url ?? '/').split('?', 1)[0];
    if (path === '/health') return json(200, { status: 'ok', uptime: Math.round(process.uptime()) });
    if (path === '/ready') return json(...(await readiness()));
    if (path === '/') return { status: 302, headers: { location: '/graphql' }, body: '' };
    if (path !== '/graphql') return refuse(404, 'NOT_FOUND', `There is nothing at ${path}; GraphQL is at /graphql.`);
    if (request.method === 'OPTIONS') return { status: 204, headers: {}, body: '' };

    const turnAway: typeof refuse = (status, code, message, headers) => {
      log.info({ id, status, code }, 'request');
      return refuse(status, code, message, headers);
    };
    const address = addressOf(request, settings.trustedProxies);
    const body = await readBody(request, address, (then) => response.on('close', then));
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
      identity = eventStreams.holder(reservation) ?? (await identify(tokens.verify, request.headers.authorization));
    } catch (error) {
      return turnAway(401, 'UNAUTHENTICATED', (error as Error).message, { 'www-authenticate': 'Bearer' });
    }
    const { claims } = identity;
    const params = paramsOf(request, search, body.text);
    const accept = request.headers.accept ?? '';
    if (request.method === 'PUT') return eventStreams.reserve(identity, claims.sub ?? address);
    if (reservation && request.method === 'DELETE')
      return eventStreams.stop(reservation, search.get('operationId') ?? '');
    if (reservation && request.method === 'POST') return eventStreams.operate(request, reservation, params ?? {}, id);
    if (reservation && !search.has('query')) return eventStreams.connect(response, reservation);
    if (
      /text\/event-stream/.test(accept) &&
      params &&
      (!/json|\*\/\*/.test(accept) || kindOf(params) === 'subscription')
    ) {
      eventStreams.distinct(request, response, params, identity, id);
      return undefined;
    }
    const asked: Asked = {
      caller: callerOf(address, request, claims, id),
      id,
      signal: gone.signal,
    };
    return (await answerPlain(request, body.text, asked)) ?? yoga(request, body.text, asked);
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
    const status = outcome.executed || type.startsWith('application/json') ? 200 : 400;
    return { status, headers: { 'content-type': type }, body: bodyOf(outcome) };
  }

  const server = createServer(timeouts, (request, response) => {
    handle(request, response)
      .catch((error): Sent | undefined => {
        log.error({ err: error }, 'a request failed');
        return refuse(500, 'INTERNAL', 'Something went wrong on our side.');
      })
      .then((sent) => {
        // Nobody is there to be answered, or a stream has begun.
        if (!sent) return;
        const { status, headers, body } = sent;
        response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
        response.end(body);
      });
  });
  server.on('upgrade', (request, stream, head) => {
    if ((request.url ?? '').split('?', 1)[0] === '/graphql') return webSockets.upgrade(request, stream, head);
    stream.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
  });
  server.maxConnections = settings.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(settings.port, settings.host, resolve);
  }).catch(async (error) => {
    await Promise.all([live.close(), eventLog.close(), requests.close()]);
    throw error;
  });
  const { port } = server.address() as { port: number };
  return {
    url: `http://${settings.host}:${port}/`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      subscriptions.close();
      webSockets.close();
      eventStreams.close();
      server.closeIdleConnections();
      // What is being answered may finish; connections kept open for later requests may not hold the end up.
      setTimeout(() => server.closeAllConnections(), 5000).unref();
      await closed;
      await live.close();
      await eventLog.close();
      await requests.close();
    },
  };
}

/** The id that the client gave, if it is a plain one, else a new one. */
function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,100}$/.test(given) ? given : randomUUID();
}

/** The address of the client: the connection's, or what the outermost of our own proxies saw. */
function addressOf({ headers, socket }: IncomingMessage, proxies: number): string {
  const forwarded = String(headers['x-forwarded-for'] ?? '').split(',');
  const seen = proxies > 0 ? forwarded.at(-proxies)?.trim() : undefined;
  return (seen || socket.remoteAddress)?.replace(/^::ffff:/, '') ?? '';
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
  if (method !== 'POST' || !/^application\/json(\s*;\s*charset="?utf-?8"?)?\s*$/i.test(headers['content-type'] ?? ''))
    return;
  const accept = headers.accept ?? '*/*';
  if (accept.includes('application/graphql-response+json')) return 'application/graphql-response+json; charset=utf-8';
  if (/application\/json|\*\/\*|application\/\*/.test(accept)) return 'application/json; charset=utf-8';
  return undefined;
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

function json(status: number, value: unknown): Sent {
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(value) };
}

function refuse(status: number, code: string, message: string, headers: Record<string, string> = {}): Sent {
  const sent = json(status, { errors: [{ message, extensions: { code } }] });
  return {
    ...sent,
    headers: { ...sent.headers, ...headers, ...((status === 413 || status === 503) && { connection: 'close' }) },
  };
}
