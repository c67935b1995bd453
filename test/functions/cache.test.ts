import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Cache, lifetimes, openCache } from '../../functions/cache.ts';
import { hasRedis, openRedis } from '../redis-server.ts';
import { openWorld } from '../world.ts';

const quiet = { warn() {} };
// Where what it answers counts, and not how soon.
const patient = { answersWithin: 5000 };
const withRedis = hasRedis ? {} : { skip: 'there is no redis-server' };

t.test('C14 F8 the names and lifetimes of the cache are those of the requirements', async (t) => {
  const minutes = Object.fromEntries(Object.entries(lifetimes).map(([name, seconds]) => [name, seconds / 60]));
  t.strictSame(minutes, {
    profile: 30,
    session: 24 * 60,
    permissions: 15,
    online: 5,
    room: 60,
    members: 15,
    messages: 5,
    featureFlags: 10,
    rateLimits: 1,
    temporary: 5,
    codes: 10,
    integration: 5,
  });
});

t.test('C14 the memory keeps so many entries and bytes, and lets go of what was used longest ago', async (t) => {
  const cache = await openCache({}, quiet, { mostEntries: 3, mostBytes: 5000 });
  for (const key of ['a', 'b', 'c']) await cache.set('room', key, key);
  await cache.get('room', 'a');
  await cache.set('room', 'd', 'd');
  t.equal(await cache.get('room', 'b'), undefined);
  t.equal(await cache.get('room', 'a'), 'a');
  await cache.set('room', 'large', 'x'.repeat(2300));
  t.match(cache.state(), { store: 'memory', entries: 1 });
  await cache.set('room', 'larger', 'x'.repeat(3000));
  t.equal(await cache.get('room', 'larger'), undefined, 'what is larger than all of it is not kept');
  t.ok((cache.state().bytes ?? 0) <= 5000);
});

for (const store of ['memory', 'redis']) {
  t.test(
    `C14 what is cached in ${store} is found until it is removed or emptied`,
    store === 'redis' ? withRedis : {},
    async (t) => {
      const redisUrl = store === 'redis' ? (await openRedis(t)).url : undefined;
      const cache = await openCache({ redisUrl }, quiet, patient);
      t.teardown(cache.close);
      t.equal(await cache.get('profile', 'ann'), undefined);
      await cache.set('profile', 'ann', 'Ann');
      await cache.set('profile', 'bob', 'Bob');
      await cache.set('members', 'ann', 'in two rooms');
      t.equal(await cache.get('profile', 'ann'), 'Ann');
      await cache.remove('profile', 'ann');
      t.equal(await cache.get('profile', 'ann'), undefined);
      t.equal(await cache.get('profile', 'bob'), 'Bob');
      await cache.empty('profile');
      t.equal(await cache.get('profile', 'bob'), undefined);
      t.equal(await cache.get('members', 'ann'), 'in two rooms', 'another name is left');
      t.match(cache.state(), { store, hits: 3, misses: 3 });
      const counts = [
        { key: 'ann', by: 2, milliseconds: 60_000 },
        { key: 'bob', by: 5, milliseconds: 60_000 },
      ];
      t.strictSame(await cache.count('rateLimits', counts), [2, 5]);
      t.strictSame(await cache.count('rateLimits', counts), [4, 10]);
    },
  );

  t.test(
    `C14 what was read before a name in ${store} was emptied is not kept`,
    store === 'redis' ? withRedis : {},
    async (t) => {
      const redisUrl = store === 'redis' ? (await openRedis(t)).url : undefined;
      const cache = await openCache({ redisUrl }, quiet, patient);
      t.teardown(cache.close);
      let finish = (_: string): void => {};
      let begun = (): void => {};
      const reading = new Promise<void>((resolve) => (begun = resolve));
      const read = () =>
        cache.remember('room', 'harbour', () => {
          begun();
          return new Promise<string>((resolve) => (finish = resolve));
        });
      const [first, second] = [read(), read()];
      await reading;
      await cache.empty('room');
      finish('old');
      t.strictSame(await Promise.all([first, second]), ['old', 'old'], 'it is made once for all who ask meanwhile');
      t.equal(await cache.remember('room', 'harbour', async () => 'new'), 'new');
      t.equal(await cache.remember('room', 'harbour', async () => 'newer'), 'new');
    },
  );
}

