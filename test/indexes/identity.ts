import { imported, type Section, someone } from './section.ts';

export const identity: Section = {
  uses: {
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
  },
  rows: `
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
  `,
};
