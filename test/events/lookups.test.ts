import t from 'tap';
import { openWorld } from '../world.ts';

t.test('what an event is about is found by its id, however much there is beside it', async (t) => {
  const { owner, person } = await openWorld(t);
  const ann = await person('ann');
  const { rows } = await owner.query('select id as sid from identity.sessions where user_id = $1', [ann.id]);
  const client = await owner.connect();
  t.teardown(() => client.release(true));
  await client.query(
    `insert into identity.users (username, display_name)
    select 'user' || number, 'User' from generate_series(1, 3000) as number`,
  );
  await client.query(
    "insert into chat.channels (kind, name) select 'room', 'Room ' || number from generate_series(1, 3000) as number",
  );
  await client.query(
    `insert into chat.messages (id, channel_id, seq, text, language, sent_at, searched)
    select uuid_v7(), id, 1, 'hello', 'english', now(), '' from chat.channels, generate_series(1, 3)`,
  );
  await client.query(
    `insert into notifications.notifications (recipient_id, type, key)
    select id, 'mention', 'key' || number from (select id from identity.users limit 30) as users, generate_series(1, 300) as number`,
  );
  await client.query('analyze');
  const filled = await client.query(
    'select relname as name from pg_class where oid = (select tableoid from chat.messages limit 1)',
  );
  await client.query('begin');
  await client.query('set local plan_cache_mode = force_generic_plan');
  const claims = JSON.stringify({ sub: ann.id, sid: rows[0].sid });
  await client.query("select identity.begin_request('member', $1::jsonb, '10s')", [claims]);
  for (const each of [
    ...['chat.message_events', 'chat.channel_events', 'chat.user_events', 'chat.typing', 'presence.presence'],
    ...['notifications.notification_events', 'notifications.new_message_events'],
  ]) {
    const [, name] = each.split('.');
    const happened = 'json_populate_recordset(null::events.event, $1::json) as event';
    await client.query(
      `prepare ${name} (text) as select found.* from ${happened} cross join lateral ${each}(event) as found`,
    );
    const explained = await client.query(`explain (format json) execute ${name} ('[]')`);
    const plan = JSON.stringify(explained.rows[0]['QUERY PLAN']);
    t.match(plan, /"(messages_\d{4}_\d\d_pkey|users_pkey|channels_pkey|notifications_pkey)"/, `${name} by the key`);
    const whole = new RegExp(
      `"Node Type":"Seq Scan"[^{}]*"Relation Name":"(users|notifications|${filled.rows[0].name})"`,
    );
    t.notMatch(plan, whole, `${name} reads no whole table`);
  }
});
