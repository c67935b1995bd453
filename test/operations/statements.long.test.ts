import { readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import t from 'tap';
import { applySchema } from '../../functions/apply.ts';
import { readCatalog } from '../../functions/catalog.ts';
import { startEmbedded } from '../../functions/embedded.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { openScratch, query } from '../scratch-database.ts';
import { createWithSchema, openWorld, schemaFile } from '../world.ts';

// The embedded Postgres, whatever the other tests run on: it has loaded pg_stat_statements.
const dataDirectory = path.join(temporaryFolder(t), 'data');
const { url, stop } = await startEmbedded({ dataDirectory, log() {}, flags: ['-c', 'fsync=off'] });
process.env.TEST_DATABASE_URL = url;
t.teardown(stop);

/** Applies schema.sql to a database as someone who is no superuser: they own the database and may make roles. */
async function applyAsPlainOwner(): Promise<string> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await admin.query("create role landlord login createrole password 'secret'");
  await admin.query('create database rented owner landlord');
  await admin.end();
  const rented = new URL(url);
  Object.assign(rented, { username: 'landlord', password: 'secret', pathname: '/rented' });
  const client = new pg.Client({ connectionString: rented.href });
  await client.connect();
  await applySchema(client, readFileSync(schemaFile, 'utf8'), 'schema.sql').finally(() => client.end());
  return rented.href;
}

// First of all: the roles are the cluster's, and a superuser who comes later grants what is missing.
const rented = await applyAsPlainOwner();
const unseen = await healthOf(rented);
const { owner, ask, person } = await openWorld(t);
const operator = await person('operator', { operator: true });

async function healthOf(databaseUrl: string): Promise<{ name: string; verdict: string; remedy: string | null }[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  return (await client.query('select * from operations.health()').finally(() => client.end())).rows;
}

t.test('T8 who is no superuser applies the schema, and health says what it cannot see', async (t) => {
  const unknown = unseen.filter(({ verdict }) => verdict === 'unknown').map(({ name, remedy }) => ({ name, remedy }));
  const grant = /^As a superuser: .*grant pg_monitor to plinth_owner/;
  t.match(unknown, [
    { name: 'connections used', remedy: grant },
    { name: 'slow queries', remedy: 'As a superuser: create extension pg_stat_statements;' },
    { name: 'lag of a replica', remedy: grant },
    { name: 'longest idle in transaction', remedy: grant },
    { name: 'longest transaction', remedy: grant },
    { name: 'longest wait for a lock', remedy: grant },
  ]);
  const seen = await healthOf(rented);
  const stillUnknown = seen.filter(({ verdict }) => verdict === 'unknown');
  t.match(
    stillUnknown,
    [{ name: 'slow queries', remedy: /create extension/ }],
    'once a superuser has granted it, all of it',
  );
});

t.test('T8 slow queries are seen with what they cost, and without any value in them', async (t) => {
  await owner.query("select pg_sleep(1.05), 'a secret word' as said, 4111111111111111 as card");
  await owner.query("alter role plinth_owner valid until '2100-01-01'");
  const { data, errors } = await ask(
    '{ slowQueries { query queryId role calls totalMilliseconds maxMilliseconds rows } }',
    {},
    operator.token,
  );
  t.equal(errors, undefined);
  const text = 'select pg_sleep($1), $2 as said, $3 as card';
  const slow = data.slowQueries.find(({ query }: { query: string }) => query === text);
  t.match(slow, { calls: '1', rows: '1', queryId: /^-?\d+$/ });
  t.ok(Number(slow?.maxMilliseconds) >= 1000);
  const all = await ask('{ slowQueries(slowMilliseconds: 0) { query } }', {}, operator.token);
  t.ok(all.data.slowQueries.length > 5, 'all that ran');
  t.notMatch(JSON.stringify(all), /secret|4111111|2100/);
});

t.test('E4 all queries: how many, how many were slow, how long they took, and whether too many were', async (t) => {
  const asked =
    '{ queryTotals { since totalQueries slowQueries totalMilliseconds averageMilliseconds slowPercent isFlagged } }';
  const { queryTotals } = (await ask(asked, {}, operator.token)).data;
  t.ok(Number(queryTotals.totalQueries) > 5);
  t.ok(Number(queryTotals.slowQueries) >= 1);
  t.ok(Number(queryTotals.totalMilliseconds) > 1000);
  t.equal(queryTotals.isFlagged, Number(queryTotals.slowPercent) > 1);
  const all = await ask('{ queryTotals(slowMilliseconds: 0) { totalQueries slowQueries } }', {}, operator.token);
  t.equal(all.data.queryTotals.slowQueries, all.data.queryTotals.totalQueries);

  // A database in which nothing else runs, and whoever asks is not counted: on a busy machine anything may be slow.
  const scratch = await openScratch();
  const connectionString = await createWithSchema(scratch);
  const asking = new pg.Client({ connectionString, options: '-c pg_stat_statements.track=none' });
  await asking.connect();
  t.teardown(() => asking.end().then(scratch.close));
  const totals = async (slow: number) =>
    (await asking.query('select * from operations.query_totals($1)', [slow])).rows[0];
  t.has(await totals(1000), { total_queries: '0', slow_queries: '0', is_flagged: false });
  for (let count = 0; count < 5; count++) await query(connectionString, 'select pg_sleep(0.03)');
  t.has(await totals(20), { total_queries: '5', slow_queries: '5', slow_percent: '100.00', is_flagged: true });
  t.has(await totals(600_000), { total_queries: '5', slow_queries: '0', slow_percent: '0.00', is_flagged: false });
  const { slow_queries: slow } = await totals(1000);
  const { rows } = await asking.query("select verdict, detail from operations.health() where name = 'slow queries'");
  t.match(rows, [{ verdict: slow === '0' ? 'ok' : 'critical', detail: new RegExp(`^${slow} of 5,`) }]);
});

t.test('what Postgres keeps whole, since it does not plan it, is shown without what stands in it', async (t) => {
  const shown = async (query: string) =>
    (await owner.query('select operations._without_values($1) as text', [query])).rows[0].text;
  t.equal(await shown("alter role plinth_server password 'secret'"), 'alter role …');
  t.equal(await shown("/* secret */ create user x password 'secret'"), ' …');
  t.equal(await shown("select a1 from t where b = 'secret' and c = 5"), "select a1 from t where b = '…");
  t.equal(await shown('select a1 from t where c = 4.5e3 and d = $12'), 'select a1 from t where c = … and d = $12');
  t.equal(await shown('select $tag$secret$tag$'), "select '…");
});

t.test('what belongs to the extension is not API, though anyone may read it', async (t) => {
  await owner.query('grant select on public.pg_stat_statements to public');
  const client = await owner.connect();
  t.teardown(() => client.release());
  const { tables } = await readCatalog(client);
  t.ok(tables.some(({ name }) => name === 'messages'));
  t.notOk(tables.some(({ name }) => /pg_stat/.test(name)));
});
