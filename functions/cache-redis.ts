import { Redis } from 'ioredis';
import type { Store } from './cache.ts';
import type { Log } from './log.ts';

const connectsWithin = 1000;
const slowestReconnect = 1000;
// How many keys one step of emptying looks at.
const step = 500;

/**
 * Entries in a Redis. What it does not answer quickly fails; nothing waits for a connection that is not there.
 *
 * @param log told when it is lost, and when it is back.
 * @param answersWithin how long it may take to answer, in milliseconds.
 */
export async function redisStore(url: string, log: Pick<Log, 'warn'>, answersWithin: number): Promise<Store> {
  const redis = new Redis(url, {
    commandTimeout: answersWithin,
    connectTimeout: connectsWithin,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 10), slowestReconnect),
    connectionName: 'plinth',
  });
  let isThere = true;
  redis.on('error', (error) => {
    if (isThere) log.warn({ error: error.message }, 'The cache cannot be reached.');
    isThere = false;
  });
  redis.on('close', () => {
    isThere = false;
  });
  redis.on('ready', () => {
    if (!isThere) log.warn({}, 'The cache is there again.');
    isThere = true;
  });
  await new Promise<void>((resolve) => {
    redis.once('ready', resolve);
    redis.once('close', resolve);
    setTimeout(resolve, connectsWithin).unref();
  });

  return {
    get: async (key) => (await redis.get(key)) ?? undefined,
    async set(key, value, milliseconds) {
      await redis.set(key, value, 'PX', milliseconds);
    },
    async remove(key) {
      await redis.unlink(key);
    },
    async empty(prefix) {
      const pattern = `${prefix.replace(/[*?[\]\\]/g, '\\$&')}*`;
      let cursor = '0';
      do {
        const [next, keys] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', step);
        if (keys.length > 0) await redis.unlink(...keys);
        cursor = next;
      } while (cursor !== '0');
    },
    async count(counts) {
      const commands = redis.pipeline();
      for (const { key, by, milliseconds } of counts) commands.incrby(key, by).pexpire(key, milliseconds);
      const answers = (await commands.exec()) ?? [];
      const failure = answers.find(([error]) => error)?.[0];
      if (failure) throw failure;
      return counts.map((_, index) => Number(answers[index * 2]?.[1]));
    },
    async close() {
      redis.disconnect();
    },
  };
}
