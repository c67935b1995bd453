import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTokens } from '../../functions/tokens.ts';
import { ask } from './ask.ts';
import { countsOfTopics, makePeople, messagesKept, type Person, withOwner } from './database.ts';
import { type FaultKind, faults, type Ground, shares } from './faults.ts';
import { openBook } from './ledger.ts';
import { openPostgres, type Postgres } from './postgres.ts';
import { seeded } from './random.ts';
import { keepServer, type ServerProcess } from './servers.ts';
import { eventsOf, follow, messagesOf, ownEvents, type Subscriber, transports } from './subscribers.ts';
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
  const { authors, readers, channels, after, counts } = await arrange(postgres, sign, anyServer().url);

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

  const acknowledged: Acknowledged = new Map();
  const retries = new Map<string, number>();
  const ground: Ground = {
    ...{ random, postgres, servers, subscribers, readers, heavy: subscribers.slice(light) },
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
  /** Whether everyone has sent, or was sent, something that began after this. */
  const isWell = (since: number): boolean =>
    [...subscribers, ...sending].every((client) => client.newest() >= since) &&
    servers.some((server) => server.isReady());

  await until(() => isWell(began), 'not every client is served');
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
    const isOver = (): boolean => isWell(fault.since) && subscribers.every(hasCome);
    const recovered = await until(isOver, `not recovered from: ${kind}, ${fault.what}`, fail);
    const milliseconds = recovered - fault.since;
    happened.push({ kind, milliseconds, ...(fault.delays && { delays: fault.delays }) });
    const number = `${happened.length}/${options.faults}`.padStart(7);
    report(
      `${number}  ${kind.padEnd(24)} recovered in ${(milliseconds / 1000).toFixed(2).padStart(5)} s   ${fault.what}`,
    );
    // Mostly the next comes while a server is still starting.
    const enough = random.below(4) > 0 ? 1 : servers.length;
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

/** People and rooms, the cursor that belongs to them, and what the topics had counted there. */
async function arrange(postgres: Postgres, sign: Stage['sign'], url: string) {
  const names = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}_${index + 1}`);
  const people = await withOwner(postgres.url, (owner) =>
    makePeople(owner, [...names('writer', writers), ...names('reader', rooms)]),
  );
  const tokens = await Promise.all(people.map(({ claims }) => sign(claims)));
  const [first = ''] = tokens;
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of each document
  const succeed = async (query: string, variables: object, token: string): Promise<any> => {
    const { data, errors } = await ask(url, query, variables, token, 10_000);
    if (errors) throw new Error(`${query}: ${errors[0]?.message}`);
    return data;
  };
  const channels: string[] = [];
  for (let index = 1; index <= rooms; index += 1) {
    const make =
      'mutation Make($name: String!) { createRoom(input: {name: $name, isPublic: true}) { channel { id } } }';
    const { createRoom } = await succeed(make, { name: `Room ${index}` }, first);
    channels.push(createRoom.channel.id);
    const join = 'mutation Join($id: UUID!) { joinRoom(input: {channelId: $id}) { __typename } }';
    for (const token of tokens.slice(1)) await succeed(join, { id: createRoom.channel.id }, token);
  }
  const { cursor: after } = await succeed('{ cursor }', {}, first);
  const counts = await withOwner(postgres.url, countsOfTopics);
  return { authors: people.slice(0, writers), readers: people.slice(writers), channels, after, counts };
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
