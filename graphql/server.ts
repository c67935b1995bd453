import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import type { QueryConfig } from 'pg';
import type { Logger } from 'pino';
import { openCache } from '../functions/cache.ts';
import { followLog, type LogFollower } from '../functions/event-log.ts';
import { rulesTopic } from '../functions/gate.ts';
import { openGathering } from '../functions/gathering.ts';
import { openQueryTimes, type QueryTimes } from '../functions/query-times.ts';
import { openReplica } from '../functions/replica.ts';
import { openRequests } from '../functions/requests.ts';
import { openSealing } from '../functions/sealing.ts';
import { replicaUrl, serverUrl } from '../functions/server-role.ts';
import type { Settings } from '../functions/settings.ts';
import type { SigningKey } from '../functions/signing-keys.ts';
import { openStorage } from '../functions/storage.ts';
import { openTokens } from '../functions/tokens.ts';
import { countedAddress, plainAddress } from './address.ts';
import { openAdmin } from './admin.ts';
import { openAnswers } from './answers.ts';
import {
  collectCache,
  collectEvents,
  collectGate,
  collectMachine,
  collectNetwork,
  collectQueries,
  collectReplica,
} from './collectors.ts';
import { corsHeaders } from './cors.ts';
import { databaseCollectors } from './database-metrics.ts';
import { downloadPath, openDownloads } from './downloads.ts';
import { loadReporter } from './error-reporter.ts';
import { unforeseenTo } from './errors.ts';
import { type Exchange, json, type Reply, refuse } from './exchange.ts';
import type { Deliver, Engine } from './execute.ts';
import { isUploadPath, openFileRoute } from './file-route.ts';
import { type Gate, openGate } from './gate.ts';
import { openReadiness } from './health.ts';
import { type Api, followDatabase } from './live.ts';
import { openMetrics } from './metrics.ts';
import { isMultipart } from './multipart.ts';
import { openOperations } from './operations.ts';
import { openPlatformRoute, type PlatformDoor } from './platform-route.ts';
import { openRequestFigures } from './request-figures.ts';
import { openRoute } from './route.ts';
import { openServing } from './serve.ts';
import { openPlaces } from './shares.ts';
import { openSubscriptions } from './subscriptions.ts';
import { readTrustedDocuments } from './trusted.ts';
import { openUploads } from './uploads.ts';
import { turnAway } from './websocket.ts';

export type Server = { url: string; close(): Promise<void> };

type Given = {
  settings: Settings;
  keys: SigningKey[];
  /** The owner's connection; the server logs in as plinth_server. */
  databaseUrl: string;
  log: Logger;
  /** Sends the texts and mails that functions ask for. */
  deliver: Deliver;
  /** Reads the file of an export, for who downloads it; without it there are no downloads. */
  openExport?: (file: string) => Promise<Readable>;
  /** Takes what platforms tell at their webhooks; without it there are none. */
  platformDoor?: PlatformDoor;
  /** How often a quiet connection is written to, in milliseconds; proxies cut them after a minute, some after 20 s. */
  heartbeat?: number;
};

// What answers are counted by: never by what clients write.
const routes = new Set(['/', '/graphql', '/health', '/ready', '/metrics', '/admin/db_metrics']);

// A client has 15 s to send a request (bodyTimeout), for files more, as long as they come; proxies keep connections for a minute, so ours are kept a little longer.
const timeouts = {
  headersTimeout: 10_000,
  requestTimeout: 3_600_000,
  connectionsCheckingInterval: 5000,
  keepAliveTimeout: 65_000,
};

const bodyTimeout = 15_000;
// People wait for what is stored: a storage that does not answer soon has failed.
const storagePatience = { answersWithin: 10_000, tries: 2 };

/**
 * Serves the API of a database: GraphQL at /graphql, the health of the process at /health and of all at /ready.
 *
 * @throws Refusal where the database does not let it in, or the catalog cannot be served.
 */
