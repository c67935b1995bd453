import type { Socket } from 'node:net';
import type pg from 'pg';
import { cancel } from './cancel.ts';

/** Says for how long what runs on a connection now may run, in milliseconds; 0: for ever. Until it is released. */
type Patience = (client: pg.PoolClient, milliseconds: number) => void;

// Of timers.
const longest = 2 ** 31 - 1;

/**
 * Ends each connection of a pool over which nothing comes although what runs there must be over by now: its server is gone without a word,
 * and the system would wait for it for a quarter of an hour. What runs fails then, as where a connection is lost.
 *
 * @param config the way to the server, as the pool has it.
 * @param limit how long anything on the pool may run, in milliseconds, where nothing else is said.
 * @param grace how much later the answer may come, in milliseconds.
 */
export function endSilent(pool: pg.Pool, config: pg.ClientConfig, limit: number, grace: number): Patience {
  const idle = new Set<pg.PoolClient>();

  const wait: Patience = (client, milliseconds) => {
    socketOf(client).setTimeout(milliseconds > 0 ? Math.min(milliseconds + grace, longest) : 0);
  };
  pool.on('connect', (client) => {
    socketOf(client).on('timeout', () => {
      // Where it was only slow: what is said to have failed is not done afterwards.
      void cancel(config, client);
      // Those that nobody uses know no better: the next request is not to find that out by waiting as long.
      for (const each of [client, ...idle]) socketOf(each).destroy();
    });
  });
  pool.on('acquire', (client) => {
    idle.delete(client);
    wait(client, limit);
  });
  pool.on('release', (_, client) => {
    wait(client, 0);
    idle.add(client);
  });
  pool.on('remove', (client) => idle.delete(client));
  return wait;
}

function socketOf(client: pg.PoolClient): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}

const units: Record<string, number> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** The milliseconds of a time as settings of Postgres write it: `150ms`, `10s`, `1.5 min`, `0`; 0 where it is written otherwise. */
export function millisecondsOf(setting: string): number {
  const [, count = '0', unit = 'ms'] = /^\s*([\d.]+)\s*([a-z]+)?\s*$/.exec(setting) ?? [];
  return Number(count) * (units[unit] ?? 0);
}
