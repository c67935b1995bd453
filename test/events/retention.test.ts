import t from 'tap';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { fieldOf, listen, until } from './listen.ts';

// How long the log is kept, and what whoever comes back too late is told.

t.setTimeout(120_000);
const world = await openWorld(t);
const { owner } = world;
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const { url } = world.server;

const messageEvents = `subscription($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) { event { cursor } message { text } }
}`;
const expire = async (): Promise<number> => (await owner.query('select events.expire() as days')).rows[0].days;
/** Drops at least so many days: one that is being read at that moment stays until the next time. Gives how many they were. */
async function expired(days: number): Promise<number> {
  let dropped = 0;
  await until(async () => {
    dropped += await expire();
    return dropped >= days;
  }, `The end of ${days} days`);
  return dropped;
}
/** Makes what the log holds of a kind some days older: the day of now is taken out, and comes back as an earlier one. */
async function age(kind: string, days: number): Promise<void> {
  await owner.query('select events._ensure_partition($1, now() - make_interval(days => $2))', [kind, days]);
  await owner.query('update events.log set at = at - make_interval(days => $2) where kind = $1', [kind, days]);
}
/** A cursor that no transaction of before is left open at; on a server that is shared, others' count as well. */
async function settled(): Promise<string> {
  const text = 'select max(forgotten) < pg_snapshot_xmin(pg_current_snapshot()) as so from events.topic_kinds';
  await until(async () => (await owner.query(text)).rows[0].so, 'The end of older transactions');
  return acts.cursor();
}
const partitions = async (kind: string): Promise<number[]> => {
  const { rows } = await owner.query(
    `select to_date(right(relname, 10), 'YYYY_MM_DD') - (now() at time zone 'UTC')::date as days from pg_class
     where relname like 'log\\_' || $1 || '\\_2%' and relkind = 'r' and relnamespace = 'events'::regnamespace order by 1`,
    [kind],
  );
  return rows.map(({ days }) => days);
};

t.test('C13 a day of the log goes whole once its kind is kept no longer, and no day before', async (t) => {
  t.equal(await expire(), 0);
  for (const [kind, kept] of [
    ['search', 1],
    ['channel', 7],
    ['notification', 7],
    ['user', 30],
    ['system', 60],
  ] as const) {
    for (const days of [kept, kept + 1, kept + 2, kept + 9]) {
      await owner.query('select events._ensure_partition($1, now() - make_interval(days => $2))', [kind, days]);
    }
    t.equal(await expired(3), 3, kind);
    t.same((await partitions(kind)).slice(0, 3), [-kept, 0, 1], 'what may hold an event that is young enough stays');
  }
});

t.test('C13 E5 a day that a backup reads stays until the next time, and nobody waits', async (t) => {
  for (const days of [40, 41]) {
    await owner.query('select events._ensure_partition($1, now() - make_interval(days => $2))', ['user', days]);
  }
  const [oldest] = await partitions('user');
  const reader = await owner.connect();
  const { rows } = await reader.query(
    "select to_char((now() - interval '41 days') at time zone 'UTC', 'YYYY_MM_DD') as day",
  );
  await reader.query(`begin; select from events.log_user_${rows[0].day}`);
  t.equal(await expired(1), 1);
  t.same((await partitions('user')).slice(0, 2), [oldest, -30]);
  await reader.query('rollback');
  reader.release();
  t.equal(await expired(1), 1);
  t.equal((await partitions('user'))[0], -30);
});

t.test('a cursor from before what was removed is told to read the state anew; a younger one goes on', async (t) => {
  const room = await acts.room(ann, [bob]);
  const [before, quiet] = [await acts.cursor(), await acts.room(ann, [bob])];
  await acts.send(ann, room, 'old');
  await age('channel', 20);
  await expired(1);
  const forgotten = await owner.query("select forgotten::text from events.topic_kinds where kind = 'channel'");
  t.not(forgotten.rows[0].forgotten, '0');
  const after = await settled();
  await acts.send(ann, room, 'new');
  const hear = (id: string, cursor: string) =>
    listen(t, url, { query: messageEvents, variables: { id, after: cursor }, token: bob.token });
  const tooLate = [{ errors: [{ extensions: { code: 'CURSOR_EXPIRED', hint: /anew/ } }] }, { end: 'error' }];
  t.match(await hear(room, before).rest(), tooLate, 'a snapshot');
  t.match(await hear(room, '1').rest(), tooLate, 'a seq');
  t.match(await hear(quiet, before).rest(), tooLate, 'of a channel of which nothing is kept, too');
  const ear = hear(room, after);
  t.equal(fieldOf(await ear.next()).message.text, 'new');
  await acts.send(ann, room, 'newer');
  const { event, message } = fieldOf(await ear.next());
  t.equal(message.text, 'newer');
  await acts.send(ann, room, 'newest');
  t.equal(fieldOf(await hear(room, event.cursor).next()).message.text, 'newest');
  const still = hear(quiet, after);
  await acts.send(ann, quiet, 'no longer quiet');
  t.equal(fieldOf(await still.next()).message.text, 'no longer quiet');
});

t.test('the count of a topic outlives its log, so that no cursor is mistaken for a later one', async (t) => {
  const cat = await world.person('cat');
  const userEvents = 'subscription($after: String) { userEvents(after: $after) { event { seq type data } } }';
  const publish = (n: number) =>
    owner.query(`select events.publish('user:' || $1, 'tick', jsonb_build_object('n', $2::integer))`, [cat.id, n]);
  const hear = (after: string) => listen(t, url, { query: userEvents, variables: { after }, token: cat.token });
  const before = await acts.cursor();
  for (const n of [1, 2, 3]) await publish(n);
  await age('user', 50);
  await expired(1);
  const after = await settled();
  await publish(4);
  t.match((await hear(before).rest())[0]?.errors, [{ extensions: { code: 'CURSOR_EXPIRED' } }]);
  t.match(fieldOf(await hear(after).next()), { event: { seq: '4', data: { n: 4 } } });
  for (const n of [5, 6, 7]) await publish(n);
  t.match((await hear('1').rest())[0]?.errors, [{ extensions: { code: 'CURSOR_EXPIRED' } }], 'a seq of before');
});
