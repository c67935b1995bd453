import t from 'tap';
import { openWorld } from '../world.ts';

const { owner } = await openWorld(t);
const someone = "(select id from identity.users where username = 'user77')";
const somewhere = `(select channel_id from chat.members where user_id = ${someone} limit 1)`;

const imported = `select chat.import_messages('gitter', '[{
  "message_id": "new", "user_id": "77", "username": "x", "room_id": "77", "room": "x", "sent_at": "2026-01-01T00:00:00Z", "text": "x"
}]')`;

/**
 * What each index is for: a statement that the API or its upkeep runs, in whose plans, those of the functions and foreign keys
 * inside it included, the index must appear. Null for one that only keeps what is unique unique.
 */
const uses: Record<string, string | null> = {
  'public.schema_versions_pkey': null,
  'public.error_codes_pkey': null,
  'identity.users_pkey': 'select * from identity.me()',
  'identity.users_external_ref_key': imported,
  'identity.users_username_key': "select * from identity.user_by_username('USER77')",
  'identity.users_searched_trgm_idx': "select * from identity.search_users('alexandra')",
  'identity.users_searched_stem_idx': "select * from identity.search_users('alexandra')",
  'identity.accounts_pkey': `select * from identity._live_sessions where id = (select id from identity.sessions limit 1)`,
  'identity.accounts_phone_key':
    "select (identity.verify_code(id, '123456')).refresh_token from identity.codes where recipient = '+77770000077'",
  'identity.accounts_email_key': "select identity.password_salt('user77@plinth.test')",
  'identity.passwords_pkey': "select identity.password_salt('user77@plinth.test')",
  'identity.codes_pkey': "select (identity.verify_code(gen_random_uuid(), 'wrong')).refresh_token",
  'identity.codes_expires_at_idx': 'select identity.expire_codes()',
  'identity.sessions_pkey': "select (identity.refresh_session('token77')).refresh_token",
  'identity.sessions_user_id_id_idx': `select * from identity.sessions where user_id = ${someone} order by id desc limit 20`,
  'identity.refresh_tokens_pkey': "select (identity.refresh_session('token77')).refresh_token",
  'identity.refresh_tokens_session_id_idx': `delete from identity.sessions where user_id = ${someone}`,
  'identity.attempts_pkey': "select identity.password_salt('user77@plinth.test')",
  'identity.attempts_started_at_idx': 'select identity.expire_codes()',
  'identity.maintenance_pkey': null,
  'access.flags_pkey': "select access.is_on('flag_77')",
  'access.rate_limits_pkey': null,
  'access.rate_counts_pkey': "select access._count_requests('{key77}', '{1}', '{60}')",
  'access.rate_counts_expires_at_idx': "select access._count_requests('{key77}', '{1}', '{60}')",
  'events.topic_kinds_pkey': null,
  'events.topics_pkey': "select events.publish('user:77', 'told')",
  'events.log_pkey': "select * from events._missed('{user:77}', '{0}', '{1}')",
  'events.log_xid_idx': "select * from events._new_in_log('3:3:', pg_current_snapshot(), '-infinity', '', 0)",
  'jobs.queues_dead_letter_idx': "delete from jobs.queues where name = 'queue_77'",
  'jobs.schedules_task_idx': "delete from jobs.tasks where name = 'task 2077'",
  'jobs.runs_task_created_at_id_idx': "delete from jobs.tasks where name = 'task 2077'",
  'jobs.runs_state_created_at_id_idx': 'select * from jobs.overview()',
  'jobs.runs_asked_by_created_at_idx': `select * from jobs.runs where asked_by = ${someone} order by created_at desc limit 20`,
  'jobs.runs_finished_at_idx': 'select jobs.expire_runs()',
  'jobs.runs_worker_idx': "select jobs._beat('worker 77', 'here', 1, '{}')",
  'stats.system_metrics_metric_name_measured_at_id_idx':
    "select * from stats.system_metrics where metric_name = 'cpu_usage' order by measured_at desc, id desc limit 20",
  'stats.system_metrics_measured_at_idx': 'select stats.expire_metrics()',
  'operations.backups_started_at_idx': 'select operations.backup_status()',
  'chat.channels_pkey': `select chat.mark_read(${somewhere})`,
  'chat.channels_external_ref_key': imported,
  'chat.channels_public_idx': "select * from chat.search_messages('walrus')",
  'chat.channels_owner_id_idx': `select * from chat.channels where owner_id = ${someone} order by id limit 20`,
  'chat.direct_pairs_pkey': "select chat.open_direct((select id from identity.users where username = 'user78'))",
  'chat.direct_pairs_channel_id_key': `delete from chat.channels where id = ${somewhere}`,
  'chat.direct_pairs_second_user_id_idx': 'select identity.remove_account()',
  'chat.members_pkey': `select * from chat.members where channel_id = ${somewhere} order by user_id limit 20`,
  'chat.members_user_id_channel_id_idx': 'select * from chat.my_channels()',
  'chat.messages_pkey': `select message.* from chat.channels as channel, chat.last_message(channel) as message where channel.id = ${somewhere}`,
  'chat.messages_channel_id_id_idx': `select * from chat.messages where channel_id = ${somewhere} order by id desc limit 20`,
  'chat.messages_sender_id_id_idx': `select * from chat.messages where sender_id = ${someone} order by id desc limit 20`,
  'chat.messages_reply_to_id_id_idx':
    'select reply.* from (select * from chat.messages limit 1) as m, chat.replies(m) as reply',
  'chat.messages_searched_idx': "select * from chat.search_messages('walrus')",
  'chat.message_edits_pkey': 'select edit.* from (select * from chat.messages limit 1) as m, chat.edits(m) as edit',
  'chat.message_edits_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.deletions_pkey': 'select chat.unread_total()',
  'chat.deletions_deleted_by_idx': `delete from identity.users where id = ${someone}`,
  'chat.nonces_pkey': `select chat.send_message(${somewhere}, 'hello', 'nonce77')`,
  'chat.common_words_pkey': null,
  'jobs.queues_pkey': null,
  'jobs.tasks_pkey': null,
  'jobs.tasks_queue_key': null,
  'jobs.schedules_pkey': null,
  'jobs.workers_pkey': null,
  'jobs.runs_pkey': null,
  'jobs.runs_task_nonce_key': null,
  'jobs.runs_schedule_scheduled_for_key': null,
  'jobs.runs_running_key': null,
  'jobs.cancellations_pkey': null,
  'stats.daily_stats_pkey': null,
  'stats.system_metrics_pkey': null,
  'operations.backups_pkey': null,
  'operations.health_thresholds_pkey': null,
  'events.restores_pkey': null,
};

