import fc from 'fast-check';
import type pg from 'pg';
import t from 'tap';
import { openWorld } from '../world.ts';

// C9: seconds and sessions of each day, whatever devices say, in any time zone: against a recomputation that knows no SQL.

t.setTimeout(180_000);
const { owner, person } = await openWorld(t);
const ann = await person('ann');
const timeout = 90;
const zones = [
  'UTC',
  'Europe/Berlin',
  'Asia/Kathmandu',
  'Pacific/Apia',
  'America/Havana', // clocks go back over midnight
  'America/Sao_Paulo', // and went forward at midnight
  'Australia/Lord_Howe',
];
// Around changes of clocks, and where nothing happens.
const begins = [
  '2024-03-30T20:00:00Z',
  '2024-10-26T20:00:00Z',
  '2024-11-03T02:00:00Z',
  '2024-03-10T03:00:00Z',
  '2018-11-03T23:00:00Z',
  '2018-02-17T22:00:00Z',
  '2024-06-14T21:00:00Z',
  '2011-12-30T06:00:00Z',
].map((text) => Date.parse(text) / 1000);

type Status = 'online' | 'away' | 'offline';
/** What was said within a second: the last word of each device that spoke, how many seconds after the batch before. */
type Batch = { after: number; words: { device: number; status: Status }[] };
type Session = { from: number; to: number };
type Day = { day: string; seconds: number; sessions: number; first: number; last: number };

const word = fc.record({
  device: fc.nat(2),
  status: fc.constantFrom<Status>('online', 'online', 'online', 'away', 'offline'),
});
const batch = fc.record({
  after: fc.oneof(
    fc.integer({ min: 1, max: 120 }),
    fc.integer({ min: 1, max: 120 }),
    fc.integer({ min: 1000, max: 40_000 }),
  ),
  words: fc.uniqueArray(word, { selector: ({ device }) => device, minLength: 1, maxLength: 3 }),
});

/** The sessions: one step after the other, as a person would tell them. */
function sessionsOf(start: number, batches: Batch[]): Session[] {
  const done: Session[] = [];
  const devices = new Map<number, { status: Status; at: number }>();
  let open: Session | undefined;
  let at = start;
  for (const { after, words } of batches) {
    at += after;
    if (open && at - open.to > timeout) {
      done.push(open);
      open = undefined;
    }
    for (const { device, status } of words) devices.set(device, { status, at });
    if (open) open.to = at;
    else if (words.some(({ status }) => status !== 'offline')) open = { from: at, to: at };
    const isThere = [...devices.values()].some((each) => each.status !== 'offline' && at - each.at <= timeout);
    if (open && !isThere) {
      done.push(open);
      open = undefined;
    }
  }
  return open ? [...done, open] : done;
}

const formats = new Map(
  zones.map((timeZone) => [
    timeZone,
    new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' }),
  ]),
);

/** The days: second by second. */
function daysOf(sessions: Session[], zone: string): Day[] {
  const days = new Map<string, Day>();
  const format = formats.get(zone) as Intl.DateTimeFormat;
  for (const { from, to } of sessions) {
    const touched = new Set<string>();
    for (let second = from; second < to || second === from; second += 1) {
      const day = format.format(second * 1000);
      const known = days.get(day) ?? { day, seconds: 0, sessions: 0, first: second, last: second };
      days.set(day, known);
      if (second < to) known.seconds += 1;
      if (!touched.has(day)) known.sessions += 1;
      touched.add(day);
      known.first = Math.min(known.first, second);
      known.last = Math.max(known.last, Math.min(second + 1, to));
    }
  }
  return [...days.values()].sort((one, other) => (one.day < other.day ? -1 : 1));
}

async function record(client: pg.PoolClient, at: number, words: Batch['words'], sessions: string[]): Promise<void> {
  const beats = words.map(({ device, status }) => ({
    user: ann.id,
    session: sessions[device],
    age: 0,
    input: { status },
  }));
  await client.query('select presence._record($1, to_timestamp($2))', [JSON.stringify(beats), at]);
}

t.test('C9 days are right across midnight, time zones, changes of clocks and overlapping devices', async (t) => {
  const { rows } = await owner.query(
    'select (identity.open_session($1)).access_token as claims from generate_series(1, 3)',
    [ann.id],
  );
  const devices = rows.map(({ claims }) => claims.sid);
  const client = await owner.connect();
  let touched = 0;
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...zones),
        fc.constantFrom(...begins),
        fc.array(batch, { minLength: 1, maxLength: 25 }),
        fc.array(fc.nat(24), { maxLength: 3 }),
        async (zone, start, batches, sweeps) => {
          await client.query('begin');
          await client.query('update identity.accounts set time_zone = $2 where user_id = $1', [ann.id, zone]);
          let at = start;
          for (const [index, { after, words }] of batches.entries()) {
            // Somebody looks, now and then, for whose time is over: nothing may depend on when.
            if (sweeps.includes(index))
              await client.query("select presence._record('[]', to_timestamp($1))", [at + after]);
            at += after;
            await record(client, at, words, devices);
          }
          // Long after, all is over.
          await client.query("select presence._record('[]', to_timestamp($1))", [at + 1000]);
          const found = await client.query(
            `select day::text, seconds::double precision, sessions, extract(epoch from first_at)::double precision as first,
              extract(epoch from last_at)::double precision as last
             from presence.days where user_id = $1 order by day`,
            [ann.id],
          );
          const open = await client.query('select from presence.sessions union all select from presence.devices');
          await client.query('rollback');
          const expected = daysOf(sessionsOf(start, batches), zone);
          touched += Number(expected.length > 1);
          if (open.rowCount) throw new Error('Someone is there who has been gone for long.');
          if (JSON.stringify(found.rows) !== JSON.stringify(expected)) {
            throw new Error(`found ${JSON.stringify(found.rows)}, expected ${JSON.stringify(expected)}`);
          }
        },
      ),
      { numRuns: 150, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
    );
  } finally {
    client.release();
  }
  t.ok(touched > 10, 'many of them went over midnight');
});

t.test('C9 the zones of all days: none overlaps the next, none is lost', async (t) => {
  const { rows } = await owner.query(
    `select zone.name, day::date::text as day from pg_timezone_names as zone
     cross join generate_series('2011-01-01'::timestamp, '2025-12-31', '1 day') as day
     where zone.name = any ($1) and presence._day_begins(day::date, zone.name) > presence._day_begins(day::date + 1, zone.name)`,
    [zones],
  );
  t.strictSame(rows, []);
  for (const zone of zones) {
    const { rows: found } = await owner.query(
      `select extract(epoch from presence._day_begins(day::date, $1))::double precision as at, day::date::text as day
       from generate_series('2018-01-01'::timestamp, '2018-12-31', '1 day') as day`,
      [zone],
    );
    const format = formats.get(zone) as Intl.DateTimeFormat;
    const wrong = found.filter(
      ({ at, day }) => format.format(at * 1000) !== day || format.format(at * 1000 - 1000) === day,
    );
    t.strictSame(wrong, [], zone);
  }
});
