import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { QueryConfig } from 'pg';
import type { Logger } from 'pino';
import { openCache } from '../functions/cache.ts';
import { followLog, type LogFollower } from '../functions/event-log.ts';
import { rulesTopic } from '../functions/gate.ts';
import { openQueryTimes, type QueryTimes } from '../functions/query-times.ts';
import { openReplica } from '../functions/replica.ts';
import { openRequests } from '../functions/requests.ts';
import { replicaUrl, serverUrl } from '../functions/server-role.ts';
import type { Settings } from '../functions/settings.ts';
import type { SigningKey } from '../functions/signing-keys.ts';
import type { Span } from '../functions/span.ts';
import { openTokens } from '../functions/tokens.ts';
import { openAdmin } from './admin.ts';
import { openAnswers } from './answers.ts';
import { collectBackups } from './backup-metrics.ts';
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
import { loadReporter } from './error-reporter.ts';
import { unforeseenTo } from './errors.ts';
import type { Deliver, Engine } from './execute.ts';
import { type Gate, openGate } from './gate.ts';
import { openReadiness } from './health.ts';
import { collectHealth } from './health-metrics.ts';
import { collectJobs } from './job-metrics.ts';
import { followDatabase } from './live.ts';
import { type Collector, openMetrics } from './metrics.ts';
import { type Operation, openOperations } from './operations.ts';
import { openRequestFigures } from './request-figures.ts';
import { json, openRoute, refuse, type Sent } from './route.ts';
import { openSubscriptions } from './subscriptions.ts';
import { readTrustedDocuments } from './trusted.ts';
import { turnAway } from './websocket.ts';

export type Server = { url: string; close(): Promise<void> };

// What answers are counted by: never by what clients write.
const routes = new Set(['/', '/graphql', '/health', '/ready', '/metrics', '/admin/db_metrics']);

// A client has 15 s to send a request; proxies keep connections for a minute, so ours are kept a little longer.
const timeouts = {
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  connectionsCheckingInterval: 5000,
  keepAliveTimeout: 65_000,
};

/**
 * Serves the API of a database: GraphQL at /graphql, the health of the process at /health and of all at /ready.
 *
 * @param databaseUrl the owner's connection; the server logs in as plinth_server.
 * @param collectors what else /metrics tells, such as of jobs.
 * @param heartbeat how often a quiet connection is written to, in milliseconds; proxies cut them after a minute, some after 20 s.
 * @param deliver sends the texts and mails that functions ask for.
 * @throws Refusal where the database does not let it in, or the catalog cannot be served.
 */
