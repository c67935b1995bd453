import { setTimeout as sleep } from 'node:timers/promises';
import { backends, type Person, publishLate, terminate, withOwner } from './database.ts';
import type { Postgres } from './postgres.ts';
import type { Random } from './random.ts';
import type { ServerProcess } from './servers.ts';
import type { Subscriber } from './subscribers.ts';

/** What faults are done to. */
export type Ground = {
  random: Random;
  postgres: Postgres;
  servers: ServerProcess[];
  subscribers: Subscriber[];
  /** Those whose events are large, so that they are cut off when they do not read. */
  heavy: Subscriber[];
  readers: Person[];
  /** How long a transaction stays open, and how long a client does not read, in milliseconds. */
  openFor: number;
  pausedFor: number;
  /** Whether writers send large messages, so that what waits for a client that does not read is more than sockets hold. */
  isLoud: boolean;
  /** The delays of events, in milliseconds, while something goes on. */
  delaysWhile(goesOn: Promise<unknown>): Promise<number[]>;
};

/** What a fault left behind, beyond what recovers by itself. */
export type Fault = {
  what: string;
  /** From when on everything has to come right again. */
  since: number;
  /** An event that has to arrive. */
  awaited?: { topic: string; seq: number };
  /** The delays of events before and during the fault. */
  delays?: { before: number[]; during: number[] };
};

export type FaultKind =
  | 'server killed'
  | 'leader killed'
  | 'server restarted'
  | 'Postgres killed'
  | 'backend killed'
  | 'connections terminated'
  | 'transaction open'
  | 'clients reconnect'
  | 'client stops reading';

/** How often each comes in a round. */
export const shares: Record<FaultKind, number> = {
  'server killed': 3,
  'leader killed': 3,
  'server restarted': 1,
  'Postgres killed': 4,
  'backend killed': 2,
  'connections terminated': 3,
  'transaction open': 1,
  'clients reconnect': 2,
  'client stops reading': 2,
};

export const faults: Record<FaultKind, (ground: Ground) => Promise<Fault>> = {
  'server killed': async ({ random, servers }) => {
    const server = random.pick(servers.filter((each) => each.isReady()));
    return end(server, 'SIGKILL');
  },

  'leader killed': async ({ random, servers }) => {
    for (let tries = 0; tries < 100; tries += 1) {
      for (const server of servers) if (server.isReady() && (await server.leads())) return end(server, 'SIGKILL');
      await sleep(50);
    }
    return { ...end(random.pick(servers), 'SIGKILL'), what: 'no leader was found within 5 s' };
  },

  'server restarted': async ({ random, servers }) => {
    const server = random.pick(servers.filter((each) => each.isReady()));
    return end(server, 'SIGTERM');
  },

  'Postgres killed': async ({ postgres }) => {
    const since = Date.now();
    await postgres.kill();
    await postgres.start();
    return { what: `back after ${((Date.now() - since) / 1000).toFixed(1)} s`, since };
  },

  // Postgres ends every other process with it, and recovers by itself.
  'backend killed': async ({ random, postgres }) => {
    const pid = random.pick(await withOwner(postgres.url, backends));
    const since = Date.now();
    process.kill(pid, 'SIGKILL');
    return { what: `process ${pid}`, since };
  },

  'connections terminated': async ({ random, postgres }) => {
    const since = Date.now();
    const choose = (pids: number[]): number[] => random.shuffle(pids).slice(0, random.between(1, pids.length));
    const count = await withOwner(postgres.url, (owner) => terminate(owner, choose));
    return { what: `${count} of them`, since };
  },

  'transaction open': async ({ random, postgres, readers, openFor, delaysWhile }) => {
    const reader = random.pick(readers);
    const before = await delaysWhile(sleep(Math.min(openFor, 5000) / 2));
    const open = withOwner(postgres.url, (owner) => publishLate(owner, reader.id, openFor));
    const during = await delaysWhile(open);
    const awaited = { topic: `user:${reader.id}`, seq: await open };
    return { what: `for ${openFor / 1000} s`, since: Date.now(), awaited, delays: { before, during } };
  },

  'clients reconnect': async ({ random, subscribers }) => {
    const since = Date.now();
    const dropped = random.shuffle(subscribers).slice(0, random.between(1, subscribers.length));
    for (const subscriber of dropped) subscriber.drop();
    return { what: `${dropped.length} of ${subscribers.length}`, since };
  },

  'client stops reading': async (ground) => {
    const { random, subscribers, heavy, pausedFor } = ground;
    const chosen = [random.pick(heavy), random.pick(subscribers)];
    for (const subscriber of chosen) subscriber.pause();
    ground.isLoud = true;
    await sleep(random.between(pausedFor / 2, pausedFor));
    ground.isLoud = false;
    for (const subscriber of chosen) subscriber.resume();
    return { what: chosen.map(({ name }) => name).join(', '), since: Date.now() };
  },
};

/** Does not wait for its end: who is asked to end serves on for a while. */
function end(server: ServerProcess, signal: 'SIGKILL' | 'SIGTERM'): Fault {
  void server.kill(signal);
  return { what: server.name, since: Date.now() };
}