// Enough of everything that reading all of it costs more than an index. User 77 and what is around them is what is asked for.
await owner.query(`
  -- Without triggers: that so much happens at once is not to be told.
  set session_replication_role = replica;
  select operations.ensure_partitions(now() - interval '2 months');
  select operations.ensure_partitions('2026-01-01');
  insert into identity.users (username, display_name, external_ref)
    select 'user' || n, case n when 77 then 'Alexandra' else md5(n::text) end, 'gitter:' || n from generate_series(1, 3000) as n;
  create temp table who as select id, substr(username, 5)::integer as n from identity.users;
  create index on who (n);
  insert into identity.accounts (user_id, phone, email)
    select id, '+7777' || lpad(n::text, 7, '0'), 'user' || n || '@plinth.test' from who;
  insert into identity.passwords (user_id, hash) select id, '$argon2id$' || n from who;
  insert into identity.sessions (user_id) select id from who, generate_series(1, 2);
  insert into identity.refresh_tokens (hash, session_id)
    select sha256(convert_to('token' || row_number() over (), 'UTF8')), id from identity.sessions;
  insert into identity.codes (recipient, salt, hash, display_name, expires_at)
    select '+7777' || lpad(n::text, 7, '0'), '', sha256('123456'), 'Name', now() + interval '10 minutes' from who;
  update identity.codes set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour' where recipient like '%99';
  insert into identity.attempts select 'subject' || n, now() - case when n % 100 = 0 then interval '2 days' else interval '0' end, 1 from who;
  insert into access.flags (name, description) select 'flag_' || n, 'A flag' from who;
  insert into access.rate_counts
    select 'key' || n, 1, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end from who;
  insert into jobs.queues (name) select 'queue_' || n from who;
  insert into jobs.tasks (name) select 'task ' || n from who;
  insert into jobs.schedules (name, cron, task) select 'schedule ' || n, '0 0 1 1 *', 'task ' || n from who where n < 2000;
  insert into jobs.runs (task, state, asked_by, worker, max_attempts, created_at, finished_at)
    select 'task ' || n % 2000 + 1, case when n % 100 = 0 then 'running' when n % 101 = 0 then 'queued' else 'succeeded' end::jobs.run_state,
      id, 'worker ' || n, 1, now() - n * interval '1 minute', case when n % 100 <> 0 and n % 101 <> 0 then now() - n * interval '15 minutes' end
    from who;
  insert into stats.system_metrics (metric_name, metric_value, server_id, measured_at)
    select (array['cpu_usage', 'memory_usage', 'disk_usage'])[n % 3 + 1]::stats.metric_name, 0.5, 'here', now() - n * interval '15 minutes' from who;
  insert into operations.backups (name, kind, form, storage, state, started_at, finished_at, proven_at)
    select 'backup ' || n, 'daily', 'portable', 'folder', 'proven', now() - n * interval '1 day', now() - n * interval '1 day', now() from who;
  insert into chat.channels (kind, name, is_public, owner_id, last_seq, external_ref)
    select 'room', 'room ' || n, n % 100 = 0, id, 4, 'gitter:' || n from who;
  create temp table room as select id, substr(name, 6)::integer as n from chat.channels;
  create index on room (n);
  insert into chat.members (channel_id, user_id)
    select room.id, who.id from who cross join generate_series(0, 3) as step join room on room.n = (who.n + step * 31) % 3000 + 1;
  with made as (insert into chat.channels (kind, name) select 'direct', n || '-' || step from who, generate_series(1, 4) as step returning id, name)
    insert into chat.direct_pairs (first_user_id, second_user_id, channel_id)
    select least(one.id, other.id), greatest(one.id, other.id), made.id
    from made join who as one on one.n = split_part(made.name, '-', 1)::integer
    join who as other on other.n = (one.n + split_part(made.name, '-', 2)::integer - 1) % 3000 + 1;
  insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched, reply_to_id)
    select public.uuid_v7_at(now() - step * interval '10 days', null), room.id, 4 - step, who.id, 'a text ' || md5(who.n::text), 'english', now(),
      to_tsvector('english', 'a text ' || md5(who.n::text)), case when step = 0 and who.n % 50 = 0 then gen_random_uuid() end
    from who cross join generate_series(0, 3) as step join room on room.n = (who.n + step * 31) % 3000 + 1;
  insert into chat.message_edits (message_id, channel_id, text) select id, channel_id, text from chat.messages where seq = 4;
  insert into chat.deletions (channel_id, seq, message_id, deleted_by) select channel_id, seq, id, sender_id from chat.messages where seq = 1;
  insert into chat.nonces (sender_id, nonce, message_id) select sender_id, 'nonce' || seq, id from chat.messages where seq = 2;
  reset session_replication_role;
  select events.publish('user:' || n, 'told') from generate_series(1, 3000) as n;
`);
await owner.query('vacuum analyze');

