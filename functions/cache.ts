import { memoryStore } from './cache-memory.ts';
import { redisStore } from './cache-redis.ts';
import type { Log } from './log.ts';
import { type BreakerState, openBreaker, openPolicies } from './policies.ts';

/** What is cached, and for how many seconds at most (C14, F8). What an event empties is gone before that. */
export const lifetimes = {
  profile: 30 * 60,
  session: 24 * 60 * 60,
  permissions: 15 * 60,
  online: 5 * 60,
  room: 60 * 60,
  members: 15 * 60,
  messages: 5 * 60,
  featureFlags: 10 * 60,
  rateLimits: 60,
  temporary: 5 * 60,
  codes: 10 * 60,
  integration: 5 * 60,
} as const;

type CacheName = keyof typeof lifetimes;

/** Adds to a number, which is forgotten after `milliseconds` without an addition. */
type Count = { key: string; by: number; milliseconds: number };

/** Where entries are kept. Each of these may fail. */
export type Store = {
  get(key: string): Promise<string | undefined>;
  set(key: string, value: string, milliseconds: number): Promise<void>;
  remove(key: string): Promise<void>;
  empty(prefix: string): Promise<void>;
  count(counts: Count[]): Promise<number[]>;
  close(): Promise<void>;
};

export type CacheState = {
  store: 'memory' | 'redis';
  hits: number;
  misses: number;
  /** Of the memory; a Redis tells of itself. */
  entries?: number;
  bytes?: number;
  /** Of a Redis. */
  breaker?: BreakerState;
};

/** Texts under a name and a key. It never throws: what cannot be asked is not there. */
export type Cache = {
  get(name: CacheName, key: string): Promise<string | undefined>;
  set(name: CacheName, key: string, value: string): Promise<void>;
  remove(name: CacheName, key: string): Promise<void>;
  empty(name: CacheName): Promise<void>;
  /**
   * The value of a key, made where it is not there; who asks for it meanwhile gets the same one. What was made before its name was
   * emptied is not kept.
   */
  remember(name: CacheName, key: string, make: () => Promise<string>): Promise<string>;
  /** The new totals of numbers that all who share the cache add to; nothing where it cannot be asked. */
  count(name: CacheName, counts: Count[]): Promise<number[] | undefined>;
  /** Whether other processes see the same. */
  isShared: boolean;
  state(): CacheState;
  close(): Promise<void>;
};

type Ask = <Value>(what: string, work: () => Promise<Value>) => Promise<Value | undefined>;

const bounds = { mostEntries: 10_000, mostBytes: 32 * 2 ** 20 };
const longest = 2 ** 20;
// Whoever asks waits for it: Postgres itself would have answered by then.
const answersSoon = 100;

/**
 * Opens the cache: the Redis of REDIS_URL, or else the memory of this process.
 *
 * @param options.openFor how long the breaker keeps off a Redis that fails, in milliseconds.
 * @param options.answersWithin how long a Redis may take to answer, in milliseconds.
 */
export async function openCache(
  { redisUrl }: { redisUrl?: string | undefined },
  log: Pick<Log, 'warn'>,
  options: { openFor?: number; answersWithin?: number; mostEntries?: number; mostBytes?: number } = {},
): Promise<Cache> {
  if (redisUrl === undefined) {
    const { size, ...store } = memoryStore({ ...bounds, ...options });
    return cacheOn(
      store,
      (_, work) => work(),
      (work) => work(),
      { store: 'memory', more: size },
    );
  }
  const breaker = openBreaker('the cache', log, options);
  const policies = openPolicies(log);
  const store = await redisStore(redisUrl, log, options.answersWithin ?? answersSoon);
  const ask: Ask = async (what, work) =>
    // To be turned away by an error costs as much as some answers.
    breaker.isShut() ? undefined : policies.cache(what, () => breaker.run(work));
  return cacheOn(store, ask, breaker.run, {
    store: 'redis',
    more: () => ({ breaker: breaker.state() }),
  });
}

/** @param ask does what may fail, more than once where it does; it gives nothing where it did to the end. */
function cacheOn(
  store: Store,
  ask: Ask,
  once: <Value>(work: () => Promise<Value>) => Promise<Value>,
  about: { store: CacheState['store']; more: () => Partial<CacheState> },
): Cache {
  const seen = { hits: 0, misses: 0 };
  const making = new Map<string, Promise<string>>();
  const emptied = new Map<CacheName, number>();
  // Names whose entries should be gone, but could not be reached. Nothing is read of them until they are.
  const owed = new Set<CacheName>();
  const path = (name: CacheName, key = ''): string => `plinth:${name}:${key}`;

  async function settle(name: CacheName): Promise<boolean> {
    if (!owed.has(name)) return true;
    const done = await ask(`empty ${name}`, async () => {
      await store.empty(path(name));
      return true;
    });
    if (done) owed.delete(name);
    return done === true;
  }

  async function get(name: CacheName, key: string): Promise<string | undefined> {
    const value = (await settle(name)) ? await ask(`get ${name}`, () => store.get(path(name, key))) : undefined;
    if (value === undefined) seen.misses += 1;
    else seen.hits += 1;
    return value;
  }

  /** @param isGood asked each time that it is tried: what is out of date is not written. */
  async function set(name: CacheName, key: string, value: string, isGood = () => true): Promise<void> {
    if (value.length > longest || !(await settle(name))) return;
    const write = async () => isGood() && store.set(path(name, key), value, lifetimes[name] * 1000);
    await ask(`set ${name}`, write);
  }

  async function make(name: CacheName, key: string, work: () => Promise<string>): Promise<string> {
    const before = emptied.get(name);
    const known = await get(name, key);
    if (known !== undefined) return known;
    const value = await work();
    await set(name, key, value, () => emptied.get(name) === before);
    return value;
  }

  /** What is owed is owed from now on: who reads while it is being removed must not find it. */
  async function forget(name: CacheName): Promise<void> {
    emptied.set(name, (emptied.get(name) ?? 0) + 1);
    for (const each of making.keys()) if (each.startsWith(path(name))) making.delete(each);
    owed.add(name);
    await settle(name);
  }

  return {
    get,
    set: (name, key, value) => set(name, key, value),
    async remove(name, key) {
      emptied.set(name, (emptied.get(name) ?? 0) + 1);
      making.delete(path(name, key));
      const done = await ask(`remove ${name}`, async () => {
        await store.remove(path(name, key));
        return true;
      });
      if (!done) owed.add(name);
    },
    empty: forget,
    remember(name, key, work) {
      const place = path(name, key);
      const under = making.get(place);
      if (under) return under;
      const made = make(name, key, work).finally(() => {
        if (making.get(place) === made) making.delete(place);
      });
      making.set(place, made);
      return made;
    },
    async count(name, counts) {
      if (counts.length === 0) return [];
      const named = counts.map((each) => ({ ...each, key: path(name, each.key) }));
      // Once: what was not answered may have been added all the same.
      return once(() => store.count(named)).catch(() => undefined);
    },
    isShared: about.store === 'redis',
    state: () => ({ store: about.store, ...seen, ...about.more() }),
    close: store.close,
  };
}
