import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

/** Adds metrics to a registry. What it does not count itself it reads when it is asked for (`collect`). */
export type Collector = (registry: Registry) => void;

/** What the server tells Prometheus. The first three are called with every request: they only count. */
export type Metrics = {
  /** @param route one of a few names, never what a client wrote. */
  answered(route: string, status: number, seconds: number): void;
  /** @param outcome OK, or the code of the first error. */
  executed(kind: string, outcome: string, rows: number): void;
  roundTrip(seconds: number): void;
  /** Everything, in the text format of Prometheus. */
  text(): Promise<string>;
};

const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Metrics of the process are of all its servers, and cannot be let go of. */
let ofProcess: Registry | undefined;

/** Opens the metrics of a server. docs/health.md lists them. */
export function openMetrics(collectors: Collector[]): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const http = new Histogram({
    name: 'plinth_http_request_duration_seconds',
    help: 'From a request to its answer. Streams are not in it.',
    labelNames: ['route', 'status'],
    buckets,
    registers,
  });
  const operations = new Counter({
    name: 'plinth_graphql_operations_total',
    help: 'GraphQL operations by kind and outcome: OK, or the code of the first error.',
    labelNames: ['kind', 'outcome'],
    registers,
  });
  const rows = new Counter({
    name: 'plinth_graphql_rows_total',
    help: 'Rows that Postgres read into answers.',
    registers,
  });
  const postgres = new Histogram({
    name: 'plinth_postgres_round_trip_duration_seconds',
    help: 'From the sending of statements to Postgres to its answer. A request is one round trip, rarely two.',
    buckets,
    registers,
  });
  for (const collect of collectors) collect(registry);
  if (!ofProcess) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
  }

  return {
    answered: (route, status, seconds) => http.observe({ route, status }, seconds),
    executed(kind, outcome, count) {
      operations.inc({ kind, outcome });
      rows.inc(count);
    },
    roundTrip: (seconds) => postgres.observe(seconds),
    text: async () => `${await registry.metrics()}\n${await ofProcess?.metrics()}`,
  };
}

export const metricsType = Registry.PROMETHEUS_CONTENT_TYPE;
