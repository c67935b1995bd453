import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import type { Test } from 'tap';

/** A redis-server of a test. */
export type RedisServer = {
  url: string;
  start(): Promise<void>;
  /** Ends it as a crash would, or halts it: its connections stay open, and nothing answers. */
  kill(): Promise<void>;
  halt(): void;
  goOn(): void;
};

/** Whether the machine has a redis-server to test with. */
export const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

/** Starts a redis-server on a free port, without a disk; it is gone when the test ends. */
export async function openRedis(t: Test): Promise<RedisServer> {
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  const redis: RedisServer = {
    url,
    async start() {
      const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
      child = spawn('redis-server', options, { stdio: 'ignore' });
      const client = new Redis(url, { retryStrategy: () => 20 });
      client.on('error', () => {});
      await client.ping();
      client.disconnect();
    },
    async kill() {
      const ended = new Promise((resolve) => child?.once('exit', resolve));
      child?.kill('SIGKILL');
      await ended;
      child = undefined;
    },
    halt: () => void child?.kill('SIGSTOP'),
    goOn: () => void child?.kill('SIGCONT'),
  };
  await redis.start();
  t.teardown(async () => {
    if (child) await redis.kill();
  });
  return redis;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