/** The indexes in the plans of a statement and of all that it runs inside; nothing of what it does stays. */
async function indexesIn(statement: string): Promise<Set<string>> {
  const client = await owner.connect();
  const plans: string[] = [];
  const take = ({ message = '' }: { message?: string | undefined }) => void plans.push(message);
  client.on('notice', take);
  try {
    await client.query(`begin; load 'auto_explain';
      set local auto_explain.log_min_duration = 0; set local auto_explain.log_nested_statements = on; set local auto_explain.log_level = notice;
      select set_config('plinth.user_id', id::text, true) from identity.users where username = 'user77'`);
    plans.length = 0;
    await client.query(statement);
  } finally {
    client.off('notice', take);
    await client.query('rollback');
    client.release();
  }
  return new Set(
    plans.flatMap((plan) => [...plan.matchAll(/(?:using|on|Arbiter Indexes:) (\w+)/g)].map(([, name = '']) => name)),
  );
}

t.test('every index answers a statement that someone runs', async (t) => {
  const { rows } = await owner.query<{ name: string; is_unique: boolean; names: string[] }>(`
    select namespace.nspname || '.' || class.relname as name, index.indisunique as is_unique,
      array_append(array(select relid::regclass::text from pg_partition_tree(class.oid)), class.relname::text) as names
    from pg_index as index join pg_class as class on class.oid = index.indexrelid
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname !~ '^pg_' and not class.relispartition
      and not exists (select from pg_depend where objid = class.oid and deptype = 'e')`);
  t.strictSame(
    rows.map(({ name }) => name).sort(),
    Object.keys(uses).sort(),
    'the indexes are those that are named here',
  );
  for (const { name, is_unique, names } of rows) {
    const statement = uses[name];
    if (!statement) {
      t.ok(is_unique, `${name} keeps a rule`);
      continue;
    }
    const seen = await indexesIn(statement);
    t.ok(
      names.some((each) => seen.has(each.replace(/^.*\./, ''))),
      `${name} is used`,
      { statement, seen: [...seen] },
    );
  }
});

t.test('no index does what another one does', async (t) => {
  const { rows } = await owner.query(`
    with indexes as (
      select indexrelid::regclass::text as name, indrelid, indisunique as is_unique, relam, coalesce(pg_get_expr(indpred, indrelid), '') as where,
        array(select pg_get_indexdef(indexrelid, n, false) from generate_series(1, indnkeyatts) as n order by n) as columns
      from pg_index join pg_class on pg_class.oid = indexrelid join pg_namespace on pg_namespace.oid = relnamespace
      where nspname !~ '^pg_' and not relispartition
    )
    select index.name, other.name as covered_by
    from indexes as index
    join indexes as other on other.indrelid = index.indrelid and other.name <> index.name and other.relam = index.relam
      and other.columns[1:cardinality(index.columns)] = index.columns and other.where = index.where
    where not index.is_unique or (other.is_unique and other.columns = index.columns)`);
  t.strictSame(rows, []);
});
