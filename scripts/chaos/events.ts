import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTokens } from '../../functions/tokens.ts';
import { type Arranged, arrange } from './arrange.ts';
import { countsOfTopics, messagesKept, type Person, withOwner } from './database.ts';
import { type FaultKind, faults, type Ground, shares } from './faults.ts';
import { type Book, openBook } from './ledger.ts';
import { openPostgres, type Postgres } from './postgres.ts';
import { seeded } from './random.ts';
import { keepServer, type ServerProcess } from './servers.ts';
import { eventsOf, follow, type Hub, messagesOf, ownEvents, type Subscriber, transports } from './subscribers.ts';
import { type Happened, type Summary, summarise } from './summary.ts';
import { type Acknowledged, type Writer, write } from './writers.ts';

export type ChaosOptions = {
  faults: number;
  seed: number;
  /** How many messages are sent a second, in all. */
  rate: number;
  /** How long a transaction stays open, and how long a client does not read, in milliseconds. */
  openFor: number;
  pausedFor: number;
  /** One fault in so many comes only when every server is up again. */
  haste: number;
  report(line: string): void;
  stop: Promise<void>;
};

const processes = 3;
const rooms = 4;
const writers = 8;
// Until everything is right again after a fault; else it counts as not recovered.
const patience = 60_000;

/** Disturbs servers, Postgres and clients under load, and tells what was lost by it. */
export async function chaosEvents(options: ChaosOptions): Promise<Summary> {
  const postgres = await openPostgres(options.report);
  const wrong: string[] = [];
  const fail = (what: string): void => {
    wrong.push(what);
    if (wrong.length <= 50) options.report(`  wrong: ${what}`);
  };
  const key = randomBytes(32);
  const env = {
    DATABASE_URL: postgres.url,
    PLINTH_DATA: path.join(postgres.folder, 'servers'),
    PLINTH_ENV: 'development',
    JWT_KEYS: `chaos:${key.toString('base64url')}`,
    LOG_LEVEL: 'error',
    LOG_FORMAT: 'json',
  };
  const servers: ServerProcess[] = [];
  try {
    for (let index = 1; index <= processes; index += 1) servers.push(await keepServer(`server ${index}`, env, fail));
    const { sign } = openTokens([{ kid: 'chaos', key }]);
    return await disturb(options, { postgres, servers, sign, wrong, fail });
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await postgres.close();
  }
}

type Stage = {
  postgres: Postgres;
  servers: ServerProcess[];
  sign(claims: Person['claims']): Promise<string>;
  wrong: string[];
  fail(what: string): void;
};

async function disturb(options: ChaosOptions, { postgres, servers, sign, wrong, fail }: Stage): Promise<Summary> {
  const { seed, report } = options;
  const random = seeded(seed);
  // The clients' own choices, which depend on the moment, leave those of the faults as they are.
  const chance = seeded(seed + 1);
  await until(() => servers.every((server) => server.isReady()), 'the servers are not ready');
  const anyServer = (): ServerProcess => chance.pick(servers);
  const arranged = await arrange({ url: postgres.url, sign, server: anyServer().url, writers, rooms });
  const { authors, readers, channels, counts } = arranged;

  const began = Date.now();
  const book = openBook(counts, fail);
  const reasons = new Map<string, number>();
  let delays: number[] | undefined;
  const hubOf = ({ claims }: Person) => ({
    url: () => anyServer().url,
    wait: () => chance.between(10, 60),
    token: () => sign(claims),
    delay: (milliseconds: number) => void delays?.push(milliseconds),
    ended: (reason: string) => count(reasons, reason),
    fail,
  });
  const [light, heavy] = followEverything(arranged, book, hubOf);
  const subscribers = [...light, ...heavy];
  const acknowledged: Acknowledged = new Map();
  const retries = new Map<string, number>();
  const ground: Ground = {
    ...{ random, postgres, servers, subscribers, readers, heavy },
    ...{ openFor: options.openFor, pausedFor: options.pausedFor, isLoud: false },
    async delaysWhile(goesOn) {
      delays = [];
      await goesOn.catch(() => {});
      const found = delays;
      delays = undefined;
      return found;
    },
  };
  const sending: Writer[] = authors.map((author, index) => {
    const hub = {
      ...hubOf(author),
      channel: () => chance.pick(channels),
      isLoud: () => ground.isLoud,
      retried: (why: string) => count(retries, why),
    };
    return write(`writer-${index + 1}`, hub, (1000 * writers) / options.rate, acknowledged);
  });
  /** Who has not sent, or was not sent, anything yet that began after this. */
  const waiting = (since: number): string[] =>
    [...subscribers, ...sending].filter((client) => client.newest() < since).map(({ name }) => name);

  await until(() => waiting(began).length === 0, 'not every client is served');
  report(`${subscribers.length} subscribers and ${writers} writers on ${processes} processes, seed ${seed}`);
  let asked = false;
  options.stop.then(() => {
    asked = true;
  });
  const happened: Happened[] = [];
  for (const kind of planOf(options.faults, random)) {
    if (asked) break;
    const fault = await faults[kind](ground);
    const { awaited } = fault;
    const hasCome = ({ topics, page }: Subscriber): boolean =>
      !awaited || !topics.includes(awaited.topic) || page.seqOf(awaited.topic) >= awaited.seq;
    let last: string[] = [];
    const isOver = (): boolean => {
      const still = waiting(fault.since);
      if (still.length > 0) last = still;
      return still.length === 0 && subscribers.every(hasCome);
    };
    const recovered = await until(isOver, `not recovered from: ${kind}, ${fault.what}`, fail);
    const milliseconds = recovered - fault.since;
    happened.push({ kind, milliseconds, ...(fault.delays && { delays: fault.delays }) });
    const number = `${happened.length}/${options.faults}`.padStart(7);
    const time = `${(milliseconds / 1000).toFixed(2)} s`.padStart(8);
    report(`${number}  ${kind.padEnd(24)} recovered in ${time}   ${fault.what}; last: ${last[0] ?? 'nobody waited'}`);
    // Mostly the next comes while a server is still starting.
    const enough = random.below(options.haste) > 0 ? 1 : servers.length;
    const areReady = (): boolean => servers.filter((server) => server.isReady()).length >= enough;
    await until(areReady, 'a server does not start', fail);
    await sleep(random.between(100, 600));
  }

  await Promise.all(sending.map((writer) => writer.close()));
  const end = await withOwner(postgres.url, countsOfTopics);
  const hasAll = ({ topics, page }: Subscriber): boolean =>
    topics.every((topic) => page.seqOf(topic) >= (end.get(topic) ?? 0));
  await until(() => subscribers.every(hasAll), 'not everything was delivered', fail);
  await Promise.all(subscribers.map((subscriber) => subscriber.close()));
  for (const { page, topics } of subscribers) page.close(topics, end);
  const kept = await withOwner(postgres.url, (owner) => messagesKept(owner, channels));
  const connections = [...reasons.values()].reduce((sum, each) => sum + each, subscribers.length);
  return summarise({
    ...{
      seed,
      happened,
      book,
      acknowledged,
      kept,
      retries: Object.fromEntries(retries),
      wrong,
      reasons: Object.fromEntries(reasons),
    },
    ...{ processes, subscribers: subscribers.length, connections, seconds: (Date.now() - began) / 1000 },
  });
}

