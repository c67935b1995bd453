import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { openTokens } from '../../../functions/tokens.ts';
import { seeded } from '../../chaos/random.ts';
import { openPositions } from './account.ts';
import { type Figure, startClock } from './figures.ts';
import { judgeDay, type Proof } from './judge.ts';
import { type ActivePerson, beActive, type Day, type Person } from './person.ts';

// The people of a day, in a process of their own: what they cost is not the server's.

/** What the parent sends, one at a time. */
export type Order =
  | { begin: { port: number; url: string; key: string } }
  | { raise: { to: number; seconds: number } }
  | { measure: { seconds: number } }
  | { end: true };

/** The answer to `measure`; `late` is how much this process itself was behind, in milliseconds (p99). */
export type Measured = { figures: Figure[]; late: number; reasons: Record<string, number> };
export type Begun = { people: number };
export type { Proof };

const clock = startClock();
const random = seeded(20);
const active: ActivePerson[] = [];
const wrong: string[] = [];
const longestToken = 300_000;

let people: Person[] = [];
let day: Day;
let url = '';

process.on('message', async (order: Order) => {
  try {
    process.send?.(await obey(order));
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
});
process.on('disconnect', () => process.exit());

async function obey(order: Order): Promise<Begun | Measured | Proof | 'raised'> {
  if ('begin' in order) return begin(order.begin);
  if ('raise' in order) return raise(order.raise);
  if ('measure' in order) return measure(order.measure);
  await Promise.all(active.map((person) => person.rest()));
  const proof = await judgeDay({ url, people, active, day, wrong });
  await Promise.all(active.map((person) => person.leave()));
  return proof;
}

async function begin(given: { port: number; url: string; key: string }): Promise<Begun> {
  url = given.url;
  const owner = new pg.Client({ connectionString: url });
  await owner.connect();
  const known = await owner.query(`
    select person.id, users.username as name, session.id as session_id, array(
        select member.channel_id || ' ' || channel.kind || ' ' || coalesce(member.last_read_seq, member.joined_seq)
        from chat.members as member join chat.channels as channel on channel.id = member.channel_id
        where member.user_id = person.id
      ) as channels, array(
        select other.user_id
        from chat.direct_pairs as pair
        join chat.members as other on other.channel_id = pair.channel_id and other.user_id <> person.id
        where person.id in (pair.first_user_id, pair.second_user_id)
      ) as contacts
    from bench.people as person
    join identity.users as users on users.id = person.id
    join identity.sessions as session on session.user_id = person.id
    order by md5(person.id::text)`);
  people = known.rows.map(({ id, name, channels, contacts }) => {
    const split = (channels as string[]).map((each) => each.split(' ') as [string, string, string]);
    return {
      ...{ id, name, contacts },
      rooms: split.filter(([, kind]) => kind === 'room').map(([channelId]) => channelId),
      positions: openPositions(new Map(split.map(([channelId, , seq]) => [channelId, Number(seq)]))),
    };
  });
  const sessions = new Map<string, string>(known.rows.map(({ id, session_id }) => [id, session_id]));
  const { rows } = await owner.query('select text from bench.texts order by number');
  await owner.end();
  const texts = rows.map(({ text }) => text as string);
  const words = texts.flatMap((text) => text.match(/\p{L}{4,}/gu) ?? []);

  const tokens = openTokens([{ kid: 'bench', key: Buffer.from(given.key, 'hex') }]);
  const signed = new Map<string, { token: string; at: number }>();
  day = {
    ...{ port: given.port, random, clock },
    async token({ id }) {
      const kept = signed.get(id);
      if (kept && Date.now() - kept.at < longestToken) return kept.token;
      const token = await tokens.sign({ sub: id, sid: sessions.get(id), role: 'member' });
      signed.set(id, { token, at: Date.now() });
      return token;
    },
    text: () => random.pick(texts),
    word: () => random.pick(words),
    stranger: ({ id }) => {
      let found = id;
      while (found === id) found = random.pick(people).id;
      return found;
    },
    acknowledged: new Map(),
    tell: (what) => void wrong.push(what),
  };
  return { people: people.length };
}

/** Lets more people in, evenly. */
async function raise({ to, seconds }: { to: number; seconds: number }): Promise<'raised'> {
  const coming = people.slice(active.length, to);
  const began = performance.now();
  await Promise.all(
    coming.map(async (person, index) => {
      await sleep((index / coming.length) * seconds * 1000);
      active.push(await beActive(person, day));
    }),
  );
  await sleep(Math.max(0, began + seconds * 1000 - performance.now()));
  return 'raised';
}

async function measure({ seconds }: { seconds: number }): Promise<Measured> {
  const loop = monitorEventLoopDelay();
  loop.enable();
  clock.reset();
  await sleep(seconds * 1000);
  loop.disable();
  return { figures: clock.figures(), late: loop.percentile(99) / 1e6, reasons: clock.reasons() };
}
