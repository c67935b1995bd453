import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { listen } from '../events/listen.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { openWorld, schemaWith, type World } from '../world.ts';

const sleepy = schemaWith('things', 'sleep');

async function scrape({ server }: World, headers: Record<string, string> = {}): Promise<string> {
  return (await fetch(`${server.url}metrics`, { headers })).text();
}

/** The value of a sample, such as `name{label="value"}`. */
function sample(text: string, name: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}

t.test('C18 D10 /metrics tells Prometheus what the server does', async (t) => {
  const world = await openWorld(t, { env: { PLINTH_DATA: temporaryFolder(t) } });
  const alice = await world.person('alice');
  const before = await scrape(world);
  const rise = async (name: string) => (sample(await scrape(world), name) ?? 0) - (sample(before, name) ?? 0);

  t.test('requests by route and status, operations by kind and outcome, round trips', async (t) => {
    await world.ask('{ users { nodes { username } } }', {}, alice.token);
    await world.ask('{ channels { nodes { id } } }');
    await world.ask('{ nonsense }');
    await world.ask('mutation { createRoom(input: { name: "Harbour" }) { channel { id } } }', {}, alice.token);
    await (await fetch(`${world.server.url}nowhere/${alice.id}`)).text();
    t.equal(await rise('plinth_http_request_duration_seconds_count{route="/graphql",status="200"}'), 4);
    t.equal(await rise('plinth_http_request_duration_seconds_count{route="other",status="404"}'), 1);
    t.equal(await rise('plinth_graphql_operations_total{kind="query",outcome="OK"}'), 1);
    t.equal(await rise('plinth_graphql_operations_total{kind="query",outcome="FORBIDDEN"}'), 1);
    t.equal(await rise('plinth_graphql_operations_total{kind="none",outcome="BAD_REQUEST"}'), 1);
    t.equal(await rise('plinth_graphql_operations_total{kind="mutation",outcome="OK"}'), 1);
    t.ok((await rise('plinth_postgres_round_trip_duration_seconds_count')) >= 3);
    t.ok((await rise('plinth_graphql_rows_total')) >= 1);
    t.ok((await rise('plinth_network_received_bytes_total')) > 500);
    t.notMatch(await scrape(world), new RegExp(alice.id), 'and nothing that a client wrote');
  });

  t.test('subscriptions and the event log, in /ready as well', async (t) => {
    const ear = listen(t, world.server.url, {
      query: 'subscription ($after: String!) { userEvents(after: $after) { event { type } } }',
      variables: { after: (await world.ask('{ cursor }')).data.cursor },
      token: alice.token,
    });
    await world.ask('mutation { createRoom(input: { name: "Other" }) { channel { id } } }', {}, alice.token);
    await ear.next();
    const text = await scrape(world);
    t.equal(sample(text, 'plinth_subscribers'), 1);
    t.equal(await rise('plinth_event_deliveries_total'), 1);
    t.ok((await rise('plinth_events_total')) >= 1);
    t.equal(sample(text, 'plinth_event_log_leader'), 1);
    t.equal(sample(text, 'plinth_event_log_connected'), 1);
    for (const name of [
      'plinth_event_log_lag_seconds',
      'plinth_oldest_transaction_seconds',
      'plinth_notify_queue_ratio',
    ])
      t.ok(Number.isFinite(sample(text, name)), name);
    const ready = await (await fetch(`${world.server.url}ready`)).json();
    t.match(ready, {
      events: { leader: true, subscribers: 1, deliveries: 1, cutOff: 0, lag: Number, notifyQueue: Number },
    });
  });

  t.test('the process, the disk, the pool and the health of the database', async (t) => {
    const text = await scrape(world);
    for (const name of [
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
      'nodejs_eventloop_lag_seconds',
      'plinth_machine_memory_free_bytes',
      'plinth_disk_size_bytes',
      'plinth_pool_connections',
      'plinth_pool_waiting_requests',
      'plinth_http_connections',
      'plinth_postgres_slow_queries_total',
    ])
      t.match(text, new RegExp(`^${name} [\\d.e+-]+$`, 'm'), name);
    t.equal(sample(text, 'plinth_database_up'), 1);
    t.equal(sample(text, 'plinth_health_verdict{check="invalid indexes",area="indexes"}'), 0);
    t.ok((sample(text, 'plinth_health_value{check="connections used",area="connections",unit="%"}') ?? 0) > 0);
  });
});

t.test('D10 that the database is not there is told as well', async (t) => {
  const world = await openWorld(t);
  world.proxy.cut();
  t.equal(sample(await scrape(world), 'plinth_database_up'), 0);
  world.proxy.mend();
  while (sample(await scrape(world), 'plinth_database_up') !== 1) await sleep(50);
  t.pass('and again that it is');
});

