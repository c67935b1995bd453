import t from 'tap';
import { memoryStore } from '../../functions/cache-memory.ts';
import { followLog } from '../../functions/event-log.ts';
import { openBreaker } from '../../functions/policies.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { openWorld } from '../world.ts';
import { until } from './listen.ts';

// The machine's clock may be set back while everything runs.

const { now } = Date;
const anHour = 3_600_000;
t.afterEach(() => {
  Date.now = now;
});
const setBack = (): void => {
  Date.now = () => now() - anHour;
};

t.test('C14 what is cached ends in its time', async (t) => {
  const { get, set } = memoryStore({ mostEntries: 10, mostBytes: 1000 });
  await set('key', 'value', 3000);
  t.equal(await get('key'), 'value');
  setBack();
  await until(async () => (await get('key')) === undefined, 'The end of what is cached');
});

t.test('E1 a breaker lets through again in its time', async (t) => {
  const breaker = openBreaker('the service', { warn() {} }, { failures: 1, openFor: 3000 });
  await t.rejects(
    breaker.run(() => Promise.reject(new Error('away'))),
    /away/,
  );
  setBack();
  await t.rejects(
    breaker.run(async () => 'asked'),
    /not asked for a while/,
  );
  await until(() => !breaker.isShut(), 'The end of the pause');
  t.equal(await breaker.run(async () => 'back'), 'back');
  t.match(breaker.state(), { state: 'closed', failures: 0, opened: 1 });
});

t.test('C13 another follows the log for all when the one that did is gone', async (t) => {
  const { databaseUrl, owner, proxy } = await openWorld(t);
  const url = await serverUrl(databaseUrl);
  const follower = await followLog(
    url,
    (query) => owner.query(query),
    { warn() {} },
    () => {},
  );
  t.teardown(follower.close);
  /** The process of Postgres that holds the lock of the one that leads. */
  const leader = async (): Promise<number | undefined> => {
    const { rows } = await owner.query<{ pid: number }>(
      `select pid from pg_locks join pg_database on pg_database.oid = database
       where locktype = 'advisory' and (classid, objid) = (7546, 1) and datname = current_database() and granted`,
    );
    return rows[0]?.pid;
  };
  await until(async () => (await leader()) !== undefined, 'A leader');
  const first = await leader();
  setBack();
  proxy.cut();
  await until(async () => ![first, undefined].includes(await leader()), 'Another leader');
});
