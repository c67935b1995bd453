import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { isBroken, openBreaker, openPolicies, patiences } from '../../functions/policies.ts';

type Logged = Record<string, unknown>;

function listening(): { logged: Logged[]; log: { warn(details: object, message: string): void } } {
  const logged: Logged[] = [];
  return { logged, log: { warn: (details, message) => void logged.push({ ...details, message }) } };
}

/** Work that fails so many times, and then gives its number of tries. */
function failing(times: number, error: object = {}) {
  let tries = 0;
  return async (): Promise<number> => {
    tries += 1;
    if (tries <= times) throw Object.assign(new Error(`failure ${tries}`), error);
    return tries;
  };
}

t.test('E3 the policies are those of the requirements', async (t) => {
  t.match(patiences, {
    db: { tries: 3, firstWait: 2000, longestWait: 10_000, raises: true },
    cache: { tries: 3, raises: false },
    api: { tries: 3, raises: true },
    apiClient: { tries: 3, firstWait: 2000, longestWait: 2000, factor: 1, raises: true },
    optional: { tries: 2, raises: false },
  });
});

t.test('E3 a policy tries again as often as it says, logs each retry, and raises or gives up quietly', async (t) => {
  const { log, logged } = listening();
  const policies = openPolicies(log);
  const lost = { code: '08006' };
  const [recovered, tolerated, quiet, raised, client] = await Promise.all([
    policies.db('a statement', failing(2, lost)),
    policies.optional('a picture', failing(2)),
    policies.cache('a key', failing(3)),
    policies.db('another statement', failing(3, lost)).catch((error: Error) => error.message),
    policies.apiClient('the neighbour', failing(2)),
  ]);
  t.equal(recovered, 3);
  t.equal(tolerated, undefined);
  t.equal(quiet, undefined);
  t.equal(raised, 'failure 3');
  t.equal(client, 3);
  const of = (what: string): Logged[] => logged.filter((each) => each.what === what);
  t.match(of('a statement'), [
    { policy: 'db', attempt: 1, error: 'failure 1' },
    { policy: 'db', attempt: 2, error: 'failure 2' },
  ]);
  t.match(
    of('the neighbour').map(({ wait }) => wait),
    [2000, 2000],
  );
  t.equal(of('a picture').length, 1);
  t.equal(of('a key').length, 2);
  for (const { wait } of [...of('a statement'), ...of('another statement')])
    t.ok((wait as number) >= 2000 && (wait as number) <= 10_000, `${wait}`);
});

t.test('E3 what no repetition can mend is not repeated', async (t) => {
  const { log, logged } = listening();
  const { db, api } = openPolicies(log);
  await t.rejects(db('a wrong statement', failing(1, { code: '42601' })), { message: 'failure 1' });
  await t.rejects(api('a refusal', failing(1, { permanent: true })), { message: 'failure 1' });
  t.strictSame(logged, []);
});

t.test('E3 who goes away while it is waited ends the waiting', async (t) => {
  const { api } = openPolicies(listening().log);
  const gone = new AbortController();
  const answer = api('a slow one', failing(2), gone.signal);
  gone.abort();
  await t.rejects(answer);
});

t.test('E1 the breaker opens after 3 failures in a row, lets one through after a while, and closes', async (t) => {
  const { log, logged } = listening();
  const openFor = 2000;
  const breaker = openBreaker('the cache', log, { openFor });
  let asked = 0;
  const ask = (work: () => Promise<unknown>): Promise<unknown> =>
    breaker.run(() => {
      asked += 1;
      return work();
    });
  const fail = () => ask(() => Promise.reject(new Error('down')));

  t.strictSame(breaker.state(), { state: 'closed', failures: 0, opened: 0 });
  for (let times = 0; times < 2; times += 1) await t.rejects(fail(), { message: 'down' });
  t.strictSame(breaker.state(), { state: 'closed', failures: 2, opened: 0 });
  await ask(async () => {});
  t.equal(breaker.state().failures, 0, 'one success: they were not in a row');

  for (let times = 0; times < 3; times += 1) await t.rejects(fail(), { message: 'down' });
  t.strictSame(breaker.state(), { state: 'open', failures: 3, opened: 1 });
  asked = 0;
  const refused = await fail().catch((error) => error);
  t.ok(isBroken(refused));
  t.equal(asked, 0, 'it is not asked');

  await sleep(openFor + 20);
  let decide = (_: boolean): void => {};
  const probe = ask(
    () => new Promise((resolve, reject) => (decide = (good) => (good ? resolve(1) : reject(new Error('down'))))),
  );
  t.equal(breaker.state().state, 'half-open');
  t.ok(isBroken(await ask(async () => {}).catch((error) => error)), 'the others do not wait for it');
  decide(false);
  await t.rejects(probe);
  t.match(breaker.state(), { state: 'open', opened: 2 });

  await sleep(openFor + 20);
  await ask(async () => {});
  t.strictSame(breaker.state(), { state: 'closed', failures: 0, opened: 2 });
  t.match(
    logged.map(({ message }) => message),
    ['The breaker is open.', 'The breaker is open.', 'The breaker is closed again.'],
  );
});

t.test('E1 the breaker of the cache stays open for 30 seconds, and asks nothing under a retry', async (t) => {
  const { log } = listening();
  const breaker = openBreaker('the cache', log);
  const { cache } = openPolicies(log);
  let asked = 0;
  const get = () =>
    cache('a key', () =>
      breaker.run(() => {
        asked += 1;
        return Promise.reject(new Error('down'));
      }),
    );
  t.equal(await get(), undefined);
  t.match(breaker.state(), { state: 'open', failures: 3 });
  for (let times = 0; times < 100; times += 1) t.equal(await get(), undefined);
  t.equal(asked, 3);
});