t.test('D10 E5 what is not known is not told: 0 would be an age', async (t) => {
  const ages = ['plinth_backup_recovery_point_seconds', 'plinth_backup_recovery_time_seconds', 'plinth_backup_bytes'];
  const world = await openWorld(t, { env: { PLINTH_DATA: '/nowhere' } });
  world.proxy.cut();
  const nothing = await scrape(world);
  t.equal(sample(nothing, 'plinth_backup_good'), undefined, 'nothing of backups without the database');
  t.equal(sample(nothing, 'plinth_disk_size_bytes'), undefined, 'nor of a disk without its folder');
  world.proxy.mend();
  while (sample(await scrape(world), 'plinth_database_up') !== 1) await sleep(50);
  const none = await scrape(world);
  t.equal(sample(none, 'plinth_backup_good'), 0, 'with it, that none is proven');
  for (const name of ages) t.equal(sample(none, name), undefined, name);
  t.equal(sample(none, 'plinth_jobs_waiting{task="backup"}'), 0);

  const proven = await openWorld(t);
  await proven.owner.query(`
    select operations.backup_started('first', 'portable', 'here', 'all');
    select operations.backup_finished('first', 1000, 10);
    select operations.backup_proven('first', 4.5);`);
  const known = await scrape(proven);
  t.equal(sample(known, 'plinth_backup_good'), 1);
  t.equal(sample(known, 'plinth_backup_bytes'), 1000);
  t.equal(sample(known, 'plinth_backup_recovery_time_seconds'), 4.5);
  t.ok(Number.isFinite(sample(known, 'plinth_backup_recovery_point_seconds')));
});

t.test('D10 who may read /metrics', async (t) => {
  const status = async (world: World, headers: Record<string, string> = {}) =>
    (await fetch(`${world.server.url}metrics`, { headers })).status;
  const token = 'a-token-of-some-length';
  const guarded = await openWorld(t, { env: { METRICS_TOKEN: token } });
  t.equal(await status(guarded), 401);
  t.equal(await status(guarded, { authorization: 'Bearer another' }), 401);
  t.equal(await status(guarded, { authorization: `Bearer ${token}` }), 200);
  t.equal(await status(await openWorld(t, { env: { METRICS: 'off' } })), 404);

  const production = { NODE_ENV: 'production', JWT_KEYS: `k1:${'A'.repeat(43)}` };
  t.equal(readSettings({}).metrics, true);
  t.equal(readSettings(production).metrics, false, 'in production nobody, unless');
  t.equal(readSettings({ ...production, METRICS_TOKEN: token }).metrics, true);
  t.equal(readSettings({ ...production, METRICS: 'on' }).metrics, true);
  t.throws(
    () => readSettings({ ...production, LOG_PARAMETERS: 'true' }),
    /LOG_PARAMETERS must not be true in production/,
  );
});

t.test('E4 what the server waits for Postgres is counted, and what is slow is logged', async (t) => {
  const world = await openWorld(t, { schema: sleepy, env: { SLOW_QUERY_MS: '200' } });
  const operator = await world.person('operator', { operator: true });
  const member = await world.person('member');
  const ask = async (token?: string) => {
    const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch(`${world.server.url}admin/db_metrics`, { headers });
    return { status: response.status, body: await response.json() };
  };
  const text = 'query Nap($for: Float!) { sleep(seconds: $for) }';
  await world.ask(text, { for: 0.25 });
  for (let count = 0; count < 9; count++) await world.ask(text, { for: 0.001 });

  t.test('for operators', async (t) => {
    const { status, body } = await ask(operator.token);
    t.equal(status, 200);
    // At least the long nap was slow, and on a busy machine others, too.
    const slow: number = body.db_metrics.slow_queries;
    t.ok(slow >= 1 && slow < 10, `${slow} were slow`);
    t.match(body.db_metrics, {
      slow_query_threshold: 0.2,
      is_flagged: true,
      total_queries: 10,
      slow_query_percentage: 10 * slow,
    });
    t.ok(body.db_metrics.total_time > 0.25 && body.db_metrics.avg_time > 0.025);
    t.match(body.operations[0], { operation: /^Nap [0-9a-f]{8}$/, queries: 10, slow_queries: slow });
    t.ok(body.operations[0].max_time > 0.25);
    t.ok('unavailable' in body.postgres ? body.postgres.remedy : body.postgres.totalQueries);
  });

  t.test('and for no one else', async (t) => {
    t.match(await ask(member.token), { status: 403, body: { errors: [{ extensions: { code: 'FORBIDDEN' } }] } });
    t.match(await ask(await world.service()), { status: 403 });
    t.match(await ask(), { status: 401, body: { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] } });
    t.match(await ask('forged'), { status: 401 });
    await world.owner.query('update identity.sessions set revoked_at = now() where user_id = $1', [operator.id]);
    t.match(await ask(operator.token), { status: 401, body: { errors: [{ message: 'The session has ended.' }] } });
  });

  t.test('each slow one with its SQL and its duration, and without its values', async (t) => {
    const slow = world.logged.filter(({ msg }) => msg === 'slow query');
    const [first] = slow;
    t.match(first, { operation: /^Nap /, role: 'anonymous', id: String, sql: [/sleep/], parameters: 'redacted' });
    t.ok(Number(first?.ms) >= 250);
    t.notMatch(JSON.stringify(slow), /0\.25/);
  });

  t.test('or with them, where LOG_PARAMETERS says so', async (t) => {
    const open = await openWorld(t, { schema: sleepy, env: { SLOW_QUERY_MS: '100', LOG_PARAMETERS: 'true' } });
    await open.ask(text, { for: 0.125 });
    t.match(
      open.logged.filter(({ msg }) => msg === 'slow query'),
      [{ parameters: [['0.125']] }],
    );
  });
});

