import t from 'tap';
import { openWorld } from '../world.ts';

const { owner } = await openWorld(t);
const someone = "(select id from identity.users where username = 'user77')";
const somewhere = `(select channel_id from chat.members where user_id = ${someone} limit 1)`;
const bot = `(select id from platforms.integrations where user_id = ${someone})`;
const place = `(select channel_id from platforms.conversations where chat_id = 'chat77')`;
const upload = `(select id from files.file_uploads where owner_id = ${someone})`;

const office = "(select id from organizations.organizations where name = 'office 77')";
const part = "(select id from organizations.departments where name = 'part 77')";

const imported = `select chat.import_messages('gitter', '[{
  "message_id": "new", "user_id": "77", "username": "x", "room_id": "77", "room": "x", "sent_at": "2026-01-01T00:00:00Z", "text": "x"
}]')`;

const beat = `select presence._record(jsonb_build_array(jsonb_build_object('user', user_id, 'session', id, 'age', 0, 'input', '{"status": "away"}'::jsonb)))
  from identity.sessions where user_id = ${someone} limit 1`;

const removal = 'delete from chat.messages where id = (select id from chat.messages where seq = 3 limit 1)';

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
  'identity.codes_user_id_idx': `delete from identity.users where id = ${someone}`,
  'identity.sessions_impersonator_id_idx': `select * from identity.sessions where impersonator_id = ${someone}`,
  'identity.sessions_bot_token_id_idx': "delete from identity.bot_tokens where hash = sha256('bot77')",
  'identity.bots_pkey': "select identity.open_bot_session('bot77')",
  'identity.bots_owner_id_idx': `select * from identity.bots where owner_id = ${someone}`,
  'identity.bot_tokens_pkey': null,
  'identity.bot_tokens_hash_key': "select identity.open_bot_session('bot77')",
  'identity.bot_tokens_bot_id_idx': `select * from identity.bot_tokens(${someone})`,
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
  'events.untold_pkey': "select events.publish('user:77', 'told')",
  'events.log_pkey': "select * from events._missed('{user:77}', '{0}', '{1}')",
  'events.log_xid_idx': "select * from events._new_in_log('3:3:', pg_current_snapshot(), '-infinity', '', 0)",
  'accounts.acts_pkey': null,
  'accounts.acts_operator_id_id_idx': `select * from accounts.acts where operator_id = ${someone} order by id desc limit 20`,
  'accounts.acts_user_id_id_idx': `select * from accounts.acts where user_id = ${someone} order by id desc limit 20`,
  'accounts.legal_holds_pkey': null,
  'accounts.legal_holds_user_id_key': `select accounts._is_held(null, ${someone})`,
  'accounts.legal_holds_channel_id_key': `select accounts._is_held(${somewhere}, null)`,
  'accounts.retentions_pkey': `delete from chat.channels where id = ${somewhere}`,
  'accounts.retentions_expired_at_idx': 'select accounts.expire_messages()',
  'accounts.exports_pkey': null,
  'accounts.exports_user_id_id_idx': `select * from accounts.exports where user_id = ${someone} order by id desc limit 20`,
  'accounts.exports_run_id_idx': 'delete from jobs.runs where id = (select id from jobs.runs limit 1)',
  'accounts.exports_user_id_nonce_key': null,
  'accounts.exports_expires_at_idx': 'select accounts._kept_exports()',
  'accounts.export_links_pkey': null,
  'accounts.export_links_token_hash_key': "select accounts._export_file('token77')",
  'webhooks.webhooks_pkey': null,
  'webhooks.webhooks_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'webhooks.webhooks_owner_id_idx': `select * from webhooks.webhooks where owner_id = ${someone} order by id desc limit 20`,
  'webhooks.secrets_pkey': null,
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
  'commerce.products_pkey': `select * from commerce.products where integration_id = ${bot} order by external_id limit 20`,
  'commerce.products_integration_id_article_idx': `select * from commerce.products where integration_id = ${bot} and article = 'a77'`,
  'commerce.variants_pkey': `select * from commerce._variants(${bot}, 'v77', 10)`,
  'commerce.variants_integration_id_product_id_idx': `select * from commerce.variants where integration_id = ${bot} and product_id = 'p77'`,
  'commerce.warehouses_pkey': `select * from commerce.warehouses where integration_id = ${bot} order by external_id limit 20`,
  'commerce.stocks_pkey': `select * from commerce.stocks where integration_id = ${bot} and warehouse_id = 'w7' order by variant_id limit 20`,
  'commerce.stocks_integration_id_variant_id_idx': `select * from commerce.stocks where integration_id = ${bot} and variant_id = 'v77'`,
  'commerce.orders_pkey': `select * from commerce.orders where integration_id = ${bot} and external_id = 'o77'`,
  'commerce.orders_integration_id_ordered_at_idx': `select * from commerce.orders where integration_id = ${bot} order by ordered_at desc, external_id desc limit 20`,
  'commerce.orders_integration_id_status_idx': `select * from commerce.orders where integration_id = ${bot} and status = 'cancelled' order by ordered_at desc, external_id desc limit 20`,
  'commerce.orders_open_idx': `select * from commerce._open_orders(${bot}, 'fbs', 'o77', 10)`,
  'commerce.order_items_pkey': `select * from commerce.order_items where integration_id = ${bot} and order_id = 'o77'`,
  'commerce.marks_pkey': null,
  'jobs.queues_dead_letter_idx': "delete from jobs.queues where name = 'queue_77'",
  'jobs.schedules_task_idx': "delete from jobs.tasks where name = 'task 2077'",
  'jobs.runs_task_created_at_id_idx': "delete from jobs.tasks where name = 'task 2077'",
  'jobs.runs_state_created_at_id_idx': 'select * from jobs.overview()',
  'jobs.runs_asked_by_created_at_idx': `select * from jobs.runs where asked_by = ${someone} order by created_at desc limit 20`,
  'jobs.runs_finished_at_idx': 'select jobs.expire_runs()',
  'procurement.sources_pkey': null,
  'procurement.regions_pkey': null,
  'procurement.region_grants_pkey': null,
  'procurement.region_grants_region_code_idx': "select * from procurement.region_grants where region_code = 'R77'",
  'procurement.region_grants_granted_by_idx': `delete from identity.users where id = ${someone}`,
  'procurement.contract_types_pkey': null,
  'procurement.contract_statuses_pkey': null,
  'procurement.companies_pkey': null,
  'procurement.companies_region_code_idx': "select * from procurement.companies where region_code = 'R77'",
  'procurement.companies_changed_xid_idx':
    "select procurement._concerned(indicator, '{}', '{}', pg_current_snapshot()) from procurement.indicators as indicator where code = 'shared_contacts'",
  'procurement.contracts_pkey':
    "select * from procurement.contracts where id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.contracts_customer_bin_supplier_bin_idx':
    "select * from procurement.contracts where customer_bin = '000000000077'",
  'procurement.contracts_supplier_bin_idx': "select * from procurement.contracts where supplier_bin = '000000000077'",
  'procurement.contracts_region_code_signed_on_idx':
    "select * from procurement.contracts where region_code = 'R77' order by signed_on desc limit 20",
  'procurement.contracts_category_idx': "select * from procurement.contracts where category = 'category 77'",
  'procurement.contracts_status_code_idx': 'select * from procurement.contracts where status_code = 480',
  'procurement.contracts_type_code_idx': "select * from procurement.contracts where type_code = 'multi_year'",
  'procurement.contracts_source_code_source_ref_idx':
    "select * from procurement.contracts where source_code = 'source' and source_ref = 'c77'",
  'procurement.contracts_contract_sum_idx': 'select * from procurement.contracts order by contract_sum desc limit 20',
  'procurement.contracts_signed_on_idx': 'select * from procurement.contracts order by signed_on desc limit 20',
  'procurement.contracts_discount_idx': 'select * from procurement.contracts order by discount desc limit 20',
  'procurement.contracts_root_id_version_idx':
    "select version.* from procurement.contracts as first, procurement.versions(first) as version where first.id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.contracts_changed_xid_idx': 'select procurement._changed_roots(pg_current_snapshot())',
  'procurement.departures_pkey': null,
  'procurement.plans_pkey': null,
  'procurement.plans_source_code_idx': "select * from procurement.plans where source_code = 'source-77'",
  'procurement.plans_customer_bin_idx': "select * from procurement.plans where customer_bin = '000000000077'",
  'procurement.plans_region_code_idx': "select * from procurement.plans where region_code = 'R77'",
  'procurement.contract_units_pkey': null,
  'procurement.contract_units_plan_id_idx':
    'select * from procurement.contract_units where plan_id = (select plan_id from procurement.contract_units limit 1)',
  'procurement.contract_units_contract_id_idx':
    "select * from procurement.contract_units where contract_id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.payments_pkey': null,
  'procurement.payments_contract_id_paid_on_idx':
    "select * from procurement.payments where contract_id = (select id from procurement.contracts where source_ref = 'c77') order by paid_on",
  'procurement.contract_acts_pkey': null,
  'procurement.contract_acts_contract_id_idx':
    "select * from procurement.contract_acts where contract_id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.imports_pkey': null,
  'procurement.imports_source_code_fingerprint_idx': "select procurement.begin_import('source-77', 'file', 'file 77')",
  'procurement.rejects_pkey': null,
  'procurement.rejects_import_id_line_idx':
    'select * from procurement.rejects where import_id = 77 order by line limit 20',
  'procurement.indicators_pkey': null,
  'procurement.indicator_runs_pkey': null,
  'procurement.indicator_runs_asked_by_idx': `delete from identity.users where id = ${someone}`,
  'procurement.indicator_results_pkey': null,
  'procurement.indicator_results_indicator_code_idx':
    "select * from procurement.indicator_results where indicator_code = 'x77'",
  'procurement.indicator_states_pkey': null,
  'procurement.findings_pkey': null,
  'procurement.findings_indicator_code_outcome_value_idx':
    "select * from procurement.findings where indicator_code = 'x77' and outcome = 'flagged' order by value desc limit 20",
  'procurement.findings_contract_id_idx':
    "select finding.* from procurement.contracts as one, procurement.findings(one) as finding where one.id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.findings_customer_bin_idx': "select * from procurement.findings where customer_bin = '000000000077'",
  'procurement.findings_supplier_bin_idx': "select * from procurement.findings where supplier_bin = '000000000077'",
  'procurement.findings_run_id_idx': 'select * from procurement.findings where run_id = 77',
  'procurement.findings_tender_id_idx':
    'select finding.* from procurement.tenders as one, procurement.tender_findings(one) as finding where one.id = md5(77::text)::uuid',
  'procurement.tenders_pkey': null,
  'procurement.tenders_source_code_source_ref_idx':
    "select * from procurement.tenders where source_code = 'source' and source_ref = 't77'",
  'procurement.tenders_customer_bin_idx': "select * from procurement.tenders where customer_bin = '000000000077'",
  'procurement.tenders_region_code_ends_at_idx':
    "select * from procurement.tenders where region_code = 'R77' order by ends_at desc limit 20",
  'procurement.tenders_ends_at_idx': 'select * from procurement.tenders order by ends_at desc limit 20',
  'procurement.tenders_changed_xid_idx': 'select procurement._changed_tenders(pg_current_snapshot())',
  'procurement.tender_facts_pkey': null,
  'procurement.bids_pkey': null,
  'procurement.bids_tender_id_bid_sum_idx':
    'select * from procurement.bids where tender_id = md5(77::text)::uuid order by bid_sum limit 20',
  'procurement.bids_tenderer_bin_idx': "select * from procurement.bids where tenderer_bin = '000000000077'",
  'procurement.bids_tenderer_bins_idx': "select * from procurement.bids where tenderer_bins @> '{000000000077}'",
  'procurement.awards_pkey': null,
  'procurement.awards_tender_id_idx': 'select * from procurement.awards where tender_id = md5(77::text)::uuid',
  'procurement.awards_supplier_bin_idx': "select * from procurement.awards where supplier_bin = '000000000077'",
  'procurement.awards_supplier_bins_idx': "select * from procurement.awards where supplier_bins @> '{000000000077}'",
  'procurement.trial_findings_pkey': 'select * from procurement.trial_findings where run_id = 77',
  'procurement.network_runs_pkey': null,
  'procurement.communities_pkey': null,
  'procurement.communities_run_id_idx': 'select * from procurement.communities where run_id = 77',
  'procurement.communities_modularity_idx': 'select * from procurement.communities order by modularity desc limit 20',
  'procurement.community_members_pkey': "select * from procurement.community_members where bin = '000000000077'",
  'procurement.community_members_community_id_idx':
    'select * from procurement.community_members where community_id = 77',
  'procurement.scores_pkey': null,
  'procurement.scores_kind_region_code_score_idx':
    "select * from procurement.scores where kind = 'supplier' and region_code is null order by score desc limit 20",
  'procurement.scores_contract_id_idx':
    "select score.* from procurement.contracts as one, procurement.scores(one) as score where one.id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.scores_bin_idx': "select * from procurement.scores where bin = '000000000077'",
  'procurement.scores_region_code_idx': "select count(*) from procurement.scores where region_code = 'R77'",
  'procurement.score_states_pkey': null,
  'procurement.growth_models_pkey': null,
  'procurement.growth_forecasts_pkey': null,
  'procurement.growth_forecasts_model_id_probability_idx':
    'select * from procurement.growth_forecasts where model_id = 7 order by probability desc limit 20',
  'procurement.growth_forecasts_contract_id_idx':
    "select forecast.* from procurement.contracts as one, procurement.growth_forecasts(one) as forecast where one.id = (select id from procurement.contracts where source_ref = 'c77')",
  'procurement.network_ties_pkey': null,
  'procurement.network_nodes_pkey': null,
  'stats.system_metrics_metric_name_measured_at_id_idx':
    "select * from stats.system_metrics where metric_name = 'cpu_usage' order by measured_at desc, id desc limit 20",
  'stats.system_metrics_measured_at_idx': 'select stats.expire_metrics()',
  'operations.backups_started_at_idx': 'select operations.backup_status()',
  'chat.channels_pkey': `select chat.mark_read(${somewhere})`,
  'chat.channels_external_ref_key': imported,
  'chat.channels_public_idx': "select * from chat.search_messages('walrus')",
  'chat.channels_owner_id_id_idx': `select * from chat.channels where owner_id = ${someone} order by id desc limit 20`,
  'chat.direct_pairs_pkey': "select chat.open_direct((select id from identity.users where username = 'user78'))",
  'chat.direct_pairs_channel_id_key': `delete from chat.channels where id = ${somewhere}`,
  'chat.direct_pairs_second_user_id_idx': 'select identity.remove_account()',
  'chat.members_pkey': `select * from chat.members where channel_id = ${somewhere} order by user_id limit 20`,
  'chat.members_user_id_channel_id_idx': 'select * from chat.my_channels()',
  'chat.members_leading_idx': `select set_config('plinth.user_id', (select id::text from identity.users where username = 'user1'), true);
    delete from chat.members where user_id = ${someone}`,
  'notifications.notifications_pkey': 'select * from notifications._own where id > gen_random_uuid()',
  'notifications.notifications_recipient_id_key_key': `select told.*
    from jsonb_populate_record(null::events.event, '{"type": "member_joined", "data": {"channel_id": "a", "user_id": "b"}}') as event,
    notifications.notification_events(event) as told`,
  'notifications.notifications_recipient_id_type_id_idx': `select notifications._notify(${someone}, 'mention', actor_id => null)`,
  'notifications.notifications_recipient_id_read_at_type_idx': 'select notifications.notification_counts()',
  'notifications.notifications_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'notifications.notifications_actor_id_idx': `delete from identity.users where id = ${someone}`,
  'notifications.notifications_created_at_idx': 'select notifications.expire()',
  'notifications.notification_settings_pkey': `select notifications.set_notifications(${somewhere}, 'none')`,
  'notifications.calls_pkey': 'select * from notifications._new',
  'notifications.calls_created_at_idx': 'select notifications.expire()',
  'presence.devices_pkey': beat,
  'presence.sessions_pkey': beat,
  'presence.days_pkey': 'select * from presence.online_days()',
  'presence.days_day_idx': 'select presence.expire()',
  'presence.visibilities_pkey': 'select presence.my_presence_visibility()',
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
  'organizations.organizations_pkey': `select * from organizations.permission(${office}, 'read', 'documents')`,
  'organizations.organizations_owner_id_idx': 'select * from organizations._known()',
  'organizations.roles_pkey': `select * from organizations.permission(${office}, 'read', 'documents')`,
  'organizations.roles_name_key': null,
  'organizations.roles_organization_id_name_id_idx': `select * from organizations.roles where organization_id = ${office} order by name, id limit 20`,
  'organizations.departments_pkey': `select organizations.update_department(${part}, 'another name')`,
  'organizations.departments_name_key': null,
  'organizations.departments_organization_id_name_id_idx': `select * from organizations.departments where organization_id = ${office} order by name, id limit 20`,
  'organizations.departments_parent_id_name_id_idx': `select organizations.delete_department(${part})`,
  'organizations.departments_manager_id_idx': `select * from organizations.departments where manager_id = ${someone} order by id limit 20`,
  'organizations.positions_pkey': `select organizations.update_position((select id from organizations.positions where organization_id = ${office} limit 1), 'x')`,
  'organizations.positions_title_key': null,
  'organizations.positions_organization_id_level_id_idx': `select * from organizations.positions where organization_id = ${office} order by level desc, id limit 20`,
  'organizations.memberships_pkey': `select * from organizations.memberships where organization_id = ${office} order by user_id limit 20`,
  'organizations.memberships_owner_key': null,
  'organizations.memberships_user_id_organization_id_idx':
    "select * from organizations._where_may('read', 'documents')",
  'organizations.memberships_role_id_user_id_idx': "delete from organizations.roles where name = 'spare 7'",
  'organizations.memberships_department_id_user_id_idx': `delete from organizations.departments where id = ${part}`,
  'organizations.memberships_position_id_user_id_idx': `delete from organizations.positions where organization_id = ${office}`,
  'organizations.memberships_given_by_idx': `select * from organizations.memberships where given_by = ${someone} order by organization_id, user_id limit 20`,
  'organizations.memberships_ends_at_idx': 'select organizations.end_due()',
  'organizations.proxies_pkey':
    "select organizations.revoke_proxy(id) from organizations.proxies where permissions <> '{}' limit 1",
  'organizations.proxies_agent_id_organization_id_idx': "select * from organizations._where_may('read', 'documents')",
  'organizations.proxies_principal_id_organization_id_idx': `select * from organizations.proxies where principal_id = ${someone} order by organization_id limit 20`,
  'organizations.proxies_organization_id_id_idx': `select * from organizations.proxies where organization_id = ${office} order by id desc limit 20`,
  'organizations.proxies_given_by_idx': `select * from organizations.proxies where given_by = ${someone} order by id limit 20`,
  'organizations.proxies_over_idx': 'select organizations.end_due()',
  'organizations.invitations_pkey':
    'select organizations.decline_organization_invitation(id) from (select id from organizations.invitations where user_id = identity.current_user_id() limit 1) as mine',
  'organizations.invitations_organization_id_user_id_key': `select * from organizations.invitations where organization_id = ${office} order by user_id limit 20`,
  'organizations.invitations_user_id_id_idx': `select * from organizations.invitations where user_id = ${someone} order by id desc limit 20`,
  'organizations.invitations_role_id_idx': "delete from organizations.roles where name = 'spare 7'",
  'organizations.invitations_invited_by_idx': `select * from organizations.invitations where invited_by = ${someone} order by id limit 20`,
  'organizations.invitations_expires_at_idx': 'select organizations.end_due()',
  'chat.organization_rooms_pkey': `select * from chat.organization_rooms where channel_id = ${somewhere}`,
  'chat.organization_rooms_organization_id_channel_id_idx': `select chat._follow(${office}, array[${someone}])`,
  'chat.organization_rooms_behind_idx': 'select chat.follow_organizations()',
  'chat.organization_rooms_department_id_idx': `delete from organizations.departments where id = ${part}`,
  'chat.common_words_pkey': null,
  'chat.rooms_pkey': `select chat.send_message(${somewhere}, 'hello')`,
  'chat.member_permissions_pkey': `select chat.send_message(${somewhere}, 'hello')`,
  'chat.member_permissions_user_id_idx': `delete from identity.users where id = ${someone}`,
  'chat.slow_turns_pkey': null,
  'chat.slow_turns_user_id_idx': `delete from identity.users where id = ${someone}`,
  'chat.slow_turns_spoke_at_idx': 'select chat.expire_rooms()',
  'chat.room_mutes_pkey': `select * from chat.room_mutes where channel_id = ${somewhere} order by user_id limit 20`,
  'chat.room_mutes_user_id_idx': `select * from chat.room_mutes where user_id = ${someone} order by channel_id limit 20`,
  'chat.room_mutes_muted_by_idx': `delete from identity.users where id = ${someone}`,
  'chat.room_mutes_ends_at_idx': 'select chat.expire_rooms()',
  'chat.room_bans_pkey': `select * from chat.room_bans where channel_id = ${somewhere} order by user_id limit 20`,
  'chat.room_bans_user_id_idx': `select * from chat.room_bans where user_id = ${someone} order by channel_id limit 20`,
  'chat.room_bans_banned_by_idx': `delete from identity.users where id = ${someone}`,
  'chat.room_bans_ends_at_idx': 'select chat.expire_rooms()',
  'chat.room_invitations_pkey': `select * from chat.room_invitations where channel_id = ${somewhere} order by user_id limit 20`,
  'chat.room_invitations_user_id_idx': 'select * from chat.my_invitations()',
  'chat.room_invitations_invited_by_idx': `delete from identity.users where id = ${someone}`,
  'chat.room_invitations_expires_at_idx': 'select chat.expire_rooms()',
  'chat.room_links_pkey': null,
  'chat.room_links_hash_key': "select chat.room_by_link('token77')",
  'chat.room_links_channel_id_id_idx': `select * from chat.room_links where channel_id = ${somewhere} order by id desc limit 20`,
  'chat.room_links_created_by_idx': `delete from identity.users where id = ${someone}`,
  'chat.room_links_expires_at_idx': 'select chat.expire_rooms()',
  'chat.join_requests_pkey': null,
  'chat.join_requests_channel_id_created_at_idx': `select * from chat.join_requests where channel_id = ${somewhere} order by created_at, user_id limit 20`,
  'chat.join_requests_user_id_idx': `delete from identity.users where id = ${someone}`,
  'chat.join_requests_created_at_idx': 'select chat.expire_rooms()',
  'chat.moderation_entries_pkey': null,
  'chat.moderation_entries_channel_id_id_idx': `select * from chat.moderation_entries where channel_id = ${somewhere} order by id desc limit 20`,
  'chat.moderation_entries_actor_id_id_idx': `select * from chat.moderation_entries where actor_id = ${someone} order by id desc limit 20`,
  'chat.moderation_entries_user_id_id_idx': `select * from chat.moderation_entries where user_id = ${someone} order by id desc limit 20`,
  'files.limits_pkey': null,
  'files.quotas_pkey': null,
  'files.link_keys_pkey': null,
  'files.usage_pkey': 'select files.my_file_usage()',
  'files.leftovers_pkey': "select files._removed('{content/77}')",
  'files.leftovers_remove_at_idx': 'select files._due_leftovers(10)',
  'files.contents_pkey': `select files._previewed((select id from files.contents where bytes = 77), 1, 1, 'content/77', 1, 1, 1)`,
  'files.contents_sha256_key': `select files.received(${upload}, 'content/77', sha256('77'), 77, 'text/plain')`,
  'files.contents_loose_since_idx': 'select files.expire_files()',
  'files.files_pkey': 'select file.* from (select * from chat.messages limit 1) as m, files.files(m) as file',
  'files.files_owner_id_id_idx': 'select * from files.my_files() order by id desc limit 20',
  'files.files_content_id_idx': `select files._previewed((select id from files.contents where bytes = 77), 1, 1, 'content/77', 1, 1, 1)`,
  'files.files_loose_since_idx': 'select files.expire_files()',
  'files.attachments_pkey': 'select file.* from (select * from chat.messages limit 1) as m, files.files(m) as file',
  'files.attachments_file_id_idx': 'select files.delete_file((select id from files.files where bytes = 77))',
  'files.attachments_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'files.file_uploads_pkey': `select files.complete_upload(${upload})`,
  'files.file_uploads_owner_id_id_idx': `select * from files.file_uploads where owner_id = ${someone} order by id desc limit 20`,
  'files.file_uploads_content_id_idx': 'select files.expire_files()',
  'files.file_uploads_file_id_idx': 'select files.delete_file((select id from files.files where bytes = 77))',
  'files.file_uploads_expires_at_idx': 'select files.expire_files()',
  'chat.mentions_pkey': null,
  'chat.mentions_message_id_user_id_key':
    'select mention.* from (select * from chat.messages limit 1) as m, chat.mentions(m) as mention',
  'chat.mentions_user_id_id_idx': `select * from chat.mentions where user_id = ${someone} order by id desc limit 20`,
  'chat.mentions_channel_id_id_idx': 'select * from chat.my_mentions()',
  'chat.reactions_pkey':
    'select reaction.* from (select * from chat.messages limit 1) as m, chat.reactions(m) as reaction',
  'chat.reactions_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.reactors_pkey':
    'select reactor.* from (select * from chat.reactions limit 1) as r, chat.reactors(r) as reactor',
  'chat.reactors_user_id_idx': `delete from identity.users where id = ${someone}`,
  'chat.reactors_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.pins_pkey': `select * from chat.pins where channel_id = ${somewhere} order by message_id desc limit 20`,
  'chat.pins_pinned_by_idx': `delete from identity.users where id = ${someone}`,
  'accounts.organization_retentions_pkey': null,
  'chat.pins_message_id_idx': removal,
  'chat.bookmarks_message_id_idx': removal,
  'chat.drafts_reply_to_id_idx': removal,
  'chat.scheduled_messages_reply_to_id_idx': removal,
  'notifications.notifications_message_id_idx': removal,
  'chat.known_months_pkey': null,
  'chat.threads_pkey': 'select chat.reply_count(m) from (select * from chat.messages limit 1) as m',
  'chat.threads_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.forwards_pkey':
    'select forward.* from (select * from chat.messages limit 1) as m, chat.forwarded_from(m) as forward',
  'chat.forwards_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.forwards_author_id_idx': `delete from identity.users where id = ${someone}`,
  'chat.bookmarks_pkey': `select * from chat.bookmarks where user_id = ${someone} order by message_id desc limit 20`,
  'chat.bookmarks_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
  'chat.drafts_pkey': `select draft.* from (select * from chat.channels where id = ${somewhere}) as c, chat.draft(c) as draft`,
  'chat.drafts_user_id_idx': `select * from chat.drafts where user_id = ${someone} order by channel_id limit 20`,
  'chat.scheduled_messages_pkey': `select chat.cancel_scheduled_message((select id from chat.scheduled_messages where user_id = ${someone} limit 1))`,
  'chat.scheduled_messages_user_id_send_at_idx': `select * from chat.scheduled_messages where user_id = ${someone} order by send_at, id limit 20`,
  'chat.scheduled_messages_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
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
  update identity.codes set user_id = (select id from who where recipient = '+7777' || lpad(n::text, 7, '0'));
  insert into identity.bots (user_id, owner_id) select id, id from who;
  insert into identity.bot_tokens (bot_id, name, hash, scopes, expires_at)
    select id, 'a token', sha256(convert_to('bot' || n, 'UTF8')), '{}', now() + interval '1 day' from who;
  insert into identity.sessions (user_id, bot_token_id, scopes)
    select bot_id, id, '{}' from identity.bot_tokens;
  insert into identity.sessions (user_id, impersonator_id) select id, id from who where n % 10 = 7;
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
  insert into chat.rooms (channel_id, member_count) select id, 4 from room;
  insert into chat.member_permissions select channel_id, user_id, 'write', true from chat.members;
  insert into chat.slow_turns select channel_id, user_id, now() - row_number() over () * interval '1 second' from chat.members;
  create temp table pair as
    select room.id as channel_id, who.id as user_id, who.n, now() + (n % 100 - 1) * interval '1 day' as ends_at
    from who join room using (n);
  insert into chat.room_mutes (channel_id, user_id, muted_by, ends_at) select channel_id, user_id, user_id, ends_at from pair where n <> 77;
  insert into chat.room_bans (channel_id, user_id, banned_by, ends_at) select channel_id, user_id, user_id, ends_at from pair where n <> 77;
  insert into chat.room_invitations (channel_id, user_id, invited_by, created_at, expires_at)
    select channel_id, user_id, user_id, now() - interval '30 days', ends_at from pair;
  insert into chat.room_links (channel_id, hash, created_by, created_at, expires_at)
    select channel_id, sha256(convert_to('token' || n, 'UTF8')), user_id, now() - interval '99 days', ends_at - interval '30 days' from pair;
  insert into chat.join_requests (channel_id, user_id, created_at) select channel_id, user_id, ends_at - interval '30 days' from pair;
  -- What the log names cannot be deleted: not who and what the statements below delete.
  insert into chat.moderation_entries (channel_id, action, actor_id, user_id)
    select channel_id, 'muted', user_id, user_id from pair where n not in (77, 78, 109, 140, 171);
  insert into chat.message_edits (message_id, channel_id, text) select id, channel_id, text from chat.messages where seq = 4;
  insert into chat.deletions (channel_id, seq, message_id, deleted_by) select channel_id, seq, id, sender_id from chat.messages where seq = 1;
  insert into chat.nonces (sender_id, nonce, message_id) select sender_id, 'nonce' || seq, id from chat.messages where seq = 2;
  insert into organizations.organizations (name, owner_id, member_count) select 'office ' || n, id, 4 from who;
  create temp table office as select id, substr(name, 8)::integer as n from organizations.organizations;
  create index on office (n);
  insert into organizations.roles (organization_id, name, permissions) select id, 'clerk', '{"documents": ["read"]}' from office;
  insert into organizations.roles (organization_id, name) select id, 'spare ' || step from office, generate_series(1, 20) as step where n = 77;
  insert into organizations.departments (id, organization_id, name, manager_id, lineage)
    select made.id, office.id, 'part ' || office.n, who.id, array[made.id]
    from office join who on who.n = office.n cross join lateral (select gen_random_uuid() as id, office.n) as made;
  insert into organizations.positions (organization_id, title, level) select office.id, 'post ' || step, step from office, generate_series(1, 5) as step;
  insert into organizations.memberships (organization_id, user_id, role_id, given_by, given_at, ends_at, department_id, position_id)
    select office.id, who.id, case when step = 0 then organizations._system_role('owner') else role.id end, first.id, now() - interval '2 days',
      case when step > 0 and office.n % 100 = 0 then now() - interval '1 day' end, part.id, post.id
    from office cross join generate_series(0, 3) as step join who on who.n = (office.n - 1 + step * 31) % 3000 + 1 join who as first on first.n = office.n
    join organizations.roles as role on role.organization_id = office.id and role.name = 'clerk'
    join organizations.departments as part on part.organization_id = office.id
    join organizations.positions as post on post.organization_id = office.id and post.title = 'post ' || step + 1;
  insert into organizations.proxies (organization_id, principal_id, agent_id, given_by, permissions, starts_at, ends_at)
    select office.id, one.id, other.id, one.id, case when office.n = 77 then '{"documents": ["read"]}' else '{}' end::jsonb, now() - interval '90 days',
      case when office.n % 50 = 0 then now() - interval '60 days' when office.n % 2 = 0 then now() + interval '60 days' end
    from office join who as one on one.n = office.n join who as other on other.n = office.n % 3000 + 1 cross join generate_series(1, 2);
  insert into organizations.invitations (organization_id, user_id, role_id, invited_by, created_at, expires_at)
    select office.id, who.id, role.id, first.id, now() - interval '2 days', now() + case when office.n % 100 = 0 then -interval '1 hour' else interval '1 day' end
    from office cross join generate_series(5, 7) as step join who on who.n = (office.n + step * 31) % 3000 + 1 join who as first on first.n = office.n
    join organizations.roles as role on role.organization_id = office.id and role.name = 'clerk';
  insert into chat.organization_rooms (channel_id, organization_id, department_id, is_behind)
    select room.id, office.id, part.id, office.n % 200 = 0 from room join office on room.n = office.n + 1500 and office.n <= 1400 and office.n <> 77 join organizations.departments as part on part.organization_id = office.id;
  insert into files.usage (user_id) select id from who;
  insert into files.leftovers select 'content/' || n, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end from who;
  insert into files.contents (sha256, stored, bytes, media_type, loose_since)
    select sha256(convert_to(n::text, 'UTF8')), 'stored/' || n, n, 'image/png', case when n % 100 = 0 then now() - interval '2 hours' end from who;
  insert into files.files (owner_id, content_id, name, media_type, bytes, sha256, loose_since)
    select who.id, content.id, 'file', 'image/png', content.bytes, content.sha256, case when n % 100 = 0 then now() - interval '2 days' end
    from who join files.contents as content on content.bytes = n;
  insert into files.attachments (message_id, position, file_id, channel_id)
    select message.id, 1, file.id, message.channel_id
    from chat.messages as message join files.files as file on file.owner_id = message.sender_id and file.bytes not in (77, 100)
    where message.seq > 1;
  insert into files.file_uploads (owner_id, name, bytes, incoming, content_id, state, file_id, expires_at)
    select who.id, 'file', n, 'incoming/' || n, content.id, case when n % 2 = 0 then 'done' else 'open' end::files.upload_state,
      case when n % 2 = 0 then file.id end, now() + case when n % 100 = 0 then -interval '1 hour' else interval '1 hour' end
    from who join files.files as file on file.owner_id = who.id join files.contents as content on content.id = file.content_id;
  insert into chat.mentions (message_id, channel_id, seq, user_id)
    select id, channel_id, seq, case when seq > 1 then sender_id end from chat.messages where seq < 4;
  insert into chat.reactions (message_id, emoji, channel_id, count) select id, '👍', channel_id, 1 from chat.messages;
  insert into chat.reactors (message_id, emoji, user_id, channel_id) select id, '👍', sender_id, channel_id from chat.messages;
  insert into chat.pins (channel_id, message_id, pinned_by) select channel_id, id, sender_id from chat.messages;
  insert into chat.threads (message_id, channel_id, reply_count, last_reply_id) select id, channel_id, 1, id from chat.messages;
  insert into chat.forwards (message_id, channel_id, from_message_id, author_id, said_at)
    select id, channel_id, id, sender_id, sent_at from chat.messages;
  insert into chat.bookmarks (user_id, message_id, channel_id) select sender_id, id, channel_id from chat.messages;
  insert into chat.drafts (channel_id, user_id, text, reply_to_id) select channel_id, user_id, 'unsaid', public.uuid_v7() from chat.members;
  insert into chat.scheduled_messages (user_id, channel_id, text, send_at, reply_to_id)
    select sender_id, channel_id, text, sent_at + interval '1 year', id from chat.messages;
  insert into accounts.acts (kind, operator_id, user_id, reason) select 'impersonated', id, id, 'why' from who where n <> 77;
  insert into accounts.legal_holds (user_id, reason) select id, 'why' from who where n between 100 and 2000;
  insert into accounts.legal_holds (channel_id, reason) select id, 'why' from room where n between 200 and 2000;
  insert into accounts.retentions (channel_id, days) select id, 300 from room;
  insert into accounts.exports (user_id, run_id, expires_at)
    select who.id, (select id from jobs.runs where asked_by = who.id limit 1), now() + n * interval '1 hour' - interval '5 hours' from who;
  insert into accounts.export_links (export_id, token_hash)
    select id, sha256(convert_to('token' || row_number() over (), 'UTF8')) from accounts.exports;
  insert into webhooks.webhooks (channel_id, owner_id, url)
    select room.id, who.id, 'https://plinth.test' from who join room using (n);
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
  create temp table good as
    select bot.id, step from bot cross join lateral generate_series(1, case when bot.n = 77 then 2000 else 2 end) as step;
  insert into commerce.products (integration_id, external_id, article, name, fetched_at) select id, 'p' || step, 'a' || step, 'x', now() from good;
  insert into commerce.variants (integration_id, external_id, product_id) select id, 'v' || step, 'p' || step from good;
  insert into commerce.warehouses (integration_id, external_id, name, scheme, fetched_at) select id, 'w' || step, 'x', 'fbs', now() from good;
  insert into commerce.stocks (integration_id, warehouse_id, variant_id, quantity, fetched_at) select id, 'w' || step % 50, 'v' || step, 1, now() from good;
  insert into commerce.orders (integration_id, external_id, scheme, status, ordered_at, fetched_at)
    select id, 'o' || step, 'fbs', (case step % 50 when 0 then 'new' when 1 then 'cancelled' else 'delivered' end)::commerce.order_status, now() - step * interval '1 minute', now()
    from good;
  insert into commerce.order_items (integration_id, order_id, position, quantity) select id, 'o' || step, 1, 1 from good;
  insert into platforms.metrics (integration_id, metric, period, starts_at, count, total)
    select integration_id, 'errors', 'minute', now() - step * interval '1 minute' - case when n % 100 = 0 then interval '9 days' else interval '0' end, 1, 1
    from place, generate_series(1, 5) as step;
  insert into notifications.notifications (recipient_id, type, actor_id, channel_id, message_id, key, created_at, read_at)
    select who.id, 'mention', who.id, room.id, public.uuid_v7(), 'key' || step, now() - case when step = 0 then interval '100 days' else interval '0' end,
      case when step <> 1 then now() end
    from generate_series(0, 9) as step cross join who join room on room.n = (who.n + step * 31) % 3000 + 1 order by step;
  insert into notifications.notification_settings (channel_id, user_id, level) select channel_id, user_id, 'mentions' from chat.members;
  insert into notifications.calls (channel_id, seq, created_at)
    select id, seq, now() - case when n % 100 = 0 then interval '100 days' else interval '0' end from room, generate_series(1, 4) as seq;
  insert into presence.devices (user_id, session_id, status, beat_at) select user_id, id, 'online', now() from identity.sessions;
  insert into presence.sessions (user_id, status, started_at, beat_at) select id, 'online', now() - interval '1 hour', now() from who;
  insert into presence.days (user_id, day, seconds, sessions, first_at, last_at)
    select id, now()::date - step - case step when 9 then 500 else 0 end, 60, 1, now(), now() from who, generate_series(0, 9) as step;
  insert into presence.visibilities (user_id, visible_to) select id, 'contacts' from who;
  insert into procurement.sources (code, name) select 'source-' || n, 'a source' from generate_series(1, 300) as n union all select 'source', 'a source';
  insert into procurement.regions select 'R' || n, 'a region' from generate_series(1, 300) as n;
  insert into procurement.region_grants (user_id, region_code, granted_by) select id, 'R' || n % 300 + 1, id from who;
  insert into procurement.companies (bin, region_code) select lpad(n::text, 12, '0'), 'R' || n % 300 + 1 from who;
  select procurement._ensure_year(2024);
  insert into procurement.contracts (id, fiscal_year, source_code, source_ref, root_id, version, category, type_code, status_code, region_code,
      customer_bin, supplier_bin, signed_on, plan_sum, contract_sum)
    select md5(n::text)::uuid, 2024, 'source', 'c' || n, md5((n - n % 2)::text)::uuid, n % 2 + 1, 'category ' || n % 300, case when n % 300 = 0 then 'multi_year' else 'annual' end,
      case when n % 300 = 0 then 480 else 190 end, 'R' || n % 300 + 1, lpad((n % 3000)::text, 12, '0'), lpad((n % 2999)::text, 12, '0'), date '2024-01-01' + n % 365, 1000, n % 1000 + 1
    from generate_series(1, 12000) as n;
  insert into procurement.plans (id, source_code, source_ref, fiscal_year, customer_bin, region_code)
    select gen_random_uuid(), 'source-' || n % 300 + 1, n, 2024, lpad(n::text, 12, '0'), 'R' || n % 300 + 1 from who;
  insert into procurement.contract_units (id, contract_id, source_ref, plan_id) select gen_random_uuid(), id, source_ref, gen_random_uuid() from procurement.contracts;
  insert into procurement.payments (id, contract_id, source_ref, paid_on) select gen_random_uuid(), id, source_ref, signed_on from procurement.contracts;
  insert into procurement.contract_acts (id, contract_id, source_ref) select gen_random_uuid(), id, source_ref from procurement.contracts;
  insert into procurement.imports (source_code, name, fingerprint) select 'source-' || n % 300 + 1, 'file', 'file ' || n from who;
  insert into procurement.rejects (import_id, line, reason) select n, line, 'why' from who, generate_series(1, 4) as line;
  insert into procurement.indicators (code, name, formula, reads, function, thresholds, defaults, is_on)
    select 'x' || n, 'one', 'a', '{}', 'x', '{}', '{}', false from generate_series(1, 300) as n;
  insert into procurement.indicator_runs (is_trial, changed_only, asked_by) select true, false, id from who;
  insert into procurement.indicator_results (run_id, indicator_code, version, thresholds, is_full, flagged, clear, not_computable, seconds)
    select n, 'x' || n % 300 + 1, 1, '{}', true, 0, 0, 0, 0 from who;
  insert into procurement.tenders (id, source_code, source_ref, customer_bin, region_code, ends_at)
    select md5(n::text)::uuid, 'source', 't' || n, lpad((n % 3000)::text, 12, '0'), 'R' || n % 300 + 1, timestamptz '2024-01-01' + n * interval '1 hour'
    from generate_series(1, 6000) as n;
  insert into procurement.bids (id, tender_id, source_ref, tenderer_bins, bid_sum)
    select gen_random_uuid(), md5((n % 6000 + 1)::text)::uuid, n, array[lpad((n % 3000)::text, 12, '0')], n from generate_series(1, 12000) as n;
  insert into procurement.awards (id, tender_id, source_ref, supplier_bins)
    select gen_random_uuid(), md5(n::text)::uuid, n, array[lpad((n % 2999)::text, 12, '0')] from generate_series(1, 6000) as n;
  insert into procurement.findings (indicator_code, run_id, contract_id, tender_id, customer_bin, supplier_bin, region_codes, outcome, value, thresholds, inputs, reason)
    select 'x' || n % 300 + 1, n % 3000 + 1, md5(n::text)::uuid, md5(n::text)::uuid, lpad((n % 3000)::text, 12, '0'), lpad((n % 2999)::text, 12, '0'), '{}', 'flagged', n, '{}', '{}', 'why'
    from generate_series(1, 12000) as n;
  insert into procurement.trial_findings (indicator_code, run_id, region_codes, outcome, thresholds, inputs, reason)
    select 'x', n, '{}', 'flagged', '{}', '{}', 'why' from who;
  insert into procurement.network_runs (customers, suppliers, ties, contracts, communities, rounds, is_settled, started_at, finished_at)
    select 1, 1, 1, 1, 1, 1, true, now(), now() from who;
  insert into procurement.communities (run_id, number, customers, suppliers, contracts, all_contracts, modularity, region_codes)
    select n, 1, 1, 1, 1, 1, n / 3000.0, '{}' from who;
  insert into procurement.community_members (bin, side, community_id, contracts, all_contracts) select lpad(n::text, 12, '0'), 'customer', n, 1, 1 from who;
  insert into procurement.scores (kind, contract_id, fiscal_year, region_code, score, parts, contracts, region_codes)
    select 'contract', md5(n::text)::uuid, 2024, case when n % 2 = 0 then 'R' || n % 300 + 1 end, n, '[]', 1, '{}' from generate_series(1, 12000) as n;
  insert into procurement.scores (kind, bin, region_code, score, parts, contracts, region_codes)
    select 'supplier', lpad(n::text, 12, '0'), case when n % 2 = 0 then 'R' || n % 300 + 1 end, n, '[]', 1, '{}' from who;
  insert into procurement.growth_forecasts (model_id, contract_id, fiscal_year, probability, x)
    select n % 20, md5(n::text)::uuid, 2024, n / 12000.0, '{}' from generate_series(1, 12000) as n;
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
    await client.query('set constraints all immediate');
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
