import { bot, type Section, someone } from './section.ts';

const place = `(select channel_id from platforms.conversations where chat_id = 'chat77')`;

export const platforms: Section = {
  uses: {
    'platforms.platforms_pkey': null,
    'platforms.integrations_pkey': null,
    'platforms.a_user_has_one_of_a_platform': `select * from platforms.integrations where user_id = ${someone} order by platform_id limit 20`,
    'platforms.integrations_platform_id_idx': "delete from platforms.platforms where id = 'platform77'",
    'platforms.integrations_next_sync_at_idx': 'select commerce.sync_due()',
    'platforms.sealed_credentials_pkey': `select * from platforms._credentials(${bot})`,
    'platforms.sealed_credentials_key_id_idx': "delete from platforms.sealed_credentials where key_id = 'old'",
    'platforms.agents_pkey': `select * from platforms.agents where integration_id = ${bot} order by user_id limit 20`,
    'platforms.agents_user_id_idx': 'select * from platforms._served',
    'platforms.contacts_pkey': `select author.* from (select * from chat.messages where seq = 1 limit 1) as m, platforms.contact(m) as author`,
    'platforms.a_contact_is_known_once': `select platforms._contact(${bot}, '{"id": "c77", "name": "x"}')`,
    'platforms.contacts_user_id_idx': `select platforms.tell_user(${someone}, 'hello')`,
    'platforms.link_codes_pkey': null,
    'platforms.link_codes_hash_key': `select platforms._link(known, 'CODE77') from (select * from platforms.contacts where external_id = 'c77' limit 1) as known`,
    'platforms.link_codes_expires_at_idx': 'select platforms.expire()',
    'platforms.conversations_pkey': `select platforms._claim(${place})`,
    'platforms.a_chat_is_one_conversation': null,
    'platforms.conversations_integration_id_status_idx': `select * from platforms.conversations where integration_id = ${bot} and status = 'active' order by channel_id desc limit 20`,
    'platforms.conversations_contact_id_idx': `delete from platforms.contacts where external_id = 'c77'`,
    'platforms.conversations_assigned_to_idx': `select * from platforms.conversations where assigned_to = ${someone} order by channel_id desc limit 20`,
    'platforms.conversations_heard_at_idx': 'select platforms.close_due()',
    'platforms.transitions_pkey': null,
    'platforms.external_messages_pkey': null,
    'platforms.external_messages_message_id_idx':
      'select author.* from (select * from chat.messages where seq = 1 limit 1) as m, platforms.contact(m) as author',
    'platforms.external_messages_channel_id_idx': `delete from platforms.conversations where channel_id = ${place}`,
    'platforms.external_messages_contact_id_idx': `delete from platforms.contacts where external_id = 'c77'`,
    'platforms.external_messages_xid_idx': 'select platforms.roll_up()',
    'platforms.remote_files_pkey': "select platforms._not_fetched(77, 'x', 1, false)",
    'platforms.a_file_is_fetched_once':
      "delete from platforms.remote_files where message_id = '00000000-0000-7000-8000-000000000077'",
    'platforms.remote_files_channel_id_idx': `select platforms._claim_file(${place})`,
    'platforms.remote_files_due_at_idx': 'select platforms.ask_again()',
    'platforms.inbound_pkey': 'select platforms._set_aside(77, null)',
    'platforms.an_event_is_stored_once': `select platforms._receive(${bot}, '[{"id": "told", "body": {}}]')`,
    'platforms.inbound_waiting_idx': `select * from platforms._waiting(${bot}, 10)`,
    'platforms.inbound_integration_id_id_idx': `select platforms._last_told(${bot})`,
    'platforms.inbound_received_at_idx': 'select platforms.expire()',
    'platforms.inboxes_pkey': `select platforms._open_inbox(${bot})`,
    'platforms.deliveries_pkey': 'select platforms._sent(77, 1, null, 1)',
    'platforms.deliveries_waiting_idx': `select platforms._claim(${place})`,
    'platforms.deliveries_due_at_idx': 'select platforms.ask_again()',
    'platforms.deliveries_message_id_idx':
      'select known.* from (select * from chat.messages where seq = 1 limit 1) as m, platforms.delivery(m) as known',
    'platforms.deliveries_channel_id_id_idx': `select * from platforms.deliveries where channel_id = ${place} order by id desc limit 20`,
    'platforms.deliveries_ended_xid_idx': 'select platforms.roll_up()',
    'platforms.runs_pkey': null,
    'platforms.runs_integration_id_id_idx': `select * from platforms.runs where integration_id = ${bot} order by id desc limit 20`,
    'platforms.runs_running_key': `select platforms._begin_run(${bot}, 'orders')`,
    'platforms.runs_ended_xid_idx': 'select platforms.roll_up()',
    'platforms.runs_finished_at_idx': 'select platforms.expire()',
    'platforms.metrics_pkey': 'select platforms.roll_up()',
    'platforms.metrics_period_starts_at_idx': 'select platforms.expire()',
    'platforms.counted_pkey': null,
  },
  rows: `
  insert into platforms.platforms (id, name, type, region) select 'platform' || n, 'x', 'messaging', 'global' from who where n < 1000;
  insert into platforms.integrations (user_id, platform_id, status) select id, case when n < 1000 and n <> 77 then 'platform' || n else 'telegram' end, 'connected' from who;
  delete from platforms.integrations where platform_id = 'platform77';
  insert into platforms.sealed_credentials (integration_id, sealed, key_id, names)
    select id, '{}', case when row_number() over () % 500 = 0 then 'old' else 'new' end, '{}' from platforms.integrations;
  insert into platforms.agents (integration_id, user_id) select mine.id, who.id from platforms.integrations as mine, who where who.n % 300 = 0;
  insert into platforms.inboxes (integration_id) select id from platforms.integrations;
  create temp table bot as select mine.id, who.n from platforms.integrations as mine join who on who.id = mine.user_id;
  insert into platforms.contacts (integration_id, external_id, name, user_id) select bot.id, 'c' || bot.n, 'x', who.id from bot join who using (n);
  insert into platforms.link_codes (user_id, hash, expires_at)
    select id, sha256(convert_to('CODE' || n, 'UTF8')), now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end from who;
  insert into chat.channels (kind, name, description) select 'external', 'x', n::text from who;
  insert into platforms.conversations (channel_id, integration_id, chat_id, contact_id, assigned_to, heard_at)
    select channel.id, bot.id, 'chat' || bot.n, contact.id, who.id, now() - case when bot.n % 100 = 0 then interval '99 days' else interval '1 minute' end
    from bot join who using (n) join chat.channels as channel on channel.kind = 'external' and channel.description = n::text
    join platforms.contacts as contact on contact.external_id = 'c' || n;
  create temp table place as select channel_id, integration_id, contact_id, substr(chat_id, 5)::integer as n from platforms.conversations;
  insert into platforms.external_messages (integration_id, external_id, channel_id, message_id, contact_id, direction, xid)
    select integration_id, 'm' || step, channel_id, gen_random_uuid(), contact_id, 'inbound', case when n = 77 then '1000000000000' else '3' end::xid8
    from place, generate_series(1, 3) as step;
  insert into platforms.inbound (integration_id, external_id, body, received_at, applied_at)
    select integration_id, 'e' || step, '{}', now() - case when n % 100 = 0 then interval '9 days' else interval '1 minute' end, case when step > 1 then now() end
    from place, generate_series(1, 20) as step;
  insert into platforms.deliveries (message_id, channel_id, action, state, due_at, ended_xid)
    select gen_random_uuid(), channel_id, 'send', case when step = 1 then 'queued' else 'sent' end::platforms.delivery_state,
      now() - case when n % 100 = 0 then interval '1 hour' else interval '0' end, case when n = 77 then '1000000000000' else '3' end::xid8
    from place, generate_series(1, 10) as step;
  insert into platforms.remote_files (message_id, channel_id, position, remote, due_at)
    select gen_random_uuid(), channel_id, 1, '{}', now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end
    from place, generate_series(1, 3);
  insert into platforms.runs (integration_id, kind, status, finished_at, ended_xid)
    select integration_id, 'orders', 'success', now() + n * interval '1 second', case when n = 77 then '1000000000000' else '3' end::xid8 from place, generate_series(1, 5);
  update platforms.integrations set status = 'connected', next_sync_at = now() + interval '1 day' where platform_id <> 'telegram';
  insert into platforms.metrics (integration_id, metric, period, starts_at, count, total)
    select integration_id, 'errors', 'minute', now() - step * interval '1 minute' - case when n % 100 = 0 then interval '9 days' else interval '0' end, 1, 1
    from place, generate_series(1, 5) as step;
  `,
};