t.test('C14 processes share what is in Redis', withRedis, async (t) => {
  const { url } = await openRedis(t);
  const [one, other] = [
    await openCache({ redisUrl: url }, quiet, patient),
    await openCache({ redisUrl: url }, quiet, patient),
  ];
  t.teardown(() => Promise.all([one.close(), other.close()]));
  await one.set('codes', 'a', '1');
  t.equal(await other.get('codes', 'a'), '1');
  await other.empty('codes');
  t.equal(await one.get('codes', 'a'), undefined);
});

t.test('E1 C14 no request fails while Redis hangs, is killed and comes back under load', withRedis, async (t) => {
  const redis = await openRedis(t);
  const cache = await openCache({ redisUrl: redis.url }, quiet, { openFor: 300 });
  t.teardown(cache.close);
  let asked = 0;
  let done = false;
  const failures: unknown[] = [];
  const loops = Array.from({ length: 20 }, async (_, index) => {
    for (let turn = 0; !done; turn += 1) {
      const key = `${index % 5} ${turn % 50}`;
      try {
        const value = await cache.remember('temporary', key, async () => `value of ${key}`);
        if (value !== `value of ${key}`) failures.push(value);
      } catch (error) {
        failures.push(error);
      }
      asked += 1;
      if (turn % 20 === 0) await sleep(1);
    }
  });
  const until = async (state: string): Promise<void> => {
    while (cache.state().breaker?.state !== state) await sleep(5);
  };
  while (cache.state().hits === 0) await sleep(5);

  redis.halt();
  await until('open');
  await whileOpen('while it hangs');
  redis.goOn();
  await until('closed');

  await redis.kill();
  await until('open');
  await whileOpen('while it is down');
  await redis.start();
  await until('closed');
  const before = cache.state().hits;
  while (cache.state().hits < before + 100) await sleep(5);

  done = true;
  await Promise.all(loops);
  t.strictSame(failures, []);
  t.ok(asked > 1000, `${asked} requests`);

  async function whileOpen(when: string): Promise<void> {
    const from = asked;
    while (asked < from + 1000) await sleep(5);
    t.ok(true, `requests are answered ${when}`);
  }
});

t.test('C14 what could not be emptied while Redis was away is not found when it is back', withRedis, async (t) => {
  const redis = await openRedis(t);
  const cache = await openCache({ redisUrl: redis.url }, quiet, { openFor: 200 });
  t.teardown(cache.close);
  await cache.set('featureFlags', 'all', 'old');
  await cache.set('room', 'a', 'as it is');
  redis.halt();
  await cache.empty('featureFlags');
  t.equal(cache.state().breaker?.state, 'open');
  t.equal(await cache.get('featureFlags', 'all'), undefined);
  redis.goOn();
  await backAgain(cache);
  t.equal(await cache.get('featureFlags', 'all'), undefined);
  t.equal(await cache.get('room', 'a'), 'as it is');
});

t.test('E1 a server whose Redis is not there from the first starts all the same', async (t) => {
  const logged: string[] = [];
  const cache = await openCache(
    { redisUrl: 'redis://127.0.0.1:1' },
    { warn: (_, message) => void logged.push(message) },
  );
  t.teardown(cache.close);
  t.equal(await cache.get('room', 'a'), undefined);
  t.equal(await cache.remember('room', 'a', async () => 'made'), 'made');
  t.match(cache.state(), { store: 'redis', breaker: { state: 'open', failures: 3 } });
  t.ok(logged.includes('The cache cannot be reached.'));
});

async function backAgain(cache: Cache): Promise<void> {
  while (cache.state().breaker?.state !== 'closed') {
    await cache.get('temporary', 'is it there?');
    await sleep(20);
  }
}

t.test('E1 /ready and the metrics tell of the cache and of its breaker', withRedis, async (t) => {
  const redis = await openRedis(t);
  const { server, ask } = await openWorld(t, { env: { REDIS_URL: redis.url } });
  const ready = async () => {
    const response = await fetch(`${server.url}ready`);
    return { status: response.status, cache: (await response.json()).cache };
  };
  t.match(await ready(), {
    status: 200,
    cache: { store: 'redis', hits: Number, misses: Number, breaker: { state: 'closed', failures: 0, opened: 0 } },
  });
  const metrics = await (await fetch(`${server.url}metrics`)).text();
  t.match(metrics, /^plinth_breaker_state\{name="cache"\} 0$/m);
  t.match(metrics, /^plinth_breaker_failures 0$/m);
  await redis.kill();
  t.match(await ask('{ me { username } }'), { data: { me: null } });
  t.equal((await ready()).status, 200, 'a server does without its cache');
});
