import pg from 'pg';
import t, { type Test } from 'tap';
import { followLog } from '../../functions/event-log.ts';
import type { Batch } from '../../functions/log-reader.ts';
import { openWorld } from '../world.ts';
import { until } from './listen.ts';

// A backlog of many pages: what an import leaves, or what came while nobody read.

t.setTimeout(120_000);
const world = await openWorld(t);
const { owner } = world;
const count = 20_400;
const topics = 4;

const publish = `
  insert into events.log (kind, at, topic, seq, type, data)
  select 'system', clock_timestamp(), 'system:' || topic, seq, 'tick', '{}'
  from generate_series($1::integer, $1::integer + $2::integer - 1) as seq, generate_series(1, $3::integer) as topic`;
// Of the index by which the log is read; a connection that has ended has told all it read.
const entriesRead = `
  select coalesce(sum(idx_tup_read), 0)::integer as read
  from pg_stat_user_indexes
  where schemaname = 'events' and relname like 'log_system_%' and indexrelname like '%xid%'`;

/** The first transaction that was not over, of a snapshot as Postgres writes it: `4139:4145:4139`. */
const oldestOpen = (snapshot: string): bigint => BigInt(snapshot.split(':')[0] ?? '');

/** Follows the log until so many events have come whole. */
async function follow(t: Test, from: number, during: (batches: Batch[]) => void) {
  const pool = new pg.Pool({ connectionString: world.proxy.url, max: 2 });
  t.teardown(() => pool.end());
  const batches: Batch[] = [];
  const log = await followLog(
    world.proxy.url,
    (query) => pool.query(query),
    { warn: () => {} },
    (given) => {
      if (!('events' in given)) return;
      batches.push(given);
      during(batches);
    },
  );
  await owner.query(publish, [from, count / topics, topics]);
  await until(() => batches.at(-1)?.isLast === true, 'The end of the backlog');
  await log.close();
  const events = batches.flatMap((batch) => batch.events);
  t.equal(events.length, count);
  for (let topic = 1; topic <= topics; topic += 1) {
    const own = events.filter((event) => event.topic === `system:${topic}`);
    t.ok(
      own.every(({ seq }, index) => seq === String(from + index)),
      `topic ${topic} in its order`,
    );
  }
  t.equal(new Set(batches.map(({ since, until }) => `${since} ${until}`)).size, 1, 'pages of one backlog');
  // It may have gone on since: over what other databases of the server wrote, too.
  t.ok(
    oldestOpen(log.position()) >= oldestOpen(batches.at(-1)?.until ?? ''),
    'it is at the end of the last page, or beyond',
  );
  t.ok(batches.length >= count / 1000, `${batches.length} pages`);
}

t.test('a long backlog comes whole and in order, and is gathered once, not again for each page', async (t) => {
  await follow(t, 1, () => {});
  const read = async (): Promise<number> => (await owner.query(entriesRead)).rows[0].read;
  await until(async () => (await read()) >= count, 'Its count');
  const perEvent = (await read()) / count;
  // Again for each page, it would be some fifty.
  t.ok(perEvent <= 20, `${perEvent} entries of the index were read for each event, by two who follow at most`);
});

t.test('where the connection is lost in the middle of it, it goes on after the page that was handed on last', (t) =>
  follow(t, 1 + count / topics, ({ length }) => {
    if (length !== 5 && length !== 12) return;
    world.proxy.cut();
    world.proxy.mend();
  }),
);
