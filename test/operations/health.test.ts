import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import t from 'tap';
import { until } from '../events/listen.ts';
import { openWorld } from '../world.ts';

type Check = { name: string; value: string | null; verdict: string; detail: string | null; remedy: string | null };

const { owner, ask, person, service, databaseUrl } = await openWorld(t);
const [operator, member] = [await person('operator', { operator: true }), await person('member')];

async function checked(name: string, on: pg.Pool | pg.Client = owner): Promise<Check | undefined> {
  return (await on.query('select * from operations.health() where name = $1', [name])).rows[0];
}

/** A connection of its own, closed when the test ends. */
async function connection(t: { teardown(work: () => Promise<void>): void }, name: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: name });
  client.on('error', () => {});
  await client.connect();
  t.teardown(() => client.end().catch(() => {}));
  return client;
}

/** Runs in a transaction that leaves nothing behind. */
async function undone(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await owner.connect();
  try {
    await client.query('begin');
    await work(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

t.test('T8 D10 health looks at everything that has a threshold, and tells what to do where it is not ok', async (t) => {
  const { rows } = await owner.query<Check>('select * from operations.health()');
  const { rows: thresholds } = await owner.query('select name from operations.health_thresholds order by 1');
  t.strictSame(
    rows.map(({ name }) => name).sort(),
    thresholds.map(({ name }) => name),
  );
  const { rows: measured } = await owner.query('select name from operations._measured() order by 1');
  t.strictSame(measured, thresholds, 'and nothing is measured in vain');
  for (const { name, verdict, remedy } of rows) t.equal(remedy === null, verdict === 'ok', name);
  const order = ['critical', 'warn', 'unknown', 'ok'];
  const places = rows.map(({ verdict }) => order.indexOf(verdict));
  t.strictSame(places, places.toSorted(), 'the worst first');
});

t.test('T8 our own schema has no index too many and none too few', async (t) => {
  const { rows } = await owner.query("select * from operations.index_usage() where finding <> 'unused'");
  t.strictSame(rows, []);
});

t.test('operators and services read it over GraphQL, members do not', async (t) => {
  const query = `{
    health { name area value unit threshold verdict detail remedy }
    tableSizes{ schema name rows totalBytes partitions cacheHitPercent }
    indexUsage{ name scans finding }
    longTransactions(seconds: 0) { pid }
    blockedSessions { pid }
    databaseConnections { role application state connections }
    headroom { kind usedPercent }
    replication { name }
    bloat { name }
  }`;
  for (const token of [operator.token, await service()]) {
    const { data, errors } = await ask(query, {}, token);
    t.equal(errors, undefined);
    t.ok(data.health.length > 20);
    t.match(data.tableSizes[0], { schema: String, totalBytes: /^\d+$/ });
  }
  for (const token of [member.token, undefined]) {
    for (const field of ['health { name }', 'slowQueries { query }', 'tableSizes { name }'])
      t.match(await ask(`{ ${field} }`, {}, token), { errors: [{ extensions: { code: 'FORBIDDEN' } }] });
  }
});

t.test('a DBA moves a threshold, and what is not to be looked at is taken out', (t) =>
  undone(async (client) => {
    const set = (warn: number | null, critical: number | null) =>
      client.query("update operations.health_thresholds set warn = $1, critical = $2 where name = 'connections used'", [
        warn,
        critical,
      ]);
    const verdict = async () =>
      (await client.query("select verdict from operations.health() where name = 'connections used'")).rows[0]?.verdict;
    await set(0, 1000);
    t.equal(await verdict(), 'warn');
    await set(0, 0);
    t.equal(await verdict(), 'critical');
    await set(null, null);
    t.equal(await verdict(), 'ok');
    await client.query("delete from operations.health_thresholds where name = 'connections used'");
    t.equal(await verdict(), undefined);
  }),
);

t.test('indexes that are invalid, duplicate or missing are named', (t) =>
  undone(async (client) => {
    await client.query(`
      create table chat.notes (id integer primary key, channel_id uuid references chat.channels (id), a integer, b integer);
      create index notes_a_b_idx on chat.notes (a, b);
      create index notes_a_b_idx2 on chat.notes (a, b);
      create index notes_a_idx on chat.notes (a);
      create index notes_b_idx on chat.notes (b);
      create unique index notes_a_key on chat.notes (a);
      update pg_index set indisvalid = false where indexrelid = 'chat.notes_b_idx'::regclass`);
    const { rows } = await client.query(
      "select name, columns, finding, detail from operations.index_usage() where table_name = 'notes' and finding <> 'unused' order by 1",
    );
    t.strictSame(rows, [
      { name: 'notes_a_b_idx2', columns: 'a, b', finding: 'duplicate', detail: 'notes_a_b_idx' },
      { name: 'notes_a_idx', columns: 'a', finding: 'duplicate', detail: 'notes_a_b_idx' },
      { name: 'notes_b_idx', columns: 'b', finding: 'invalid', detail: null },
      { name: null, columns: 'channel_id', finding: 'missing', detail: 'notes_channel_id_fkey' },
    ]);
    const found = await client.query(
      "select name, value, detail from operations.health() where area = 'indexes' order by 1",
    );
    t.match(found.rows, [
      { name: 'duplicate indexes', value: '2', detail: /notes_a_idx/ },
      { name: 'foreign keys without an index', value: '1', detail: 'chat.notes_channel_id_fkey' },
      { name: 'invalid indexes', value: '1', detail: 'chat.notes_b_idx' },
    ]);
  }),
);

t.test('who waits for a lock and who holds it, without a word of what they say', async (t) => {
  const [holder, waiter] = [await connection(t, 'holder'), await connection(t, 'waiter')];
  await holder.query("begin; update identity.users set bio = 'a secret word' where username = 'member'");
  const waiting = waiter.query("update identity.users set bio = 'another secret' where username = 'member'");
  const blocked = async () => (await owner.query('select * from operations.blocked_sessions()')).rows;
  while ((await blocked()).length === 0) await sleep(20);
  t.match(await blocked(), [
    { application: 'waiter', lock: /Lock$/, blocking_application: 'holder', blocking_state: 'idle in transaction' },
  ]);
  // Others are at work on this cluster at this moment, too.
  const open = await owner.query(
    "select * from operations.long_transactions(0) where application in ('holder', 'waiter') order by application",
  );
  t.match(open.rows, [
    { application: 'holder', state: 'idle in transaction' },
    { application: 'waiter', state: 'active', wait: /^Lock/ },
  ]);
  t.match(await checked('longest wait for a lock'), { detail: /^pid \d+ waits for pid \d+$/ });
  // Of the whole cluster: another test's may have been idle for longer, and ends.
  await until(async () => /holder/.test((await checked('longest idle in transaction'))?.detail ?? ''), 'The holder');
  const everything = await ask(
    `{ blockedSessions { nodes { pid role application queryId lock relation blockingState } }
       longTransactions(seconds: 0) { pid role application state wait queryId }
       databaseConnections { application state } health { detail } }`,
    {},
    operator.token,
  );
  t.notMatch(JSON.stringify(everything), /secret/);
  await holder.query('rollback');
  await waiting;
  t.strictSame(await blocked(), []);
});

t.test('C16 partitions that are missing ahead, and days of the log that upkeep left', async (t) => {
  t.match(await checked('days of the log missing ahead'), { value: '0', verdict: 'ok' });
  await undone(async (client) => {
    const { rows } = await client.query(
      "select to_char(now() at time zone 'UTC' + interval '1 day', 'YYYY_MM_DD') as day",
    );
    await client.query(`drop table events.log_channel_${rows[0].day}`);
    await client.query("select events._ensure_partition('search', now() - interval '20 days')");
    await client.query(`
      do $$ begin
        execute format('drop table chat.messages_%s', to_char(now() at time zone 'UTC' + interval '2 months', 'YYYY_MM'));
      end $$`);
    const found = await client.query<Check>('select * from operations.health()');
    const byName = new Map(found.rows.map((each) => [each.name, each]));
    t.match(byName.get('days of the log missing ahead'), { verdict: 'warn', detail: `log_channel_${rows[0].day}` });
    t.match(byName.get('days of the log overdue'), { value: '19', verdict: 'critical', detail: /^log_search_/ });
    t.match(byName.get('months of messages ahead'), { value: '1', verdict: 'warn' });
  });
});

t.test('a sequence that runs out', async (t) => {
  await undone(async (client) => {
    await client.query(
      "set local role plinth_owner; create sequence chat.notes_seq maxvalue 100; select setval('chat.notes_seq', 95); reset role",
    );
    const { rows } = await client.query("select * from operations.health() where name = 'sequence used'");
    t.match(rows, [{ value: '95.00', verdict: 'critical', detail: 'chat.notes_seq' }]);
  });
});

t.test('bloat is estimated from the statistics', async (t) => {
  await owner.query(`
    create table chat.ledger (id integer, text text) with (autovacuum_enabled = off);
    insert into chat.ledger select n, repeat('x', 200) from generate_series(1, 50000) as n;
    analyze chat.ledger;
    alter table chat.ledger owner to plinth_owner`);
  const bloat = async () =>
    (await owner.query("select bloat_percent from operations.bloat() where name = 'ledger'")).rows[0]?.bloat_percent;
  t.ok(Number(await bloat()) < 10, 'a table as it was filled has little');
  await owner.query('delete from chat.ledger where id % 4 <> 0');
  await owner.query('vacuum analyze chat.ledger');
  t.ok(Number(await bloat()) > 60, 'and much once three of four rows are gone');
  await owner.query('drop table chat.ledger');
});

t.test('what a right or a library is missing for is unknown, with a remedy, and fails nothing', async (t) => {
  await undone(async (client) => {
    await client.query('revoke pg_monitor from plinth_owner');
    const { rows } = await client.query<Check>("select * from operations.health() where verdict = 'unknown'");
    t.ok(rows.length >= 4);
    for (const { name, value, remedy } of rows) {
      t.equal(value, null, name);
      t.match(remedy, /grant pg_monitor to plinth_owner|pg_stat_statements/);
    }
  });
  const { rows } = await owner.query("select current_setting('pg_stat_statements.max', true) as loaded");
  if (rows[0].loaded !== null) return;
  t.match(await checked('slow queries'), { verdict: 'unknown', remedy: /shared_preload_libraries/ });
  t.match(await ask('{ queryTotals { totalQueries } }', {}, operator.token), {
    errors: [{ message: 'Postgres does not tell of statements.', extensions: { code: 'CONFLICT', hint: /preload/ } }],
  });
});