/** Subscribers of every kind, on both transports; those whose events are large apart. */
function followEverything(
  { channels, readers, after }: Arranged,
  book: Book,
  hubOf: (person: Person) => Hub,
): [light: Subscriber[], heavy: Subscriber[]] {
  const subscribers: Subscriber[] = [];
  const begin = (name: string, what: Parameters<typeof follow>[1], transport: 'ws' | 'sse', reader: Person): void => {
    const own = `user:${reader.id}`;
    const topics = what.channelId ? [`channel:${what.channelId}`] : [own, ...channels.map((id) => `channel:${id}`)];
    const title = `${name} (${transport})`;
    const hub = hubOf(reader);
    const given = { transport: transports[transport], topics, page: book.open(title), after, hub };
    subscribers.push(follow(title, what, given));
  };
  for (const [index, channelId] of channels.entries()) {
    for (const transport of ['ws', 'sse'] as const) {
      const reader = readers[index % readers.length] as Person;
      begin(`messages of room ${index + 1}`, messagesOf(channelId), transport, reader);
      if (index === 0) begin('events of room 1', eventsOf(channelId), transport, reader);
    }
  }
  for (const [index, reader] of readers.entries()) {
    begin(`events of reader ${index + 1}`, ownEvents, index % 2 === 0 ? 'ws' : 'sse', reader);
  }
  const light = subscribers.length;
  for (const transport of ['ws', 'sse'] as const) {
    begin('much of room 1', messagesOf(channels[0] as string, 20), transport, readers[0] as Person);
  }
  return [subscribers.slice(0, light), subscribers.slice(light)];
}

function count(of: Map<string, number>, what: string): void {
  of.set(what, (of.get(what) ?? 0) + 1);
}

/** The kinds in rounds, each in an order of its own: however many there are, every kind has its share. */
function planOf(count: number, random: Ground['random']): FaultKind[] {
  const kinds = Object.keys(shares) as FaultKind[];
  const plan = [...random.shuffle(kinds)];
  while (plan.length < count) plan.push(...random.shuffle(kinds.flatMap((kind) => Array(shares[kind]).fill(kind))));
  return plan.slice(0, count);
}

/** Waits until something holds; gives when. What does not hold in time is told, or an error where nobody is. */
async function until(holds: () => boolean, otherwise: string, fail?: (what: string) => void): Promise<number> {
  for (const began = Date.now(); !holds(); await sleep(10)) {
    if (Date.now() - began < patience) continue;
    const what = `after ${patience / 1000} s: ${otherwise}`;
    if (!fail) throw new Error(what);
    fail(what);
    break;
  }
  return Date.now();
}