export async function startServer(given: Given): Promise<Server> {
  // What was opened last is closed first.
  const opened: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const each of opened.splice(0).reverse()) await each();
  };
  try {
    const url = await start(given, (part) => {
      opened.push(() => part.close());
      return part;
    });
    return { url, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @param keep has a part closed when the server is, and when a later step fails. */
async function start(
  { settings, keys, databaseUrl, log, deliver, openExport, platformDoor, heartbeat = 12_000 }: Given,
  keep: <Part extends { close(): unknown }>(part: Part) => Part,
): Promise<string> {
  const url = settings.serverDatabaseUrl ?? (await serverUrl(databaseUrl));
  const { verify, sign } = openTokens(keys);
  const trusted = readTrustedDocuments(settings.trustedDocuments, settings.trustedDocumentsOnly);
  const unforeseen = unforeseenTo(log, await loadReporter(settings.errorReporter, log));
  const tracer = settings.otelExporterOtlpEndpoint
    ? keep((await import('./tracing.ts')).openTracer(settings.otelExporterOtlpEndpoint, settings.otelServiceName))
    : undefined;
  const server = createServer(timeouts);
  const counted = openQueryTimes(settings, log);
  const times: QueryTimes = {
    ...counted,
    add(milliseconds, ...roundTrip) {
      counted.add(milliseconds, ...roundTrip);
      metrics?.roundTrip(milliseconds / 1000);
    },
  };
  const { seal } = await openSealing(settings.credentialsKey, settings.webhooksPrivate);
  const storage = openStorage(settings.fileStorage, settings, storagePatience);
  const addressOrToken: Engine['sign'] = async (value) => {
    if (!('put' in value)) return sign(value);
    return storage.presign ? storage.presign(value.put, value.bytes, value.seconds) : value.path;
  };
  const cache = keep(await openCache(settings, log));
  const { poolSize: size, readDatabaseUrl, readMaxLagMs } = settings;
  const openThere = (there: string) => openRequests(there, { size, log, times });
  const replica = readDatabaseUrl
    ? openReplica(url, replicaUrl(readDatabaseUrl, url), readMaxLagMs, openThere, log)
    : undefined;
  const requests = keep(openRequests(url, { size, log, times, replica }));
  let engine: Engine;
  let eventLog: LogFollower;
  let gate: Gate | undefined;
  const answers = openAnswers(await openCache({}, log), () => eventLog.state().lastRead < 2);
  const subscriptions = openSubscriptions(
    () => engine,
    () => eventLog,
    settings,
    replica?.wrote,
  );
  const gathering = keep(
    openGathering(
      (query) => requests.runAsServer(query, 'gathering'),
      (signals) => eventLog.signal(signals),
      log,
    ),
  );
  const follow = ({ catalog, schema }: Api): void => {
    requests.setTimeouts(catalog.statementTimeouts);
    engine = {
      ...{ schema, operations: openOperations(schema, settings), errorCodes: catalog.errorCodes },
      ...{ requests, sign: addressOrToken, deliver, seal, unforeseen, maxAnswerBytes: settings.maxAnswerBytes },
      ...{ signal: (signals) => eventLog.signal(signals), gather: gathering.gather },
    };
    subscriptions.changed();
    answers.changed();
  };
  const live = keep(await followDatabase(url, log, follow));
  const run = (query: QueryConfig) => requests.runAsServer(query, 'listeners');
  eventLog = keep(
    await followLog(url, run, log, (happened) => {
      if ('events' in happened) {
        answers.happened(happened.events);
        if (happened.events.some(({ topic }) => topic === rulesTopic)) void gate?.changed();
      } else if ('restored' in happened) {
        // Another database, and of what differs in it no event tells.
        answers.changed();
        void gate?.changed();
      }
      subscriptions.take(happened);
    }),
  );
  // After the log: what changes from now on is heard.
  const { pool } = requests;
  const processes = () => eventLog.state().processes;
  const isField = (name: string): boolean => {
    const { schema } = engine;
    const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
    return roots.some((type) => type && name in type.getFields());
  };
  gate = keep(await openGate({ pool, cache, processes, isField, closed: subscriptions.changed, log }));
  // What was told while it read the rules reached nobody.
  await gate.changed();

  const metrics = settings.metrics
    ? openMetrics([
        collectQueries(requests.connections, times),
        collectEvents(eventLog.state, subscriptions),
        ...collectCache(cache.state),
        collectGate(gate.state),
        collectNetwork(server),
        collectMachine(settings.plinthData),
        ...databaseCollectors(requests),
        collectReplica(replica?.state),
      ])
    : undefined;
  const readiness = openReadiness({ requests, replica, live, eventLog, subscriptions, cache });
  const figures = openRequestFigures(requests);
  const { slowQueryMs, metricsToken } = settings;
  const admin = openAdmin({ verify, requests, times, metrics, slowQueryMs, metricsToken });
  const serving = openServing({ engine: () => engine, subscriptions, gate, answers, trusted, metrics, log });
  const uploads = openUploads({ engine: () => engine, requests, storage, log, maxBodyBytes: settings.maxBodyBytes });
  const { trustedProxies } = settings;
  const serveFiles = openFileRoute({ uploads, storage, log, gate, trustedProxies });
  const servePlatforms =
    platformDoor &&
    openPlatformRoute({
      ...{ door: platformDoor, gate, log, settings },
      ask: (query) => requests.runAsServer(query, 'platforms'),
    });
  const route = openRoute({ serving, settings, verify, log, heartbeat, uploads });
  const ask = (query: QueryConfig) => requests.runAsServer(query, 'downloads');
  const download = openExport && openDownloads({ ask, open: openExport, gate, trustedProxies });

  async function handle(exchange: Exchange, path: string): Promise<Reply | undefined> {
    const { request, response, id } = exchange;
    response.setHeader('x-request-id', id);
    for (const [name, value] of corsHeaders(request, settings.corsOrigins)) response.setHeader(name, value);
    if (path === '/health') return json(200, { status: 'ok', uptime: Math.round(process.uptime()) });
    if (path === '/ready') return json(...(await readiness()));
    if (path === '/metrics') return admin.prometheus(request);
    if (path === '/admin/db_metrics') return admin.dbMetrics(request, id);
    if (path === '/') return { status: 302, headers: { location: '/graphql' }, body: '' };
    if (path.startsWith('/files/')) return serveFiles(exchange, path);
    if (servePlatforms && path.startsWith('/webhooks/')) return servePlatforms(exchange, path);
    if (download && path.startsWith(downloadPath)) return download(exchange, path);
    if (path !== '/graphql') return refuse(404, 'NOT_FOUND', `There is nothing at ${path}; GraphQL is at /graphql.`);
    return route.handle(exchange);
  }

  server.on('request', (request, response) => {
    const started = performance.now();
    const id = requestId(request);
    const path = pathOf(request);
    const takesLong = isMultipart(request) ? path === '/graphql' : request.method === 'PUT' && isUploadPath(path);
    if (!takesLong) endSlowBody(request, response);
    const span = tracer?.request(request);
    handle({ request, response, id, span }, path)
      .catch((error): Reply | undefined => {
        unforeseen(error, id);
        return refuse(500, 'INTERNAL', 'Something went wrong on our side.');
      })
      .then((reply) => {
        // Nobody is there to be answered, or a stream has begun.
        if (!reply) return span?.end();
        const { status, headers, body } = reply;
        response.writeHead(status, {
          ...headers,
          ...(status !== 304 && { 'content-length': Buffer.byteLength(body) }),
        });
        response.end(body);
        const seconds = (performance.now() - started) / 1000;
        metrics?.answered(routes.has(path) ? path : 'other', status, seconds);
        figures.answered(status, seconds);
        span?.note({ 'http.response.status_code': status });
        span?.end(status >= 500 ? status : undefined);
      })
      // A stream that had begun: there is no other way to tell it.
      .catch(() => response.destroy());
  });
  server.on('upgrade', (request, stream, head) => {
    if (pathOf(request) === '/graphql') return route.upgrade(request, stream, head);
    return turnAway(stream, '404 Not Found');
  });
  server.maxConnections = settings.maxConnections;
  // Behind proxies all come from theirs: they say whose a connection is only once it asks, and bound what is silent.
  if (settings.trustedProxies === 0) {
    const takePlace = openPlaces(settings.maxConnectionsPerAddress);
    server.on('connection', (socket) => {
      const leavePlace = takePlace(countedAddress(plainAddress(socket.remoteAddress)));
      if (leavePlace) socket.on('close', leavePlace);
      else socket.destroy();
    });
  }
  keep({
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      figures.close();
      subscriptions.close();
      route.close();
      server.closeIdleConnections();
      // What is being answered may finish; connections kept open for later requests may not hold the end up.
      setTimeout(() => server.closeAllConnections(), 5000).unref();
      await closed;
    },
  });
  server.listen(settings.port, settings.host);
  await once(server, 'listening');
  server.on('error', (error) => log.warn({ error: error.message }, 'A connection could not be taken.'));
  const { port } = server.address() as AddressInfo;
  return `http://${settings.host}:${port}/`;
}

/** Ends the connection of a client that does not send the rest of its request. */
function endSlowBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined) return;
  const timer = setTimeout(() => {
    if (request.complete) return;
    if (!response.headersSent) request.socket.write('HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n');
    request.socket.destroySoon();
  }, bodyTimeout).unref();
  request.once('close', () => clearTimeout(timer)).once('end', () => clearTimeout(timer));
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0] as string;
}

/** The id that the client gave, if it is a plain one, else a new one. */
function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,100}$/.test(given) ? given : randomUUID();
}