export async function startServer({
  settings,
  keys,
  databaseUrl,
  log,
  deliver,
  collectors = [],
  heartbeat = 12_000,
}: {
  settings: Settings;
  keys: SigningKey[];
  databaseUrl: string;
  log: Logger;
  deliver: Deliver;
  collectors?: Collector[];
  heartbeat?: number;
}): Promise<Server> {
  const url = settings.serverDatabaseUrl ?? (await serverUrl(databaseUrl));
  const tokens = openTokens(keys);
  const trusted = readTrustedDocuments(settings.trustedDocuments, settings.trustedDocumentsOnly);
  const unforeseen = unforeseenTo(log, await loadReporter(settings.errorReporter, log));
  const tracer = settings.otelExporterOtlpEndpoint
    ? (await import('./tracing.ts')).openTracer(settings.otelExporterOtlpEndpoint, settings.otelServiceName)
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
  const cache = await openCache(settings, log);
  const { poolSize: size, readDatabaseUrl, readMaxLagMs } = settings;
  const openThere = (there: string) => openRequests(there, { size, log, times });
  const replica = readDatabaseUrl
    ? openReplica(url, replicaUrl(readDatabaseUrl, url), readMaxLagMs, openThere, log)
    : undefined;
  const requests = openRequests(url, { size, log, times, replica });
  let engine: Engine;
  let operations: (text: string, name: string | undefined) => Operation;
  let eventLog: LogFollower;
  let gate: Gate | undefined;
  const answers = openAnswers(await openCache({}, log), () => eventLog.state().lastRead < 2);
  const subscriptions = openSubscriptions(
    () => engine,
    () => eventLog,
    settings,
    replica?.wrote,
  );
  const live = await followDatabase(url, log, ({ catalog, schema }) => {
    requests.setTimeouts(catalog.statementTimeouts);
    operations = openOperations(schema, settings);
    engine = {
      maxAnswerBytes: settings.maxAnswerBytes,
      schema,
      errorCodes: catalog.errorCodes,
      requests,
      sign: tokens.sign,
      deliver,
      unforeseen,
      signal: (signals) => eventLog.signal(signals),
    };
    subscriptions.changed();
    answers.changed();
  }).catch(async (error) => {
    await Promise.all([requests.close(), cache.close()]);
    throw error;
  });
  const run = (query: QueryConfig) => requests.runAsServer(query, 'listeners');
  eventLog = await followLog(url, run, log, (given) => {
    if ('events' in given) {
      answers.happened(given.events);
      if (given.events.some(({ topic }) => topic === rulesTopic)) void gate?.changed();
    }
    subscriptions.take(given);
  }).catch(async (error) => {
    await Promise.all([live.close(), requests.close(), cache.close()]);
    throw error;
  });
  // After the log: what changes from now on is heard.
  gate = await openGate({
    pool: requests.pool,
    cache,
    processes: () => eventLog.state().processes,
    closed: subscriptions.changed,
    log,
  }).catch(async (error) => {
    await Promise.all([live.close(), eventLog.close(), requests.close(), cache.close()]);
    throw error;
  });

  const metrics = settings.metrics
    ? openMetrics([
        collectQueries(requests.connections, times),
        collectEvents(eventLog.state, subscriptions),
        collectCache(cache.state),
        collectGate(gate.state),
        collectNetwork(server),
        collectMachine(settings.plinthData),
        collectHealth(requests),
        collectJobs(requests),
        collectBackups(requests),
        collectReplica(replica?.state),
        ...collectors,
      ])
    : undefined;
  const readiness = openReadiness(
    requests,
    replica?.state,
    live,
    () => {
      const { deliveries, cutOff } = subscriptions.totals();
      return { ...eventLog.state(), subscribers: subscriptions.count(), deliveries, cutOff };
    },
    cache.state,
  );
  const figures = openRequestFigures(requests);
  const { slowQueryMs, metricsToken } = settings;
  const admin = openAdmin({ verify: tokens.verify, requests, times, metrics, slowQueryMs, metricsToken });
  const route = openRoute({ engine: () => engine, operations: (text, name) => operations(text, name) }, subscriptions, {
    settings,
    verify: tokens.verify,
    trusted,
    log,
    metrics,
    heartbeat,
    gate,
    answers,
  });

  async function handle(
    request: IncomingMessage,
    response: ServerResponse,
    id: string,
    path: string,
    span: Span | undefined,
  ): Promise<Sent | undefined> {
    response.setHeader('x-request-id', id);
    for (const [name, value] of corsHeaders(request, settings.corsOrigins)) response.setHeader(name, value);
    if (path === '/health') return json(200, { status: 'ok', uptime: Math.round(process.uptime()) });
    if (path === '/ready') return json(...(await readiness()));
    if (path === '/metrics') return admin.prometheus(request);
    if (path === '/admin/db_metrics') return admin.dbMetrics(request, id);
    if (path === '/') return { status: 302, headers: { location: '/graphql' }, body: '' };
    if (path !== '/graphql') return refuse(404, 'NOT_FOUND', `There is nothing at ${path}; GraphQL is at /graphql.`);
    return route.handle(request, response, id, span);
  }

  server.on('request', (request, response) => {
    const started = performance.now();
    const id = requestId(request);
    const path = pathOf(request);
    const span = tracer?.request(request);
    handle(request, response, id, path, span)
      .catch((error): Sent | undefined => {
        unforeseen(error, id);
        return refuse(500, 'INTERNAL', 'Something went wrong on our side.');
      })
      .then((sent) => {
        // Nobody is there to be answered, or a stream has begun.
        if (!sent) return span?.end();
        const { status, headers, body } = sent;
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(settings.port, settings.host, resolve);
  }).catch(async (error) => {
    await Promise.all([live.close(), eventLog.close(), requests.close(), cache.close()]);
    throw error;
  });
  const { port } = server.address() as { port: number };
  return {
    url: `http://${settings.host}:${port}/`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      figures.close();
      subscriptions.close();
      route.close();
      server.closeIdleConnections();
      // What is being answered may finish; connections kept open for later requests may not hold the end up.
      setTimeout(() => server.closeAllConnections(), 5000).unref();
      await closed;
      gate.close();
      await live.close();
      await eventLog.close();
      await requests.close();
      await cache.close();
      await tracer?.close();
    },
  };
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0] as string;
}

/** The id that the client gave, if it is a plain one, else a new one. */
function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,100}$/.test(given) ? given : randomUUID();
}
