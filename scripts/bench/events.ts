import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Ground, Report } from './ground.ts';
import type { Heard, Order } from './listeners.ts';
import { median, rounded } from './rounds.ts';
import { type System, startSystems } from './systems.ts';

type Row = Record<string, string | number>;

const rooms = 1000;
const writers = 16;
const query = `subscription ($id: UUID!) {
  messageEvents(channelId: $id) {
    event { cursor seq type timestamp }
    message { id text sender { id username } }
  }
}`;

const queryOfPostgraphile = `subscription ($id: UUID!) {
  messageEvents(channelId: $id) {
    timestamp
    message { id: rowId text sender: identityUserBySenderId { id: rowId username } }
  }
}`;

type World = { userId: string; sessionId: string; rooms: string[]; direct: string[] };
/** Opens listeners in place of those there are. */
type Open = (system: System, channels: string[]) => Promise<void>;

/**
 * Events: what they cost those who write, and how many reach how many listeners how soon. Writers call chat.send_message on connections of
 * their own, so that what is compared is the database: without events; with Plinth's log, one and 1,000 listening; and with the NOTIFY in a
 * trigger that is usual, which is also what PostGraphile listens to.
 */
export async function benchEvents(ground: Ground, quick: boolean, report: Report): Promise<Row[]> {
  Object.assign(process.env, {
    MAX_SUBSCRIPTIONS_PER_USER: '100000',
    MAX_CONNECTIONS: '100000',
    MAX_CONNECTIONS_PER_ADDRESS: '100000',
  });
  const world = await makeRooms(ground);
  const bench = await startSystems(ground, world, [], ['plinth', 'postgraphile']);
  const listeners = fork(path.join(import.meta.dirname, 'listeners.ts'));
  try {
    const [plinth, postgraphile] = bench.systems as [System, System];
    const open: Open = async (system, channels) => {
      const [request] = await system.requests({ name: '', plinth: '', postgraphile: '', variables: [{}] }, 0);
      const asked = system === plinth ? query : queryOfPostgraphile;
      await ask(listeners, { open: { port: system.port, token: request?.token ?? '', query: asked, channels } });
    };
    const commits = await benchCommits(ground, world, (channels) => open(plinth, channels), quick, report);
    const heard = (seconds: number) => ask<Heard>(listeners, { measure: { seconds } });
    const deliveries = await benchDeliveries(ground, world, [plinth, postgraphile], { open, heard }, quick, report);
    return [...commits, ...deliveries];
  } finally {
    listeners.disconnect();
    await bench.close();
  }
}

async function makeRooms({ owner }: Ground): Promise<World> {
  const { rows } = await owner.query(`
    with person as (
      insert into identity.users (username, display_name) values ('bench', 'Bench') returning id
    ), account as (
      insert into identity.accounts (user_id) select id from person returning user_id
    )
    insert into identity.sessions (user_id) select user_id from account returning id, user_id`);
  const { id: sessionId, user_id: userId } = rows[0];
  await owner.query("select set_config('plinth.user_id', $1, false)", [userId]);
  const made = await owner.query(
    "select array(select (chat.create_room('room ' || n)).id from generate_series(1, $1::integer) as n) as ids",
    [rooms],
  );
  const {
    rows: [{ usename }],
  } = await owner.query('select current_user as usename');
  await owner.query('create schema bench');
  await owner.query(`create function bench.notify() returns trigger language plpgsql as $$
    begin
      perform pg_notify('channel:' || new.id, json_build_object('id', new.last_message_id, 'timestamp', clock_timestamp())::text);
      return null;
    end $$`);
  await owner.query(`grant plinth_owner to ${pg.escapeIdentifier(usename)}`);
  await owner.query(
    'create trigger notify after update of last_seq on chat.channels for each row execute function bench.notify()',
  );
  return { userId, sessionId, rooms: made.rows[0].ids as string[], direct: [] };
}

/** Commits a second of 16 writers, in turns: what else the machine does meets all of them. */
async function benchCommits(
  ground: Ground,
  { userId, rooms: ids }: World,
  open: (channels: string[]) => Promise<void>,
  quick: boolean,
  report: Report,
): Promise<Row[]> {
  const ways: Record<string, { events: boolean; notify: boolean; listeners: number }> = {
    'without events': { events: false, notify: false, listeners: 0 },
    'Plinth, 1 listener': { events: true, notify: false, listeners: 1 },
    'Plinth, 1,000 listeners': { events: true, notify: false, listeners: 1000 },
    'NOTIFY in a trigger': { events: false, notify: true, listeners: 0 },
  };
  const measured = new Map<string, number[]>(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < (quick ? 2 : 5); round += 1) {
    for (const [name, { events, notify, listeners }] of Object.entries(ways)) {
      report(`commits, round ${round + 1}: ${name}`);
      await useTriggers(ground, { events, notify });
      await open(Array.from({ length: listeners }, (_, index) => ids[index % ids.length] as string));
      // Turning triggers on and off is DDL: the API is built anew, and who listens begins again.
      await sleep(4000);
      measured.get(name)?.push(await write(ground.url, userId, ids, { clients: writers, seconds: quick ? 3 : 4 }));
    }
  }
  await open([]);
  const [without, , , notify] = [...measured.values()] as [number[], number[], number[], number[]];
  return [...measured].map(([name, rates]) => ({
    name: `commits/s, ${writers} writers: ${name}`,
    rate: rounded(median(rates)),
    ratioToNone: rounded(median(rates.map((rate, round) => rate / (without[round] as number)))),
    ratioToNotify: rounded(median(rates.map((rate, round) => rate / (notify[round] as number)))),
  }));
}