/** A receiver of OTLP over HTTP; gives the spans that it was sent. */
async function openReceiver(t: { teardown(work: () => void): void }) {
  type Attribute = { key: string; value: { stringValue?: string; intValue?: number } };
  type Span = {
    name: string;
    traceId: string;
    spanId: string;
    parentSpanId?: string;
    attributes: Attribute[];
    status: { code?: number };
  };
  const spans: Span[] = [];
  const services: string[] = [];
  const receiver = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    for (const { resource, scopeSpans } of JSON.parse(body).resourceSpans) {
      services.push(resource.attributes.find(({ key }: Attribute) => key === 'service.name').value.stringValue);
      for (const scope of scopeSpans) spans.push(...scope.spans);
    }
    response.setHeader('content-type', 'application/json').end('{}');
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void receiver.close());
  return { url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`, spans, services };
}

t.test('D10 a trace of a request: the request, its operation, each round trip', async (t) => {
  const receiver = await openReceiver(t);
  const world = await openWorld(t, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_SERVICE_NAME: 'harbour' },
  });
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const query = async (text: string, traceparent: string, variables = {}) =>
    (
      await fetch(`${world.server.url}graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent },
        body: JSON.stringify({ query: text, variables }),
      })
    ).json();
  await query('{ me { id } }', `00-${traceId.replace('4', '5')}-00f067aa0ba902b7-00`);
  await query('query Me { me { username } }', `00-${traceId}-00f067aa0ba902b7-01`);
  await query('query Other($id: UUID!) { user(id: $id) { username } }', 'nonsense', { id: 'secret' });
  while (!receiver.spans.some(({ name }) => name === 'query Other')) await sleep(50);

  t.same(new Set(receiver.services), new Set(['harbour']));
  const [request, operation, postgres, ...more] = ['POST /graphql', 'query Me', 'postgres'].map((name) =>
    receiver.spans.find((span) => span.name === name && span.traceId === traceId),
  );
  t.same(more, []);
  t.equal(request?.parentSpanId, '00f067aa0ba902b7', 'within the one that the client named');
  t.equal(operation?.parentSpanId, request?.spanId);
  t.equal(postgres?.parentSpanId, operation?.spanId);
  t.match(postgres?.attributes, [
    { key: 'db.system.name', value: { stringValue: 'postgresql' } },
    { key: 'db.query.text', value: { stringValue: /^select/ } },
  ]);
  const others = receiver.spans.filter((span) => span.traceId !== traceId);
  t.equal(
    new Set(others.map((span) => span.traceId)).size,
    1,
    'who says not to be traced is not, a mistake begins anew',
  );
  t.notMatch(JSON.stringify(receiver.spans), /secret/, 'no values');
});

t.test('D10 a receiver of traces that is not there fails no request, and holds no end up', async (t) => {
  const world = await openWorld(t, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' } });
  t.match(await world.ask('{ me { username } }'), { data: { me: null } });
});

t.test('D10 errors that nobody foresaw are reported, and reporting fails no request', async (t) => {
  const module = path.join(temporaryFolder(t), 'reporter.mjs');
  writeFileSync(
    module,
    `globalThis.reported = [];
    export function report(error, { id }) {
      globalThis.reported.push({ message: error.message, id });
      throw new Error('the reporter is down');
    }`,
  );
  const schema = `${sleepy}
    create function things.fail() returns boolean language plpgsql stable set search_path = ''
    as $$ begin raise exception using errcode = 'XX000', message = 'inside'; end $$;
    grant execute on function things.fail to anonymous;`;
  const world = await openWorld(t, { schema, env: { ERROR_REPORTER: module } });
  const { errors } = await world.ask('{ fail }');
  t.match(errors, [{ message: 'Something went wrong on our side.', extensions: { code: 'INTERNAL', id: String } }]);
  const { reported } = globalThis as unknown as { reported: object[] };
  t.match(reported, [{ message: 'inside', id: errors?.[0]?.extensions?.id }]);
  await sleep(0);
  t.ok(
    world.logged.some(({ msg, error }) => msg === 'an error could not be reported' && error === 'the reporter is down'),
  );
  await world.ask('{ nonsense }');
  t.equal(reported.length, 1, 'what was foreseen is not');

  writeFileSync(module.replace('reporter', 'other'), 'export const nothing = 1');
  await t.rejects(
    openWorld(t, { env: { ERROR_REPORTER: module.replace('reporter', 'other') } }),
    /does not export report/,
  );
});
