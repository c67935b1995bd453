import t from 'tap';
import { openWorld } from '../world.ts';

const world = await openWorld(t);
const { owner } = world;
const sql = async (text: string, values: unknown[] = []) => (await owner.query(text, values)).rows;
const ada = await world.person('ada');
const ben = await world.person('ben');

const [room] = (await world.ask('mutation { createRoom(input: {name: "stats"}) { channel { id } } }', {}, ada.token))
  .data
  ? await sql("select id from chat.channels where name = 'stats'")
  : [];

/** Days ago at noon. */
const at = (days: number): string => `(current_date - ${days} + time '12:00')::timestamptz`;

await sql(`set timezone = 'UTC'; select chat.ensure_month(now() - interval '40 days')`);
await sql(`update identity.users set created_at = ${at(6)}; update chat.channels set created_at = ${at(5)};
  delete from identity.sessions`);
const send = (days: number, sender: string): Promise<unknown> =>
  sql(
    `insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched)
    select public.uuid_v7_at(${at(days)}, null), $1, coalesce(max(seq), 0) + 1, $2, 'said', 'english', ${at(days)}, ''
    from chat.messages where channel_id = $1`,
    [room?.id, sender],
  );
await send(5, ada.id);
await send(5, ada.id);
await send(5, ben.id);
await send(3, ben.id);

const days = () =>
  sql(`select current_date - stat_date as ago, total_users, new_users, active_users, total_rooms, new_rooms,
    total_messages, new_messages, storage_used_bytes is not null as has_size from stats.daily_stats order by stat_date`);
const expected = [
  {
    ago: 6,
    total_users: '2',
    new_users: '2',
    active_users: '0',
    total_rooms: '0',
    total_messages: '0',
    has_size: false,
  },
  {
    ago: 5,
    total_users: '2',
    new_users: '0',
    active_users: '2',
    total_rooms: '1',
    new_rooms: '1',
    total_messages: '3',
    new_messages: '3',
  },
  { ago: 4, total_messages: '3', new_messages: '0', active_users: '0' },
  { ago: 3, total_messages: '4', new_messages: '1', active_users: '1' },
  { ago: 2, total_messages: '4', new_messages: '0' },
  { ago: 1, total_messages: '4', new_messages: '0', total_users: '2', has_size: true },
];

t.test('C17 the days that nobody counted are made up for', async (t) => {
  t.same(await sql('select stats.update_daily_stats() as count'), [{ count: 6 }]);
  t.match(await days(), expected);
});

t.test('C17 counted again, nothing changes', async (t) => {
  const before = await days();
  await sql('select stats.update_daily_stats()');
  await sql('select stats.update_daily_stats(current_date - 10)');
  t.same(await days(), before);
});

t.test('C17 a run that was missed in the midst, and messages that came later for a day before', async (t) => {
  await sql('delete from stats.daily_stats where stat_date = current_date - 4');
  await send(4, ada.id);
  await sql('select stats.update_daily_stats()');
  t.match(await days(), [
    { ago: 6 },
    { ago: 5, total_messages: '3' },
    { ago: 4, total_messages: '4', new_messages: '1', active_users: '1' },
    { ago: 3, total_messages: '5' },
    { ago: 2, total_messages: '5' },
    { ago: 1, total_messages: '5' },
  ]);
});

t.test('C18 what was measured is kept by name, and nothing else of what was sent', async (t) => {
  await sql(`select stats.record_metrics('here', '{"cpu_usage": 0.5, "unheard_of": 1, "memory_usage": "much"}')`);
  await sql('select stats.measure_database()');
  t.match(await sql('select metric_name, server_id from stats.system_metrics order by id'), [
    { metric_name: 'cpu_usage', server_id: 'here' },
    { metric_name: 'active_connections', server_id: 'database' },
    { metric_name: 'message_rate', server_id: 'database' },
  ]);
  await sql("update stats.system_metrics set measured_at = now() - interval '31 days' where server_id = 'here'");
  t.same(await sql('select stats.expire_metrics() as count'), [{ count: '1' }]);
});

t.test('operators read them, members do not', async (t) => {
  const operator = await world.person('operator', { operator: true });
  const query = '{ dailyStats(first: 1) { nodes { statDate totalMessages } } }';
  t.match(await world.ask(query, {}, operator.token), { data: { dailyStats: { nodes: [{}] } } });
  t.match(await world.ask(query, {}, ada.token), { errors: [{}] });
});