async function useTriggers({ owner }: Ground, { events, notify }: { events: boolean; notify: boolean }): Promise<void> {
  const switched = (on: boolean, name: string): string => `${on ? 'enable' : 'disable'} trigger ${name}`;
  await owner.query(`alter table chat.channels ${switched(events, 'tell_channel')}, ${switched(notify, 'notify')}`);
}

/** Calls send_message on as many connections as fast as they go, or at a pace; gives commits a second. */
async function write(
  url: string,
  userId: string,
  channels: string[],
  { clients, seconds, perSecond }: { clients: number; seconds: number; perSecond?: number },
): Promise<number> {
  const until = performance.now() + seconds * 1000;
  let sent = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      const client = new pg.Client({ connectionString: url, options: `-c plinth.user_id=${userId}` });
      await client.connect();
      const text = 'select (chat.send_message($1, $2)).id';
      while (performance.now() < until) {
        const channel = channels[Math.floor(Math.random() * channels.length)];
        await client.query({
          name: 'send',
          text,
          values: [channel, 'A message as people write them, of a line or so.'],
        });
        sent += 1;
        if (perSecond) await sleep(1000 / perSecond);
      }
      await client.end();
    }),
  );
  return sent / seconds;
}

/** Deliveries a second as fast as they go; the delay from the event to the socket at 20 messages a second; memory. */
async function benchDeliveries(
  ground: Ground,
  { userId, rooms: ids }: World,
  systems: System[],
  { open, heard }: { open: Open; heard(seconds: number): Promise<Heard> },
  quick: boolean,
  report: Report,
): Promise<Row[]> {
  const rows: Row[] = [];
  const seconds = quick ? 3 : 8;
  const sizes: [number, number][] = [
    [1, 1],
    [100, 1],
    [1000, 1],
    [10_000, 1],
    [1000, 100],
  ];
  for (const [count, channels] of quick ? sizes.slice(1, 3) : sizes) {
    const targets = ids.slice(0, channels);
    const listening = Array.from({ length: count }, (_, index) => targets[index % channels] as string);
    // A read of each message for each listener: more of them than this it does not serve in any time.
    for (const system of systems.filter(({ name }) => name === 'plinth' || count <= 1000)) {
      const name = `${count.toLocaleString('en')} listeners of ${channels} channel${channels === 1 ? '' : 's'}: ${system.name}`;
      report(name);
      await useTriggers(ground, { events: system.name === 'plinth', notify: system.name === 'postgraphile' });
      const before = memoryOf(system.pid);
      await open(system, listening);
      // Turning triggers on and off is DDL: the API is built anew, and who listens begins again.
      await sleep(4000);
      const perListener = (memoryOf(system.pid) - before) / count;
      const paced = heard(seconds + 1);
      await write(ground.url, userId, targets, { clients: 1, seconds, perSecond: 20 });
      const { latencies } = await paced;
      const [fast] = await Promise.all([heard(seconds), write(ground.url, userId, targets, { clients: 4, seconds })]);
      const row = {
        name,
        rate: rounded(fast.deliveries / fast.seconds),
        ...{ p50: percentile(latencies, 0.5), p95: percentile(latencies, 0.95), p99: percentile(latencies, 0.99) },
        ...(count >= 1000 && { kilobytesPerListener: rounded(perListener / 1024) }),
      };
      // A long run that breaks off has told what it measured.
      report(JSON.stringify(row));
      rows.push(row);
      // What is still on its way belongs to none of the next.
      await open(system, []);
      await sleep(quick ? 1000 : 3000);
    }
  }
  return rows;
}

function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return rounded(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN);
}

/** What a process holds, in bytes. */
function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) * 1024;
}

function ask<Answer>(child: ChildProcess, order: Order): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Error('The listeners went away while they were measured.'));
    child.once('exit', gone);
    child.once('message', (answer: Answer) => {
      child.off('exit', gone);
      resolve(answer);
    });
    child.send(order);
  });
}
