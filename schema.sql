-- Plinth: the whole application. Read from top to bottom; each section stands only on those above it.
--
--   foundation   roles, errors, time-ordered keys                                  (schema public)
--   identity     users, sign-up, log-in, sessions, profiles                        (schema identity)
--   events       what has happened, in a log; who may listen                       (schema events)
--   access       maintenance, rate limits, feature flags                           (schema access)
--   jobs         work that is done later: queues, tasks, schedules, runs            (schema jobs)
--   organizations  members, roles, departments, positions, proxies                 (schema organizations)
--   chat         channels, rooms, moderation, messages, unread, search, import      (schema chat)
--   files        what is uploaded, attached to messages, and downloaded          (schema files)
--   talk         mentions, reactions, pins, threads, forwards, bookmarks, drafts, scheduled messages
--   accounts     operators' acts, merges, exports, retention, legal holds           (schema accounts)
--   webhooks     what happens in a channel, sent to an address                      (schema webhooks)
--   notifications  what someone should know of; what they want to be told        (schema notifications)
--   presence     who is there, and how long they were                              (schema presence)
--   procurement  companies, contracts, risk indicators and what they find      (schema procurement)
--   stats        figures of each day and each minute                               (schema stats)
--   operations   upkeep, backups, and the health of the database                   (schema operations)
--
-- A section is one Postgres schema. Inside it, always in this order: types, tables with their indexes,
-- functions, triggers, policies, grants; the comment stands beside its object. What is granted to one of the
-- API roles is the GraphQL API, and the comment is its documentation. docs/schema.md tells the conventions.

-- ============================================================================================
-- foundation: roles, errors, time-ordered keys
-- ============================================================================================

create extension if not exists pg_trgm with schema public;

-- Roles belong to the cluster, not to the database: another database may have made them already.
do $$
declare
  wanted record;
begin
  for wanted in
    select *
    from (values
      ('plinth_owner',  'nologin noinherit'),  -- owns every object; security definer functions run as it
      ('plinth_server', 'login noinherit'),    -- what the server logs in as: it may only become an API role
      ('anonymous',     'nologin inherit'),    -- a caller without a token
      ('member',        'nologin inherit'),    -- a signed-in user
      ('operator',      'nologin inherit'),    -- a signed-in user who runs the place
      ('service',       'nologin inherit')     -- a program of ours: imports, workers, schedulers
    ) as listed (name, options)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.options);
    end if;
  end loop;

  -- An operator may do what a member may, a member what anyone may. What is so already is left: to grant it again takes
  -- rights that the owner of another database on this cluster may not have.
  for wanted in
    select *
    from (values
      ('anonymous', 'member'), ('member', 'operator'),
      ('anonymous', 'plinth_server'), ('member', 'plinth_server'),
      ('operator', 'plinth_server'), ('service', 'plinth_server')
    ) as listed (role, taker)
  loop
    if not exists (
      select
      from pg_catalog.pg_auth_members
      where roleid = wanted.role::regrole and member = wanted.taker::regrole
    ) then
      execute format('grant %I to %I', wanted.role, wanted.taker);
    end if;
  end loop;

  -- Whoever applies this file makes the objects as their owner. From 16 on, who made a role may be a member of it that
  -- may not take it.
  if not pg_has_role(
    'plinth_owner', case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end
  ) then
    execute format('grant plinth_owner to %I', current_user);
  end if;
  execute format('grant create on database %I to plinth_owner', current_database());
end;
$$;

-- What health tells of Postgres is read from its statistics (section operations). Who applies this file may lack the
-- right to grant that, or the library may not be loaded: the checks say so, and what to do.
do $$
begin
  if not pg_has_role('plinth_owner', 'pg_monitor', 'usage') then
    -- Of a role that it does not inherit from, a security definer function has no rights.
    alter role plinth_owner inherit;
    grant pg_monitor to plinth_owner;
  end if;
exception when insufficient_privilege then
  raise notice 'Health will not see everything: grant pg_monitor to plinth_owner.';
end;
$$;

do $$
begin
  -- The setting is there where the library is loaded.
  if current_setting('pg_stat_statements.max', true) is not null then
    create extension if not exists pg_stat_statements with schema public;
    -- Its texts are of everyone's statements: they go through operations.slow_queries alone.
    revoke all on public.pg_stat_statements, public.pg_stat_statements_info from public;
  end if;
exception when insufficient_privilege or undefined_file or feature_not_supported then
  raise notice 'Health will not see statements: create extension pg_stat_statements.';
end;
$$;

comment on role anonymous is 'A caller without a token.';
comment on role member    is 'A signed-in user.';
comment on role operator  is 'A signed-in user who runs the place.';
comment on role service   is 'A program: imports, workers, schedulers.';

-- The longest that one statement of theirs may run; the server applies it to each request.
alter role anonymous set statement_timeout = '5s';
alter role member    set statement_timeout = '10s';
alter role operator  set statement_timeout = '60s';
alter role service   set statement_timeout = '10min';

-- A change of the schema wakes the server, which builds its API anew. Only a superuser may make an event trigger;
-- where none made it, the server asks every second instead.
create function public._announce_ddl() returns event_trigger
language plpgsql set search_path = ''
as $$
begin
  perform pg_catalog.pg_notify('plinth_ddl', '');
end;
$$;
revoke execute on function public._announce_ddl from public;

do $$
begin
  if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    create event trigger plinth_ddl on ddl_command_end execute function public._announce_ddl();
  end if;
end;
$$;

revoke all on schema public from public;
grant usage, create on schema public to plinth_owner;
grant usage on schema public to plinth_server, anonymous, member, operator, service;

-- Everything below belongs to it, and nobody may call a function that was not granted to them.
set local role plinth_owner;
alter default privileges revoke execute on functions from public;

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table public.error_codes (
  sqlstate    text    primary key,
  code        text    not null,
  description text    not null,

  constraint sqlstate_has_2_or_5_characters check (sqlstate ~ '^[0-9A-Z]{2}([0-9A-Z]{3})?$')
);
comment on table public.error_codes is
  'What a client is told for an SQLSTATE, or for a class of them (its first two characters).';

-- The PT codes are ours, raised by the functions below; the others are Postgres's.
insert into public.error_codes (sqlstate, code, description)
values
  ('PT400', 'BAD_USER_INPUT',    'An argument is missing, malformed or out of range.'),
  ('PT401', 'UNAUTHENTICATED',   'Nobody is signed in, or the session has ended.'),
  ('PT403', 'FORBIDDEN',         'The caller may not do this.'),
  ('PT404', 'NOT_FOUND',         'There is no such thing, or the caller may not know of it.'),
  ('PT409', 'CONFLICT',          'The state of things does not allow it.'),
  ('PT410', 'CURSOR_EXPIRED',    'What came after this cursor is no longer known: read the state anew.'),
  ('PT413', 'LIMIT_EXCEEDED',    'It is larger than is allowed, or there are more of them.'),
  ('PT429', 'TOO_MANY_REQUESTS', 'Too often; try again later.'),
  ('PT503', 'MAINTENANCE',       'It is being worked on; try again later.'),
  ('22',    'BAD_USER_INPUT',    'A value is malformed or out of range.'),
  ('23502', 'BAD_USER_INPUT',    'A value is missing.'),
  ('23503', 'NOT_FOUND',         'What is referred to does not exist.'),
  ('23505', 'CONFLICT',          'It exists already.'),
  ('23514', 'BAD_USER_INPUT',    'A value breaks a rule.'),
  ('23P01', 'CONFLICT',          'It overlaps with something that exists.'),
  ('40',    'RETRY',             'Two changes met; try again.'),
  ('42501', 'FORBIDDEN',         'The caller may not do this.'),
  ('53',    'UNAVAILABLE',       'The database is short of something; try again later.'),
  ('55P03', 'RETRY',             'Something else holds it; try again.'),
  ('57014', 'TIMEOUT',           'It took longer than the caller''s role allows.'),
  ('57P01', 'UNAVAILABLE',       'The database is stopping; try again.'),
  ('57P03', 'UNAVAILABLE',       'The database is starting; try again.'),
  ('08',    'UNAVAILABLE',       'The database cannot be reached; try again.')
on conflict (sqlstate) do update
  set code = excluded.code, description = excluded.description;

-- --------------------------------------------------------------------------------------------
-- Functions
-- --------------------------------------------------------------------------------------------

-- Ends a function with an error that keeps what it has written (a counted try, a revoked session), where `raise`
-- would undo it. The server commits, then answers with this error in place of the result.
create function public.refuse(sqlstate text, message text, "column" text default null) returns void
language sql volatile set search_path = ''
as $$
  select set_config(
    'plinth.refused', jsonb_build_object('sqlstate', sqlstate, 'message', message, 'column', "column")::text, true
  );
$$;
comment on function public.refuse is 'An error that keeps what the function has written, unlike `raise`.';

-- A UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 bits of their fraction, 62 random bits. Ticks are the first two
-- as one number, 4,096 of them a millisecond; without `set search_path`, so that they inline.
create function public._uuid_v7_ticks(id uuid) returns bigint
language sql immutable parallel safe
return ('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4) || substr(id::text, 16, 3))::bit(60)::bigint;

create function public._uuid_v7_ticks(at timestamptz) returns bigint
language sql immutable parallel safe
return floor(extract(epoch from at) * 4096000)::bigint;

-- Like the server's clock, but never at or before `after`: ids made under one lock rise whatever the clock does.
create function public.uuid_v7_at(at timestamptz, after uuid) returns uuid
language plpgsql volatile parallel safe set search_path = ''
as $$
declare
  ticks bigint := greatest(public._uuid_v7_ticks(at), public._uuid_v7_ticks(after) + 1);
begin
  return (
    lpad(to_hex(ticks >> 12), 12, '0')
    || to_hex(28672 + (ticks & 4095))  -- 0x7000: the version
    || right(gen_random_uuid()::text, 17)
  )::uuid;
end;
$$;
comment on function public.uuid_v7_at is 'A UUIDv7 of the time `at`, greater than `after` (null: none before it).';

-- Postgres 18 has it built in.
do $do$
begin
  execute 'create function public.uuid_v7() returns uuid '
    || 'language sql volatile parallel safe set search_path = '''' return '
    || case
      when current_setting('server_version_num')::integer >= 180000 then 'uuidv7()'
      else 'public.uuid_v7_at(clock_timestamp(), null)'
    end;
end;
$do$;
comment on function public.uuid_v7() is 'A new UUIDv7: a key that rises with time.';

create function public.uuid_v7_floor(at timestamptz) returns uuid
language sql immutable parallel safe set search_path = ''
return (lpad(to_hex(public._uuid_v7_ticks(at) >> 12), 12, '0') || '70008000000000000000')::uuid;
comment on function public.uuid_v7_floor is 'The lowest UUIDv7 of that millisecond: a bound for ranges of ids.';

create function public.uuid_v7_time(id uuid) returns timestamptz
language sql immutable parallel safe set search_path = ''
return to_timestamp(public._uuid_v7_ticks(id) / 4096000.0);
comment on function public.uuid_v7_time is 'The time that a UUIDv7 carries.';

create function public._touch_updated_at() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.updated_at := now();
  return new;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Policies
-- --------------------------------------------------------------------------------------------

alter table public.error_codes enable row level security;
create policy the_server_reads_error_codes on public.error_codes for select to plinth_server
  using (true);

-- --------------------------------------------------------------------------------------------
-- Grants: none of this is API, but what the sections below are made of
-- --------------------------------------------------------------------------------------------

revoke execute on function
  public.refuse, public._uuid_v7_ticks(uuid), public._uuid_v7_ticks(timestamptz), public.uuid_v7_at,
  public.uuid_v7(), public.uuid_v7_floor, public.uuid_v7_time, public._touch_updated_at from public;
grant select on public.error_codes to plinth_server;

-- ============================================================================================
-- identity: users, sign-up, log-in, sessions, profiles
-- ============================================================================================

create schema identity;
comment on schema identity is 'Users, how they sign in, and what they tell of themselves.';
grant usage on schema identity to plinth_server, anonymous, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type identity.account_status as enum ('active', 'inactive', 'banned');
comment on type identity.account_status is 'Whether the user may sign in.';

-- Two values that the server completes: SQL says what, TypeScript signs and delivers.
create domain identity.access_token as jsonb;
comment on domain identity.access_token is
  'A JSON Web Token, valid for 15 minutes, for the header `Authorization: Bearer …`.

@jwt';

create type identity.code_purpose as enum ('sign_in', 'password_reset', 'change');
comment on type identity.code_purpose is 'What a code is for: it is good for nothing else.';

create type identity.bot_scope as enum ('send', 'manage');
comment on type identity.bot_scope is
  'What a token of a bot lets it do beside reading: send and change messages; make rooms, and bring people in and out.';

create domain identity.delivery as jsonb;
comment on domain identity.delivery is
  'A text or mail that the server sends once the transaction has committed: {channel, to, text}.

@deliver';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- What everyone who is signed in may see of a user. A removed account leaves its row, with nothing personal in it.
create table identity.users (
  id           uuid        primary key default public.uuid_v7(),
  username     text        not null,
  display_name text        not null,
  bio          text,
  avatar_url   text,
  location     text,
  website      text,
  last_seen_at timestamptz,                     -- null: never signed in
  removed_at   timestamptz,                     -- null: in use
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),
  external_ref text        unique,              -- null: made here; else source and its id, gitter:55b9…
  searched     text        not null generated always as (lower(display_name || ' ' || username)) stored,

  constraint username_is_3_to_50_plain_characters      check (username ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{2,49}$'),
  constraint display_name_is_2_to_100_characters       check (char_length(display_name) between 2 and 100),
  constraint bio_is_at_most_1000_characters            check (char_length(bio) <= 1000),
  constraint avatar_url_is_a_web_address               check (avatar_url ~ '^https?://\S+$'),
  constraint avatar_url_is_at_most_2000_characters     check (char_length(avatar_url) <= 2000),
  constraint location_is_at_most_100_characters        check (char_length(location) <= 100),
  constraint website_is_a_web_address                  check (website ~ '^https?://\S+$'),
  constraint website_is_at_most_2000_characters        check (char_length(website) <= 2000),
  constraint external_ref_is_at_most_200_characters    check (char_length(external_ref) <= 200)
) with (fillfactor = 85);  -- last_seen_at changes with every refresh: room for the next version of the row
comment on table  identity.users              is 'Someone who uses Plinth.';
comment on column identity.users.id           is 'The key; rises with the time of sign-up.';
comment on column identity.users.username     is 'The name to mention and find them by; unique in any case.';
comment on column identity.users.display_name is 'The name to show, 2 to 100 characters.';
comment on column identity.users.bio          is 'What they say of themselves.';
comment on column identity.users.avatar_url   is 'The address of their picture.';
comment on column identity.users.location     is 'Where they say they are.';
comment on column identity.users.website      is 'The address of their own page.';
comment on column identity.users.last_seen_at is 'When they were last active; null for never.';
comment on column identity.users.removed_at   is 'When the account was removed; null while it is in use.';
comment on column identity.users.created_at   is 'When they signed up.';
comment on column identity.users.updated_at   is 'When this profile last changed.';
comment on column identity.users.external_ref is 'Where they were imported from, and their id there; null otherwise.';
comment on column identity.users.searched     is 'What search_users looks in.

@hide';

-- One name whatever its case.
create unique index users_username_key on identity.users (lower(username));
-- Parts of names and typos, identity.search_users.
create index users_searched_trgm_idx on identity.users using gin (searched public.gin_trgm_ops);
-- Stems of names, identity.search_users.
create index users_searched_stem_idx on identity.users using gin (to_tsvector('russian', searched));

-- What only they themselves may see.
create table identity.accounts (
  user_id           uuid                    primary key references identity.users (id) on delete cascade,
  phone             text                    unique,
  email             text,
  email_verified_at timestamptz,                      -- null: not verified
  status            identity.account_status not null default 'active',
  is_operator       boolean                 not null default false,
  time_zone         text                    not null default 'UTC',
  language          text                    not null default 'en',
  preferences       jsonb                   not null default '{}',

  constraint phone_is_an_e164_number           check (phone ~ '^\+[1-9][0-9]{6,14}$'),
  constraint email_is_an_address               check (email ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:].]{2,}$'),
  constraint email_is_at_most_254_characters   check (char_length(email) <= 254),
  constraint language_is_a_language_tag        check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,5}$'),
  constraint preferences_are_an_object         check (jsonb_typeof(preferences) = 'object'),
  constraint preferences_are_at_most_16_kb     check (pg_column_size(preferences) <= 16384)
);
comment on table  identity.accounts                   is 'The private side of a user; each sees only their own.';
comment on column identity.accounts.user_id           is 'Whose account it is.';
comment on column identity.accounts.phone             is 'Phone number in E.164 form; null for none.';
comment on column identity.accounts.email             is 'E-mail address; null for none.';
comment on column identity.accounts.email_verified_at is 'When the address was verified; null if it was not.';
comment on column identity.accounts.status            is 'Whether they may sign in.';
comment on column identity.accounts.is_operator       is 'Whether they run the place: their requests run as operator.';
comment on column identity.accounts.time_zone         is 'Their time zone, by its IANA name.';
comment on column identity.accounts.language          is 'Their language, as a BCP 47 tag.';
comment on column identity.accounts.preferences       is 'Whatever a client wants to remember for them, up to 16 kB.';

-- One account an address whatever its case.
create unique index accounts_email_key on identity.accounts (lower(email));

create table identity.passwords (
  user_id    uuid        primary key references identity.users (id) on delete cascade,
  hash       text        not null,
  changed_at timestamptz not null default now(),

  constraint hash_is_argon2id check (hash like '$argon2id$%')
);
comment on table identity.passwords is 'Hashes of passwords; nobody reads them but log_in.';

-- Who asks for a code gets its id, and needs it to spend the code: else someone who asks for the same recipient a
-- moment later could have the recipient confirm a sign-up, and a password, that are not theirs.
create table identity.codes (
  id            uuid                  primary key default gen_random_uuid(),
  purpose       identity.code_purpose not null default 'sign_in',
  user_id       uuid                  references identity.users (id) on delete cascade,  -- null: nobody's yet
  recipient     text                  not null,
  salt          text                  not null,
  hash          bytea                 not null,
  display_name  text,                             -- null: no sign-up
  username      text,                             -- null: one is made
  password_hash text,                             -- null: by phone, without a password
  tries         integer               not null default 0,
  expires_at    timestamptz           not null,
  created_at    timestamptz           not null default now(),

  constraint it_expires_after_it_is_made check (expires_at > created_at)
);
comment on table identity.codes is 'Codes sent to a phone or an address and not yet spent, as hashes.';
-- What expire_codes looks for.
create index codes_expires_at_idx on identity.codes (expires_at);
create index codes_user_id_idx on identity.codes (user_id);

create table identity.bots (
  user_id    uuid        primary key references identity.users (id) on delete cascade,
  owner_id   uuid        not null references identity.users (id) on delete cascade,
  created_at timestamptz not null default now()
);
comment on table  identity.bots            is 'Users that are programs.';
comment on column identity.bots.user_id    is 'The bot itself: a user like any other, who signs in by tokens alone.';
comment on column identity.bots.owner_id   is 'Who answers for it.';
comment on column identity.bots.created_at is 'When it was made.';
comment on constraint bots_owner_id_fkey on identity.bots is '@inverse bots';
create index bots_owner_id_idx on identity.bots (owner_id);

create table identity.bot_tokens (
  id           uuid                 primary key default public.uuid_v7(),
  bot_id       uuid                 not null references identity.bots (user_id) on delete cascade,
  name         text                 not null,
  hash         bytea                not null unique,
  scopes       identity.bot_scope[] not null,
  created_at   timestamptz          not null default now(),
  last_used_at timestamptz,                                 -- null: never
  expires_at   timestamptz          not null,

  constraint name_has_1_to_100_characters check (char_length(name) between 1 and 100),
  constraint scopes_are_named_once        check (cardinality(scopes) <= 2)
);
comment on table identity.bot_tokens is 'Hashes of the tokens of bots; a revoked one is gone.';
create index bot_tokens_bot_id_idx on identity.bot_tokens (bot_id);

create table identity.sessions (
  id              uuid        primary key default public.uuid_v7(),
  user_id         uuid        not null references identity.users (id) on delete cascade,
  created_at      timestamptz not null default now(),
  last_access_at  timestamptz not null default now(),
  expires_at      timestamptz not null default now() + interval '30 days',
  revoked_at      timestamptz,                     -- null: in force until it expires
  address         inet,                            -- null: not known
  user_agent      text,                            -- null: not known
  impersonator_id uuid        references identity.users (id) on delete cascade,  -- null: the user opened it
  bot_token_id    uuid        references identity.bot_tokens (id) on delete cascade,  -- null: of a person
  scopes          identity.bot_scope[],            -- null: of a person, who may do everything

  constraint user_agent_is_at_most_500_characters check (char_length(user_agent) <= 500)
);
comment on table  identity.sessions                is 'A device or program that a user is signed in on.';
comment on column identity.sessions.id             is 'The key.';
comment on column identity.sessions.user_id        is 'Who is signed in.';
comment on column identity.sessions.created_at     is 'When they signed in.';
comment on column identity.sessions.last_access_at is 'When the session was last opened or refreshed.';
comment on column identity.sessions.expires_at     is 'When it ends unless it is refreshed before.';
comment on column identity.sessions.revoked_at     is 'When it was ended by hand; null if it was not.';
comment on column identity.sessions.address        is 'The IP address it was last used from.';
comment on column identity.sessions.user_agent     is 'The program, as it called itself.';
comment on column identity.sessions.impersonator_id is
  'The operator who acted as the user in this session; null where the user opened it.';
comment on column identity.sessions.bot_token_id   is
  'The token by which a bot opened it; null for a person.

@hide';
comment on column identity.sessions.scopes         is 'What a bot may do in it beside reading; null for a person.';
comment on constraint sessions_impersonator_id_fkey on identity.sessions is '@inverse impersonations';
-- The sessions of a user, newest first.
create index sessions_user_id_id_idx on identity.sessions (user_id, id desc);
create index sessions_bot_token_id_idx on identity.sessions (bot_token_id) where bot_token_id is not null;
create index sessions_impersonator_id_idx on identity.sessions (impersonator_id) where impersonator_id is not null;

-- Spent tokens stay until their session is cleaned away: using one again is the sign of a theft.
create table identity.refresh_tokens (
  hash       bytea       primary key,
  session_id uuid        not null references identity.sessions (id) on delete cascade,
  spent_at   timestamptz,               -- null: good for one refresh
  created_at timestamptz not null default now()
);
comment on table identity.refresh_tokens is 'Hashes of the refresh tokens of each session.';
create index refresh_tokens_session_id_idx on identity.refresh_tokens (session_id);

create table identity.attempts (
  subject    text        primary key,   -- what is counted: log_in:user:…, code:address:…
  started_at timestamptz not null,
  count      integer     not null
);
comment on table identity.attempts is 'How often something was tried within its window, to limit it.';
-- What expire_codes looks for.
create index attempts_started_at_idx on identity.attempts (started_at);

-- No row is the normal state. Set by access.begin_maintenance; here, since every request asks.
create table identity.maintenance (
  only_one   boolean     primary key default true,
  level      text        not null,
  message    text        not null,
  started_at timestamptz not null default now(),
  ends_at    timestamptz,                          -- null: when it is ended by hand

  constraint there_is_one_at_a_time             check (only_one),
  constraint level_is_read_only_or_closed       check (level in ('read_only', 'closed')),
  constraint message_has_1_to_500_characters    check (char_length(message) between 1 and 500),
  constraint maintenance_ends_after_it_starts   check (ends_at > started_at)
);
comment on table  identity.maintenance         is 'That the place is being worked on, while it is.';
comment on column identity.maintenance.level   is 'Whether members may still read.';
comment on column identity.maintenance.message is 'What they are told.';
comment on column identity.maintenance.ends_at is 'When it ends by itself.';

create type identity.session_tokens as (
  access_token  identity.access_token,
  refresh_token text,
  expires_at    timestamptz,
  "user"        identity.users
);
comment on type   identity.session_tokens               is 'What a signed-in client keeps.';
comment on column identity.session_tokens.access_token  is 'Sent with every request; lives 15 minutes.';
comment on column identity.session_tokens.refresh_token is 'Good for one refreshSession; never sent elsewhere.';
comment on column identity.session_tokens.expires_at    is 'When the session ends unless it is refreshed before.';
comment on column identity.session_tokens."user"        is 'Who is signed in.';

create type identity.bot_token as (
  id         uuid,
  bot_id     uuid,
  name       text,
  token      text,
  scopes     identity.bot_scope[],
  expires_at timestamptz,
  last_used_at timestamptz
);
comment on type   identity.bot_token              is 'A token by which a bot signs in.';
comment on column identity.bot_token.id           is 'Names it, for revoking.';
comment on column identity.bot_token.bot_id       is 'The bot.';
comment on column identity.bot_token.name         is 'What its owner calls it.';
comment on column identity.bot_token.token        is 'The token itself: shown when it is made, never again.';
comment on column identity.bot_token.scopes       is 'What it lets the bot do beside reading.';
comment on column identity.bot_token.expires_at   is 'Until when it is good.';
comment on column identity.bot_token.last_used_at is 'When a session was last opened by it; null for never.';

create type identity.code_request as (
  id         uuid,
  recipient  text,
  expires_at timestamptz,
  delivery   identity.delivery
);
comment on type   identity.code_request            is 'A code is on its way, if the recipient can have one.';
comment on column identity.code_request.id         is 'Names this request: verifyCode needs it beside the code.';
comment on column identity.code_request.recipient  is 'The phone number or address it goes to.';
comment on column identity.code_request.expires_at is 'Until when it can be used.';

create type identity.account_change as (
  account  identity.accounts,
  delivery identity.delivery
);
comment on type   identity.account_change         is 'A phone number or an e-mail address that is another now.';
comment on column identity.account_change.account is 'The account as it is now.';
comment on column identity.account_change.delivery is 'What the one before is told.';

-- --------------------------------------------------------------------------------------------
-- Views
-- --------------------------------------------------------------------------------------------

-- For begin_request, which runs as the server: it sees that a session holds, and nothing else of it.
create view identity._live_sessions as
select
  session.id, session.user_id, case when account.is_operator then 'operator' else 'member' end as role, session.scopes
from identity.sessions as session
join identity.accounts as account on account.user_id = session.user_id
where session.revoked_at is null and session.expires_at > now() and account.status = 'active';
comment on view identity._live_sessions is
  'The sessions that hold, the role that the requests of each run as, and the scopes of those of bots.

@asOwner';

-- Who gets in, who may not during maintenance. Anonymous callers may try to sign in, as operators have to: whether they
-- may is asked by _issue_tokens. For begin_request as well.
create view identity._closed as
select refused.role, refused.writes, known.message, known.ends_at
from identity.maintenance as known
join (
  values ('closed', 'anonymous', false), ('closed', 'member', false), ('closed', 'member', true),
    ('read_only', 'member', true)
) as refused (level, role, writes) on refused.level = known.level
where known.ends_at is null or known.ends_at > now();
comment on view identity._closed is
  'Which roles may not read, or not write, while the place is being worked on.

@asOwner';

-- --------------------------------------------------------------------------------------------
-- Functions: who is calling
-- --------------------------------------------------------------------------------------------

-- Set once a request by begin_request. No `set search_path`: it must inline into policies, and a body in standard SQL
-- is resolved when it is made.
create function identity.current_user_id() returns uuid
language sql stable parallel safe
return nullif(current_setting('plinth.user_id', true), '')::uuid;
comment on function identity.current_user_id is
  'The signed-in user, or null.

@hide';

create function identity.require_user_id() returns uuid
language plpgsql stable parallel safe set search_path = ''
as $$
declare
  caller uuid := identity.current_user_id();
begin
  if caller is null then
    raise exception using errcode = 'PT401', message = 'Sign in first.';
  end if;
  return caller;
end;
$$;
comment on function identity.require_user_id is 'The signed-in user; an error where nobody is.';

-- What only the user may do, not an operator who acts as them, nor a bot.
create function identity._require_own_session() returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
begin
  if exists (
    select
    from identity.sessions as session
    where session.id = nullif(current_setting('plinth.session_id', true), '')::uuid
      and (session.impersonator_id is not null or session.scopes is not null)
  ) then
    raise exception using errcode = 'PT403',
      message = 'Neither an operator who acts as a user nor a bot may do this.';
  end if;
  return caller;
end;
$$;

-- Ends what maintenance does not allow.
create function identity._require_open(role text, writes boolean) returns void
language plpgsql stable set search_path = ''
as $$
declare
  closed record;
begin
  select known.message, known.ends_at into closed
  from identity._closed as known
  where known.role = _require_open.role and known.writes = _require_open.writes;
  if found then
    raise exception using errcode = 'PT503', message = closed.message,
      hint = coalesce('It ends at ' || to_json(closed.ends_at)::text || '.', 'Try again later.');
  end if;
end;
$$;

-- The first statement of every request: takes the role and remembers the caller, until the transaction ends. The server
-- has verified the token; whether its session still holds is asked here, so a revoked one ends at once.
create function identity.begin_request(
  role text, claims jsonb, statement_timeout text, read_only boolean default false
) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  scopes identity.bot_scope[];
begin
  -- Hardly ever: to look here is cheaper than to call what looks.
  if exists (select from identity._closed) and role in ('anonymous', 'member') then
    perform identity._require_open(role, not read_only);
  end if;
  if role in ('member', 'operator') then
    select live.scopes into scopes
    from identity._live_sessions as live
    where live.id = (claims ->> 'sid')::uuid
      and live.user_id = (claims ->> 'sub')::uuid
      and live.role = begin_request.role;
    if not found then
      raise exception using errcode = 'PT401', message = 'The session has ended.', hint = 'Sign in again.';
    end if;
    if scopes = '{}' and not read_only then
      raise exception using errcode = 'PT403', message = 'The token of this bot is for reading only.';
    end if;
  end if;
  perform
    -- Null: a person. A bot's always begin with a word.
    set_config('plinth.scopes', coalesce('bot ' || array_to_string(scopes, ' '), ''), true),
    set_config('plinth.user_id', case when role in ('member', 'operator') then claims ->> 'sub' else '' end, true),
    set_config('plinth.session_id', case when role in ('member', 'operator') then claims ->> 'sid' else '' end, true),
    set_config('plinth.address', coalesce(claims ->> 'address', ''), true),
    set_config('plinth.user_agent', coalesce(claims ->> 'user_agent', ''), true),
    set_config('plinth.request_id', coalesce(claims ->> 'request_id', ''), true),
    set_config('statement_timeout', begin_request.statement_timeout, true),
    set_config('transaction_read_only', case when read_only then 'on' else 'off' end, true),
    set_config('role', begin_request.role, true);
end;
$$;
comment on function identity.begin_request is
  'Takes the role and the identity of a request until its transaction ends; what is `read_only` may not write.';

-- Where the request comes from, without the name of an interface (fe80::1%eth0); null where it is not known.
create function identity._address() returns inet
language sql stable parallel safe set search_path = ''
return nullif(split_part(current_setting('plinth.address', true), '%', 1), '')::inet;

create function identity._user_agent() returns text
language sql stable parallel safe set search_path = ''
return left(nullif(current_setting('plinth.user_agent', true), ''), 500);

-- What tries are counted by: of IPv6 the network, for whoever has one address has all 2^64 of it.
create function identity._counted_address() returns text
language sql stable parallel safe set search_path = ''
return (
  select case
    when address is null then 'unknown'
    when family(address) = 6 and not address <<= '::ffff:0:0/96' then network(set_masklen(address, 64))::text
    else host(address)
  end
  from identity._address() as address
);

-- Counts one try, and tells whether it is still within the limit.
create function identity._count_attempt(subject text, most integer, per interval) returns boolean
language sql volatile set search_path = ''
as $$
  insert into identity.attempts as known (subject, started_at, count)
  values (subject, now(), 1)
  on conflict on constraint attempts_pkey do update set
    started_at = case when known.started_at + per < now() then now() else known.started_at end,
    count = case when known.started_at + per < now() then 1 else known.count + 1 end
  returning count <= most;
$$;

create function identity._is_exhausted(subject text, most integer, per interval) returns boolean
language sql stable set search_path = ''
return exists (
  select
  from identity.attempts as known
  where known.subject = _is_exhausted.subject and known.count >= most and known.started_at + per >= now()
);

-- --------------------------------------------------------------------------------------------
-- Functions: sessions
-- --------------------------------------------------------------------------------------------

-- 244 random bits, from Postgres's cryptographic source.
create function identity._new_token() returns text
language sql volatile set search_path = ''
return replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');

create function identity._token_hash(token text) returns bytea
language sql immutable parallel safe set search_path = ''
return sha256(convert_to(token, 'UTF8'));

create function identity._issue_tokens(session identity.sessions) returns identity.session_tokens
language plpgsql volatile set search_path = ''
as $$
declare
  token   text := identity._new_token();
  holder  identity.users;
  issued  identity.session_tokens;
begin
  if not (select is_operator from identity.accounts where user_id = session.user_id) then
    perform identity._require_open('member', false);
  end if;
  insert into identity.refresh_tokens (hash, session_id) values (identity._token_hash(token), session.id);
  update identity.users set last_seen_at = now() where id = session.user_id returning * into holder;
  issued.access_token := jsonb_build_object(
    'sub', session.user_id,
    'sid', session.id,
    'role', (select case when is_operator then 'operator' else 'member' end
             from identity.accounts where user_id = session.user_id)
  );
  issued.refresh_token := token;
  issued.expires_at := session.expires_at;
  issued."user" := holder;
  return issued;
end;
$$;

create function identity.open_session(user_id uuid) returns identity.session_tokens
language plpgsql volatile set search_path = ''
as $$
declare
  session identity.sessions;
begin
  -- Held, so that an account that is being removed is either gone already or takes this session with it.
  if not exists (
    select from identity.users where id = open_session.user_id and removed_at is null for no key update
  ) then
    raise exception using errcode = 'PT401', message = 'The account has been removed.';
  end if;
  -- Nor is one opened that would come alive once its user is let in again.
  if exists (
    select from identity.accounts as account where account.user_id = open_session.user_id and account.status <> 'active'
  ) then
    raise exception using errcode = 'PT403', message = 'The account is not active.';
  end if;
  insert into identity.sessions (user_id, address, user_agent)
  values (
    open_session.user_id,
    identity._address(),
    identity._user_agent()
  )
  returning * into session;
  return identity._issue_tokens(session);
end;
$$;
comment on function identity.open_session is 'Signs a user in without asking for proof; granted to nobody.';

create function identity.refresh_session(refresh_token text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  token   identity.refresh_tokens;
  session identity.sessions;
begin
  -- Guards. The row lock lets one of two refreshes at the same moment win.
  select * into token
  from identity.refresh_tokens as known
  where known.hash = identity._token_hash(refresh_session.refresh_token)
  for update;
  if token.hash is null then
    raise exception using errcode = 'PT401', message = 'The refresh token is not valid.', hint = 'Sign in again.';
  end if;
  if token.spent_at is not null then
    update identity.sessions set revoked_at = coalesce(revoked_at, now()) where id = token.session_id;
    perform public.refuse('PT401', 'The refresh token was used before; its session has been ended.');
    return null;
  end if;
  if not exists (select from identity._live_sessions as live where live.id = token.session_id) then
    raise exception using errcode = 'PT401', message = 'The session has ended.', hint = 'Sign in again.';
  end if;
  -- Each refresh leaves a row until its session is cleaned away: a client in a loop is stopped.
  if not identity._count_attempt('refresh:' || token.session_id, 100, interval '1 hour') then
    perform public.refuse('PT429', 'The session was refreshed too often; try again in an hour.');
    return null;
  end if;

  -- The exchange.
  update identity.refresh_tokens set spent_at = now() where hash = token.hash;
  update identity.sessions
  set
    last_access_at = now(), expires_at = now() + interval '30 days',
    address = identity._address(), user_agent = identity._user_agent()
  where id = token.session_id
  returning * into session;
  return identity._issue_tokens(session);
end;
$$;
comment on function identity.refresh_session is
  'Exchanges a refresh token for new tokens. A token is good for one exchange; using it again ends the session.

@notNull';

create function identity.log_out() returns void
language sql volatile security definer set search_path = ''
as $$
  update identity.sessions
  set revoked_at = now()
  where id = nullif(current_setting('plinth.session_id', true), '')::uuid and revoked_at is null;
$$;
comment on function identity.log_out is 'Ends the session that this request came with.';

create function identity.revoke_sessions(id uuid default null) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  revoked integer;
begin
  update identity.sessions as session
  set revoked_at = now()
  where session.user_id = caller and session.revoked_at is null
    and (revoke_sessions.id is null or session.id = revoke_sessions.id);
  get diagnostics revoked = row_count;
  if revoked = 0 and revoke_sessions.id is not null then
    raise exception using errcode = 'PT404', message = 'There is no such session.';
  end if;
  return revoked;
end;
$$;
comment on function identity.revoke_sessions is
  'Ends one of the caller''s sessions, or all of them when `id` is left out; returns how many.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: sign-up and log-in
-- --------------------------------------------------------------------------------------------

create function identity._free_username(wanted text) returns text
language plpgsql volatile set search_path = ''
as $$
declare
  plain     text := regexp_replace(wanted, '[^A-Za-z0-9_.-]+', '-', 'g');
  base      text := left(regexp_replace(plain, '^[^A-Za-z0-9]+', ''), 40);
  candidate text := base;
begin
  while char_length(candidate) < 3 or exists (select from identity.users where lower(username) = lower(candidate)) loop
    candidate := coalesce(nullif(base, '') || '-', 'user-') || left(replace(gen_random_uuid()::text, '-', ''), 8);
  end loop;
  return candidate;
end;
$$;

-- Keeps a hash of a new code, and hands the code itself to the server for delivery.
create function identity._send_code(
  recipient text, display_name text, username text, password_hash text, text text
) returns identity.code_request
language plpgsql volatile set search_path = ''
as $$
declare
  -- 6 digits from 48 random bits: the bias is below one in a hundred million.
  random  bigint := ('x' || right(gen_random_uuid()::text, 12))::bit(48)::bigint;
  code    text := lpad((random % 1000000)::text, 6, '0');
  salt    text := gen_random_uuid()::text;
  request identity.code_request;
begin
  insert into identity.codes as pending (recipient, salt, hash, display_name, username, password_hash, expires_at)
  values (
    _send_code.recipient, salt, sha256(convert_to(salt || code, 'UTF8')),
    _send_code.display_name, _send_code.username, _send_code.password_hash, now() + interval '10 minutes'
  )
  returning pending.id into request.id;
  request.recipient := _send_code.recipient;
  request.expires_at := now() + interval '10 minutes';
  request.delivery := jsonb_build_object(
    'channel', case when _send_code.recipient like '%@%' then 'mail' else 'sms' end,
    'to', _send_code.recipient,
    'text', format(_send_code.text, code)
  );
  return request;
end;
$$;

-- What limits the sending of codes: by address and by recipient, in this order: who may ask for no more does not use up
-- what others may be sent.
create function identity._may_send_code(recipient text) returns boolean
language sql volatile set search_path = ''
as $$
  select
    identity._count_attempt('code:address:' || identity._counted_address(), 50, interval '1 hour')
    and identity._count_attempt('code:recipient:' || recipient, 5, interval '1 hour');
$$;

-- Whether _may_send_code would say no; counts nothing.
create function identity._may_send_no_code(recipient text) returns boolean
language sql stable set search_path = ''
return
  identity._is_exhausted('code:address:' || identity._counted_address(), 50, interval '1 hour')
  or identity._is_exhausted('code:recipient:' || recipient, 5, interval '1 hour');

-- What the server hashes a password with: OWASP's first choice, 19 MiB and two passes.
create function identity._argon2id(salt bytea) returns text
language sql immutable parallel safe set search_path = ''
return '$argon2id$v=19$m=19456,t=2,p=1$' || rtrim(encode(salt, 'base64'), '=');

create function identity.request_code(phone text, display_name text default null) returns identity.code_request
language plpgsql volatile security definer set search_path = ''
as $$
begin
  -- Guards.
  if phone !~ '^\+[1-9][0-9]{6,14}$' then
    raise exception using errcode = 'PT400', message = 'The phone number is not in E.164 form.', column = 'phone',
      hint = 'Write it as + and digits only: +77011234567.';
  end if;
  if display_name is not null and char_length(display_name) not between 2 and 100 then
    raise exception using errcode = 'PT400', column = 'display_name',
      message = 'A display name has 2 to 100 characters.';
  end if;
  if not identity._may_send_code(phone) then
    perform public.refuse('PT429', 'Too many codes were asked for; try again in an hour.');
    return null;
  end if;

  return identity._send_code(phone, display_name, null, null, 'Your code is %s. It is valid for 10 minutes.');
end;
$$;
comment on function identity.request_code is
  'Sends a 6-digit code to a phone, to sign up (with a display name) or to log in. The answer is the same either way.

@notNull';

create function identity._check_sign_up(email text, display_name text, username text) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if char_length(email) > 254 or email !~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:].]{2,}$' then
    raise exception using errcode = 'PT400', message = 'That is not an e-mail address.', column = 'email';
  end if;
  if char_length(display_name) not between 2 and 100 then
    raise exception using errcode = 'PT400', column = 'display_name',
      message = 'A display name has 2 to 100 characters.';
  end if;
  if username !~ '^[A-Za-z0-9][A-Za-z0-9_.-]{2,49}$' then
    raise exception using errcode = 'PT400', column = 'username',
      message = 'A username has 3 to 50 letters, digits, dots, dashes or underscores.';
  end if;
end;
$$;

-- Asked before the server hashes the password: a hash takes 20 ms of a core, so what sign_up would refuse is refused
-- here.
create function identity.sign_up_salt(email text, display_name text, username text) returns text
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity._check_sign_up(email, display_name, username);
  if identity._may_send_no_code(lower(email)) then
    raise exception using errcode = 'PT429', message = 'Too many codes were asked for; try again in an hour.';
  end if;
  return identity._argon2id(uuid_send(gen_random_uuid()));
end;
$$;
comment on function identity.sign_up_salt is
  'A new salt, for who may sign up.

@hide';

create function identity.sign_up(email text, password text, display_name text, username text default null)
returns identity.code_request
language plpgsql volatile security definer set search_path = ''
as $$
declare
  address text := lower(email);
  request identity.code_request;
begin
  -- Guards.
  perform identity._check_sign_up(email, display_name, username);
  if not identity._may_send_code(address) then
    perform public.refuse('PT429', 'Too many codes were asked for; try again in an hour.');
    return null;
  end if;
  -- Told to anyone, for else a name could not be chosen: each member sees all names anyway, and one address learns of
  -- 50 an hour.
  if exists (select from identity.users as taken where lower(taken.username) = lower(sign_up.username)) then
    perform public.refuse('PT409', 'The username is taken.', 'username');
    return null;
  end if;

  -- Who has an account is told so by mail, and only there: the request is one like any other, but no code is right.
  if exists (select from identity.accounts as known where lower(known.email) = address) then
    request := identity._send_code(
      address, display_name, username, password,
      'Someone tried to sign up with your address. You have an account already: log in with your password.'
    );
    update identity.codes as pending
    set hash = sha256(convert_to(gen_random_uuid()::text, 'UTF8'))
    where pending.id = request.id;
    return request;
  end if;
  return identity._send_code(address, display_name, username, password, 'Your code is %s. It is valid for 10 minutes.');
end;
$$;
comment on function identity.sign_up is
  'Sends a code to an e-mail address; verifyCode then makes the account. The answer is the same if one exists.

@argon2id password salted by identity.sign_up_salt(email, display_name, username)
@notNull';

-- A code that is right is gone with this; one that is wrong is counted, and null comes back. What is counted must be
-- kept, so these refuse and do not raise. The row lock makes tries take turns.
create function identity._spend_code(request_id uuid, code text, purpose identity.code_purpose) returns identity.codes
language plpgsql volatile set search_path = ''
as $$
declare
  pending identity.codes;
begin
  if not identity._count_attempt('verify:address:' || identity._counted_address(), 100, interval '1 hour') then
    perform public.refuse('PT429', 'Too many codes were tried; try again in an hour.');
    return null;
  end if;
  update identity.codes as known
  set tries = known.tries + 1
  where known.id = request_id and known.purpose = _spend_code.purpose
  returning * into pending;
  if pending.id is not null
    and not identity._count_attempt('verify:recipient:' || pending.recipient, 20, interval '1 hour') then
    perform public.refuse('PT429', 'Too many codes were tried; try again in an hour.');
    return null;
  end if;
  if pending.id is null or pending.expires_at <= now() or pending.tries > 5
    or pending.hash is distinct from sha256(convert_to(pending.salt || code, 'UTF8')) then
    perform public.refuse('PT401', 'The code is wrong, spent or expired.');
    return null;
  end if;
  delete from identity.codes as known where known.id = pending.id;
  return pending;
end;
$$;

create function identity.verify_code(request_id uuid, code text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  pending   identity.codes;
  account   identity.accounts;
  by_mail   boolean;
  signed_in uuid;
begin
  pending := identity._spend_code(request_id, code, 'sign_in');
  if pending.id is null then
    return null;
  end if;

  -- The account: known, or made now.
  by_mail := pending.recipient like '%@%';
  select * into account
  from identity.accounts as known
  where case when by_mail then lower(known.email) = pending.recipient else known.phone = pending.recipient end;
  if account.user_id is null and pending.display_name is null then
    perform public.refuse('PT400', 'This phone has no account yet: ask for a code with a display name.');
    return null;
  end if;
  if account.user_id is null then
    insert into identity.users (username, display_name)
    values (identity._free_username(coalesce(pending.username, pending.display_name)), pending.display_name)
    returning id into signed_in;
    insert into identity.accounts (user_id, phone, email, email_verified_at)
    values (
      signed_in,
      case when not by_mail then pending.recipient end,
      case when by_mail then pending.recipient end,
      case when by_mail then now() end
    );
    if pending.password_hash is not null then
      insert into identity.passwords (user_id, hash) values (signed_in, pending.password_hash);
    end if;
  elsif account.status <> 'active' then
    perform public.refuse('PT403', 'The account is not active.');
    return null;
  else
    signed_in := account.user_id;
  end if;
  return identity.open_session(signed_in);
end;
$$;
comment on function identity.verify_code is
  'Spends the code sent for a request (its id is what requestCode and signUp gave): signs up who is new, and signs them
in.

@notNull';

-- What an address is looked up and counted by. Longer than an address may be, it would not fit the index of the counts.
create function identity._mail_key(email text) returns text
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  if char_length(email) > 254 then
    raise exception using errcode = 'PT400', message = 'That is not an e-mail address.', column = 'email';
  end if;
  return lower(email);
end;
$$;

-- The parameters and salt to hash an offered password with, so that log_in compares hashes and never sees a password.
-- An address without an account gets a salt of its own, so that the answer takes as long.
create function identity.password_salt(email text) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  address text := identity._mail_key(email);
begin
  if identity._is_exhausted('log_in:user:' || address, 10, interval '15 minutes')
    or identity._is_exhausted('log_in:address:' || identity._counted_address(), 100, interval '15 minutes') then
    raise exception using errcode = 'PT429', message = 'Too many tries; try again in 15 minutes.';
  end if;
  return coalesce(
    (
      select stored.hash
      from identity.accounts as known
      join identity.passwords as stored on stored.user_id = known.user_id
      where lower(known.email) = address
    ),
    identity._argon2id(substr(sha256(convert_to(address, 'UTF8')), 1, 16))
  );
end;
$$;
comment on function identity.password_salt is
  'What the server needs to hash an offered password.

@hide';

create function identity.log_in(email text, password text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  address text := identity._mail_key(email);
  account identity.accounts;
begin
  -- Guards: tries are counted first, in one order, so that those at the same moment count too.
  if not identity._count_attempt('log_in:address:' || identity._counted_address(), 100, interval '15 minutes')
    or not identity._count_attempt('log_in:user:' || address, 10, interval '15 minutes') then
    perform public.refuse('PT429', 'Too many tries; try again in 15 minutes.');
    return null;
  end if;
  select known.* into account
  from identity.accounts as known
  join identity.passwords as stored on stored.user_id = known.user_id
  where lower(known.email) = address and stored.hash = log_in.password;
  if account.user_id is null then
    perform public.refuse('PT401', 'The e-mail address or the password is wrong.');
    return null;
  end if;
  if account.status <> 'active' then
    perform public.refuse('PT403', 'The account is not active.');
    return null;
  end if;

  delete from identity.attempts as known where known.subject = 'log_in:user:' || address;
  return identity.open_session(account.user_id);
end;
$$;
comment on function identity.log_in is
  'Signs in with an e-mail address and a password.

@argon2id password salted by identity.password_salt(email)
@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: a new password, phone number or e-mail address
-- --------------------------------------------------------------------------------------------

-- A code for something else than signing in. Without a user the request is one like any other, but no code is right.
create function identity._send_code_for(
  purpose identity.code_purpose, user_id uuid, recipient text, text text
) returns identity.code_request
language plpgsql volatile set search_path = ''
as $$
declare
  request identity.code_request := identity._send_code(recipient, null, null, null, text);
begin
  update identity.codes as pending set
    purpose = _send_code_for.purpose,
    user_id = _send_code_for.user_id,
    hash = case when _send_code_for.user_id is null
      then sha256(convert_to(gen_random_uuid()::text, 'UTF8')) else pending.hash end
  where pending.id = request.id;
  return request;
end;
$$;

create function identity.request_password_reset(email text) returns identity.code_request
language plpgsql volatile security definer set search_path = ''
as $$
declare
  address text := lower(email);
  holder  uuid;
begin
  -- Guards.
  perform identity._check_sign_up(email, null, null);
  if not identity._may_send_code(address) then
    perform public.refuse('PT429', 'Too many codes were asked for; try again in an hour.');
    return null;
  end if;

  -- Who has none is told so by mail, and only there: the answer, and how long it takes, are the same.
  select known.user_id into holder from identity.accounts as known where lower(known.email) = address;
  return identity._send_code_for(
    'password_reset', holder, address,
    case when holder is null
      then 'Someone asked for a new password with your address. There is no account with it.'
      else 'Your code for a new password is %s. It is valid for 10 minutes. If you did not ask, do nothing.' end
  );
end;
$$;
comment on function identity.request_password_reset is
  'Sends a code to an e-mail address, for resetPassword. The answer is the same whether or not it has an account.

@notNull';

-- Asked before the server hashes the password: what reset_password would refuse whatever the code is refused here.
create function identity.reset_salt(request_id uuid) returns text
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if not exists (
    select
    from identity.codes as pending
    where pending.id = request_id and pending.purpose = 'password_reset' and pending.expires_at > now()
      and pending.tries < 5
  ) then
    raise exception using errcode = 'PT401', message = 'The code is wrong, spent or expired.';
  end if;
  return identity._argon2id(uuid_send(gen_random_uuid()));
end;
$$;
comment on function identity.reset_salt is
  'A new salt, for who has asked for a new password.

@hide';

create function identity.reset_password(request_id uuid, code text, password text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  pending identity.codes := identity._spend_code(request_id, code, 'password_reset');
  account identity.accounts;
begin
  if pending.id is null then
    return null;
  end if;
  -- The address may be another by now.
  select known.* into account
  from identity.accounts as known
  where known.user_id = pending.user_id and lower(known.email) = pending.recipient
  for no key update;
  if account.user_id is null then
    perform public.refuse('PT401', 'The code is wrong, spent or expired.');
    return null;
  end if;
  if account.status <> 'active' then
    perform public.refuse('PT403', 'The account is not active.');
    return null;
  end if;

  insert into identity.passwords as known (user_id, hash)
  values (account.user_id, reset_password.password)
  on conflict on constraint passwords_pkey do update set hash = excluded.hash, changed_at = now();
  update identity.accounts as known
  set email_verified_at = coalesce(known.email_verified_at, now())
  where known.user_id = account.user_id;
  -- Whoever knew the old one is out, whatever they had begun.
  update identity.sessions as session
  set revoked_at = now()
  where session.user_id = account.user_id and session.revoked_at is null;
  delete from identity.codes as other where other.user_id = account.user_id;
  delete from identity.attempts as known where known.subject = 'log_in:user:' || pending.recipient;
  return identity.open_session(account.user_id);
end;
$$;
comment on function identity.reset_password is
  'Sets a new password by the code that requestPasswordReset has sent, ends all sessions of the account, and signs in.

@argon2id password salted by identity.reset_salt(request_id)
@notNull';

create function identity._request_change(caller uuid, recipient text, is_taken boolean) returns identity.code_request
language plpgsql volatile set search_path = ''
as $$
begin
  if not identity._count_attempt('change:user:' || caller, 10, interval '1 day')
    or not identity._may_send_code(recipient) then
    perform public.refuse('PT429', 'Too many codes were asked for; try again later.');
    return null;
  end if;
  return identity._send_code_for(
    'change', case when not is_taken then caller end, recipient,
    case when is_taken then 'Someone tried to add this to another account. It belongs to yours, and stays there.'
      else 'Your code to confirm the change is %s. It is valid for 10 minutes.' end
  );
end;
$$;

create function identity.request_email_change(email text) returns identity.code_request
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity._require_own_session();
  address text := lower(email);
begin
  perform identity._check_sign_up(email, null, null);
  if exists (
    select
    from identity.accounts as mine
    where mine.user_id = caller and lower(mine.email) = address and mine.email_verified_at is not null
  ) then
    raise exception using errcode = 'PT409', message = 'That is your address already.', column = 'email';
  end if;
  return identity._request_change(caller, address, exists (
    select from identity.accounts as known where lower(known.email) = address and known.user_id <> caller
  ));
end;
$$;
comment on function identity.request_email_change is
  'Sends a code to a new e-mail address, or to one''s own that is not verified yet; confirmChange then makes it the
account''s. The answer is the same where another account has it.

@notNull';

create function identity.request_phone_change(phone text) returns identity.code_request
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
begin
  if phone !~ '^\+[1-9][0-9]{6,14}$' then
    raise exception using errcode = 'PT400', message = 'The phone number is not in E.164 form.', column = 'phone',
      hint = 'Write it as + and digits only: +77011234567.';
  end if;
  if exists (
    select from identity.accounts as mine where mine.user_id = caller and mine.phone = request_phone_change.phone
  ) then
    raise exception using errcode = 'PT409', message = 'That is your phone number already.', column = 'phone';
  end if;
  return identity._request_change(caller, phone, exists (
    select from identity.accounts as known where known.phone = request_phone_change.phone
  ));
end;
$$;
comment on function identity.request_phone_change is
  'Sends a code to a new phone; confirmChange then makes it the account''s. The answer is the same where another account
has it.

@notNull';

create function identity.confirm_change(request_id uuid, code text) returns identity.account_change
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity._require_own_session();
  pending identity.codes := identity._spend_code(request_id, code, 'change');
  before  identity.accounts;
  after   identity.accounts;
  changed identity.account_change;
  by_mail boolean := pending.recipient like '%@%';
  told    text;
begin
  if pending.id is null then
    return null;
  end if;
  if pending.user_id <> caller then
    perform public.refuse('PT401', 'The code is wrong, spent or expired.');
    return null;
  end if;

  select known.* into before from identity.accounts as known where known.user_id = caller for no key update;
  update identity.accounts as known set
    phone = case when by_mail then known.phone else pending.recipient end,
    email = case when by_mail then pending.recipient else known.email end,
    email_verified_at = case when by_mail then now() else known.email_verified_at end
  where known.user_id = caller
  returning * into after;
  changed.account := after;
  -- Codes that are on their way to the one before are good no longer.
  delete from identity.codes as other where other.user_id = caller;
  told := case when by_mail then nullif(before.email, pending.recipient) else before.phone end;
  if told is not null then
    changed.delivery := jsonb_build_object(
      'channel', case when by_mail then 'mail' else 'sms' end, 'to', told,
      'text', format(
        'The %s of your account was changed. If that was not you, sign in and end its other sessions.',
        case when by_mail then 'e-mail address' else 'phone number' end
      )
    );
  end if;
  return changed;
end;
$$;
comment on function identity.confirm_change is
  'Spends the code that requestEmailChange or requestPhoneChange has sent to the new one; the one before is told.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: bots
-- --------------------------------------------------------------------------------------------

create function identity.create_bot(username text, display_name text) returns identity.users
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
  bot    identity.users;
begin
  -- Those who make several at once take turns.
  perform from identity.accounts as mine where mine.user_id = caller for no key update;
  if (select count(*) from identity.bots as mine where mine.owner_id = caller) >= 20 then
    raise exception using errcode = 'PT409', message = 'A user has 20 bots at most.';
  end if;
  insert into identity.users (username, display_name) values (create_bot.username, create_bot.display_name)
  returning * into bot;
  insert into identity.accounts (user_id) values (bot.id);
  insert into identity.bots (user_id, owner_id) values (bot.id, caller);
  return bot;
end;
$$;
comment on function identity.create_bot is
  'Makes a bot of the caller''s: a user that is a program and signs in by tokens. 20 at most.

@notNull';

-- One's own bot, locked.
create function identity._lock_bot(bot_id uuid) returns identity.bots
language plpgsql volatile set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
  bot    identity.bots;
begin
  select * into bot
  from identity.bots as known
  where known.user_id = _lock_bot.bot_id and known.owner_id = caller
  for no key update;
  if bot.user_id is null then
    raise exception using errcode = 'PT404', message = 'You have no such bot.', column = 'bot_id';
  end if;
  return bot;
end;
$$;

create function identity.create_bot_token(
  bot_id uuid, name text, scopes identity.bot_scope[] default '{}',
  expires_at timestamptz default now() + interval '1 year'
) returns identity.bot_token
language plpgsql volatile security definer set search_path = ''
as $$
declare
  bot    identity.bots := identity._lock_bot(bot_id);
  secret text := 'bot_' || identity._new_token();
  made   identity.bot_token;
begin
  if expires_at is null or expires_at not between now() and now() + interval '10 years' then
    raise exception using errcode = 'PT400', message = 'A token is good for 10 years at most.', column = 'expires_at';
  end if;
  delete from identity.bot_tokens as old where old.bot_id = bot.user_id and old.expires_at < now();
  if (select count(*) from identity.bot_tokens as known where known.bot_id = bot.user_id) >= 10 then
    raise exception using errcode = 'PT409', message = 'A bot has 10 tokens at most.', hint = 'Revoke one first.';
  end if;
  insert into identity.bot_tokens as known (bot_id, name, hash, scopes, expires_at)
  values (
    bot.user_id, create_bot_token.name, identity._token_hash(secret),
    (select coalesce(array_agg(distinct scope), '{}') from unnest(create_bot_token.scopes) as scope),
    create_bot_token.expires_at
  )
  returning known.id, known.bot_id, known.name, secret, known.scopes, known.expires_at, known.last_used_at into made;
  return made;
end;
$$;
comment on function identity.create_bot_token is
  'Makes a token for a bot of the caller''s, shown this once: the bot reads, and does what `scopes` say. 10 at most.

@notNull';

create function identity.bot_tokens(bot_id uuid) returns setof identity.bot_token
language sql stable security definer rows 10 set search_path = ''
as $$
  select known.id, known.bot_id, known.name, null, known.scopes, known.expires_at, known.last_used_at
  from identity.bot_tokens as known
  join identity.bots as bot on bot.user_id = known.bot_id
  where bot.user_id = bot_tokens.bot_id and bot.owner_id = identity.current_user_id()
  order by known.id desc;
$$;
comment on function identity.bot_tokens is 'The tokens of a bot of the caller''s, without what they are.';

create function identity.revoke_bot_token(id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  bot identity.bots := identity._lock_bot(
    (select known.bot_id from identity.bot_tokens as known where known.id = revoke_bot_token.id)
  );
begin
  -- Its sessions go with it, and whoever listens by them is told.
  delete from identity.bot_tokens as known where known.id = revoke_bot_token.id and known.bot_id = bot.user_id;
end;
$$;
comment on function identity.revoke_bot_token is 'Ends a token of a bot of the caller''s, and its sessions, at once.';

create function identity.remove_bot(bot_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  bot identity.bots := identity._lock_bot(bot_id);
begin
  perform identity._remove(bot.user_id);
  delete from identity.bots as known where known.user_id = bot.user_id;
end;
$$;
comment on function identity.remove_bot is 'Removes a bot of the caller''s, as an account is removed.';

-- A session for as long as its access token lives; it is opened again, not refreshed.
create function identity.open_bot_session(token text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  known   identity.bot_tokens;
  session identity.sessions;
  issued  identity.session_tokens;
  holder  identity.users;
begin
  -- Guards: what is counted is kept, so these refuse and do not raise.
  if not identity._count_attempt('bot:address:' || identity._counted_address(), 1000, interval '1 hour') then
    perform public.refuse('PT429', 'Too many tokens were tried; try again in an hour.');
    return null;
  end if;
  update identity.bot_tokens as used
  set last_used_at = now()
  where used.hash = identity._token_hash(open_bot_session.token) and used.expires_at > now()
  returning * into known;
  if known.id is null then
    perform public.refuse('PT401', 'The token is wrong, revoked or expired.');
    return null;
  end if;
  if (
    select count(*)
    from identity.bots as bot
    join identity.accounts as account on account.user_id in (bot.user_id, bot.owner_id) and account.status = 'active'
    where bot.user_id = known.bot_id
  ) <> 2 then
    perform public.refuse('PT403', 'The account of the bot, or of its owner, is not active.');
    return null;
  end if;
  if not identity._count_attempt('bot:token:' || known.id, 60, interval '1 hour') then
    perform public.refuse('PT429', 'A token opens 60 sessions an hour.', 'token');
    return null;
  end if;
  perform identity._require_open('member', false);

  delete from identity.sessions as old where old.bot_token_id = known.id and old.expires_at < now();
  insert into identity.sessions (user_id, expires_at, address, user_agent, bot_token_id, scopes)
  values (
    known.bot_id, now() + interval '15 minutes', identity._address(), identity._user_agent(), known.id, known.scopes
  )
  returning * into session;
  update identity.users set last_seen_at = now() where id = known.bot_id returning * into holder;
  issued.access_token := jsonb_build_object('sub', known.bot_id, 'sid', session.id, 'role', 'member');
  issued.expires_at := session.expires_at;
  issued."user" := holder;
  return issued;
end;
$$;
comment on function identity.open_bot_session is
  'Signs a bot in by its token, for 15 minutes; there is no refresh token, the token opens the next one.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: profiles
-- --------------------------------------------------------------------------------------------

create function identity.me() returns identity.users
language sql stable security definer set search_path = ''
return (select person from identity.users as person where person.id = identity.current_user_id());
comment on function identity.me is 'The signed-in user; null where nobody is.';

create function identity.user_by_username(username text) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.* from identity.users as person where lower(person.username) = lower(user_by_username.username);
end;
comment on function identity.user_by_username is 'The user of that name, in any case; null for none.';

create function identity.update_profile(
  username text default null, display_name text default null, bio text default null,
  avatar_url text default null, location text default null, website text default null
) returns identity.users
language plpgsql volatile security definer set search_path = ''
as $$
declare
  changed identity.users;
begin
  update identity.users as person set
    username = coalesce(update_profile.username, person.username),
    display_name = coalesce(update_profile.display_name, person.display_name),
    bio = nullif(coalesce(update_profile.bio, person.bio), ''),
    avatar_url = nullif(coalesce(update_profile.avatar_url, person.avatar_url), ''),
    location = nullif(coalesce(update_profile.location, person.location), ''),
    website = nullif(coalesce(update_profile.website, person.website), '')
  where person.id = identity.require_user_id() and person.removed_at is null
  returning * into changed;
  if changed.id is null then
    raise exception using errcode = 'PT401', message = 'The account has been removed.';
  end if;
  return changed;
end;
$$;
comment on function identity.update_profile is
  'Changes the caller''s profile. What is left out stays; an empty text removes what may be empty.

@notNull';

create function identity.update_account(
  time_zone text default null, language text default null, preferences jsonb default null
) returns identity.accounts
language plpgsql volatile security definer set search_path = ''
as $$
declare
  changed identity.accounts;
begin
  if time_zone is not null
    and not exists (select from pg_catalog.pg_timezone_names where name = update_account.time_zone) then
    raise exception using errcode = 'PT400', message = 'There is no such time zone.', column = 'time_zone',
      hint = 'Use an IANA name: Asia/Almaty.';
  end if;
  update identity.accounts as account set
    time_zone = coalesce(update_account.time_zone, account.time_zone),
    language = coalesce(update_account.language, account.language),
    preferences = coalesce(update_account.preferences, account.preferences)
  where account.user_id = identity.require_user_id()
  returning * into changed;
  return changed;
end;
$$;
comment on function identity.update_account is
  'Changes the caller''s private settings. What is left out stays.

@notNull';

-- Anonymises: the row stays, so that what they said to others keeps its place and its order. Its new name is random, so
-- that nobody can have taken it before.
create function identity._remove(user_id uuid) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update identity.users set
    username = 'removed-' || replace(gen_random_uuid()::text, '-', ''), display_name = 'Removed account', bio = null,
    avatar_url = null, location = null, website = null, external_ref = null, last_seen_at = null, removed_at = now()
  where id = _remove.user_id;
  delete from identity.accounts as account where account.user_id = _remove.user_id;
  delete from identity.passwords as stored where stored.user_id = _remove.user_id;
  delete from identity.codes as pending where pending.user_id = _remove.user_id;
  delete from identity.sessions as session where session.user_id = _remove.user_id;
end;
$$;

create function identity.remove_account() returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity._remove(identity._require_own_session());
end;
$$;
comment on function identity.remove_account is
  'Removes the caller''s account and everything personal in it. What they wrote to others stays, without their name.';

-- Best match first, then whoever was seen last. A part of a word counts most, then a stem, then a likeness (a typo).
create function identity.search_users(query text) returns setof identity.users
language sql stable security definer rows 50
set search_path = '' set pg_trgm.word_similarity_threshold = 0.45 set plan_cache_mode = force_custom_plan
as $$
  with wanted as (
    select
      lower(trim(left(query, 100))) as words,
      '%' || regexp_replace(lower(trim(left(query, 100))), '([\\%_])', '\\\1', 'g') || '%' as part,
      plainto_tsquery('russian', left(query, 100)) as stems
  )
  select person.*
  from identity.users as person, wanted
  where person.removed_at is null and char_length(wanted.words) > 1 and (
    person.searched like wanted.part
    or to_tsvector('russian', person.searched) @@ wanted.stems
    or wanted.words operator(public.<%) person.searched
  )
  order by
    (lower(person.username) = wanted.words or lower(person.display_name) = wanted.words) desc,
    (person.searched like wanted.part) desc,
    (to_tsvector('russian', person.searched) @@ wanted.stems) desc,
    public.word_similarity(wanted.words, person.searched) desc,
    person.last_seen_at desc nulls last,
    person.id
  limit 200;
$$;
comment on function identity.search_users is
  'Users by name or username: any case, part of a word, stems of words, typos. Best match first, then last seen;
at most 200.';

create function identity.expire_codes() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with codes as (
    delete from identity.codes where expires_at < now() returning 1
  ), attempts as (
    delete from identity.attempts where started_at < now() - interval '1 day' returning 1
  ), sessions as (
    delete from identity.sessions where coalesce(revoked_at, expires_at) < now() - interval '30 days' returning 1
  )
  select (select count(*) from codes) + (select count(*) from attempts) + (select count(*) from sessions);
$$;
comment on function identity.expire_codes is
  'Removes codes, counts of tries and sessions that are over; returns how many rows.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create trigger touch_updated_at before update on identity.users
  for each row when (
    (old.username, old.display_name, old.bio, old.avatar_url, old.location, old.website)
    is distinct from (new.username, new.display_name, new.bio, new.avatar_url, new.location, new.website)
  )
  execute function public._touch_updated_at();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

alter table identity.users enable row level security;
create policy members_see_everyone on identity.users for select to member
  using (true);

alter table identity.accounts enable row level security;
create policy members_see_their_own_account on identity.accounts for select to member
  using (user_id = (select identity.current_user_id()));

alter table identity.bots enable row level security;
create policy members_see_which_users_are_bots on identity.bots for select to member
  using (true);

alter table identity.sessions enable row level security;
create policy members_see_their_own_sessions on identity.sessions for select to member
  using (user_id = (select identity.current_user_id()));

-- No policy, no grant: only the functions above reach these.
alter table identity.passwords enable row level security;
alter table identity.bot_tokens enable row level security;
alter table identity.codes enable row level security;
alter table identity.refresh_tokens enable row level security;
alter table identity.attempts enable row level security;
alter table identity.maintenance enable row level security;

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on identity.users, identity.accounts, identity.sessions, identity.bots to member;

revoke execute on all functions in schema identity from public;
grant select on identity._live_sessions, identity._closed to plinth_server;
grant execute on function identity.begin_request, identity._require_open to plinth_server;
grant execute on function identity.current_user_id, identity.password_salt, identity.sign_up_salt to anonymous;
grant execute on function identity.request_code, identity.sign_up, identity.verify_code, identity.log_in to anonymous;
grant execute on function identity.refresh_session, identity.me to anonymous;
grant execute on function identity.request_password_reset, identity.reset_salt, identity.reset_password to anonymous;
grant execute on function identity.open_bot_session to anonymous;
grant execute on function identity.create_bot, identity.create_bot_token, identity.bot_tokens to member;
grant execute on function identity.revoke_bot_token, identity.remove_bot to member;
grant execute on function identity.log_out, identity.revoke_sessions to member;
grant execute on function identity.request_email_change, identity.request_phone_change to member;
grant execute on function identity.confirm_change to member;
grant execute on function identity.update_profile, identity.update_account to member;
grant execute on function identity.remove_account, identity.search_users, identity.user_by_username to member;

-- ============================================================================================
-- events: what has happened, in a log; who may listen
-- ============================================================================================
-- Every change that someone may follow is a row of the log, written in the transaction that makes the change. Its topic
-- is what a subscriber listens to; its seq is the topic's own count, taken under a row lock, so that within a topic the
-- order of seq is the order of commits, without gaps. docs/events.md tells how the server reads it.

create schema events;
comment on schema events is 'What has happened, and who may listen.';
grant usage on schema events to plinth_server, anonymous, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type events.event as (
  cursor    text,
  topic     text,
  seq       bigint,
  id        uuid,
  type      text,
  version   text,
  timestamp timestamptz,
  producer  text,
  data      jsonb,
  metadata  jsonb
);
comment on type   events.event           is 'Something that has happened.';
comment on column events.event.cursor    is
  'Where it stands: subscribe `after` it to go on from there; null for what the log does not keep.';
comment on column events.event.topic     is 'What it is about: `channel:<id>`, `user:<id>`, ….';
comment on column events.event.seq       is
  'Its number in the topic, from 1, without gaps; null for what the log does not keep.';
comment on column events.event.id        is 'The key; the same wherever the event is delivered.';
comment on column events.event.type      is 'What happened: `message_sent`, `member_left`, ….';
comment on column events.event.version   is 'The version of the form of `data`.';
comment on column events.event.timestamp is 'When it happened.';
comment on column events.event.producer  is 'The program that it came through.';
comment on column events.event.data      is 'What changed, by ids: what they name is selected beside the event.';
comment on column events.event.metadata  is 'The `trace_id` of the request that it came from, and its `user_id`.';

create type events.position as (
  topic text,
  seq   bigint
);
comment on type   events.position       is 'A topic that may be listened to.';
comment on column events.position.topic is 'Its name.';
comment on column events.position.seq   is 'The seq of its newest event; null where the log does not keep the topic.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table events.topic_kinds (
  kind      text     primary key,  -- what stands before the colon in the name of a topic
  stream    text     not null,
  kept      interval not null,
  forgotten xid8     not null default '0',

  constraint kind_is_a_plain_name  check (kind ~ '^[a-z][a-z_]{1,20}$'),
  constraint it_is_kept_for_a_day  check (kept >= interval '1 day')
);
comment on table  events.topic_kinds           is 'What topics there are, and how long each is kept (C13).';
comment on column events.topic_kinds.forgotten is
  'The newest transaction whose events were removed: a cursor from before it has a gap.';
insert into events.topic_kinds (kind, stream, kept)
values
  ('channel',      'chat',         interval '7 days'),
  ('user',         'user',         interval '30 days'),
  ('system',       'system',       interval '60 days'),
  ('notification', 'notification', interval '7 days'),
  ('search',       'search',       interval '1 day'),
  ('run',          'run',          interval '7 days'),
  ('region',       'procurement',  interval '7 days')
on conflict (kind) do update set stream = excluded.stream, kept = excluded.kept;

-- The counts of topics that have no row of their own to count in. They outlive the log: a number is never given twice.
create table events.topics (
  topic    text   primary key,
  last_seq bigint not null
) with (fillfactor = 50);
comment on table events.topics is 'The number of the newest event of each topic.';

-- By kind, then by day: a day is dropped whole once its kind is not kept any longer.
create table events.log (
  kind     text        not null,
  at       timestamptz not null,
  topic    text        not null,
  seq      bigint      not null,
  xid      xid8        not null default pg_current_xact_id(),
  id       uuid        not null default gen_random_uuid(),
  type     text        not null,
  version  text        not null default '1.0',
  producer text        not null default current_setting('application_name'),
  data     jsonb       not null,
  trace_id text,                          -- null: it came from no request
  user_id  uuid,                          -- null: nobody signed in did it
  rechecks uuid,                          -- null: nobody's right to listen changes by it

  primary key (topic, seq, kind, at),
  constraint data_is_at_most_16_kb check (pg_column_size(data) <= 16384)
) partition by list (kind);
comment on table  events.log          is 'Every event, in the order of its topic.';
comment on column events.log.xid      is 'The transaction that wrote it: what is new since a snapshot is told by it.';
comment on column events.log.rechecks is
  'Whose right to listen has to be asked again before anything later reaches them; the nil UUID for everyone''s on this
topic.';
-- What a process that follows the whole log reads: what is new since its snapshot.
create index log_xid_idx on events.log (xid);

-- A database that was restored counts transactions anew, maybe on another cluster, and may repeat numbers of events: no
-- cursor from before may count. Its own cursors begin with the newest mark here.
create table events.restores (
  mark        text        primary key default right(gen_random_uuid()::text, 12),
  restored_at timestamptz not null default clock_timestamp(),
  backup      text        not null
);
comment on table events.restores is 'When the database was restored from a backup, and from which.';

-- --------------------------------------------------------------------------------------------
-- Functions: writing
-- --------------------------------------------------------------------------------------------

-- Attaches the day, and its kind where that is new, instead of creating them in place: nobody who reads or writes other
-- days waits. Whoever writes, the day belongs to the owner of the log, who drops it one day.
create function events._ensure_partition(kind text, at timestamptz) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
declare
  day    timestamp := date_trunc('day', at at time zone 'UTC');
  parent text := 'log_' || kind;
  name   text := parent || '_' || to_char(day, 'YYYY_MM_DD');
begin
  if not exists (select from events.topic_kinds as known where known.kind = _ensure_partition.kind) then
    raise exception using errcode = 'PT400', message = format('There is no kind of topic called %s.', kind),
      hint = 'Add it to events.topic_kinds.';
  end if;
  if to_regclass('events.' || name) is not null then
    return false;
  end if;
  perform pg_advisory_xact_lock(hashtext('events._ensure_partition'));
  if not exists (select from pg_catalog.pg_class where relname = parent and relnamespace = 'events'::regnamespace) then
    execute format('create table events.%I (like events.log including all) partition by range (at)', parent);
    execute format('alter table events.%I enable row level security', parent);
    execute format('alter table events.log attach partition events.%I for values in (%L)', parent, kind);
  end if;
  -- Someone else may have made it meanwhile. Only a query sees that: to_regclass remembers its first answer.
  if exists (select from pg_catalog.pg_class where relname = name and relnamespace = 'events'::regnamespace) then
    return false;
  end if;
  execute format('create table events.%I (like events.log including all)', name);
  execute format('alter table events.%I enable row level security', name);
  execute format(
    'alter table events.%I attach partition events.%I for values from (%L) to (%L)',
    parent, name, day at time zone 'UTC', (day + interval '1 day') at time zone 'UTC'
  );
  return true;
end;
$$;

-- Everything that is followed goes through here, so it is one function, and short: calling another costs as much as
-- writing the row. NOTIFY makes every commit of the cluster wait for one lock, so a writer notifies only where no
-- reader is awake: while it reads, it holds that lock alone. The row must be written before the lock is asked for
-- (docs/events.md).
create function events.publish(
  topic text, type text, data jsonb default '{}', seq bigint default null, rechecks uuid default null
) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  at    timestamptz := clock_timestamp();
  kind  text := split_part(topic, ':', 1);
  count bigint := seq;
begin
  if count is null then
    insert into events.topics as known (topic, last_seq)
    values (publish.topic, 1)
    on conflict on constraint topics_pkey do update set last_seq = known.last_seq + 1
    returning known.last_seq into count;
  end if;
  if to_regclass('events.log_' || kind || to_char(at at time zone 'UTC', '_YYYY_MM_DD')) is null then
    perform events._ensure_partition(kind, at);
  end if;
  insert into events.log (kind, at, topic, seq, type, data, trace_id, user_id, rechecks)
  values (
    kind, at, publish.topic, count, publish.type, publish.data,
    nullif(current_setting('plinth.request_id', true), ''),
    nullif(current_setting('plinth.user_id', true), '')::uuid, publish.rechecks
  );
  if pg_try_advisory_xact_lock_shared(7546, 2) then
    perform pg_notify('plinth_events', '');
  end if;
end;
$$;
comment on function events.publish is
  'Writes an event to the log, in the transaction of the change that it tells of. A topic that counts for itself, under
a row lock, passes `seq`; `rechecks` names whose right to listen ends or changes by it.';

create function events._signal(topic text, type text, data jsonb) returns jsonb
language sql volatile set search_path = ''
return jsonb_build_object(
  'topic', topic, 'id', public.uuid_v7(), 'type', type, 'version', '1.0',
  'timestamp', clock_timestamp(), 'producer', current_setting('application_name'), 'data', data,
  'metadata', jsonb_strip_nulls(jsonb_build_object(
    'trace_id', nullif(current_setting('plinth.request_id', true), ''), 'user_id', identity.current_user_id()
  ))
);

-- Kept for the end of the request, when the server hands it on; outside of one nobody hears it.
create function events.signal(topic text, type text, data jsonb default '{}') returns void
language sql volatile set search_path = ''
as $$
  select set_config('plinth.signals', (
    coalesce(nullif(current_setting('plinth.signals', true), ''), '[]')::jsonb
    || events._signal(signal.topic, signal.type, signal.data)
  )::text, true);
$$;
comment on function events.signal is
  'Tells who listens now, and nobody else: for what is over in a moment (typing, presence). No row is written.';

-- --------------------------------------------------------------------------------------------
-- Functions: reading
-- --------------------------------------------------------------------------------------------

-- That a transaction has ended may be seen before it is on disk, where it failed or has written nothing that must last;
-- after a crash Postgres gives its number to another. An event is on disk before it is seen, and every lower number is
-- with it. So a place names no transaction newer than the newest event: of the log it shows the same.
create function events._durable(seen_by pg_snapshot, newest xid8) returns pg_snapshot
language sql immutable set search_path = ''
as $$
  select format(
    '%s:%s:%s', least(pg_snapshot_xmin(seen_by), bound.xid), least(pg_snapshot_xmax(seen_by), bound.xid), (
      select string_agg(running::text, ',' order by running)
      from pg_snapshot_xip(seen_by) as running
      where running < bound.xid
    )
  )::pg_snapshot
  from (select (newest::text::bigint + 1)::text::xid8 as xid) as bound;
$$;

create function events._mark() returns text
language sql stable security definer set search_path = ''
return coalesce((select mark || '.' from events.restores order by restored_at desc limit 1), '');

create function events.cursor() returns text
language plpgsql stable parallel safe security definer set search_path = ''
as $$
begin
  -- There a snapshot does not list the transactions that run: what they write would be skipped.
  if pg_is_in_recovery() then
    raise exception using errcode = 'read_only_sql_transaction', message = 'Only the primary can tell a cursor.';
  end if;
  return events._mark() || events._durable(pg_current_snapshot(), greatest(
    (select max(log.xid) from events.log as log), (select max(known.forgotten) from events.topic_kinds as known)
  ));
end;
$$;
comment on function events.cursor is
  'The place in the log that belongs to everything else that this query reads: subscribe `after` it, and nothing is
missed or repeated.

@notNull';

-- What became visible after `since` and was visible at `until`; none of it was written before `recent`. A position from
-- a sequence could not say that: a transaction that commits late would be skipped. However little is new, Postgres
-- cannot know it beforehand: it is told to look by transaction, and to order what that gives (`offset 0`). All of it is
-- gathered for the first row: a long backlog is asked for once, without `most`, and read by a cursor.
create function events._new_in_log(
  since pg_snapshot, until pg_snapshot, recent timestamptz, past_topic text, past_seq bigint, most integer default null
) returns setof events.log
language plpgsql stable security definer rows 100 set search_path = '' set enable_seqscan = off
as $$
begin
  return query
  select fresh.*
  from (
    select log.*
    from events.log as log
    where log.xid >= pg_snapshot_xmin(since)
      and not pg_visible_in_snapshot(log.xid, since) and pg_visible_in_snapshot(log.xid, until)
      and log.at >= recent
    offset 0
  ) as fresh
  where (fresh.topic, fresh.seq) > (past_topic, past_seq)
  order by fresh.topic, fresh.seq
  limit most;
end;
$$;
comment on function events._new_in_log is
  'What became visible between two snapshots, by topic and seq, after a place and at most so many; for the server.';

create function events._rechecks_in_log(since pg_snapshot, until pg_snapshot, recent timestamptz)
returns table (topic text, rechecks uuid)
language plpgsql stable security definer rows 100 set search_path = '' set enable_seqscan = off
as $$
begin
  return query
  select distinct log.topic, log.rechecks
  from events.log as log
  where log.xid >= pg_snapshot_xmin(since)
    and not pg_visible_in_snapshot(log.xid, since) and pg_visible_in_snapshot(log.xid, until)
    and log.at >= recent and log.rechecks is not null;
end;
$$;
comment on function events._rechecks_in_log is
  'Whose rights have to be asked again by what became visible between two snapshots; for the server.';

create function events._newest_in_log(since pg_snapshot, until pg_snapshot, recent timestamptz) returns xid8
language plpgsql stable security definer set search_path = '' set enable_seqscan = off
as $$
begin
  return (
    select max(log.xid)
    from events.log as log
    where log.xid >= pg_snapshot_xmin(since)
      and not pg_visible_in_snapshot(log.xid, since) and pg_visible_in_snapshot(log.xid, until)
      and log.at >= recent
  );
end;
$$;
comment on function events._newest_in_log is
  'The newest transaction of what became visible between two snapshots; for the server.';

create function events._kinds_of(topics text[]) returns text[]
language sql stable set search_path = ''
return array(select distinct split_part(wanted.topic, ':', 1) from unnest(topics) as wanted (topic));

-- In a topic the order of seq is the order of commits, so what a snapshot sees of a topic is its beginning, and one
-- snapshot stands for one seq in each. `counted` is what each topic has counted by now: for those of which nothing is
-- kept.
create function events._seqs_at(topics text[], counted bigint[], place text) returns bigint[]
language plpgsql stable security definer set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  kinds   text[] := events._kinds_of(topics);
  seen_by pg_snapshot := split_part(place, '.', -1)::pg_snapshot;
begin
  if place <> events._mark() || split_part(place, '.', -1)
    or pg_snapshot_xmax(seen_by) > pg_snapshot_xmax(pg_current_snapshot())
    or exists (
      select
      from events.topic_kinds as known
      where known.kind = any (kinds) and known.forgotten >= pg_snapshot_xmin(seen_by)
    ) then
    raise exception using errcode = 'PT410', message = 'The log does not reach back to this cursor.',
      hint = 'Read the state anew together with its cursor, and subscribe after that.';
  end if;
  return array(
    select coalesce(seen.seq, oldest.seq - 1, wanted.counted)
    from unnest(topics, counted) with ordinality as wanted (topic, counted, position)
    left join lateral (
      select log.seq
      from events.log as log
      where log.kind = any (kinds) and log.topic = wanted.topic and pg_visible_in_snapshot(log.xid, seen_by)
      order by log.seq desc
      limit 1
    ) as seen on true
    left join lateral (
      select log.seq
      from events.log as log
      where seen.seq is null and log.kind = any (kinds) and log.topic = wanted.topic
      order by log.seq
      limit 1
    ) as oldest on true
    order by wanted.position
  );
end;
$$;
comment on function events._seqs_at is
  'The seq of the newest event in each topic that a cursor saw; for the server. An error where the log does not reach
back so far.';

create function events._missed(topics text[], past bigint[], upto bigint[]) returns setof events.log
language plpgsql stable security definer rows 100 set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  kinds text[] := events._kinds_of(topics);
begin
  return query
  select found.*
  from unnest(topics, past, upto) as wanted (topic, past, upto)
  cross join lateral (
    select log.*
    from events.log as log
    where log.kind = any (kinds) and log.topic = wanted.topic
      and log.seq > wanted.past and log.seq <= wanted.upto
    order by log.seq
    limit 500
  ) as found
  order by found.topic, found.seq
  limit 500;
end;
$$;
comment on function events._missed is
  'A page of what topics hold between two numbers of each, by topic and seq; for the server.';

-- --------------------------------------------------------------------------------------------
-- Functions: upkeep
-- --------------------------------------------------------------------------------------------

create function events._expired_days() returns table (kind text, name text, is_detaching boolean)
language sql stable set search_path = ''
as $$
  select known.kind, day.relname::text, inherits.inhdetachpending
  from events.topic_kinds as known
  join pg_catalog.pg_class as parent
    on parent.relname = 'log_' || known.kind and parent.relnamespace = 'events'::regnamespace
  join pg_catalog.pg_inherits as inherits on inherits.inhparent = parent.oid
  join pg_catalog.pg_class as day on day.oid = inherits.inhrelid
  where to_date(right(day.relname, 10), 'YYYY_MM_DD') + 1 < (now() - known.kept) at time zone 'UTC'
  order by 2;
$$;

-- What was newest in a day is remembered before it goes, so that a cursor from before it is told so.
create function events._forget_day(kind text, name text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  newest xid8;
begin
  execute format('select max(xid) from events.%I', name) into newest;
  update events.topic_kinds as known
  set forgotten = greatest(known.forgotten, coalesce(newest, known.forgotten))
  where known.kind = _forget_day.kind;
end;
$$;

-- One that someone reads (a backup) stays until the next time: to wait for it would make everyone who writes wait as
-- well.
-- A day that someone reads (a backup) stays until the next time: to wait for it would make everyone who writes wait.
create function events.expire() returns integer
language plpgsql volatile security definer set search_path = '' set lock_timeout = '200ms'
as $$
declare
  old     record;
  dropped integer := 0;
begin
  for old in select day.kind, day.name from events._expired_days() as day loop
    begin
      perform events._forget_day(old.kind, old.name);
      execute format('drop table events.%I', old.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      -- Next time.
    end;
  end loop;
  return dropped;
end;
$$;
comment on function events.expire is
  'Drops the days of the log that are kept no longer; returns how many. Readers of the log wait for a moment: the
workers do it without (the task retire_partitions).

@hide';

create function events.ensure_partitions(days_ahead integer default 3) returns integer
language sql volatile security definer set search_path = ''
as $$
  select count(*) filter (where events._ensure_partition(known.kind, day))::integer
  from events.topic_kinds as known
  cross join generate_series(now(), now() + make_interval(days => days_ahead), interval '1 day') as day;
$$;
comment on function events.ensure_partitions is
  'Makes the days of the log ahead of time; returns how many were missing.

@hide';

-- To be called once in a database that was restored. Its log counts as long since visible to every transaction of this
-- cluster, and every number is raised beyond those that may have been given after the backup was made: who comes with a
-- number from before finds a gap behind it, and is told to read anew. What counts for itself is raised by as much.
create function events._restored(backup text) returns bigint
language plpgsql volatile set search_path = ''
as $$
declare
  beyond constant bigint := 1000000000;
begin
  insert into events.restores (backup) values (_restored.backup);
  update events.topic_kinds set forgotten = '0' where forgotten <> '0';
  update events.topics set last_seq = last_seq + beyond;
  update events.log set seq = seq + beyond, xid = '3';  -- the first number that Postgres gives
  return beyond;
end;
$$;
comment on function events._restored is
  'Makes the log of a restored database refuse every cursor from before; returns what numbers were raised by.';

-- --------------------------------------------------------------------------------------------
-- Triggers: what ends a right to listen
-- --------------------------------------------------------------------------------------------

create function events._tell_session_ended() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform events.publish(
    'user:' || old.user_id, 'session_ended', jsonb_build_object('session_id', old.id), rechecks => old.user_id
  );
  return null;
end;
$$;
create trigger tell_session_ended after update of revoked_at on identity.sessions
  for each row when (old.revoked_at is null and new.revoked_at is not null)
  execute function events._tell_session_ended();
create trigger tell_session_removed after delete on identity.sessions
  for each row when (old.revoked_at is null and old.expires_at > now())
  execute function events._tell_session_ended();

create function events._tell_account_changed() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform events.publish(
    'user:' || old.user_id, 'account_changed', jsonb_build_object('user_id', old.user_id), rechecks => old.user_id
  );
  return null;
end;
$$;
create trigger tell_account_changed after update of status, is_operator on identity.accounts
  for each row when ((old.status, old.is_operator) is distinct from (new.status, new.is_operator))
  execute function events._tell_account_changed();
create trigger tell_account_removed after delete on identity.accounts
  for each row
  execute function events._tell_account_changed();

-- --------------------------------------------------------------------------------------------
-- Policies, grants
-- --------------------------------------------------------------------------------------------

-- No policy, no grant: only the functions above reach these.
alter table events.topic_kinds enable row level security;
alter table events.topics enable row level security;
alter table events.log enable row level security;
alter table events.restores enable row level security;

revoke execute on all functions in schema events from public;
grant execute on function events.cursor to anonymous, service, plinth_server;
grant execute on function events._new_in_log, events._rechecks_in_log, events._newest_in_log to plinth_server;
grant execute on function events._seqs_at, events._missed to plinth_server;

select events.ensure_partitions();

-- ============================================================================================
-- access: maintenance, rate limits, feature flags
-- ============================================================================================
-- Who gets in, how often, and to what. Every change is an event, by which each server has it within a second.
-- docs/limits.md tells how.

create schema access;
comment on schema access is 'Who gets in, how often, and to what.';
grant usage on schema access to plinth_server, anonymous, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type access.maintenance as (
  level      text,
  message    text,
  started_at timestamptz,
  ends_at    timestamptz
);
comment on type   access.maintenance            is 'That the place is being worked on.';
comment on column access.maintenance.level      is 'Members may only read (`read_only`), or not even that (`closed`).';
comment on column access.maintenance.message    is 'What they are told.';
comment on column access.maintenance.started_at is 'Since when.';
comment on column access.maintenance.ends_at    is 'When it ends by itself; null: when it is ended by hand.';

create type access.feature_flag as (
  name  text,
  is_on boolean
);
comment on type   access.feature_flag       is 'Whether something new is there for the caller.';
comment on column access.feature_flag.name  is 'What it is called.';
comment on column access.feature_flag.is_on is 'Whether it is there.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table access.flags (
  name        text    primary key,
  is_on       boolean not null default false,
  share       integer not null default 100,
  for_users   uuid[]  not null default '{}',
  description text    not null,

  constraint flag_is_a_plain_name              check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint share_is_a_percentage             check (share between 0 and 100),
  constraint for_users_are_at_most_1_000       check (cardinality(for_users) <= 1000),
  constraint flag_has_a_description            check (char_length(description) between 1 and 500)
);
comment on table  access.flags             is 'What may be switched on for some, or for all.';
comment on column access.flags.name        is 'The key.';
comment on column access.flags.is_on       is 'Off is off for everyone.';
comment on column access.flags.share       is
  'For how many percent of users it is on, always the same ones; below 100, not for who is signed out.';
comment on column access.flags.for_users   is 'Users whom it is on for whatever the share.';
comment on column access.flags.description is 'What it switches.';

-- A DBA edits these; applied again, the file leaves them. A row that is deleted comes back then: a null count lasts.
create table access.rate_limits (
  subject text     not null,
  covers  text     not null,
  count   integer,                       -- null: no limit
  per     interval not null,

  primary key (subject, covers),
  constraint limit_is_of_an_address_or_a_user check (subject in ('address', 'user')),
  constraint limit_covers_something           check (covers ~ '^[A-Za-z_][A-Za-z0-9_]{0,99}$'),
  constraint limit_lets_something_through     check (count > 0),
  constraint limit_is_of_a_second_to_a_day    check (per between interval '1 second' and interval '1 day')
);
comment on table  access.rate_limits         is 'How often one address or one user may ask (C15, F7).';
comment on column access.rate_limits.subject is 'Of whom: an `address` (of IPv6 the network), or a `user`.';
comment on column access.rate_limits.covers  is
  'What is counted: every `request`, each `document` that the server has not read before, each `query`, `mutation` or
`subscription`, or a field by its name in the API.';
comment on column access.rate_limits.count   is 'How often.';
comment on column access.rate_limits.per     is 'Within what time.';
insert into access.rate_limits (subject, covers, count, per)
values
  ('address', 'request',      12000, interval '1 minute'),  -- an office has one
  ('address', 'document',     1200,  interval '1 minute'),  -- 20 ms each, at worst
  ('user',    'request',      3000,  interval '1 minute'),
  ('user',    'mutation',     600,   interval '1 minute'),
  ('user',    'subscription', 300,   interval '1 minute'),
  ('user',    'sendMessage',  120,   interval '1 minute'),
  ('user',    'setTyping',    120,   interval '1 minute'),
  ('user',    'setPresence',  60,    interval '1 minute'),
  ('user',    'createRoom',   60,    interval '1 hour')
on conflict (subject, covers) do nothing;

-- What several servers count together where they have no Redis; they write to it in batches. After a crash it is empty.
create unlogged table access.rate_counts (
  key        text        primary key,
  count      bigint      not null,
  expires_at timestamptz not null
) with (fillfactor = 50);
comment on table access.rate_counts is 'How often each has asked within a window of time.';
-- What _count_requests removes.
create index rate_counts_expires_at_idx on access.rate_counts (expires_at);

-- --------------------------------------------------------------------------------------------
-- Functions: maintenance
-- --------------------------------------------------------------------------------------------

create function access.maintenance() returns access.maintenance
language sql stable security definer set search_path = ''
as $$
  select known.level, known.message, known.started_at, known.ends_at
  from identity.maintenance as known
  where known.ends_at is null or known.ends_at > now();
$$;
comment on function access.maintenance is 'That the place is being worked on; null while it is not.';

create function access.begin_maintenance(
  message text, ends_at timestamptz default null, level text default 'closed'
) returns access.maintenance
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into identity.maintenance as known (level, message, ends_at)
  values (begin_maintenance.level, begin_maintenance.message, begin_maintenance.ends_at)
  on conflict on constraint maintenance_pkey do update
  set level = excluded.level, message = excluded.message, ends_at = excluded.ends_at, started_at = excluded.started_at;
  return access.maintenance();
end;
$$;
comment on function access.begin_maintenance is
  'Lets members only read (level `read_only`), or not even that (`closed`): they are told the message and when to come
back. Called again, it replaces what was said before. Operators and services go on.

@notNull';

create function access.end_maintenance() returns boolean
language sql volatile security definer set search_path = ''
as $$
  with ended as (delete from identity.maintenance returning 1)
  select exists (select from ended);
$$;
comment on function access.end_maintenance is
  'Lets everyone in again; false where they were.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: feature flags
-- --------------------------------------------------------------------------------------------

-- Which percent of the users of a flag one belongs to: by chance, but always the same.
create function access._percent_of(flag text, user_id uuid) returns integer
language sql immutable parallel safe set search_path = ''
return mod(('x' || left(md5(flag || ':' || user_id), 8))::bit(32)::bigint, 100)::integer;

create function access._is_on(flag access.flags) returns boolean
language sql stable set search_path = ''
return flag.is_on and (
  flag.share = 100
  or coalesce(identity.current_user_id() = any (flag.for_users), false)
  or coalesce(access._percent_of(flag.name, identity.current_user_id()) < flag.share, false)
);

create function access.is_on(flag text) returns boolean
language sql stable security definer set search_path = ''
return exists (select from access.flags as known where known.name = flag and access._is_on(known));
comment on function access.is_on is
  'Whether a flag is on for the caller; false where there is none of that name. In a policy: `(select access.is_on(…))`.

@hide';

create function access.feature_flags() returns setof access.feature_flag
language sql stable security definer rows 20 set search_path = ''
as $$
  select known.name, access._is_on(known) from access.flags as known order by known.name;
$$;
comment on function access.feature_flags is
  'All flags, and whether each is on for the caller.

@notNull
@keptUntil system:access';

create function access.set_flag(
  name text, is_on boolean default null, share integer default null, for_users uuid[] default null,
  description text default null
) returns access.flags
language plpgsql volatile security definer set search_path = ''
as $$
declare
  changed access.flags;
begin
  insert into access.flags as known (name, is_on, share, for_users, description)
  values (
    set_flag.name, coalesce(set_flag.is_on, false), coalesce(set_flag.share, 100),
    coalesce(set_flag.for_users, '{}'), coalesce(set_flag.description, set_flag.name)
  )
  on conflict on constraint flags_pkey do update
  set is_on = coalesce(set_flag.is_on, known.is_on), share = coalesce(set_flag.share, known.share),
    for_users = coalesce(set_flag.for_users, known.for_users),
    description = coalesce(set_flag.description, known.description)
  returning * into changed;
  return changed;
end;
$$;
comment on function access.set_flag is
  'Makes a flag, or changes what is given of it.

@notNull';

create function access.remove_flag(name text) returns boolean
language sql volatile security definer set search_path = ''
as $$
  with removed as (delete from access.flags as known where known.name = remove_flag.name returning 1)
  select exists (select from removed);
$$;
comment on function access.remove_flag is
  'Removes a flag, which is off from then on; false where there was none of that name.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: for the server
-- --------------------------------------------------------------------------------------------

-- What it turns requests away by before they reach the database. Times are in seconds, from now: clocks may differ.
create function access._gate() returns jsonb
language sql stable security definer set search_path = ''
return jsonb_build_object(
  'closed', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'role', closed.role, 'writes', closed.writes, 'message', closed.message,
      -- Infinity, as a DBA may write it, has no seconds.
      'endsIn', case when isfinite(closed.ends_at) then extract(epoch from closed.ends_at - clock_timestamp()) end
    )), '[]')
    from identity._closed as closed
  ),
  'limits', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'subject', allowed.subject, 'covers', allowed.covers, 'count', allowed.count,
      'seconds', extract(epoch from allowed.per)
    )), '[]')
    from access.rate_limits as allowed
    where allowed.count is not null
  ),
  'unlimited', jsonb_build_array('service')
);
comment on function access._gate is 'Who is let in, and how often; for the server.';

create function access._count_requests(keys text[], counts integer[], seconds integer[]) returns bigint[]
language plpgsql volatile security definer set search_path = ''
as $$
declare
  totals bigint[];
begin
  delete from access.rate_counts as old
  where old.key in (
    select known.key from access.rate_counts as known
    where known.expires_at < now() limit 5000 for update skip locked
  );
  -- In the order of keys, so that two servers do not wait for each other.
  with added as (
    insert into access.rate_counts as known (key, count, expires_at)
    select given.key, given.count, now() + make_interval(secs => given.seconds)
    from unnest(keys, counts, seconds) as given (key, count, seconds)
    order by given.key
    on conflict on constraint rate_counts_pkey do update
    set count = known.count + excluded.count, expires_at = excluded.expires_at
    returning known.key, known.count
  )
  select array_agg(added.count order by wanted.place) into totals
  from unnest(keys) with ordinality as wanted (key, place)
  join added on added.key = wanted.key;
  return totals;
end;
$$;
comment on function access._count_requests is
  'Adds to counts, each kept for so many seconds; gives the totals in the same order. For the server.';

-- --------------------------------------------------------------------------------------------
-- Triggers: every change is told
-- --------------------------------------------------------------------------------------------

create function access._tell_changed() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform events.publish('system:access', tg_table_name || '_changed');
  return null;
end;
$$;
create trigger tell_maintenance_changed after insert or update or delete or truncate on identity.maintenance
  for each statement execute function access._tell_changed();
create trigger tell_flags_changed after insert or update or delete or truncate on access.flags
  for each statement execute function access._tell_changed();
create trigger tell_rate_limits_changed after insert or update or delete or truncate on access.rate_limits
  for each statement execute function access._tell_changed();

-- --------------------------------------------------------------------------------------------
-- Policies, grants: this is the API
-- --------------------------------------------------------------------------------------------

alter table access.flags enable row level security;
create policy operators_see_flags on access.flags for select to operator, service using (true);

alter table access.rate_limits enable row level security;
create policy operators_see_rate_limits on access.rate_limits for select to operator, service using (true);

-- No policy, no grant: only the functions above reach it.
alter table access.rate_counts enable row level security;

grant select on access.flags, access.rate_limits to operator, service;

revoke execute on all functions in schema access from public;
grant execute on function access._gate, access._count_requests to plinth_server;
grant execute on function access.maintenance, access.is_on, access.feature_flags to anonymous, service;
grant execute on function
  access.begin_maintenance, access.end_maintenance, access.set_flag, access.remove_flag to operator, service;

-- ============================================================================================
-- jobs: work that is done later: queues, tasks, schedules, runs
-- ============================================================================================
-- A task is run by graphile-worker, or, where it has a queue, by pg-boss; both keep their own tables (schemas
-- graphile_worker and pgboss), which the workers make. What is asked for and what came of it stands here, in jobs.runs,
-- written in the same transaction as theirs. docs/jobs.md tells the way of a run.

create schema jobs;
comment on schema jobs is 'Work that is done later.';
grant usage on schema jobs to member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type jobs.run_state as enum ('queued', 'running', 'succeeded', 'failed', 'cancelled');
comment on type jobs.run_state is 'Waiting for its time or its turn, at work, or how it ended.';

create type jobs.task_state as (
  task                   text,
  queue                  text,
  is_paused              boolean,
  waiting                bigint,
  running                bigint,
  failed_today           bigint,
  oldest_waiting_seconds double precision
);
comment on type   jobs.task_state                        is 'How the runs of a task stand.';
comment on column jobs.task_state.task                   is 'The task.';
comment on column jobs.task_state.queue                  is 'Its queue of pg-boss; null: graphile-worker.';
comment on column jobs.task_state.is_paused              is 'Whether its runs wait for someone to let them go on.';
comment on column jobs.task_state.waiting                is 'Runs that wait for their time or their turn.';
comment on column jobs.task_state.running                is 'Runs at work.';
comment on column jobs.task_state.failed_today           is 'Runs that failed for good in the last 24 hours.';
comment on column jobs.task_state.oldest_waiting_seconds is
  'How long the run has been due that waits longest; null: none is due.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table jobs.queues (
  name            text     primary key,
  policy          text     not null default 'standard',
  retries         integer  not null default 3,
  retry_delay     interval not null default interval '2 seconds',
  retry_delay_max interval not null default interval '10 minutes',
  expires_after   interval not null default interval '15 minutes',
  kept            interval not null default interval '14 days',
  concurrency     integer  not null default 2,
  dead_letter     text     references jobs.queues (name),           -- null: what fails for good stays where it is
  is_paused       boolean  not null default false,

  constraint name_is_plain                      check (name ~ '^[a-z][a-z0-9_]{0,49}$'),
  constraint policy_is_one_of_pg_boss           check (
    policy in ('standard', 'short', 'singleton', 'stately', 'exclusive')
  ),
  constraint retries_are_0_to_100               check (retries between 0 and 100),
  constraint retry_delay_is_1_second_to_1_day   check (retry_delay between interval '1 second' and interval '1 day'),
  constraint retry_delay_max_is_not_less        check (retry_delay_max between retry_delay and interval '7 days'),
  constraint it_expires_within_a_day            check (
    expires_after between interval '1 second' and interval '24 hours'
  ),
  constraint jobs_are_kept_for_a_day_to_a_year  check (kept between interval '1 day' and interval '1 year'),
  constraint concurrency_is_1_to_100            check (concurrency between 1 and 100),
  constraint dead_letter_is_another_queue       check (dead_letter <> name)
);
comment on table  jobs.queues                 is 'The queues of pg-boss: what clients and schedulers feed.';
comment on column jobs.queues.name            is 'The key.';
comment on column jobs.queues.policy          is
  'What may be there at once, as pg-boss has it: `standard` (any number), `short` (one waiting), `singleton` (one
running), `stately` (one of each state), `exclusive` (one waiting or running); for each key where jobs have keys.';
comment on column jobs.queues.retries         is 'How often a job that failed is tried again.';
comment on column jobs.queues.retry_delay     is 'How long the first retry waits; each one waits twice as long.';
comment on column jobs.queues.retry_delay_max is 'The longest that a retry waits.';
comment on column jobs.queues.expires_after   is 'How long a job may run before it counts as failed.';
comment on column jobs.queues.kept            is 'How long pg-boss keeps a job that has ended.';
comment on column jobs.queues.concurrency     is 'How many of its jobs a worker runs at once.';
comment on column jobs.queues.dead_letter     is 'The queue for jobs that have failed for good.';
comment on column jobs.queues.is_paused       is 'Whether its jobs wait.';
create index queues_dead_letter_idx on jobs.queues (dead_letter);

create table jobs.tasks (
  name         text     primary key,
  description  text     not null default '',
  function     text,                                                -- null: in TypeScript, workers/tasks
  queue        text     unique references jobs.queues (name),       -- null: graphile-worker runs it
  max_attempts integer  not null default 5,
  priority     integer  not null default 0,
  runs_alone   boolean  not null default false,
  timeout      interval not null default interval '1 hour',
  kept         interval not null default interval '30 days',
  is_paused    boolean  not null default false,

  constraint name_is_plain                     check (name ~ '^[a-z][a-z0-9_ ]{0,99}$'),
  constraint function_has_a_schema_and_a_name  check (function ~ '^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$'),
  constraint max_attempts_are_1_to_100         check (max_attempts between 1 and 100),
  constraint priority_is_within_1000           check (priority between -1000 and 1000),
  constraint timeout_is_1_second_to_1_day      check (timeout between interval '1 second' and interval '1 day'),
  constraint runs_are_kept_for_a_minute        check (kept >= interval '1 minute')
);
comment on table  jobs.tasks              is 'What can be asked for: a function, or a task of the workers.';
comment on column jobs.tasks.name         is 'The key.';
comment on column jobs.tasks.description  is 'What it does.';
comment on column jobs.tasks.function     is
  'The function that is the task, with its schema; it takes the payload as jsonb, or nothing. Null for a task in
TypeScript.';
comment on column jobs.tasks.queue        is 'The queue of pg-boss that feeds it; null where graphile-worker runs it.';
comment on column jobs.tasks.max_attempts is 'How often it is tried; a queue has its own number.';
comment on column jobs.tasks.priority     is 'What is higher goes first.';
comment on column jobs.tasks.runs_alone   is 'Whether no two runs of it overlap.';
comment on column jobs.tasks.timeout      is 'How long it may run.';
comment on column jobs.tasks.kept         is 'How long its runs are kept after their end.';
comment on column jobs.tasks.is_paused    is 'Whether its runs wait.';

create table jobs.schedules (
  name      text        primary key,
  cron      text        not null,
  time_zone text        not null default 'UTC',
  task      text        references jobs.tasks (name),               -- null: the function
  function  text,                                                   -- null: the task
  payload   jsonb       not null default '{}',
  backfill  interval    not null default interval '0',
  is_paused boolean     not null default false,
  next_at   timestamptz,                                            -- null: not worked out yet, or there is none
  problem   text,                                                   -- null: it is in force

  constraint name_is_1_to_100_characters          check (char_length(name) between 1 and 100),
  constraint cron_has_five_or_six_fields          check (cron ~ '^\S+( \S+){4,5}$'),
  constraint it_names_a_task_or_a_function        check (num_nonnulls(task, function) = 1),
  constraint function_has_a_schema_and_a_name     check (function ~ '^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$'),
  constraint payload_is_an_object_of_at_most_16_kb check (
    jsonb_typeof(payload) = 'object' and pg_column_size(payload) <= 16384
  ),
  constraint backfill_is_at_most_31_days          check (backfill between interval '0' and interval '31 days')
);
comment on table  jobs.schedules           is 'What is asked for again and again. A change is in force within seconds.';
comment on column jobs.schedules.name      is 'The key.';
comment on column jobs.schedules.cron      is
  'When: minute, hour, day of the month, month, day of the week; with six fields the first is the second.';
comment on column jobs.schedules.time_zone is 'Where that is the time.';
comment on column jobs.schedules.task      is 'What to run; null for a function.';
comment on column jobs.schedules.function  is 'The function to run, with its schema; null for a task.';
comment on column jobs.schedules.payload   is 'What it is given.';
comment on column jobs.schedules.backfill  is
  'How far back times that were missed (no worker ran) are made up for; otherwise the last of them only.';
comment on column jobs.schedules.is_paused is 'Whether it waits.';
comment on column jobs.schedules.next_at   is 'When it is due next.';
comment on column jobs.schedules.problem   is 'Why it is not in force; null where it is.';
create index schedules_task_idx on jobs.schedules (task);

create table jobs.workers (
  id         text        primary key,
  host       text        not null,
  process_id integer     not null,
  started_at timestamptz not null default now(),
  beat_at    timestamptz not null default now(),
  backend    text                                           -- null: it has not said so yet
);
comment on table  jobs.workers            is 'The processes that run jobs.';
comment on column jobs.workers.id         is 'The key: the name by which graphile-worker locks its jobs.';
comment on column jobs.workers.host       is 'The machine.';
comment on column jobs.workers.process_id is 'The process there.';
comment on column jobs.workers.started_at is 'When it began.';
comment on column jobs.workers.beat_at    is 'When it last said that it is alive.';
comment on column jobs.workers.backend    is
  'The connection by which it said so, as jobs._backend names it: when it is gone, so is the worker, most likely.

@hide';

create table jobs.runs (
  id            uuid           primary key default gen_random_uuid(),
  task          text           not null references jobs.tasks (name),
  function      text,                                               -- null: the task says what to run
  payload       jsonb          not null default '{}',
  state         jobs.run_state not null default 'queued',
  key           text,                                               -- null: it may overlap with any other
  nonce         text,                                               -- null: every asking is a new run
  priority      integer        not null default 0,
  attempt       integer        not null default 0,
  max_attempts  integer        not null,
  run_at        timestamptz    not null default now(),
  progress      real           not null default 0,
  note          text,                                               -- null: nothing to say
  result        jsonb,                                              -- null: not succeeded, or it gave none
  error         text,                                               -- null: it never failed
  asked_by      uuid           references identity.users (id) on delete set null,  -- null: no user asked
  schedule      text           references jobs.schedules (name) on delete set null,  -- null: no schedule did
  scheduled_for timestamptz,                                        -- null: no schedule asked
  worker        text,                                               -- null: it never began
  created_at    timestamptz    not null default now(),
  started_at    timestamptz,                                        -- null: it never began
  finished_at   timestamptz,                                        -- null: not at its end
  event_seq     bigint         not null default 0,

  constraint payload_is_an_object_of_at_most_64_kb check (
    jsonb_typeof(payload) = 'object' and pg_column_size(payload) <= 65536
  ),
  constraint key_is_1_to_200_characters        check (char_length(key) between 1 and 200),
  constraint nonce_is_1_to_200_characters      check (char_length(nonce) between 1 and 200),
  constraint progress_is_a_share               check (progress between 0 and 1),
  constraint error_is_at_most_4000_characters  check (char_length(error) <= 4000),
  constraint note_is_at_most_500_characters    check (char_length(note) <= 500),
  constraint what_has_ended_has_a_time         check ((state in ('queued', 'running')) = (finished_at is null))
) with (fillfactor = 70);  -- each is updated twice or more
comment on table  jobs.runs               is 'One piece of work: what was asked for, and what came of it.';
comment on column jobs.runs.id            is 'The key.';
comment on column jobs.runs.task          is 'What to run.';
comment on column jobs.runs.function      is 'The function of its schedule; null where the task says it.';
comment on column jobs.runs.payload       is 'What the task is given.';
comment on column jobs.runs.state         is 'Where it stands.';
comment on column jobs.runs.key           is 'Runs of one key never overlap.';
comment on column jobs.runs.nonce         is 'The name that the asker gave it: asked for again, it is the same run.';
comment on column jobs.runs.priority      is 'What is higher goes first.';
comment on column jobs.runs.attempt       is 'How often it was begun.';
comment on column jobs.runs.max_attempts  is 'How often it may be begun.';
comment on column jobs.runs.run_at        is 'It does not begin before.';
comment on column jobs.runs.progress      is 'How far it is, from 0 to 1.';
comment on column jobs.runs.note          is 'What it is doing.';
comment on column jobs.runs.result        is 'What it gave.';
comment on column jobs.runs.error         is 'Why the last try failed.';
comment on column jobs.runs.asked_by      is 'Who asked for it; null where no user did.';
comment on column jobs.runs.schedule      is 'The schedule that asked for it.';
comment on column jobs.runs.scheduled_for is 'The time that the schedule asked for it for.';
comment on column jobs.runs.worker        is 'The process that runs it, or ran it last.';
comment on column jobs.runs.created_at    is 'When it was asked for.';
comment on column jobs.runs.started_at    is 'When the last try began.';
comment on column jobs.runs.finished_at   is 'When it ended.';
comment on column jobs.runs.event_seq     is 'The number of its newest event.

@hide';
-- Asked twice, made once.
create unique index runs_task_nonce_key on jobs.runs (task, nonce) where nonce is not null;
create unique index runs_schedule_scheduled_for_key on jobs.runs (schedule, scheduled_for) where schedule is not null;
-- Runs of one key never overlap, whatever the engines do.
create unique index runs_running_key on jobs.runs (key) where state = 'running' and key is not null;
-- The runs of a task, newest first; of a state.
create index runs_task_created_at_id_idx on jobs.runs (task, created_at desc, id desc);
create index runs_state_created_at_id_idx on jobs.runs (state, created_at desc, id desc);
-- What a user asked for.
create index runs_asked_by_created_at_idx on jobs.runs (asked_by, created_at desc) where asked_by is not null;
-- What jobs.expire_runs looks for.
create index runs_finished_at_idx on jobs.runs (finished_at) where finished_at is not null;

-- Not a column of the run: a run that is a function holds its row until the end.
create table jobs.cancellations (
  run_id   uuid        primary key references jobs.runs (id) on delete cascade,
  asked_at timestamptz not null default now()
);
comment on table jobs.cancellations is 'Running jobs that are to end before their time.';

-- What schedules of functions run as.
insert into jobs.tasks (name, description, max_attempts)
values ('function', 'Runs the function of a schedule.', 3)
on conflict (name) do update set description = excluded.description;

-- --------------------------------------------------------------------------------------------
-- Functions: asking
-- --------------------------------------------------------------------------------------------

-- Says what has happened to a run to whoever follows it. Nobody follows what no user asked for: it is looked up.
create function jobs._tell(run jobs.runs) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  seq bigint;
begin
  if run.asked_by is null then
    return;
  end if;
  update jobs.runs set event_seq = event_seq + 1 where id = run.id returning event_seq into seq;
  perform events.publish('run:' || run.id, 'run_' || run.state, jsonb_build_object('run_id', run.id), seq => seq);
end;
$$;

-- Hands a run to its engine, in this transaction. False where a queue's policy does not let it in. An engine whose
-- tables the workers have not made yet (they make plinth_ready last) takes it as soon as they have (jobs._hand_over).
create function jobs._hand_on(run jobs.runs) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
declare
  task jobs.tasks;
begin
  select * into strict task from jobs.tasks as known where known.name = run.task;
  if task.queue is null then
    if to_regclass('graphile_worker.plinth_ready') is null then
      return true;
    end if;
    -- A job of this key that is just being taken makes add_job give nothing; it can be asked again. A queue of
    -- graphile-worker has a name of 128 characters at most.
    for attempt in 1..10 loop
      if (
        graphile_worker.add_job(
          'run', json_build_object('run', run.id), run_at => run.run_at,
          queue_name => case when char_length(run.key) > 128 then md5(run.key) else run.key end,
          max_attempts => run.max_attempts - run.attempt, job_key => run.id::text,
          priority => -run.priority, flags => array[run.task]
        )
      ).id is not null then
        return true;
      end if;
      perform pg_sleep(0.01 * attempt);
    end loop;
    raise exception using errcode = '40001', message = 'The run is being taken at this moment; try again.';
  end if;
  if to_regclass('pgboss.plinth_ready') is null then
    return true;
  end if;
  return jobs._send(run, task.queue);
end;
$$;

-- What pg-boss writes for a job, with what its queue says: a plain insert would pass the queue's policy by. A queue
-- that the workers have not made yet takes it as soon as they have.
create function jobs._send(run jobs.runs, queue text) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  sent boolean;
begin
  if not exists (select from pgboss.queue as known where known.name = _send.queue) then
    return true;
  end if;
  insert into pgboss.job (
    id, name, data, priority, start_after, singleton_key, group_id, expire_seconds, deletion_seconds, keep_until,
    retry_limit, retry_delay, retry_backoff, retry_delay_max, policy, dead_letter, heartbeat_seconds
  )
  select
    run.id, known.name, run.payload, run.priority, run.run_at, run.key, run.key, known.expire_seconds,
    known.deletion_seconds, run.run_at + known.retention_seconds * interval '1 second',
    run.max_attempts - run.attempt - 1, known.retry_delay, known.retry_backoff, known.retry_delay_max, known.policy,
    known.dead_letter, known.heartbeat_seconds
  from pgboss.queue as known
  where known.name = _send.queue
  on conflict do nothing
  returning true into sent;
  if sent and run.run_at <= now() then
    perform pg_notify('pgboss_' || left(encode(sha224('pgboss'), 'hex'), 24), queue);
  end if;
  return coalesce(sent, false);
end;
$$;

create function jobs.enqueue(
  task text, payload jsonb default '{}', run_at timestamptz default now(), key text default null,
  nonce text default null, priority integer default null
) returns jobs.runs
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  known jobs.tasks;
  run   jobs.runs;
begin
  select * into known from jobs.tasks as listed where listed.name = enqueue.task;
  if known.name is null then
    raise exception using errcode = 'PT404', message = format('There is no task called %s.', left(enqueue.task, 100)),
      column = 'task', hint = 'jobs.tasks lists them.';
  end if;
  if enqueue.priority not between -1000 and 1000 then
    raise exception using errcode = 'PT400', message = 'A priority is a number from -1000 to 1000.',
      column = 'priority';
  end if;

  insert into jobs.runs (task, payload, run_at, key, nonce, priority, max_attempts, asked_by)
  values (
    known.name, enqueue.payload, enqueue.run_at,
    -- Whoever asks: what runs alone has no other key to run beside itself with.
    case when known.runs_alone then known.name else enqueue.key end, enqueue.nonce,
    coalesce(enqueue.priority, known.priority),
    coalesce((select queue.retries + 1 from jobs.queues as queue where queue.name = known.queue), known.max_attempts),
    identity.current_user_id()
  )
  on conflict (task, nonce) where runs.nonce is not null do nothing
  returning * into run;
  if run.id is null then
    select * into run from jobs.runs as first where first.task = known.name and first.nonce = enqueue.nonce;
    return run;
  end if;
  if not jobs._hand_on(run) then
    delete from jobs.runs as refused where refused.id = run.id;
    raise exception using errcode = 'PT409', message = 'There is one of these waiting or running already.',
      hint = format('The queue %s lets no other in (policy).', known.queue);
  end if;
  return run;
end;
$$;
comment on function jobs.enqueue is
  'Asks for a run of a task, in the transaction of whatever it belongs to. Runs of one `key` never overlap; asked for
again with the same `nonce`, it is the first run that is returned. Not before `runAt`.';

create function jobs._may_see(run jobs.runs) returns boolean
language sql stable set search_path = ''
return current_setting('role') in ('operator', 'service', 'none', 'plinth_owner')
  or coalesce(run.asked_by = identity.current_user_id(), false);

create function jobs._lock(run_id uuid) returns jobs.runs
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  select * into run from jobs.runs as wanted where wanted.id = run_id for no key update;
  if run.id is null or not jobs._may_see(run) then
    raise exception using errcode = 'PT404', message = 'There is no such run.', column = 'run_id';
  end if;
  return run;
end;
$$;

create function jobs.cancel(run_id uuid) returns jobs.runs
language plpgsql volatile security definer set search_path = ''
as $$
declare
  run jobs.runs;
begin
  -- A run that is a function holds its row: what is running is told, not locked.
  select * into run from jobs.runs as wanted where wanted.id = cancel.run_id;
  if run.id is null or not jobs._may_see(run) then
    raise exception using errcode = 'PT404', message = 'There is no such run.', column = 'run_id';
  end if;
  if run.state = 'running' then
    insert into jobs.cancellations (run_id) values (run.id) on conflict do nothing;
    return run;
  end if;
  run := jobs._lock(run.id);
  if run.state = 'running' then
    insert into jobs.cancellations (run_id) values (run.id) on conflict do nothing;
  elsif run.state = 'queued' then
    update jobs.runs set state = 'cancelled', finished_at = clock_timestamp() where id = run.id returning * into run;
    perform jobs._tell(run);
  end if;
  return run;
end;
$$;
comment on function jobs.cancel is
  'Ends a run before its time: at once where it waits, within seconds where it runs. What has ended stays as it is.

@notNull';

create function jobs.retry(run_id uuid) returns jobs.runs
language plpgsql volatile security definer set search_path = ''
as $$
declare
  run jobs.runs := jobs._lock(run_id);
begin
  if run.state not in ('failed', 'cancelled') then
    raise exception using errcode = 'PT409', message = format('The run is %s.', run.state),
      hint = 'Only what has failed or was cancelled can be tried again.';
  end if;
  delete from jobs.cancellations as old where old.run_id = run.id;
  if to_regclass('pgboss.job') is not null then
    delete from pgboss.job as old where old.id = run.id;
  end if;
  update jobs.runs as again
  set state = 'queued', attempt = 0, run_at = now(), progress = 0, note = null, finished_at = null
  where again.id = run.id
  returning * into run;
  if not jobs._hand_on(run) then
    raise exception using errcode = 'PT409', message = 'There is one of these waiting or running already.';
  end if;
  perform jobs._tell(run);
  return run;
end;
$$;
comment on function jobs.retry is
  'Tries a run again that has failed or was cancelled, with all its tries before it.

@notNull';

create function jobs.redrive(queue text, most integer default 1000) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  failed  uuid;
  redone  integer := 0;
begin
  if not exists (select from jobs.queues as known where known.name = redrive.queue) then
    raise exception using errcode = 'PT404', message = format('There is no queue called %s.', left(queue, 100)),
      column = 'queue';
  end if;
  if most not between 1 and 10000 then
    raise exception using errcode = 'PT400', message = 'From 1 to 10,000 at once.', column = 'most';
  end if;
  for failed in
    select run.id
    from jobs.runs as run
    join jobs.tasks as task on task.name = run.task
    where task.queue = redrive.queue and run.state = 'failed'
    order by run.created_at
    limit most
    for no key update of run skip locked
  loop
    perform jobs.retry(failed);
    redone := redone + 1;
  end loop;
  return redone;
end;
$$;
comment on function jobs.redrive is
  'Tries again what has failed for good in a queue, the oldest first; returns how many.

@notNull';

create function jobs.pause(task text) returns jobs.tasks
language plpgsql volatile security definer set search_path = ''
as $$
begin
  return jobs._set_paused(task, true);
end;
$$;
comment on function jobs.pause is 'Lets the runs of a task wait; those that run go on.

@notNull';

create function jobs.resume(task text) returns jobs.tasks
language plpgsql volatile security definer set search_path = ''
as $$
begin
  return jobs._set_paused(task, false);
end;
$$;
comment on function jobs.resume is 'Lets the runs of a task go on.

@notNull';

create function jobs._set_paused(task text, is_paused boolean) returns jobs.tasks
language plpgsql volatile set search_path = ''
as $$
declare
  changed jobs.tasks;
begin
  update jobs.tasks as known set is_paused = _set_paused.is_paused where known.name = task returning * into changed;
  if changed.name is null then
    raise exception using errcode = 'PT404', message = format('There is no task called %s.', left(task, 100)),
      column = 'task';
  end if;
  return changed;
end;
$$;

create function jobs.set_schedule(
  name text, cron text, time_zone text default 'UTC', task text default null, payload jsonb default null,
  is_paused boolean default false
) returns jobs.schedules
language plpgsql volatile security definer set search_path = ''
as $$
declare
  before  jobs.schedules;
  changed jobs.schedules;
begin
  select * into before from jobs.schedules as known where known.name = set_schedule.name for no key update;
  insert into jobs.schedules as known (name, cron, time_zone, task, function, payload, is_paused)
  values (
    set_schedule.name, set_schedule.cron, set_schedule.time_zone, coalesce(set_schedule.task, before.task),
    case when set_schedule.task is null then before.function end,
    coalesce(set_schedule.payload, before.payload, '{}'), set_schedule.is_paused
  )
  on conflict on constraint schedules_pkey do update
  set cron = excluded.cron, time_zone = excluded.time_zone, task = excluded.task, function = excluded.function,
    payload = excluded.payload, is_paused = excluded.is_paused
  returning * into changed;
  return changed;
end;
$$;
comment on function jobs.set_schedule is
  'Makes a schedule of a task, or changes one; the task and the payload may be left out for one that is there.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: running, for the workers
-- --------------------------------------------------------------------------------------------

-- Runs begin once for each try. Not given back is what was cancelled, has ended, has begun elsewhere, or is to wait.
-- Jobs that others sent to a queue by pg-boss itself become runs here.
create function jobs._begin(worker text, ids uuid[], attempts integer[], queues text[], payloads jsonb[])
returns setof jobs.runs
-- Planned once, and for a table that has grown.
language plpgsql volatile set search_path = '' set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
declare
  run   jobs.runs;
  begun uuid[] := '{}';
begin
  for run in
    update jobs.runs as waiting
    set state = 'running', attempt = waiting.attempt + 1, worker = _begin.worker, started_at = clock_timestamp()
    where waiting.id = any (ids) and waiting.state = 'queued'
      and not exists (select from jobs.tasks as task where task.name = waiting.task and task.is_paused)
    returning waiting.*
  loop
    if run.asked_by is not null then
      perform jobs._tell(run);
    end if;
    begun := begun || run.id;
    return next run;
  end loop;
  if cardinality(begun) < cardinality(ids) then
    return query
    insert into jobs.runs (id, task, payload, state, attempt, max_attempts, worker, started_at)
    select ticket.id, task.name, coalesce(ticket.payload, '{}'), 'running', ticket.attempt,
      greatest(queue.retries + 1, ticket.attempt), _begin.worker, clock_timestamp()
    from unnest(ids, attempts, queues, payloads) as ticket (id, attempt, queue, payload)
    join jobs.tasks as task on task.queue = ticket.queue
    join jobs.queues as queue on queue.name = task.queue
    where ticket.id <> all (begun)
    on conflict on constraint runs_pkey do nothing
    returning runs.*;
  end if;
end;
$$;

-- Only the try that has begun last may say how it ended: a worker that was taken for dead is not heard.
create function jobs._still(id uuid, attempt integer, worker text) returns jobs.runs
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  select * into run
  from jobs.runs as mine
  where mine.id = _still.id and mine.state = 'running'
    and mine.attempt = _still.attempt and mine.worker = _still.worker
  for no key update;
  if run.id is null then
    raise exception using errcode = 'PT409', message = 'This run is no longer of this worker.';
  end if;
  return run;
end;
$$;

-- How a function is called by its name: with the payload where it takes one, else with nothing.
create function jobs._call_of(name text) returns text
language plpgsql stable set search_path = ''
as $$
declare
  wanted regprocedure := coalesce(to_regprocedure(name || '(jsonb)'), to_regprocedure(name || '()'));
begin
  if wanted is null then
    select procedure.oid into wanted
    from pg_catalog.pg_proc as procedure
    where procedure.oid = to_regproc(name) and procedure.pronargs = procedure.pronargdefaults;
  end if;
  if wanted is null then
    raise exception using errcode = 'PT404', message = format('There is no function %s.', name),
      hint = 'It takes the payload as jsonb, or nothing.';
  end if;
  return (
    select format(
      case procedure.prorettype
        when 'void'::regtype then 'select null::jsonb from %s(%s)'
        else 'select to_jsonb(%s(%s))'
      end,
      wanted::regproc, case when wanted::text like '%(jsonb)' then '$1' else '' end
    )
    from pg_catalog.pg_proc as procedure
    where procedure.oid = wanted
  );
end;
$$;

-- A run that is a function is run here: it and the word that it is done are one transaction, its effect happens once,
-- whatever dies. What a task in TypeScript gave is `result`.
create function jobs._finish(id uuid, attempt integer, worker text, result jsonb default null) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run  jobs.runs := jobs._still(id, attempt, worker);
  name text := coalesce(run.function, (select task.function from jobs.tasks as task where task.name = run.task));
begin
  if name is not null then
    execute jobs._call_of(name) into result using run.payload;
  end if;
  update jobs.runs as done
  set state = 'succeeded', progress = 1, result = _finish.result, finished_at = clock_timestamp()
  where done.id = run.id
  returning * into run;
  delete from jobs.cancellations as old where old.run_id = run.id;
  if run.asked_by is not null then
    perform jobs._tell(run);
  end if;
end;
$$;

-- Where the engine tries again, the run waits again; `retries_at` is when.
create function jobs._fail(
  id uuid, attempt integer, worker text, error text, is_final boolean, retries_at timestamptz
) returns jobs.run_state
language plpgsql volatile set search_path = ''
as $$
declare
  run       jobs.runs := jobs._still(id, attempt, worker);
  cancelled boolean := exists (select from jobs.cancellations as asked where asked.run_id = id);
begin
  update jobs.runs as ended
  set
    state = case
      when cancelled then 'cancelled'
      when is_final or ended.attempt >= ended.max_attempts then 'failed'
      else 'queued'
    end::jobs.run_state,
    error = left(_fail.error, 4000),
    run_at = coalesce(retries_at, ended.run_at),
    finished_at = case
      when cancelled or is_final or ended.attempt >= ended.max_attempts then clock_timestamp()
    end
  where ended.id = _fail.id
  returning * into run;
  delete from jobs.cancellations as old where old.run_id = run.id;
  -- What is of no use to try again becomes a dead letter at once.
  if run.state = 'failed' and to_regclass('pgboss.job') is not null then
    update pgboss.job as job set retry_limit = job.retry_count where job.id = run.id;
  end if;
  perform jobs._tell(run);
  return run.state;
end;
$$;

-- A worker that stops gives back what it has not finished, as if it had not begun.
create function jobs._hand_back(id uuid, attempt integer, worker text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs := jobs._still(id, attempt, worker);
begin
  update jobs.runs as waiting
  set state = 'queued', attempt = waiting.attempt - 1, run_at = now()
  where waiting.id = run.id
  returning * into run;
  delete from pgboss.job as job where job.id = run.id;
  perform jobs._hand_on(run);
  perform jobs._tell(run);
end;
$$;

create function jobs._progress(id uuid, attempt integer, worker text, progress real, note text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  update jobs.runs as mine
  set progress = least(greatest(_progress.progress, 0), 1), note = left(_progress.note, 500)
  where mine.id = _progress.id and mine.state = 'running' and mine.attempt = _progress.attempt
    and mine.worker = _progress.worker
  returning * into run;
  if run.id is not null then
    perform jobs._tell(run);
  end if;
end;
$$;

-- A connection: the number of a process comes again, with its start it does not. Null for none.
create function jobs._backend(pid integer) returns text
language sql stable set search_path = ''
return (
  select activity.pid || ' ' || activity.backend_start from pg_catalog.pg_stat_activity as activity
  where activity.pid = _backend.pid
);

-- Every few seconds: says that the worker lives, and hears which of its runs are to end. What it has begun and does
-- not know any more (its word of how it ended was lost) is begun again.
create function jobs._beat(worker text, host text, process_id integer, running uuid[]) returns uuid[]
language plpgsql volatile set search_path = ''
as $$
declare
  lost jobs.runs;
begin
  insert into jobs.workers as known (id, host, process_id, backend)
  values (worker, _beat.host, _beat.process_id, jobs._backend(pg_backend_pid()))
  on conflict on constraint workers_pkey do update set beat_at = clock_timestamp(), backend = excluded.backend;
  for lost in
    select run.*
    from jobs.runs as run
    where run.worker = _beat.worker and run.state = 'running' and run.id <> all (running)
      and run.started_at < clock_timestamp() - interval '15 seconds'
    for no key update skip locked
  loop
    perform jobs._lose(lost, 'What came of it was not heard.');
  end loop;
  -- Jobs that it has locked and knows nothing of: the word that they ended was lost with a connection. They are given
  -- free with all that it holds; what still runs begins nowhere else.
  if to_regclass('graphile_worker.plinth_ready') is not null and exists (
    select from graphile_worker.jobs as ticket
    where ticket.locked_by = _beat.worker and ticket.locked_at < clock_timestamp() - interval '15 seconds'
      and coalesce(ticket.key <> all (running::text[]), true)
  ) then
    perform graphile_worker.force_unlock_workers(array[worker]);
  end if;
  return array(
    select asked.run_id
    from jobs.cancellations as asked
    join jobs.runs as run on run.id = asked.run_id
    where run.worker = _beat.worker and run.state = 'running'
    union
    -- What was taken from it, since it was silent for so long.
    select mine.id
    from unnest(running) as mine (id)
    where not exists (
      select from jobs.runs as run where run.id = mine.id and run.worker = _beat.worker and run.state = 'running'
    )
  );
end;
$$;

-- Begins a run again whose try came to nothing, where it has tries left.
create function jobs._lose(lost jobs.runs, reason text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  update jobs.runs as ended
  set
    state = case when ended.attempt >= ended.max_attempts then 'failed' else 'queued' end::jobs.run_state,
    error = reason, run_at = now(),
    finished_at = case when ended.attempt >= ended.max_attempts then clock_timestamp() end
  where ended.id = lost.id
  returning * into run;
  if run.state = 'queued' then
    delete from pgboss.job as job where job.id = run.id;
    perform jobs._hand_on(run);
  end if;
  perform jobs._tell(run);
end;
$$;

-- Takes from workers that have not said for so long that they live what they held; from those whose connection is gone,
-- too, after three beats (it is made again when Postgres was restarted). What a function of theirs has locked is theirs
-- still: its transaction lives.
create function jobs._rescue(silent_for interval) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  dead    text[];
  lost    jobs.runs;
  rescued integer := 0;
begin
  dead := array(
    select worker.id
    from jobs.workers as worker
    where worker.beat_at < clock_timestamp() - silent_for
      or worker.beat_at < clock_timestamp() - interval '6 seconds'
        and jobs._backend(split_part(worker.backend, ' ', 1)::integer) is distinct from worker.backend
    for update skip locked
  );
  for lost in
    select run.*
    from jobs.runs as run
    where run.state = 'running'
      and (run.worker = any (dead) or not exists (select from jobs.workers as worker where worker.id = run.worker))
    for no key update skip locked
  loop
    perform jobs._lose(lost, 'The worker died.');
    rescued := rescued + 1;
  end loop;
  if cardinality(dead) > 0 then
    perform graphile_worker.force_unlock_workers(dead);
    delete from jobs.workers as worker
    where worker.id = any (dead)
      and not exists (select from jobs.runs as run where run.worker = worker.id and run.state = 'running');
  end if;
  return rescued;
end;
$$;

-- Runs that no engine will begin: asked for before it was set up, restored from a backup, or taken from pg-boss by a
-- worker that died before it began them.
create function jobs._hand_over() returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  waiting jobs.runs;
  given   integer := 0;
begin
  for waiting in
    select run.*
    from jobs.runs as run
    join jobs.tasks as task on task.name = run.task
    where run.state = 'queued' and run.created_at < now() - interval '1 second'
      and case
        when task.queue is null then not exists (select from graphile_worker.jobs as job where job.key = run.id::text)
        else not exists (
          select from pgboss.job as job
          where job.name = task.queue and job.id = run.id
            and (job.state < 'active' or job.state = 'active' and job.started_on > now() - interval '30 seconds')
        )
      end
    order by run.created_at
    limit 1000
    for no key update of run skip locked
  loop
    delete from pgboss.job as ended where ended.id = waiting.id;
    if jobs._hand_on(waiting) then
      given := given + 1;
    end if;
  end loop;
  return given;
end;
$$;

-- Asks for the runs of a schedule whose time has come; each time once, however many workers ask.
create function jobs._fire(schedule text, times timestamptz[], next_at timestamptz, problem text) returns void
language plpgsql volatile set search_path = ''
as $$
#variable_conflict use_column
declare
  due  jobs.schedules;
  task jobs.tasks;
  at   timestamptz;
  run  jobs.runs;
begin
  select * into due from jobs.schedules as known where known.name = _fire.schedule for no key update;
  select * into task from jobs.tasks as known where known.name = coalesce(due.task, 'function');
  foreach at in array times loop
    insert into jobs.runs (task, function, payload, key, priority, max_attempts, schedule, scheduled_for)
    values (
      task.name, due.function, due.payload,
      case when due.function is not null then 'schedule ' || due.name when task.runs_alone then task.name end,
      task.priority,
      coalesce((select queue.retries + 1 from jobs.queues as queue where queue.name = task.queue), task.max_attempts),
      due.name, at
    )
    on conflict (schedule, scheduled_for) where runs.schedule is not null do nothing
    returning * into run;
    if run.id is not null and not jobs._hand_on(run) then
      delete from jobs.runs as refused where refused.id = run.id;
    end if;
  end loop;
  update jobs.schedules as known
  set next_at = _fire.next_at, problem = _fire.problem
  where known.name = _fire.schedule;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Functions: upkeep, following
-- --------------------------------------------------------------------------------------------

create function jobs.expire_runs() returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  removed bigint;
begin
  with expired as (
    delete from jobs.runs as run
    using jobs.tasks as task
    where task.name = run.task and run.finished_at < now() - task.kept
      and run.finished_at < now() - (select min(kept) from jobs.tasks)
    returning 1
  )
  select count(*) into removed from expired;
  -- What graphile-worker keeps of jobs whose worker died and that were asked for again.
  if to_regclass('graphile_worker.plinth_ready') is not null then
    perform graphile_worker.complete_jobs(array(
      select ticket.id
      from graphile_worker.jobs as ticket
      where ticket.task_identifier = 'run' and ticket.key is null and ticket.attempts >= ticket.max_attempts
        and ticket.locked_at is null
    ));
  end if;
  return removed;
end;
$$;
comment on function jobs.expire_runs is
  'Removes the runs that are kept no longer; returns how many.

@hide';

create function jobs.overview() returns setof jobs.task_state
language sql stable security definer rows 20 set search_path = ''
as $$
  with counted as (
    select
      run.task, count(*) filter (where run.state = 'queued') as waiting,
      count(*) filter (where run.state = 'running') as running,
      extract(epoch from now() - min(run.run_at) filter (where run.state = 'queued' and run.run_at <= now())) as oldest
    from jobs.runs as run
    where run.state in ('queued', 'running')
    group by run.task
  ), failed as (
    select run.task, count(*) as runs
    from jobs.runs as run
    where run.state = 'failed' and run.finished_at > now() - interval '24 hours'
    group by run.task
  )
  select
    task.name, task.queue, task.is_paused, coalesce(counted.waiting, 0), coalesce(counted.running, 0),
    coalesce(failed.runs, 0), counted.oldest::double precision
  from jobs.tasks as task
  left join counted on counted.task = task.name
  left join failed on failed.task = task.name
  order by task.name;
$$;
comment on function jobs.overview is 'How the runs of each task stand.';

create function jobs.listen_to_run(run_id uuid) returns setof events.position
language plpgsql stable security definer rows 1 set search_path = ''
as $$
begin
  return query
  select 'run:' || run.id, run.event_seq
  from jobs.runs as run
  where run.id = listen_to_run.run_id and jobs._may_see(run) and run.asked_by is not null;
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such run that a user asked for.', column = 'run_id',
      hint = 'What a service, a schedule or psql asked for is not followed: query run(id).';
  end if;
end;
$$;
comment on function jobs.listen_to_run is
  'The right to follow a run: for whoever asked for it, and for operators.

@hide';

create function jobs.run_events(event events.event) returns setof jobs.runs
language sql stable rows 1
begin atomic
  select run.*
  from (select (event.data ->> 'run_id')::uuid as id offset 0) as told
  join jobs.runs as run on run.id = told.id;
end;
comment on function jobs.run_events is
  'A run as it begins, goes on and ends: how it stands now.

@subscription jobs.listen_to_run
@shared';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

-- A schedule that was changed is worked out anew.
create function jobs._forget_next() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.next_at := null;
  new.problem := null;
  return new;
end;
$$;
create trigger forget_next before update of cron, time_zone, is_paused on jobs.schedules
  for each row
  when ((old.cron, old.time_zone, old.is_paused) is distinct from (new.cron, new.time_zone, new.is_paused))
  execute function jobs._forget_next();

-- Said where it is written, not by each run: who mistypes a name should not have to look for it.
create function jobs._check_function() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform jobs._call_of(new.function);
  return new;
end;
$$;
create trigger check_function before insert or update of function on jobs.tasks
  for each row when (new.function is not null) execute function jobs._check_function();
create trigger check_function before insert or update of function on jobs.schedules
  for each row when (new.function is not null) execute function jobs._check_function();

create function jobs._check_time_zone() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if not exists (select from pg_catalog.pg_timezone_names where lower(name) = lower(new.time_zone)) then
    raise exception using errcode = 'PT400', message = format('There is no time zone %s.', left(new.time_zone, 100)),
      column = 'time_zone', hint = 'It is a name such as Europe/Berlin.';
  end if;
  return new;
end;
$$;
create trigger check_time_zone before insert or update of time_zone on jobs.schedules
  for each row when (new.time_zone <> 'UTC') execute function jobs._check_time_zone();

-- pg-boss cannot change it either.
create function jobs._keep_policy() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'The policy of a queue cannot be changed.', column = 'policy',
    hint = 'Make another queue, and let the task be fed by that one.';
end;
$$;
create trigger keep_policy before update of policy on jobs.queues
  for each row when (old.policy <> new.policy) execute function jobs._keep_policy();

-- A task and the queue that feeds it wait together, whichever of them it was said of.
create function jobs._pause_queue() returns trigger
language plpgsql set search_path = ''
as $$
begin
  update jobs.queues as fed
  set is_paused = new.is_paused
  where fed.name = new.queue and fed.is_paused <> new.is_paused;
  return null;
end;
$$;
create trigger pause_queue after update of is_paused on jobs.tasks
  for each row when (old.is_paused <> new.is_paused) execute function jobs._pause_queue();

create function jobs._pause_task() returns trigger
language plpgsql set search_path = ''
as $$
begin
  update jobs.tasks as fed
  set is_paused = new.is_paused
  where fed.queue = new.name and fed.is_paused <> new.is_paused;
  return null;
end;
$$;
create trigger pause_task after update of is_paused on jobs.queues
  for each row when (old.is_paused <> new.is_paused) execute function jobs._pause_task();

-- --------------------------------------------------------------------------------------------
-- Policies, grants
-- --------------------------------------------------------------------------------------------

alter table jobs.queues enable row level security;
alter table jobs.tasks enable row level security;
alter table jobs.schedules enable row level security;
alter table jobs.workers enable row level security;
alter table jobs.runs enable row level security;
alter table jobs.cancellations enable row level security;
create policy operators_see_queues on jobs.queues for select to operator, service using (true);
create policy operators_see_tasks on jobs.tasks for select to operator, service using (true);
create policy operators_see_schedules on jobs.schedules for select to operator, service using (true);
create policy operators_see_workers on jobs.workers for select to operator, service using (true);
create policy operators_see_runs on jobs.runs for select to operator, service using (true);
create policy users_see_the_runs_they_asked_for on jobs.runs for select to member
  using (asked_by = (select identity.current_user_id()));

grant select on jobs.queues, jobs.tasks, jobs.schedules, jobs.workers to operator, service;
grant select on jobs.runs to member, service;
revoke execute on all functions in schema jobs from public;
grant execute on function jobs.enqueue, jobs.redrive, jobs.pause, jobs.resume, jobs.set_schedule to operator, service;
grant execute on function jobs.retry, jobs.overview to operator, service;
grant execute on function jobs.cancel to member, service;
grant execute on function jobs.listen_to_run, jobs.run_events to member, service;

-- ============================================================================================
-- organizations: members, roles, departments, positions, proxies
-- ============================================================================================
-- Whether someone may do an action on a kind of resource is answered in one place, organizations._authority: by the
-- role that they have now, or by a proxy of someone whose role allows it. Every change takes the lock of the
-- organization's row first, so that limits, the tree of departments and who owns it hold when two come at once; who
-- also needs the row of a user takes that before.

create schema organizations;
comment on schema organizations is 'Organizations: who belongs to them, and who may do what there.';
grant usage on schema organizations to member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type organizations.authority as enum ('system_role', 'role', 'proxy');
comment on type organizations.authority is
  'What allows something: a role that every organization has, one of its own, or a proxy of someone else.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table organizations.organizations (
  id           uuid        primary key default public.uuid_v7(),
  name         text        not null,
  description  text,
  owner_id     uuid        references identity.users (id) on delete set null,  -- null: closed, and nobody is left
  settings     jsonb       not null default '{}',
  member_limit integer     not null default 1000,
  member_count integer     not null default 0,
  closed_at    timestamptz,                                                    -- null: open
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now(),

  constraint name_is_1_to_100_characters           check (char_length(name) between 1 and 100),
  constraint description_is_at_most_1000_characters check (char_length(description) <= 1000),
  constraint settings_are_an_object                check (jsonb_typeof(settings) = 'object'),
  constraint settings_are_at_most_16_kb            check (pg_column_size(settings) <= 16384),
  constraint member_limit_is_1_to_100000           check (member_limit between 1 and 100000),
  constraint members_are_within_the_limit          check (member_count between 0 and member_limit)
) with (fillfactor = 70);
comment on table  organizations.organizations              is
  'A company, a club, a team: people with roles, departments and positions.

@order id desc';
comment on column organizations.organizations.id           is 'The key; rises with the time of creation.';
comment on column organizations.organizations.name         is 'Its name, 1 to 100 characters.';
comment on column organizations.organizations.description  is 'What it is.';
comment on column organizations.organizations.owner_id     is 'Who answers for it.';
comment on column organizations.organizations.settings     is 'Whatever its clients want to keep for it, up to 16 kB.';
comment on column organizations.organizations.member_limit is 'How many members it may have.';
comment on column organizations.organizations.member_count is 'How many members it has.';
comment on column organizations.organizations.closed_at    is
  'When it was closed: nobody may do anything there; null while it is open.';
comment on column organizations.organizations.created_at   is 'When it was made.';
comment on column organizations.organizations.updated_at   is 'When its name, description, settings or limit changed.';
create index organizations_owner_id_idx on organizations.organizations (owner_id);

-- Asked by checks and guards: {"documents": ["read", "write"], "*": ["read"]}.
create function organizations._is_permissions(permissions jsonb) returns boolean
language sql immutable parallel safe set search_path = ''
return jsonb_typeof(permissions) = 'object' and not exists (
  select
  from jsonb_each(case when jsonb_typeof(permissions) = 'object' then permissions else '{}' end) as listed
    (resource, actions)
  where listed.resource !~ '^(\*|[a-z][a-z0-9_.:-]{0,49})$'
    or jsonb_typeof(listed.actions) <> 'array'
    or exists (
      select
      from jsonb_array_elements(
        case when jsonb_typeof(listed.actions) = 'array' then listed.actions else '[]' end
      ) as action
      where jsonb_typeof(action) <> 'string' or action #>> '{}' !~ '^(\*|[a-z][a-z0-9_.:-]{0,49})$'
    )
);

create table organizations.roles (
  id              uuid        primary key default public.uuid_v7(),
  organization_id uuid        references organizations.organizations (id) on delete cascade,  -- null: of every one
  name            text        not null,
  description     text,
  permissions     jsonb       not null default '{}',
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),

  constraint name_is_1_to_50_characters             check (char_length(name) between 1 and 50),
  constraint description_is_at_most_1000_characters check (char_length(description) <= 1000),
  constraint permissions_list_actions_by_resource   check (organizations._is_permissions(permissions)),
  constraint permissions_are_at_most_16_kb          check (pg_column_size(permissions) <= 16384)
);
comment on table  organizations.roles                 is
  'What those who have it may do in an organization.

@order name, id';
comment on column organizations.roles.id              is 'The key.';
comment on column organizations.roles.organization_id is
  'Whose role it is; null for the system roles owner, admin and member, which every organization has.';
comment on column organizations.roles.name            is 'Its name, unique in the organization in any case.';
comment on column organizations.roles.description     is 'Who it is for.';
comment on column organizations.roles.permissions     is
  'Actions by kind of resource, `{"documents": ["read", "write"]}`; `*` stands for every resource, or every action.';
comment on column organizations.roles.created_at      is 'When it was made.';
comment on column organizations.roles.updated_at      is 'When it last changed.';
-- One name in any case, also among the system roles.
create unique index roles_name_key on organizations.roles (organization_id, lower(name)) nulls not distinct;
-- The roles of an organization, by name.
create index roles_organization_id_name_id_idx on organizations.roles (organization_id, name, id);

insert into organizations.roles (id, name, description, permissions)
values
  ('00000000-0000-7000-8000-000000000001', 'owner',  'Who answers for the organization.', '{"*": ["*"]}'),
  ('00000000-0000-7000-8000-000000000002', 'admin',  'Who runs it.', '{"*": ["read", "write", "delete"]}'),
  ('00000000-0000-7000-8000-000000000003', 'member', 'Who belongs to it.', '{"*": ["read"]}')
on conflict (id) do update
  set name = excluded.name, description = excluded.description, permissions = excluded.permissions;

-- Written by the functions alone, under the lock of the organization: `lineage` follows `parent_id`.
create table organizations.departments (
  id              uuid        primary key default public.uuid_v7(),
  organization_id uuid        not null references organizations.organizations (id) on delete cascade,
  parent_id       uuid        references organizations.departments (id),                  -- null: at the top
  name            text        not null,
  description     text,
  manager_id      uuid        references identity.users (id) on delete set null,          -- null: nobody
  lineage         uuid[]      not null,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),

  constraint name_is_1_to_100_characters            check (char_length(name) between 1 and 100),
  constraint description_is_at_most_1000_characters check (char_length(description) <= 1000),
  constraint the_tree_is_at_most_20_levels_deep     check (cardinality(lineage) between 1 and 20),
  constraint lineage_ends_with_the_department       check (lineage[cardinality(lineage)] = id),
  constraint lineage_goes_through_the_parent
    check (lineage[cardinality(lineage) - 1] is not distinct from parent_id)
);
comment on table  organizations.departments                 is
  'A part of an organization; departments form a tree.

@order name, id';
comment on column organizations.departments.id              is 'The key.';
comment on column organizations.departments.organization_id is 'Whose part it is.';
comment on column organizations.departments.parent_id       is 'The department that it is part of; null at the top.';
comment on column organizations.departments.name            is 'Its name, unique beside those of one parent.';
comment on column organizations.departments.description     is 'What it does.';
comment on column organizations.departments.manager_id      is 'Who leads it; null for nobody.';
comment on column organizations.departments.lineage         is 'The departments from the top down to this one, by id.';
comment on column organizations.departments.created_at      is 'When it was made.';
comment on column organizations.departments.updated_at      is 'When it last changed.';
comment on constraint departments_parent_id_fkey on organizations.departments is '@inverse children';
-- One name beside those of one parent.
create unique index departments_name_key
  on organizations.departments (organization_id, parent_id, lower(name)) nulls not distinct;
-- The departments of an organization, and those within one, by name.
create index departments_organization_id_name_id_idx on organizations.departments (organization_id, name, id);
create index departments_parent_id_name_id_idx on organizations.departments (parent_id, name, id);
-- What someone leads.
create index departments_manager_id_idx on organizations.departments (manager_id);

create table organizations.positions (
  id              uuid        primary key default public.uuid_v7(),
  organization_id uuid        not null references organizations.organizations (id) on delete cascade,
  title           text        not null,
  description     text,
  level           integer     not null default 1,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),

  constraint title_is_1_to_100_characters           check (char_length(title) between 1 and 100),
  constraint description_is_at_most_1000_characters check (char_length(description) <= 1000),
  constraint level_is_1_to_100                      check (level between 1 and 100)
);
comment on table  organizations.positions                 is
  'A post that members of an organization hold.

@order level desc, id';
comment on column organizations.positions.id              is 'The key.';
comment on column organizations.positions.organization_id is 'Where it is.';
comment on column organizations.positions.title           is 'Its title, unique in the organization in any case.';
comment on column organizations.positions.description     is 'What it is about.';
comment on column organizations.positions.level           is 'How high it stands, 1 to 100.';
comment on column organizations.positions.created_at      is 'When it was made.';
comment on column organizations.positions.updated_at      is 'When it last changed.';
create unique index positions_title_key on organizations.positions (organization_id, lower(title));
-- The positions of an organization, the highest first.
create index positions_organization_id_level_id_idx on organizations.positions (organization_id, level desc, id);

-- The key is the rule: one role a person in an organization.
create table organizations.memberships (
  organization_id uuid        not null references organizations.organizations (id) on delete cascade,
  user_id         uuid        not null references identity.users (id) on delete cascade,
  role_id         uuid        not null references organizations.roles (id),
  given_by        uuid        references identity.users (id) on delete set null,           -- null: the system
  given_at        timestamptz not null default now(),
  ends_at         timestamptz,                                                             -- null: no end is set
  department_id   uuid        references organizations.departments (id) on delete set null,  -- null: none
  position_id     uuid        references organizations.positions (id) on delete set null,    -- null: none
  joined_at       timestamptz not null default now(),

  primary key (organization_id, user_id),
  constraint the_owner_has_no_end
    check (ends_at is null or role_id <> '00000000-0000-7000-8000-000000000001'),
  constraint role_ends_after_it_is_given check (ends_at > given_at)
);
comment on table  organizations.memberships                 is
  'Someone in an organization, with the one role that they have there. When the role ends they are out.';
comment on column organizations.memberships.organization_id is 'Where.';
comment on column organizations.memberships.user_id         is 'Who.';
comment on column organizations.memberships.role_id         is 'What they may do there.';
comment on column organizations.memberships.given_by        is 'Who gave them the role; null for the system.';
comment on column organizations.memberships.given_at        is 'When they were given it.';
comment on column organizations.memberships.ends_at         is 'When it ends by itself; null for never.';
comment on column organizations.memberships.department_id   is 'The department they work in; null for none.';
comment on column organizations.memberships.position_id     is 'The position they hold; null for none.';
comment on column organizations.memberships.joined_at       is 'When they came.';
comment on constraint memberships_user_id_fkey on organizations.memberships is '@inverse organization_memberships';
-- There is one owner.
create unique index memberships_owner_key
  on organizations.memberships (organization_id) where role_id = '00000000-0000-7000-8000-000000000001';
-- The organizations of a user; what organizations._where_may asks.
create index memberships_user_id_organization_id_idx on organizations.memberships (user_id, organization_id);
-- Who has a role; who works in a department; who holds a position.
create index memberships_role_id_user_id_idx on organizations.memberships (role_id, organization_id, user_id);
create index memberships_department_id_user_id_idx
  on organizations.memberships (department_id, user_id) where department_id is not null;
create index memberships_position_id_user_id_idx
  on organizations.memberships (position_id, user_id) where position_id is not null;
create index memberships_given_by_idx on organizations.memberships (given_by);
-- What organizations.end_due looks for.
create index memberships_ends_at_idx on organizations.memberships (ends_at) where ends_at is not null;

create table organizations.proxies (
  id              uuid        primary key default public.uuid_v7(),
  organization_id uuid        not null references organizations.organizations (id) on delete cascade,
  principal_id    uuid        not null references identity.users (id) on delete cascade,
  agent_id        uuid        not null references identity.users (id) on delete cascade,
  permissions     jsonb       not null,
  given_by        uuid        references identity.users (id) on delete set null,  -- null: the account is gone
  starts_at       timestamptz not null default now(),
  ends_at         timestamptz,                                                    -- null: until it is revoked
  revoked_at      timestamptz,                                                    -- null: in force in its window
  created_at      timestamptz not null default now(),

  constraint nobody_is_their_own_proxy            check (principal_id <> agent_id),
  constraint proxy_ends_after_it_starts           check (ends_at > starts_at),
  constraint permissions_list_actions_by_resource check (organizations._is_permissions(permissions)),
  constraint permissions_are_at_most_16_kb        check (pg_column_size(permissions) <= 16384)
);
comment on table  organizations.proxies                 is
  'Someone who acts for another in an organization, in a window of time: as far as it names, and the other may.

@order id desc';
comment on column organizations.proxies.id              is 'The key.';
comment on column organizations.proxies.organization_id is 'Where.';
comment on column organizations.proxies.principal_id    is 'For whom.';
comment on column organizations.proxies.agent_id        is 'Who acts.';
comment on column organizations.proxies.permissions     is 'What they may do so, in the form of `Role.permissions`.';
comment on column organizations.proxies.given_by        is 'Who set it up.';
comment on column organizations.proxies.starts_at       is 'From when.';
comment on column organizations.proxies.ends_at         is 'Until when; null for until it is revoked.';
comment on column organizations.proxies.revoked_at      is 'When it was revoked; null if it was not.';
comment on column organizations.proxies.created_at      is 'When it was set up.';
-- What organizations._authorities asks.
create index proxies_agent_id_organization_id_idx on organizations.proxies (agent_id, organization_id);
create index proxies_principal_id_organization_id_idx on organizations.proxies (principal_id, organization_id);
create index proxies_organization_id_id_idx on organizations.proxies (organization_id, id desc);
create index proxies_given_by_idx on organizations.proxies (given_by);
-- What organizations.end_due looks for.
create index proxies_over_idx on organizations.proxies (coalesce(revoked_at, ends_at))
  where revoked_at is not null or ends_at is not null;

create table organizations.invitations (
  id              uuid        primary key default public.uuid_v7(),
  organization_id uuid        not null references organizations.organizations (id) on delete cascade,
  user_id         uuid        not null references identity.users (id) on delete cascade,
  role_id         uuid        not null references organizations.roles (id) on delete cascade,
  role_ends_at    timestamptz,                                                    -- null: no end is set
  invited_by      uuid        references identity.users (id) on delete set null,  -- null: the account is gone
  expires_at      timestamptz not null default now() + interval '14 days',
  created_at      timestamptz not null default now(),

  constraint it_expires_after_it_is_made check (expires_at > created_at)
);
comment on table  organizations.invitations                 is
  'That someone may join an organization; gone once it is answered.

@name organization_invitation
@order id desc';
comment on column organizations.invitations.id              is 'The key.';
comment on column organizations.invitations.organization_id is 'Where to.';
comment on column organizations.invitations.user_id         is 'Who is invited.';
comment on column organizations.invitations.role_id         is 'The role that they will have.';
comment on column organizations.invitations.role_ends_at    is 'When that role will end; null for never.';
comment on column organizations.invitations.invited_by      is 'Who invited them.';
comment on column organizations.invitations.expires_at      is 'Until when it can be accepted.';
comment on column organizations.invitations.created_at      is 'When it was made.';
comment on constraint invitations_organization_id_fkey on organizations.invitations is '@inverse invitations';
comment on constraint invitations_user_id_fkey on organizations.invitations is '@inverse organization_invitations';
create unique index invitations_organization_id_user_id_key
  on organizations.invitations (organization_id, user_id);
create index invitations_user_id_id_idx on organizations.invitations (user_id, id desc);
create index invitations_role_id_idx on organizations.invitations (role_id);
create index invitations_invited_by_idx on organizations.invitations (invited_by);
-- What organizations.end_due looks for.
create index invitations_expires_at_idx on organizations.invitations (expires_at);

create type organizations.permission as (
  is_allowed boolean,
  through    organizations.authority,
  role       organizations.roles,
  proxy      organizations.proxies
);
comment on type   organizations.permission            is 'Whether someone may do something now, and what allows it.';
comment on column organizations.permission.is_allowed is 'Whether they may.';
comment on column organizations.permission.through    is 'What allows it; null where nothing does.';
comment on column organizations.permission.role       is
  'The role that allows it: their own, or through a proxy that of the principal; null where nothing does.';
comment on column organizations.permission.proxy      is 'The proxy that allows it; null where none is needed.';

insert into events.topic_kinds (kind, stream, kept)
values ('organization', 'organization', interval '30 days')
on conflict (kind) do update set stream = excluded.stream, kept = excluded.kept;

-- --------------------------------------------------------------------------------------------
-- Views
-- --------------------------------------------------------------------------------------------

-- What anyone's right in an organization comes from at this moment: their role, and the proxies of others. A proxy
-- reaches as far as the role of its principal does (`within`), never through a proxy that they have themselves. A
-- principal is looked up by the key, for each proxy (`offset 0`): Postgres would else join the few proxies with all
-- members of the organization, where it takes them for many.
create view organizations._authorities as
select
  held.organization_id,
  held.user_id,
  case when role.organization_id is null then 'system_role' else 'role' end::organizations.authority as through,
  role.id as role_id,
  null::uuid as proxy_id,
  role.permissions,
  role.permissions as within
from organizations.memberships as held
join organizations.organizations as place on place.id = held.organization_id and place.closed_at is null
join organizations.roles as role on role.id = held.role_id
where held.ends_at is null or held.ends_at > now()
union all
select
  proxy.organization_id,
  proxy.agent_id,
  'proxy',
  principal.role_id,
  proxy.id,
  proxy.permissions,
  principal.permissions
from organizations.proxies as proxy
join organizations.organizations as place on place.id = proxy.organization_id and place.closed_at is null
join organizations.memberships as agent
  on agent.organization_id = proxy.organization_id and agent.user_id = proxy.agent_id
cross join lateral (
  select held.role_id, role.permissions
  from organizations.memberships as held
  join organizations.roles as role on role.id = held.role_id
  where held.organization_id = proxy.organization_id and held.user_id = proxy.principal_id
    and (held.ends_at is null or held.ends_at > now())
  offset 0
) as principal
where proxy.revoked_at is null
  and proxy.starts_at <= now() and (proxy.ends_at is null or proxy.ends_at > now())
  and (agent.ends_at is null or agent.ends_at > now());
comment on view organizations._authorities is
  'What gives whom rights in which organization now.

@asOwner';

-- --------------------------------------------------------------------------------------------
-- Functions: who may do what
-- --------------------------------------------------------------------------------------------

create function organizations._system_role(name text) returns uuid
language sql immutable parallel safe
return case name
  when 'owner' then '00000000-0000-7000-8000-000000000001'::uuid
  when 'admin' then '00000000-0000-7000-8000-000000000002'::uuid
  when 'member' then '00000000-0000-7000-8000-000000000003'::uuid
end;

-- The one place where wildcards are read. Asked for `*`, it says whether all is allowed.
create function organizations._allows(permissions jsonb, action text, resource text) returns boolean
language sql immutable parallel safe
return coalesce(permissions -> resource ?| array[action, '*'], false)
  or coalesce(permissions -> '*' ?| array[action, '*'], false);

create function organizations._covers(permissions jsonb, wanted jsonb) returns boolean
language sql immutable parallel safe set search_path = ''
return not exists (
  select
  from jsonb_each(wanted) as listed (resource, actions)
  cross join jsonb_array_elements_text(listed.actions) as action
  where not organizations._allows(permissions, action, listed.resource)
);

-- May U do A on R now, and through what? A role comes before a proxy, an older proxy before a newer one.
create function organizations._authority(user_id uuid, organization_id uuid, action text, resource text)
returns table (through organizations.authority, role_id uuid, proxy_id uuid)
language sql stable rows 1
begin atomic
  select known.through, known.role_id, known.proxy_id
  from organizations._authorities as known
  where known.organization_id = _authority.organization_id
    and known.user_id = _authority.user_id
    and organizations._allows(known.permissions, _authority.action, _authority.resource)
    and organizations._allows(known.within, _authority.action, _authority.resource)
  order by known.through, known.proxy_id
  limit 1;
end;

-- In PL/pgSQL, as what policies call: its plan is kept, where that of a function in SQL with the owner's rights is made
-- anew for each statement, which takes longer than all the rest.
create function organizations.can(organization_id uuid, action text, resource text) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (select from organizations._authority(identity.current_user_id(), organization_id, action, resource));
end;
$$;
comment on function organizations.can is
  'Whether the caller may do an action on a kind of resource there now; for functions and policies.

@hide';

-- For policies: asked once a statement, not once a row.
create function organizations._where_may(action text, resource text) returns setof uuid
language plpgsql stable security definer rows 10 set search_path = ''
as $$
begin
  return query
  select distinct known.organization_id
  from organizations._authorities as known
  where known.user_id = identity.current_user_id()
    and organizations._allows(known.permissions, action, resource)
    and organizations._allows(known.within, action, resource);
end;
$$;

-- Where they have a role now, the closed ones that are theirs, and those that invite them.
create function organizations._known() returns setof uuid
language plpgsql stable security definer rows 10 set search_path = ''
as $$
begin
  return query
  select known.organization_id from organizations._authorities as known where known.user_id = identity.current_user_id()
  union
  select place.id from organizations.organizations as place where place.owner_id = identity.current_user_id()
  union
  select invitation.organization_id
  from organizations.invitations as invitation
  where invitation.user_id = identity.current_user_id() and invitation.expires_at > now();
end;
$$;

-- The role that one has, and the one that an invitation offers, are seen whatever they allow.
create function organizations._own_roles() returns setof uuid
language plpgsql stable security definer rows 10 set search_path = ''
as $$
begin
  return query
  select held.role_id from organizations.memberships as held where held.user_id = identity.current_user_id()
  union
  select known.role_id from organizations.invitations as known where known.user_id = identity.current_user_id();
end;
$$;

create function organizations.permission(
  organization_id uuid, action text, resource text, user_id uuid default null
) returns organizations.permission
language plpgsql stable security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  known  record;
  answer organizations.permission;
begin
  if coalesce(permission.user_id, caller) <> caller and not organizations.can(organization_id, 'write', 'roles') then
    raise exception using errcode = 'PT403', message = 'Your role does not allow to ask this of others.',
      hint = 'It takes {"roles": ["write"]}.', column = 'user_id';
  end if;
  select * into known
  from organizations._authority(coalesce(permission.user_id, caller), organization_id, action, resource);
  answer.is_allowed := found;
  if found then
    answer.through := known.through;
    answer.role := (select role from organizations.roles as role where role.id = known.role_id);
    answer.proxy := (select proxy from organizations.proxies as proxy where proxy.id = known.proxy_id);
  end if;
  return answer;
end;
$$;
comment on function organizations.permission is
  'Whether someone (the caller, unless another is named) may do an action on a kind of resource there now, and through
what. About others it is told to those who may write roles.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: guards
-- --------------------------------------------------------------------------------------------

-- Locks the organization, so that its members, roles and departments hold still, and answers the same for one that does
-- not exist and one where the caller has no role.
create function organizations._lock(organization_id uuid) returns organizations.organizations
language plpgsql volatile set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  place  organizations.organizations;
begin
  select * into place
  from organizations.organizations as known
  where known.id = _lock.organization_id and (
    known.owner_id = caller
    or exists (
      select from organizations._authorities as mine where mine.organization_id = known.id and mine.user_id = caller
    )
  )
  for no key update of known;
  if place.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such organization.', column = 'organization_id';
  end if;
  if place.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The organization is closed.';
  end if;
  return place;
end;
$$;

-- The right is asked under the lock: it may have ended while the caller waited for it.
create function organizations._require(organization_id uuid, action text, resource text)
returns organizations.organizations
language plpgsql volatile set search_path = ''
as $$
declare
  place organizations.organizations := organizations._lock(organization_id);
begin
  if not organizations.can(place.id, action, resource) then
    raise exception using errcode = 'PT403', message = format('Your role does not allow to %s %s.', action, resource),
      hint = format('It takes {"%s": ["%s"]}.', resource, action);
  end if;
  return place;
end;
$$;

create function organizations._require_owner(organization_id uuid) returns organizations.organizations
language plpgsql volatile set search_path = ''
as $$
declare
  place organizations.organizations := organizations._lock(organization_id);
begin
  if place.owner_id is distinct from identity.current_user_id() then
    raise exception using errcode = 'PT403', message = 'Only the owner of the organization does that.';
  end if;
  return place;
end;
$$;

-- A role of the organization, or a system role but the owner's: that one goes by handing over.
create function organizations._role_to_give(organization_id uuid, role_id uuid) returns organizations.roles
language plpgsql stable set search_path = ''
as $$
declare
  role organizations.roles;
begin
  select * into role
  from organizations.roles as known
  where known.id = coalesce(_role_to_give.role_id, organizations._system_role('member'))
    and (known.organization_id is null or known.organization_id = _role_to_give.organization_id);
  if role.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such role.', column = 'role_id';
  end if;
  if role.id = organizations._system_role('owner') then
    raise exception using errcode = 'PT409', message = 'There is one owner.', hint = 'Hand the organization over.',
      column = 'role_id';
  end if;
  return role;
end;
$$;

-- By their own role alone: what someone may do for another for a while, they cannot give away for good.
create function organizations._require_cover(organization_id uuid, wanted jsonb) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (
    select
    from organizations._authorities as mine
    where mine.organization_id = _require_cover.organization_id and mine.user_id = identity.current_user_id()
      and mine.proxy_id is null and organizations._covers(mine.permissions, wanted)
  ) then
    raise exception using errcode = 'PT403', message = 'Your own role does not allow all that this role does.',
      hint = 'Nobody gives, changes or takes away more than their own role allows.';
  end if;
end;
$$;

create function organizations._require_permissions(permissions jsonb) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if permissions is null or not organizations._is_permissions(permissions) then
    raise exception using errcode = 'PT400', message = 'Permissions list actions by resource.',
      hint = 'Like {"documents": ["read", "write"]}: lower-case names of at most 50 characters, or "*" for all.',
      column = 'permissions';
  end if;
end;
$$;

create function organizations._require_later(at timestamptz, "column" text) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if at <= clock_timestamp() then
    raise exception using errcode = 'PT400', message = 'The end lies in the past.', column = "column";
  end if;
end;
$$;

-- Someone whose role holds now.
create function organizations._member(organization_id uuid, user_id uuid, "column" text default 'user_id')
returns organizations.memberships
language plpgsql stable set search_path = ''
as $$
declare
  held organizations.memberships;
begin
  select * into held
  from organizations.memberships as known
  where known.organization_id = _member.organization_id and known.user_id = _member.user_id
    and (known.ends_at is null or known.ends_at > now());
  if held.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the organization.', column = "column";
  end if;
  return held;
end;
$$;

-- Someone whose role the caller may change or take away.
create function organizations._member_below(organization_id uuid, user_id uuid) returns organizations.memberships
language plpgsql stable set search_path = ''
as $$
declare
  held organizations.memberships := organizations._member(organization_id, user_id);
begin
  if held.role_id = organizations._system_role('owner') then
    raise exception using errcode = 'PT403', message = 'The owner stays until the organization is handed over.';
  end if;
  perform organizations._require_cover(
    held.organization_id, (select role.permissions from organizations.roles as role where role.id = held.role_id)
  );
  return held;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Functions: organizations
-- --------------------------------------------------------------------------------------------

-- Brings someone in, under the locks of their user and of the organization. Who is out already, but was not yet taken
-- out, leaves first.
create function organizations._admit(
  organization_id uuid, user_id uuid, role_id uuid, given_by uuid, ends_at timestamptz
) returns organizations.memberships
language plpgsql volatile set search_path = ''
as $$
declare
  place organizations.organizations;
  held  organizations.memberships;
begin
  delete from organizations.memberships as known
  where known.organization_id = _admit.organization_id and known.user_id = _admit.user_id and known.ends_at <= now();
  select * into place from organizations.organizations as known where known.id = _admit.organization_id;
  if place.member_count >= place.member_limit then
    delete from organizations.memberships as known
    where known.organization_id = place.id and known.ends_at <= now();
    if not found then
      raise exception using errcode = 'PT409',
        message = format('The organization is full: it has %s members.', place.member_limit);
    end if;
  end if;
  if (select count(*) from organizations.memberships as known where known.user_id = _admit.user_id) >= 100 then
    raise exception using errcode = 'PT409', message = 'A person is in at most 100 organizations.';
  end if;
  insert into organizations.memberships (organization_id, user_id, role_id, given_by, ends_at)
  values (place.id, _admit.user_id, _admit.role_id, _admit.given_by, _admit.ends_at)
  returning * into held;
  return held;
end;
$$;

create function organizations.create_organization(
  name text, description text default null, member_limit integer default 1000
) returns organizations.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  place  organizations.organizations;
begin
  -- Guards. The lock of the user makes two of theirs take turns.
  perform from identity.users as person where person.id = caller for no key update;
  if (select count(*) from organizations.organizations as known where known.owner_id = caller) >= 20 then
    raise exception using errcode = 'PT409', message = 'A person owns at most 20 organizations.';
  end if;

  insert into organizations.organizations (name, description, member_limit, owner_id)
  values (
    trim(create_organization.name), nullif(create_organization.description, ''), create_organization.member_limit,
    caller
  )
  returning * into place;
  perform organizations._admit(place.id, caller, organizations._system_role('owner'), null, null);
  select * into place from organizations.organizations as known where known.id = place.id;
  return place;
end;
$$;
comment on function organizations.create_organization is
  'Makes an organization, with the caller as its owner.

@notNull';

create function organizations.update_organization(
  organization_id uuid, name text default null, description text default null, settings jsonb default null,
  member_limit integer default null
) returns organizations.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'organization');
begin
  if update_organization.member_limit < place.member_count then
    raise exception using errcode = 'PT409', message = format('It has %s members.', place.member_count),
      column = 'member_limit';
  end if;
  update organizations.organizations as known set
    name = coalesce(trim(update_organization.name), known.name),
    description = nullif(coalesce(update_organization.description, known.description), ''),
    settings = coalesce(update_organization.settings, known.settings),
    member_limit = coalesce(update_organization.member_limit, known.member_limit)
  where known.id = place.id
  returning * into place;
  return place;
end;
$$;
comment on function organizations.update_organization is
  'Changes an organization; it takes {"organization": ["write"]}. What is left out stays; an empty description goes.

@notNull';

create function organizations.close_organization(organization_id uuid) returns organizations.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require_owner(organization_id);
begin
  update organizations.organizations as known set closed_at = now() where known.id = place.id returning * into place;
  return place;
end;
$$;
comment on function organizations.close_organization is
  'Closes an organization: from then on nobody may do anything there, and its rooms take no messages. For its owner.

@notNull';

create function organizations.reopen_organization(organization_id uuid) returns organizations.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  place  organizations.organizations;
begin
  update organizations.organizations as known set closed_at = null
  where known.id = reopen_organization.organization_id and known.owner_id = caller
  returning * into place;
  if place.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such organization.', column = 'organization_id';
  end if;
  return place;
end;
$$;
comment on function organizations.reopen_organization is
  'Opens a closed organization again. For its owner.

@notNull';

create function organizations.transfer_organization(organization_id uuid, user_id uuid)
returns organizations.organizations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  heir   uuid;
  place  organizations.organizations;
begin
  -- Guards. The user is locked before the organization: how many they own must hold.
  perform from identity.users as person where person.id = transfer_organization.user_id for no key update;
  place := organizations._require_owner(organization_id);
  heir := (organizations._member(place.id, transfer_organization.user_id)).user_id;
  if heir = caller then
    return place;
  end if;
  if (select count(*) from organizations.organizations as known where known.owner_id = heir) >= 20 then
    raise exception using errcode = 'PT409', message = 'A person owns at most 20 organizations.', column = 'user_id';
  end if;

  perform organizations._hand_over(place.id, caller, heir);
  select * into place from organizations.organizations as known where known.id = place.id;
  return place;
end;
$$;
comment on function organizations.transfer_organization is
  'Hands an organization over to another member; who owned it becomes an admin.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: members
-- --------------------------------------------------------------------------------------------

create function organizations.my_membership(organization organizations.organizations)
returns setof organizations.memberships
language sql stable rows 1
begin atomic
  select mine.*
  from organizations.memberships as mine
  where mine.organization_id = organization.id and mine.user_id = (select identity.current_user_id());
end;
comment on function organizations.my_membership is 'The caller''s place in it; null for none.';

create function organizations.invite_to_organization(
  organization_id uuid, user_id uuid, role_id uuid default null, role_ends_at timestamptz default null
) returns organizations.invitations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place      organizations.organizations;
  role       organizations.roles;
  invitation organizations.invitations;
begin
  -- Guards. The user is held, so that an account that is being removed is either gone already or sees this.
  perform from identity.users as person where person.id = invite_to_organization.user_id for share;
  place := organizations._require(organization_id, 'write', 'members');
  role := organizations._role_to_give(place.id, role_id);
  perform organizations._require_cover(place.id, role.permissions);
  perform organizations._require_later(role_ends_at, 'role_ends_at');
  if not exists (
    select from identity.users as person where person.id = invite_to_organization.user_id and person.removed_at is null
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if exists (
    select
    from organizations.memberships as held
    where held.organization_id = place.id and held.user_id = invite_to_organization.user_id
      and (held.ends_at is null or held.ends_at > now())
  ) then
    raise exception using errcode = 'PT409', message = 'They are in the organization already.', column = 'user_id';
  end if;
  if (select count(*) from organizations.invitations as known where known.organization_id = place.id) >= 1000 then
    raise exception using errcode = 'PT409', message = 'At most 1,000 invitations are open at a time.';
  end if;

  -- A new one takes the place of the one before.
  delete from organizations.invitations as known
  where known.organization_id = place.id and known.user_id = invite_to_organization.user_id;
  insert into organizations.invitations (organization_id, user_id, role_id, role_ends_at, invited_by)
  values (
    place.id, invite_to_organization.user_id, role.id, invite_to_organization.role_ends_at, identity.current_user_id()
  )
  returning * into invitation;
  perform organizations._tell_user(
    invitation.user_id, 'organization_invitation',
    jsonb_build_object('organization_id', place.id, 'invitation_id', invitation.id)
  );
  return invitation;
end;
$$;
comment on function organizations.invite_to_organization is
  'Invites someone, with a role (member, unless another is named) that may have an end; for 14 days. It takes
{"members": ["write"]}, and a role of one''s own that allows as much.

@notNull';

create function organizations.accept_organization_invitation(invitation_id uuid) returns organizations.memberships
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller     uuid := identity.require_user_id();
  invitation organizations.invitations;
  held       organizations.memberships;
begin
  perform from identity.users as person where person.id = caller for no key update;
  -- What locks the organization also waits for who withdraws the invitation, or closes the place.
  perform
  from organizations.organizations as place
  where place.id = (
    select known.organization_id
    from organizations.invitations as known
    where known.id = accept_organization_invitation.invitation_id and known.user_id = caller
  )
  for no key update;
  delete from organizations.invitations as known
  where known.id = accept_organization_invitation.invitation_id and known.user_id = caller and known.expires_at > now()
  returning * into invitation;
  if invitation.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such invitation.', column = 'invitation_id';
  end if;
  -- It holds for as long as the role of who gave it would let them give it again.
  if invitation.role_ends_at <= now() or not exists (
    select
    from organizations._authorities as inviter
    join organizations.roles as role on role.id = invitation.role_id
    where inviter.organization_id = invitation.organization_id and inviter.user_id = invitation.invited_by
      and inviter.proxy_id is null and organizations._covers(inviter.permissions, role.permissions)
  ) then
    raise exception using errcode = 'PT409', message = 'The invitation is over.', hint = 'Ask for a new one.';
  end if;

  held := organizations._admit(
    invitation.organization_id, caller, invitation.role_id, invitation.invited_by, invitation.role_ends_at
  );
  return held;
end;
$$;
comment on function organizations.accept_organization_invitation is
  'Makes the caller a member of the organization that invites them.

@notNull';

create function organizations.decline_organization_invitation(invitation_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from organizations.invitations as known
  where known.id = decline_organization_invitation.invitation_id and known.user_id = identity.require_user_id();
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such invitation.', column = 'invitation_id';
  end if;
end;
$$;
comment on function organizations.decline_organization_invitation is 'Declines an invitation of the caller''s.';

create function organizations.withdraw_organization_invitation(invitation_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  invitation organizations.invitations;
begin
  select * into invitation
  from organizations.invitations as known
  where known.id = withdraw_organization_invitation.invitation_id
    and known.organization_id in (select organizations._where_may('read', 'invitations'));
  if invitation.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such invitation.', column = 'invitation_id';
  end if;
  perform organizations._require(invitation.organization_id, 'write', 'members');
  delete from organizations.invitations as known where known.id = invitation.id;
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such invitation.', column = 'invitation_id';
  end if;
  perform organizations._tell_user(
    invitation.user_id, 'organization_invitation_withdrawn',
    jsonb_build_object('organization_id', invitation.organization_id, 'invitation_id', invitation.id)
  );
end;
$$;
comment on function organizations.withdraw_organization_invitation is
  'Takes an invitation back; it takes {"members": ["write"]}.';

create function organizations.leave_organization(organization_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  place  organizations.organizations;
begin
  -- Guards. A closed one can be left, too.
  select * into place
  from organizations.organizations as known
  where known.id = leave_organization.organization_id and exists (
    select from organizations.memberships as held where held.organization_id = known.id and held.user_id = caller
  )
  for no key update of known;
  if place.owner_id = caller then
    raise exception using errcode = 'PT409', message = 'An owner does not leave.',
      hint = 'Hand the organization over, or close it.';
  end if;

  delete from organizations.memberships as held where held.organization_id = place.id and held.user_id = caller;
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such organization.', column = 'organization_id';
  end if;
end;
$$;
comment on function organizations.leave_organization is
  'Takes the caller out of an organization, with their proxies; departments that they lead go to the manager above.';

create function organizations.remove_from_organization(organization_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'delete', 'members');
  held  organizations.memberships := organizations._member_below(place.id, user_id);
begin
  delete from organizations.memberships as known
  where known.organization_id = held.organization_id and known.user_id = held.user_id;
end;
$$;
comment on function organizations.remove_from_organization is
  'Takes someone out, as if they left. It takes {"members": ["delete"]}, and a role of one''s own that allows as much as
theirs.';

create function organizations.assign_role(
  organization_id uuid, user_id uuid, role_id uuid, ends_at timestamptz default null
) returns organizations.memberships
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'members');
  held  organizations.memberships := organizations._member(place.id, user_id);
  role  organizations.roles;
begin
  -- Guards. Else an end that was set for someone could be put off by themselves.
  if held.user_id = identity.current_user_id() then
    raise exception using errcode = 'PT403', message = 'Nobody gives themselves a role.', column = 'user_id';
  end if;
  held := organizations._member_below(place.id, held.user_id);
  role := organizations._role_to_give(place.id, role_id);
  perform organizations._require_cover(place.id, role.permissions);
  perform organizations._require_later(assign_role.ends_at, 'ends_at');

  update organizations.memberships as known set
    role_id = role.id, given_by = identity.current_user_id(), given_at = now(), ends_at = assign_role.ends_at
  where known.organization_id = held.organization_id and known.user_id = held.user_id
  returning * into held;
  return held;
end;
$$;
comment on function organizations.assign_role is
  'Gives a member another role, in place of the one that they have; with `endsAt` they are out from then on. It takes
{"members": ["write"]}, and a role of one''s own that allows as much as either.

@notNull';

create function organizations.assign_department(organization_id uuid, user_id uuid, department_id uuid default null)
returns organizations.memberships
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'members');
  held  organizations.memberships := organizations._member(place.id, user_id);
begin
  if department_id is not null and not exists (
    select
    from organizations.departments as department
    where department.id = assign_department.department_id and department.organization_id = place.id
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such department.', column = 'department_id';
  end if;
  update organizations.memberships as known set department_id = assign_department.department_id
  where known.organization_id = held.organization_id and known.user_id = held.user_id
  returning * into held;
  return held;
end;
$$;
comment on function organizations.assign_department is
  'Moves a member into a department, or out of any. It takes {"members": ["write"]}.

@notNull';

create function organizations.assign_position(organization_id uuid, user_id uuid, position_id uuid default null)
returns organizations.memberships
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'members');
  held  organizations.memberships := organizations._member(place.id, user_id);
begin
  if position_id is not null and not exists (
    select
    from organizations.positions as known
    where known.id = assign_position.position_id and known.organization_id = place.id
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such position.', column = 'position_id';
  end if;
  update organizations.memberships as known set position_id = assign_position.position_id
  where known.organization_id = held.organization_id and known.user_id = held.user_id
  returning * into held;
  return held;
end;
$$;
comment on function organizations.assign_position is
  'Gives a member a position, or none. It takes {"members": ["write"]}.

@notNull';

-- Under the lock of the organization. There is one owner at any moment: who steps down does so first.
create function organizations._hand_over(organization_id uuid, from_user_id uuid, to_user_id uuid) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  update organizations.memberships as held
  set role_id = organizations._system_role('admin'), given_by = to_user_id, given_at = now()
  where held.organization_id = _hand_over.organization_id and held.user_id = from_user_id;
  update organizations.memberships as held
  set role_id = organizations._system_role('owner'), given_by = from_user_id, given_at = now(), ends_at = null
  where held.organization_id = _hand_over.organization_id and held.user_id = to_user_id;
  update organizations.organizations as place set owner_id = to_user_id where place.id = _hand_over.organization_id;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Functions: roles
-- --------------------------------------------------------------------------------------------

create function organizations.create_role(
  organization_id uuid, name text, permissions jsonb, description text default null
) returns organizations.roles
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'roles');
  role  organizations.roles;
begin
  perform organizations._require_permissions(permissions);
  perform organizations._require_cover(place.id, permissions);
  if lower(trim(name)) in ('owner', 'admin', 'member') then
    raise exception using errcode = 'PT409', message = 'There is a system role of that name.', column = 'name';
  end if;
  if (select count(*) from organizations.roles as known where known.organization_id = place.id) >= 100 then
    raise exception using errcode = 'PT409', message = 'An organization has at most 100 roles.';
  end if;
  insert into organizations.roles (organization_id, name, description, permissions)
  values (place.id, trim(create_role.name), nullif(create_role.description, ''), create_role.permissions)
  returning * into role;
  return role;
end;
$$;
comment on function organizations.create_role is
  'Makes a role of the organization''s own. It takes {"roles": ["write"]}, and a role of one''s own that allows as much.

@notNull';

-- A role of an organization where the caller may do so, with the organization locked.
create function organizations._lock_role(role_id uuid, action text) returns organizations.roles
language plpgsql volatile set search_path = ''
as $$
declare
  role organizations.roles;
begin
  select * into role
  from organizations.roles as known
  where known.id = _lock_role.role_id and known.organization_id in (select organizations._known());
  if role.id is not null then
    perform organizations._require(role.organization_id, action, 'roles');
    select * into role from organizations.roles as known where known.id = _lock_role.role_id;
  end if;
  if role.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such role.', column = 'role_id';
  end if;
  perform organizations._require_cover(role.organization_id, role.permissions);
  return role;
end;
$$;

create function organizations.update_role(
  role_id uuid, name text default null, permissions jsonb default null, description text default null
) returns organizations.roles
language plpgsql volatile security definer set search_path = ''
as $$
declare
  role organizations.roles := organizations._lock_role(role_id, 'write');
begin
  if permissions is not null then
    perform organizations._require_permissions(permissions);
    perform organizations._require_cover(role.organization_id, permissions);
  end if;
  if lower(trim(name)) in ('owner', 'admin', 'member') then
    raise exception using errcode = 'PT409', message = 'There is a system role of that name.', column = 'name';
  end if;
  update organizations.roles as known set
    name = coalesce(trim(update_role.name), known.name),
    permissions = coalesce(update_role.permissions, known.permissions),
    description = nullif(coalesce(update_role.description, known.description), '')
  where known.id = role.id
  returning * into role;
  return role;
end;
$$;
comment on function organizations.update_role is
  'Changes a role of the organization''s own, for all who have it, at once. What is left out stays. It takes
{"roles": ["write"]}, and a role of one''s own that allows as much as this one before and after.

@notNull';

create function organizations.delete_role(role_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  role organizations.roles := organizations._lock_role(role_id, 'delete');
begin
  if exists (select from organizations.memberships as held where held.role_id = role.id) then
    raise exception using errcode = 'PT409', message = 'Someone has this role.', hint = 'Give them another one first.';
  end if;
  delete from organizations.roles as known where known.id = role.id;
end;
$$;
comment on function organizations.delete_role is
  'Removes a role that nobody has, and the invitations with it. It takes {"roles": ["delete"]}.';

-- --------------------------------------------------------------------------------------------
-- Functions: departments
-- --------------------------------------------------------------------------------------------

-- A department where the caller may do so, with the organization locked.
create function organizations._lock_department(department_id uuid, action text) returns organizations.departments
language plpgsql volatile set search_path = ''
as $$
declare
  department organizations.departments;
begin
  select * into department
  from organizations.departments as known
  where known.id = _lock_department.department_id and known.organization_id in (select organizations._known());
  if department.id is not null then
    perform organizations._require(department.organization_id, action, 'departments');
    select * into department from organizations.departments as known where known.id = _lock_department.department_id;
  end if;
  if department.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such department.', column = 'department_id';
  end if;
  return department;
end;
$$;

create function organizations._parent(organization_id uuid, parent_id uuid) returns organizations.departments
language plpgsql stable set search_path = ''
as $$
declare
  parent organizations.departments;
begin
  if parent_id is null then
    return null;
  end if;
  select * into parent
  from organizations.departments as known
  where known.id = _parent.parent_id and known.organization_id = _parent.organization_id;
  if parent.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such department.', column = 'parent_id';
  end if;
  return parent;
end;
$$;

create function organizations.create_department(
  organization_id uuid, name text, description text default null, parent_id uuid default null,
  manager_id uuid default null
) returns organizations.departments
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place      organizations.organizations := organizations._require(organization_id, 'write', 'departments');
  parent     organizations.departments := organizations._parent(place.id, parent_id);
  new_id     uuid := public.uuid_v7();
  department organizations.departments;
begin
  -- Guards.
  if manager_id is not null then
    perform organizations._member(place.id, manager_id, 'manager_id');
  end if;
  if cardinality(parent.lineage) >= 20 then
    raise exception using errcode = 'PT409', message = 'Departments are at most 20 levels deep.', column = 'parent_id';
  end if;
  if (select count(*) from organizations.departments as known where known.organization_id = place.id) >= 2000 then
    raise exception using errcode = 'PT409', message = 'An organization has at most 2,000 departments.';
  end if;

  insert into organizations.departments (id, organization_id, parent_id, name, description, manager_id, lineage)
  values (
    new_id, place.id, parent.id, trim(create_department.name), nullif(create_department.description, ''),
    create_department.manager_id, coalesce(parent.lineage, '{}') || new_id
  )
  returning * into department;
  return department;
end;
$$;
comment on function organizations.create_department is
  'Makes a department, at the top or within another. It takes {"departments": ["write"]}.

@notNull';

create function organizations.update_department(
  department_id uuid, name text default null, description text default null
) returns organizations.departments
language plpgsql volatile security definer set search_path = ''
as $$
declare
  department organizations.departments := organizations._lock_department(department_id, 'write');
begin
  update organizations.departments as known set
    name = coalesce(trim(update_department.name), known.name),
    description = nullif(coalesce(update_department.description, known.description), '')
  where known.id = department.id
  returning * into department;
  return department;
end;
$$;
comment on function organizations.update_department is
  'Changes the name or description of a department; what is left out stays. It takes {"departments": ["write"]}.

@notNull';

-- The lock of the organization makes two moves take turns: else each could put one under the other.
create function organizations.move_department(department_id uuid, parent_id uuid default null)
returns organizations.departments
language plpgsql volatile security definer set search_path = ''
as $$
declare
  department organizations.departments := organizations._lock_department(department_id, 'write');
  parent     organizations.departments := organizations._parent(department.organization_id, parent_id);
  levels     integer;  -- from this department down to the deepest below it
begin
  -- Guards.
  if department.id = any (parent.lineage) then
    raise exception using errcode = 'PT409', message = 'A department is not moved into itself or below.',
      column = 'parent_id';
  end if;
  select max(cardinality(below.lineage)) - cardinality(department.lineage) + 1 into levels
  from organizations.departments as below
  where below.organization_id = department.organization_id and department.id = any (below.lineage);
  if coalesce(cardinality(parent.lineage), 0) + levels > 20 then
    raise exception using errcode = 'PT409', message = 'Departments are at most 20 levels deep.', column = 'parent_id';
  end if;

  update organizations.departments as below set
    parent_id = case when below.id = department.id then parent.id else below.parent_id end,
    lineage = coalesce(parent.lineage, '{}') || below.lineage[cardinality(department.lineage):]
  where below.organization_id = department.organization_id and department.id = any (below.lineage);
  select * into department from organizations.departments as known where known.id = department.id;
  return department;
end;
$$;
comment on function organizations.move_department is
  'Moves a department, with all below it, into another or to the top. It takes {"departments": ["write"]}.

@notNull';

create function organizations.assign_manager(department_id uuid, user_id uuid default null)
returns organizations.departments
language plpgsql volatile security definer set search_path = ''
as $$
declare
  department organizations.departments := organizations._lock_department(department_id, 'write');
begin
  if user_id is not null then
    perform organizations._member(department.organization_id, user_id);
  end if;
  update organizations.departments as known set manager_id = assign_manager.user_id
  where known.id = department.id
  returning * into department;
  return department;
end;
$$;
comment on function organizations.assign_manager is
  'Gives a department a manager, or none. It takes {"departments": ["write"]}.

@notNull';

create function organizations.transfer_duties(
  organization_id uuid, from_user_id uuid, to_user_id uuid, department_id uuid default null
) returns setof organizations.departments
language plpgsql volatile security definer rows 10 set search_path = ''
as $$
declare
  place organizations.organizations := organizations._lock(organization_id);
begin
  -- Guards: a manager hands on what they lead themselves.
  if from_user_id is distinct from identity.current_user_id() then
    perform organizations._require(place.id, 'write', 'departments');
  end if;
  perform organizations._member(place.id, to_user_id, 'to_user_id');

  return query
  update organizations.departments as led set manager_id = to_user_id
  where led.organization_id = place.id and led.manager_id = from_user_id
    and (transfer_duties.department_id is null or led.id = transfer_duties.department_id)
  returning led.*;
  if not found then
    raise exception using errcode = 'PT409', message = 'They do not lead a department of those.',
      column = 'from_user_id';
  end if;
end;
$$;
comment on function organizations.transfer_duties is
  'Hands the departments that someone leads, or one of them, to another member. For the manager, and for those with
{"departments": ["write"]}.';

create function organizations.delete_department(department_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  department organizations.departments := organizations._lock_department(department_id, 'delete');
begin
  if exists (select from organizations.departments as below where below.parent_id = department.id) then
    raise exception using errcode = 'PT409', message = 'There are departments within it.', hint = 'Move them first.';
  end if;
  delete from organizations.departments as known where known.id = department.id;
end;
$$;
comment on function organizations.delete_department is
  'Removes a department that has none within it, and no rooms; who worked there is in none. It takes
{"departments": ["delete"]}.';

-- --------------------------------------------------------------------------------------------
-- Functions: positions
-- --------------------------------------------------------------------------------------------

create function organizations._lock_position(position_id uuid, action text) returns organizations.positions
language plpgsql volatile set search_path = ''
as $$
declare
  post organizations.positions;
begin
  select * into post
  from organizations.positions as known
  where known.id = _lock_position.position_id and known.organization_id in (select organizations._known());
  if post.id is not null then
    perform organizations._require(post.organization_id, action, 'positions');
    select * into post from organizations.positions as known where known.id = _lock_position.position_id;
  end if;
  if post.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such position.', column = 'position_id';
  end if;
  return post;
end;
$$;

create function organizations.create_position(
  organization_id uuid, title text, description text default null, level integer default 1
) returns organizations.positions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place organizations.organizations := organizations._require(organization_id, 'write', 'positions');
  post  organizations.positions;
begin
  if (select count(*) from organizations.positions as known where known.organization_id = place.id) >= 500 then
    raise exception using errcode = 'PT409', message = 'An organization has at most 500 positions.';
  end if;
  insert into organizations.positions (organization_id, title, description, level)
  values (place.id, trim(create_position.title), nullif(create_position.description, ''), create_position.level)
  returning * into post;
  return post;
end;
$$;
comment on function organizations.create_position is
  'Makes a position. It takes {"positions": ["write"]}.

@notNull';

create function organizations.update_position(
  position_id uuid, title text default null, description text default null, level integer default null
) returns organizations.positions
language plpgsql volatile security definer set search_path = ''
as $$
declare
  post organizations.positions := organizations._lock_position(position_id, 'write');
begin
  update organizations.positions as known set
    title = coalesce(trim(update_position.title), known.title),
    description = nullif(coalesce(update_position.description, known.description), ''),
    level = coalesce(update_position.level, known.level)
  where known.id = post.id
  returning * into post;
  return post;
end;
$$;
comment on function organizations.update_position is
  'Changes a position; what is left out stays. It takes {"positions": ["write"]}.

@notNull';

create function organizations.delete_position(position_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  post organizations.positions := organizations._lock_position(position_id, 'delete');
begin
  delete from organizations.positions as known where known.id = post.id;
end;
$$;
comment on function organizations.delete_position is
  'Removes a position; who held it holds none. It takes {"positions": ["delete"]}.';

-- --------------------------------------------------------------------------------------------
-- Functions: proxies
-- --------------------------------------------------------------------------------------------

create function organizations.grant_proxy(
  organization_id uuid, agent_id uuid, permissions jsonb, starts_at timestamptz default null,
  ends_at timestamptz default null, principal_id uuid default null
) returns organizations.proxies
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller    uuid := identity.require_user_id();
  place     organizations.organizations := organizations._lock(organization_id);
  principal uuid := coalesce(principal_id, caller);
  proxy     organizations.proxies;
begin
  -- Guards: for themselves anyone, for another who may, and whose own role allows as much.
  if principal <> caller then
    perform organizations._require(place.id, 'write', 'proxies');
    perform organizations._require_cover(place.id, (
      select role.permissions
      from organizations.memberships as held
      join organizations.roles as role on role.id = held.role_id
      where held.organization_id = place.id and held.user_id = principal
    ));
  end if;
  perform organizations._member(place.id, principal, 'principal_id');
  perform organizations._member(place.id, agent_id, 'agent_id');
  perform organizations._require_permissions(permissions);
  if agent_id = principal then
    raise exception using errcode = 'PT400', message = 'Nobody is their own proxy.', column = 'agent_id';
  end if;
  perform organizations._require_later(grant_proxy.ends_at, 'ends_at');
  if grant_proxy.ends_at <= grant_proxy.starts_at then
    raise exception using errcode = 'PT400', message = 'A proxy ends after it starts.', column = 'ends_at';
  end if;
  if (
    select count(*)
    from organizations.proxies as known
    where known.organization_id = place.id and known.principal_id = principal
  ) >= 100 or (
    select count(*)
    from organizations.proxies as known
    where known.organization_id = place.id and known.agent_id = grant_proxy.agent_id
  ) >= 100 then
    raise exception using errcode = 'PT409',
      message = 'A person has at most 100 proxies on either side, those that ended in the last 30 days included.';
  end if;

  insert into organizations.proxies (organization_id, principal_id, agent_id, permissions, given_by, starts_at, ends_at)
  values (
    place.id, principal, grant_proxy.agent_id, grant_proxy.permissions, caller,
    coalesce(grant_proxy.starts_at, now()), grant_proxy.ends_at
  )
  returning * into proxy;
  return proxy;
end;
$$;
comment on function organizations.grant_proxy is
  'Lets another member act for the caller, from `startsAt` (now) until `endsAt` (until it is revoked), as far as
`permissions` say and the caller''s role allows then. With {"proxies": ["write"]} also for a `principalId` whose role
allows no more than one''s own.

@notNull';

create function organizations.revoke_proxy(proxy_id uuid) returns organizations.proxies
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  proxy  organizations.proxies;
begin
  select * into proxy
  from organizations.proxies as known
  where known.id = revoke_proxy.proxy_id and (
    caller in (known.principal_id, known.agent_id)
    or known.organization_id in (select organizations._where_may('read', 'proxies'))
  );
  if proxy.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such proxy.', column = 'proxy_id';
  end if;
  if caller in (proxy.principal_id, proxy.agent_id) then
    perform organizations._lock(proxy.organization_id);
  else
    perform organizations._require(proxy.organization_id, 'delete', 'proxies');
  end if;

  update organizations.proxies as known set revoked_at = coalesce(known.revoked_at, now())
  where known.id = proxy.id
  returning * into proxy;
  if proxy.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such proxy.', column = 'proxy_id';
  end if;
  return proxy;
end;
$$;
comment on function organizations.revoke_proxy is
  'Ends a proxy at once: for its principal, its agent, and those with {"proxies": ["delete"]}.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: events
-- --------------------------------------------------------------------------------------------

create function organizations._tell_user(user_id uuid, type text, data jsonb, rechecks uuid default null) returns void
language sql volatile set search_path = ''
as $$
  select events.publish('user:' || user_id, type, data || jsonb_build_object('user_id', user_id), rechecks => rechecks);
$$;

create function organizations.listen_to_organization(organization_id uuid) returns setof events.position
language plpgsql stable security definer rows 1 set search_path = ''
as $$
begin
  if not exists (
    select
    from organizations._authorities as mine
    where mine.organization_id = listen_to_organization.organization_id
      and mine.user_id = identity.require_user_id()
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such organization.', column = 'organization_id';
  end if;
  return query
  select 'organization:' || organization_id, coalesce((
    select counted.last_seq from events.topics as counted where counted.topic = 'organization:' || organization_id
  ), 0);
end;
$$;
comment on function organizations.listen_to_organization is
  'The right to listen to an organization: for whoever has a role there.

@hide';

create function organizations.organization_events(event events.event) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.*
  from (select coalesce(event.data ->> 'user_id', event.metadata ->> 'user_id')::uuid as id offset 0) as told
  left join identity.users as person on person.id = told.id;
end;
comment on function organizations.organization_events is
  'Everything that changes in an organization (members, roles, departments, positions, proxies, itself), by ids, with
the user whom it is about, else who did it.

@subscription organizations.listen_to_organization
@shared';

-- --------------------------------------------------------------------------------------------
-- Functions: upkeep
-- --------------------------------------------------------------------------------------------

-- A thousand of each at a time; the rest waits for the next minute. Rights end by the clock anyway: this takes out who
-- has none left, and tells of it.
create function organizations.end_due() returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  place uuid;
  ended bigint := 0;
  count bigint;
begin
  -- In the order of their ids, each locked before its members, as everyone does; where someone is at work, later.
  for place in
    select known.id
    from organizations.organizations as known
    where known.id in (
      select held.organization_id from organizations.memberships as held where held.ends_at <= now()
      order by held.ends_at limit 1000
    )
    order by known.id
    for no key update skip locked
  loop
    delete from organizations.memberships as held
    where (held.organization_id, held.user_id) in (
      select due.organization_id, due.user_id
      from organizations.memberships as due
      where due.organization_id = place and due.ends_at <= now()
      order by due.ends_at
      limit 1000
    );
    get diagnostics count = row_count;
    ended := ended + count;
  end loop;

  delete from organizations.invitations as known where known.expires_at <= now();
  get diagnostics count = row_count;
  ended := ended + count;
  delete from organizations.proxies as known
  where coalesce(known.revoked_at, known.ends_at) < now() - interval '30 days'
    and (known.revoked_at is not null or known.ends_at is not null);
  get diagnostics count = row_count;
  return ended + count;
end;
$$;
comment on function organizations.end_due is
  'Takes out those whose role has ended, and removes invitations and proxies that are over; returns how many.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create trigger touch_updated_at before update on organizations.organizations
  for each row when (
    (old.name, old.description, old.settings, old.member_limit)
    is distinct from (new.name, new.description, new.settings, new.member_limit)
  )
  execute function public._touch_updated_at();
create trigger touch_updated_at before update on organizations.roles
  for each row execute function public._touch_updated_at();
create trigger touch_updated_at before update on organizations.departments
  for each row execute function public._touch_updated_at();
create trigger touch_updated_at before update on organizations.positions
  for each row execute function public._touch_updated_at();

create function organizations._count_members() returns trigger
language plpgsql set search_path = ''
as $$
begin
  update organizations.organizations as place
  set member_count = place.member_count + case tg_op when 'INSERT' then 1 else -1 end
  where place.id = coalesce(new.organization_id, old.organization_id);
  return null;
end;
$$;
create trigger count_members after insert or delete on organizations.memberships
  for each row execute function organizations._count_members();

-- What someone leads goes to the nearest manager above; proxies of theirs, on either side, are over.
create function organizations._leave_duties() returns trigger
language plpgsql set search_path = ''
as $$
begin
  update organizations.departments as led
  set manager_id = (
    select above.manager_id
    from organizations.departments as above
    where above.id = any (led.lineage) and above.id <> led.id and above.manager_id <> old.user_id
    order by cardinality(above.lineage) desc
    limit 1
  )
  where led.organization_id = old.organization_id and led.manager_id = old.user_id;
  delete from organizations.proxies as known
  where known.organization_id = old.organization_id and old.user_id in (known.principal_id, known.agent_id);
  return old;
end;
$$;
create trigger leave_duties before delete on organizations.memberships
  for each row execute function organizations._leave_duties();

-- In the organization, and to whom it happens.
create function organizations._tell_membership() returns trigger
language plpgsql set search_path = ''
as $$
declare
  held organizations.memberships := coalesce(new, old);
  told text := case tg_op when 'INSERT' then 'joined' when 'DELETE' then 'left' else 'changed' end;
  data jsonb := jsonb_build_object(
    'organization_id', held.organization_id, 'user_id', held.user_id, 'role_id', held.role_id
  );
begin
  perform events.publish(
    'organization:' || held.organization_id, 'organization_member_' || told, data,
    rechecks => case when tg_op = 'DELETE' then held.user_id end
  );
  perform organizations._tell_user(held.user_id, 'organization_' || told, data);
  return null;
end;
$$;
create trigger tell_membership after insert or delete on organizations.memberships
  for each row execute function organizations._tell_membership();
create trigger tell_membership_changed after update on organizations.memberships
  for each row when (
    (old.role_id, old.ends_at, old.department_id, old.position_id)
    is distinct from (new.role_id, new.ends_at, new.department_id, new.position_id)
  )
  execute function organizations._tell_membership();

-- Of roles, departments and positions (the argument says which): that it was made, changed or removed, by its id.
create function organizations._tell_part() returns trigger
language plpgsql set search_path = ''
as $$
declare
  part jsonb := to_jsonb(coalesce(new, old));
  told text := case tg_op when 'INSERT' then '_created' when 'DELETE' then '_deleted' else '_changed' end;
begin
  if part ->> 'organization_id' is not null then
    perform events.publish(
      'organization:' || (part ->> 'organization_id'), tg_argv[0] || told,
      jsonb_build_object('organization_id', part ->> 'organization_id', tg_argv[0] || '_id', part ->> 'id')
    );
  end if;
  return null;
end;
$$;
create trigger tell_role after insert or update or delete on organizations.roles
  for each row execute function organizations._tell_part('role');
create trigger tell_department after insert or delete on organizations.departments
  for each row execute function organizations._tell_part('department');
-- Those below a department that is moved are told of by it.
create trigger tell_department_changed after update on organizations.departments
  for each row when (
    (old.name, old.description, old.parent_id, old.manager_id)
    is distinct from (new.name, new.description, new.parent_id, new.manager_id)
  )
  execute function organizations._tell_part('department');
create trigger tell_position after insert or update or delete on organizations.positions
  for each row execute function organizations._tell_part('position');

create function organizations._tell_proxy() returns trigger
language plpgsql set search_path = ''
as $$
declare
  told text := case tg_op when 'INSERT' then 'proxy_granted' else 'proxy_revoked' end;
  data jsonb := jsonb_build_object(
    'organization_id', new.organization_id, 'proxy_id', new.id,
    'principal_id', new.principal_id, 'agent_id', new.agent_id
  );
begin
  perform events.publish('organization:' || new.organization_id, told, data);
  -- In the order of their ids, so that two who are told at once do not wait for each other.
  perform organizations._tell_user(person.id, told, data)
  from (
    select unnest(array[least(new.principal_id, new.agent_id), greatest(new.principal_id, new.agent_id)]) as id
  ) as person;
  return null;
end;
$$;
create trigger tell_proxy after insert on organizations.proxies
  for each row execute function organizations._tell_proxy();
create trigger tell_proxy_revoked after update of revoked_at on organizations.proxies
  for each row when (old.revoked_at is null and new.revoked_at is not null)
  execute function organizations._tell_proxy();

-- Who may listen changes for everyone with its closing.
create function organizations._tell_organization() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform events.publish(
    'organization:' || new.id, 'organization_updated', jsonb_build_object('organization_id', new.id),
    rechecks => case
      when old.closed_at is null and new.closed_at is not null then '00000000-0000-0000-0000-000000000000'::uuid
    end
  );
  return null;
end;
$$;
create trigger tell_organization after update on organizations.organizations
  for each row when (
    (old.name, old.description, old.settings, old.member_limit, old.owner_id, old.closed_at)
    is distinct from (new.name, new.description, new.settings, new.member_limit, new.owner_id, new.closed_at)
  )
  execute function organizations._tell_organization();

-- A removed account owns and leads nothing. Its organizations go to the first of their admins, else to who came first;
-- where nobody is left the organization is closed. Named so that it comes before the rooms are left (section chat).
create function organizations._give_up() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  place organizations.organizations;
  heir  uuid;
begin
  delete from organizations.invitations as known where known.user_id = new.id;
  for place in
    select known.*
    from organizations.organizations as known
    where known.id in (select held.organization_id from organizations.memberships as held where held.user_id = new.id)
    order by known.id
    for no key update of known
  loop
    if place.owner_id = new.id then
      select held.user_id into heir
      from organizations.memberships as held
      where held.organization_id = place.id and held.user_id <> new.id
        and (held.ends_at is null or held.ends_at > now())
      order by held.role_id <> organizations._system_role('admin'), held.joined_at, held.user_id
      limit 1;
      if heir is not null then
        perform organizations._hand_over(place.id, new.id, heir);
      else
        update organizations.organizations as known
        set owner_id = null, closed_at = coalesce(known.closed_at, now())
        where known.id = place.id;
      end if;
    end if;
    delete from organizations.memberships as held where held.organization_id = place.id and held.user_id = new.id;
  end loop;
  return null;
end;
$$;
create trigger give_up_organizations after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function organizations._give_up();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------
-- Each asks once a statement where the caller may read such things, and compares the rows with that set.

alter table organizations.organizations enable row level security;
create policy members_see_the_organizations_they_know on organizations.organizations for select to member
  using (id = any (array(select organizations._known())));

alter table organizations.memberships enable row level security;
create policy members_see_memberships_where_they_may on organizations.memberships for select to member
  using (
    user_id = (select identity.current_user_id())
    or organization_id = any (array(select organizations._where_may('read', 'members')))
  );

alter table organizations.roles enable row level security;
create policy members_see_roles_where_they_may on organizations.roles for select to member
  using (
    organization_id is null
    or organization_id = any (array(select organizations._where_may('read', 'roles')))
    or id = any (array(select organizations._own_roles()))
  );

alter table organizations.departments enable row level security;
create policy members_see_departments_where_they_may on organizations.departments for select to member
  using (organization_id = any (array(select organizations._where_may('read', 'departments'))));

alter table organizations.positions enable row level security;
create policy members_see_positions_where_they_may on organizations.positions for select to member
  using (organization_id = any (array(select organizations._where_may('read', 'positions'))));

alter table organizations.proxies enable row level security;
create policy members_see_proxies_of_theirs_and_where_they_may on organizations.proxies for select to member
  using (
    (select identity.current_user_id()) in (principal_id, agent_id)
    or organization_id = any (array(select organizations._where_may('read', 'proxies')))
  );

alter table organizations.invitations enable row level security;
create policy members_see_invitations_to_them_and_where_they_may on organizations.invitations for select to member
  using (
    user_id = (select identity.current_user_id())
    or organization_id = any (array(select organizations._where_may('read', 'invitations')))
  );

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on
  organizations.organizations, organizations.memberships, organizations.roles, organizations.departments,
  organizations.positions, organizations.proxies, organizations.invitations to member;

revoke execute on all functions in schema organizations from public;
grant execute on function
  organizations.can, organizations._where_may, organizations._known, organizations._own_roles to member;
grant execute on function organizations.permission, organizations.my_membership to member;
grant execute on function
  organizations.create_organization, organizations.update_organization, organizations.close_organization,
  organizations.reopen_organization, organizations.transfer_organization, organizations.leave_organization to member;
grant execute on function
  organizations.invite_to_organization, organizations.accept_organization_invitation,
  organizations.decline_organization_invitation, organizations.withdraw_organization_invitation,
  organizations.remove_from_organization to member;
grant execute on function
  organizations.assign_role, organizations.assign_department, organizations.assign_position,
  organizations.assign_manager, organizations.transfer_duties to member;
grant execute on function organizations.create_role, organizations.update_role, organizations.delete_role to member;
grant execute on function
  organizations.create_department, organizations.update_department, organizations.move_department,
  organizations.delete_department to member;
grant execute on function
  organizations.create_position, organizations.update_position, organizations.delete_position to member;
grant execute on function organizations.grant_proxy, organizations.revoke_proxy to member;
grant execute on function organizations.listen_to_organization, organizations.organization_events to member;

-- ============================================================================================
-- chat: channels, rooms, moderation, messages, unread, search, import
-- ============================================================================================

create schema chat;
comment on schema chat is 'Channels, who is in them, and what is said there.';
grant usage on schema chat to member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type chat.channel_kind as enum ('direct', 'room', 'external');
comment on type chat.channel_kind is 'Between two people, among many, or with someone on another platform.';

create type chat.member_role as enum ('owner', 'admin', 'moderator', 'member');
comment on type chat.member_role is 'What a member may do in a room, the most first.';

create type chat.message_kind as enum ('text', 'image', 'file', 'system', 'bot');
comment on type chat.message_kind is 'What a message is, for showing it.';

-- Rooms.

create type chat.room_permission as enum (
  'write', 'invite', 'add', 'approve', 'mute', 'remove', 'ban', 'delete_messages', 'manage'
);
comment on type chat.room_permission is
  'What someone may do in a room: by their role, or by a right of their own. `add` brings people in without asking them,
`manage` changes settings, roles and the password.';

create type chat.moderation_action as enum (
  'settings_changed', 'password_set', 'password_removed', 'archived', 'reopened', 'owner_changed', 'role_changed',
  'permission_changed', 'link_made', 'link_revoked', 'member_added', 'request_approved', 'request_declined',
  'member_removed', 'muted', 'unmuted', 'banned', 'unbanned', 'message_deleted'
);
comment on type chat.moderation_action is 'What was done to a room or to someone in it.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- Sending takes this row's lock, counts last_seq up and makes the id above last_message_id: so within a channel the
-- order of seq, of ids and of commits is one, and unread is a subtraction.
create table chat.channels (
  id              uuid              primary key default public.uuid_v7(),
  kind            chat.channel_kind not null,
  name            text,                                     -- null: direct, named after the other
  description     text,
  is_public       boolean           not null default false,
  owner_id        uuid              references identity.users (id) on delete set null,  -- null: direct, or nobody's
  last_seq        bigint            not null default 0,
  last_message_id uuid,                                     -- null: nothing said yet
  event_seq       bigint            not null default 0,     -- the seq of the newest event of its topic
  active_at       timestamptz       not null default now(),
  closed_at       timestamptz,                              -- null: open
  created_at      timestamptz       not null default now(),
  external_ref    text              unique,                 -- null: made here; else source and its id, gitter:5592…

  constraint room_has_a_name_of_1_to_100_characters    check (kind <> 'room' or char_length(name) between 1 and 100),
  constraint room_has_a_name                           check (kind <> 'room' or name is not null),
  constraint description_is_at_most_1000_characters    check (char_length(description) <= 1000),
  constraint only_rooms_are_public                     check (kind = 'room' or not is_public),
  constraint external_ref_is_at_most_200_characters    check (char_length(external_ref) <= 200)
) with (fillfactor = 50);  -- room for the next version of the row beside this one: sending updates no index
comment on table  chat.channels                 is
  'Where messages are: a direct chat, a room, or a conversation on another platform.

@order id desc';
comment on column chat.channels.id              is 'The key; rises with the time of creation.';
comment on column chat.channels.kind            is 'Direct chat, room or external conversation.';
comment on column chat.channels.name            is 'The name of a room; null for a direct chat.';
comment on column chat.channels.description     is 'What the room is for.';
comment on column chat.channels.is_public       is 'Whether anyone signed in may read and join.';
comment on column chat.channels.owner_id        is 'Who answers for the room.';
comment on column chat.channels.last_seq        is 'The `seq` of its newest message; 0 for none.';
comment on column chat.channels.last_message_id is 'The id of its newest message; null for none.';
comment on column chat.channels.event_seq       is
  'The `seq` of the newest event of its topic; 0 for none.

@hide';
comment on column chat.channels.active_at       is 'When the last message was sent, or the channel made.';
comment on column chat.channels.closed_at       is 'When it was closed for new messages; null while it is open.';
comment on column chat.channels.created_at      is 'When it was made.';
comment on column chat.channels.external_ref    is 'Where it was imported from, and its id there; null otherwise.';
-- The rooms that anyone may find, the newest first.
create index channels_public_idx on chat.channels (id desc) where is_public;
-- Whose rooms, the newest first.
create index channels_owner_id_id_idx on chat.channels (owner_id, id desc);
-- None of active_at: each message would update it, and all others with it. my_channels sorts the caller's few.

-- One direct chat a pair, whichever of them starts it.
create table chat.direct_pairs (
  first_user_id  uuid not null references identity.users (id) on delete cascade,
  second_user_id uuid not null references identity.users (id) on delete cascade,
  channel_id     uuid not null unique references chat.channels (id) on delete cascade,

  primary key (first_user_id, second_user_id),
  constraint pair_is_unordered check (first_user_id < second_user_id)
);
comment on table chat.direct_pairs is 'The direct chat of each pair of people.';
create index direct_pairs_second_user_id_idx on chat.direct_pairs (second_user_id);

create table chat.members (
  channel_id    uuid             not null references chat.channels (id) on delete cascade,
  user_id       uuid             not null references identity.users (id) on delete cascade,
  role          chat.member_role not null default 'member',
  joined_at     timestamptz      not null default now(),
  joined_seq    bigint           not null default 0,
  last_read_seq bigint,                                     -- null: never read; nothing before joining counts

  primary key (channel_id, user_id)
) with (fillfactor = 70);
comment on table  chat.members               is 'Someone in a channel.';
comment on column chat.members.channel_id    is 'Where.';
comment on column chat.members.user_id       is 'Who.';
comment on column chat.members.role          is 'What they may do there.';
comment on column chat.members.joined_at     is 'When they came.';
comment on column chat.members.joined_seq    is 'The channel''s `lastSeq` when they came: unread begins after it.';
comment on column chat.members.last_read_seq is 'The `seq` up to which they have read; null for never.';
comment on constraint members_user_id_fkey on chat.members is '@inverse memberships';
-- The channels of a user.
create index members_user_id_channel_id_idx on chat.members (user_id, channel_id);
-- Who is told that someone came or went, notifications._tell_leaders.
create index members_leading_idx on chat.members (channel_id, role, user_id) where role <= 'admin';

-- The time is in the key: a message is found by its id in one partition, a page of a channel reads the newest partition
-- first and stops at the one that fills it. No foreign key names a message, so that old partitions can be detached.
create table chat.messages (
  id          uuid              not null,
  channel_id  uuid              not null references chat.channels (id) on delete cascade,
  seq         bigint            not null,
  sender_id   uuid              references identity.users (id) on delete set null,  -- null: the system
  kind        chat.message_kind not null default 'text',
  text        text,                                         -- null: deleted
  language    text              not null,
  metadata    jsonb             not null default '{}',
  reply_to_id uuid,                                         -- null: not a reply
  sent_at     timestamptz       not null,
  edited_at   timestamptz,                                  -- null: as it was sent
  deleted_at  timestamptz,                                  -- null: there
  searched    tsvector          not null,

  primary key (id),
  constraint text_is_1_to_10000_characters check (char_length(text) between 1 and 10000),
  constraint text_goes_when_deleted        check ((text is null) = (deleted_at is not null)),
  constraint metadata_is_an_object         check (jsonb_typeof(metadata) = 'object'),
  constraint metadata_is_at_most_16_kb     check (pg_column_size(metadata) <= 16384)
) partition by range (id);
comment on table  chat.messages             is 'Something said in a channel.

@order id desc';
comment on column chat.messages.id          is 'The key; rises in the order of sending within a channel.';
comment on column chat.messages.channel_id  is 'Where it was said.';
comment on column chat.messages.seq         is 'Its number in the channel, from 1, without gaps.';
comment on column chat.messages.sender_id   is 'Who said it; null for the system.';
comment on column chat.messages.kind        is 'Text, image, file, or from the system or a bot.';
comment on column chat.messages.text        is 'What was said, up to 10,000 characters; null once deleted.';
comment on column chat.messages.language    is 'The language it was recognised as, for search; or `simple`.';
comment on column chat.messages.metadata    is 'What a client adds for showing it, up to 16 kB.';
comment on column chat.messages.reply_to_id is 'The message it answers; null for none.';
comment on column chat.messages.sent_at     is 'When it was sent.';
comment on column chat.messages.edited_at   is 'When it last changed; null for never.';
comment on column chat.messages.deleted_at  is 'When it was deleted; null while it is there.';
comment on column chat.messages.searched    is 'What search_messages looks in: stems, and pairs of CJK characters.

@hide';
-- A page of a channel, newest first or onward from the last one read (E2).
create index messages_channel_id_id_idx on chat.messages (channel_id, id desc);
-- What someone has said; and the foreign key.
create index messages_sender_id_id_idx on chat.messages (sender_id, id desc);
-- The replies to a message, in order.
create index messages_reply_to_id_id_idx on chat.messages (reply_to_id, id) where reply_to_id is not null;
-- Search by stems and by parts of words: one index serves either.
create index messages_searched_idx on chat.messages using gin (searched, text public.gin_trgm_ops);
-- No default partition: with one, Postgres cannot read the months one after another. _ensure_partition makes what is
-- missing.

create table chat.message_edits (
  message_id uuid        not null,
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  edited_at  timestamptz not null default clock_timestamp(),
  text       text        not null,

  primary key (message_id, edited_at)
);
comment on table  chat.message_edits            is 'What a message said before an edit.

@order edited_at desc';
comment on column chat.message_edits.message_id is 'The message that was edited.';
comment on column chat.message_edits.channel_id is 'Its channel.';
comment on column chat.message_edits.edited_at  is 'When the text was replaced.';
comment on column chat.message_edits.text       is 'The text until then.';
create index message_edits_channel_id_idx on chat.message_edits (channel_id);

-- What unread subtracts: messages that were deleted before someone read them.
create table chat.deletions (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  seq        bigint      not null,
  message_id uuid        not null,
  deleted_by uuid        references identity.users (id) on delete set null,  -- null: it came deleted, by import
  deleted_at timestamptz not null default now(),

  primary key (channel_id, seq)
);
comment on table chat.deletions is 'Which messages of a channel were deleted, and by whom.';
create index deletions_deleted_by_idx on chat.deletions (deleted_by);

create table chat.nonces (
  sender_id  uuid        not null references identity.users (id) on delete cascade,
  nonce      text        not null,
  message_id uuid        not null,
  created_at timestamptz not null default now(),

  primary key (sender_id, nonce),
  constraint nonce_is_1_to_100_characters check (char_length(nonce) between 1 and 100)
);
comment on table chat.nonces is 'Names that clients gave to what they sent, so that sending twice makes one message.';

-- Frequent short words, by which chat._language recognises a text.
create table chat.common_words (
  word     text not null,
  language text not null,

  primary key (word, language),
  constraint language_is_one_we_stem check (language in ('english', 'portuguese', 'spanish', 'german', 'french'))
);
comment on table chat.common_words is 'Words that tell the language of a text.';
insert into chat.common_words (language, word)
select listed.language, unnest(string_to_array(listed.words, ' '))
from (values
  ('english',
    'the and is to of you in it that for i what not have with this are my on how be can your just but '
    || 'was do if like so they we all me about would there get know from will when an or don as at has '
    || 'any some want need thanks'),
  ('portuguese',
    'que não de um uma para com você é os as do da dos das eu mas isso por está na no nos se muito '
    || 'obrigado como mais ele ela são foi tem meu minha também já só quando seu sua bom olá aqui quem'),
  ('spanish',
    'que de el la los las en un una por con no es para como pero está lo yo qué si del al muy gracias '
    || 'más hola ya se su sus mi eso esto bien también cuando donde porque hay tengo todo este quien'),
  ('german',
    'der die das und ist nicht ich du ein eine zu mit auf wie es den von auch wir sie dem im für aber '
    || 'wenn noch nur hat bin bist sind war kann man schon mal danke einen sich oder mir dir was aus bei '
    || 'nach'),
  ('french',
    'le la les de et est un une je pas que vous pour avec des ce en il qui mais du au aux sur dans '
    || 'nous on tu elle mon ma ça bonjour merci comme plus sont fait être cette très oui non c''est '
    || 'j''ai')
) as listed (language, words)
on conflict do nothing;

create type chat.import_result as (
  added    integer,
  known    integer,
  rejected jsonb
);
comment on type   chat.import_result          is 'What became of a batch.';
comment on column chat.import_result.added    is 'Messages that are new.';
comment on column chat.import_result.known    is 'Messages that were there already.';
comment on column chat.import_result.rejected is 'Those refused: a list of {line, reason}.';

-- --------------------------------------------------------------------------------------------
-- Tables: rooms
-- --------------------------------------------------------------------------------------------

-- Beside the channel, whose row every message writes. It is made with the first member (_count_member).
create table chat.rooms (
  channel_id         uuid             primary key references chat.channels (id) on delete cascade,
  member_count       integer          not null default 0,
  max_members        integer          not null default 1000,
  requires_approval  boolean          not null default false,
  members_may_invite boolean          not null default true,
  lowest_writer      chat.member_role not null default 'member',
  slow_mode_seconds  integer          not null default 0,      -- 0: no slow mode
  password_hash      text,                                     -- null: no password
  has_password       boolean          not null generated always as (password_hash is not null) stored,

  constraint member_limit_is_1_to_100000             check (max_members between 1 and 100000),
  constraint slow_mode_is_at_most_6_hours            check (slow_mode_seconds between 0 and 21600),
  constraint password_is_argon2id                    check (password_hash like '$argon2id$%')
) with (fillfactor = 70);
comment on table  chat.rooms                    is 'How a room takes people in, and who may speak there.';
comment on column chat.rooms.channel_id         is 'The room.';
comment on column chat.rooms.member_count       is 'How many members it has.';
comment on column chat.rooms.max_members        is 'How many it takes, 1 to 100,000; 1,000 unless changed.';
comment on column chat.rooms.requires_approval  is 'Whether who asks to come in waits for its moderators to agree.';
comment on column chat.rooms.members_may_invite is 'Whether every member invites; else its owner and admins alone.';
comment on column chat.rooms.lowest_writer      is 'The lowest role that may write: `MODERATOR` for announcements.';
comment on column chat.rooms.slow_mode_seconds  is
  'How long a member waits between two messages, in seconds; 0 for no wait. Moderators never wait.';
comment on column chat.rooms.password_hash      is '@hide';
comment on column chat.rooms.has_password       is 'Whether a password lets people in.';

-- Of rooms that are older than this table. One that came from elsewhere is as large as it was there.
insert into chat.rooms (channel_id, member_count, max_members)
select
  channel.id, (select count(*) from chat.members as member where member.channel_id = channel.id),
  case when channel.external_ref is null then 1000 else 100000 end
from chat.channels as channel
where channel.kind = 'room'
on conflict (channel_id) do nothing;

-- Of people, not of members: what was taken from someone stays taken when they leave and come again. What was given
-- goes when they leave (_count_left).
create table chat.member_permissions (
  channel_id uuid                 not null references chat.channels (id) on delete cascade,
  user_id    uuid                 not null references identity.users (id) on delete cascade,
  permission chat.room_permission not null,
  is_allowed boolean              not null,

  primary key (channel_id, user_id, permission)
);
comment on table  chat.member_permissions            is 'What one member may do whatever their role, or may not.';
comment on column chat.member_permissions.channel_id is 'The room.';
comment on column chat.member_permissions.user_id    is 'Who.';
comment on column chat.member_permissions.permission is 'What it is about.';
comment on column chat.member_permissions.is_allowed is 'Whether they may.';

create index member_permissions_user_id_idx on chat.member_permissions (user_id);

-- Only while slow mode is on, and only of those who wait; also when they leave and come again.
create table chat.slow_turns (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  user_id    uuid        not null references identity.users (id) on delete cascade,
  spoke_at   timestamptz not null,

  primary key (channel_id, user_id)
) with (fillfactor = 70);
comment on table chat.slow_turns is 'When each member of a room in slow mode spoke last.';
create index slow_turns_user_id_idx on chat.slow_turns (user_id);
-- What expire_rooms looks for.
create index slow_turns_spoke_at_idx on chat.slow_turns (spoke_at);

-- Of people, not of members: who leaves and comes again is still muted.
create table chat.room_mutes (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  user_id    uuid        not null references identity.users (id) on delete cascade,
  muted_by   uuid        references identity.users (id) on delete set null,
  muted_at   timestamptz not null default now(),
  ends_at    timestamptz,                          -- null: until it is lifted
  reason     text,

  primary key (channel_id, user_id),
  constraint reason_is_at_most_500_characters check (char_length(reason) <= 500)
);
comment on table  chat.room_mutes            is 'Someone who may read in a room, and not write.';
comment on column chat.room_mutes.channel_id is 'The room.';
comment on column chat.room_mutes.user_id    is 'Who.';
comment on column chat.room_mutes.muted_by   is 'Who muted them.';
comment on column chat.room_mutes.muted_at   is 'Since when.';
comment on column chat.room_mutes.ends_at    is 'Until when; null until it is lifted.';
comment on column chat.room_mutes.reason     is 'Why; they are told.';
comment on constraint room_mutes_muted_by_fkey on chat.room_mutes is '@inverse room_mutes_given';
create index room_mutes_user_id_idx on chat.room_mutes (user_id);
create index room_mutes_muted_by_idx on chat.room_mutes (muted_by);
-- What expire_rooms looks for.
create index room_mutes_ends_at_idx on chat.room_mutes (ends_at);

create table chat.room_bans (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  user_id    uuid        not null references identity.users (id) on delete cascade,
  banned_by  uuid        references identity.users (id) on delete set null,
  banned_at  timestamptz not null default now(),
  ends_at    timestamptz,                          -- null: until it is lifted
  reason     text,

  primary key (channel_id, user_id),
  constraint reason_is_at_most_500_characters check (char_length(reason) <= 500)
);
comment on table  chat.room_bans            is 'Someone who may not come into a room, whichever way.';
comment on column chat.room_bans.channel_id is 'The room.';
comment on column chat.room_bans.user_id    is 'Who.';
comment on column chat.room_bans.banned_by  is 'Who banned them.';
comment on column chat.room_bans.banned_at  is 'Since when.';
comment on column chat.room_bans.ends_at    is 'Until when; null until it is lifted.';
comment on column chat.room_bans.reason     is 'Why; they are told.';
comment on constraint room_bans_banned_by_fkey on chat.room_bans is '@inverse room_bans_given';
create index room_bans_user_id_idx on chat.room_bans (user_id);
create index room_bans_banned_by_idx on chat.room_bans (banned_by);
-- What expire_rooms looks for.
create index room_bans_ends_at_idx on chat.room_bans (ends_at);

create table chat.room_invitations (
  channel_id  uuid        not null references chat.channels (id) on delete cascade,
  user_id     uuid        not null references identity.users (id) on delete cascade,
  invited_by  uuid        not null references identity.users (id) on delete cascade,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  declined_at timestamptz,                         -- null: not answered

  primary key (channel_id, user_id),
  constraint it_expires_after_it_is_made check (expires_at > created_at)
);
comment on table  chat.room_invitations             is
  'Someone who may come into a room with joinRoom. It ends when they come, it expires, or who invited leaves.';
comment on column chat.room_invitations.channel_id  is 'The room.';
comment on column chat.room_invitations.user_id     is 'Who is invited.';
comment on column chat.room_invitations.invited_by  is 'Who invited them.';
comment on column chat.room_invitations.created_at  is 'When.';
comment on column chat.room_invitations.expires_at  is 'Until when it holds.';
comment on column chat.room_invitations.declined_at is
  'When they declined; they are not invited again until it expires.';
comment on constraint room_invitations_invited_by_fkey on chat.room_invitations is '@inverse room_invitations_given';
-- One's own.
create index room_invitations_user_id_idx on chat.room_invitations (user_id);
create index room_invitations_invited_by_idx on chat.room_invitations (invited_by);
-- What expire_rooms looks for.
create index room_invitations_expires_at_idx on chat.room_invitations (expires_at);

-- A row that expires or is used up stays for a while, to look at; one that is revoked goes.
create table chat.room_links (
  id         uuid        primary key default public.uuid_v7(),
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  hash       bytea       not null unique,
  created_by uuid        not null references identity.users (id) on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  max_uses   integer,                              -- null: as often as one likes
  uses       integer     not null default 0,

  constraint it_expires_after_it_is_made check (expires_at > created_at),
  constraint uses_are_1_to_100000        check (max_uses between 1 and 100000),
  constraint uses_stay_within_the_limit  check (uses between 0 and max_uses)
);
comment on table  chat.room_links            is
  'A link into a room, for whoever has its token. It ends when it expires, is used up or revoked, or its maker leaves.

@order id desc';
comment on column chat.room_links.id         is 'The key; not what lets in.';
comment on column chat.room_links.channel_id is 'The room.';
comment on column chat.room_links.hash       is '@hide';
comment on column chat.room_links.created_by is 'Who made it.';
comment on column chat.room_links.created_at is 'When.';
comment on column chat.room_links.expires_at is 'Until when it holds.';
comment on column chat.room_links.max_uses   is 'How many it lets in; null for any number.';
comment on column chat.room_links.uses       is 'How many it has let in.';
comment on constraint room_links_created_by_fkey on chat.room_links is '@inverse room_links_made';
-- The links of a room, newest first.
create index room_links_channel_id_id_idx on chat.room_links (channel_id, id desc);
create index room_links_created_by_idx on chat.room_links (created_by);
-- What expire_rooms looks for.
create index room_links_expires_at_idx on chat.room_links (expires_at);

create table chat.join_requests (
  channel_id  uuid        not null references chat.channels (id) on delete cascade,
  user_id     uuid        not null references identity.users (id) on delete cascade,
  text        text,                                -- null: nothing said
  created_at  timestamptz not null default clock_timestamp(),
  declined_at timestamptz,                         -- null: not answered

  primary key (channel_id, user_id),
  constraint text_is_at_most_500_characters check (char_length(text) <= 500)
);
comment on table  chat.join_requests             is
  'Someone who has asked to come into a room.

@order created_at';
comment on column chat.join_requests.channel_id  is 'The room.';
comment on column chat.join_requests.user_id     is 'Who asks.';
comment on column chat.join_requests.text        is 'What they say for themselves.';
comment on column chat.join_requests.created_at  is 'When.';
comment on column chat.join_requests.declined_at is
  'When it was declined; they may ask again 7 days later. Null while it is open.';
-- Those who wait for a room, the first first.
create index join_requests_channel_id_created_at_idx on chat.join_requests (channel_id, created_at);
create index join_requests_user_id_idx on chat.join_requests (user_id);
-- What expire_rooms looks for.
create index join_requests_created_at_idx on chat.join_requests (created_at);

-- Nobody changes it, its owner included (keep_moderation_entries): so what it names cannot be deleted either. Accounts
-- are anonymised, rooms archived.
create table chat.moderation_entries (
  id         uuid                   primary key default public.uuid_v7(),
  channel_id uuid                   not null references chat.channels (id),
  action     chat.moderation_action not null,
  actor_id   uuid                   references identity.users (id),  -- null: a program
  user_id    uuid                   references identity.users (id),  -- null: about nobody
  message_id uuid,                                                   -- null: about no message
  reason     text,
  details    jsonb                  not null default '{}',

  constraint reason_is_at_most_500_characters check (char_length(reason) <= 500),
  constraint details_are_an_object            check (jsonb_typeof(details) = 'object'),
  constraint details_are_at_most_8_kb         check (pg_column_size(details) <= 8192)
);
comment on table  chat.moderation_entries            is
  'Who did what to a room and to the people in it. For its moderators and for operators; nobody changes or removes it.

@order id desc';
comment on column chat.moderation_entries.id         is 'The key; rises with the time.';
comment on column chat.moderation_entries.channel_id is 'The room.';
comment on column chat.moderation_entries.action     is 'What was done.';
comment on column chat.moderation_entries.actor_id   is 'Who did it.';
comment on column chat.moderation_entries.user_id    is 'To whom; null where it concerns nobody.';
comment on column chat.moderation_entries.message_id is 'To which message; null for none.';
comment on column chat.moderation_entries.reason     is 'Why, as they said.';
comment on column chat.moderation_entries.details    is 'What it was set to.';
comment on constraint moderation_entries_actor_id_fkey on chat.moderation_entries is '@inverse moderation_done';
comment on constraint moderation_entries_user_id_fkey on chat.moderation_entries is '@inverse moderation_met';
-- The log of a room, newest first.
create index moderation_entries_channel_id_id_idx on chat.moderation_entries (channel_id, id desc);
-- What someone did, and what was done to them; and the foreign keys.
create index moderation_entries_actor_id_id_idx on chat.moderation_entries (actor_id, id desc);
create index moderation_entries_user_id_id_idx on chat.moderation_entries (user_id, id desc);

create type chat.new_room_link as (
  token text,
  link  chat.room_links
);
comment on type   chat.new_room_link       is 'A link that was made.';
comment on column chat.new_room_link.token is 'What joinByLink takes; shown this once, and kept nowhere.';
comment on column chat.new_room_link.link  is 'What its maker and the room''s moderators see of it.';

create type chat.room_card as (
  channel_id   uuid,
  name         text,
  description  text,
  is_public    boolean,
  member_count integer
);
comment on type   chat.room_card              is 'What who is invited learns of a room before they come in.';
comment on column chat.room_card.channel_id   is 'The room.';
comment on column chat.room_card.name         is 'Its name.';
comment on column chat.room_card.description  is 'What it is for.';
comment on column chat.room_card.is_public    is 'Whether anyone signed in may read and join.';
comment on column chat.room_card.member_count is 'How many are in it.';

-- --------------------------------------------------------------------------------------------
-- Views: what the caller belongs to
-- --------------------------------------------------------------------------------------------

-- Made with the owner's rights, so that policies on members can use it without asking themselves; it shows only the
-- caller's own.
create view chat._memberships as
select
  mine.channel_id,
  mine.role,
  coalesce(mine.last_read_seq, mine.joined_seq) as read_seq,
  channel.last_seq - coalesce(mine.last_read_seq, mine.joined_seq) - (
    select count(*)
    from chat.deletions as deletion
    where deletion.channel_id = mine.channel_id
      and deletion.seq > coalesce(mine.last_read_seq, mine.joined_seq)
  ) as unread
from chat.members as mine
left join chat.channels as channel on channel.id = mine.channel_id
where mine.user_id = (select identity.current_user_id());
comment on view chat._memberships is
  'The caller''s memberships, with what is unread in each.

@asOwner';

create view chat._readable as
select channel_id from chat.members where user_id = (select identity.current_user_id())
union all
select id from chat.channels where is_public;
comment on view chat._readable is
  'The channels that the caller may read.

@asOwner';

-- Whom the policies below let see who asks, who is muted and banned, and the log.
create view chat._moderated as
select mine.channel_id
from chat.members as mine
where mine.user_id = (select identity.current_user_id()) and (
  mine.role <= 'moderator' or exists (
    select
    from chat.member_permissions as own
    where own.channel_id = mine.channel_id and own.user_id = mine.user_id and own.is_allowed
      and own.permission not in ('write', 'invite')
  )
);
comment on view chat._moderated is
  'The rooms that the caller moderates.

@asOwner';

-- --------------------------------------------------------------------------------------------
-- Functions: what a channel tells
-- --------------------------------------------------------------------------------------------
-- Those that are read for every row of a list are plain SQL without `set search_path`, run with the caller's rights:
-- Postgres then inlines them into the statement. Their bodies are standard SQL, resolved when they are made.

create function chat.can_read(channel_id uuid) returns boolean
language sql stable security definer set search_path = ''
return exists (select from chat._readable as readable where readable.channel_id = can_read.channel_id);
comment on function chat.can_read is
  'Whether the caller may read the channel; for the functions and policies of sections below.

@hide';

create function chat.my_channels() returns setof chat.channels
language sql stable rows 100
begin atomic
  select channel.*
  from chat._memberships as mine
  join chat.channels as channel on channel.id = mine.channel_id;
end;
comment on function chat.my_channels is
  'The caller''s channels, the last active first.

@order active_at desc';

create function chat.last_message(channel chat.channels) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.* from chat.messages as message where message.id = channel.last_message_id;
end;
comment on function chat.last_message is 'The newest message; null for none.';

create function chat.unread(channel chat.channels) returns setof integer
language sql stable rows 1
begin atomic
  select mine.unread::integer from chat._memberships as mine where mine.channel_id = channel.id;
end;
comment on function chat.unread is 'How many messages the caller has not read; null for who is not a member.';

create function chat.other_user(channel chat.channels) returns setof identity.users
language sql stable rows 1 security definer set search_path = ''
as $$
  select person.*
  from chat.members as other
  join identity.users as person on person.id = other.user_id
  where channel.kind = 'direct' and other.channel_id = channel.id and other.user_id <> identity.current_user_id()
    and chat.can_read(channel.id);
$$;
comment on function chat.other_user is 'The other side of a direct chat; null for any other channel.';

create function chat.unread_total() returns bigint
language sql stable security definer set search_path = ''
return (select coalesce(sum(mine.unread), 0)::bigint from chat._memberships as mine);
comment on function chat.unread_total is
  'How many messages the caller has not read, in all channels.

@notNull';

create function chat.reply_to(message chat.messages) returns setof chat.messages
language sql stable rows 1
begin atomic
  select answered.*
  from chat.messages as answered
  where answered.id = message.reply_to_id and answered.channel_id = message.channel_id;
end;
comment on function chat.reply_to is
  'The message this one answers; null for none.

@shared';

create function chat.replies(message chat.messages) returns setof chat.messages
language sql stable rows 100
begin atomic
  select reply.*
  from chat.messages as reply
  where reply.reply_to_id = message.id and reply.channel_id = message.channel_id;
end;
comment on function chat.replies is
  'The messages that answer this one, in order.

@order id';

create function chat.edits(message chat.messages) returns setof chat.message_edits
language sql stable rows 10
begin atomic
  select edit.* from chat.message_edits as edit where edit.message_id = message.id;
end;
comment on function chat.edits is
  'What it said before, the last first.

@order edited_at desc';

-- --------------------------------------------------------------------------------------------
-- Functions: search
-- --------------------------------------------------------------------------------------------

-- Cyrillic is Russian; Latin letters are the language whose common words are most among the first 60. A text of as many
-- bytes as characters is plain ASCII, and most are: no need to look for other letters.
create function chat._language(text text) returns text
language plpgsql stable set search_path = ''
as $$
begin
  if octet_length(text) > char_length(text) and text ~* '[а-яё]' then
    return 'russian';
  end if;
  return coalesce(
    (
      select common.language
      from unnest((regexp_split_to_array(lower(left(text, 400)), '[^[:alpha:]'']+'))[1:60]) as said (word)
      join chat.common_words as common on common.word = said.word
      group by common.language
      order by count(*) desc, common.language
      limit 1
    ),
    'simple'
  );
end;
$$;

-- Chinese, Japanese and Korean are written without spaces: each pair of characters becomes a word, and so does the last
-- character, so that any part of a text can be found.
create function chat._cjk_pairs(text text) returns text[]
language plpgsql immutable parallel safe set search_path = ''
as $$
begin
  if octet_length(text) = char_length(text) or text !~ '[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]' then
    return '{}';
  end if;
  return (
    select array_agg(distinct substr(run.found[1], position, 2))
    from regexp_matches(text, '[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+', 'g') as run (found)
    cross join generate_series(1, char_length(run.found[1])) as position
  );
end;
$$;

create function chat._search_vector(language text, text text) returns tsvector
language sql immutable parallel safe set search_path = ''
return to_tsvector(
  case language
    when 'russian' then 'pg_catalog.russian'::regconfig
    when 'english' then 'pg_catalog.english'::regconfig
    when 'portuguese' then 'pg_catalog.portuguese'::regconfig
    when 'spanish' then 'pg_catalog.spanish'::regconfig
    when 'german' then 'pg_catalog.german'::regconfig
    when 'french' then 'pg_catalog.french'::regconfig
    else 'pg_catalog.simple'::regconfig
  end,
  coalesce(text, '')
) || array_to_tsvector(chat._cjk_pairs(coalesce(text, '')));

-- The words of a question, stemmed as each language would: what it finds was stemmed by one of them. Each form once:
-- Postgres takes what is said seven times for seven times as frequent, and plans for that. Null for no words.
create function chat._search_query(query text) returns tsquery
language sql stable set search_path = ''
return case
  when query ~ '[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]' then (
    select string_agg(
      quote_literal(pair) || case when char_length(pair) = 1 then ':*' else '' end, ' & '
    )::tsquery
    from unnest(chat._cjk_pairs(query)) as pair
    -- The last character of a longer run is in its last pair already.
    where char_length(pair) = 2 or not exists (
      select from unnest(chat._cjk_pairs(query)) as longer where char_length(longer) = 2 and right(longer, 1) = pair
    )
  )
  else (
    select string_agg(distinct '(' || stemmed.stems::text || ')', ' | ')::tsquery
    from (values
      (plainto_tsquery('pg_catalog.simple', query)),
      (plainto_tsquery('pg_catalog.russian', query)),
      (plainto_tsquery('pg_catalog.english', query)),
      (plainto_tsquery('pg_catalog.portuguese', query)),
      (plainto_tsquery('pg_catalog.spanish', query)),
      (plainto_tsquery('pg_catalog.german', query)),
      (plainto_tsquery('pg_catalog.french', query))
    ) as stemmed (stems)
    where numnode(stemmed.stems) > 0
  )
end;

-- The place that says what a file is to a search.
create function chat._has_file(message chat.messages) returns boolean
language sql immutable
return message.kind in ('image', 'file');

-- With the owner's rights: under row level security Postgres may not use these indexes for a caller's own condition.
-- What the caller may read is therefore a condition here.
--
-- What is ranked is bounded: of what matches, the newest 200. Months are read from the newest back and no further than
-- that takes, so a word of every tenth message costs no more than a rare one. Where few channels are readable they are
-- told to the planner as values, which knows then whether the words or the channels are rarer. Words that the index
-- knows come first; parts of words are looked for only where those were too few.
create function chat.search_messages(
  query text, channel_id uuid default null, author_id uuid default null, since timestamptz default null,
  until timestamptz default null, has_file boolean default null, thread_id uuid default null
) returns setof chat.messages
language plpgsql stable security definer rows 100
set search_path = '' set plan_cache_mode = force_custom_plan set jit = off
as $$
declare
  words    text := trim(left(query, 200));
  stems    tsquery := chat._search_query(trim(left(query, 200)));
  part     text := '%' || regexp_replace(trim(left(query, 200)), '([\\%_])', '\\\1', 'g') || '%';
  readable uuid[];
  earliest uuid := public.uuid_v7_floor(since);
  latest   uuid := public.uuid_v7_floor(until);
  found_by_words bigint := 0;
begin
  if words = '' then
    raise exception using errcode = 'PT400', message = 'Say what to search for.', column = 'query';
  end if;
  if channel_id is not null and not chat.can_read(channel_id) then
    return;
  end if;
  if channel_id is null then
    readable := array(select mine.channel_id from chat._readable as mine limit 201);
    readable := case when cardinality(readable) <= 200 then readable end;
  end if;

  if stems is not null then
    return query
    select found.*
    from (
      select message.*
      from chat.messages as message
      where message.searched @@ stems
        and (search_messages.channel_id is null or message.channel_id = search_messages.channel_id)
        and (readable is null or message.channel_id = any (readable))
        and (
          readable is not null or search_messages.channel_id is not null
          or exists (select from chat._readable as mine where mine.channel_id = message.channel_id offset 0)
        )
        and (author_id is null or message.sender_id = author_id)
        and (earliest is null or message.id >= earliest)
        and (latest is null or message.id < latest)
        and (thread_id is null or message.id = thread_id or message.reply_to_id = thread_id)
        and (has_file is null or chat._has_file(message) = has_file)
        and message.deleted_at is null
      order by message.id desc
      limit 200
    ) as found
    order by ts_rank(found.searched, stems) desc, found.id desc;
    get diagnostics found_by_words = row_count;
  end if;

  -- Parts of words need three letters: a shorter one is in nearly every text.
  if found_by_words < 200 and char_length(words) >= 3 then
    return query
    select message.*
    from chat.messages as message
    where message.text ilike part and not coalesce(message.searched @@ stems, false)
      and (search_messages.channel_id is null or message.channel_id = search_messages.channel_id)
      and (readable is null or message.channel_id = any (readable))
      and (
        readable is not null or search_messages.channel_id is not null
        or exists (select from chat._readable as mine where mine.channel_id = message.channel_id offset 0)
      )
      and (author_id is null or message.sender_id = author_id)
      and (earliest is null or message.id >= earliest)
      and (latest is null or message.id < latest)
      and (thread_id is null or message.id = thread_id or message.reply_to_id = thread_id)
      and (has_file is null or chat._has_file(message) = has_file)
      and message.deleted_at is null
    order by message.id desc
    limit 200 - found_by_words;
  end if;
end;
$$;
comment on function chat.search_messages is
  'Messages in one channel, or in all that the caller may read: by words in any form in the language of the text, and
by parts of words; of an author, from `since` and before `until`, with a file or without, in the thread of a message.
Best match first, then newest, of the newest 200 that match.';

-- The marks are set as signs that no text has, so that the text can be escaped between.
create function chat.highlight(message chat.messages, query text) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  said   text := translate(message.text, chr(2) || chr(3), '');
  words  text := trim(left(query, 200));
  place  integer;
  marked text := coalesce(ts_headline(
    case message.language
      when 'russian' then 'pg_catalog.russian'::regconfig
      when 'english' then 'pg_catalog.english'::regconfig
      when 'portuguese' then 'pg_catalog.portuguese'::regconfig
      when 'spanish' then 'pg_catalog.spanish'::regconfig
      when 'german' then 'pg_catalog.german'::regconfig
      when 'french' then 'pg_catalog.french'::regconfig
      else 'pg_catalog.simple'::regconfig
    end,
    said, chat._search_query(words),
    format('StartSel=%s, StopSel=%s, MaxWords=40, MinWords=20', chr(2), chr(3))
  ), '');
begin
  -- A part of a word, and what is written without spaces.
  if strpos(marked, chr(2)) = 0 then
    place := strpos(lower(said), lower(words));
    marked := case
      when place = 0 or words = '' then left(said, 200)
      else substr(said, greatest(place - 80, 1), least(place - 1, 80))
        || chr(2) || substr(said, place, char_length(words)) || chr(3)
        || substr(said, place + char_length(words), 120)
    end;
  end if;
  marked := replace(replace(replace(marked, '&', '&amp;'), '<', '&lt;'), '>', '&gt;');
  marked := replace(replace(marked, '"', '&quot;'), '''', '&#39;');
  return replace(replace(marked, chr(2), '<mark>'), chr(3), '</mark>');
end;
$$;
comment on function chat.highlight is
  'A piece of its text with what was searched for in `<mark>`, as HTML: all that was written itself is escaped. Null
once deleted.';

-- --------------------------------------------------------------------------------------------
-- Functions: events
-- --------------------------------------------------------------------------------------------

-- A channel counts its events itself: the lock that orders its messages orders them too. A channel that is gone tells
-- nobody.
create function chat._tell(channel_id uuid, type text, data jsonb, rechecks uuid default null) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  count bigint;
begin
  update chat.channels set event_seq = event_seq + 1 where id = _tell.channel_id returning event_seq into count;
  if found then
    perform events.publish(
      'channel:' || _tell.channel_id, _tell.type,
      jsonb_build_object('channel_id', _tell.channel_id) || _tell.data, count, _tell.rechecks
    );
  end if;
end;
$$;

-- The reader's other devices are told, and in a direct chat the other side.
create function chat._tell_read(channel chat.channels, user_id uuid, seq bigint) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform events.publish(
    'user:' || _tell_read.user_id, 'message_read',
    jsonb_build_object('channel_id', channel.id, 'user_id', _tell_read.user_id, 'seq', _tell_read.seq)
  );
  if channel.kind = 'direct' then
    perform chat._tell(
      channel.id, 'message_read', jsonb_build_object('user_id', _tell_read.user_id, 'seq', _tell_read.seq)
    );
  end if;
end;
$$;

create function chat.listen_to_channel(channel_id uuid) returns setof events.position
language plpgsql stable security definer rows 1 set search_path = ''
as $$
begin
  return query
  select 'channel:' || channel.id, channel.event_seq
  from chat.channels as channel
  where channel.id = listen_to_channel.channel_id and chat.can_read(channel.id);
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such channel.', column = 'channel_id';
  end if;
end;
$$;
comment on function chat.listen_to_channel is
  'The right to listen to a channel: for whoever may read it.

@hide';

-- The user's own topic, and those of the channels that they are in, the last active 1,000.
create function chat.listen_to_user() returns setof events.position
language sql stable security definer rows 100 set search_path = ''
as $$
  select 'user:' || identity.require_user_id(), coalesce((
    select counted.last_seq from events.topics as counted where counted.topic = 'user:' || identity.current_user_id()
  ), 0)
  union all
  (
    select 'channel:' || channel.id, channel.event_seq
    from chat._memberships as mine
    join chat.channels as channel on channel.id = mine.channel_id
    order by channel.active_at desc
    limit 1000
  );
$$;
comment on function chat.listen_to_user is
  'The right to listen to what concerns oneself.

@hide';

create function chat.listen_to_typing(channel_id uuid) returns setof events.position
language sql stable security definer rows 1 set search_path = ''
as $$
  select 'typing:' || split_part(position.topic, ':', 2), null::bigint
  from chat.listen_to_channel(channel_id) as position;
$$;
comment on function chat.listen_to_typing is
  'The right to see who is typing: for whoever may read the channel.

@hide';

-- The id is taken out of the event before a row is looked for (`offset 0`): a policy is asked before whatever may fail,
-- such as a cast, so with the cast in the condition no index would find the row, and the whole table be read.
create function chat.message_events(event events.event) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.*
  from (select (event.data ->> 'message_id')::uuid as id offset 0) as told
  join chat.messages as message on message.id = told.id
  where event.type in ('message_sent', 'message_edited', 'message_deleted')
    or event.type in ('reaction_added', 'reaction_removed', 'message_pinned', 'message_unpinned');
end;
comment on function chat.message_events is
  'The messages of a channel as they are sent, edited, deleted, reacted to and pinned: each as it is now.

@subscription chat.listen_to_channel
@shared';

create function chat.channel_events(event events.event) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.*
  from (select coalesce(event.data ->> 'user_id', event.metadata ->> 'user_id')::uuid as id offset 0) as told
  left join identity.users as person on person.id = told.id;
end;
comment on function chat.channel_events is
  'Everything that happens in a channel (messages, members, read positions of a direct chat, its name and settings),
with the user whom it is about, else who did it.

@subscription chat.listen_to_channel
@shared';

create function chat.user_events(event events.event) returns setof chat.channels
language sql stable rows 1
begin atomic
  select channel.*
  from (select (event.data ->> 'channel_id')::uuid as id offset 0) as told
  left join chat.channels as channel on channel.id = told.id
  where event.topic like 'user:%'
    or event.type in ('message_sent', 'messages_imported', 'message_deleted', 'channel_changed');
end;
comment on function chat.user_events is
  'What concerns the caller: their notifications, memberships, read positions and sessions, and what makes messages of
their channels unread; with the channel that it is about.

@subscription chat.listen_to_user';

create function chat.typing(event events.event) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.*
  from (select (event.data ->> 'user_id')::uuid as id offset 0) as told
  join identity.users as person on person.id = told.id;
end;
comment on function chat.typing is
  'Who is typing in a channel, each time their client says so.

@subscription chat.listen_to_typing
@shared';

create function chat.set_typing(channel_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if chat._caller_role(channel_id) is null then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.', column = 'channel_id';
  end if;
  if chat._is_muted(channel_id, identity.current_user_id()) then
    raise exception using errcode = 'PT403', message = 'You are muted in this room.', column = 'channel_id';
  end if;
  perform events.signal(
    'typing:' || channel_id, 'typing',
    jsonb_build_object('channel_id', channel_id, 'user_id', identity.current_user_id())
  );
end;
$$;
comment on function chat.set_typing is
  'Tells those in the channel that the caller is typing; clients say it every few seconds while that is so.';

-- --------------------------------------------------------------------------------------------
-- Functions: channels and members
-- --------------------------------------------------------------------------------------------

-- Locks the channel, so that its count and its members hold still, and answers the same for a channel that does
-- not exist and one that the caller may not know of.
create function chat._lock_channel(channel_id uuid) returns chat.channels
language plpgsql volatile set search_path = ''
as $$
declare
  channel chat.channels;
begin
  select * into channel
  from chat.channels as known
  where known.id = _lock_channel.channel_id
    and exists (select from chat._readable as readable where readable.channel_id = known.id)
  for no key update;
  if channel.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such channel.';
  end if;
  return channel;
end;
$$;

create function chat._caller_role(channel_id uuid) returns chat.member_role
language sql stable set search_path = ''
return (select mine.role from chat._memberships as mine where mine.channel_id = _caller_role.channel_id);

create function chat._join(channel chat.channels, user_id uuid, role chat.member_role) returns chat.members
language plpgsql volatile set search_path = ''
as $$
declare
  member chat.members;
begin
  perform chat._admit(channel, user_id);
  insert into chat.members as known (channel_id, user_id, role, joined_seq)
  values (channel.id, _join.user_id, _join.role, channel.last_seq)
  on conflict on constraint members_pkey do update set role = known.role  -- they are in already: as they were
  returning * into member;
  return member;
end;
$$;

create function chat.open_direct(user_id uuid) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  pair    chat.direct_pairs;
  channel chat.channels;
begin
  -- Guards.
  if user_id = caller then
    raise exception using errcode = 'PT400', message = 'A direct chat needs someone else.', column = 'user_id';
  end if;
  -- Held, so that an account that is being removed is either gone already or sees this chat.
  if not exists (select from identity.users where id = open_direct.user_id and removed_at is null for share) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;

  -- The pair's row decides between two who open it at the same moment.
  loop
    select * into pair
    from chat.direct_pairs
    where first_user_id = least(caller, open_direct.user_id) and second_user_id = greatest(caller, open_direct.user_id);
    if pair.channel_id is not null then
      select * into channel from chat.channels where id = pair.channel_id;
      return channel;
    end if;

    insert into chat.channels (kind) values ('direct') returning * into channel;
    insert into chat.direct_pairs (first_user_id, second_user_id, channel_id)
    values (least(caller, open_direct.user_id), greatest(caller, open_direct.user_id), channel.id)
    on conflict on constraint direct_pairs_pkey do nothing;
    if found then
      perform chat._join(channel, caller, 'member'), chat._join(channel, open_direct.user_id, 'member');
      return channel;
    end if;
    delete from chat.channels where id = channel.id;
  end loop;
end;
$$;
comment on function chat.open_direct is
  'The direct chat with someone: the one there is, or a new one.

@notNull';

create function chat.create_room(name text, description text default null, is_public boolean default false)
returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels;
begin
  perform chat._require_few_rooms(caller);
  insert into chat.channels (kind, name, description, is_public, owner_id)
  values ('room', trim(create_room.name), nullif(create_room.description, ''), create_room.is_public, caller)
  returning * into channel;
  perform chat._join(channel, caller, 'owner');
  return channel;
end;
$$;
comment on function chat.create_room is
  'Makes a room, with the caller as its owner.

@notNull';

-- Who has no way in is told that there is no such room, whether there is one or not.
create function chat.join_room(channel_id uuid, password text default null) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels;
  way     text;
begin
  -- Guards. Tries of a password are kept, so these refuse and do not raise; and they are counted before the room is
  -- looked at, so that those at the same moment count too.
  if password is not null and not chat._may_try_password(join_room.channel_id) then
    perform public.refuse('PT429', 'Too many tries; try again in 15 minutes.');
    return null;
  end if;
  if chat._way_in(join_room.channel_id, caller, password) is not null then
    select * into channel from chat.channels as known where known.id = join_room.channel_id for no key update;
    -- Asked again under the lock: they may have been removed, or the password changed, while they waited for it.
    way := chat._way_in(channel.id, caller, password);
  end if;
  if way is null and password is not null then
    perform public.refuse('PT404', 'There is no such room, or its password is another one.', 'password');
    return null;
  elsif way is null then
    raise exception using errcode = 'PT404', message = 'There is no such channel.';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  if way = 'approval' and not chat._is_banned(channel.id, caller) then
    raise exception using errcode = 'PT409', message = 'The room approves who comes in.', hint = 'Use requestToJoin.';
  end if;
  return chat._join(channel, caller, 'member');
end;
$$;
comment on function chat.join_room is
  'Makes the caller a member of a room: of a public one, of one that they are invited to, or of one whose password they
know. Nothing changes for who is a member already.

@argon2id password salted by chat.room_password_salt(channel_id)
@notNull';

create function chat.add_member(channel_id uuid, user_id uuid) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  if channel.kind <> 'room' then
    raise exception using errcode = 'PT409', message = 'Only a room takes more members.';
  end if;
  if not chat._may(channel.id, 'add') then
    raise exception using errcode = 'PT403', message = 'Only an owner or admin of the room adds members.';
  end if;
  if not exists (select from identity.users where id = add_member.user_id and removed_at is null for share) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  if not exists (
    select from chat.members as member where member.channel_id = channel.id and member.user_id = add_member.user_id
  ) then
    perform chat._note(channel.id, 'member_added', add_member.user_id);
  end if;
  return chat._join(channel, add_member.user_id, 'member');
end;
$$;
comment on function chat.add_member is
  'Brings someone into a room; for its owner and admins.

@notNull';

create function chat.remove_member(channel_id uuid, user_id uuid, reason text default null) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
  removed chat.members;
begin
  if channel.kind <> 'room' or not chat._may(channel.id, 'remove') then
    raise exception using errcode = 'PT403', message = 'Only a member with a higher role in the room removes someone.';
  end if;
  removed := chat._require_rank(channel, user_id);
  if removed.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  delete from chat.members as member where member.channel_id = channel.id and member.user_id = removed.user_id;
  perform chat._note(channel.id, 'member_removed', removed.user_id, reason => remove_member.reason);
end;
$$;
comment on function chat.remove_member is 'Takes someone out of a room; for members with a higher role than theirs.';

-- A room does not lose its owner: the next in rank, then in time, takes over.
create function chat._leave(channel chat.channels, user_id uuid) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  heir uuid;
begin
  delete from chat.members as member where member.channel_id = channel.id and member.user_id = _leave.user_id;
  if not found then
    return false;
  end if;
  if channel.owner_id = _leave.user_id then
    select member.user_id into heir
    from chat.members as member
    where member.channel_id = channel.id
    order by member.role, member.joined_at, member.user_id
    limit 1;
    update chat.members as member set role = 'owner' where member.channel_id = channel.id and member.user_id = heir;
    update chat.channels set owner_id = heir where id = channel.id;
  end if;
  return true;
end;
$$;

create function chat.leave_channel(channel_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  if channel.kind = 'direct' then
    raise exception using errcode = 'PT409', message = 'A direct chat cannot be left.';
  end if;
  if not chat._leave(channel, caller) then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.';
  end if;
end;
$$;
comment on function chat.leave_channel is 'Takes the caller out of a room; an owner''s place goes to the next in rank.';

-- --------------------------------------------------------------------------------------------
-- Functions: rooms
-- --------------------------------------------------------------------------------------------
-- Whatever changes who is in a room, or may come in, does so under the lock of the channel's row: so limits, bans and
-- counts are exact. What counts tries takes their rows before it.

-- What a right takes where a member has none, or lacks none, of their own. Read for every row of a list: it inlines.
create function chat.least_role(
  permission chat.room_permission, lowest_writer chat.member_role, members_may_invite boolean
) returns chat.member_role
language sql immutable parallel safe
return case
  when permission = 'write' then coalesce(lowest_writer, 'member')
  when permission = 'invite' and coalesce(members_may_invite, true) then 'member'
  when permission in ('invite', 'add', 'manage') then 'admin'
  else 'moderator'
end;
comment on function chat.least_role is
  'The lowest role that has a right in a room.

@hide';

create function chat.my_permissions(channel chat.channels) returns setof chat.room_permission[]
language sql stable rows 1
begin atomic
  select coalesce(array_agg(listed.permission order by listed.permission), '{}')
  from unnest(enum_range(null::chat.room_permission)) as listed (permission)
  join chat._memberships as mine on mine.channel_id = channel.id
  left join chat.rooms as room on room.channel_id = channel.id
  left join chat.member_permissions as own
    on own.channel_id = channel.id and own.user_id = (select identity.current_user_id())
    and own.permission = listed.permission
  where channel.kind = 'room' and coalesce(
    own.is_allowed, mine.role <= chat.least_role(listed.permission, room.lowest_writer, room.members_may_invite)
  );
end;
comment on function chat.my_permissions is
  'What the caller may do in the room; nothing for who is not in it. Who is muted does not write all the same.';

-- Whether the caller may: by a right of their own, else by their role. False for who is not in.
create function chat._may(channel_id uuid, permission chat.room_permission) returns boolean
language sql stable set search_path = ''
return coalesce((
  select coalesce(
    own.is_allowed, mine.role <= chat.least_role(_may.permission, room.lowest_writer, room.members_may_invite)
  )
  from chat.members as mine
  left join chat.rooms as room on room.channel_id = mine.channel_id
  left join chat.member_permissions as own
    on own.channel_id = mine.channel_id and own.user_id = mine.user_id and own.permission = _may.permission
  where mine.channel_id = _may.channel_id and mine.user_id = identity.current_user_id()
), false);

create function chat._require_few_rooms(user_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if (
    select count(*)
    from (
      select
      from chat.channels as channel
      where channel.owner_id = user_id and channel.id > public.uuid_v7_floor(now() - interval '1 hour')
      limit 1000
    ) as recent
  ) >= 1000 then
    raise exception using errcode = 'PT429', message = 'Nobody makes more than 1,000 rooms an hour; try again later.';
  end if;
end;
$$;

-- Locks a room in which the caller may do this.
create function chat._lock_room(channel_id uuid, permission chat.room_permission) returns chat.channels
language plpgsql volatile set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  if channel.kind <> 'room' then
    raise exception using errcode = 'PT409', message = 'That is for rooms only.', column = 'channel_id';
  end if;
  if not chat._may(channel.id, permission) then
    raise exception using errcode = 'PT403', message = 'You may not do that in this room.',
      hint = format('It takes the right to %s.', replace(permission::text, '_', ' '));
  end if;
  -- Members that were loaded without triggers left it unmade.
  insert into chat.rooms (channel_id, member_count)
  select channel.id, (select count(*) from chat.members as member where member.channel_id = channel.id)
  where not exists (select from chat.rooms as room where room.channel_id = channel.id);
  return channel;
end;
$$;

-- The other, whom the caller must stand above: by role, or as a member who was given the right above other members.
-- Nulls for someone who is not in: everyone who has the right stands above them.
create function chat._require_rank(channel chat.channels, user_id uuid) returns chat.members
language plpgsql volatile set search_path = ''
as $$
declare
  mine  chat.member_role := chat._caller_role(channel.id);
  other chat.members;
begin
  select * into other
  from chat.members as member
  where member.channel_id = channel.id and member.user_id = _require_rank.user_id;
  if user_id = identity.current_user_id()
    or other.role <= mine and not (other.role = 'member' and mine = 'member') then
    raise exception using errcode = 'PT403', column = 'user_id',
      message = 'Only a member with a higher role than theirs in the room does that.';
  end if;
  return other;
end;
$$;

-- One line of the log. That it cannot be emptied, a limit keeps it from being filled.
create function chat._note(
  channel_id uuid, action chat.moderation_action, user_id uuid default null, message_id uuid default null,
  reason text default null, details jsonb default '{}'
) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  actor uuid := identity.current_user_id();
begin
  if (
    select count(*)
    from (
      select
      from chat.moderation_entries as entry
      where entry.actor_id = actor and entry.id > public.uuid_v7_floor(clock_timestamp() - interval '1 hour')
      limit 1000
    ) as recent
  ) >= 1000 then
    raise exception using errcode = 'PT429',
      message = 'Nobody changes rooms more than 1,000 times an hour; try again later.';
  end if;
  insert into chat.moderation_entries (channel_id, action, actor_id, user_id, message_id, reason, details)
  values (
    _note.channel_id, _note.action, actor, _note.user_id, _note.message_id, nullif(trim(_note.reason), ''),
    _note.details
  );
end;
$$;

create function chat._is_banned(channel_id uuid, user_id uuid) returns boolean
language sql stable set search_path = ''
return exists (
  select
  from chat.room_bans as ban
  where ban.channel_id = _is_banned.channel_id and ban.user_id = _is_banned.user_id
    and (ban.ends_at is null or ban.ends_at > clock_timestamp())
);

create function chat._is_muted(channel_id uuid, user_id uuid) returns boolean
language sql stable set search_path = ''
return exists (
  select
  from chat.room_mutes as mute
  where mute.channel_id = _is_muted.channel_id and mute.user_id = _is_muted.user_id
    and (mute.ends_at is null or mute.ends_at > clock_timestamp())
);

-- The door of every room: whoever is let in, whichever way, passes here, with the channel locked (_join).
create function chat._admit(channel chat.channels, user_id uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  room chat.rooms;
begin
  if channel.kind <> 'room' or exists (
    select from chat.members as member where member.channel_id = channel.id and member.user_id = _admit.user_id
  ) then
    return;
  end if;
  if chat._is_banned(channel.id, user_id) then
    raise exception using errcode = 'PT403', message = case
      when user_id = identity.current_user_id() then 'You are banned from this room.'
      else 'They are banned from this room.'
    end;
  end if;
  select * into room from chat.rooms as known where known.channel_id = channel.id;
  if room.member_count >= room.max_members then
    raise exception using errcode = 'PT409',
      message = format('The room is full: it takes at most %s members.', room.max_members);
  end if;
end;
$$;

-- How someone gets into a room: as what they are (member), by an invitation, by the password, because it is open, or by
-- asking (approval). Null where there is no such room for them.
create function chat._way_in(channel_id uuid, user_id uuid, password text default null) returns text
language sql stable set search_path = ''
return (
  select case
    when exists (
      select from chat.members as member where member.channel_id = channel.id and member.user_id = _way_in.user_id
    ) then 'member'
    when channel.kind <> 'room' then null
    when exists (
      select
      from chat.room_invitations as invitation
      where invitation.channel_id = channel.id and invitation.user_id = _way_in.user_id
        and invitation.declined_at is null and invitation.expires_at > clock_timestamp()
    ) then 'invitation'
    when room.password_hash = _way_in.password then 'password'
    when room.requires_approval then 'approval'
    when channel.is_public then 'open'
  end
  from chat.channels as channel
  left join chat.rooms as room on room.channel_id = channel.id
  where channel.id = _way_in.channel_id
);

-- What limits guessing: by address, by user and by room.
create function chat._may_try_password(channel_id uuid) returns boolean
language sql volatile set search_path = ''
as $$
  select
    identity._count_attempt('room_password:address:' || identity._counted_address(), 100, interval '15 minutes')
    and identity._count_attempt('room_password:user:' || identity.current_user_id(), 10, interval '15 minutes')
    and identity._count_attempt('room_password:room:' || channel_id, 1000, interval '1 hour');
$$;

-- Asked before a password is hashed, which takes 20 ms of a core. A room that is not there, or has no password, gets a
-- salt of its own, so that the answer takes as long.
create function chat.room_password_salt(channel_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
begin
  if identity._is_exhausted('room_password:address:' || identity._counted_address(), 100, interval '15 minutes')
    or identity._is_exhausted('room_password:user:' || identity.require_user_id(), 10, interval '15 minutes')
    or identity._is_exhausted('room_password:room:' || room_password_salt.channel_id, 1000, interval '1 hour') then
    raise exception using errcode = 'PT429', message = 'Too many tries; try again in 15 minutes.';
  end if;
  return coalesce(
    (select room.password_hash from chat.rooms as room where room.channel_id = room_password_salt.channel_id),
    identity._argon2id(substr(sha256(uuid_send(room_password_salt.channel_id)), 1, 16))
  );
end;
$$;
comment on function chat.room_password_salt is
  'What the server needs to hash the password that someone offers to a room.

@hide';

-- Asked before the hash is paid for.
create function chat.new_room_password_salt(channel_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if not chat.can_read(new_room_password_salt.channel_id) then
    raise exception using errcode = 'PT404', message = 'There is no such channel.';
  end if;
  if not chat._may(new_room_password_salt.channel_id, 'manage') then
    raise exception using errcode = 'PT403', message = 'You may not do that in this room.',
      hint = 'It takes the right to manage.';
  end if;
  return identity._argon2id(uuid_send(gen_random_uuid()));
end;
$$;
comment on function chat.new_room_password_salt is
  'A new salt, for who may set the password of a room.

@hide';

create function chat.set_room_password(channel_id uuid, password text default null) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'manage');
begin
  if channel.is_public and password is not null then
    raise exception using errcode = 'PT409', message = 'A public room has no password.',
      hint = 'Make it private first.';
  end if;
  update chat.rooms as room
  set password_hash = set_room_password.password
  where room.channel_id = channel.id and room.password_hash is distinct from set_room_password.password;
  if found then
    perform chat._note(
      channel.id, case when password is null then 'password_removed' else 'password_set' end::chat.moderation_action
    );
    perform chat._tell(channel.id, 'room_changed', jsonb_build_object('has_password', password is not null));
  end if;
  return channel;
end;
$$;
comment on function chat.set_room_password is
  'Sets the password by which people come into a private room, or removes it where it is left out. Its hash alone is
kept.

@argon2id password salted by chat.new_room_password_salt(channel_id)
@notNull';

create function chat.update_room(
  channel_id uuid, name text default null, description text default null, is_public boolean default null,
  max_members integer default null, requires_approval boolean default null, members_may_invite boolean default null,
  lowest_writer chat.member_role default null, slow_mode_seconds integer default null
) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'manage');
  before  jsonb;
  room    chat.rooms;
  given   jsonb := jsonb_strip_nulls(jsonb_build_object(
    'name', trim(update_room.name), 'description', update_room.description, 'is_public', update_room.is_public,
    'max_members', update_room.max_members, 'requires_approval', update_room.requires_approval,
    'members_may_invite', update_room.members_may_invite, 'lowest_writer', update_room.lowest_writer,
    'slow_mode_seconds', update_room.slow_mode_seconds
  ));
  changed jsonb;
begin
  select * into room from chat.rooms as known where known.channel_id = channel.id;
  before := to_jsonb(channel) || to_jsonb(room) || jsonb_build_object('description', coalesce(channel.description, ''));
  select coalesce(jsonb_object_agg(key, value), '{}') into changed
  from jsonb_each(given)
  where value <> before -> key;
  -- Guards.
  if changed = '{}' then
    return channel;
  end if;
  if room.has_password and update_room.is_public then
    raise exception using errcode = 'PT409', message = 'A public room has no password.', column = 'is_public',
      hint = 'Remove the password first.';
  end if;
  if (changed ->> 'max_members')::integer between 1 and room.member_count - 1 then
    raise exception using errcode = 'PT409', column = 'max_members',
      message = format('The room has %s members: its limit cannot be lower.', room.member_count);
  end if;

  update chat.rooms as known set
    max_members = coalesce(update_room.max_members, known.max_members),
    requires_approval = coalesce(update_room.requires_approval, known.requires_approval),
    members_may_invite = coalesce(update_room.members_may_invite, known.members_may_invite),
    lowest_writer = coalesce(update_room.lowest_writer, known.lowest_writer),
    slow_mode_seconds = coalesce(update_room.slow_mode_seconds, known.slow_mode_seconds)
  where known.channel_id = channel.id;
  update chat.channels as known set
    name = coalesce(given ->> 'name', known.name),
    description = nullif(coalesce(update_room.description, known.description), ''),
    is_public = coalesce(update_room.is_public, known.is_public)
  where known.id = channel.id;
  perform chat._note(channel.id, 'settings_changed', details => changed);
  if changed - '{name,description,is_public}'::text[] <> '{}' then
    perform chat._tell(channel.id, 'room_changed', changed - '{name,description,is_public}'::text[]);
  end if;
  select * into channel from chat.channels as known where known.id = channel.id;
  return channel;
end;
$$;
comment on function chat.update_room is
  'Changes what a room is called and how it takes people in. What is left out stays; an empty description removes it.

@notNull';

create function chat._set_closed(channel_id uuid, closed boolean) returns chat.channels
language plpgsql volatile set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'manage');
begin
  if (channel.closed_at is not null) <> closed then
    update chat.channels as known
    set closed_at = case when closed then clock_timestamp() end
    where known.id = channel.id
    returning * into channel;
    perform chat._note(channel.id, case when closed then 'archived' else 'reopened' end::chat.moderation_action);
  end if;
  return channel;
end;
$$;

create function chat.archive_room(channel_id uuid) returns chat.channels
language sql volatile security definer set search_path = ''
as $$ select chat._set_closed(channel_id, true); $$;
comment on function chat.archive_room is
  'Closes a room: it is read as before, and nobody writes or comes in.

@notNull';

create function chat.reopen_room(channel_id uuid) returns chat.channels
language sql volatile security definer set search_path = ''
as $$ select chat._set_closed(channel_id, false); $$;
comment on function chat.reopen_room is
  'Opens an archived room again.

@notNull';

-- The members are changed in the order of their ids, as each is told by a topic of their own.
create function chat.hand_over_room(channel_id uuid, user_id uuid) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller      uuid := identity.require_user_id();
  by_operator boolean := current_setting('role') = 'operator';
  channel     chat.channels;
  changed     uuid;
begin
  -- Guards.
  if by_operator then
    select * into channel from chat.channels as known
    where known.id = hand_over_room.channel_id and known.kind = 'room'
    for no key update;
    if channel.id is null then
      raise exception using errcode = 'PT404', message = 'There is no such channel.';
    end if;
  else
    channel := chat._lock_channel(hand_over_room.channel_id);
  end if;
  if channel.kind <> 'room' then
    raise exception using errcode = 'PT409', message = 'That is for rooms only.', column = 'channel_id';
  end if;
  if channel.owner_id is distinct from caller and not by_operator then
    raise exception using errcode = 'PT403', message = 'Only its owner hands a room over.';
  end if;
  if not exists (
    select
    from chat.members as member
    where member.channel_id = channel.id and member.user_id = hand_over_room.user_id
  ) then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  if channel.owner_id = hand_over_room.user_id then
    -- An operator who changes nothing would read the room unrecorded.
    if by_operator then
      raise exception using errcode = 'PT409', message = 'The room is theirs already.', column = 'user_id';
    end if;
    return channel;
  end if;

  for changed in
    select member.user_id
    from chat.members as member
    where member.channel_id = channel.id
      and (member.user_id = hand_over_room.user_id or member.user_id = channel.owner_id)
    order by member.user_id
  loop
    update chat.members as member
    set role = case when changed = hand_over_room.user_id then 'owner' else 'admin' end::chat.member_role
    where member.channel_id = channel.id and member.user_id = changed;
  end loop;
  perform chat._note(
    channel.id, 'owner_changed', hand_over_room.user_id, details => jsonb_build_object('from', channel.owner_id)
  );
  update chat.channels as known
  set owner_id = hand_over_room.user_id
  where known.id = channel.id
  returning * into channel;
  return channel;
end;
$$;
comment on function chat.hand_over_room is
  'Makes another member the owner of a room; who was it becomes an admin. For its owner, and for operators.

@notNull';

create function chat.change_member_role(channel_id uuid, user_id uuid, role chat.member_role) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'manage');
  member  chat.members := chat._require_rank(channel, user_id);
begin
  -- Guards.
  if member.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  if role = 'owner' then
    raise exception using errcode = 'PT400', message = 'A room has one owner.', column = 'role',
      hint = 'Use handOverRoom.';
  end if;
  if role <= chat._caller_role(channel.id) then
    raise exception using errcode = 'PT403', message = 'You give only roles below your own.', column = 'role';
  end if;
  if member.role = change_member_role.role then
    return member;
  end if;

  update chat.members as known
  set role = change_member_role.role
  where known.channel_id = channel.id and known.user_id = member.user_id
  returning * into member;
  perform chat._note(channel.id, 'role_changed', member.user_id, details => jsonb_build_object('role', member.role));
  return member;
end;
$$;
comment on function chat.change_member_role is
  'Gives a member another role; for who may manage the room, about members below them and roles below their own.

@notNull';

create function chat.set_member_permission(
  channel_id uuid, user_id uuid, permission chat.room_permission, is_allowed boolean default null
) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'manage');
  member  chat.members := chat._require_rank(channel, user_id);
begin
  -- Guards.
  if member.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  if not chat._may(channel.id, permission) then
    raise exception using errcode = 'PT403', message = 'You give only rights that you have.', column = 'permission';
  end if;

  if is_allowed is null then
    delete from chat.member_permissions as own
    where own.channel_id = channel.id and own.user_id = member.user_id
      and own.permission = set_member_permission.permission;
  else
    insert into chat.member_permissions as own (channel_id, user_id, permission, is_allowed)
    values (channel.id, member.user_id, set_member_permission.permission, set_member_permission.is_allowed)
    on conflict on constraint member_permissions_pkey do update set is_allowed = excluded.is_allowed
    where own.is_allowed <> excluded.is_allowed;
  end if;
  if found then
    perform chat._note(
      channel.id, 'permission_changed', member.user_id,
      details => jsonb_build_object('permission', permission, 'is_allowed', is_allowed)
    );
    perform chat._tell(
      channel.id, 'member_changed', jsonb_build_object('user_id', member.user_id, 'role', member.role)
    );
  end if;
  return member;
end;
$$;
comment on function chat.set_member_permission is
  'Gives a member a right beyond their role, or takes one away; left out, the role decides again. For who may manage the
room and has the right themselves.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: ways into a room
-- --------------------------------------------------------------------------------------------

create function chat.invite_to_room(channel_id uuid, user_id uuid, expires_in integer default 604800)
returns chat.room_invitations
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller     uuid := identity.require_user_id();
  is_within  boolean := identity._count_attempt('invite:' || caller, 200, interval '1 hour');
  channel    chat.channels := chat._lock_room(channel_id, 'invite');
  now        timestamptz := clock_timestamp();
  invitation chat.room_invitations;
begin
  -- Guards.
  if not is_within then
    raise exception using errcode = 'PT429', message = 'Nobody invites more than 200 people an hour; try again later.';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  if expires_in not between 60 and 2592000 then
    raise exception using errcode = 'PT400', column = 'expires_in',
      message = 'An invitation holds for a minute to 30 days.';
  end if;
  if not exists (select from identity.users where id = invite_to_room.user_id and removed_at is null for share) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if exists (
    select
    from chat.members as member
    where member.channel_id = channel.id and member.user_id = invite_to_room.user_id
  ) then
    raise exception using errcode = 'PT409', message = 'They are in the room.', column = 'user_id';
  end if;
  if chat._is_banned(channel.id, invite_to_room.user_id) then
    raise exception using errcode = 'PT409', message = 'They are banned from this room.', column = 'user_id';
  end if;

  select * into invitation
  from chat.room_invitations as known
  where known.channel_id = channel.id and known.user_id = invite_to_room.user_id and known.expires_at > now;
  if invitation.declined_at is not null then
    raise exception using errcode = 'PT409', message = 'They have declined.', column = 'user_id';
  end if;
  if invitation.user_id is not null then
    update chat.room_invitations as known
    set expires_at = greatest(known.expires_at, now + make_interval(secs => invite_to_room.expires_in))
    where known.channel_id = channel.id and known.user_id = invitation.user_id
    returning * into invitation;
    return invitation;
  end if;
  if (
    select count(*)
    from (select from chat.room_invitations as known where known.channel_id = channel.id limit 1000) as pending
  ) >= 1000 then
    raise exception using errcode = 'PT409', message = 'A room has at most 1,000 invitations that wait.';
  end if;
  delete from chat.room_invitations as known
  where known.channel_id = channel.id and known.user_id = invite_to_room.user_id;
  insert into chat.room_invitations (channel_id, user_id, invited_by, created_at, expires_at)
  values (
    channel.id, invite_to_room.user_id, caller, now, now + make_interval(secs => invite_to_room.expires_in)
  )
  returning * into invitation;
  perform events.publish(
    'user:' || invitation.user_id, 'room_invitation',
    jsonb_build_object('channel_id', channel.id, 'user_id', caller, 'expires_at', invitation.expires_at)
  );
  return invitation;
end;
$$;
comment on function chat.invite_to_room is
  'Invites someone into a room, for `expiresIn` seconds (7 days): they come with joinRoom, also where it is private.

@notNull';

create function chat.my_invitations() returns setof chat.room_invitations
language sql stable rows 10
begin atomic
  select invitation.*
  from chat.room_invitations as invitation
  where invitation.user_id = (select identity.current_user_id())
    and invitation.declined_at is null and invitation.expires_at > now();
end;
comment on function chat.my_invitations is 'The invitations that wait for the caller''s answer.';

-- The room of an invitation is not the invited person's to read yet.
create function chat.card(invitation chat.room_invitations) returns chat.room_card
language sql stable security definer set search_path = ''
as $$
  select channel.id, channel.name, channel.description, channel.is_public, room.member_count
  from chat.room_invitations as known
  join chat.channels as channel on channel.id = known.channel_id
  join chat.rooms as room on room.channel_id = channel.id
  where known.channel_id = invitation.channel_id and known.user_id = invitation.user_id
    and (known.user_id = identity.current_user_id() or chat.can_read(channel.id));
$$;
comment on function chat.card is 'What the invited person learns of the room.';

create function chat.decline_invitation(channel_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update chat.room_invitations as invitation
  set declined_at = clock_timestamp()
  where invitation.channel_id = decline_invitation.channel_id and invitation.user_id = identity.require_user_id()
    and invitation.declined_at is null and invitation.expires_at > clock_timestamp();
  if not found then
    raise exception using errcode = 'PT404', message = 'You are not invited.', column = 'channel_id';
  end if;
end;
$$;
comment on function chat.decline_invitation is 'Declines an invitation to a room.';

create function chat.withdraw_invitation(channel_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  delete from chat.room_invitations as invitation
  where invitation.channel_id = channel.id and invitation.user_id = withdraw_invitation.user_id
    and (invitation.invited_by = caller or chat._may(channel.id, 'approve'));
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such invitation.', column = 'user_id';
  end if;
end;
$$;
comment on function chat.withdraw_invitation is
  'Takes an invitation back; for who made it and for who approves requests in the room.';

create function chat.create_room_link(
  channel_id uuid, expires_in integer default 604800, max_uses integer default null
) returns chat.new_room_link
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'invite');
  now     timestamptz := clock_timestamp();
  made    chat.new_room_link;
  link    chat.room_links;
begin
  -- Guards.
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  if expires_in not between 60 and 31536000 then
    raise exception using errcode = 'PT400', column = 'expires_in', message = 'A link holds for a minute to a year.';
  end if;
  delete from chat.room_links as known
  where known.channel_id = channel.id and (known.expires_at <= now or known.uses >= known.max_uses);
  if (select count(*) from chat.room_links as known where known.channel_id = channel.id) >= 100 then
    raise exception using errcode = 'PT409', message = 'A room has at most 100 links.', hint = 'Revoke one first.';
  end if;

  made.token := identity._new_token();
  insert into chat.room_links (channel_id, hash, created_by, created_at, expires_at, max_uses)
  values (
    channel.id, identity._token_hash(made.token), identity.current_user_id(), now,
    now + make_interval(secs => create_room_link.expires_in), create_room_link.max_uses
  )
  returning * into link;
  made.link := link;
  perform chat._note(channel.id, 'link_made', details => jsonb_build_object(
    'link_id', link.id, 'expires_at', link.expires_at, 'max_uses', link.max_uses
  ));
  return made;
end;
$$;
comment on function chat.create_room_link is
  'Makes a link into a room, for `expiresIn` seconds (7 days) and `maxUses` people. Its token is told this once.

@notNull';

create function chat.revoke_room_link(id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  link   chat.room_links;
begin
  select * into link
  from chat.room_links as known
  where known.id = revoke_room_link.id and (known.created_by = caller or chat._may(known.channel_id, 'approve'));
  if link.id is not null then
    perform chat._lock_channel(link.channel_id);
    delete from chat.room_links as known
    where known.id = link.id and (known.created_by = caller or chat._may(known.channel_id, 'approve'));
  end if;
  if link.id is null or not found then
    raise exception using errcode = 'PT404', message = 'There is no such link.', column = 'id';
  end if;
  perform chat._note(link.channel_id, 'link_revoked', details => jsonb_build_object('link_id', link.id));
end;
$$;
comment on function chat.revoke_room_link is
  'Ends a link into a room; for who made it and for who approves requests in the room.';

create function chat.room_by_link(token text) returns chat.room_card
language sql stable security definer set search_path = ''
as $$
  select channel.id, channel.name, channel.description, channel.is_public, room.member_count
  from chat.room_links as link
  join chat.channels as channel on channel.id = link.channel_id
  join chat.rooms as room on room.channel_id = channel.id
  where link.hash = identity._token_hash(token) and link.expires_at > clock_timestamp()
    and (link.max_uses is null or link.uses < link.max_uses)
    and not chat._is_banned(channel.id, identity.require_user_id());
$$;
comment on function chat.room_by_link is 'The room that a link leads to; null where the link does not hold.';

-- Who is in already uses nothing up.
create function chat.join_by_link(token text) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  link    chat.room_links;
  channel chat.channels;
begin
  select * into link from chat.room_links as known where known.hash = identity._token_hash(join_by_link.token);
  select * into channel from chat.channels as known where known.id = link.channel_id for no key update;
  if not exists (
    select from chat.members as member where member.channel_id = channel.id and member.user_id = caller
  ) then
    update chat.room_links as known
    set uses = known.uses + 1
    where known.id = link.id and known.expires_at > clock_timestamp()
      and (known.max_uses is null or known.uses < known.max_uses);
    if not found then
      raise exception using errcode = 'PT404', column = 'token',
        message = 'The link is unknown, expired, used up or revoked.';
    end if;
    if channel.closed_at is not null then
      raise exception using errcode = 'PT409', message = 'The room is closed.';
    end if;
  end if;
  return chat._join(channel, caller, 'member');
end;
$$;
comment on function chat.join_by_link is
  'Makes the caller a member of the room that a link leads to; nothing changes for who is one already.

@notNull';

-- Those who decide are told, the first hundred, in the order of their ids.
create function chat._tell_moderators(channel_id uuid, type text, data jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  moderator uuid;
begin
  for moderator in
    select member.user_id
    from chat.members as member
    where member.channel_id = _tell_moderators.channel_id and member.role <= 'moderator'
    order by member.user_id
    limit 100
  loop
    perform events.publish(
      'user:' || moderator, _tell_moderators.type,
      jsonb_build_object('channel_id', _tell_moderators.channel_id) || _tell_moderators.data
    );
  end loop;
end;
$$;

create function chat.request_to_join(channel_id uuid, text text default null) returns chat.join_requests
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels;
  way     text;
  request chat.join_requests;
begin
  -- Guards. Who has no way in does not even wait for the lock of the room.
  if chat._way_in(channel_id, caller) is not null then
    select * into channel from chat.channels as known where known.id = request_to_join.channel_id for no key update;
    way := chat._way_in(channel.id, caller);
  end if;
  if way is null then
    raise exception using errcode = 'PT404', message = 'There is no such channel.';
  end if;
  if way <> 'approval' then
    raise exception using errcode = 'PT409', message = 'The room does not need to be asked.', hint = 'Use joinRoom.';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  if chat._is_banned(channel.id, caller) then
    raise exception using errcode = 'PT403', message = 'You are banned from this room.';
  end if;
  select * into request
  from chat.join_requests as known
  where known.channel_id = channel.id and known.user_id = caller;
  if request.declined_at > clock_timestamp() - interval '7 days' then
    raise exception using errcode = 'PT409', message = 'Your request was declined; ask again 7 days later.';
  end if;
  if request.user_id is not null and request.declined_at is null then
    return request;
  end if;
  if (
    select count(*)
    from (select from chat.join_requests as known where known.channel_id = channel.id limit 1000) as pending
  ) >= 1000 then
    raise exception using errcode = 'PT409', message = 'A room has at most 1,000 requests that wait.';
  end if;
  if (
    select count(*) from (select from chat.join_requests as known where known.user_id = caller limit 100) as pending
  ) >= 100 then
    raise exception using errcode = 'PT409', message = 'You wait for 100 rooms already.';
  end if;

  delete from chat.join_requests as known where known.channel_id = channel.id and known.user_id = caller;
  insert into chat.join_requests (channel_id, user_id, text)
  values (channel.id, caller, nullif(trim(request_to_join.text), ''))
  returning * into request;
  perform chat._tell_moderators(channel.id, 'join_requested', jsonb_build_object('user_id', caller));
  return request;
end;
$$;
comment on function chat.request_to_join is
  'Asks to be let into a room that approves who comes. Its moderators are told; asking twice is one request.

@notNull';

create function chat.withdraw_request(channel_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from chat.join_requests as request
  where request.channel_id = withdraw_request.channel_id and request.user_id = identity.require_user_id()
    and request.declined_at is null;
  if not found then
    raise exception using errcode = 'PT404', message = 'You have not asked to come in.', column = 'channel_id';
  end if;
end;
$$;
comment on function chat.withdraw_request is 'Takes the caller''s request to come into a room back.';

-- The channel is locked by the caller of this.
create function chat._open_request(channel_id uuid, user_id uuid) returns chat.join_requests
language plpgsql volatile set search_path = ''
as $$
declare
  request chat.join_requests;
begin
  select * into request
  from chat.join_requests as known
  where known.channel_id = _open_request.channel_id and known.user_id = _open_request.user_id
    and known.declined_at is null
  for update;
  if request.user_id is null then
    raise exception using errcode = 'PT404', message = 'They have not asked to come in.', column = 'user_id';
  end if;
  return request;
end;
$$;

create function chat.approve_request(channel_id uuid, user_id uuid) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'approve');
  request chat.join_requests := chat._open_request(channel_id, user_id);
begin
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  perform chat._note(channel.id, 'request_approved', request.user_id);
  return chat._join(channel, request.user_id, 'member');
end;
$$;
comment on function chat.approve_request is
  'Lets someone in who has asked.

@notNull';

create function chat.decline_request(channel_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'approve');
  request chat.join_requests := chat._open_request(channel_id, user_id);
begin
  update chat.join_requests as known
  set declined_at = clock_timestamp()
  where known.channel_id = channel.id and known.user_id = request.user_id;
  perform chat._note(channel.id, 'request_declined', request.user_id);
  perform events.publish(
    'user:' || request.user_id, 'join_request_declined', jsonb_build_object('channel_id', channel.id)
  );
end;
$$;
comment on function chat.decline_request is 'Turns down someone who has asked; they may ask again 7 days later.';

-- --------------------------------------------------------------------------------------------
-- Functions: moderation
-- --------------------------------------------------------------------------------------------

-- What sending asks of a room: that the sender is not muted, may write, and is not too early. For who sends under the
-- channel's lock. A copy of what was sent before is let through: it makes no message (_insert_message).
create function chat._require_voice(channel chat.channels, user_id uuid, nonce text default null) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  now    timestamptz := clock_timestamp();
  sender record;
  taken  timestamptz;
begin
  if channel.kind <> 'room' then
    return;
  end if;
  select
    coalesce(own.is_allowed, member.role <= coalesce(room.lowest_writer, 'member')) as may_write,
    case when member.role > 'moderator' then room.slow_mode_seconds end as wait,
    mute.user_id is not null as is_muted, mute.ends_at
  into sender
  from chat.members as member
  left join chat.rooms as room on room.channel_id = member.channel_id
  left join chat.member_permissions as own
    on own.channel_id = member.channel_id and own.user_id = member.user_id and own.permission = 'write'
  left join chat.room_mutes as mute
    on mute.channel_id = member.channel_id and mute.user_id = member.user_id
    and (mute.ends_at is null or mute.ends_at > now)
  where member.channel_id = channel.id and member.user_id = _require_voice.user_id;
  if sender.may_write and not sender.is_muted and coalesce(sender.wait, 0) = 0 then
    return;
  end if;
  if nonce is not null and exists (
    select from chat.nonces as used where used.sender_id = _require_voice.user_id and used.nonce = _require_voice.nonce
  ) then
    return;
  end if;
  if sender.is_muted then
    raise exception using errcode = 'PT403', message = 'You are muted in this room.',
      hint = 'Until ' || coalesce(to_json(sender.ends_at)::text, 'it is lifted') || '.';
  end if;
  if not sender.may_write then
    raise exception using errcode = 'PT403', message = 'You may not write in this room.';
  end if;

  insert into chat.slow_turns as turn (channel_id, user_id, spoke_at)
  values (channel.id, _require_voice.user_id, now)
  on conflict on constraint slow_turns_pkey do update set spoke_at = excluded.spoke_at
  where turn.spoke_at + make_interval(secs => sender.wait) <= excluded.spoke_at;
  if not found then
    select turn.spoke_at into taken
    from chat.slow_turns as turn
    where turn.channel_id = channel.id and turn.user_id = _require_voice.user_id;
    raise exception using errcode = 'PT429',
      message = format('The room is in slow mode: one message every %s seconds.', sender.wait),
      hint = format('Write again in %s seconds.', ceil(extract(epoch from taken - now) + sender.wait));
  end if;
end;
$$;

-- Until when something holds that was given for so many seconds.
create function chat._end_after(seconds integer) returns timestamptz
language plpgsql volatile set search_path = ''
as $$
begin
  if seconds not between 1 and 31536000 then
    raise exception using errcode = 'PT400', message = 'It holds for a second to a year, or until it is lifted.',
      column = 'seconds';
  end if;
  return clock_timestamp() + make_interval(secs => seconds);
end;
$$;

-- The room is told, and whom it happens to.
create function chat._tell_moderated(
  channel_id uuid, user_id uuid, what text, ends_at timestamptz default null, reason text default null
) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform chat._tell(
    _tell_moderated.channel_id, 'member_' || what,
    jsonb_build_object('user_id', _tell_moderated.user_id, 'ends_at', _tell_moderated.ends_at)
  );
  perform events.publish(
    'user:' || _tell_moderated.user_id, 'membership_' || what,
    jsonb_build_object(
      'channel_id', _tell_moderated.channel_id, 'user_id', _tell_moderated.user_id,
      'ends_at', _tell_moderated.ends_at, 'reason', _tell_moderated.reason
    )
  );
end;
$$;

create function chat.mute_member(
  channel_id uuid, user_id uuid, seconds integer default null, reason text default null
) returns chat.room_mutes
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'mute');
  member  chat.members := chat._require_rank(channel, user_id);
  mute    chat.room_mutes;
begin
  if member.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  insert into chat.room_mutes as known (channel_id, user_id, muted_by, muted_at, ends_at, reason)
  values (
    channel.id, member.user_id, identity.current_user_id(), clock_timestamp(), chat._end_after(mute_member.seconds),
    nullif(trim(mute_member.reason), '')
  )
  on conflict on constraint room_mutes_pkey do update set
    muted_by = excluded.muted_by, muted_at = excluded.muted_at, ends_at = excluded.ends_at, reason = excluded.reason
  returning * into mute;
  perform chat._note(
    channel.id, 'muted', mute.user_id, reason => mute.reason, details => jsonb_build_object('ends_at', mute.ends_at)
  );
  perform chat._tell_moderated(channel.id, mute.user_id, 'muted', mute.ends_at, mute.reason);
  return mute;
end;
$$;
comment on function chat.mute_member is
  'Keeps a member from writing in a room for so many seconds, or until it is lifted. For moderators, about members below
them.

@notNull';

create function chat.unmute_member(channel_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'mute');
begin
  perform chat._require_rank(channel, user_id);
  delete from chat.room_mutes as mute where mute.channel_id = channel.id and mute.user_id = unmute_member.user_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'They are not muted.', column = 'user_id';
  end if;
  perform chat._note(channel.id, 'unmuted', unmute_member.user_id);
  perform chat._tell_moderated(channel.id, unmute_member.user_id, 'unmuted');
end;
$$;
comment on function chat.unmute_member is 'Lets a member write again.';

create function chat.ban_from_room(
  channel_id uuid, user_id uuid, seconds integer default null, reason text default null
) returns chat.room_bans
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'ban');
  member  chat.members := chat._require_rank(channel, user_id);
  ban     chat.room_bans;
begin
  -- Guards.
  if member.user_id is null
    and not exists (select from identity.users as person where person.id = ban_from_room.user_id for key share) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if (
    select count(*) from (select from chat.room_bans as known where known.channel_id = channel.id limit 10000) as held
  ) >= 10000 then
    raise exception using errcode = 'PT409', message = 'A room has at most 10,000 bans.';
  end if;

  insert into chat.room_bans as known (channel_id, user_id, banned_by, banned_at, ends_at, reason)
  values (
    channel.id, ban_from_room.user_id, identity.current_user_id(), clock_timestamp(),
    chat._end_after(ban_from_room.seconds), nullif(trim(ban_from_room.reason), '')
  )
  on conflict on constraint room_bans_pkey do update set
    banned_by = excluded.banned_by, banned_at = excluded.banned_at, ends_at = excluded.ends_at,
    reason = excluded.reason
  returning * into ban;
  delete from chat.room_invitations as known where known.channel_id = channel.id and known.user_id = ban.user_id;
  delete from chat.join_requests as known where known.channel_id = channel.id and known.user_id = ban.user_id;
  delete from chat.members as known where known.channel_id = channel.id and known.user_id = ban.user_id;
  perform chat._note(
    channel.id, 'banned', ban.user_id, reason => ban.reason, details => jsonb_build_object('ends_at', ban.ends_at)
  );
  perform chat._tell_moderated(channel.id, ban.user_id, 'banned', ban.ends_at, ban.reason);
  return ban;
end;
$$;
comment on function chat.ban_from_room is
  'Takes someone out of a room, and keeps them out whichever way they try, for so many seconds or until it is lifted.
For moderators, about who stands below them or is not in.

@notNull';

create function chat.unban_from_room(channel_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  channel chat.channels := chat._lock_room(channel_id, 'ban');
begin
  delete from chat.room_bans as ban where ban.channel_id = channel.id and ban.user_id = unban_from_room.user_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'They are not banned.', column = 'user_id';
  end if;
  perform chat._note(channel.id, 'unbanned', unban_from_room.user_id);
  perform chat._tell_moderated(channel.id, unban_from_room.user_id, 'unbanned');
end;
$$;
comment on function chat.unban_from_room is 'Lifts a ban; they come in again like anyone.';

create function chat.expire_rooms() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with mutes as (
    delete from chat.room_mutes where ends_at < now() returning 1
  ), bans as (
    delete from chat.room_bans where ends_at < now() returning 1
  ), invitations as (
    delete from chat.room_invitations where expires_at < now() returning 1
  ), links as (
    delete from chat.room_links where expires_at < now() - interval '30 days' returning 1
  ), requests as (
    delete from chat.join_requests where created_at < now() - interval '30 days' returning 1
  ), turns as (
    delete from chat.slow_turns where spoke_at < now() - interval '6 hours' returning 1
  )
  select (select count(*) from mutes) + (select count(*) from bans) + (select count(*) from invitations)
    + (select count(*) from links) + (select count(*) from requests) + (select count(*) from turns);
$$;
comment on function chat.expire_rooms is
  'Removes mutes, bans, invitations and turns of slow mode that are over, links a month later, requests a month old;
returns how many rows.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: messages
-- --------------------------------------------------------------------------------------------

-- Makes a month. Its foreign keys stop writers of users and channels, but not readers, from here to the end of the
-- transaction; so it is to be the first that a transaction does. Who waits for a lock makes all others queue behind, so
-- it waits shortly, lets them pass, and tries again.
create function chat._make_partition(month timestamptz) returns boolean
language plpgsql volatile set search_path = '' set lock_timeout = '100ms'
as $$
declare
  name text := 'messages_' || to_char(month at time zone 'UTC', 'YYYY_MM');
begin
  for attempt in 1 .. 25 loop
    begin
      perform pg_advisory_xact_lock(hashtext('chat._make_partition'));
      -- Someone else may have made it meanwhile. Only a query sees that: to_regclass remembers its first answer.
      if exists (select from pg_catalog.pg_class where relname = name and relnamespace = 'chat'::regnamespace) then
        return false;
      end if;
      lock table identity.users, chat.channels in share row exclusive mode;
      execute format('create table chat.%I (like chat.messages including all)', name);
      execute format('alter table chat.%I enable row level security', name);
      execute format(
        'alter table chat.messages attach partition chat.%I for values from (%L) to (%L)',
        name,
        public.uuid_v7_floor(month),
        public.uuid_v7_floor((month at time zone 'UTC' + interval '1 month') at time zone 'UTC')
      );
      return true;
    exception when lock_not_available then
      perform pg_sleep(0.2);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = format('The partition %s cannot be made: what messages refer to is in use for too long.', name),
    hint = 'Try again; pg_stat_activity shows who writes to users or channels and does not end.';
end;
$$;

create function chat._ensure_partition(at timestamptz) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  month timestamptz := date_trunc('month', at, 'UTC');
begin
  return to_regclass('chat.messages_' || to_char(month at time zone 'UTC', 'YYYY_MM')) is null
    and chat._make_partition(month);
end;
$$;

create function chat.ensure_month(at timestamptz) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if at is null or at not between timestamptz '1990-01-01' and now() + interval '10 years' then
    raise exception using errcode = 'PT400', message = 'Months are made from 1990 on, at most 10 years ahead.',
      column = 'at';
  end if;
  return chat._ensure_partition(at);
end;
$$;
comment on function chat.ensure_month is
  'Makes the partition of messages for the month of that time; false where it is there. For who is about to import: a
transaction of its own keeps writers waiting shortly, one that then imports for as long as that takes.

@notNull';

-- Puts a message into a channel whose row is locked, and leaves it to the caller to count it there. A text of null was
-- deleted before it came here (import).
create function chat._insert_message(
  channel chat.channels, sender_id uuid, kind chat.message_kind, text text, nonce text, reply_to_id uuid,
  metadata jsonb, sent_at timestamptz
) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  new_id   uuid := public.uuid_v7_at(sent_at, channel.last_message_id);
  language text := chat._language(coalesce(text, ''));
  message  chat.messages;
begin
  -- The last resort: the month is there when upkeep, or whoever imports, has made it ahead.
  perform chat._ensure_partition(public.uuid_v7_time(new_id));

  -- The nonce's row decides between copies of one message.
  if nonce is not null then
    insert into chat.nonces (sender_id, nonce, message_id)
    values (_insert_message.sender_id, _insert_message.nonce, new_id)
    on conflict on constraint nonces_pkey do nothing;
    if not found then
      select known.* into message
      from chat.nonces as used
      join chat.messages as known on known.id = used.message_id
      where used.sender_id = _insert_message.sender_id and used.nonce = _insert_message.nonce;
      return message;
    end if;
  end if;

  insert into chat.messages (
    id, channel_id, seq, sender_id, kind, text, language, metadata, reply_to_id, sent_at, deleted_at, searched
  )
  values (
    new_id, channel.id, channel.last_seq + 1, _insert_message.sender_id, _insert_message.kind, _insert_message.text,
    language, _insert_message.metadata, _insert_message.reply_to_id, _insert_message.sent_at,
    case when _insert_message.text is null then _insert_message.sent_at end,
    chat._search_vector(language, _insert_message.text)
  )
  returning * into message;
  if message.deleted_at is not null then
    insert into chat.deletions (channel_id, seq, message_id) values (channel.id, message.seq, message.id);
  end if;

  return message;
end;
$$;

-- Puts a message into a channel whose row is locked, and counts it.
create function chat._post(
  channel chat.channels, sender_id uuid, kind chat.message_kind, text text, nonce text, reply_to_id uuid,
  metadata jsonb, sent_at timestamptz
) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  message chat.messages :=
    chat._insert_message(channel, sender_id, kind, text, nonce, reply_to_id, metadata, sent_at);
begin
  update chat.channels as known
  set last_seq = message.seq, last_message_id = message.id, active_at = greatest(known.active_at, message.sent_at)
  where known.id = channel.id and known.id = message.channel_id and known.last_seq < message.seq;
  -- Who speaks has read what stands above. A copy of a message that was sent before changes nothing.
  if found then
    update chat.members as member
    set last_read_seq = message.seq
    where member.channel_id = channel.id and member.user_id = _post.sender_id;
  end if;
  return message;
end;
$$;

create function chat.send_message(
  channel_id uuid, text text, nonce text default null, reply_to_id uuid default null,
  kind chat.message_kind default 'text', metadata jsonb default '{}'
) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  made    boolean := chat._ensure_partition(clock_timestamp());  -- before anything is locked
  channel chat.channels := chat._lock_channel(channel_id);
begin
  -- Guards.
  if chat._caller_role(channel.id) is null then
    raise exception using errcode = 'PT403', message = 'Join the room before you write in it.';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The channel is closed.';
  end if;
  if text is null or text !~ '\S' or char_length(text) > 10000 then
    raise exception using errcode = 'PT400', message = 'A message has 1 to 10,000 characters.', column = 'text';
  end if;
  if kind in ('system', 'bot') then
    raise exception using errcode = 'PT403', message = 'Only the system and bots send such messages.', column = 'kind';
  end if;
  if reply_to_id is not null and not exists (
    select from chat.messages as answered
    where answered.id = send_message.reply_to_id and answered.channel_id = channel.id
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such message to reply to.', column = 'reply_to_id';
  end if;

  perform chat._require_voice(channel, caller, nonce);

  return chat._post(channel, caller, kind, text, nonce, reply_to_id, metadata, clock_timestamp());
end;
$$;
comment on function chat.send_message is
  'Sends a message to a channel. With a `nonce`, unique for the sender, sending again returns the first message.

@notNull';

-- The message and its channel, locked in the order that sending locks them: the channel first.
create function chat._lock_message(id uuid) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  message chat.messages;
begin
  select * into message
  from chat.messages as known
  where known.id = _lock_message.id
    and exists (select from chat._memberships as mine where mine.channel_id = known.channel_id);
  if message.id is not null then
    perform chat._lock_channel(message.channel_id);
    -- Whether they are a member is asked again: they may have left, or been removed, until the lock was theirs.
    select * into message
    from chat.messages as known
    where known.id = _lock_message.id and chat._caller_role(known.channel_id) is not null
    for update;
  end if;
  if message.id is null or message.deleted_at is not null then
    raise exception using errcode = 'PT404', message = 'There is no such message.', column = 'id';
  end if;
  return message;
end;
$$;

create function chat.edit_message(id uuid, text text) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_message(id);
begin
  -- Guards.
  if message.sender_id is distinct from caller then
    raise exception using errcode = 'PT403', message = 'Only its sender edits a message.';
  end if;
  if chat._is_muted(message.channel_id, caller) then
    raise exception using errcode = 'PT403', message = 'You are muted in this room.';
  end if;
  if edit_message.text is null or edit_message.text !~ '\S' or char_length(edit_message.text) > 10000 then
    raise exception using errcode = 'PT400', message = 'A message has 1 to 10,000 characters.', column = 'text';
  end if;

  insert into chat.message_edits (message_id, channel_id, text) values (message.id, message.channel_id, message.text);
  update chat.messages as known set
    text = edit_message.text,
    language = chat._language(edit_message.text),
    searched = chat._search_vector(chat._language(edit_message.text), edit_message.text),
    edited_at = clock_timestamp()
  where known.id = message.id
  returning * into message;
  return message;
end;
$$;
comment on function chat.edit_message is
  'Replaces the text of one''s own message; what it said before is kept in `edits`.

@notNull';

create function chat.delete_message(id uuid, reason text default null) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_message(id);
begin
  if message.sender_id is distinct from caller then
    if not chat._may(message.channel_id, 'delete_messages') then
      raise exception using errcode = 'PT403',
        message = 'Only its sender and the room''s moderators delete a message.';
    end if;
    perform chat._note(
      message.channel_id, 'message_deleted', message.sender_id, message.id, delete_message.reason,
      jsonb_build_object('seq', message.seq)
    );
  end if;

  insert into chat.deletions (channel_id, seq, message_id, deleted_by)
  values (message.channel_id, message.seq, message.id, caller);
  delete from chat.message_edits where message_id = message.id;
  update chat.messages as known
  set text = null, deleted_at = clock_timestamp(), searched = '', metadata = '{}'
  where known.id = message.id
  returning * into message;
  return message;
end;
$$;
comment on function chat.delete_message is
  'Deletes a message: its place and number stay, its text and edits go. For its sender and the room''s moderators.

@notNull';

create function chat.mark_read(channel_id uuid, seq bigint default null) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels;
  mine    chat.members;
  upto    bigint;
begin
  select * into channel from chat.channels as known where known.id = mark_read.channel_id;
  -- Reading is told in a direct chat: its row is locked before the member's, as sending does.
  if channel.kind = 'direct' then
    select * into channel from chat.channels as known where known.id = mark_read.channel_id for no key update;
  end if;
  select * into mine
  from chat.members as member
  where member.channel_id = channel.id and member.user_id = caller
  for no key update;
  if mine.user_id is null then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.';
  end if;
  upto := least(coalesce(mark_read.seq, channel.last_seq), channel.last_seq);
  if upto > coalesce(mine.last_read_seq, mine.joined_seq) or mine.last_read_seq is null then
    update chat.members as member
    set last_read_seq = greatest(upto, mine.joined_seq)
    where member.channel_id = channel.id and member.user_id = caller;
    perform chat._tell_read(channel, caller, greatest(upto, mine.joined_seq));
  end if;
  return channel;
end;
$$;
comment on function chat.mark_read is
  'Moves the caller''s read position up to a `seq`, or to the newest message when it is left out; never back.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: import
-- --------------------------------------------------------------------------------------------

-- The room of that id at the source, locked; made when it is met first.
create function chat._import_room(source text, item jsonb) returns chat.channels
language plpgsql volatile set search_path = ''
as $$
declare
  ref     text := source || ':' || (item ->> 'room_id');
  channel chat.channels;
begin
  if ref is null then
    raise exception using errcode = 'PT400', message = 'A message needs room_id.';
  end if;
  -- Active when its last message was sent, which is before now.
  insert into chat.channels (kind, name, is_public, active_at, external_ref)
  values ('room', item ->> 'room', true, timestamptz '1990-01-01', ref)
  on conflict (external_ref) do nothing;
  select * into channel from chat.channels as known where known.external_ref = ref for no key update;
  -- It is as large as it was there, and goes on to take people in.
  insert into chat.rooms (channel_id, max_members) values (channel.id, 100000) on conflict (channel_id) do nothing;
  return channel;
end;
$$;

-- The message, with its room's next number; null where it was imported before.
create function chat._import_message(source text, channel chat.channels, item jsonb) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  ref    text := source || ':' || (item ->> 'user_id');
  name   text := source || ':' || (item ->> 'message_id');
  sender uuid;
begin
  if item ->> 'message_id' is null or item ->> 'user_id' is null then
    raise exception using errcode = 'PT400', message = 'A message needs message_id and user_id.';
  end if;
  if coalesce(item ->> 'sent_at', '') !~ '^\d{4}-\d\d-\d\dT'
    or (item ->> 'sent_at')::timestamptz
      not between timestamptz '1990-01-01' and clock_timestamp() + interval '1 hour' then
    raise exception using errcode = 'PT400', message = format('It cannot have been sent at %s.', item ->> 'sent_at');
  end if;

  -- Who said it: made when they are met first.
  select known.id into sender from identity.users as known where known.external_ref = ref;
  if sender is null then
    insert into identity.users (username, display_name, external_ref)
    values (identity._free_username(item ->> 'username'), item ->> 'username', ref)
    on conflict (external_ref) do update set external_ref = excluded.external_ref
    returning id into sender;
  end if;
  if exists (select from chat.nonces as used where used.sender_id = sender and used.nonce = name) then
    return null;
  end if;
  insert into chat.members (channel_id, user_id, joined_at, joined_seq)
  values (channel.id, sender, (item ->> 'sent_at')::timestamptz, channel.last_seq)
  on conflict on constraint members_pkey do nothing;
  return chat._insert_message(
    channel, sender, 'text', nullif(trim(item ->> 'text', E' \t\r\n'), ''), name, null, '{}',
    (item ->> 'sent_at')::timestamptz
  );
end;
$$;

-- The time of a message that is to be imported; null where it is none, or out of range.
create function chat._import_time(item jsonb) returns timestamptz
language plpgsql stable set search_path = ''
as $$
declare
  sent_at timestamptz;
begin
  if item ->> 'sent_at' ~ '^\d{4}-\d\d-\d\dT' then
    sent_at := item ->> 'sent_at';
  end if;
  return case
    when sent_at between timestamptz '1990-01-01' and clock_timestamp() + interval '1 hour' then sent_at
  end;
exception when data_exception then
  return null;
end;
$$;

create function chat.import_messages(source text, batch jsonb) returns chat.import_result
language plpgsql volatile security definer set search_path = ''
as $$
declare
  room    record;
  item    jsonb;
  channel chat.channels;
  message chat.messages;
  read_up jsonb;  -- the last number of each sender
  result  chat.import_result := (0, 0, '[]'::jsonb);
begin
  -- Guards.
  if source !~ '^[a-z][a-z0-9_-]{1,30}$' then
    raise exception using errcode = 'PT400', message = 'A source is a short lower-case name.', column = 'source';
  end if;
  if jsonb_typeof(batch) <> 'array' or jsonb_array_length(batch) > 10000 then
    raise exception using errcode = 'PT400', column = 'batch',
      message = 'A batch is a list of at most 10,000 messages.';
  end if;

  -- The months that are missing, before anything else is locked: two imports would wait for each other.
  perform chat._ensure_partition(month)
  from (
    select distinct date_trunc('month', chat._import_time(value), 'UTC') as month
    from jsonb_array_elements(batch)
  ) as wanted
  where month is not null
  order by month;

  perform set_config('plinth.importing', 'on', true);
  -- A room at a time, in one order for all batches. Its count and its members' are written once: a row that is written
  -- again and again within one transaction leaves every version for the next look-up to walk through.
  for room in
    select entry.value ->> 'room_id' as id, jsonb_agg(entry.value order by entry.position) as items
    from jsonb_array_elements(batch) with ordinality as entry (value, position)
    group by 1
    order by 1
  loop
    begin
      channel := chat._import_room(source, room.items -> 0);
    exception
      when data_exception or integrity_constraint_violation or sqlstate 'PT400' then
        result.rejected := result.rejected || (
          select jsonb_agg(jsonb_build_object('line', value -> 'line', 'reason', sqlerrm))
          from jsonb_array_elements(room.items)
        );
        continue;
    end;
    read_up := '{}';
    for item in select value from jsonb_array_elements(room.items) loop
      begin
        message := chat._import_message(source, channel, item);
        if message.id is null then
          result.known := result.known + 1;
        else
          channel.last_seq := message.seq;
          channel.last_message_id := message.id;
          channel.active_at := greatest(channel.active_at, message.sent_at);
          read_up := read_up || jsonb_build_object(message.sender_id::text, message.seq);
          result.added := result.added + 1;
        end if;
      exception
        when data_exception or integrity_constraint_violation or sqlstate 'PT400' then
          result.rejected := result.rejected || jsonb_build_object('line', item -> 'line', 'reason', sqlerrm);
      end;
    end loop;
    update chat.channels as known
    set last_seq = channel.last_seq, last_message_id = channel.last_message_id, active_at = channel.active_at
    where known.id = channel.id and known.last_seq < channel.last_seq;
    update chat.rooms as known
    set member_count = (select count(*) from chat.members as member where member.channel_id = channel.id)
    where known.channel_id = channel.id;
    update chat.members as member
    set last_read_seq = spoken.value::bigint
    from jsonb_each_text(read_up) as spoken
    where member.channel_id = channel.id and member.user_id = spoken.key::uuid;
  end loop;
  perform set_config('plinth.importing', '', true);
  return result;
end;
$$;
comment on function chat.import_messages is
  'Takes over messages from elsewhere, oldest first: a list of {line, room_id, room, sent_at, user_id, username,
message_id, text}. Rooms and users are made as they are met; an empty text is a deleted message; what was imported
before is left as it is. Months that are missing are made first; with ensureMonth before, nobody waits for the batch.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

-- Sending writes the channel's row anyway: the event is counted in the same write.
create function chat._tell_channel() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if new.last_seq > old.last_seq then
    new.event_seq := new.event_seq + 1;
    perform events.publish(
      'channel:' || new.id, case when new.last_seq = old.last_seq + 1 then 'message_sent' else 'messages_imported' end,
      jsonb_build_object('channel_id', new.id, 'message_id', new.last_message_id, 'seq', new.last_seq), new.event_seq
    );
  else
    new.event_seq := new.event_seq + 1;
    -- Who is not a member may listen to a public room only.
    perform events.publish(
      'channel:' || new.id, 'channel_changed', jsonb_build_object('channel_id', new.id), new.event_seq,
      case when old.is_public and not new.is_public then '00000000-0000-0000-0000-000000000000'::uuid end
    );
  end if;
  return new;
end;
$$;
create trigger tell_channel before update on chat.channels
  for each row when (
    (old.last_seq, old.name, old.description, old.is_public, old.owner_id, old.closed_at)
    is distinct from (new.last_seq, new.name, new.description, new.is_public, new.owner_id, new.closed_at)
  )
  execute function chat._tell_channel();

create function chat._tell_message() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform chat._tell(
    new.channel_id, case when new.deleted_at is null then 'message_edited' else 'message_deleted' end,
    jsonb_build_object('message_id', new.id, 'seq', new.seq)
  );
  return null;
end;
$$;
create trigger tell_message after update of edited_at, deleted_at on chat.messages
  for each row execute function chat._tell_message();

-- In the channel, and to whom it happens: their right to listen there begins or ends with it.
create function chat._tell_member() returns trigger
language plpgsql set search_path = ''
as $$
declare
  member chat.members := coalesce(new, old);
  told   text := case tg_op when 'INSERT' then 'joined' when 'DELETE' then 'left' else 'changed' end;
begin
  perform chat._tell(
    member.channel_id, 'member_' || told, jsonb_build_object('user_id', member.user_id, 'role', member.role),
    case when tg_op = 'DELETE' then member.user_id end
  );
  perform events.publish(
    'user:' || member.user_id, 'membership_' || told,
    jsonb_build_object('channel_id', member.channel_id, 'user_id', member.user_id, 'role', member.role),
    rechecks => member.user_id
  );
  return null;
end;
$$;
create trigger tell_member after insert or delete on chat.members
  for each row execute function chat._tell_member();
create trigger tell_member_changed after update of role on chat.members
  for each row when (old.role <> new.role) execute function chat._tell_member();

-- A removed account owns no room and opens no direct chat: its rooms go to the next in rank, its direct chats stay with
-- the other side, to read.
create function chat._leave_everything() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  room chat.channels;
begin
  update chat.channels as channel set closed_at = now()
  from chat.direct_pairs as pair
  where pair.channel_id = channel.id and new.id in (pair.first_user_id, pair.second_user_id);
  delete from chat.direct_pairs where first_user_id = new.id or second_user_id = new.id;

  -- In the order of their ids, so that two who go at once do not wait for each other.
  for room in
    select channel.*
    from chat.channels as channel
    join chat.members as member on member.channel_id = channel.id and member.user_id = new.id
    where channel.kind = 'room'
    order by channel.id
    for no key update of channel
  loop
    perform chat._leave(room, new.id);
  end loop;
  return null;
end;
$$;
create trigger leave_everything after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function chat._leave_everything();

-- Rooms.

-- How many are in a room, and what ends with coming in: the invitation, the request. A statement at a time, so that who
-- loads thousands writes the count once. A room's row is made here: none is needed before.
create function chat._count_joined() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- An import counts once a room: a row that is written for each member leaves every version for the next to walk past.
  if current_setting('plinth.importing', true) = 'on' then
    return null;
  end if;
  update chat.rooms as room
  set member_count = room.member_count + came.count
  from (select joined.channel_id, count(*) as count from joined group by 1) as came
  where room.channel_id = came.channel_id;
  insert into chat.rooms as room (channel_id, member_count)
  select channel.id, (select count(*) from chat.members as member where member.channel_id = channel.id)
  from chat.channels as channel
  where channel.id in (select joined.channel_id from joined) and channel.kind = 'room'
    and not exists (select from chat.rooms as known where known.channel_id = channel.id);
  delete from chat.room_invitations as invitation
  using joined
  where invitation.channel_id = joined.channel_id and invitation.user_id = joined.user_id;
  delete from chat.join_requests as request
  using joined
  where request.channel_id = joined.channel_id and request.user_id = joined.user_id;
  return null;
end;
$$;
create trigger count_joined after insert on chat.members
  referencing new table as joined
  for each statement execute function chat._count_joined();

-- Who has left lets nobody in any more, and has no rights beyond those of who comes anew.
create function chat._count_left() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update chat.rooms as room
  set member_count = room.member_count - went.count
  from (select departed.channel_id, count(*) as count from departed group by 1) as went
  where room.channel_id = went.channel_id;
  delete from chat.member_permissions as own
  using departed
  where own.channel_id = departed.channel_id and own.user_id = departed.user_id and own.is_allowed;
  delete from chat.room_links as link
  using departed
  where link.channel_id = departed.channel_id and link.created_by = departed.user_id;
  delete from chat.room_invitations as invitation
  using departed
  where invitation.channel_id = departed.channel_id and invitation.invited_by = departed.user_id;
  return null;
end;
$$;
create trigger count_left after delete on chat.members
  referencing old table as departed
  for each statement execute function chat._count_left();

-- What was taken from a member is not taken from an owner.
create function chat._free_owner() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from chat.member_permissions as own where own.channel_id = new.channel_id and own.user_id = new.user_id;
  delete from chat.room_mutes as mute where mute.channel_id = new.channel_id and mute.user_id = new.user_id;
  return null;
end;
$$;
create trigger free_owner after update of role on chat.members
  for each row when (old.role <> 'owner' and new.role = 'owner')
  execute function chat._free_owner();

-- A removed account asks for nothing and is invited nowhere; what it had made ends with its memberships.
create function chat._forget_requests() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from chat.room_invitations as invitation where invitation.user_id = new.id;
  delete from chat.join_requests as request where request.user_id = new.id;
  return null;
end;
$$;
create trigger forget_requests after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function chat._forget_requests();

create function chat._keep_moderation_entries() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'PT403', message = 'Nobody changes or removes what the log of moderation holds.';
end;
$$;
create trigger keep_moderation_entries before update or delete on chat.moderation_entries
  for each row execute function chat._keep_moderation_entries();
create trigger keep_all_moderation_entries before truncate on chat.moderation_entries
  for each statement execute function chat._keep_moderation_entries();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

alter table chat.channels enable row level security;
create policy members_see_their_channels_and_public_rooms on chat.channels for select to member
  using (is_public or exists (select from chat._memberships as mine where mine.channel_id = id));

-- `offset 0` keeps what follows a look-up by key for the row at hand. Postgres would else gather all that the caller
-- may read into a hash table once a statement: with ten thousand public rooms that takes longer than the page (see
-- docs/decisions/0006). What one is a member of is little, and better gathered.
alter table chat.members enable row level security;
create policy members_see_who_is_in_what_they_may_read on chat.members for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = members.channel_id offset 0));

alter table chat.messages enable row level security;
create policy members_see_messages_of_what_they_may_read on chat.messages for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = messages.channel_id offset 0));

alter table chat.message_edits enable row level security;
create policy members_see_edits_in_what_they_may_read on chat.message_edits for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = message_edits.channel_id offset 0));

-- No policy, no grant: only the functions above reach these.
alter table chat.direct_pairs enable row level security;
alter table chat.deletions enable row level security;
alter table chat.nonces enable row level security;
alter table chat.common_words enable row level security;

-- Rooms.

alter table chat.rooms enable row level security;
create policy members_see_rooms_that_they_may_read on chat.rooms for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = rooms.channel_id offset 0));

alter table chat.member_permissions enable row level security;
create policy members_see_their_own_permissions on chat.member_permissions for select to member
  using (user_id = (select identity.current_user_id()));
create policy moderators_see_permissions on chat.member_permissions for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = member_permissions.channel_id offset 0));

alter table chat.room_mutes enable row level security;
create policy members_see_their_own_mutes on chat.room_mutes for select to member
  using (user_id = (select identity.current_user_id()));
create policy moderators_see_mutes on chat.room_mutes for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = room_mutes.channel_id offset 0));

alter table chat.room_bans enable row level security;
create policy members_see_their_own_bans on chat.room_bans for select to member
  using (user_id = (select identity.current_user_id()));
create policy moderators_see_bans on chat.room_bans for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = room_bans.channel_id offset 0));

alter table chat.room_invitations enable row level security;
create policy members_see_their_own_invitations on chat.room_invitations for select to member
  using ((select identity.current_user_id()) in (user_id, invited_by));
create policy moderators_see_invitations on chat.room_invitations for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = room_invitations.channel_id offset 0));

alter table chat.room_links enable row level security;
create policy members_see_links_that_they_made on chat.room_links for select to member
  using (created_by = (select identity.current_user_id()));
create policy moderators_see_links on chat.room_links for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = room_links.channel_id offset 0));

alter table chat.join_requests enable row level security;
create policy members_see_their_own_requests on chat.join_requests for select to member
  using (user_id = (select identity.current_user_id()));
create policy moderators_see_requests on chat.join_requests for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = join_requests.channel_id offset 0));

alter table chat.moderation_entries enable row level security;
create policy moderators_see_the_log_of_their_rooms on chat.moderation_entries for select to member
  using (exists (select from chat._moderated as mine where mine.channel_id = moderation_entries.channel_id offset 0));
create policy operators_see_the_log_of_all_rooms on chat.moderation_entries for select to operator
  using (true);

alter table chat.slow_turns enable row level security;

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on chat.channels, chat.members, chat.messages, chat.message_edits to member;
grant select on chat._memberships, chat._readable to member;

revoke execute on all functions in schema chat from public;
grant execute on function chat.can_read, chat.my_channels, chat.unread_total to member;
grant execute on function chat.last_message, chat.unread, chat.other_user to member;
grant execute on function chat.reply_to, chat.replies, chat.edits, chat.search_messages, chat.highlight to member;
grant execute on function chat.open_direct, chat.create_room, chat.join_room, chat.leave_channel to member;
grant execute on function chat.add_member, chat.remove_member to member;
grant execute on function chat.send_message, chat.edit_message, chat.delete_message, chat.mark_read to member;
grant execute on function chat.listen_to_channel, chat.listen_to_user to member;
grant execute on function chat.listen_to_typing to member;
grant execute on function chat.message_events, chat.channel_events, chat.user_events to member;
grant execute on function chat.typing, chat.set_typing to member;
grant execute on function chat.ensure_month, chat.import_messages to service;

-- Rooms.
grant select (
  channel_id, member_count, max_members, requires_approval, members_may_invite, lowest_writer, slow_mode_seconds,
  has_password
) on chat.rooms to member;
grant select (id, channel_id, created_by, created_at, expires_at, max_uses, uses) on chat.room_links to member;
grant select on
  chat.member_permissions, chat.room_mutes, chat.room_bans, chat.room_invitations, chat.join_requests,
  chat.moderation_entries to member;
grant select on chat._moderated to member;
grant execute on function chat.room_password_salt, chat.new_room_password_salt, chat.set_room_password to member;
grant execute on function chat.update_room, chat.archive_room, chat.reopen_room, chat.hand_over_room to member;
grant execute on function chat.change_member_role, chat.set_member_permission to member;
grant execute on function chat.least_role, chat.my_permissions to member;
grant execute on function chat.invite_to_room, chat.my_invitations, chat.card to member;
grant execute on function chat.decline_invitation, chat.withdraw_invitation to member;
grant execute on function chat.create_room_link, chat.revoke_room_link, chat.room_by_link, chat.join_by_link to member;
grant execute on function chat.request_to_join, chat.withdraw_request to member;
grant execute on function chat.approve_request, chat.decline_request to member;
grant execute on function chat.mute_member, chat.unmute_member, chat.ban_from_room, chat.unban_from_room to member;

-- --------------------------------------------------------------------------------------------
-- Rooms of organizations
-- --------------------------------------------------------------------------------------------
-- Who is in such a room is decided by the organization alone: _follow brings the members of rooms in line with it, in
-- the transaction of the change, and nobody joins, is added, leaves or is removed by hand.

create table chat.organization_rooms (
  channel_id          uuid        primary key references chat.channels (id) on delete cascade,
  organization_id     uuid        not null references organizations.organizations (id) on delete cascade,
  department_id       uuid        references organizations.departments (id) on delete cascade,  -- null: of all
  with_subdepartments boolean     not null default false,
  is_behind           boolean     not null default false,
  created_at          timestamptz not null default now(),

  constraint only_departments_have_subdepartments check (department_id is not null or not with_subdepartments)
);
comment on table  chat.organization_rooms                     is
  'That a room belongs to an organization or a department: who is there is in the room, and nobody else.';
comment on column chat.organization_rooms.channel_id          is 'The room.';
comment on column chat.organization_rooms.organization_id     is 'The organization.';
comment on column chat.organization_rooms.department_id       is
  'The department, whose manager is in the room, too; null for the whole organization.';
comment on column chat.organization_rooms.with_subdepartments is 'Whether those of the departments below are in it.';
comment on column chat.organization_rooms.is_behind           is
  'Whether some who belong in it are still to come: more than 1,000 at once are brought in within minutes.';
comment on column chat.organization_rooms.created_at          is 'Since when.';
comment on constraint organization_rooms_organization_id_fkey on chat.organization_rooms is '@inverse rooms';
comment on constraint organization_rooms_department_id_fkey on chat.organization_rooms is '@inverse rooms';
create index organization_rooms_organization_id_channel_id_idx
  on chat.organization_rooms (organization_id, channel_id);
create index organization_rooms_department_id_idx
  on chat.organization_rooms (department_id) where department_id is not null;
-- What chat.follow_organizations looks for.
create index organization_rooms_behind_idx on chat.organization_rooms (channel_id) where is_behind;

-- Who belongs in which room of an organization.
create view chat._organization_room_members as
select room.channel_id, room.organization_id, held.user_id
from chat.organization_rooms as room
join organizations.memberships as held on held.organization_id = room.organization_id
left join organizations.departments as own on own.id = held.department_id
where room.department_id is null
  or room.department_id = held.department_id
  or (room.with_subdepartments and room.department_id = any (own.lineage))
  or exists (
    select
    from organizations.departments as led
    where led.id = room.department_id and led.manager_id = held.user_id
  );
comment on view chat._organization_room_members is
  'Who belongs in the rooms of organizations.

@asOwner';

-- Brings the rooms of an organization in line for some of its people, or one of its rooms for all. The organization is
-- locked, so nothing else does so; rooms are locked in the order of their ids. Whoever has to go goes at once; those
-- who come are told of one by one, so that more than `most` of them are left to follow_organizations. Planned for what
-- is asked: one plan for one person and for all would read all the members each time.
create function chat._follow(
  organization_id uuid, user_ids uuid[], channel_id uuid default null, most integer default 1000
) returns void
language plpgsql volatile set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  change  record;
  channel chat.channels;
  leaving uuid;
begin
  for change in
    select
      coalesce(wanted.channel_id, present.channel_id) as channel_id,
      array_agg(wanted.user_id order by wanted.user_id) filter (where present.user_id is null) as joiners,
      array_agg(present.user_id order by present.user_id) filter (where wanted.user_id is null) as leavers
    from (
      select belonging.channel_id, belonging.user_id
      from chat._organization_room_members as belonging
      where belonging.organization_id = _follow.organization_id
        and (_follow.user_ids is null or belonging.user_id = any (_follow.user_ids))
        and (_follow.channel_id is null or belonging.channel_id = _follow.channel_id)
    ) as wanted
    full join (
      select member.channel_id, member.user_id
      from chat.organization_rooms as room
      join chat.members as member on member.channel_id = room.channel_id
      where room.organization_id = _follow.organization_id
        and (_follow.user_ids is null or member.user_id = any (_follow.user_ids))
        and (_follow.channel_id is null or member.channel_id = _follow.channel_id)
    ) as present on present.channel_id = wanted.channel_id and present.user_id = wanted.user_id
    where wanted.user_id is null or present.user_id is null
    group by 1
    order by 1
  loop
    select * into channel from chat.channels as known where known.id = change.channel_id for no key update;
    foreach leaving in array coalesce(change.leavers, '{}') loop
      perform chat._leave(channel, leaving);
    end loop;
    insert into chat.members (channel_id, user_id, joined_seq)
    select channel.id, joining, channel.last_seq
    from unnest(change.joiners[1:most]) as joining
    on conflict on constraint members_pkey do nothing;
    update chat.organization_rooms as room set is_behind = true
    where room.channel_id = channel.id and cardinality(change.joiners) > most and not room.is_behind;
    -- All had left it: the first who comes back answers for it.
    update chat.channels as known set owner_id = change.joiners[1]
    where known.id = channel.id and known.owner_id is null and cardinality(change.joiners) > 0;
    if found then
      update chat.members as member set role = 'owner'
      where member.channel_id = channel.id and member.user_id = change.joiners[1];
    end if;
  end loop;
end;
$$;

create function chat.follow_organizations() returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  room  record;
  count bigint := 0;
begin
  -- Where someone is at work, later: the organization is locked before its rooms.
  for room in
    select behind.channel_id, behind.organization_id
    from chat.organization_rooms as behind
    join organizations.organizations as place on place.id = behind.organization_id
    where behind.is_behind
    order by behind.organization_id, behind.channel_id
    limit 10
    for no key update of place skip locked
  loop
    update chat.organization_rooms as known set is_behind = false where known.channel_id = room.channel_id;
    perform chat._follow(room.organization_id, null, room.channel_id, 5000);
    count := count + 1;
  end loop;
  return count;
end;
$$;
comment on function chat.follow_organizations is
  'Brings in those who belong in large rooms of organizations, 5,000 a room at a time; returns how many rooms.

@notNull';

create function chat.create_organization_room(
  organization_id uuid, name text, description text default null, department_id uuid default null,
  with_subdepartments boolean default false
) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  place   organizations.organizations := organizations._require(organization_id, 'write', 'rooms');
  channel chat.channels;
begin
  -- Guards.
  if department_id is not null and not exists (
    select
    from organizations.departments as known
    where known.id = create_organization_room.department_id and known.organization_id = place.id
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such department.', column = 'department_id';
  end if;
  if (select count(*) from chat.organization_rooms as room where room.organization_id = place.id) >= 200 then
    raise exception using errcode = 'PT409', message = 'An organization has at most 200 rooms.';
  end if;

  insert into chat.channels (kind, name, description)
  values ('room', trim(create_organization_room.name), nullif(create_organization_room.description, ''))
  returning * into channel;
  insert into chat.organization_rooms (channel_id, organization_id, department_id, with_subdepartments)
  values (
    channel.id, place.id, create_organization_room.department_id,
    create_organization_room.with_subdepartments and create_organization_room.department_id is not null
  );
  -- Who makes it answers for it, where they belong in it.
  if exists (
    select
    from chat._organization_room_members as belonging
    where belonging.channel_id = channel.id and belonging.user_id = caller
  ) then
    perform chat._join(channel, caller, 'owner');
    update chat.channels as known set owner_id = caller where known.id = channel.id;
  end if;
  perform chat._follow(place.id, null, channel.id);
  select * into channel from chat.channels as known where known.id = channel.id;
  return channel;
end;
$$;
comment on function chat.create_organization_room is
  'Makes a room that everyone in the organization, or in one of its departments, is in for as long as they are there. It
takes {"rooms": ["write"]}.

@notNull';

create function chat.release_organization_room(channel_id uuid) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  room    chat.organization_rooms;
  channel chat.channels;
begin
  select * into room
  from chat.organization_rooms as known
  where known.channel_id = release_organization_room.channel_id
    and known.organization_id in (select organizations._known());
  if room.channel_id is not null then
    perform organizations._require(room.organization_id, 'delete', 'rooms');
  end if;
  delete from chat.organization_rooms as known where known.channel_id = room.channel_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such room of an organization.',
      column = 'channel_id';
  end if;
  select * into channel from chat.channels as known where known.id = room.channel_id;
  return channel;
end;
$$;
comment on function chat.release_organization_room is
  'Makes a room of an organization an ordinary one: who is in it stays, and may leave. It takes {"rooms": ["delete"]}.';

-- The rule itself, whatever the way: in the room is who belongs there. Where a row goes with its channel or user,
-- neither is there any more.
create function chat._keep_to_organization() returns trigger
language plpgsql set search_path = ''
as $$
declare
  member  chat.members := coalesce(new, old);
  belongs boolean;
begin
  if exists (select from chat.organization_rooms as room where room.channel_id = member.channel_id) then
    belongs := exists (
      select
      from chat._organization_room_members as belonging
      where belonging.channel_id = member.channel_id and belonging.user_id = member.user_id
    );
    if belongs <> (tg_op = 'INSERT') and exists (select from chat.channels where id = member.channel_id)
      and exists (select from identity.users where id = member.user_id) then
      raise exception using errcode = 'PT409', message = 'This room follows its organization.',
        hint = 'Who is in the organization or the department is in the room; nobody joins or leaves it by hand.';
    end if;
  end if;
  return member;
end;
$$;
create trigger keep_to_organization before insert or delete on chat.members
  for each row execute function chat._keep_to_organization();

-- What an organization says among itself is not for everyone: released, the room may become public.
create function chat._keep_private() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if exists (select from chat.organization_rooms as room where room.channel_id = new.id) then
    raise exception using errcode = 'PT409', message = 'A room of an organization is not public.';
  end if;
  return new;
end;
$$;
create trigger keep_private before update of is_public on chat.channels
  for each row when (new.is_public and not old.is_public)
  execute function chat._keep_private();

create function chat._follow_member() returns trigger
language plpgsql set search_path = ''
as $$
declare
  held organizations.memberships := coalesce(new, old);
begin
  perform chat._follow(held.organization_id, array[held.user_id]);
  return null;
end;
$$;
create trigger follow_member after insert or delete on organizations.memberships
  for each row execute function chat._follow_member();
create trigger follow_member_moved after update on organizations.memberships
  for each row when (old.department_id is distinct from new.department_id)
  execute function chat._follow_member();

-- A new manager concerns two people, a move all who work there.
create function chat._follow_department() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform chat._follow(new.organization_id, array(
    select person.id
    from (select old.manager_id as id union select new.manager_id) as person
    where person.id is not null
    union
    select held.user_id
    from organizations.memberships as held
    where held.department_id = new.id and old.lineage is distinct from new.lineage
  ));
  return null;
end;
$$;
create trigger follow_department after update on organizations.departments
  for each row when ((old.manager_id, old.lineage) is distinct from (new.manager_id, new.lineage))
  execute function chat._follow_department();

-- Whom it would leave in them nobody could say. Where the organization goes, all of it does.
create function chat._keep_department() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if exists (select from chat.organization_rooms as room where room.department_id = old.id)
    and exists (select from organizations.organizations as place where place.id = old.organization_id) then
    raise exception using errcode = 'PT409', message = 'The department has rooms.', hint = 'Release them first.';
  end if;
  return old;
end;
$$;
create trigger keep_department before delete on organizations.departments
  for each row execute function chat._keep_department();

-- The rooms of a closed organization take no messages; opened again, they are as they were.
create function chat._follow_closing() returns trigger
language plpgsql set search_path = ''
as $$
begin
  update chat.channels as channel set closed_at = new.closed_at
  where channel.id in (
    select room.channel_id
    from chat.organization_rooms as room
    join chat.channels as known on known.id = room.channel_id
    where room.organization_id = new.id and known.closed_at is not distinct from old.closed_at
    order by known.id
    for no key update of known
  );
  return null;
end;
$$;
create trigger follow_closing after update on organizations.organizations
  for each row when (old.closed_at is distinct from new.closed_at)
  execute function chat._follow_closing();

alter table chat.organization_rooms enable row level security;
create policy members_see_which_rooms_of_theirs_follow on chat.organization_rooms for select to member
  using (
    exists (select from chat._readable as readable where readable.channel_id = organization_rooms.channel_id offset 0)
    or organization_id = any (array(select organizations._where_may('write', 'rooms')))
  );

revoke execute on function
  chat._follow, chat.follow_organizations, chat.create_organization_room, chat.release_organization_room,
  chat._keep_to_organization, chat._keep_private, chat._keep_department, chat._follow_member,
  chat._follow_department, chat._follow_closing from public;
grant select on chat.organization_rooms to member;
grant execute on function chat.create_organization_room, chat.release_organization_room to member;

-- ============================================================================================
-- files: what is uploaded, attached to messages, and downloaded
-- ============================================================================================
-- The bytes stand in the storage (FILE_STORAGE), under random names that are never given twice. A name is noted as a
-- leftover before anything is written under it, and claimed when it is whole: whatever dies in between is cleaned away.
-- Bytes that are known already (by their SHA-256) are kept once. docs/files.md tells the way of a file.

create schema files;
comment on schema files is 'Files that are uploaded, attached to messages, and downloaded.';
grant usage on schema files to plinth_server, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type files.upload_state as enum ('open', 'checking', 'done', 'refused');
comment on type files.upload_state is 'Waiting for the bytes, being checked, a file, or why not.';

-- Two values that the server completes: it puts the key of an upload in the place of a part of a multipart request, and
-- an address to put bytes to in the place of {put, bytes, seconds, path}.
create domain files.upload as uuid;
comment on domain files.upload is
  'A file of a multipart request (graphql-multipart-request-spec).

@upload';

create domain files.upload_address as jsonb;
comment on domain files.upload_address is
  'Where the bytes of an upload are to be put.

@presign';

create type files.file_usage as (
  bytes           bigint,
  files           bigint,
  most_bytes      bigint,
  most_files      bigint,
  most_file_bytes bigint
);
comment on type   files.file_usage                 is 'What someone''s files take, and may take.';
comment on column files.file_usage.bytes           is 'What they take.';
comment on column files.file_usage.files           is 'How many there are.';
comment on column files.file_usage.most_bytes      is 'What they may take.';
comment on column files.file_usage.most_files      is 'How many there may be.';
comment on column files.file_usage.most_file_bytes is 'The largest that one may be.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- A DBA edits the row; applied again, the file leaves it.
create table files.limits (
  only_one        boolean  primary key default true,
  file_bytes      bigint   not null default 104857600,
  user_bytes      bigint   not null default 5368709120,
  user_files      bigint   not null default 100000,
  open_uploads    integer  not null default 20,
  kept_uploads    integer  not null default 1000,
  message_files   integer  not null default 10,
  upload_lifetime interval not null default interval '1 hour',
  link_lifetime   interval not null default interval '1 hour',
  kept_unused     interval not null default interval '1 day',
  image_bytes     bigint   not null default 33554432,
  image_pixels    bigint   not null default 50000000,
  preview_size    integer  not null default 640,

  constraint there_is_one_row                    check (only_one),
  constraint limits_let_something_through        check (
    least(file_bytes, user_bytes, user_files, open_uploads, kept_uploads, message_files, image_pixels) > 0
  ),
  constraint a_message_has_at_most_100_files     check (message_files <= 100),
  constraint uploads_live_a_minute_to_a_day      check (
    upload_lifetime between interval '1 minute' and interval '1 day'
  ),
  constraint links_live_a_minute_to_a_week       check (
    link_lifetime between interval '1 minute' and interval '7 days'
  ),
  constraint unused_files_are_kept_for_an_hour   check (kept_unused >= interval '1 hour'),
  constraint preview_size_is_16_to_4096          check (preview_size between 16 and 4096)
);
comment on table  files.limits                 is 'How much may be uploaded, and how long things last.';
comment on column files.limits.file_bytes      is 'The largest file.';
comment on column files.limits.user_bytes      is 'What the files of one user may take; files.quotas has exceptions.';
comment on column files.limits.user_files      is 'How many files one user may have.';
comment on column files.limits.open_uploads    is 'How many uploads of one user may be under way at once.';
comment on column files.limits.kept_uploads    is 'How many uploads one user may begin within their lifetime.';
comment on column files.limits.message_files   is 'How many files a message may have.';
comment on column files.limits.upload_lifetime is 'How long an upload may take.';
comment on column files.limits.link_lifetime   is 'How long a link holds at least; at most twice as long.';
comment on column files.limits.kept_unused     is 'How long a file is kept that nothing refers to.';
comment on column files.limits.image_bytes     is 'The largest image of which a preview is made, as a file;';
comment on column files.limits.image_pixels    is 'and in pixels: a small file can be a large image.';
comment on column files.limits.preview_size    is 'The longest side of a preview, in pixels.';
insert into files.limits default values on conflict do nothing;

create table files.quotas (
  user_id uuid   primary key references identity.users (id) on delete cascade,
  bytes   bigint not null,

  constraint quota_is_not_negative check (bytes >= 0)
);
comment on table  files.quotas         is 'Users whose files may take more, or less, than others''.';
comment on column files.quotas.user_id is 'Whose.';
comment on column files.quotas.bytes   is 'What they may take.';

create table files.usage (
  user_id uuid   primary key references identity.users (id) on delete cascade,
  bytes   bigint not null default 0,
  files   bigint not null default 0
) with (fillfactor = 50);
comment on table files.usage is 'What the files of each user take, counted as they come and go.';

-- Signed with the newest; a link of any of them holds. Who inserts a row signs with it from then on, who deletes one
-- ends its links. 64 bytes each, for the two hashes of HMAC.
create table files.link_keys (
  id        integer generated always as identity primary key,
  inner_key bytea   not null default
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
  outer_key bytea   not null default
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);
comment on table files.link_keys is 'What links to files are signed with.';
insert into files.link_keys default values;

create table files.leftovers (
  stored    text        primary key,
  remove_at timestamptz not null
);
comment on table files.leftovers is
  'What stands in the storage, or may, and is no file: it goes unless it is claimed before.';
-- What _due_leftovers looks for.
create index leftovers_remove_at_idx on files.leftovers (remove_at);

create table files.contents (
  id             uuid        primary key default public.uuid_v7(),
  sha256         bytea       not null unique,
  stored         text        not null,
  bytes          bigint      not null,
  media_type     text        not null,
  width          integer,                                    -- null: no image, or none that could be read
  height         integer,
  preview        text,                                       -- null: none
  preview_width  integer,
  preview_height integer,
  preview_bytes  bigint,
  problem        text,                                       -- null: there is a preview, or none is wanted
  loose_since    timestamptz default now(),                  -- null: a file has it

  constraint sha256_has_32_bytes check (octet_length(sha256) = 32)
);
comment on table  files.contents             is 'Bytes in the storage; those of several files where they are the same.';
comment on column files.contents.stored      is 'Their name there.';
comment on column files.contents.preview     is 'The name of the preview there.';
comment on column files.contents.problem     is 'Why there is no preview.';
comment on column files.contents.loose_since is 'Since when no file may have it; expire_files looks, and clears it.';
-- What expire_files looks for.
create index contents_loose_since_idx on files.contents (loose_since) where loose_since is not null;

-- What a file tells of its content stands here as well, so that lists read one table.
create table files.files (
  id             uuid        primary key default public.uuid_v7(),
  owner_id       uuid        references identity.users (id) on delete set null,  -- null: they are gone
  content_id     uuid        not null references files.contents (id),
  name           text        not null,
  media_type     text        not null,
  bytes          bigint      not null,
  sha256         bytea       not null,
  width          integer,                                    -- null: no image, or not known yet
  height         integer,
  preview_width  integer,                                    -- null: no preview, or not yet
  preview_height integer,
  is_public      boolean     not null default false,
  created_at     timestamptz not null default now(),
  loose_since    timestamptz,                                -- null: something refers to it, or it is public

  constraint name_is_1_to_200_characters check (char_length(name) between 1 and 200)
);
comment on table  files.files                is
  'A file that someone has uploaded: seen by who may see a message that it is attached to, by its owner, and by all if
it is public.

@order id desc';
comment on column files.files.id             is 'The key; rises with the time of the upload.';
comment on column files.files.owner_id       is 'Who uploaded it.';
comment on column files.files.content_id     is
  'Its bytes.

@hide';
comment on column files.files.name           is 'What it is called, up to 200 characters.';
comment on column files.files.media_type     is 'What it is, as its bytes say: `image/png`.';
comment on column files.files.bytes          is 'Its size.';
comment on column files.files.sha256         is 'Its SHA-256.';
comment on column files.files.width          is 'Of an image, in pixels; null until it has been read.';
comment on column files.files.height         is 'Of an image, in pixels.';
comment on column files.files.preview_width  is 'Of its preview; null for none.';
comment on column files.files.preview_height is 'Of its preview.';
comment on column files.files.is_public      is 'Whether anyone may see it, signed in or not.';
comment on column files.files.created_at     is 'When it was uploaded.';
comment on column files.files.loose_since    is
  'Since when nothing may refer to it; expire_files looks, and clears or removes it.

@hide';
-- The files of a user, the newest first.
create index files_owner_id_id_idx on files.files (owner_id, id desc);
create index files_content_id_idx on files.files (content_id);
-- What expire_files looks for.
create index files_loose_since_idx on files.files (loose_since) where loose_since is not null;

-- No foreign key names a message (see chat.messages); triggers and expire_files take its place.
create table files.attachments (
  message_id uuid     not null,
  position   smallint not null,
  file_id    uuid     not null references files.files (id),
  channel_id uuid     not null references chat.channels (id) on delete cascade,

  primary key (message_id, position)
);
comment on table  files.attachments            is
  'Which files a message has.

@hide';
comment on column files.attachments.message_id is 'The message.';
comment on column files.attachments.position   is 'Which of its files, from 1.';
comment on column files.attachments.file_id    is 'The file.';
comment on column files.attachments.channel_id is 'Where the message is.';
-- Whether anything refers to a file, and who may see it by that.
create index attachments_file_id_idx on files.attachments (file_id);
create index attachments_channel_id_idx on files.attachments (channel_id);

create table files.file_uploads (
  id         uuid               primary key default public.uuid_v7(),
  owner_id   uuid               not null references identity.users (id) on delete cascade,
  name       text               not null,
  bytes      bigint,                                         -- null: not told
  is_public  boolean            not null default false,
  state      files.upload_state not null default 'open',
  problem    text,                                           -- null: not refused
  incoming   text,                                           -- null: in a multipart request
  content_id uuid               references files.contents (id),  -- null: not checked yet
  file_id    uuid               references files.files (id) on delete cascade,  -- null: not done
  created_at timestamptz        not null default now(),
  expires_at timestamptz        not null,

  constraint what_is_refused_says_why check ((state = 'refused') = (problem is not null)),
  constraint what_is_done_has_a_file  check ((state = 'done') = (file_id is not null))
);
comment on table  files.file_uploads            is
  'A file on its way: put its bytes to `uploadUrl`, then say completeUpload.

@order id desc';
comment on column files.file_uploads.id         is 'The key.';
comment on column files.file_uploads.owner_id   is 'Whose it is.';
comment on column files.file_uploads.name       is 'What the file will be called.';
comment on column files.file_uploads.bytes      is 'How large it will be.';
comment on column files.file_uploads.is_public  is 'Whether anyone will see it.';
comment on column files.file_uploads.state      is 'How far it is; `userEvents` tells when it is done or refused.';
comment on column files.file_uploads.problem    is 'Why it was refused.';
comment on column files.file_uploads.incoming   is
  'Where its bytes come to, in the storage.

@hide';
comment on column files.file_uploads.content_id is
  'What its bytes are.

@hide';
comment on column files.file_uploads.file_id    is 'The file that it has become.';
comment on column files.file_uploads.created_at is 'When it was begun.';
comment on column files.file_uploads.expires_at is 'Until when it may be completed.';
-- The uploads of a user.
create index file_uploads_owner_id_id_idx on files.file_uploads (owner_id, id desc);
create index file_uploads_content_id_idx on files.file_uploads (content_id) where content_id is not null;
create index file_uploads_file_id_idx on files.file_uploads (file_id) where file_id is not null;
-- What expire_files looks for.
create index file_uploads_expires_at_idx on files.file_uploads (expires_at);

create type files.incoming as (
  id     uuid,
  stored text,
  most   bigint
);
comment on type   files.incoming        is 'Where the bytes of an upload are to be written.';
comment on column files.incoming.id     is 'The upload.';
comment on column files.incoming.stored is 'The name in the storage.';
comment on column files.incoming.most   is 'How many bytes at most.';

create type files.download as (
  stored     text,
  name       text,
  media_type text,
  bytes      bigint,
  etag       text,
  is_inline  boolean,
  is_public  boolean,
  seconds    integer
);
comment on type   files.download            is 'What is to be sent to who holds a link.';
comment on column files.download.stored     is 'The name in the storage.';
comment on column files.download.name       is 'What the file is called.';
comment on column files.download.media_type is 'What it is.';
comment on column files.download.bytes      is 'Its size.';
comment on column files.download.etag       is 'What tells these bytes from others.';
comment on column files.download.is_inline  is 'Whether a browser may show it.';
comment on column files.download.is_public  is 'Whether anyone may keep it.';
comment on column files.download.seconds    is 'How long it may be kept.';

-- --------------------------------------------------------------------------------------------
-- Functions: links
-- --------------------------------------------------------------------------------------------

-- Without `set search_path`, so that they inline: links are made for every file of a list.
create function files._mac(text text, key files.link_keys) returns bytea
language sql immutable parallel safe
return sha256(key.outer_key || sha256(key.inner_key || convert_to(text, 'UTF8')));

create function files._link(path text, what text, expires bigint, key files.link_keys) returns text
language sql immutable parallel safe
return path || '?expires=' || expires || '&signature=' || encode(files._mac(what || ' ' || expires, key), 'hex');

-- The same for a while, so that browsers find again what they have.
create function files._expires(lifetime interval) returns bigint
language sql stable parallel safe
return ((floor(extract(epoch from now()) / extract(epoch from lifetime)) + 2) * extract(epoch from lifetime))::bigint;

-- Whether a signature is one of ours. What is compared are hashes, so that the time it takes tells nothing.
create function files._is_signed(text text, signature text) returns boolean
language sql stable set search_path = ''
return exists (
  select from files.link_keys as key
  where sha256(convert_to(encode(files._mac(text, key), 'hex'), 'UTF8')) = sha256(convert_to(signature, 'UTF8'))
);

create function files.url(file files.files) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  expires bigint;
  key     files.link_keys;
begin
  if file.is_public then
    return '/files/' || file.id;
  end if;
  expires := files._expires((select link_lifetime from files.limits));
  select * into key from files.link_keys order by id desc limit 1;
  return files._link('/files/' || file.id, 'file ' || file.id, expires, key);
end;
$$;
comment on function files.url is
  'Where it can be downloaded, with ranges, by whoever has this address, for an hour or two; of a public file for ever.
Relative to the address of the API.

@notNull
@shared';

create function files.preview_url(file files.files) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  expires bigint;
  key     files.link_keys;
begin
  if file.preview_width is null then
    return null;
  elsif file.is_public then
    return '/files/' || file.id || '/preview';
  end if;
  expires := files._expires((select link_lifetime from files.limits));
  select * into key from files.link_keys order by id desc limit 1;
  return files._link('/files/' || file.id || '/preview', 'preview ' || file.id, expires, key);
end;
$$;
comment on function files.preview_url is
  'Where a smaller image of it (WebP) can be downloaded; null where there is none, or not yet.

@shared';

create function files.upload_url(upload files.file_uploads) returns files.upload_address
language sql stable security definer set search_path = ''
return (
  select jsonb_build_object(
    'put', known.incoming,
    'bytes', known.bytes,
    'seconds', ceil(extract(epoch from known.expires_at - now())),
    'path', files._link(
      '/files/uploads/' || known.id, 'upload ' || known.id, files._expires(limits.upload_lifetime), newest
    )
  )::files.upload_address
  from files.file_uploads as known
  cross join files.limits as limits
  cross join (select * from files.link_keys order by id desc limit 1) as newest
  where known.id = upload.id and known.state = 'open' and known.incoming is not null and known.expires_at > now()
);
comment on function files.upload_url is
  'Where to PUT the bytes, exactly as many as were announced; null once it is completed or has expired.';

-- For the server: what a link gives. Nothing more is asked of who has it.
create function files.open_download(id uuid, variant text, expires bigint, signature text) returns files.download
language plpgsql stable security definer set search_path = ''
as $$
declare
  file    files.files;
  content files.contents;
  found   files.download;
begin
  select * into file from files.files as known where known.id = open_download.id;
  if file.id is null and signature is null then
    raise exception using errcode = 'PT404', message = 'There is no such file.';
  end if;
  if not coalesce(file.is_public, false) then
    if expires is null or signature is null
      or not files._is_signed(format('%s %s %s', variant, open_download.id, expires), signature) then
      raise exception using errcode = 'PT404', message = 'There is no such file.';
    end if;
    if to_timestamp(expires) <= now() then
      raise exception using errcode = 'PT403', message = 'The link has expired.',
        hint = 'Ask for the file''s url again.';
    end if;
  end if;
  select * into content from files.contents as known where known.id = file.content_id;
  if content.id is null or (variant = 'preview' and content.preview is null) then
    raise exception using errcode = 'PT404', message = 'There is no such file.';
  end if;

  found.name := file.name;
  found.is_public := file.is_public;
  found.seconds := case
    when file.is_public then 86400 else ceil(extract(epoch from to_timestamp(expires) - now()))
  end;
  if variant = 'preview' then
    found.stored := content.preview;
    found.media_type := 'image/webp';
    found.bytes := content.preview_bytes;
    found.etag := encode(content.sha256, 'hex') || '-preview';
    found.is_inline := true;
  else
    found.stored := content.stored;
    found.media_type := content.media_type;
    found.bytes := content.bytes;
    found.etag := encode(content.sha256, 'hex');
    -- What cannot run anything: sounds, films, and images that were read and are no larger than allowed.
    found.is_inline := content.media_type ~ '^(audio|video)/' or content.width is not null;
  end if;
  return found;
end;
$$;
comment on function files.open_download is
  'What a link to a file gives.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: uploading
-- --------------------------------------------------------------------------------------------

-- A random name in the storage, noted as a leftover until it is claimed.
create function files._new_name(folder text, kept interval) returns text
language sql volatile set search_path = ''
as $$
  insert into files.leftovers (stored, remove_at)
  select format('%s/%s/%s', folder, left(id, 2), id), now() + kept
  from (select gen_random_uuid()::text as id) as made
  returning stored;
$$;

-- Takes a name for what is kept there. Late ones are refused: their removal may be under way.
create function files._claim(stored text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  delete from files.leftovers as noted where noted.stored = _claim.stored and noted.remove_at > now();
  if not found then
    raise exception using errcode = 'PT409', message = 'It took too long.', hint = 'Upload it again.';
  end if;
end;
$$;

-- The last part of a path, without what does not show or turns letters round: a name is shown to others.
create function files._plain_name(name text) returns text
language sql immutable set search_path = ''
return coalesce(
  nullif(
    trim(left(
      trim(regexp_replace(
        regexp_replace(left(name, 2000), '^.*[/\\]', ''),
        '[\u0001-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|^[. ]+$', '', 'g'
      )),
      200
    )),
    ''
  ),
  'file'
);

create function files._quota(user_id uuid) returns bigint
language sql stable set search_path = ''
return coalesce(
  (select quota.bytes from files.quotas as quota where quota.user_id = _quota.user_id),
  (select user_bytes from files.limits)
);

create function files._too_much(message text) returns void
language plpgsql stable set search_path = ''
as $$
begin
  raise exception using errcode = 'PT413', message = _too_much.message;
end;
$$;

-- The guards of every upload. One user's uploads begin one after another: what is under way is counted.
create function files._begin(name text, bytes bigint, is_public boolean) returns files.file_uploads
language plpgsql volatile set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  limits  files.limits := (select known from files.limits as known);
  used    files.usage;
  running record;
  upload  files.file_uploads;
begin
  if bytes < 1 then
    raise exception using errcode = 'PT400', message = 'A file has at least one byte.', column = 'bytes';
  end if;
  if bytes > limits.file_bytes then
    perform files._too_much(format('A file has at most %s bytes.', limits.file_bytes));
  end if;
  insert into files.usage (user_id) values (caller) on conflict (user_id) do nothing;
  select * into used from files.usage as known where known.user_id = caller for no key update;
  select count(*) filter (where known.state in ('open', 'checking')) as now, count(*) as lately,
    coalesce(sum(known.bytes) filter (where known.state in ('open', 'checking')), 0) as bytes
  into running
  from files.file_uploads as known
  where known.owner_id = caller and known.expires_at > now();
  if running.now >= limits.open_uploads then
    raise exception using errcode = 'PT429', message = format('At most %s uploads at once.', limits.open_uploads),
      hint = 'Complete or cancel one.';
  end if;
  if running.lately >= limits.kept_uploads then
    raise exception using errcode = 'PT429', message = format('At most %s uploads within %s.',
      limits.kept_uploads, limits.upload_lifetime), hint = 'Try again later.';
  end if;
  if used.files + running.now >= limits.user_files then
    perform files._too_much(format('You have %s files, and may have no more.', used.files));
  end if;
  if used.bytes + running.bytes + coalesce(bytes, 1) > files._quota(caller) then
    perform files._too_much(format('Your files may take %s bytes.', files._quota(caller)));
  end if;

  insert into files.file_uploads (owner_id, name, bytes, is_public, expires_at)
  values (caller, files._plain_name(_begin.name), _begin.bytes, _begin.is_public, now() + limits.upload_lifetime)
  returning * into upload;
  return upload;
end;
$$;

create function files.begin_upload(name text, bytes bigint default null) returns files.incoming
language plpgsql volatile security definer set search_path = ''
as $$
declare
  upload files.file_uploads := files._begin(name, bytes, false);
begin
  return (
    upload.id, files._new_name('content', interval '1 day'),
    (
      select least(limits.file_bytes, files._quota(upload.owner_id) - used.bytes)
      from files.limits as limits, files.usage as used
      where used.user_id = upload.owner_id
    )
  )::files.incoming;
end;
$$;
comment on function files.begin_upload is
  'What the server asks before it takes a file of a multipart request.

@hide';

create function files.cancel_uploads(ids uuid[]) returns void
language sql volatile security definer set search_path = ''
as $$
  delete from files.file_uploads as known
  where known.id = any (ids) and known.owner_id = identity.current_user_id() and known.state in ('open', 'refused');
$$;
comment on function files.cancel_uploads is
  'Ends uploads that nobody has completed; what was put goes. Those of others, and those that are files already, stay.';

create function files.create_upload(name text, bytes bigint, is_public boolean default false)
returns files.file_uploads
language plpgsql volatile security definer set search_path = ''
as $$
declare
  upload files.file_uploads := files._begin(name, bytes, is_public);
begin
  update files.file_uploads as known
  set incoming = files._new_name('incoming', upload.expires_at - now() + interval '1 day')
  where known.id = upload.id
  returning * into upload;
  return upload;
end;
$$;
comment on function files.create_upload is
  'Begins to upload a file of so many bytes: PUT them to `uploadUrl`, then say completeUpload.

@notNull';

-- For the server, where it is the storage's door: where the bytes of an upload go, and how many there are.
create function files.open_upload(id uuid, expires bigint, signature text) returns files.incoming
language plpgsql stable security definer set search_path = ''
as $$
declare
  upload files.file_uploads;
begin
  if not coalesce(files._is_signed(format('upload %s %s', open_upload.id, expires), signature), false) then
    raise exception using errcode = 'PT404', message = 'There is no such upload.';
  end if;
  select * into upload from files.file_uploads as known where known.id = open_upload.id;
  if upload.id is null or upload.incoming is null or upload.expires_at <= now() then
    raise exception using errcode = 'PT404', message = 'There is no such upload.', hint = 'It may have expired.';
  end if;
  if upload.state <> 'open' then
    raise exception using errcode = 'PT409', message = 'The upload is completed.';
  end if;
  return (upload.id, upload.incoming, upload.bytes)::files.incoming;
end;
$$;
comment on function files.open_upload is
  'Where the bytes of an upload go.

@hide';

-- The file that an upload has become.
create function files._make_file(upload files.file_uploads, is_public boolean) returns files.files
language plpgsql volatile set search_path = ''
as $$
declare
  content files.contents;
  file    files.files;
begin
  -- Held: a preview that is made now comes before, and is seen, or after, and finds this file.
  select * into content from files.contents as known where known.id = upload.content_id for share;
  insert into files.files (
    owner_id, content_id, name, media_type, bytes, sha256, width, height, preview_width, preview_height, is_public,
    loose_since
  )
  values (
    upload.owner_id, content.id, upload.name, content.media_type, content.bytes, content.sha256, content.width,
    content.height, content.preview_width, content.preview_height, _make_file.is_public,
    case when not _make_file.is_public then now() end
  )
  returning * into file;
  return file;
end;
$$;

create function files._refuse_upload(upload_id uuid, problem text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  upload files.file_uploads;
begin
  update files.file_uploads as known
  set state = 'refused', problem = _refuse_upload.problem
  where known.id = upload_id and known.state = 'checking'
  returning * into upload;
  if found then
    perform events.publish(
      'user:' || upload.owner_id, 'file_refused',
      jsonb_build_object('upload_id', upload.id, 'problem', upload.problem)
    );
  end if;
end;
$$;

-- Told by the server and by the worker: an upload has been written as `stored`, and this is what it is. Bytes that were
-- known stay where they are, and these become a leftover; two who bring them at once meet at the key of their hash.
create function files.received(
  upload_id uuid, stored text, sha256 bytea, bytes bigint, media_type text
) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  upload  files.file_uploads;
  content files.contents;
  file    files.files;
begin
  select * into upload
  from files.file_uploads as known
  where known.id = received.upload_id and known.state in ('open', 'checking')
  for no key update;
  if upload.id is null then
    raise exception using errcode = 'PT409', message = 'The upload has ended.', hint = 'Begin another one.';
  end if;
  if received.bytes > (select file_bytes from files.limits) then
    perform files._too_much(format('A file has at most %s bytes.', (select file_bytes from files.limits)));
  end if;
  if received.bytes < 1 or received.bytes <> upload.bytes then
    raise exception using errcode = 'PT400', column = 'bytes',
      message = format('%s bytes were announced, and %s came.', coalesce(upload.bytes, 1), received.bytes);
  end if;

  perform files._claim(received.stored);
  insert into files.contents as known (sha256, stored, bytes, media_type)
  values (received.sha256, received.stored, received.bytes, received.media_type)
  on conflict on constraint contents_sha256_key do update set loose_since = now()
  returning * into content;
  if content.stored <> received.stored then
    insert into files.leftovers (stored, remove_at) values (received.stored, now());
  elsif content.media_type in ('image/jpeg', 'image/png', 'image/webp', 'image/gif', 'image/avif')
    and content.bytes <= (select image_bytes from files.limits) then
    -- Of images few are read at once: each may take much memory.
    perform jobs.enqueue(
      'preview_file', jsonb_build_object('content_id', content.id), key => 'preview_file ' || right(content.id::text, 1)
    );
  end if;

  update files.file_uploads as known set content_id = content.id where known.id = upload.id returning * into upload;
  if upload.state = 'checking' then
    file := files._make_file(upload, upload.is_public);
    update files.file_uploads as known set state = 'done', file_id = file.id where known.id = upload.id;
    update files.leftovers as noted set remove_at = now() where noted.stored = upload.incoming;
    perform events.publish(
      'user:' || file.owner_id, 'file_ready', jsonb_build_object('upload_id', upload.id, 'file_id', file.id)
    );
  end if;
end;
$$;
comment on function files.received is
  'That the bytes of an upload are stored, and what they are.

@hide';

create function files.upload_file(file files.upload, is_public boolean default false) returns files.files
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  upload files.file_uploads;
begin
  delete from files.file_uploads as known
  where known.id = upload_file.file and known.owner_id = caller and known.state = 'open'
    and known.content_id is not null
  returning * into upload;
  if upload.id is null then
    raise exception using errcode = 'PT404', message = 'The file was not received.', column = 'file',
      hint = 'Each part of a multipart request can become one file.';
  end if;
  return files._make_file(upload, upload_file.is_public);
end;
$$;
comment on function files.upload_file is
  'Keeps a file of a multipart request. Until it is sent with a message only its owner sees it, unless it is public;
what is neither goes after a day.

@notNull';

create function files.complete_upload(upload_id uuid) returns files.file_uploads
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  upload files.file_uploads;
begin
  select * into upload
  from files.file_uploads as known
  where known.id = complete_upload.upload_id and known.owner_id = caller and known.incoming is not null
  for no key update;
  if upload.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such upload.', column = 'upload_id';
  end if;
  if upload.state <> 'open' then
    return upload;
  end if;
  if upload.expires_at <= now() then
    raise exception using errcode = 'PT409', message = 'The upload has expired.', hint = 'Begin another one.';
  end if;
  update files.file_uploads as known
  set state = 'checking', expires_at = now() + interval '1 day'
  where known.id = upload.id
  returning * into upload;
  update files.leftovers as noted set remove_at = now() + interval '2 days' where noted.stored = upload.incoming;
  perform jobs.enqueue(
    'check_upload', jsonb_build_object('upload_id', upload.id), nonce => upload.id::text
  );
  return upload;
end;
$$;
comment on function files.complete_upload is
  'Says that the bytes of an upload are there. They are checked; `userEvents` tells `file_ready` or `file_refused`.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: files
-- --------------------------------------------------------------------------------------------

create function files.files(message chat.messages) returns setof files.files
language sql stable rows 10
begin atomic
  select file.*
  from files.attachments as attached
  join files.files as file on file.id = attached.file_id
  where attached.message_id = message.id
  order by attached.position;
end;
comment on function files.files is
  'The files of the message, in the order in which they were attached.

@shared';

create function files.my_files() returns setof files.files
language sql stable rows 100
begin atomic
  select file.* from files.files as file where file.owner_id = (select identity.current_user_id());
end;
comment on function files.my_files is
  'The files that the caller has uploaded, the newest first.

@order id desc';

create function files.my_file_usage() returns files.file_usage
language sql stable security definer set search_path = ''
as $$
  select (
    coalesce(used.bytes, 0), coalesce(used.files, 0), files._quota(caller.id), limits.user_files, limits.file_bytes
  )::files.file_usage
  from (select identity.require_user_id() as id) as caller
  cross join files.limits as limits
  left join files.usage as used on used.user_id = caller.id;
$$;
comment on function files.my_file_usage is
  'What the caller''s files take, and may take.

@notNull';

-- In the transaction that sends: the message is the caller's own, and new. One that was sent before, with the same
-- nonce, has its files.
create function files._attach(message_id uuid, file_ids uuid[]) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  message chat.messages;
begin
  select * into message
  from chat.messages as sent
  where sent.id = _attach.message_id and sent.sender_id = identity.current_user_id() and sent.sent_at >= now();
  if message.id is null
    or exists (select from files.attachments as known where known.message_id = _attach.message_id) then
    return;
  end if;
  -- In the order of their ids, so that two who attach the same ones do not wait for each other.
  perform from files.files as file where file.id = any (file_ids) order by file.id for no key update;
  update files.files as file set loose_since = null where file.id = any (file_ids) and file.loose_since is not null;
  insert into files.attachments (message_id, position, file_id, channel_id)
  select message.id, wanted.position, wanted.id, message.channel_id
  from unnest(file_ids) with ordinality as wanted (id, position)
  join files.files as file on file.id = wanted.id;
  if (select count(*) from files.attachments as made where made.message_id = message.id) <> cardinality(file_ids) then
    raise exception using errcode = 'PT404', message = 'There is no such file.', column = 'file_ids';
  end if;
end;
$$;
comment on function files._attach is
  'Attaches files to a message that the caller has just sent; they have been seen to be visible.';

-- With the caller's rights: which files they may attach is what they may see, and whether they may send is asked by
-- chat.send_message. The channel is locked before the files, as deleting a message does.
create function files.send_files(
  channel_id uuid, file_ids uuid[], text text default null, nonce text default null, reply_to_id uuid default null,
  metadata jsonb default '{}'
) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  most    integer := files._most_files();
  chosen  record;
  message chat.messages;
begin
  if file_ids is null or cardinality(file_ids) not between 1 and most or array_position(file_ids, null) is not null
    or (select count(distinct id) from unnest(file_ids) as id) <> cardinality(file_ids) then
    raise exception using errcode = 'PT400', message = format('Name 1 to %s files, each once.', most),
      column = 'file_ids';
  end if;
  select count(*) as count, bool_and(file.width is not null or file.media_type ~ '^image/') as are_images,
    string_agg(file.name, ', ' order by array_position(file_ids, file.id)) as names
  into chosen
  from files.files as file
  where file.id = any (file_ids);
  if chosen.count <> cardinality(file_ids) then
    raise exception using errcode = 'PT404', message = 'There is no such file.', column = 'file_ids';
  end if;

  message := chat.send_message(
    channel_id => send_files.channel_id,
    text => case when send_files.text ~ '\S' then send_files.text else left(chosen.names, 10000) end,
    nonce => send_files.nonce,
    reply_to_id => send_files.reply_to_id,
    kind => case when chosen.are_images then 'image' else 'file' end::chat.message_kind,
    metadata => send_files.metadata
  );
  perform files._attach(message.id, file_ids);
  return message;
end;
$$;
comment on function files.send_files is
  'Sends a message with files: those that the caller has uploaded, or may see elsewhere (forwarding). Without a text, it
is their names. With a `nonce`, sending again returns the first message.

@notNull';

create function files._most_files() returns integer
language sql stable security definer set search_path = ''
return (select message_files from files.limits);
comment on function files._most_files is 'How many files a message may have.';

create function files.delete_file(file_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  file   files.files;
begin
  select * into file
  from files.files as known
  where known.id = delete_file.file_id and known.owner_id = caller
  for update;
  if file.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such file.', column = 'file_id';
  end if;
  if exists (select from files.attachments as attached where attached.file_id = file.id) then
    raise exception using errcode = 'PT409', message = 'A message has this file.', hint = 'Delete the message.';
  end if;
  delete from files.files as known where known.id = file.id;
end;
$$;
comment on function files.delete_file is 'Removes a file of the caller''s that no message has.';

create function files.set_quota(user_id uuid, bytes bigint default null) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if not exists (select from identity.users as known where known.id = set_quota.user_id) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if bytes < 0 then
    raise exception using errcode = 'PT400', message = 'A quota is not negative.', column = 'bytes';
  end if;
  delete from files.quotas as quota where quota.user_id = set_quota.user_id;
  if bytes is not null then
    insert into files.quotas (user_id, bytes) values (set_quota.user_id, set_quota.bytes);
  end if;
end;
$$;
comment on function files.set_quota is 'What a user''s files may take; without `bytes`, as much as others'' may.';

-- --------------------------------------------------------------------------------------------
-- Functions: for the workers
-- --------------------------------------------------------------------------------------------

-- What is to be checked: where it is, where to write it, and how large it is. Nothing where it has been done.
create function files._to_check(upload_id uuid) returns table (incoming text, stored text, bytes bigint)
language sql volatile rows 1 set search_path = ''
as $$
  select upload.incoming, files._new_name('content', interval '1 day'), upload.bytes
  from files.file_uploads as upload
  where upload.id = _to_check.upload_id and upload.state = 'checking';
$$;

create function files._to_preview(content_id uuid)
returns table (stored text, preview text, pixels bigint, size integer)
language sql volatile rows 1 set search_path = ''
as $$
  select content.stored, files._new_name('preview', interval '1 day'), limits.image_pixels, limits.preview_size
  from files.contents as content
  cross join files.limits as limits
  where content.id = _to_preview.content_id and content.preview is null;
$$;

-- The rows of files are changed under the content's lock, and told of in another transaction (_tell_previewed): to tell
-- takes the locks of channels, which whoever sends has before those of files.
create function files._previewed(
  content_id uuid, width integer, height integer, preview text, preview_width integer, preview_height integer,
  preview_bytes bigint
) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform files._claim(_previewed.preview);
  -- The files before their content, as deleting them does.
  perform from files.files as file where file.content_id = _previewed.content_id order by file.id for no key update;
  update files.contents as content set
    width = _previewed.width, height = _previewed.height, preview = _previewed.preview, problem = null,
    preview_width = _previewed.preview_width, preview_height = _previewed.preview_height,
    preview_bytes = _previewed.preview_bytes
  where content.id = _previewed.content_id and content.preview is null;
  if not found then
    insert into files.leftovers (stored, remove_at) values (_previewed.preview, now());
    return;
  end if;
  update files.files as file set
    width = _previewed.width, height = _previewed.height,
    preview_width = _previewed.preview_width, preview_height = _previewed.preview_height
  where file.content_id = _previewed.content_id;
end;
$$;

create function files._tell_previewed(content_id uuid) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  perform events.publish('user:' || file.owner_id, 'file_previewed', jsonb_build_object('file_id', file.id))
  from (
    select * from files.files as known
    where known.content_id = _tell_previewed.content_id and known.owner_id is not null
    order by known.owner_id limit 100
  ) as file;
  perform chat._tell(
    attached.channel_id, 'file_previewed',
    jsonb_build_object('message_id', attached.message_id, 'file_id', attached.file_id)
  )
  from (
    select known.* from files.attachments as known
    join files.files as file on file.id = known.file_id
    where file.content_id = _tell_previewed.content_id
    order by known.channel_id limit 100
  ) as attached;
end;
$$;

create function files._unpreviewed(content_id uuid, problem text) returns void
language sql volatile set search_path = ''
as $$
  update files.contents as content set problem = left(_unpreviewed.problem, 500)
  where content.id = _unpreviewed.content_id and content.preview is null;
$$;

-- Claims are refused from remove_at on: ten minutes later none is under way.
create function files._due_leftovers(most integer) returns setof text
language sql stable rows 100 set search_path = ''
as $$
  select noted.stored
  from files.leftovers as noted
  where noted.remove_at < now() - interval '10 minutes'
  order by noted.remove_at
  limit most;
$$;

create function files._removed(stored text[]) returns void
language sql volatile set search_path = ''
as $$
  delete from files.leftovers as noted where noted.stored = any (_removed.stored);
$$;

-- What is looked for is marked by whoever takes a reference away, always: two who take away the last two of them would
-- else each see the other's. Whoever refers to it meanwhile takes the mark away, or makes it anew, in the same row, so
-- that the row's lock decides.
create function files.expire_files(most integer default 1000) returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  kept  interval := (select kept_unused from files.limits);
  oldest uuid := (select message.id from chat.messages as message order by message.id limit 1);
  count bigint := 0;
  done  bigint;
begin
  -- Uploads that nobody completed, or looks at any more; their bytes are leftovers already. Who still waits is told.
  with due as (
    select id from files.file_uploads where expires_at < now() order by expires_at limit most for update skip locked
  ), gone as (
    delete from files.file_uploads as upload using due where upload.id = due.id returning upload.*
  )
  select count(gone.id) into done
  from gone
  left join lateral (
    select events.publish(
      'user:' || gone.owner_id, 'file_refused',
      jsonb_build_object('upload_id', gone.id, 'problem', 'It could not be checked in time.')
    )
    where gone.state = 'checking'
  ) as told on true;
  count := count + done;

  -- Of messages that went with their month.
  with due as (
    select message_id, position from files.attachments
    where oldest is null or message_id < oldest
    order by message_id limit most for update skip locked
  )
  delete from files.attachments as attached using due
  where attached.message_id = due.message_id and attached.position = due.position;
  get diagnostics done = row_count;
  count := count + done;

  -- Files that no message has.
  with due as (
    select file.id, file.is_public
      or exists (select from files.attachments as attached where attached.file_id = file.id offset 0) as is_used
    from files.files as file
    where file.loose_since < now() - kept
    order by file.loose_since limit most for update of file skip locked
  ), cleared as (
    update files.files as file set loose_since = null from due where file.id = due.id and due.is_used
  )
  delete from files.files as file using due where file.id = due.id and not due.is_used;
  get diagnostics done = row_count;
  count := count + done;

  -- Bytes that no file has.
  with due as (
    select content.id,
      exists (select from files.files as file where file.content_id = content.id offset 0)
      or exists (select from files.file_uploads as upload where upload.content_id = content.id offset 0) as is_used
    from files.contents as content
    where content.loose_since < now() - interval '1 hour'
    order by content.loose_since limit most for update of content skip locked
  ), cleared as (
    update files.contents as content set loose_since = null from due where content.id = due.id and due.is_used
  ), gone as (
    delete from files.contents as content using due where content.id = due.id and not due.is_used
    returning content.stored, content.preview
  )
  insert into files.leftovers (stored, remove_at)
  select name, now() from gone cross join unnest(array[gone.stored, gone.preview]) as name where name is not null;
  get diagnostics done = row_count;
  return count + done;
end;
$$;
comment on function files.expire_files is
  'Removes uploads that were not completed, files that nothing refers to, and bytes that no file has; returns how many.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function files._count_file() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  used files.usage;
begin
  if tg_op = 'DELETE' then
    update files.usage as known set bytes = known.bytes - old.bytes, files = known.files - 1
    where known.user_id = old.owner_id;
    update files.contents as content set loose_since = now() where content.id = old.content_id;
    return null;
  end if;
  insert into files.usage as known (user_id, bytes, files) values (new.owner_id, new.bytes, 1)
  on conflict (user_id) do update set bytes = known.bytes + new.bytes, files = known.files + 1
  returning * into used;
  if used.bytes > files._quota(new.owner_id) then
    perform files._too_much(format('Your files may take %s bytes.', files._quota(new.owner_id)));
  end if;
  return null;
end;
$$;
create trigger count_file after insert or delete on files.files
  for each row execute function files._count_file();

create function files._detach() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from files.attachments as attached where attached.message_id = old.id;
  return null;
end;
$$;
create trigger detach_files after update of deleted_at on chat.messages
  for each row when (old.deleted_at is null and new.deleted_at is not null)
  execute function files._detach();
create trigger detach_files_of_removed after delete on chat.messages
  for each row execute function files._detach();

create function files._loosen() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update files.files as file set loose_since = now() where file.id = old.file_id;
  return null;
end;
$$;
create trigger loosen_file after delete on files.attachments
  for each row execute function files._loosen();

-- What a removed account has sent stays with the messages; what it kept for itself, or for all, goes.
create function files._abandon() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from files.file_uploads as upload where upload.owner_id = new.id and upload.state <> 'checking';
  update files.files as file set is_public = false, loose_since = now()
  where file.owner_id = new.id and (file.is_public or file.loose_since is not null);
  return null;
end;
$$;
create trigger abandon_files after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function files._abandon();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

-- Whatever chat says of who may see a message holds for its files.
alter table files.attachments enable row level security;
create policy members_see_what_messages_they_see_have on files.attachments for select to member
  using (exists (select from chat.messages as message where message.id = attachments.message_id offset 0));

alter table files.files enable row level security;
create policy members_see_files_of_messages_and_their_own on files.files for select to member
  using (
    owner_id = (select identity.current_user_id())
    or is_public
    or exists (select from files.attachments as attached where attached.file_id = files.id offset 0)
  );

alter table files.file_uploads enable row level security;
create policy members_see_their_uploads on files.file_uploads for select to member
  using (owner_id = (select identity.current_user_id()));

-- No policy, no grant: only the functions above reach these.
alter table files.limits enable row level security;
alter table files.quotas enable row level security;
alter table files.usage enable row level security;
alter table files.link_keys enable row level security;
alter table files.leftovers enable row level security;
alter table files.contents enable row level security;

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on files.files, files.attachments to member;
grant select (id, owner_id, name, bytes, is_public, state, problem, file_id, created_at, expires_at)
  on files.file_uploads to member;

revoke execute on all functions in schema files from public;
grant execute on function files.files, files.url, files.preview_url, files.upload_url to member;
grant execute on function files.my_files, files.my_file_usage to member;
grant execute on function files.begin_upload, files.cancel_uploads, files.create_upload to member;
grant execute on function files.upload_file, files.complete_upload to member;
grant execute on function files.send_files, files._attach, files._most_files, files.delete_file to member;
grant execute on function files.set_quota to operator, service;
grant execute on function files.open_download, files.open_upload, files.received to plinth_server;
grant execute on function files.expire_files to service;

-- ============================================================================================
-- talk: mentions, reactions, pins, threads, forwards, bookmarks, drafts, scheduled messages
-- ============================================================================================
-- What hangs on messages, in the schema chat. Triggers on messages keep it, so that sending, editing and deleting know
-- nothing of it. No foreign key names a message, since old months can be detached.

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- What notifications read. @room is one row without a user, however many are in the room.
create table chat.mentions (
  id         uuid   primary key default public.uuid_v7(),
  message_id uuid   not null,
  channel_id uuid   not null references chat.channels (id) on delete cascade,
  seq        bigint not null,
  user_id    uuid   references identity.users (id) on delete cascade,  -- null: everyone in the room

  constraint mentions_message_id_user_id_key unique nulls not distinct (message_id, user_id)
);
comment on table  chat.mentions            is 'Someone whom a message names with @, or everyone in its room (@room).';
comment on column chat.mentions.id         is 'The key; rises with the time of the mention.';
comment on column chat.mentions.message_id is 'The message that says it.';
comment on column chat.mentions.channel_id is 'Its channel.';
comment on column chat.mentions.seq        is 'The message''s number in the channel.';
comment on column chat.mentions.user_id    is 'Who is meant; null for everyone in the room.';
comment on constraint mentions_channel_id_fkey on chat.mentions is '@hide';
-- What someone is named in; and the foreign key.
create index mentions_user_id_id_idx on chat.mentions (user_id, id desc);
-- What a room is named in; and the foreign key.
create index mentions_channel_id_id_idx on chat.mentions (channel_id, id desc);

-- The counts of chat.reactors, kept by a trigger: a message that thousands have reacted to is shown as fast as any.
create table chat.reactions (
  message_id uuid    not null,
  emoji      text    not null,
  channel_id uuid    not null references chat.channels (id) on delete cascade,
  count      integer not null,

  primary key (message_id, emoji),
  constraint emoji_is_one_sign_or_a_short_name check (
    emoji ~ (
      '^(:[a-z0-9_+-]{1,30}:|[0-9#*]\ufe0f?\u20e3'
      || '|[^\u0001-\u00a8\u2000-\u200c\u200e\u200f\u2028-\u202f\u2060-\u206f\ufeff]{1,20})$'
    )
  ),
  constraint count_is_positive                 check (count > 0)
) with (fillfactor = 70);
comment on table  chat.reactions            is 'A sign that a message was answered with, and by how many.';
comment on column chat.reactions.message_id is 'The message.';
comment on column chat.reactions.emoji      is 'The sign: an emoji, or a short name between colons.';
comment on column chat.reactions.channel_id is 'Its channel.';
comment on column chat.reactions.count      is 'How many gave it.';
comment on constraint reactions_channel_id_fkey on chat.reactions is '@hide';
create index reactions_channel_id_idx on chat.reactions (channel_id);

create table chat.reactors (
  message_id uuid        not null,
  emoji      text        not null,
  user_id    uuid        not null references identity.users (id) on delete cascade,
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  reacted_at timestamptz not null default now(),

  primary key (message_id, emoji, user_id)
);
comment on table  chat.reactors            is 'Who answered a message with a sign.';
comment on column chat.reactors.message_id is 'The message.';
comment on column chat.reactors.emoji      is 'The sign.';
comment on column chat.reactors.user_id    is 'Who gave it.';
comment on column chat.reactors.channel_id is 'Its channel.';
comment on column chat.reactors.reacted_at is 'When.';
comment on constraint reactors_channel_id_fkey on chat.reactors is '@hide';
create index reactors_user_id_idx on chat.reactors (user_id);
create index reactors_channel_id_idx on chat.reactors (channel_id);

create table chat.pins (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  message_id uuid        not null,
  pinned_by  uuid        references identity.users (id) on delete set null,  -- null: their account is gone
  pinned_at  timestamptz not null default now(),

  primary key (channel_id, message_id)
);
comment on table  chat.pins            is
  'A message that a channel keeps in sight; at most 50 in each.

@order message_id desc';
comment on column chat.pins.channel_id is 'Where.';
comment on column chat.pins.message_id is 'Which message.';
comment on column chat.pins.pinned_by  is 'Who pinned it; null where their account is gone.';
comment on column chat.pins.pinned_at  is 'When.';
create index pins_pinned_by_idx on chat.pins (pinned_by);

create table chat.threads (
  message_id    uuid   primary key,
  channel_id    uuid   not null references chat.channels (id) on delete cascade,
  reply_count   bigint not null,
  last_reply_id uuid   not null
) with (fillfactor = 70);
comment on table chat.threads is
  'How many messages answer a message, those that were deleted left out.

@hide';
comment on column chat.threads.message_id    is 'The message that is answered.';
comment on column chat.threads.channel_id    is 'Its channel.';
comment on column chat.threads.reply_count   is 'How many answer it.';
comment on column chat.threads.last_reply_id is 'The newest of them, deleted or not.';
create index threads_channel_id_idx on chat.threads (channel_id);

create table chat.forwards (
  message_id      uuid        primary key,
  channel_id      uuid        not null references chat.channels (id) on delete cascade,
  from_message_id uuid        not null,
  author_id       uuid        references identity.users (id) on delete set null,  -- null: the system, or gone
  said_at         timestamptz not null
);
comment on table  chat.forwards                 is 'Where a forwarded message comes from.';
comment on column chat.forwards.message_id      is 'The message that was made of it.';
comment on column chat.forwards.channel_id      is 'Where it went.';
comment on column chat.forwards.from_message_id is 'Which message it was; `original` shows it to who may read it.';
comment on column chat.forwards.author_id       is 'Who said it first; null for the system, or who is gone.';
comment on column chat.forwards.said_at         is 'When it was said first.';
comment on constraint forwards_channel_id_fkey on chat.forwards is '@hide';
create index forwards_channel_id_idx on chat.forwards (channel_id);
create index forwards_author_id_idx on chat.forwards (author_id);

create table chat.bookmarks (
  user_id    uuid        not null references identity.users (id) on delete cascade,
  message_id uuid        not null,
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  note       text,                                        -- null: none
  made_at    timestamptz not null default now(),

  primary key (user_id, message_id),
  constraint note_is_1_to_500_characters check (char_length(note) between 1 and 500)
);
comment on table  chat.bookmarks            is
  'A message that the caller keeps for themselves; at most 1,000.

@order message_id desc';
comment on column chat.bookmarks.user_id    is 'Whose it is: the caller.';
comment on column chat.bookmarks.message_id is 'Which message.';
comment on column chat.bookmarks.channel_id is 'Its channel.';
comment on column chat.bookmarks.note       is 'What they noted, up to 500 characters; null for nothing.';
comment on column chat.bookmarks.made_at    is 'When.';
create index bookmarks_channel_id_idx on chat.bookmarks (channel_id);

-- As many as memberships, and gone with them.
create table chat.drafts (
  channel_id  uuid        not null,
  user_id     uuid        not null,
  text        text        not null,
  reply_to_id uuid,                                       -- null: no reply
  changed_at  timestamptz not null default clock_timestamp(),

  primary key (channel_id, user_id),
  constraint drafts_membership_fkey foreign key (channel_id, user_id)
    references chat.members (channel_id, user_id) on delete cascade,
  constraint text_is_1_to_10000_characters check (char_length(text) between 1 and 10000)
);
comment on table  chat.drafts             is 'What the caller has written in a channel and not sent.';
comment on column chat.drafts.channel_id  is 'Where.';
comment on column chat.drafts.user_id     is 'Whose it is: the caller.';
comment on column chat.drafts.text        is 'What is written so far.';
comment on column chat.drafts.reply_to_id is 'The message it is to answer; null for none.';
comment on column chat.drafts.changed_at  is 'When it last changed.';
comment on constraint drafts_membership_fkey on chat.drafts is '@name membership';
-- What someone has not sent yet.
create index drafts_user_id_idx on chat.drafts (user_id);

-- A row is there while it waits, and after it was refused until its author takes it away. A run of its own sends it,
-- and the row goes with that.
create table chat.scheduled_messages (
  id          uuid        primary key default public.uuid_v7(),
  user_id     uuid        not null references identity.users (id) on delete cascade,
  channel_id  uuid        not null references chat.channels (id) on delete cascade,
  text        text        not null,
  reply_to_id uuid,                                       -- null: no reply
  send_at     timestamptz not null,
  refusal     text,                                       -- null: it waits
  created_at  timestamptz not null default now(),
  run_id      uuid,                                       -- null: only until it is asked for

  constraint text_is_1_to_10000_characters check (char_length(text) between 1 and 10000)
);
comment on table  chat.scheduled_messages             is
  'A message of the caller that is sent at its time; at most 100, with those that were refused.

@order send_at';
comment on column chat.scheduled_messages.id          is 'The key.';
comment on column chat.scheduled_messages.user_id     is 'Whose it is: the caller.';
comment on column chat.scheduled_messages.channel_id  is 'Where it is to go.';
comment on column chat.scheduled_messages.text        is 'What is to be said.';
comment on column chat.scheduled_messages.reply_to_id is 'The message it is to answer; null for none.';
comment on column chat.scheduled_messages.send_at     is 'When it is to be sent.';
comment on column chat.scheduled_messages.refusal     is 'Why it was not sent at its time; null while it waits.';
comment on column chat.scheduled_messages.created_at  is 'When it was written.';
comment on column chat.scheduled_messages.run_id      is
  'The run that sends it.

@hide';
create index scheduled_messages_user_id_send_at_idx on chat.scheduled_messages (user_id, send_at, id);
create index scheduled_messages_channel_id_idx on chat.scheduled_messages (channel_id);

-- --------------------------------------------------------------------------------------------
-- Functions: what a message tells
-- --------------------------------------------------------------------------------------------

create function chat.mentions(message chat.messages) returns setof chat.mentions
language sql stable rows 3
begin atomic
  select mention.* from chat.mentions as mention where mention.message_id = message.id;
end;
comment on function chat.mentions is
  'Whom it names with @; one without a user for everyone in the room.

@shared
@order id';

-- Before they joined, nobody meant them.
create function chat.my_mentions() returns setof chat.mentions
language sql stable rows 100
begin atomic
  select mention.* from chat.mentions as mention where mention.user_id = (select identity.current_user_id())
  union all
  select mention.*
  from chat.members as mine
  join chat.mentions as mention on mention.channel_id = mine.channel_id
  where mine.user_id = (select identity.current_user_id())
    and mention.user_id is null and mention.seq > mine.joined_seq;
end;
comment on function chat.my_mentions is
  'What names the caller, or everyone in a room of theirs, the last first.

@order id desc';

create function chat.mentioning_message(mention chat.mentions) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.* from chat.messages as message where message.id = mention.message_id;
end;
comment on function chat.mentioning_message is
  'The message that names them.

@shared';

create function chat.reactions(message chat.messages) returns setof chat.reactions
language sql stable rows 3
begin atomic
  select reaction.* from chat.reactions as reaction where reaction.message_id = message.id;
end;
comment on function chat.reactions is
  'What it was answered with, and by how many each; at most 20.

@shared
@order emoji';

create function chat.mine(reaction chat.reactions) returns setof boolean
language sql stable rows 1
begin atomic
  select exists (
    select
    from chat.reactors as reactor
    where reactor.message_id = reaction.message_id and reactor.emoji = reaction.emoji
      and reactor.user_id = (select identity.current_user_id())
  );
end;
comment on function chat.mine is
  'Whether the caller gave it.

@notNull';

create function chat.reactors(reaction chat.reactions) returns setof chat.reactors
language sql stable rows 20
begin atomic
  select reactor.*
  from chat.reactors as reactor
  where reactor.message_id = reaction.message_id and reactor.emoji = reaction.emoji;
end;
comment on function chat.reactors is
  'Who gave it.

@shared
@order user_id';

create function chat.pinned_message(pin chat.pins) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.* from chat.messages as message where message.id = pin.message_id;
end;
comment on function chat.pinned_message is
  'The message that is pinned.

@shared';

create function chat.reply_count(message chat.messages) returns setof bigint
language sql stable rows 1
begin atomic
  select coalesce(
    (select thread.reply_count from chat.threads as thread where thread.message_id = message.id), 0
  );
end;
comment on function chat.reply_count is
  'How many messages answer it, those that were deleted left out; `replies` pages through them.

@shared
@notNull';

create function chat.forwarded_from(message chat.messages) returns setof chat.forwards
language sql stable rows 1
begin atomic
  select forward.* from chat.forwards as forward where forward.message_id = message.id;
end;
comment on function chat.forwarded_from is
  'Where it was forwarded from; null for what was said here first.

@shared';

create function chat.original(forward chat.forwards) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.* from chat.messages as message where message.id = forward.from_message_id;
end;
comment on function chat.original is 'The message as it stands where it was said; null for who may not read it there.';

create function chat.bookmarked_message(bookmark chat.bookmarks) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.* from chat.messages as message where message.id = bookmark.message_id;
end;
comment on function chat.bookmarked_message is 'The message; null for who may no longer read it.';

create function chat.bookmark(message chat.messages) returns setof chat.bookmarks
language sql stable rows 1
begin atomic
  select bookmark.*
  from chat.bookmarks as bookmark
  where bookmark.user_id = (select identity.current_user_id()) and bookmark.message_id = message.id;
end;
comment on function chat.bookmark is 'The caller''s bookmark of it; null for none.';

create function chat.draft(channel chat.channels) returns setof chat.drafts
language sql stable rows 1
begin atomic
  select draft.*
  from chat.drafts as draft
  where draft.channel_id = channel.id and draft.user_id = (select identity.current_user_id());
end;
comment on function chat.draft is 'What the caller has written there and not sent; null for nothing.';

-- --------------------------------------------------------------------------------------------
-- Functions: mentions
-- --------------------------------------------------------------------------------------------

-- A name may end in what ends a sentence: it is looked for with and without.
create function chat._names_in(text text) returns text[]
language sql immutable parallel safe set search_path = ''
return array(
  select distinct name
  from (
    select lower(found[1]) as said
    from regexp_matches(text, '(?<![A-Za-z0-9_.@/-])@([A-Za-z0-9][A-Za-z0-9_.-]{2,49})', 'g') as found
    limit 50
  ) as names
  cross join unnest(array[said, rtrim(said, '.-')]) as name
);

-- Whom the text of a message names, of those who are in the channel; the first 50 names count. Everyone at once is
-- named by who moderates the room. In the order of users, in which their topics are locked.
create function chat._resolve_mentions(message chat.messages) returns uuid[]
language sql stable set search_path = ''
return array(
  select member.user_id
  from identity.users as person
  join chat.members as member on member.channel_id = message.channel_id and member.user_id = person.id
  where lower(person.username) = any (chat._names_in(message.text))
    and person.id is distinct from message.sender_id
  union all
  select null
  from chat.members as sender
  join chat.channels as channel on channel.id = sender.channel_id and channel.kind = 'room'
  where sender.channel_id = message.channel_id and sender.user_id = message.sender_id and sender.role <= 'moderator'
    and 'room' = any (chat._names_in(message.text))
  order by 1
);

-- What a message names now. Who was named before is not told again.
create function chat._mention(message chat.messages) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  named uuid[] := chat._resolve_mentions(message);
  told  uuid;
begin
  delete from chat.mentions as known
  where known.message_id = message.id
    and not exists (
      select from unnest(named) as still (user_id) where still.user_id is not distinct from known.user_id
    );
  for told in
    with added as (
      insert into chat.mentions (message_id, channel_id, seq, user_id)
      select message.id, message.channel_id, message.seq, user_id from unnest(named) as user_id
      on conflict on constraint mentions_message_id_user_id_key do nothing
      returning user_id
    )
    select user_id from added where user_id is not null order by user_id
  loop
    perform events.publish(
      'user:' || told, 'mentioned',
      jsonb_build_object('channel_id', message.channel_id, 'message_id', message.id, 'user_id', message.sender_id)
    );
  end loop;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Functions: reactions, pins, forwards
-- --------------------------------------------------------------------------------------------

-- The message, its channel locked, for one who may write there.
create function chat._lock_for_writing(message_id uuid) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  message chat.messages := chat._lock_message(message_id);
begin
  if (select channel.closed_at from chat.channels as channel where channel.id = message.channel_id) is not null then
    raise exception using errcode = 'PT409', message = 'The channel is closed.';
  end if;
  if chat._is_muted(message.channel_id, identity.current_user_id()) then
    raise exception using errcode = 'PT403', message = 'You are muted in this room.';
  end if;
  return message;
end;
$$;

create function chat.add_reaction(message_id uuid, emoji text) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_for_writing(message_id);
begin
  -- The channel's lock makes the number of kinds hold still.
  if not exists (
    select from chat.reactions as known where known.message_id = message.id and known.emoji = add_reaction.emoji
  ) and (select count(*) from chat.reactions as known where known.message_id = message.id) >= 20 then
    raise exception using errcode = 'PT409', message = 'A message has at most 20 kinds of reactions.', column = 'emoji';
  end if;
  insert into chat.reactors (message_id, emoji, user_id, channel_id)
  values (message.id, add_reaction.emoji, caller, message.channel_id)
  on conflict on constraint reactors_pkey do nothing;
  if found then
    perform chat._tell(message.channel_id, 'reaction_added', jsonb_build_object(
      'message_id', message.id, 'user_id', caller, 'emoji', add_reaction.emoji
    ));
  end if;
  return message;
end;
$$;
comment on function chat.add_reaction is
  'Answers a message with a sign: an emoji, or a short name between colons. Given twice it counts once; a message has at
most 20 kinds.

@notNull';

create function chat.remove_reaction(message_id uuid, emoji text) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_message(message_id);
begin
  delete from chat.reactors as mine
  where mine.message_id = message.id and mine.emoji = remove_reaction.emoji and mine.user_id = caller;
  if found then
    perform chat._tell(message.channel_id, 'reaction_removed', jsonb_build_object(
      'message_id', message.id, 'user_id', caller, 'emoji', remove_reaction.emoji
    ));
  end if;
  return message;
end;
$$;
comment on function chat.remove_reaction is
  'Takes the caller''s sign back from a message; nothing changes where there is none.

@notNull';

-- The message, its channel locked, for one who may pin there.
create function chat._lock_for_pinning(message_id uuid) returns chat.messages
language plpgsql volatile set search_path = ''
as $$
declare
  message chat.messages := chat._lock_for_writing(message_id);
begin
  if chat._caller_role(message.channel_id) > 'moderator'
    and (select channel.kind from chat.channels as channel where channel.id = message.channel_id) = 'room' then
    raise exception using errcode = 'PT403', message = 'Only the room''s moderators pin messages.';
  end if;
  return message;
end;
$$;

create function chat.pin_message(message_id uuid) returns chat.pins
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_for_pinning(message_id);
  pin     chat.pins;
begin
  select * into pin
  from chat.pins as known
  where known.channel_id = message.channel_id and known.message_id = message.id;
  if pin.message_id is not null then
    return pin;
  end if;
  if (select count(*) from chat.pins as known where known.channel_id = message.channel_id) >= 50 then
    raise exception using errcode = 'PT409', message = 'A channel has at most 50 pinned messages.',
      hint = 'Unpin another one first.';
  end if;
  insert into chat.pins (channel_id, message_id, pinned_by)
  values (message.channel_id, message.id, caller)
  returning * into pin;
  perform chat._tell(
    message.channel_id, 'message_pinned', jsonb_build_object('message_id', message.id, 'user_id', caller)
  );
  return pin;
end;
$$;
comment on function chat.pin_message is
  'Pins a message, for everyone in the channel: by moderators of a room, by either side of a direct chat.

@notNull';

create function chat.unpin_message(message_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_for_pinning(message_id);
begin
  delete from chat.pins as known where known.channel_id = message.channel_id and known.message_id = message.id;
  if found then
    perform chat._tell(
      message.channel_id, 'message_unpinned', jsonb_build_object('message_id', message.id, 'user_id', caller)
    );
  end if;
end;
$$;
comment on function chat.unpin_message is 'Unpins a message; nothing changes where it is not pinned.';

-- Sent as any other message: who may not write there is refused by sending. What is forwarded again is still its
-- first author's.
create function chat.forward_message(message_id uuid, channel_id uuid, nonce text default null) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller uuid := identity.require_user_id();
  said   chat.messages;
  first  chat.forwards;
  sent   chat.messages;
begin
  select * into said
  from chat.messages as known
  where known.id = forward_message.message_id and known.deleted_at is null
    and exists (select from chat._readable as readable where readable.channel_id = known.channel_id);
  if said.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such message.', column = 'message_id';
  end if;

  sent := chat.send_message(
    forward_message.channel_id, said.text, forward_message.nonce,
    kind => case when said.kind in ('system', 'bot') then 'text' else said.kind end, metadata => said.metadata
  );
  select * into first from chat.forwards as known where known.message_id = said.id;
  insert into chat.forwards (message_id, channel_id, from_message_id, author_id, said_at)
  select sent.id, sent.channel_id, coalesce(first.from_message_id, said.id),
    case when first.message_id is null then said.sender_id else first.author_id end,
    coalesce(first.said_at, said.sent_at)
  where sent.sent_at >= now()  -- not what was sent with this nonce before
  on conflict on constraint forwards_pkey do nothing;
  return sent;
end;
$$;
comment on function chat.forward_message is
  'Sends a message that the caller may read to a channel where they may write, with a note of who said it first. With a
`nonce`, forwarding again returns the first message.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: bookmarks, drafts
-- --------------------------------------------------------------------------------------------

create function chat.add_bookmark(message_id uuid, note text default null) returns chat.bookmarks
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller   uuid := identity.require_user_id();
  message  chat.messages;
  bookmark chat.bookmarks;
begin
  select * into message
  from chat.messages as known
  where known.id = add_bookmark.message_id and known.deleted_at is null
    and exists (select from chat._readable as readable where readable.channel_id = known.channel_id);
  if message.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such message.', column = 'message_id';
  end if;
  -- One's own come one after another, so that their number holds still.
  perform pg_advisory_xact_lock(hashtextextended('chat.bookmarks:' || caller, 0));
  if (
    select count(*) from chat.bookmarks as known where known.user_id = caller and known.message_id <> message.id
  ) >= 1000 then
    raise exception using errcode = 'PT409', message = 'There are at most 1,000 bookmarks.',
      hint = 'Remove another one first.';
  end if;
  insert into chat.bookmarks (user_id, message_id, channel_id, note)
  values (caller, message.id, message.channel_id, nullif(add_bookmark.note, ''))
  on conflict on constraint bookmarks_pkey do update set note = excluded.note
  returning * into bookmark;
  perform events.publish(
    'user:' || caller, 'bookmark_added',
    jsonb_build_object('channel_id', message.channel_id, 'message_id', message.id, 'user_id', caller)
  );
  return bookmark;
end;
$$;
comment on function chat.add_bookmark is
  'Keeps a message for oneself, with a note; again, it changes the note. At most 1,000.

@notNull';

create function chat.remove_bookmark(message_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  gone   chat.bookmarks;
begin
  delete from chat.bookmarks as mine
  where mine.user_id = caller and mine.message_id = remove_bookmark.message_id
  returning * into gone;
  if gone.message_id is not null then
    perform events.publish(
      'user:' || caller, 'bookmark_removed',
      jsonb_build_object('channel_id', gone.channel_id, 'message_id', gone.message_id, 'user_id', caller)
    );
  end if;
end;
$$;
comment on function chat.remove_bookmark is 'Keeps a message no longer; nothing changes where there is no bookmark.';

create function chat.set_draft(channel_id uuid, text text default null, reply_to_id uuid default null)
returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels;
begin
  -- Held, so that who leaves at this moment takes the draft along.
  perform from chat.members as mine
  where mine.channel_id = set_draft.channel_id and mine.user_id = caller
  for key share;
  if not found then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.', column = 'channel_id';
  end if;
  if char_length(set_draft.text) > 10000 then
    raise exception using errcode = 'PT400', message = 'A draft has at most 10,000 characters.', column = 'text';
  end if;

  if set_draft.text is null or set_draft.text !~ '\S' then
    delete from chat.drafts as mine where mine.channel_id = set_draft.channel_id and mine.user_id = caller;
  else
    insert into chat.drafts as mine (channel_id, user_id, text, reply_to_id)
    values (set_draft.channel_id, caller, set_draft.text, set_draft.reply_to_id)
    on conflict on constraint drafts_pkey do update
    set text = excluded.text, reply_to_id = excluded.reply_to_id, changed_at = excluded.changed_at
    where (mine.text, mine.reply_to_id) is distinct from (excluded.text, excluded.reply_to_id);
  end if;
  if found then
    perform events.publish(
      'user:' || caller, 'draft_changed', jsonb_build_object('channel_id', set_draft.channel_id, 'user_id', caller)
    );
  end if;
  select * into channel from chat.channels as known where known.id = set_draft.channel_id;
  return channel;
end;
$$;
comment on function chat.set_draft is
  'Keeps what the caller has written in a channel and not sent, for their other devices; left out or empty, it goes.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: scheduled messages
-- --------------------------------------------------------------------------------------------

create function chat._check_scheduled(text text, send_at timestamptz) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if text is null or text !~ '\S' or char_length(text) > 10000 then
    raise exception using errcode = 'PT400', message = 'A message has 1 to 10,000 characters.', column = 'text';
  end if;
  if send_at is null or send_at <= now() or send_at > now() + interval '366 days' then
    raise exception using errcode = 'PT400', message = 'A message is sent later, within a year.', column = 'send_at';
  end if;
end;
$$;

create function chat._tell_scheduled(message chat.scheduled_messages, type text, data jsonb default '{}') returns void
language sql volatile set search_path = ''
as $$
  select events.publish('user:' || message.user_id, _tell_scheduled.type, jsonb_build_object(
    'channel_id', message.channel_id, 'user_id', message.user_id, 'scheduled_message_id', message.id
  ) || data);
$$;

-- A run of its own: so each is a transaction of its own, and begins at its very time.
create function chat._ask_for_sending(message chat.scheduled_messages) returns chat.scheduled_messages
language plpgsql volatile set search_path = ''
as $$
declare
  scheduled chat.scheduled_messages;
begin
  perform jobs.cancel(run.id) from jobs.runs as run where run.id = message.run_id;
  update chat.scheduled_messages as known
  set run_id = (jobs.enqueue('send scheduled message', jsonb_build_object('id', known.id), known.send_at)).id
  where known.id = message.id
  returning * into scheduled;
  perform chat._tell_scheduled(scheduled, 'scheduled_message_changed');
  return scheduled;
end;
$$;

create function chat.schedule_message(
  channel_id uuid, text text, send_at timestamptz, reply_to_id uuid default null
) returns chat.scheduled_messages
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  caller    uuid := identity.require_user_id();
  scheduled chat.scheduled_messages;
begin
  -- Guards. Whether they may write there is asked again when it is sent.
  if chat._caller_role(schedule_message.channel_id) is null then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.', column = 'channel_id';
  end if;
  perform chat._check_scheduled(schedule_message.text, schedule_message.send_at);
  perform pg_advisory_xact_lock(hashtextextended('chat.scheduled_messages:' || caller, 0));
  if (select count(*) from chat.scheduled_messages as known where known.user_id = caller) >= 100 then
    raise exception using errcode = 'PT409', message = 'There are at most 100 scheduled messages.',
      hint = 'Cancel another one first.';
  end if;

  insert into chat.scheduled_messages as mine (user_id, channel_id, text, reply_to_id, send_at)
  values (
    caller, schedule_message.channel_id, schedule_message.text, schedule_message.reply_to_id, schedule_message.send_at
  )
  returning * into scheduled;
  return chat._ask_for_sending(scheduled);
end;
$$;
comment on function chat.schedule_message is
  'Writes a message that is sent at its time, within a year. At most 100 wait.

@notNull';

-- The caller's, locked: until it is sent, or once more after it was refused.
create function chat._lock_scheduled(id uuid) returns chat.scheduled_messages
language plpgsql volatile set search_path = ''
as $$
declare
  scheduled chat.scheduled_messages;
begin
  select * into scheduled
  from chat.scheduled_messages as mine
  where mine.id = _lock_scheduled.id and mine.user_id = identity.require_user_id()
  for update;
  if scheduled.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such scheduled message.', column = 'id',
      hint = 'It may have been sent already.';
  end if;
  return scheduled;
end;
$$;

create function chat.change_scheduled_message(id uuid, text text default null, send_at timestamptz default null)
returns chat.scheduled_messages
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  scheduled chat.scheduled_messages := chat._lock_scheduled(change_scheduled_message.id);
begin
  scheduled.text := coalesce(change_scheduled_message.text, scheduled.text);
  scheduled.send_at := coalesce(change_scheduled_message.send_at, scheduled.send_at);
  perform chat._check_scheduled(scheduled.text, scheduled.send_at);
  update chat.scheduled_messages as mine
  set text = scheduled.text, send_at = scheduled.send_at, refusal = null
  where mine.id = scheduled.id
  returning * into scheduled;
  return chat._ask_for_sending(scheduled);
end;
$$;
comment on function chat.change_scheduled_message is
  'Changes the text or the time of a message that was not sent yet; one that was refused waits again.

@notNull';

create function chat.cancel_scheduled_message(id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  scheduled chat.scheduled_messages := chat._lock_scheduled(id);
begin
  perform jobs.cancel(run.id) from jobs.runs as run where run.id = scheduled.run_id;
  delete from chat.scheduled_messages as mine where mine.id = scheduled.id;
  perform chat._tell_scheduled(scheduled, 'scheduled_message_cancelled');
end;
$$;
comment on function chat.cancel_scheduled_message is
  'Takes a scheduled message away before it is sent, or after it was refused.';

-- Run by a job. Sent as its author would send it now: what refuses them refuses it, and they are told. The row goes in
-- the transaction that sends, so it is sent once; a run that comes early, late or again finds nothing to do.
create function chat.send_scheduled(payload jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  scheduled chat.scheduled_messages;
  sent      chat.messages;
  asked_by  text := current_setting('plinth.user_id', true);
  reason    text;
begin
  select * into scheduled
  from chat.scheduled_messages as due
  where due.id = (payload ->> 'id')::uuid and due.refusal is null and due.send_at <= now()
  for update;
  if scheduled.id is null then
    return null;
  end if;

  begin
    perform set_config('plinth.user_id', scheduled.user_id::text, true);
    if not exists (
      select from identity.accounts as account where account.user_id = scheduled.user_id and account.status = 'active'
    ) then
      raise exception using errcode = 'PT403', message = 'The account is not active.';
    end if;
    sent := chat.send_message(
      scheduled.channel_id, scheduled.text, 'scheduled:' || scheduled.id, scheduled.reply_to_id
    );
  exception
    -- What time does not heal. Anything else is tried again by the job.
    when others then
      if sqlstate !~ '^(PT4|22|23)' then
        raise;
      end if;
      reason := sqlerrm;
  end;
  if reason is null then
    delete from chat.scheduled_messages as done where done.id = scheduled.id;
    perform chat._tell_scheduled(scheduled, 'scheduled_message_sent', jsonb_build_object('message_id', sent.id));
  else
    update chat.scheduled_messages as done set refusal = reason where done.id = scheduled.id;
    perform chat._tell_scheduled(scheduled, 'scheduled_message_refused', jsonb_build_object('reason', reason));
  end if;
  perform set_config('plinth.user_id', coalesce(asked_by, ''), true);
  return jsonb_build_object('message_id', sent.id, 'refusal', reason);
end;
$$;
comment on function chat.send_scheduled is
  'Sends a scheduled message whose time has come.

@hide';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function chat._count_reactor() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into chat.reactions as known (message_id, emoji, channel_id, count)
    values (new.message_id, new.emoji, new.channel_id, 1)
    on conflict on constraint reactions_pkey do update set count = known.count + 1;
  else
    delete from chat.reactions as known
    where known.message_id = old.message_id and known.emoji = old.emoji and known.count = 1;
    if not found then
      update chat.reactions as known set count = known.count - 1
      where known.message_id = old.message_id and known.emoji = old.emoji;
    end if;
  end if;
  return null;
end;
$$;
create trigger count_reactor after insert or delete on chat.reactors
  for each row execute function chat._count_reactor();

-- Resolved when someone says it; what is imported names nobody.
create function chat._mention_in_message() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.sender_id = identity.current_user_id() then
    perform chat._mention(new);
  end if;
  return null;
end;
$$;
create trigger mention_in_message after insert on chat.messages
  for each row when (new.text like '%@%') execute function chat._mention_in_message();
create trigger mention_in_edit after update of text on chat.messages
  for each row when (new.text like '%@%' or (old.text like '%@%' and new.text is not null))
  execute function chat._mention_in_message();

create function chat._count_reply() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    insert into chat.threads as known (message_id, channel_id, reply_count, last_reply_id)
    values (new.reply_to_id, new.channel_id, 1, new.id)
    on conflict on constraint threads_pkey do update
    set reply_count = known.reply_count + 1, last_reply_id = excluded.last_reply_id;
  else
    update chat.threads as known set reply_count = known.reply_count - 1 where known.message_id = new.reply_to_id;
  end if;
  return null;
end;
$$;
create trigger count_reply after insert on chat.messages
  for each row when (new.reply_to_id is not null and new.deleted_at is null) execute function chat._count_reply();
create trigger count_reply_gone after update of deleted_at on chat.messages
  for each row when (new.reply_to_id is not null and old.deleted_at is null and new.deleted_at is not null)
  execute function chat._count_reply();

-- What was said of it goes with it; its thread stays.
create function chat._clear_deleted() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from chat.mentions as known where known.message_id = new.id;
  delete from chat.reactors as known where known.message_id = new.id;
  delete from chat.pins as known where known.channel_id = new.channel_id and known.message_id = new.id;
  return null;
end;
$$;
create trigger clear_deleted after update of deleted_at on chat.messages
  for each row when (old.deleted_at is null and new.deleted_at is not null) execute function chat._clear_deleted();

-- A removed account keeps nothing for itself, and says nothing more. A run that waits finds nothing to send.
create function chat._forget_kept() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from chat.bookmarks as mine where mine.user_id = new.id;
  delete from chat.drafts as mine where mine.user_id = new.id;
  delete from chat.scheduled_messages as mine where mine.user_id = new.id;
  return null;
end;
$$;
create trigger forget_kept after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null) execute function chat._forget_kept();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

alter table chat.mentions enable row level security;
create policy members_see_mentions_in_what_they_may_read on chat.mentions for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = mentions.channel_id offset 0));
alter table chat.reactions enable row level security;
create policy members_see_reactions_in_what_they_may_read on chat.reactions for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = reactions.channel_id offset 0));
alter table chat.reactors enable row level security;
create policy members_see_reactors_in_what_they_may_read on chat.reactors for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = reactors.channel_id offset 0));
alter table chat.pins enable row level security;
create policy members_see_pins_in_what_they_may_read on chat.pins for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = pins.channel_id offset 0));
alter table chat.threads enable row level security;
create policy members_see_threads_in_what_they_may_read on chat.threads for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = threads.channel_id offset 0));
alter table chat.forwards enable row level security;
create policy members_see_forwards_in_what_they_may_read on chat.forwards for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = forwards.channel_id offset 0));

alter table chat.bookmarks enable row level security;
create policy users_see_their_bookmarks on chat.bookmarks for select to member
  using (user_id = (select identity.current_user_id()));
alter table chat.drafts enable row level security;
create policy users_see_their_drafts on chat.drafts for select to member
  using (user_id = (select identity.current_user_id()));
alter table chat.scheduled_messages enable row level security;
create policy users_see_their_scheduled_messages on chat.scheduled_messages for select to member
  using (user_id = (select identity.current_user_id()));

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on chat.mentions, chat.reactions, chat.reactors, chat.pins, chat.threads, chat.forwards to member;
grant select on chat.bookmarks, chat.drafts, chat.scheduled_messages to member;

revoke execute on all functions in schema chat from public;
grant execute on function chat.mentions, chat.my_mentions to member;
grant execute on function chat.mentioning_message, chat.pinned_message, chat.bookmarked_message to member;
grant execute on function chat.reactions, chat.mine, chat.reactors, chat.add_reaction, chat.remove_reaction to member;
grant execute on function chat.pin_message, chat.unpin_message, chat.reply_count to member;
grant execute on function chat.forward_message, chat.forwarded_from, chat.original to member;
grant execute on function chat.bookmark, chat.add_bookmark, chat.remove_bookmark to member;
grant execute on function chat.draft, chat.set_draft to member;
grant execute on function
  chat.schedule_message, chat.change_scheduled_message, chat.cancel_scheduled_message to member;

-- ============================================================================================
-- accounts: operators' acts, merges, exports, retention, legal holds
-- ============================================================================================
-- What becomes of accounts, and of what was said, in the course of time. docs/accounts.md tells how.

create schema accounts;
comment on schema accounts is 'What becomes of accounts, and of what was said, in the course of time.';
grant usage on schema accounts to plinth_server, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type accounts.act_kind as enum ('status_changed', 'merged', 'impersonated', 'held', 'released');
comment on type accounts.act_kind is 'What an operator did.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- Written once, for as long as the database lives: _keep_acts refuses every change, whoever asks.
create table accounts.acts (
  id          uuid              primary key default public.uuid_v7(),
  kind        accounts.act_kind not null,
  operator_id uuid              references identity.users (id) on delete restrict,  -- null: someone at the database
  user_id     uuid              references identity.users (id) on delete restrict,  -- null: it is about a channel
  channel_id  uuid,                                         -- null: it is about a user; no key: it outlives the channel
  reason      text              not null,
  data        jsonb             not null default '{}',
  address     inet,                                         -- null: not known
  created_at  timestamptz       not null default now(),

  constraint reason_has_1_to_1000_characters check (reason ~ '\S' and char_length(reason) <= 1000),
  constraint data_is_at_most_16_kb           check (pg_column_size(data) <= 16384)
);
comment on table  accounts.acts             is
  'What operators have done to accounts; a log that nobody can edit. Users see who acted as them.

@order id desc';
comment on column accounts.acts.id          is 'The key; rises with time.';
comment on column accounts.acts.kind        is 'What was done.';
comment on column accounts.acts.operator_id is 'Who did it; null for someone at the database.';
comment on column accounts.acts.user_id     is 'To whom; null where it is about a channel.';
comment on column accounts.acts.channel_id  is 'To which channel; null where it is about a user.';
comment on column accounts.acts.reason      is 'Why, in their words.';
comment on column accounts.acts.data        is 'What else there is to know of it.';
comment on column accounts.acts.address     is 'The IP address it was done from.';
comment on column accounts.acts.created_at  is 'When.';
comment on constraint acts_operator_id_fkey on accounts.acts is '@inverse acts';
comment on constraint acts_user_id_fkey     on accounts.acts is '@inverse acts_on';
create index acts_operator_id_id_idx on accounts.acts (operator_id, id desc);
create index acts_user_id_id_idx on accounts.acts (user_id, id desc);

-- Those in force; accounts.acts has the others.
create table accounts.legal_holds (
  id         uuid        primary key default public.uuid_v7(),
  user_id    uuid        unique references identity.users (id) on delete cascade,  -- null: of a channel
  channel_id uuid        unique references chat.channels (id) on delete cascade,   -- null: of a user
  reason     text        not null,
  placed_at  timestamptz not null default now(),

  constraint it_is_of_a_user_or_a_channel    check (num_nonnulls(user_id, channel_id) = 1),
  constraint reason_has_1_to_1000_characters check (reason ~ '\S' and char_length(reason) <= 1000)
);
comment on table  accounts.legal_holds            is
  'Users and channels of whom nothing is removed while the hold is in force, whoever asks.

@order id desc';
comment on column accounts.legal_holds.id         is 'The key; rises with time.';
comment on column accounts.legal_holds.user_id    is
  'Whose account, messages and direct chats are held; null for the hold of a channel.';
comment on column accounts.legal_holds.channel_id is 'Which channel is held; null for the hold of a user.';
comment on column accounts.legal_holds.reason     is 'Why.';
comment on column accounts.legal_holds.placed_at  is 'Since when.';

create table accounts.retentions (
  channel_id uuid        primary key references chat.channels (id) on delete cascade,
  days       integer     not null,
  expired_at timestamptz,                         -- null: not looked at yet

  constraint days_are_1_to_3650 check (days between 1 and 3650)
);
comment on table  accounts.retentions            is 'How long the messages of a room are kept; for ever where none is.';
comment on column accounts.retentions.channel_id is 'The room.';
comment on column accounts.retentions.days       is 'After how many days its messages are removed, 1 to 3650.';
comment on column accounts.retentions.expired_at is 'When its messages were last looked through; null for never.';
-- Whose turn it is, accounts.expire_messages.
create index retentions_expired_at_idx on accounts.retentions (expired_at nulls first, channel_id);

create table accounts.exports (
  id          uuid        primary key default public.uuid_v7(),
  user_id     uuid        not null references identity.users (id) on delete cascade,
  run_id      uuid        references jobs.runs (id) on delete set null,  -- null: its run was cleaned away
  created_at  timestamptz not null default now(),
  finished_at timestamptz,                                  -- null: not finished
  file        text,                                         -- null: not finished
  bytes       bigint,                                       -- null: not finished
  expires_at  timestamptz not null default now() + interval '7 days'
);
comment on table  accounts.exports             is
  'A file with all that Plinth keeps of a user, made at their wish.

@order id desc';
comment on column accounts.exports.id          is 'The key; rises with time.';
comment on column accounts.exports.user_id     is 'Whose data it is.';
comment on column accounts.exports.run_id      is 'The job that makes it: follow it by `runEvents`.';
comment on column accounts.exports.created_at  is 'When it was asked for.';
comment on column accounts.exports.finished_at is 'When it was finished; null until then.';
comment on column accounts.exports.file        is
  'Its name in the storage.

@hide';
comment on column accounts.exports.bytes       is 'Its size; null until it is finished.';
comment on column accounts.exports.expires_at  is 'When it is removed.';
create index exports_user_id_id_idx on accounts.exports (user_id, id desc);
create index exports_run_id_idx on accounts.exports (run_id);
create index exports_expires_at_idx on accounts.exports (expires_at);

-- One an export: the newest is good, and no other.
create table accounts.export_links (
  export_id  uuid        primary key references accounts.exports (id) on delete cascade,
  token_hash bytea       not null unique,
  expires_at timestamptz not null default now() + interval '1 hour'
);
comment on table accounts.export_links is 'Hashes of the tokens by which exports are downloaded.';

create type accounts.export_link as (
  path       text,
  expires_at timestamptz
);
comment on type   accounts.export_link            is 'Where an export is downloaded, by whoever has the link.';
comment on column accounts.export_link.path       is 'The path on this server: `/exports/…`.';
comment on column accounts.export_link.expires_at is 'Until when it is good: for an hour.';

-- --------------------------------------------------------------------------------------------
-- Functions: what operators do
-- --------------------------------------------------------------------------------------------

create function accounts._note(
  kind accounts.act_kind, user_id uuid, channel_id uuid, reason text, data jsonb default '{}'
) returns accounts.acts
language sql volatile set search_path = ''
as $$
  insert into accounts.acts (kind, operator_id, user_id, channel_id, reason, data, address)
  values (kind, identity.current_user_id(), user_id, channel_id, reason, data, identity._address())
  returning *;
$$;

-- Locks a user, as opening a session and removing an account do.
create function accounts._lock_user(user_id uuid) returns identity.users
language plpgsql volatile set search_path = ''
as $$
declare
  person identity.users;
begin
  select * into person
  from identity.users as known
  where known.id = _lock_user.user_id and known.removed_at is null
  for no key update;
  if person.id is null then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  return person;
end;
$$;

create function accounts._require_no_operator(user_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if exists (
    select from identity.accounts as known where known.user_id = _require_no_operator.user_id and known.is_operator
  ) then
    raise exception using errcode = 'PT403', message = 'They run the place themselves.', column = 'user_id',
      hint = 'Whoever has the database takes that right from them first (docs/accounts.md).';
  end if;
end;
$$;

create function accounts.set_account_status(user_id uuid, status identity.account_status, reason text)
returns accounts.acts
language plpgsql volatile security definer set search_path = ''
as $$
declare
  person identity.users := accounts._lock_user(user_id);
  before identity.account_status;
begin
  perform accounts._require_no_operator(person.id);
  select known.status into before
  from identity.accounts as known
  where known.user_id = person.id
  for no key update;
  if before is null then
    raise exception using errcode = 'PT409', message = 'They have no account to sign in with.', column = 'user_id';
  end if;
  update identity.accounts as known set status = set_account_status.status where known.user_id = person.id;
  if set_account_status.status <> 'active' then
    update identity.sessions as session
    set revoked_at = now()
    where session.user_id = person.id and session.revoked_at is null;
  end if;
  return accounts._note(
    'status_changed', person.id, null, reason,
    jsonb_build_object('before', before, 'after', set_account_status.status)
  );
end;
$$;
comment on function accounts.set_account_status is
  'Bans a user (`BANNED`), suspends them (`INACTIVE`) or lets them in again (`ACTIVE`), for a reason that is logged.
Their sessions end at once.

@notNull';

-- A session as theirs that cannot be refreshed and ends when its token does.
create function accounts.impersonate(user_id uuid, reason text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity._require_own_session();
  person  identity.users := accounts._lock_user(user_id);
  session identity.sessions;
  issued  identity.session_tokens;
begin
  perform accounts._require_no_operator(person.id);
  if not exists (
    select from identity.accounts as known where known.user_id = person.id and known.status = 'active'
  ) then
    raise exception using errcode = 'PT409', message = 'The account is not active.', column = 'user_id';
  end if;
  insert into identity.sessions (user_id, impersonator_id, expires_at, address, user_agent)
  values (person.id, caller, now() + interval '15 minutes', identity._address(), identity._user_agent())
  returning * into session;
  perform accounts._note(
    'impersonated', person.id, null, reason,
    jsonb_build_object('session_id', session.id, 'expires_at', session.expires_at)
  );
  perform events.publish(
    'user:' || person.id, 'impersonated', jsonb_build_object('session_id', session.id, 'user_id', person.id)
  );
  issued.access_token := jsonb_build_object('sub', person.id, 'sid', session.id, 'role', 'member');
  issued.expires_at := session.expires_at;
  issued."user" := person;
  return issued;
end;
$$;
comment on function accounts.impersonate is
  'Signs the operator in as a user for 15 minutes, for a reason that is logged; the user sees the session and the log.
There is no refresh token.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: legal holds
-- --------------------------------------------------------------------------------------------

-- Whether what a user has said in a channel is held: the channel, the user, or someone whose direct chat it is.
create function accounts._is_held(channel_id uuid, user_id uuid) returns boolean
language sql stable set search_path = ''
return
  exists (select from accounts.legal_holds as hold where hold.channel_id = _is_held.channel_id)
  or exists (select from accounts.legal_holds as hold where hold.user_id = _is_held.user_id)
  or exists (
    select
    from accounts.legal_holds as hold
    join chat.members as member on member.user_id = hold.user_id and member.channel_id = _is_held.channel_id
    join chat.channels as channel on channel.id = member.channel_id and channel.kind = 'direct'
  );

create function accounts._hold_or_release(
  kind accounts.act_kind, user_id uuid, channel_id uuid, reason text
) returns accounts.acts
language plpgsql volatile set search_path = ''
as $$
declare
  is_new boolean;
begin
  if num_nonnulls(user_id, channel_id) <> 1 then
    raise exception using errcode = 'PT400', message = 'Name a user or a channel.';
  end if;
  if user_id is not null and not exists (select from identity.users as known where known.id = user_id) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  if channel_id is not null and not exists (select from chat.channels as known where known.id = channel_id) then
    raise exception using errcode = 'PT404', message = 'There is no such channel.', column = 'channel_id';
  end if;
  -- An account that is being removed at this moment, and what is being deleted in this channel, is waited for.
  perform from identity.users as known where known.id = _hold_or_release.user_id for no key update;
  perform from chat.channels as known where known.id = _hold_or_release.channel_id for no key update;
  if kind = 'held' then
    insert into accounts.legal_holds (user_id, channel_id, reason) values (user_id, channel_id, reason)
    on conflict do nothing;
  else
    delete from accounts.legal_holds as hold
    where hold.user_id = _hold_or_release.user_id or hold.channel_id = _hold_or_release.channel_id;
  end if;
  is_new := found;
  if not is_new then
    raise exception using errcode = 'PT409',
      message = case when kind = 'held' then 'It is held already.' else 'It is not held.' end;
  end if;
  return accounts._note(kind, user_id, channel_id, reason);
end;
$$;

create function accounts.place_hold(reason text, user_id uuid default null, channel_id uuid default null)
returns accounts.acts
language sql volatile security definer set search_path = ''
return accounts._hold_or_release('held', user_id, channel_id, reason);
comment on function accounts.place_hold is
  'From now on nothing of a user, or of a channel, is removed, whoever asks: no message, no account, no room.

@notNull';

create function accounts.release_hold(reason text, user_id uuid default null, channel_id uuid default null)
returns accounts.acts
language sql volatile security definer set search_path = ''
return accounts._hold_or_release('released', user_id, channel_id, reason);
comment on function accounts.release_hold is
  'Ends the legal hold of a user or of a channel: what is kept no longer is removed by the next upkeep.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: merging two accounts
-- --------------------------------------------------------------------------------------------

-- Where else a user or a channel is named: every foreign key to its table, so that what is added later follows. Not
-- what is handled by itself, or stays with who it was.
create function accounts._columns_that_name(target regclass) returns table (named regclass, named_column name)
language sql stable set search_path = ''
as $$
  select held.conrelid::regclass, attribute.attname
  from pg_catalog.pg_constraint as held
  join pg_catalog.pg_attribute as attribute
    on attribute.attrelid = held.conrelid and attribute.attnum = held.conkey[1]
  where held.contype = 'f' and held.confrelid = target and held.conparentid = 0 and cardinality(held.conkey) = 1
    and held.conrelid::regclass::text not in (
      'identity.accounts', 'identity.passwords', 'identity.codes', 'identity.sessions', 'chat.members',
      'chat.direct_pairs', 'chat.moderation_entries', 'accounts.acts', 'accounts.legal_holds', 'accounts.exports',
      'jobs.runs'
    )
    and (held.conrelid::regclass::text, attribute.attname) not in (
      ('chat.messages', 'channel_id'), ('chat.deletions', 'channel_id')
    )
  order by 1, 2;
$$;

-- Writes another name everywhere. A row that would be there twice goes: the one that is there stays.
create function accounts._rename(target regclass, before uuid, after uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  place record;
  item  record;
begin
  for place in select * from accounts._columns_that_name(target) loop
    begin
      execute format('update %s set %I = $2 where %2$I = $1', place.named, place.named_column) using before, after;
    exception when unique_violation then
      for item in
        execute format('select ctid from %s where %I = $1', place.named, place.named_column) using before
      loop
        begin
          execute format('update %s set %I = $2 where ctid = $1', place.named, place.named_column)
          using item.ctid, after;
        exception when unique_violation then
          execute format('delete from %s where ctid = $1', place.named) using item.ctid;
        end;
      end loop;
    end;
  end loop;
end;
$$;

-- Two direct chats become one, in the order of time. What was unread in either is unread.
create function accounts._merge_channels(gone uuid, kept uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  first_unread jsonb;
  newest       record;
begin
  -- By whom, and what they have not read first; both channels have the same two members by now.
  select coalesce(jsonb_object_agg(unread.user_id, unread.id), '{}') into first_unread
  from (
    select member.user_id, min(message.id::text) as id
    from chat.members as member
    join chat.messages as message
      on message.channel_id = member.channel_id and message.deleted_at is null
      and message.seq > coalesce(member.last_read_seq, member.joined_seq)
    where member.channel_id in (gone, kept)
    group by member.user_id
  ) as unread;

  with numbered as (
    select message.id, row_number() over (order by message.id) as seq
    from chat.messages as message
    where message.channel_id in (gone, kept)
  )
  update chat.messages as message
  set channel_id = kept, seq = numbered.seq
  from numbered
  where message.id = numbered.id;
  with moved as (
    delete from chat.deletions as deletion where deletion.channel_id in (gone, kept) returning *
  )
  insert into chat.deletions (channel_id, seq, message_id, deleted_by, deleted_at)
  select kept, message.seq, moved.message_id, moved.deleted_by, moved.deleted_at
  from moved
  join chat.messages as message on message.id = moved.message_id;

  select coalesce(max(message.seq), 0) as seq, max(message.id::text)::uuid as id into newest
  from chat.messages as message
  where message.channel_id = kept;
  update chat.members as member
  set
    joined_seq = 0,
    last_read_seq = coalesce(
      (
        select message.seq - 1
        from chat.messages as message
        where message.id = (first_unread ->> member.user_id::text)::uuid
      ),
      newest.seq
    )
  where member.channel_id = kept;
  perform accounts._rename('chat.channels', gone, kept);
  update chat.channels as channel
  set
    last_seq = newest.seq, last_message_id = newest.id,
    active_at = greatest(channel.active_at, other.active_at)
  from chat.channels as other
  where channel.id = kept and other.id = gone;
  delete from chat.channels as channel where channel.id = gone;
end;
$$;

-- Memberships of `gone` become those of `kept`: the higher role, and what was read by either is read.
create function accounts._merge_members(gone uuid, kept uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  old chat.members;
begin
  for old in select * from chat.members as member where member.user_id = gone order by member.channel_id loop
    delete from chat.members as member where member.channel_id = old.channel_id and member.user_id = gone;
    insert into chat.members as known (channel_id, user_id, role, joined_at, joined_seq, last_read_seq)
    values (old.channel_id, kept, old.role, old.joined_at, old.joined_seq, old.last_read_seq)
    on conflict on constraint members_pkey do update set
      role = least(known.role, excluded.role),
      joined_at = least(known.joined_at, excluded.joined_at),
      last_read_seq = greatest(known.last_read_seq, excluded.last_read_seq, known.joined_seq, excluded.joined_seq);
  end loop;
end;
$$;

create function accounts._merge_direct_chats(gone uuid, kept uuid) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  pair  record;
  other chat.direct_pairs;
begin
  for pair in
    select
      known.channel_id,
      case when known.first_user_id = gone then known.second_user_id else known.first_user_id end as with_id
    from chat.direct_pairs as known
    where gone in (known.first_user_id, known.second_user_id)
  loop
    delete from chat.direct_pairs as known where known.channel_id = pair.channel_id;
    if pair.with_id = kept then
      -- With oneself: it stays to be read.
      update chat.channels set closed_at = coalesce(closed_at, now()) where id = pair.channel_id;
      continue;
    end if;
    insert into chat.direct_pairs (first_user_id, second_user_id, channel_id)
    values (least(kept, pair.with_id), greatest(kept, pair.with_id), pair.channel_id)
    on conflict on constraint direct_pairs_pkey do nothing;
    if not found then
      select * into other
      from chat.direct_pairs as known
      where known.first_user_id = least(kept, pair.with_id) and known.second_user_id = greatest(kept, pair.with_id);
      perform accounts._merge_channels(pair.channel_id, other.channel_id);
    end if;
  end loop;
end;
$$;

create function accounts.merge_accounts(from_id uuid, into_id uuid, reason text) returns identity.users
language plpgsql volatile security definer set search_path = ''
as $$
declare
  source identity.users;
  merged identity.users;
  old    identity.accounts;
  secret identity.passwords;
begin
  -- Guards. Users, then channels, each in the order of their ids, so that two merges wait and do not lock each other.
  if from_id = into_id then
    raise exception using errcode = 'PT400', message = 'These are one account already.', column = 'into_id';
  end if;
  perform accounts._lock_user(least(from_id, into_id)), accounts._lock_user(greatest(from_id, into_id));
  perform accounts._require_no_operator(from_id), accounts._require_no_operator(into_id);
  if exists (select from identity.bots as bot where bot.user_id in (from_id, into_id)) then
    raise exception using errcode = 'PT409', message = 'A bot is not merged with anyone.';
  end if;
  perform
  from chat.channels as channel
  where channel.id in (select member.channel_id from chat.members as member where member.user_id in (from_id, into_id))
  order by channel.id
  for no key update of channel;
  if exists (select from accounts.legal_holds as hold where hold.user_id in (from_id, into_id))
    or exists (
      select
      from accounts.legal_holds as hold
      join chat.members as member on member.channel_id = hold.channel_id and member.user_id in (from_id, into_id)
    ) then
    raise exception using errcode = 'PT409', message = 'One of them, or a channel of theirs, is under a legal hold.';
  end if;
  select * into source from identity.users as known where known.id = from_id;
  select * into old from identity.accounts as known where known.user_id = from_id;
  select * into secret from identity.passwords as known where known.user_id = from_id;

  -- What they belong to, and what they have said.
  perform accounts._merge_members(from_id, into_id);
  perform accounts._merge_direct_chats(from_id, into_id);
  update files.usage as kept
  set bytes = kept.bytes + gone.bytes, files = kept.files + gone.files
  from files.usage as gone
  where kept.user_id = into_id and gone.user_id = from_id;
  perform accounts._rename('identity.users', from_id, into_id);

  -- How they sign in: what the one lacks comes from the other.
  perform identity._remove(from_id);
  update identity.accounts as known set
    phone = coalesce(known.phone, old.phone),
    email = coalesce(known.email, old.email),
    email_verified_at = case when known.email is null then old.email_verified_at else known.email_verified_at end
  where known.user_id = into_id;
  if secret.hash is not null
    and exists (select from identity.accounts where user_id = into_id and email = old.email) then
    insert into identity.passwords (user_id, hash, changed_at) values (into_id, secret.hash, secret.changed_at)
    on conflict on constraint passwords_pkey do nothing;
  end if;
  update identity.users as known
  set external_ref = coalesce(known.external_ref, source.external_ref)
  where known.id = into_id
  returning * into merged;

  perform accounts._note(
    'merged', into_id, null, reason, jsonb_build_object('from_id', from_id, 'from_username', source.username)
  );
  perform events.publish(
    'user:' || into_id, 'accounts_merged', jsonb_build_object('user_id', into_id, 'from_id', from_id)
  );
  return merged;
end;
$$;
comment on function accounts.merge_accounts is
  'Makes two accounts of one person one: messages, memberships and direct chats of `from` become those of `into`, and
`from` is removed. What the other lacks to sign in with, a phone number or an e-mail address, comes along.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: retention
-- --------------------------------------------------------------------------------------------

create function accounts.set_retention(channel_id uuid, days integer default null) returns chat.channels
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  if channel.kind <> 'room' then
    raise exception using errcode = 'PT409', message = 'Only the messages of a room are kept for a time.';
  end if;
  if chat._caller_role(channel.id) is null or chat._caller_role(channel.id) > 'admin' then
    raise exception using errcode = 'PT403', message = 'Only an owner or admin of the room sets how long it is kept.';
  end if;
  if days not between 1 and 3650 then
    raise exception using errcode = 'PT400', message = 'Messages are kept for 1 to 3650 days.', column = 'days';
  end if;
  if days is null then
    delete from accounts.retentions as known where known.channel_id = channel.id;
  else
    insert into accounts.retentions as known (channel_id, days) values (channel.id, days)
    on conflict on constraint retentions_pkey do update set days = excluded.days;
  end if;
  perform chat._tell(channel.id, 'retention_changed', jsonb_build_object('days', days));
  select * into channel from chat.channels as known where known.id = channel.id;
  return channel;
end;
$$;
comment on function accounts.set_retention is
  'Keeps the messages of a room for so many days; for ever where `days` is left out. For its owner and admins.

@notNull';

-- The oldest messages of a room go, at most so many. Who has not read them has nothing left to read there.
create function accounts._expire_channel(rule accounts.retentions, most integer) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  ids  uuid[];
  upto bigint;
begin
  update accounts.retentions as known set expired_at = clock_timestamp() where known.channel_id = rule.channel_id;
  select array_agg(due.id), max(due.seq) into ids, upto
  from (
    select message.id, message.seq
    from chat.messages as message
    where message.channel_id = rule.channel_id
      and message.id < public.uuid_v7_floor(now() - make_interval(days => rule.days))
      and not exists (select from accounts.legal_holds as hold where hold.user_id = message.sender_id)
    order by message.id
    limit most
  ) as due;
  if ids is null then
    return 0;
  end if;
  delete from chat.nonces as used
  using chat.messages as message
  where message.id = any (ids) and used.sender_id = message.sender_id and used.message_id = message.id;
  delete from chat.message_edits as edit where edit.message_id = any (ids);
  delete from chat.messages as message where message.id = any (ids);
  delete from chat.deletions as deletion where deletion.channel_id = rule.channel_id and deletion.seq <= upto;
  update chat.members as member
  set last_read_seq = upto
  where member.channel_id = rule.channel_id and coalesce(member.last_read_seq, member.joined_seq) < upto;
  perform chat._tell(rule.channel_id, 'messages_expired', jsonb_build_object('upto_seq', upto));
  return cardinality(ids);
end;
$$;

-- Whoever was looked at longest ago comes first, so that no room keeps the others waiting.
create function accounts.expire_messages(most integer default 20000) returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  rule    accounts.retentions;
  removed bigint := 0;
begin
  for rule in
    select known.* from accounts.retentions as known order by known.expired_at nulls first, known.channel_id limit 1000
  loop
    exit when removed >= most;
    -- A room that is busy or held is passed by.
    perform from chat.channels as channel where channel.id = rule.channel_id for no key update skip locked;
    if not found then
      continue;
    end if;
    if accounts._is_held(rule.channel_id, null) then
      update accounts.retentions as known set expired_at = clock_timestamp() where known.channel_id = rule.channel_id;
      continue;
    end if;
    removed := removed + accounts._expire_channel(rule, least(most - removed, 2000)::integer);
  end loop;
  return removed;
end;
$$;
comment on function accounts.expire_messages is
  'Removes the messages of rooms that are kept no longer, 2,000 a room and `most` in all; returns how many.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: exports
-- --------------------------------------------------------------------------------------------

create function accounts.request_export() returns accounts.exports
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
  made   accounts.exports;
begin
  -- One at a time: who asks twice at once waits here.
  perform from identity.accounts as account where account.user_id = caller for no key update;
  if exists (
    select
    from accounts.exports as known
    join jobs.runs as run on run.id = known.run_id and run.finished_at is null
    where known.user_id = caller and known.finished_at is null
  ) then
    raise exception using errcode = 'PT409', message = 'An export is being made already.';
  end if;
  if not identity._count_attempt('export:user:' || caller, 3, interval '1 day') then
    perform public.refuse('PT429', 'Three exports a day are made; try again tomorrow.');
    return null;
  end if;
  insert into accounts.exports (user_id) values (caller) returning * into made;
  update accounts.exports as known
  set run_id = (jobs.enqueue('export_account', jsonb_build_object('export', made.id), key => 'export of ' || caller)).id
  where known.id = made.id
  returning * into made;
  return made;
end;
$$;
comment on function accounts.request_export is
  'Asks for a file with all that Plinth keeps of the caller; its job makes it. One at a time, three a day.

@notNull';

create function accounts.create_export_link(id uuid) returns accounts.export_link
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
  token  text := identity._new_token();
  link   accounts.export_link;
begin
  if not exists (
    select
    from accounts.exports as known
    where known.id = create_export_link.id and known.user_id = caller and known.finished_at is not null
      and known.expires_at > now()
  ) then
    raise exception using errcode = 'PT404', message = 'There is no such export, or it is not finished.',
      column = 'id';
  end if;
  insert into accounts.export_links as known (export_id, token_hash)
  values (create_export_link.id, identity._token_hash(token))
  on conflict on constraint export_links_pkey do update
  set token_hash = excluded.token_hash, expires_at = excluded.expires_at
  returning '/exports/' || token, known.expires_at into link;
  return link;
end;
$$;
comment on function accounts.create_export_link is
  'Where a finished export of the caller''s is downloaded, for an hour. The link before is good no longer.

@notNull';

create function accounts._export_file(token text) returns text
language sql stable security definer set search_path = ''
return (
  select made.file
  from accounts.export_links as link
  join accounts.exports as made on made.id = link.export_id
  join identity.accounts as account on account.user_id = made.user_id and account.status = 'active'
  where link.token_hash = identity._token_hash(token) and link.expires_at > now() and made.expires_at > now()
);
comment on function accounts._export_file is
  'The file that a link is for; null where it is good for none. For the server.';

-- What is known of a user, as lines of JSON: all that is little at once, then their messages by the thousand.
create function accounts._export_lines(export_id uuid, after uuid, most integer default 1000)
returns table (id uuid, line text)
language plpgsql stable set search_path = ''
as $$
declare
  owner uuid := (select made.user_id from accounts.exports as made where made.id = _export_lines.export_id);
begin
  if after is null then
    return query
    select null::uuid, jsonb_build_object('type', known.type, 'data', known.data)::text
    from (
      select 'user' as type, to_jsonb(person) - 'searched' as data from identity.users as person where person.id = owner
      union all
      select 'account', to_jsonb(account) from identity.accounts as account where account.user_id = owner
      union all
      select 'session', to_jsonb(session) from identity.sessions as session where session.user_id = owner
      union all
      select 'bot', to_jsonb(bot) || jsonb_build_object('username', person.username)
      from identity.bots as bot
      join identity.users as person on person.id = bot.user_id
      where bot.owner_id = owner
      union all
      select
        'membership', to_jsonb(member) || jsonb_build_object('channel_kind', channel.kind, 'channel_name', channel.name)
      from chat.members as member
      join chat.channels as channel on channel.id = member.channel_id
      where member.user_id = owner
      union all
      select 'impersonation', to_jsonb(act) - 'address'
      from accounts.acts as act
      where act.user_id = owner and act.kind = 'impersonated'
    ) as known;
  end if;
  return query
  select
    message.id,
    jsonb_build_object(
      'type', 'message',
      'data', to_jsonb(message) - 'searched' || jsonb_build_object('edits', (
        select coalesce(jsonb_agg(jsonb_build_object('edited_at', edit.edited_at, 'text', edit.text)), '[]')
        from chat.message_edits as edit
        where edit.message_id = message.id
      ))
    )::text
  from chat.messages as message
  where message.sender_id = owner
    and message.id > coalesce(_export_lines.after, '00000000-0000-0000-0000-000000000000')
  order by message.id
  limit most;
end;
$$;

create function accounts._export_finished(export_id uuid, file text, bytes bigint) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  owner uuid;
begin
  update accounts.exports as made
  set finished_at = now(), file = _export_finished.file, bytes = _export_finished.bytes
  where made.id = _export_finished.export_id
  returning made.user_id into owner;
  perform events.publish(
    'user:' || owner, 'export_finished', jsonb_build_object('export_id', export_id, 'user_id', owner)
  );
end;
$$;

-- Forgets what has expired; gives the files that are to stay.
create function accounts._kept_export_files() returns setof text
language sql volatile set search_path = ''
as $$
  delete from accounts.exports as made where made.expires_at < now();
  select made.file from accounts.exports as made where made.file is not null;
$$;

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function accounts._keep_acts() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'PT403', message = 'The log of what operators did cannot be edited.';
end;
$$;
create trigger keep_acts before update or delete on accounts.acts
  for each row execute function accounts._keep_acts();
create trigger keep_all_acts before truncate on accounts.acts
  for each statement execute function accounts._keep_acts();

-- Who may act for others no longer does so no longer; nor do the bots of who is out.
create function accounts._end_acting() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update identity.sessions as session
  set revoked_at = now()
  where session.impersonator_id = old.user_id and session.revoked_at is null;
  if tg_op = 'DELETE' or new.status <> 'active' then
    update identity.sessions as session
    set revoked_at = now()
    where session.revoked_at is null
      and session.user_id in (select bot.user_id from identity.bots as bot where bot.owner_id = old.user_id);
  end if;
  return null;
end;
$$;
create trigger end_acting after update of status, is_operator on identity.accounts
  for each row when (not new.is_operator or new.status <> 'active')
  execute function accounts._end_acting();
create trigger end_acting_of_removed after delete on identity.accounts
  for each row execute function accounts._end_acting();

-- What a bot may do is asked where it is written, so whatever function writes it. A table that is added needs a trigger
-- like these where a scope is to cover it; `when` spares all others the call.
create function accounts._require_scope() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_argv[0] <> all (string_to_array(current_setting('plinth.scopes', true), ' ')) then
    raise exception using errcode = 'PT403', message = format('The token of this bot lacks the scope %s.', tg_argv[0]);
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  return new;
end;
$$;
create trigger require_scope before insert or delete on chat.messages
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('send');
create trigger require_scope_to_change before update of text on chat.messages
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('send');
create trigger require_scope before insert or delete on chat.members
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('manage');
create trigger require_scope_to_change before update of role on chat.members
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('manage');
create trigger require_scope before insert or delete on chat.channels
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('manage');
create trigger require_scope_to_change before update of name, description, is_public, owner_id, closed_at
  on chat.channels
  for each row when (current_setting('plinth.scopes', true) <> '') execute function accounts._require_scope('manage');

-- What a bot says is shown as a bot's.
create function accounts._mark_bot_message() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.kind := 'bot';
  return new;
end;
$$;
create trigger mark_bot_message before insert on chat.messages
  for each row when (current_setting('plinth.scopes', true) <> '' and new.kind = 'text')
  execute function accounts._mark_bot_message();

-- Their files go with the next pruning.
create function accounts._forget_exports() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from accounts.exports as made where made.user_id = old.user_id;
  return null;
end;
$$;
create trigger forget_exports after delete on identity.accounts
  for each row execute function accounts._forget_exports();

create function accounts._refuse_held() returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'It is under a legal hold: nothing of it is removed.';
end;
$$;

create function accounts._keep_held_message() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if accounts._is_held(old.channel_id, old.sender_id) then
    perform accounts._refuse_held();
  end if;
  return coalesce(new, old);
end;
$$;
create trigger keep_held before delete on chat.messages
  for each row execute function accounts._keep_held_message();
create trigger keep_held_text before update of text, deleted_at on chat.messages
  for each row when (old.deleted_at is null and new.deleted_at is not null)
  execute function accounts._keep_held_message();

create function accounts._keep_held_channel() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if accounts._is_held(old.id, null) then
    perform accounts._refuse_held();
  end if;
  return old;
end;
$$;
create trigger keep_held before delete on chat.channels
  for each row execute function accounts._keep_held_channel();

create function accounts._keep_held_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if exists (select from accounts.legal_holds as hold where hold.user_id = old.id) then
    perform accounts._refuse_held();
  end if;
  return coalesce(new, old);
end;
$$;
create trigger keep_held before delete on identity.users
  for each row execute function accounts._keep_held_user();
create trigger keep_held_account before update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function accounts._keep_held_user();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

alter table accounts.acts enable row level security;
create policy operators_see_what_was_done on accounts.acts for select to operator
  using (true);
create policy users_see_who_acted_as_them on accounts.acts for select to member
  using (kind = 'impersonated' and user_id = (select identity.current_user_id()));

alter table accounts.legal_holds enable row level security;
create policy operators_see_holds on accounts.legal_holds for select to operator
  using (true);

alter table accounts.retentions enable row level security;
create policy members_see_how_long_a_room_is_kept on accounts.retentions for select to member
  using (exists (select from chat._readable as readable where readable.channel_id = retentions.channel_id offset 0));

alter table accounts.exports enable row level security;
create policy users_see_their_exports on accounts.exports for select to member
  using (user_id = (select identity.current_user_id()));

-- No policy, no grant: only the functions above reach it.
alter table accounts.export_links enable row level security;

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on accounts.acts, accounts.retentions, accounts.exports to member;
grant select on accounts.legal_holds to operator;

revoke execute on all functions in schema accounts from public;
grant execute on function accounts._export_file to plinth_server;
grant execute on function accounts.set_retention, accounts.request_export, accounts.create_export_link to member;
grant execute on function accounts.set_account_status, accounts.impersonate, accounts.merge_accounts to operator;
grant execute on function accounts.place_hold, accounts.release_hold to operator;

-- ============================================================================================
-- webhooks: what happens in a channel, sent to an address
-- ============================================================================================
-- An event of a channel becomes a job for each webhook there, in the transaction of the event. docs/webhooks.md tells
-- what is sent and how it is signed.

create schema webhooks;
comment on schema webhooks is 'What happens in a channel, sent to an address.';
grant usage on schema webhooks to member, operator;

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table webhooks.webhooks (
  id           uuid        primary key default public.uuid_v7(),
  channel_id   uuid        not null references chat.channels (id) on delete cascade,
  owner_id     uuid        not null references identity.users (id) on delete cascade,
  url          text        not null,
  types        text[]      not null default '{}',
  failures     integer     not null default 0,
  created_at   timestamptz not null default now(),
  delivered_at timestamptz,                       -- null: never
  disabled_at  timestamptz,                       -- null: in use

  constraint url_is_a_web_address           check (url ~ '^https?://[^\s/@?#]+([/?]\S*)?$'),
  constraint url_is_at_most_2000_characters check (char_length(url) <= 2000),
  constraint types_are_20_plain_words       check (
    cardinality(types) <= 20 and array_to_string(types, ' ', '?') ~ '^([a-z_]{1,50}( |$))*$'
  )
);
comment on table  webhooks.webhooks              is
  'An address that is told what happens in a channel, as long as its owner may read there.

@order id desc';
comment on column webhooks.webhooks.id           is 'The key; rises with time.';
comment on column webhooks.webhooks.channel_id   is 'The channel.';
comment on column webhooks.webhooks.owner_id     is 'Whose it is.';
comment on column webhooks.webhooks.url          is 'Where events are sent, by POST.';
comment on column webhooks.webhooks.types        is 'The types of events that are sent; all where it is empty.';
comment on column webhooks.webhooks.failures     is 'How many tries have failed since the last that went well.';
comment on column webhooks.webhooks.created_at   is 'When it was made.';
comment on column webhooks.webhooks.delivered_at is 'When an event was last taken; null for never.';
comment on column webhooks.webhooks.disabled_at  is
  'When it was given up, after 50 failures or a 410; null while it is in use.';
create index webhooks_channel_id_idx on webhooks.webhooks (channel_id);
create index webhooks_owner_id_idx on webhooks.webhooks (owner_id);

create table webhooks.secrets (
  webhook_id uuid primary key references webhooks.webhooks (id) on delete cascade,
  secret     text not null
);
comment on table webhooks.secrets is 'What events are signed with: shown when it is made; only the workers read it.';

create type webhooks.new_webhook as (
  id     uuid,
  secret text
);
comment on type   webhooks.new_webhook        is 'A webhook that was just made.';
comment on column webhooks.new_webhook.id     is 'The webhook.';
comment on column webhooks.new_webhook.secret is 'What its events are signed with: shown this once.';

-- --------------------------------------------------------------------------------------------
-- Functions
-- --------------------------------------------------------------------------------------------

create function webhooks.create_webhook(channel_id uuid, url text, types text[] default '{}')
returns webhooks.new_webhook
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity._require_own_session();
  channel chat.channels;
  made    webhooks.new_webhook;
begin
  -- The account, then the channel: those who make several at once take turns.
  perform from identity.accounts as mine where mine.user_id = caller for no key update;
  channel := chat._lock_channel(channel_id);
  if chat._caller_role(channel.id) is null then
    raise exception using errcode = 'PT403', message = 'Join the room before you have it tell others.';
  end if;
  if (select count(*) from webhooks.webhooks as known where known.owner_id = caller) >= 20 then
    raise exception using errcode = 'PT409', message = 'A user has 20 webhooks at most.';
  end if;
  if (select count(*) from webhooks.webhooks as known where known.channel_id = channel.id) >= 10 then
    raise exception using errcode = 'PT409', message = 'A channel has 10 webhooks at most.';
  end if;
  insert into webhooks.webhooks as known (channel_id, owner_id, url, types)
  values (channel.id, caller, create_webhook.url, create_webhook.types)
  returning known.id into made.id;
  made.secret := 'whsec_' || encode(convert_to(identity._new_token(), 'UTF8'), 'base64');
  made.secret := replace(made.secret, e'\n', '');
  insert into webhooks.secrets (webhook_id, secret) values (made.id, made.secret);
  return made;
end;
$$;
comment on function webhooks.create_webhook is
  'Has the events of a channel that the caller is in sent to an address: of some `types`, or all. 10 a channel, 20 a
user.

@notNull';

create function webhooks.remove_webhook(id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity._require_own_session();
begin
  delete from webhooks.webhooks as known
  where known.id = remove_webhook.id and (known.owner_id = caller or chat._caller_role(known.channel_id) <= 'admin');
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such webhook, or it is not yours.';
  end if;
end;
$$;
comment on function webhooks.remove_webhook is
  'Ends a webhook; for its owner, and for the owner and admins of the room.';

-- Asked for by nobody: its runs are not for whoever made the event to see.
create function webhooks._enqueue(webhook_id uuid, event jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  caller text := coalesce(current_setting('plinth.user_id', true), '');
begin
  perform set_config('plinth.user_id', '', true);
  perform jobs.enqueue(
    'deliver_webhook', jsonb_build_object('webhook', webhook_id, 'event', event), key => 'webhook ' || webhook_id
  );
  perform set_config('plinth.user_id', caller, true);
end;
$$;

-- What is to be sent now, with the message as it is; nothing where it is not to be sent any longer.
create function webhooks._delivery(webhook_id uuid, event jsonb) returns table (url text, secret text, body text)
language sql stable set search_path = ''
as $$
  select
    known.url, held.secret,
    (event || jsonb_build_object('channel_id', known.channel_id, 'message', (
      select to_jsonb(message) - 'searched' - 'language'
      from chat.messages as message
      where message.id = (event -> 'data' ->> 'message_id')::uuid and message.channel_id = known.channel_id
    )))::text
  from webhooks.webhooks as known
  join webhooks.secrets as held on held.webhook_id = known.id
  join identity.accounts as account on account.user_id = known.owner_id and account.status = 'active'
  join chat.members as member on member.channel_id = known.channel_id and member.user_id = known.owner_id
  where known.id = _delivery.webhook_id and known.disabled_at is null;
$$;

create function webhooks._note(webhook_id uuid, went_well boolean, is_gone boolean) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  known webhooks.webhooks;
begin
  update webhooks.webhooks as hook set
    failures = case when went_well then 0 else hook.failures + 1 end,
    delivered_at = case when went_well then now() else hook.delivered_at end,
    disabled_at = case when not went_well and (is_gone or hook.failures >= 49) then now() end
  where hook.id = webhook_id and hook.disabled_at is null
  returning * into known;
  if known.disabled_at is not null then
    perform events.publish(
      'user:' || known.owner_id, 'webhook_disabled',
      jsonb_build_object('webhook_id', known.id, 'channel_id', known.channel_id)
    );
  end if;
end;
$$;

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function webhooks._hand_over() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  hook uuid;
begin
  for hook in
    select known.id
    from webhooks.webhooks as known
    where known.channel_id = split_part(new.topic, ':', 2)::uuid and known.disabled_at is null
      and (known.types = '{}' or new.type = any (known.types))
      -- Asked again when it is sent; here so that who has gone makes no jobs.
      and exists (
        select
        from chat.members as member
        where member.channel_id = known.channel_id and member.user_id = known.owner_id
      )
  loop
    perform webhooks._enqueue(hook, jsonb_build_object(
      'id', new.id, 'type', new.type, 'at', new.at, 'seq', new.seq, 'user_id', new.user_id, 'data', new.data
    ));
  end loop;
  return null;
end;
$$;
create trigger hand_over after insert on events.log
  for each row when (new.kind = 'channel') execute function webhooks._hand_over();

-- --------------------------------------------------------------------------------------------
-- Policies, grants: this is the API
-- --------------------------------------------------------------------------------------------

alter table webhooks.webhooks enable row level security;
create policy members_see_theirs_and_those_of_their_rooms on webhooks.webhooks for select to member
  using (
    owner_id = (select identity.current_user_id())
    or exists (
      select from chat._memberships as mine where mine.channel_id = webhooks.channel_id and mine.role <= 'admin'
    )
  );

-- No policy, no grant: only the functions above reach it.
alter table webhooks.secrets enable row level security;

grant select on webhooks.webhooks to member;

revoke execute on all functions in schema webhooks from public;
grant execute on function webhooks.create_webhook, webhooks.remove_webhook to member;

-- ============================================================================================
-- notifications: what someone should know of; what they want to be told
-- ============================================================================================
-- A message makes no row for anybody: that there is something new is read from the channels (fan-out on read), so
-- sending costs the same in a room of ten and of ten thousand. Rows are for what concerns one person: a mention, an
-- invitation, an alert. docs/notifications.md tells more.

create schema notifications;
comment on schema notifications is 'What someone should know of, and what they want to be told.';
grant usage on schema notifications to member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type notifications.notification_type as enum (
  'new_message', 'room_invitation', 'user_joined', 'user_left', 'system_alert', 'mention'
);
comment on type notifications.notification_type is 'What a notification is about.';

create type notifications.notification_level as enum ('all', 'mentions', 'none');
comment on type notifications.notification_level is
  'What a member wants to be told of a channel: every message, only what names them or calls the room, nothing.';

create type notifications.notification_counts as (
  unread      integer,
  mentions    integer,
  invitations integer,
  alerts      integer,
  channels    integer,
  messages    bigint
);
comment on type   notifications.notification_counts             is 'What the caller has not seen yet.';
comment on column notifications.notification_counts.unread      is 'Notifications that are not read, of every type.';
comment on column notifications.notification_counts.mentions    is 'Mentions among them.';
comment on column notifications.notification_counts.invitations is 'Invitations to rooms among them.';
comment on column notifications.notification_counts.alerts      is 'Alerts of the system among them.';
comment on column notifications.notification_counts.channels    is 'Channels with new messages (`newMessages`).';
comment on column notifications.notification_counts.messages    is 'New messages in them.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- What is for everyone is one row, of nobody (the nil UUID); who has read it has a copy of their own, of the same id.
-- The recipient comes first in the key, and no other index is in the order of ids: a page can only be read from the
-- rows of the caller.
create table notifications.notifications (
  recipient_id uuid                            not null,
  id           uuid                            not null default public.uuid_v7(),
  type         notifications.notification_type not null,
  channel_id   uuid references chat.channels (id) on delete cascade,   -- null: about no channel
  message_id   uuid,                                                   -- null: about no message
  actor_id     uuid references identity.users (id) on delete set null, -- null: the system
  title        text,                                                   -- null: the type says it
  text         text,                                                   -- null: there is no more to say
  data         jsonb                           not null default '{}',
  key          text,                                                   -- null: may be said again
  created_at   timestamptz                     not null default now(),
  read_at      timestamptz,                                            -- null: not read

  primary key (recipient_id, id),
  constraint title_is_1_to_255_characters  check (char_length(title) between 1 and 255),
  constraint alert_has_a_title             check (type <> 'system_alert' or title is not null),
  constraint text_is_1_to_2000_characters  check (char_length(text) between 1 and 2000),
  constraint data_is_an_object             check (jsonb_typeof(data) = 'object'),
  constraint data_is_at_most_2_kb          check (pg_column_size(data) <= 2048),
  constraint key_is_at_most_200_characters check (char_length(key) <= 200)
) with (fillfactor = 85);  -- read_at changes once: room for the next version of the row
comment on table  notifications.notifications              is
  'Something that its recipient should know of. A new message makes none: `newMessages` has them.

@order id desc';
comment on column notifications.notifications.recipient_id is
  'Who should know it; the nil UUID where everyone should, and the caller has not read it.';
comment on column notifications.notifications.id           is 'The key, for its recipient; rises with time.';
comment on column notifications.notifications.type         is 'What it is about.';
comment on column notifications.notifications.channel_id   is 'The channel that it is about; null for none.';
comment on column notifications.notifications.message_id   is 'The message that it is about; null for none.';
comment on column notifications.notifications.actor_id     is 'Who did it; null for the system.';
comment on column notifications.notifications.title        is 'What an alert is called; null where the type says it.';
comment on column notifications.notifications.text         is 'What it says, up to 2,000 characters; null for no more.';
comment on column notifications.notifications.data         is 'What a client needs for showing it, up to 2 kB.';
comment on column notifications.notifications.key          is
  'What it is not said again by.

@hide';
comment on column notifications.notifications.created_at   is 'When it was made.';
comment on column notifications.notifications.read_at      is 'When it was read; null while it is not.';
-- Said once; what user_joined and user_left are found by.
create unique index notifications_recipient_id_key_key on notifications.notifications (recipient_id, key)
  where key is not null;
-- What is counted as unread, and listed by type or as unread.
create index notifications_recipient_id_read_at_type_idx on notifications.notifications (recipient_id, read_at, type);
create index notifications_channel_id_idx on notifications.notifications (channel_id);
create index notifications_actor_id_idx on notifications.notifications (actor_id);
-- What expire looks for. No B-tree: by one, a page in this order would be looked for among the rows of all.
create index notifications_created_at_idx on notifications.notifications using brin (created_at);

-- No row is the normal state: everything is told. They go with the membership.
create table notifications.notification_settings (
  channel_id  uuid                             not null,
  user_id     uuid                             not null,
  level       notifications.notification_level not null default 'all',
  muted_until timestamptz,                                             -- null: not muted

  primary key (channel_id, user_id),
  foreign key (channel_id, user_id) references chat.members (channel_id, user_id) on delete cascade,
  constraint mute_has_an_end check (isfinite(muted_until))
);
comment on table  notifications.notification_settings             is 'What a member wants to be told of a channel.';
comment on column notifications.notification_settings.channel_id  is 'The channel.';
comment on column notifications.notification_settings.user_id     is 'The member.';
comment on column notifications.notification_settings.level       is 'What they are told.';
comment on column notifications.notification_settings.muted_until is 'Until when nothing is told; null: not muted.';

-- Messages that call a whole room (@room): one row, however many are in it.
create table notifications.calls (
  channel_id uuid        not null references chat.channels (id) on delete cascade,
  seq        bigint      not null,
  created_at timestamptz not null default now(),

  primary key (channel_id, seq)
);
comment on table notifications.calls is 'Messages that call everyone in their channel.';
-- What expire looks for.
create index calls_created_at_idx on notifications.calls (created_at);

-- --------------------------------------------------------------------------------------------
-- Views: what the caller is told
-- --------------------------------------------------------------------------------------------

-- With the owner's rights, so that the policy on notifications can use it without asking itself.
create view notifications._own as
select id from notifications.notifications where recipient_id = (select identity.current_user_id());
comment on view notifications._own is
  'The caller''s notifications.

@asOwner';

create view notifications._heard as
select mine.channel_id, mine.read_seq, mine.unread, coalesce(chosen.level, 'all') as level
from chat._memberships as mine
left join notifications.notification_settings as chosen
  on chosen.channel_id = mine.channel_id and chosen.user_id = (select identity.current_user_id())
where coalesce(chosen.level, 'all') <> 'none' and (chosen.muted_until is null or chosen.muted_until <= now());
comment on view notifications._heard is
  'The caller''s channels that they want to be told of now, and how much.

@asOwner';

create view notifications._calls as
select called.channel_id, called.seq
from notifications.calls as called
where exists (select from chat._memberships as mine where mine.channel_id = called.channel_id);
comment on view notifications._calls is
  'The messages that call everyone in a channel of the caller.

@asOwner';

create view notifications._new as
select heard.channel_id, heard.unread
from notifications._heard as heard
where heard.unread > 0 and (
  heard.level = 'all'
  or exists (
    select from notifications.calls as called
    where called.channel_id = heard.channel_id and called.seq > heard.read_seq
  )
);
comment on view notifications._new is
  'The caller''s channels with messages that they have not read and want to be told of.

@asOwner';

-- --------------------------------------------------------------------------------------------
-- Functions: telling
-- --------------------------------------------------------------------------------------------

-- For the functions of every section. Tells one person of something, unless they did it themselves, do not want to be
-- told of that channel, or were told already (`key`); returns its id, or null. It takes the row that counts the events
-- of the user: who tells several does so in the order of their ids, after the channel was locked.
create function notifications._notify(
  user_id uuid, type notifications.notification_type, channel_id uuid default null, message_id uuid default null,
  actor_id uuid default identity.current_user_id(), title text default null, text text default null,
  data jsonb default '{}', key text default null, quietly boolean default false
) returns uuid
language plpgsql volatile set search_path = ''
as $$
declare
  most constant integer := 1000;
  told uuid;
begin
  if user_id is not distinct from actor_id or exists (
    select from notifications.notification_settings as chosen
    where chosen.channel_id = _notify.channel_id and chosen.user_id = _notify.user_id
      and _notify.type <> 'room_invitation'
      and (
        chosen.level = 'none' or chosen.muted_until > now()
        or (chosen.level = 'mentions' and _notify.type <> 'mention')
      )
  ) then
    return null;
  end if;

  insert into notifications.notifications (
    recipient_id, type, channel_id, message_id, actor_id, title, text, data, key
  )
  select
    person.id, _notify.type, _notify.channel_id, _notify.message_id, _notify.actor_id, _notify.title, _notify.text,
    _notify.data, _notify.key
  from identity.users as person
  where person.id = _notify.user_id and person.removed_at is null
  on conflict do nothing
  returning id into told;
  if told is null then
    return null;
  end if;

  -- Nobody can fill the list of someone else without end: the oldest give way.
  delete from notifications.notifications as old
  where old.recipient_id = _notify.user_id and old.id <= (
    select known.id from notifications.notifications as known
    where known.recipient_id = _notify.user_id
    order by known.id desc offset most limit 1
  );
  if not quietly then
    perform events.publish(
      'user:' || _notify.user_id, 'notification_created',
      jsonb_strip_nulls(jsonb_build_object(
        'notification_id', told, 'type', _notify.type, 'channel_id', _notify.channel_id
      ))
    );
  end if;
  return told;
end;
$$;

-- For whoever reads mentions out of messages: that this one calls all who are in the channel. One row, read by those
-- who want to be told of mentions.
create function notifications._call_room(channel_id uuid, seq bigint) returns void
language sql volatile set search_path = ''
as $$
  insert into notifications.calls (channel_id, seq)
  values (_call_room.channel_id, _call_room.seq)
  on conflict do nothing;
$$;

create function notifications.send_alert(title text, text text default null, user_ids uuid[] default null)
returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  everyone constant uuid := '00000000-0000-0000-0000-000000000000';
  told integer;
  made uuid;
begin
  if user_ids is not null and coalesce(cardinality(user_ids), 0) not between 1 and 1000 then
    raise exception using errcode = 'PT400', message = 'Name 1 to 1,000 users, or nobody to tell all.',
      column = 'user_ids';
  end if;
  if user_ids is not null then
    select count(notifications._notify(
      person.id, 'system_alert', title => send_alert.title, text => send_alert.text, actor_id => null
    )) into told
    from (select distinct given.id from unnest(user_ids) as given (id) order by given.id) as person;
    return told;
  end if;

  insert into notifications.notifications (recipient_id, type, title, text)
  values (everyone, 'system_alert', send_alert.title, send_alert.text)
  returning id into made;
  perform events.publish(
    'notification:all', 'notification_created', jsonb_build_object('notification_id', made, 'type', 'system_alert')
  );
  return null;
end;
$$;
comment on function notifications.send_alert is
  'Tells up to 1,000 users, or everyone, of something about the place. Returns how many were told; null for everyone,
which is one row, however many they are.';

-- --------------------------------------------------------------------------------------------
-- Functions: what there is
-- --------------------------------------------------------------------------------------------

create function notifications.new_messages() returns setof chat.channels
language sql stable rows 100
begin atomic
  select channel.*
  from notifications._new as new
  join chat.channels as channel on channel.id = new.channel_id;
end;
comment on function notifications.new_messages is
  'The notifications of new messages: the caller''s channels with messages that they have not read and want to be told
of, the last active first. Their `unread` and `lastMessage` say what is new; `markRead` takes a channel out.

@order active_at desc';

create function notifications.my_notification_settings(channel chat.channels)
returns setof notifications.notification_settings
language sql stable rows 1
begin atomic
  select chosen.*
  from notifications.notification_settings as chosen
  where chosen.channel_id = channel.id and chosen.user_id = (select identity.current_user_id());
end;
comment on function notifications.my_notification_settings is
  'What the caller wants to be told of this channel; null where they have not chosen: everything.

@name notification_setting';

create function notifications.notification_counts() returns notifications.notification_counts
language plpgsql stable security definer set search_path = ''
as $$
declare
  caller   uuid := identity.require_user_id();
  everyone constant uuid := '00000000-0000-0000-0000-000000000000';
  counts   notifications.notification_counts;
begin
  select
    count(*), count(*) filter (where unread.type = 'mention'), count(*) filter (where unread.type = 'room_invitation'),
    count(*) filter (where unread.type = 'system_alert')
  into counts.unread, counts.mentions, counts.invitations, counts.alerts
  from notifications.notifications as unread
  where unread.recipient_id = any (array[caller, everyone]) and unread.read_at is null
    and (unread.recipient_id = caller or unread.id > caller)
    and (unread.recipient_id = caller or not exists (select from notifications._own as own where own.id = unread.id));
  select count(*), coalesce(sum(new.unread), 0) into counts.channels, counts.messages from notifications._new as new;
  return counts;
end;
$$;
comment on function notifications.notification_counts is
  'How much the caller has not seen yet.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: settings, reading
-- --------------------------------------------------------------------------------------------

create function notifications.set_notifications(
  channel_id uuid, level notifications.notification_level default null, muted_until timestamptz default null
) returns notifications.notification_settings
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  chosen notifications.notification_settings;
begin
  if muted_until > now() + interval '1 year' then
    raise exception using errcode = 'PT400', message = 'A channel is muted for a year at most.',
      hint = 'For longer, choose the level NONE.', column = 'muted_until';
  end if;
  -- Held, so that the membership does not end meanwhile.
  if not exists (
    select from chat.members as mine
    where mine.channel_id = set_notifications.channel_id and mine.user_id = caller
    for key share
  ) then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.', column = 'channel_id';
  end if;

  insert into notifications.notification_settings as known (channel_id, user_id, level, muted_until)
  values (
    set_notifications.channel_id, caller, coalesce(set_notifications.level, 'all'),
    case when set_notifications.muted_until > now() then set_notifications.muted_until end
  )
  on conflict on constraint notification_settings_pkey do update set
    level = coalesce(set_notifications.level, known.level),
    muted_until = case
      when set_notifications.muted_until is null then known.muted_until
      when set_notifications.muted_until > now() then set_notifications.muted_until
    end
  returning * into chosen;
  perform events.publish(
    'user:' || caller, 'notification_settings_changed',
    jsonb_build_object('channel_id', chosen.channel_id, 'level', chosen.level, 'muted_until', chosen.muted_until)
  );
  return chosen;
end;
$$;
comment on function notifications.set_notifications is
  'Chooses what the caller is told of a channel: the level, and until when nothing at all. What is left out stays; a
`mutedUntil` that is past ends the mute.

@notNull';

create function notifications._mark_read(ids uuid[]) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  caller   uuid := identity.require_user_id();
  everyone constant uuid := '00000000-0000-0000-0000-000000000000';
  changed  integer;
  copied   integer;
begin
  -- In one order, so that two devices that read the same do not wait for each other.
  perform
  from notifications.notifications as known
  where known.recipient_id = caller and known.read_at is null and (ids is null or known.id = any (ids))
  order by known.id
  for no key update;
  update notifications.notifications as known
  set read_at = now()
  where known.recipient_id = caller and known.read_at is null and (ids is null or known.id = any (ids));
  get diagnostics changed = row_count;
  insert into notifications.notifications (recipient_id, id, type, title, text, data, created_at, read_at)
  select caller, shared.id, shared.type, shared.title, shared.text, shared.data, shared.created_at, now()
  from notifications.notifications as shared
  where shared.recipient_id = everyone and shared.id > caller and (ids is null or shared.id = any (ids))
  order by shared.id
  on conflict do nothing;
  get diagnostics copied = row_count;
  if changed + copied > 0 then
    perform events.publish('user:' || caller, 'notifications_read', jsonb_build_object('ids', ids));
  end if;
end;
$$;

create function notifications.mark_notifications_read(ids uuid[] default null)
returns notifications.notification_counts
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if ids is not null and coalesce(cardinality(ids), 0) not between 1 and 200 then
    raise exception using errcode = 'PT400', message = 'Name 1 to 200 notifications, or none to mark all.',
      column = 'ids';
  end if;
  perform notifications._mark_read(ids);
  return notifications.notification_counts();
end;
$$;
comment on function notifications.mark_notifications_read is
  'Marks notifications as read: one, up to 200, or all where `ids` is left out. Those that are read, gone or someone
else''s are passed over. Returns what is left.

@notNull';

create function notifications.mark_everything_read() returns notifications.notification_counts
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  -- Channels first, in the order of their ids, as everything locks them; the caller's own topic after them.
  perform chat.mark_read(mine.channel_id)
  from (
    select known.channel_id from chat._memberships as known where known.unread > 0 order by known.channel_id limit 1000
  ) as mine;
  perform notifications._mark_read(null);
  return notifications.notification_counts();
end;
$$;
comment on function notifications.mark_everything_read is
  'Marks all notifications and all messages as read, of up to 1,000 channels at once. Returns what is left.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: events, upkeep
-- --------------------------------------------------------------------------------------------

create function notifications.listen() returns setof events.position
language sql stable security definer rows 100 set search_path = ''
as $$
  select position.* from chat.listen_to_user() as position
  union all
  select 'notification:all', coalesce((
    select counted.last_seq from events.topics as counted where counted.topic = 'notification:all'
  ), 0);
$$;
comment on function notifications.listen is
  'The right to listen to one''s own notifications.

@hide';

-- That someone came or went is told to the channel: whose notification it makes is found by its key.
create function notifications.notification_events(event events.event) returns setof notifications.notifications
language sql stable rows 1
begin atomic
  select told.*
  from (
    select
      (event.data ->> 'notification_id')::uuid as id,
      case event.type when 'member_joined' then 'user_joined' when 'member_left' then 'user_left' end
        || ':' || (event.data ->> 'channel_id') || ':' || (event.data ->> 'user_id') as key
    offset 0
  ) as said
  cross join lateral (
    select known.*
    from notifications.notifications as known
    where known.id = said.id and known.recipient_id = any (
      array[(select identity.current_user_id()), '00000000-0000-0000-0000-000000000000'::uuid]
    )
    union all
    select known.*
    from notifications.notifications as known
    where known.key = said.key and known.recipient_id = (select identity.current_user_id())
  ) as told
  where event.type in ('notification_created', 'member_joined', 'member_left')
  limit 1;
end;
comment on function notifications.notification_events is
  'The caller''s notifications as they are made.

@subscription notifications.listen';

create function notifications.new_message_events(event events.event) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.*
  from (
    select (event.data ->> 'message_id')::uuid as id, (event.data ->> 'channel_id')::uuid as channel_id offset 0
  ) as said
  join chat.messages as message on message.id = said.id
  join notifications._heard as heard on heard.channel_id = said.channel_id
  where event.type = 'message_sent'
    and message.sender_id is distinct from (select identity.current_user_id())
    and (
      heard.level = 'all'
      or exists (
        select from notifications._calls as called
        where called.channel_id = message.channel_id and called.seq = message.seq
      )
      or exists (
        select from notifications.notifications as told
        where told.recipient_id = (select identity.current_user_id())
          and told.type = 'mention' and told.message_id = message.id
      )
    );
end;
comment on function notifications.new_message_events is
  'The messages of others that the caller wants to be told of, in any of their channels, as they are sent.

@subscription chat.listen_to_user';

create function notifications.expire() returns bigint
language plpgsql volatile security definer set search_path = ''
as $$
declare
  kept constant interval := '90 days';
  total bigint := 0;
  gone  bigint;
begin
  delete from notifications.notifications where created_at < now() - kept;
  get diagnostics total = row_count;
  delete from notifications.calls where created_at < now() - kept;
  get diagnostics gone = row_count;
  return total + gone;
end;
$$;
comment on function notifications.expire is
  'Removes notifications from more than 90 days ago; returns how many.

@hide';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

-- Told are those who lead the room, 20 at most, not everyone in it. What nobody signed in does (an import, a job) is
-- told to nobody. The event of the channel makes it live; another one for each of them could make two who join at
-- once wait for each other.
create function notifications._tell_leaders() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  member chat.members := coalesce(new, old);
  told   notifications.notification_type := case tg_op when 'INSERT' then 'user_joined' else 'user_left' end;
  said   text := told || ':' || member.channel_id || ':' || member.user_id;
begin
  if identity.current_user_id() is null
    or not exists (select from chat.channels where id = member.channel_id and kind = 'room') then
    return null;
  end if;
  -- Who comes and goes all the time is told of once, as they did last.
  delete from notifications.notifications as known
  using (
    select leader.user_id
    from chat.members as leader
    where leader.channel_id = member.channel_id and leader.role <= 'admin'
    order by leader.role, leader.user_id
    limit 20
  ) as leader
  where known.recipient_id = leader.user_id and known.key = said;
  perform notifications._notify(
    leader.user_id, told, channel_id => member.channel_id, actor_id => member.user_id, key => said, quietly => true
  )
  from (
    select leader.user_id
    from chat.members as leader
    where leader.channel_id = member.channel_id and leader.role <= 'admin'
    order by leader.role, leader.user_id
    limit 20
  ) as leader
  where leader.user_id <> identity.current_user_id();
  return null;
end;
$$;
create trigger tell_leaders after insert or delete on chat.members
  for each row execute function notifications._tell_leaders();

-- Whom a message names, and who is invited: chat publishes both to them, as `mentioned` and `room_invitation`.
create function notifications._tell_mentioned() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.user_id is null then
    perform notifications._call_room(new.channel_id, new.seq);
    return null;
  end if;
  perform notifications._notify(
    new.user_id, 'mention', channel_id => new.channel_id, message_id => new.message_id,
    actor_id => (select message.sender_id from chat.messages as message where message.id = new.message_id),
    key => 'mention:' || new.message_id, quietly => true
  );
  return null;
end;
$$;
create trigger tell_mentioned after insert on chat.mentions
  for each row execute function notifications._tell_mentioned();

create function notifications._tell_invited() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform notifications._notify(
    new.user_id, 'room_invitation', channel_id => new.channel_id, actor_id => new.invited_by,
    key => 'room_invitation:' || new.channel_id, quietly => true
  );
  return null;
end;
$$;
create trigger tell_invited after insert on chat.room_invitations
  for each row execute function notifications._tell_invited();

-- The row of a removed account stays; what it was told does not.
create function notifications._forget_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from notifications.notifications where recipient_id = old.id;
  return null;
end;
$$;
create trigger forget_notifications after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function notifications._forget_user();
create trigger forget_notifications_of_deleted after delete on identity.users
  for each row execute function notifications._forget_user();

-- --------------------------------------------------------------------------------------------
-- Policies, grants: this is the API
-- --------------------------------------------------------------------------------------------

-- Keys of users and of notifications rise with time: what everyone was told before someone signed up is not theirs.
alter table notifications.notifications enable row level security;
create policy members_see_what_they_are_told on notifications.notifications for select to member
  using (
    recipient_id = any (array[(select identity.current_user_id()), '00000000-0000-0000-0000-000000000000'::uuid])
    and (
      recipient_id = (select identity.current_user_id())
      or (
        id > (select identity.current_user_id())
        and not exists (select from notifications._own as own where own.id = notifications.id)
      )
    )
  );

alter table notifications.notification_settings enable row level security;
create policy members_see_their_settings on notifications.notification_settings for select to member
  using (user_id = (select identity.current_user_id()));

-- No policy, no grant: only the functions above reach it.
alter table notifications.calls enable row level security;

grant select on notifications.notifications, notifications.notification_settings to member;
grant select on notifications._own, notifications._heard, notifications._calls, notifications._new to member;

revoke execute on all functions in schema notifications from public;
grant execute on function notifications.new_messages, notifications.my_notification_settings to member;
grant execute on function notifications.notification_counts, notifications.set_notifications to member;
grant execute on function notifications.mark_notifications_read, notifications.mark_everything_read to member;
grant execute on function notifications.listen to member;
grant execute on function notifications.notification_events, notifications.new_message_events to member;
grant execute on function notifications.send_alert to operator, service;

-- ============================================================================================
-- presence: who is there, and how long they were
-- ============================================================================================
-- Clients say every 30 seconds that they are there. The server keeps what they say in memory and hands it on once a
-- second, in one statement, whatever the number of users; no event is written. docs/presence.md tells more.

create schema presence;
comment on schema presence is 'Who is there, and how long they were.';
grant usage on schema presence to plinth_server, member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

-- The order matters: of several devices the first of these is what the user is.
create type presence.presence_status as enum ('online', 'away', 'offline');
comment on type presence.presence_status is 'Whether someone is there.';

create type presence.presence_visibility as enum ('everyone', 'contacts', 'nobody');
comment on type presence.presence_visibility is
  'Who sees whether someone is there: every member, those they have a direct chat with, nobody else.';

create type presence.online_day as (
  day              date,
  seconds          integer,
  sessions         integer,
  first_session_at timestamptz,
  last_session_at  timestamptz
);
comment on type   presence.online_day                  is 'How long someone was there on a day of their time zone.';
comment on column presence.online_day.day              is 'The day.';
comment on column presence.online_day.seconds          is 'For how long; several devices at once count once.';
comment on column presence.online_day.sessions         is 'How many times: sessions that touch the day.';
comment on column presence.online_day.first_session_at is 'When they were first there on that day.';
comment on column presence.online_day.last_session_at  is 'When they were last there on that day.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

-- Neither has an index that a heartbeat would change: the new version of a row goes beside the old one.

-- After a crash of Postgres it is empty, and full again with the next heartbeats.
create unlogged table presence.devices (
  user_id    uuid                     not null references identity.users (id) on delete cascade,
  session_id uuid                     not null,
  status     presence.presence_status not null,
  beat_at    timestamptz              not null,

  primary key (user_id, session_id),
  constraint device_that_is_gone_has_no_row check (status <> 'offline')
) with (fillfactor = 50);
comment on table presence.devices is 'What each device (a session of identity) has said last.';

create table presence.sessions (
  user_id    uuid                     primary key references identity.users (id) on delete cascade,
  status     presence.presence_status not null,
  started_at timestamptz              not null,
  beat_at    timestamptz              not null,

  constraint it_lasts_forward                check (beat_at >= started_at),
  constraint session_that_is_over_has_no_row check (status <> 'offline')
) with (fillfactor = 50);
comment on table presence.sessions is 'Since when someone is there, on whatever devices. What is over is in days.';

create table presence.days (
  user_id  uuid           not null references identity.users (id) on delete cascade,
  day      date           not null,
  seconds  numeric(12, 6) not null,
  sessions integer        not null,
  first_at timestamptz    not null,
  last_at  timestamptz    not null,

  primary key (user_id, day),
  constraint seconds_are_not_negative    check (seconds >= 0),
  constraint there_is_at_least_a_session check (sessions >= 1)
) with (fillfactor = 70);
comment on table presence.days is 'How long someone was there each day, in the time zone that they had then.';
-- What expire looks for.
create index days_day_idx on presence.days (day);

-- No row is the normal state: everyone sees it.
create table presence.visibilities (
  user_id    uuid                         primary key references identity.users (id) on delete cascade,
  visible_to presence.presence_visibility not null
);
comment on table presence.visibilities is 'Who may see whether a user is there.';

-- --------------------------------------------------------------------------------------------
-- Views: what the caller sees
-- --------------------------------------------------------------------------------------------

create view presence._hidden as
select chosen.user_id
from presence.visibilities as chosen
where chosen.user_id is distinct from (select identity.current_user_id()) and case chosen.visible_to
  when 'everyone' then false
  when 'nobody' then true
  else not exists (
    select from chat.direct_pairs as pair
    where pair.first_user_id = least(chosen.user_id, (select identity.current_user_id()))
      and pair.second_user_id = greatest(chosen.user_id, (select identity.current_user_id()))
  )
end;
comment on view presence._hidden is
  'Whose presence is hidden from the caller.

@asOwner';

create view presence._seen as
select there.user_id, there.status, there.started_at
from presence.sessions as there
where there.beat_at > now() - interval '90 seconds'
  and not exists (select from presence._hidden as hidden where hidden.user_id = there.user_id);
comment on view presence._seen is
  'Who is there, as far as the caller may see it.

@asOwner';

-- --------------------------------------------------------------------------------------------
-- Functions: time
-- --------------------------------------------------------------------------------------------

-- Who has said nothing for so long is gone; clients speak every 30 seconds. As in presence._seen.
create function presence._timeout() returns interval
language sql immutable parallel safe
return interval '90 seconds';

-- When a day begins: where clocks go back over midnight it comes twice, and Postgres would take the second.
create function presence._day_begins(day date, zone text) returns timestamptz
language sql stable parallel safe set search_path = ''
as $$
  select case
    when ((midnight.at - interval '1 hour') at time zone zone)::date >= day then midnight.at - interval '1 hour'
    else midnight.at
  end
  from (select day::timestamp at time zone zone as at) as midnight;
$$;

-- The days of a zone that a stretch of time touches, each with its share.
create function presence._days_of(started_at timestamptz, ended_at timestamptz, zone text)
returns table (day date, first_at timestamptz, last_at timestamptz)
language sql stable rows 2 set search_path = ''
as $$
  select each.day, greatest(started_at, each.begins_at), least(ended_at, each.ends_at)
  from (
    select
      known.day::date as day, presence._day_begins(known.day::date, zone) as begins_at,
      presence._day_begins(known.day::date + 1, zone) as ends_at
    from generate_series(
      (started_at at time zone zone)::date - 1, (ended_at at time zone zone)::date + 1, interval '1 day'
    ) as known (day)
  ) as each
  where each.begins_at < ended_at and each.ends_at > started_at
    or started_at = ended_at and each.begins_at <= started_at and each.ends_at > started_at;
$$;

-- --------------------------------------------------------------------------------------------
-- Functions: heartbeats
-- --------------------------------------------------------------------------------------------

-- Adds sessions that are over to the days of their users.
create function presence._count(user_ids uuid[], started timestamptz[], ended timestamptz[]) returns void
language sql volatile set search_path = ''
as $$
  insert into presence.days as known (user_id, day, seconds, sessions, first_at, last_at)
  select
    over.user_id, share.day, sum(extract(epoch from share.last_at - share.first_at)), count(*),
    min(share.first_at), max(share.last_at)
  from unnest(user_ids, started, ended) as over (user_id, started_at, ended_at)
  left join identity.accounts as account on account.user_id = over.user_id
  cross join lateral presence._days_of(over.started_at, over.ended_at, coalesce(account.time_zone, 'UTC')) as share
  group by over.user_id, share.day
  on conflict on constraint days_pkey do update set
    seconds = known.seconds + excluded.seconds, sessions = known.sessions + excluded.sessions,
    first_at = least(known.first_at, excluded.first_at), last_at = greatest(known.last_at, excluded.last_at);
$$;

-- Ends the sessions of those who have said nothing for too long; returns whose.
create function presence._close(at timestamptz) returns uuid[]
language plpgsql volatile set search_path = ''
as $$
declare
  user_ids uuid[];
  started  timestamptz[];
  ended    timestamptz[];
begin
  delete from presence.devices where beat_at < _close.at - presence._timeout();
  with silent as (
    delete from presence.sessions where beat_at < _close.at - presence._timeout() returning *
  )
  select array_agg(silent.user_id), array_agg(silent.started_at), array_agg(silent.beat_at)
  into user_ids, started, ended
  from silent;
  perform presence._count(user_ids, started, ended);
  return coalesce(user_ids, '{}');
end;
$$;

-- What devices have said, `{user, session, age, input: {status}}` each, the age in milliseconds: the last of each
-- device since it was handed on before. A user is there as long as any of their devices is; their session goes on from
-- the last heartbeat of any to the next, where it comes in time. Returns what to tell those who look.
create function presence._record(beats jsonb, at timestamptz default clock_timestamp()) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  user_ids uuid[];
  started  timestamptz[];
  ended    timestamptz[];
  told     jsonb;
  silent   uuid[] := '{}';
begin
  -- One server after the other: each comes once a second, and takes milliseconds.
  perform pg_advisory_xact_lock(hashtext('presence._record'));
  -- A commit that a crash of Postgres forgets is a second of presence.
  perform set_config('synchronous_commit', 'off', true);

  with beat as materialized (
    select
      given."user" as user_id, given.session as session_id,
      (given.input ->> 'status')::presence.presence_status as status,
      _record.at - make_interval(secs => least(greatest(given.age, 0), 60000) / 1000.0) as beat_at
    from jsonb_to_recordset(beats) as given ("user" uuid, session uuid, age double precision, input jsonb)
    join identity._live_sessions as live on live.id = given.session and live.user_id = given."user"
  ), gone as (
    delete from presence.devices as device
    using beat
    where beat.status = 'offline' and device.user_id = beat.user_id and device.session_id = beat.session_id
  ), there as (
    insert into presence.devices as device (user_id, session_id, status, beat_at)
    select beat.user_id, beat.session_id, beat.status, beat.beat_at from beat where beat.status <> 'offline'
    on conflict on constraint devices_pkey do update
    set status = excluded.status, beat_at = greatest(device.beat_at, excluded.beat_at)
  ), device as (
    -- Windows, not joins: nothing here may grow with the square of a batch.
    select
      every.*,
      max(every.beat_at) filter (where every.is_said) over (partition by every.user_id) as last_at,
      bool_or(every.is_said) over (partition by every.user_id, every.session_id) as speaks
    from (
      select beat.*, true as is_said from beat
      union all
      select known.user_id, known.session_id, known.status, known.beat_at, false
      from presence.devices as known
      where known.user_id in (select beat.user_id from beat)
    ) as every
  ), heard as (
    select
      device.user_id, device.last_at, min(device.beat_at) filter (where device.is_said) as first_at,
      bool_or(device.is_said and device.status <> 'offline') as is_there,
      coalesce(min(device.status) filter (
        where (device.is_said or not device.speaks) and device.beat_at >= device.last_at - presence._timeout()
      ), 'offline') as status
    from device
    group by device.user_id, device.last_at
  ), stands as (
    select
      heard.*,
      known.status as status_before, known.started_at as started_before, known.beat_at as beat_before,
      coalesce(heard.first_at <= known.beat_at + presence._timeout(), false) as goes_on
    from heard
    left join presence.sessions as known on known.user_id = heard.user_id
  ), spans as (
    -- What was over before, and what is over with this.
    select stands.user_id, stands.started_before as started_at, stands.beat_before as ended_at
    from stands
    where not stands.goes_on and stands.started_before is not null
    union all
    select
      stands.user_id, case when stands.goes_on then stands.started_before else stands.first_at end,
      greatest(stands.last_at, case when stands.goes_on then stands.beat_before end)
    from stands
    where stands.status = 'offline' and (stands.goes_on or stands.is_there)
  ), over as (
    delete from presence.sessions as known
    using stands
    where known.user_id = stands.user_id and stands.status = 'offline'
  ), kept as (
    insert into presence.sessions as known (user_id, status, started_at, beat_at)
    select stands.user_id, stands.status, stands.first_at, stands.last_at
    from stands
    where stands.status <> 'offline'
    on conflict on constraint sessions_pkey do update set
      status = excluded.status,
      started_at = case
        when excluded.started_at <= known.beat_at + presence._timeout() then known.started_at
        else excluded.started_at
      end,
      beat_at = greatest(known.beat_at, excluded.beat_at)
  )
  select
    (select array_agg(spans.user_id) from spans), (select array_agg(spans.started_at) from spans),
    (select array_agg(spans.ended_at) from spans),
    (
      select jsonb_agg(events._signal(
        'presence:' || stands.user_id, 'presence_changed',
        jsonb_build_object('user_id', stands.user_id, 'status', stands.status)
      ))
      from stands
      where coalesce(stands.status_before, 'offline') <> stands.status
    )
  into user_ids, started, ended, told;
  perform presence._count(user_ids, started, ended);

  -- All who are there are looked through for it: every ten seconds, and when there is nothing else to do.
  if jsonb_array_length(beats) = 0 or extract(epoch from _record.at)::bigint % 10 = 0 then
    silent := presence._close(_record.at);
  end if;
  return coalesce(told, '[]') || (
    select coalesce(jsonb_agg(events._signal(
      'presence:' || person.id, 'presence_changed', jsonb_build_object('user_id', person.id, 'status', 'offline')
    )), '[]')
    from unnest(silent) as person (id)
  );
end;
$$;
comment on function presence._record is 'Takes the heartbeats of a second; for the server.';

create function presence.set_presence(status presence.presence_status) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  perform presence._record(jsonb_build_array(jsonb_build_object(
    'user', identity.current_user_id(), 'session', nullif(current_setting('plinth.session_id', true), ''), 'age', 0,
    'input', jsonb_build_object('status', set_presence.status)
  )));
end;
$$;
comment on function presence.set_presence is
  'Says that the caller is there, away or gone, with this device (the session that the token is of). Clients say it
every 30 seconds: who has said nothing for 90 is gone. It counts within a second.

@gathered presence._record';

create function presence.close_sessions() returns integer
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtext('presence._record'));
  return cardinality(presence._close(clock_timestamp()));
end;
$$;
comment on function presence.close_sessions is
  'Ends the sessions of those who are gone, where no server does; returns how many.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: who is there
-- --------------------------------------------------------------------------------------------

create function presence.status(person identity.users) returns setof presence.presence_status
language sql stable rows 1
begin atomic
  select coalesce(
    (select seen.status from presence._seen as seen where seen.user_id = person.id),
    'offline'::presence.presence_status
  );
end;
comment on function presence.status is
  'Whether they are there, as far as the caller may see it.

@name presence';

create function presence.online_members(channel chat.channels) returns setof identity.users
language sql stable rows 20
begin atomic
  select person.*
  from chat.members as member
  join presence._seen as seen on seen.user_id = member.user_id
  join identity.users as person on person.id = member.user_id
  where member.channel_id = channel.id;
end;
comment on function presence.online_members is
  'Who of the channel is there now, as far as the caller may see it.

@order id';

create function presence.online_days(
  user_id uuid default null, since date default null, until date default null
) returns setof presence.online_day
language plpgsql stable security definer rows 30 set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
  whose  uuid := coalesce(online_days.user_id, identity.current_user_id());
  zone   text := coalesce((
    select account.time_zone from identity.accounts as account where account.user_id = whose
  ), 'UTC');
  today  date := (now() at time zone zone)::date;
begin
  if coalesce(until, today) - coalesce(since, today - 30) not between 0 and 400 then
    raise exception using errcode = 'PT400', message = 'Ask for 1 to 401 days.', column = 'since';
  end if;
  if not exists (select from identity.users as person where person.id = whose and person.removed_at is null)
    or exists (select from presence._hidden as hidden where hidden.user_id = whose) then
    raise exception using errcode = 'PT404', message = 'There is no such user, or they do not show it.',
      column = 'user_id';
  end if;
  return query
  select
    counted.day, floor(sum(counted.seconds))::integer, sum(counted.sessions)::integer, min(counted.first_at),
    max(counted.last_at)
  from (
    select known.day, known.seconds, known.sessions, known.first_at, known.last_at
    from presence.days as known
    where known.user_id = whose
    union all
    -- What is not over yet.
    select share.day, extract(epoch from share.last_at - share.first_at), 1, share.first_at, share.last_at
    from presence.sessions as there
    cross join lateral presence._days_of(there.started_at, there.beat_at, zone) as share
    where there.user_id = whose
  ) as counted
  where counted.day between coalesce(since, today - 30) and coalesce(until, today)
  group by counted.day
  order by counted.day;
end;
$$;
comment on function presence.online_days is
  'How long someone was there on each day since and until, the last 31 days where these are left out; the caller, or
whoever lets them see it. Days without are left out.

@notNull';

create function presence.set_presence_visibility(visible_to presence.presence_visibility)
returns presence.presence_visibility
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
begin
  if visible_to is null then
    raise exception using errcode = 'PT400', message = 'Say who may see it.', column = 'visible_to';
  end if;
  insert into presence.visibilities as known (user_id, visible_to)
  values (caller, set_presence_visibility.visible_to)
  on conflict on constraint visibilities_pkey do update set visible_to = excluded.visible_to;
  -- Whoever listens is asked again whether they may.
  perform events.publish(
    'user:' || caller, 'presence_visibility_changed',
    jsonb_build_object('visible_to', set_presence_visibility.visible_to),
    rechecks => '00000000-0000-0000-0000-000000000000'
  );
  return visible_to;
end;
$$;
comment on function presence.set_presence_visibility is
  'Chooses who sees whether the caller is there, and how long they were.

@notNull';

create function presence.my_presence_visibility() returns presence.presence_visibility
language sql stable security definer set search_path = ''
return coalesce(
  (select chosen.visible_to from presence.visibilities as chosen where chosen.user_id = identity.require_user_id()),
  'everyone'
);
comment on function presence.my_presence_visibility is
  'Who sees whether the caller is there.

@name presence_visibility
@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: events, upkeep
-- --------------------------------------------------------------------------------------------

create function presence.listen(user_ids uuid[]) returns setof events.position
language plpgsql stable security definer rows 100 set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if coalesce(cardinality(user_ids), 0) not between 1 and 500 then
    raise exception using errcode = 'PT400', message = 'Name 1 to 500 users.', column = 'user_ids';
  end if;
  return query
  select distinct 'presence:' || named.id, null::bigint
  from unnest(user_ids) as named (id)
  where not exists (select from presence._hidden as hidden where hidden.user_id = named.id);
end;
$$;
comment on function presence.listen is
  'The right to see who comes and goes: for every member, of those who do not hide it from them.

@hide';

create function presence.presence(event events.event) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.*
  from (select (event.data ->> 'user_id')::uuid as id offset 0) as told
  join identity.users as person on person.id = told.id;
end;
comment on function presence.presence is
  'Who comes and goes: `data.status` says which. Told is what changes; `User.presence` is how it stands.

@subscription presence.listen
@shared';

create function presence.expire() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with expired as (
    delete from presence.days where day < (now() - interval '400 days')::date returning 1
  )
  select count(*) from expired;
$$;
comment on function presence.expire is
  'Removes the days from more than 400 days ago; returns how many.

@hide';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function presence._forget_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from presence.devices where user_id = old.id;
  delete from presence.sessions where user_id = old.id;
  delete from presence.days where user_id = old.id;
  delete from presence.visibilities where user_id = old.id;
  return null;
end;
$$;
create trigger forget_presence after update of removed_at on identity.users
  for each row when (old.removed_at is null and new.removed_at is not null)
  execute function presence._forget_user();

-- --------------------------------------------------------------------------------------------
-- Policies, grants: this is the API
-- --------------------------------------------------------------------------------------------

-- No policy, no grant: only the functions above reach these.
alter table presence.devices enable row level security;
alter table presence.sessions enable row level security;
alter table presence.days enable row level security;
alter table presence.visibilities enable row level security;

grant select on presence._seen to member;

revoke execute on all functions in schema presence from public;
grant execute on function presence._record to plinth_server;
grant execute on function presence.set_presence, presence.set_presence_visibility to member;
grant execute on function presence.my_presence_visibility, presence.online_days to member;
grant execute on function presence.status, presence.online_members to member;
grant execute on function presence.listen, presence.presence to member;

-- ============================================================================================
-- procurement: companies, contracts, risk indicators and what they find
-- ============================================================================================
-- Contracts come by import, as the sources tell of them. An indicator is a row and one function that judges contracts
-- in one statement; what it flags is a finding. Who was granted regions sees what lies in them, and nothing else.
-- docs/procurement.md tells more.

create schema procurement;
comment on schema procurement is 'Public contracts, and what is remarkable about them.';
grant usage on schema procurement to member, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type procurement.outcome as enum ('flagged', 'clear', 'not_computable');
comment on type procurement.outcome is
  'What an indicator says of a contract: remarkable, not remarkable, or that what it needs to know is missing.';

create type procurement.record_kind as enum ('company', 'plan', 'contract', 'unit', 'payment', 'act');
comment on type procurement.record_kind is 'What a record of a source is about.';

create type procurement.total_key as enum ('year', 'region', 'category', 'status', 'type');
comment on type procurement.total_key is 'What contracts are added up by.';

create type procurement.verdict as (
  contract_id  uuid,                -- null: of a pair
  fiscal_year  integer,             -- null: of a pair
  customer_bin text,
  supplier_bin text,
  region_codes text[],
  outcome      procurement.outcome,
  value        double precision,
  inputs       jsonb,
  reason       text
);
comment on type   procurement.verdict              is
  'What the function of an indicator says of a contract, or of a pair of customer and supplier.';
comment on column procurement.verdict.contract_id  is 'The contract; null of a pair.';
comment on column procurement.verdict.fiscal_year  is 'Its year; null of a pair.';
comment on column procurement.verdict.customer_bin is 'Who buys.';
comment on column procurement.verdict.supplier_bin is 'Who sells.';
comment on column procurement.verdict.region_codes is 'The regions that it tells of.';
comment on column procurement.verdict.outcome      is 'What it says.';
comment on column procurement.verdict.value        is 'What is compared with the threshold; null: not known.';
comment on column procurement.verdict.inputs       is 'What the value was made of.';
comment on column procurement.verdict.reason       is 'The same in a sentence.';

create type procurement.explanation as (
  indicator_code text,
  indicator_name text,
  formula        text,
  outcome        procurement.outcome,
  value          double precision,
  thresholds     jsonb,
  inputs         jsonb,
  reason         text
);
comment on type   procurement.explanation                is 'What an indicator says of a contract now, and why.';
comment on column procurement.explanation.indicator_code is 'The indicator.';
comment on column procurement.explanation.indicator_name is 'What it is called.';
comment on column procurement.explanation.formula        is 'How it judges.';
comment on column procurement.explanation.outcome        is 'What it says.';
comment on column procurement.explanation.value          is 'What is compared with the threshold; null: not known.';
comment on column procurement.explanation.thresholds     is 'What it is compared with.';
comment on column procurement.explanation.inputs         is 'What the value was made of.';
comment on column procurement.explanation.reason         is 'The same in a sentence.';

create type procurement.contract_total as (
  key              text,
  contracts        bigint,
  plan_sum         numeric,
  contract_sum     numeric,
  actual_sum       numeric,
  plan_sum_vat     numeric,
  contract_sum_vat numeric,
  actual_sum_vat   numeric,
  flagged          bigint
);
comment on type   procurement.contract_total                  is 'Contracts of one kind, added up.';
comment on column procurement.contract_total.key              is
  'The year, or the code of the region, category, status or type; null where contracts have none.';
comment on column procurement.contract_total.contracts        is 'How many contracts.';
comment on column procurement.contract_total.plan_sum         is 'What was planned, without VAT, as far as known.';
comment on column procurement.contract_total.contract_sum     is 'What was agreed, without VAT, as far as known.';
comment on column procurement.contract_total.actual_sum       is 'What was executed, without VAT, as far as known.';
comment on column procurement.contract_total.plan_sum_vat     is 'What was planned, with VAT, as far as known.';
comment on column procurement.contract_total.contract_sum_vat is 'What was agreed, with VAT, as far as known.';
comment on column procurement.contract_total.actual_sum_vat   is 'What was executed, with VAT, as far as known.';
comment on column procurement.contract_total.flagged          is 'How many of them an indicator has flagged.';

create type procurement.import_result as (
  read     bigint,
  added    bigint,
  changed  bigint,
  known    bigint,
  rejected bigint
);
comment on type   procurement.import_result          is 'What became of a batch of records.';
comment on column procurement.import_result.read     is 'How many there were.';
comment on column procurement.import_result.added    is 'How many are new.';
comment on column procurement.import_result.changed  is 'How many changed what was known.';
comment on column procurement.import_result.known    is 'How many said what was known.';
comment on column procurement.import_result.rejected is 'How many were not taken; procurement.rejects tells why.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table procurement.sources (
  code            text    primary key,
  name            text    not null,
  names_companies boolean not null default true,
  bin_pattern     text    not null default '^[0-9]{12}$',

  constraint code_is_a_plain_name               check (code ~ '^[a-z][a-z0-9-]{0,30}$'),
  constraint name_has_1_to_200_characters       check (name ~ '\S' and char_length(name) <= 200),
  constraint bin_pattern_has_1_to_100_characters check (char_length(bin_pattern) between 1 and 100)
);
comment on table  procurement.sources                 is 'Where contracts come from.';
comment on column procurement.sources.code            is 'The key.';
comment on column procurement.sources.name            is 'What it is called.';
comment on column procurement.sources.names_companies is
  'Whether it tells who buys and who sells; only then is a contract without them left out by the indicators.';
comment on column procurement.sources.bin_pattern     is 'What the BIN of a company looks like there.';

create table procurement.regions (
  code text primary key,
  name text not null,

  constraint code_has_1_to_20_plain_characters check (code ~ '^[A-Za-z0-9-]{1,20}$'),
  constraint name_has_1_to_200_characters      check (name ~ '\S' and char_length(name) <= 200)
);
comment on table  procurement.regions      is 'Where contracts belong to.';
comment on column procurement.regions.code is 'The key, such as a KATO or NUTS code.';
comment on column procurement.regions.name is 'What it is called.';

create table procurement.region_grants (
  user_id     uuid        not null references identity.users (id) on delete cascade,
  region_code text        not null references procurement.regions (code) on delete cascade,
  granted_by  uuid        references identity.users (id) on delete set null,  -- null: someone at the database
  granted_at  timestamptz not null default now(),

  primary key (user_id, region_code)
);
comment on table  procurement.region_grants             is 'Which regions a user may look at: an analyst has some.';
comment on column procurement.region_grants.user_id     is 'Who.';
comment on column procurement.region_grants.region_code is 'What.';
comment on column procurement.region_grants.granted_by  is 'Who granted it; null for someone at the database.';
comment on column procurement.region_grants.granted_at  is 'When.';
comment on constraint region_grants_region_code_fkey on procurement.region_grants is '@name region
@inverse grants';
comment on constraint region_grants_user_id_fkey    on procurement.region_grants is '@inverse region_grants';
comment on constraint region_grants_granted_by_fkey on procurement.region_grants is '@inverse region_grants_given';
create index region_grants_region_code_idx on procurement.region_grants (region_code);
create index region_grants_granted_by_idx on procurement.region_grants (granted_by);

create table procurement.contract_types (
  code        text    primary key,
  name        text    not null,
  is_analysed boolean not null,

  constraint code_is_a_plain_name check (code ~ '^[a-z][a-z0-9_]{0,30}$')
);
comment on table  procurement.contract_types             is 'The types of contracts.';
comment on column procurement.contract_types.code        is 'The key.';
comment on column procurement.contract_types.name        is 'What it is called.';
comment on column procurement.contract_types.is_analysed is 'Whether indicators look at contracts of this type.';
insert into procurement.contract_types (code, name, is_analysed)
values
  ('annual',        'Annual',                  true),
  ('standard',      'Standard',                true),
  ('multi_year',    'Of several years',        false),
  ('supplementary', 'Supplementary agreement', false)
on conflict (code) do update set name = excluded.name;

-- Those of goszakup.gov.kz (contract-status of OWS v3). A DBA may change what is analysed; the file leaves that.
create table procurement.contract_statuses (
  code        integer primary key,
  name        text    not null,
  title       text    not null,
  is_analysed boolean not null,

  constraint code_is_positive check (code > 0)
);
comment on table  procurement.contract_statuses             is 'The statuses of contracts.';
comment on column procurement.contract_statuses.code        is 'The key.';
comment on column procurement.contract_statuses.name        is 'What the source calls it in its programs.';
comment on column procurement.contract_statuses.title       is 'What the source calls it.';
comment on column procurement.contract_statuses.is_analysed is
  'Whether indicators look at contracts in it: not at drafts, nor at what was refused, cancelled or annulled.';
insert into procurement.contract_statuses (code, name, title, is_analysed)
values
  (110, 'Project',              'Проект договора',                                false),
  (115, 'CUSTOMER_APPROVING',   'Отправлен на согласование заказчику',            false),
  (120, 'Agreement',            'Отправлен на согласование поставщику',           false),
  (125, 'SupplierAgreement',    'Завершение согласования',                        false),
  (130, 'Signing',              'На подписании у Заказчика',                      false),
  (131, 'NeedSupplierSign',     'На подписании у Поставщика',                     false),
  (135, 'GenPrintVer',          'Формирование версии для печати',                 false),
  (160, 'ReadyToRegistration',  'Готов к отправке на регистрацию',                false),
  (165, 'SentForRegistration',  'На регистрации в Казначействе',                  false),
  (185, 'Signed',               'Подписан',                                       false),
  (190, 'Valid',                'Действует',                                      true),
  (310, 'AssignmentOSupplier',  'Уступка прав поставщика',                        true),
  (315, 'AssignmentOfCustomer', 'Уступка прав заказчика',                         true),
  (330, 'Discontinued',         'Не заключен',                                    false),
  (340, 'Terminated',           'Расторгнут в одностороннем порядке',             false),
  (345, 'CancellExpection',     'Ожидание расторжения договора',                  true),
  (350, 'Cancelled',            'Расторгнут по соглашению сторон',                false),
  (375, 'PartExecuted',         'Частично исполнен',                              true),
  (390, 'Executed',             'Исполнен',                                       true),
  (410, 'Set2Winner',           'Выбран 2 победитель',                            true),
  (420, 'ResultChange',         'Изменены итоги',                                 false),
  (430, 'RefusalOfPurchase',    'Отказ от закупки и договора',                    false),
  (450, 'CreateExtraContract',  'Создано доп.соглашение',                         true),
  (455, 'ContractChanged',      'Изменен',                                        true),
  (456, 'Cessing',              'Передача прав',                                  true),
  (460, 'Cessed',               'Передан.Действует',                              true),
  (461, 'CessedDiscontinued',   'Передан.Не заключен',                            false),
  (462, 'CessedTerminated',     'Передан.Расторгнут в одностороннем порядке',     false),
  (463, 'CessedCancelled',      'Передан.Расторгнут по соглашению сторон',        false),
  (464, 'CessedExecuted',       'Передан.Исполнен',                               true),
  (465, 'CessedPartExecuted',   'Передан.Частично исполнен',                      true),
  (470, 'ValidExpired',         'Срок договора истек',                            true),
  (480, 'AnnulledByCourt',      'Недействительный по решению суда',               false)
on conflict (code) do update set name = excluded.name, title = excluded.title;

create table procurement.companies (
  bin         text primary key,
  name        text,                                                  -- null: not told
  region_code text references procurement.regions (code),            -- null: not told
  address     text,                                                  -- null: not told
  head        text,                                                  -- null: not told

  constraint bin_has_1_to_30_plain_characters        check (bin ~ '^[0-9A-Za-z-]{1,30}$'),
  constraint name_has_at_most_1000_characters        check (char_length(name) <= 1000),
  constraint address_has_at_most_1000_characters     check (char_length(address) <= 1000),
  constraint head_has_at_most_500_characters         check (char_length(head) <= 500)
);
comment on table  procurement.companies             is 'Who buys and who sells.';
comment on column procurement.companies.bin         is 'The key: a BIN or IIN, with its leading zeros.';
comment on column procurement.companies.name        is 'What it is called; null where the source does not tell.';
comment on column procurement.companies.region_code is 'Where it is registered; null where the source does not tell.';
comment on column procurement.companies.address     is 'Its address; null where the source does not tell.';
comment on column procurement.companies.head        is 'Who leads it; null where the source does not tell.';
comment on constraint companies_region_code_fkey on procurement.companies is '@name region';
create index companies_region_code_idx on procurement.companies (region_code);

-- The id is made of the source and its own id of the contract (procurement._id): a version names its first one before
-- that has come, payments name a contract that may never come, and taken twice it is the same row. So no foreign key
-- names a contract.
create table procurement.contracts (
  id               uuid    not null,
  fiscal_year      integer not null,
  source_code      text    not null references procurement.sources (code),
  source_ref       text    not null,
  root_id          uuid    not null,
  parent_id        uuid,                                             -- null: the first version
  version          integer not null,
  number           text,                                             -- null: not told
  subject          text,                                             -- null: not told
  category         text,                                             -- null: not told
  type_code        text    not null references procurement.contract_types (code),
  status_code      integer not null references procurement.contract_statuses (code),
  region_code      text    references procurement.regions (code),    -- null: not told
  plan_id          uuid,                                             -- null: not told
  customer_bin     text    references procurement.companies (bin),   -- null: not told
  supplier_bin     text    references procurement.companies (bin),   -- null: not told
  signed_on        date,                                             -- null: not told
  starts_on        date,                                             -- null: not told
  ends_on          date,                                             -- null: not told
  has_advance      boolean not null default false,
  plan_sum         numeric,                                          -- null: not told; so with the other sums
  plan_sum_vat     numeric,
  contract_sum     numeric,
  contract_sum_vat numeric,
  actual_sum       numeric,
  actual_sum_vat   numeric,
  first_paid_on    date,                                             -- null: nothing but advances was paid
  -- In floating point, as spreadsheets and statistics have it, and once a row: over millions, numeric is what costs.
  discount         double precision generated always as (
    case
      when plan_sum > 0 and contract_sum > 0
        then (plan_sum::double precision - contract_sum::double precision) * 100 / plan_sum::double precision
      when plan_sum_vat > 0 and contract_sum_vat > 0 then
        (plan_sum_vat::double precision - contract_sum_vat::double precision) * 100 / plan_sum_vat::double precision
    end
  ) stored,
  changed_xid      xid8    not null default pg_current_xact_id(),

  primary key (id, fiscal_year),
  constraint fiscal_year_is_1990_to_2100           check (fiscal_year between 1990 and 2100),
  constraint source_ref_has_1_to_200_characters    check (char_length(source_ref) between 1 and 200),
  constraint version_is_positive                   check (version > 0),
  constraint number_has_at_most_200_characters     check (char_length(number) <= 200),
  constraint subject_has_at_most_10000_characters  check (char_length(subject) <= 10000),
  constraint category_has_at_most_500_characters   check (char_length(category) <= 500),
  constraint sums_are_not_negative                 check (
    least(plan_sum, plan_sum_vat, contract_sum, contract_sum_vat, actual_sum, actual_sum_vat) >= 0
  )
) partition by list (fiscal_year);
comment on table  procurement.contracts                  is 'A contract, or a version of one.';
comment on column procurement.contracts.id               is 'The key, with the year.';
comment on column procurement.contracts.fiscal_year      is 'The year whose budget pays.';
comment on column procurement.contracts.source_code      is 'Where it was imported from.';
comment on column procurement.contracts.source_ref       is 'What the source calls it.';
comment on column procurement.contracts.root_id          is 'Its first version; its own id where that is this one.';
comment on column procurement.contracts.parent_id        is 'The version before; null for the first.';
comment on column procurement.contracts.version          is 'Its number among the versions, from 1.';
comment on column procurement.contracts.number           is 'The number of the contract; null where not told.';
comment on column procurement.contracts.subject          is 'What is bought; null where not told.';
comment on column procurement.contracts.category         is 'The class of what is bought, such as a CPV code.';
comment on column procurement.contracts.type_code        is 'Its type.';
comment on column procurement.contracts.status_code      is 'Its status.';
comment on column procurement.contracts.region_code      is
  'Its region; null where not told: then analysts do not see it.';
comment on column procurement.contracts.plan_id          is 'The plan that it carries out; null where not told.';
comment on column procurement.contracts.customer_bin     is 'Who buys; null where not told.';
comment on column procurement.contracts.supplier_bin     is 'Who sells; null where not told.';
comment on column procurement.contracts.signed_on        is 'When it was signed; null where not told.';
comment on column procurement.contracts.starts_on        is 'When it begins; null where not told.';
comment on column procurement.contracts.ends_on          is 'When it ends; null where not told.';
comment on column procurement.contracts.has_advance      is 'Whether an advance payment was agreed.';
comment on column procurement.contracts.plan_sum         is 'What was planned, without VAT; null where not told.';
comment on column procurement.contracts.plan_sum_vat     is 'What was planned, with VAT; null where not told.';
comment on column procurement.contracts.contract_sum     is 'What was agreed, without VAT; null where not told.';
comment on column procurement.contracts.contract_sum_vat is 'What was agreed, with VAT; null where not told.';
comment on column procurement.contracts.actual_sum       is
  'What was executed, without VAT; 0 until something is, null where not told.';
comment on column procurement.contracts.actual_sum_vat   is
  'What was executed, with VAT; 0 until something is, null where not told.';
comment on column procurement.contracts.first_paid_on    is 'When something was first paid, advances left out.';
comment on column procurement.contracts.discount         is
  'By how many percent the agreed sum is below the planned one, (P − C) · 100 / P, both without VAT or both with; null
where they are not both known and over zero.';
comment on column procurement.contracts.changed_xid      is 'The transaction that wrote it last: what is new to a run.

@hide';
comment on constraint contracts_source_code_fkey  on procurement.contracts is '@name source';
comment on constraint contracts_type_code_fkey    on procurement.contracts is '@name type';
comment on constraint contracts_status_code_fkey  on procurement.contracts is '@name status';
comment on constraint contracts_region_code_fkey  on procurement.contracts is '@name region';
comment on constraint contracts_customer_bin_fkey on procurement.contracts is '@name customer
@inverse contracts_as_customer';
comment on constraint contracts_supplier_bin_fkey on procurement.contracts is '@name supplier
@inverse contracts_as_supplier';
-- What of a company; what changes with it in shares of partnership.
create index contracts_customer_bin_supplier_bin_idx on procurement.contracts (customer_bin, supplier_bin);
create index contracts_supplier_bin_idx on procurement.contracts (supplier_bin);
-- Lists of a region, of a status, of a category; what is largest, newest, cheapest against its plan.
create index contracts_region_code_signed_on_idx on procurement.contracts (region_code, signed_on);
create index contracts_category_idx on procurement.contracts (category);
create index contracts_status_code_idx on procurement.contracts (status_code);
create index contracts_type_code_idx on procurement.contracts (type_code);
create index contracts_source_code_source_ref_idx on procurement.contracts (source_code, source_ref);
create index contracts_contract_sum_idx on procurement.contracts (contract_sum);
create index contracts_signed_on_idx on procurement.contracts (signed_on);
create index contracts_discount_idx on procurement.contracts (discount);
-- The versions of a contract; most contracts have but one.
create index contracts_root_id_version_idx on procurement.contracts (root_id, version) where root_id <> id;
-- What a run has not seen.
create index contracts_changed_xid_idx on procurement.contracts (changed_xid);

-- What contracts leave behind when they change sides or go: a run looks at it again.
create table procurement.departures (
  id           bigint generated always as identity primary key,
  root_id      uuid   not null,
  customer_bin text,
  supplier_bin text
);
comment on table procurement.departures is 'Contracts and companies that a contract has left since the last run.';

create table procurement.plans (
  id           uuid    primary key,
  source_code  text    not null references procurement.sources (code),
  source_ref   text    not null,
  fiscal_year  integer not null,
  customer_bin text    references procurement.companies (bin),       -- null: not told
  region_code  text    references procurement.regions (code),        -- null: not told
  category     text,                                                 -- null: not told
  subject      text,                                                 -- null: not told
  plan_sum     numeric,                                              -- null: not told
  plan_sum_vat numeric,                                              -- null: not told

  constraint fiscal_year_is_1990_to_2100          check (fiscal_year between 1990 and 2100),
  constraint source_ref_has_1_to_200_characters   check (char_length(source_ref) between 1 and 200),
  constraint category_has_at_most_500_characters  check (char_length(category) <= 500),
  constraint subject_has_at_most_10000_characters check (char_length(subject) <= 10000),
  constraint sums_are_not_negative                check (least(plan_sum, plan_sum_vat) >= 0)
);
comment on table  procurement.plans              is 'What someone means to buy.';
comment on column procurement.plans.id           is 'The key.';
comment on column procurement.plans.source_code  is 'Where it was imported from.';
comment on column procurement.plans.source_ref   is 'What the source calls it.';
comment on column procurement.plans.fiscal_year  is 'The year whose budget pays.';
comment on column procurement.plans.customer_bin is 'Who buys; null where not told.';
comment on column procurement.plans.region_code  is 'Its region; null where not told: then analysts do not see it.';
comment on column procurement.plans.category     is 'The class of what is bought; null where not told.';
comment on column procurement.plans.subject      is 'What is bought; null where not told.';
comment on column procurement.plans.plan_sum     is 'What is planned, without VAT; null where not told.';
comment on column procurement.plans.plan_sum_vat is 'What is planned, with VAT; null where not told.';
comment on constraint plans_source_code_fkey  on procurement.plans is '@name source';
comment on constraint plans_region_code_fkey  on procurement.plans is '@name region';
comment on constraint plans_customer_bin_fkey on procurement.plans is '@name customer
@inverse plans';
create index plans_source_code_idx on procurement.plans (source_code);
create index plans_customer_bin_idx on procurement.plans (customer_bin);
create index plans_region_code_idx on procurement.plans (region_code);

create table procurement.contract_units (
  id            uuid    primary key,
  contract_id   uuid    not null,
  source_ref    text    not null,
  plan_id       uuid,                                                -- null: not told
  name          text,                                                -- null: not told
  quantity      numeric,                                             -- null: not told
  unit_sum      numeric,                                             -- null: not told
  total_sum     numeric,                                             -- null: not told
  total_sum_vat numeric,                                             -- null: not told

  constraint source_ref_has_1_to_200_characters check (char_length(source_ref) between 1 and 200),
  constraint name_has_at_most_10000_characters  check (char_length(name) <= 10000)
);
comment on table  procurement.contract_units               is 'One of the things that a contract buys.';
comment on column procurement.contract_units.id            is 'The key.';
comment on column procurement.contract_units.contract_id   is 'The contract.';
comment on column procurement.contract_units.source_ref    is 'What the source calls it.';
comment on column procurement.contract_units.plan_id       is 'The plan that it carries out; null where not told.';
comment on column procurement.contract_units.name          is 'What it is; null where not told.';
comment on column procurement.contract_units.quantity      is 'How many; null where not told.';
comment on column procurement.contract_units.unit_sum      is 'What one costs, without VAT; null where not told.';
comment on column procurement.contract_units.total_sum     is 'What all cost, without VAT; null where not told.';
comment on column procurement.contract_units.total_sum_vat is 'What all cost, with VAT; null where not told.';
create index contract_units_contract_id_idx on procurement.contract_units (contract_id);

create table procurement.payments (
  id          uuid    primary key,
  contract_id uuid    not null,
  source_ref  text    not null,
  paid_on     date    not null,
  paid_sum    numeric,                                               -- null: not told
  is_advance  boolean not null default false,

  constraint source_ref_has_1_to_200_characters check (char_length(source_ref) between 1 and 200)
);
comment on table  procurement.payments             is 'What was paid for a contract.';
comment on column procurement.payments.id          is 'The key.';
comment on column procurement.payments.contract_id is 'The contract, by its id: it may not have come yet.';
comment on column procurement.payments.source_ref  is 'What the source calls it.';
comment on column procurement.payments.paid_on     is 'When.';
comment on column procurement.payments.paid_sum    is 'How much; null where not told.';
comment on column procurement.payments.is_advance  is 'Whether it was paid before anything was done, as agreed.';
create index payments_contract_id_paid_on_idx on procurement.payments (contract_id, paid_on);

create table procurement.contract_acts (
  id          uuid primary key,
  contract_id uuid not null,
  source_ref  text not null,
  approved_on date,                                                  -- null: not told
  act_sum     numeric,                                               -- null: not told

  constraint source_ref_has_1_to_200_characters check (char_length(source_ref) between 1 and 200)
);
comment on table  procurement.contract_acts             is 'That something of a contract was done and taken over.';
comment on column procurement.contract_acts.id          is 'The key.';
comment on column procurement.contract_acts.contract_id is 'The contract, by its id: it may not have come yet.';
comment on column procurement.contract_acts.source_ref  is 'What the source calls it.';
comment on column procurement.contract_acts.approved_on is 'When it was approved; null where not told.';
comment on column procurement.contract_acts.act_sum     is 'For how much; null where not told.';
create index contract_acts_contract_id_idx on procurement.contract_acts (contract_id);

create table procurement.imports (
  id          bigint      generated always as identity primary key,
  source_code text        not null references procurement.sources (code),
  name        text        not null,
  fingerprint text        not null,
  position    bigint      not null default 0,
  added       bigint      not null default 0,
  changed     bigint      not null default 0,
  known       bigint      not null default 0,
  rejected    bigint      not null default 0,
  started_at  timestamptz not null default now(),
  finished_at timestamptz,                                           -- null: it runs, or was stopped

  constraint name_has_1_to_500_characters        check (char_length(name) between 1 and 500),
  constraint fingerprint_has_1_to_200_characters check (char_length(fingerprint) between 1 and 200)
);
comment on table  procurement.imports             is 'What was imported, and how far: what was stopped goes on there.';
comment on column procurement.imports.id          is 'The key.';
comment on column procurement.imports.source_code is 'The source.';
comment on column procurement.imports.name        is 'The file, or the address.';
comment on column procurement.imports.fingerprint is 'What tells one file and its mapping from another.';
comment on column procurement.imports.position    is 'How many of its rows (or pages) are done.';
comment on column procurement.imports.added       is 'Records that were new.';
comment on column procurement.imports.changed     is 'Records that changed what was known.';
comment on column procurement.imports.known       is 'Records that said what was known.';
comment on column procurement.imports.rejected    is 'Records that were not taken.';
comment on column procurement.imports.started_at  is 'When it began.';
comment on column procurement.imports.finished_at is 'When it was done; null while it is not.';
comment on constraint imports_source_code_fkey on procurement.imports is '@name source';
create index imports_source_code_fingerprint_idx on procurement.imports (source_code, fingerprint);

-- What a batch brings, between COPY and the merge of the same transaction. After a crash it is empty.
create unlogged table procurement.staged_records (
  import_id bigint                  not null,
  line      bigint                  not null,
  kind      procurement.record_kind not null,
  record    jsonb                   not null
);
comment on table procurement.staged_records is 'Records of a batch that is being taken in: all values are text.';

create table procurement.rejects (
  id        bigint                  generated always as identity primary key,
  import_id bigint                  not null references procurement.imports (id) on delete cascade,
  line      bigint                  not null,
  kind      procurement.record_kind,                                 -- null: it could not be read
  reason    text                    not null,
  record    jsonb                                                    -- null: it could not be read, or is over 16 kB
);
comment on table  procurement.rejects           is 'Records that were not taken.';
comment on column procurement.rejects.id        is 'The key.';
comment on column procurement.rejects.import_id is 'The import.';
comment on column procurement.rejects.line      is 'Where it begins in the file.';
comment on column procurement.rejects.kind      is 'What it is about; null where it could not be read.';
comment on column procurement.rejects.reason    is 'Why.';
comment on column procurement.rejects.record    is 'What it says; null where it could not be read, or is over 16 kB.';
create index rejects_import_id_line_idx on procurement.rejects (import_id, line);

create table procurement.indicators (
  code        text    primary key,
  name        text    not null,
  formula     text    not null,
  reads       text[]  not null,
  function    text    not null,
  is_of_pairs boolean not null default false,
  thresholds  jsonb   not null,
  defaults    jsonb   not null,
  version     integer not null default 1,
  is_on       boolean not null default true,
  keeps       procurement.outcome[] not null default '{flagged}',

  constraint code_is_a_plain_name                  check (code ~ '^[a-z][a-z0-9_]{0,49}$'),
  constraint function_is_one_of_this_schema        check (function ~ '^[a-z_][a-z0-9_]*$'),
  constraint thresholds_are_an_object              check (jsonb_typeof(thresholds) = 'object'),
  constraint thresholds_are_at_most_4_kb           check (pg_column_size(thresholds) <= 4096),
  constraint what_is_flagged_is_kept               check ('flagged' = any (keeps))
);
comment on table  procurement.indicators             is 'A rule by which contracts are remarkable.';
comment on column procurement.indicators.code        is 'The key.';
comment on column procurement.indicators.name        is 'What it is called.';
comment on column procurement.indicators.formula     is 'How it judges.';
comment on column procurement.indicators.reads       is 'What it needs to know.';
comment on column procurement.indicators.function    is 'The function of the schema procurement that judges.';
comment on column procurement.indicators.is_of_pairs is 'Whether it judges pairs of customer and supplier.';
comment on column procurement.indicators.thresholds  is 'What values are compared with.';
comment on column procurement.indicators.defaults    is 'What they were at first.';
comment on column procurement.indicators.version     is 'Counts the changes of its thresholds.';
comment on column procurement.indicators.is_on       is 'Whether runs ask it.';
comment on column procurement.indicators.keeps       is
  'Which outcomes become findings; the others are counted, and told of a contract when someone asks (`explain`).';

create table procurement.indicator_runs (
  id           bigint      generated always as identity primary key,
  is_trial     boolean     not null,
  changed_only boolean     not null,
  started_at   timestamptz not null default clock_timestamp(),
  finished_at  timestamptz,                                          -- null: within its own transaction
  asked_by     uuid        references identity.users (id) on delete set null  -- null: a service, or a schedule
);
comment on table  procurement.indicator_runs              is 'When indicators judged.';
comment on column procurement.indicator_runs.id           is 'The key.';
comment on column procurement.indicator_runs.is_trial     is 'Whether thresholds were only tried.';
comment on column procurement.indicator_runs.changed_only is 'Whether only what had changed was asked for.';
comment on column procurement.indicator_runs.started_at   is 'When it began.';
comment on column procurement.indicator_runs.finished_at  is 'When it was done.';
comment on column procurement.indicator_runs.asked_by     is 'Who asked; null for a service or a schedule.';
create index indicator_runs_asked_by_idx on procurement.indicator_runs (asked_by);

create table procurement.indicator_results (
  run_id         bigint  not null references procurement.indicator_runs (id) on delete cascade,
  indicator_code text    not null references procurement.indicators (code) on delete cascade,
  version        integer not null,
  thresholds     jsonb   not null,
  is_full        boolean not null,
  flagged        bigint  not null,
  clear          bigint  not null,
  not_computable bigint  not null,
  seconds        double precision not null,

  primary key (run_id, indicator_code)
);
comment on table  procurement.indicator_results                is 'What an indicator found in a run.';
comment on column procurement.indicator_results.run_id         is 'The run.';
comment on column procurement.indicator_results.indicator_code is 'The indicator.';
comment on column procurement.indicator_results.version        is 'The version of its thresholds.';
comment on column procurement.indicator_results.thresholds     is 'The thresholds that it went by.';
comment on column procurement.indicator_results.is_full        is 'Whether it judged everything.';
comment on column procurement.indicator_results.flagged        is 'How many it flagged, of what it judged.';
comment on column procurement.indicator_results.clear          is 'How many it cleared.';
comment on column procurement.indicator_results.not_computable is 'For how many something was missing.';
comment on column procurement.indicator_results.seconds        is 'How long that took.';
comment on constraint indicator_results_run_id_fkey         on procurement.indicator_results is '@name run
@inverse results';
comment on constraint indicator_results_indicator_code_fkey on procurement.indicator_results is '@name indicator
@inverse results';
create index indicator_results_indicator_code_idx on procurement.indicator_results (indicator_code);

-- How far each indicator has seen. After a restore transactions count anew (events.restores): then it has seen nothing.
create table procurement.indicator_states (
  indicator_code text        primary key references procurement.indicators (code) on delete cascade,
  version        integer     not null,
  mark           text        not null,
  seen           pg_snapshot not null
);
comment on table procurement.indicator_states is 'What each indicator had seen at its last run.';

-- No foreign keys: a run writes hundreds of thousands of rows, whose keys come from what it reads.
create table procurement.findings (
  id             bigint              generated always as identity primary key,
  indicator_code text                not null,
  run_id         bigint              not null,
  contract_id    uuid,                                               -- null: of a pair
  fiscal_year    integer,                                            -- null: of a pair
  customer_bin   text,                                               -- null: not told
  supplier_bin   text,                                               -- null: not told
  region_codes   text[]              not null,
  outcome        procurement.outcome not null,
  value          double precision,                                   -- null: not known
  thresholds     jsonb               not null,
  inputs         jsonb               not null,
  reason         text                not null
);
comment on table  procurement.findings                is
  'What an indicator says of a contract, or of a customer and a supplier, since its last run.

@order id desc';
comment on column procurement.findings.id             is 'The key.';
comment on column procurement.findings.indicator_code is 'The indicator.';
comment on column procurement.findings.run_id         is 'The run that found it.';
comment on column procurement.findings.contract_id    is 'The contract; null where it is of a pair.';
comment on column procurement.findings.fiscal_year    is 'The contract''s year; null where it is of a pair.';
comment on column procurement.findings.customer_bin   is 'Who buys; null where not told.';
comment on column procurement.findings.supplier_bin   is 'Who sells; null where not told.';
comment on column procurement.findings.region_codes   is
  'The regions that it tells of: who may not see all of them may not see it.';
comment on column procurement.findings.outcome        is 'What it says.';
comment on column procurement.findings.value          is 'What is compared with the threshold; null: not known.';
comment on column procurement.findings.thresholds     is 'What it was compared with.';
comment on column procurement.findings.inputs         is 'What the value was made of.';
comment on column procurement.findings.reason         is 'The same in a sentence.';
create index findings_indicator_code_outcome_value_idx on procurement.findings (indicator_code, outcome, value);
create index findings_contract_id_idx on procurement.findings (contract_id);
create index findings_customer_bin_idx on procurement.findings (customer_bin);
create index findings_supplier_bin_idx on procurement.findings (supplier_bin);
create index findings_run_id_idx on procurement.findings (run_id);

-- What thresholds that are only tried find. They go with their run.
create table procurement.trial_findings (
  like procurement.findings including identity,

  primary key (run_id, id),
  constraint trial_findings_run_id_fkey foreign key (run_id)
    references procurement.indicator_runs (id) on delete cascade
);
comment on table  procurement.trial_findings                is 'What thresholds that were tried would find.';
comment on column procurement.trial_findings.id             is 'The key.';
comment on column procurement.trial_findings.indicator_code is 'The indicator.';
comment on column procurement.trial_findings.run_id         is 'The run that found it.';
comment on column procurement.trial_findings.contract_id    is 'The contract; null where it is of a pair.';
comment on column procurement.trial_findings.fiscal_year    is 'The contract''s year; null where it is of a pair.';
comment on column procurement.trial_findings.customer_bin   is 'Who buys; null where not told.';
comment on column procurement.trial_findings.supplier_bin   is 'Who sells; null where not told.';
comment on column procurement.trial_findings.region_codes   is
  'The regions that it tells of: who may not see all of them may not see it.';
comment on column procurement.trial_findings.outcome        is 'What it says.';
comment on column procurement.trial_findings.value          is 'What is compared with the threshold; null: not known.';
comment on column procurement.trial_findings.thresholds     is 'What it was compared with.';
comment on column procurement.trial_findings.inputs         is 'What the value was made of.';
comment on column procurement.trial_findings.reason         is 'The same in a sentence.';
comment on constraint trial_findings_run_id_fkey on procurement.trial_findings is '@name run
@inverse trial_findings';

-- --------------------------------------------------------------------------------------------
-- Views
-- --------------------------------------------------------------------------------------------

-- What indicators look at: first versions, in a type and a status that are analysed; and what keeps one from being
-- judged (D2: both companies, sums over zero).
create view procurement._analysed with (security_invoker = true) as
select
  contract.*,
  case
    when source.names_companies and (contract.customer_bin is null or contract.supplier_bin is null)
      then 'The BIN of the customer or of the supplier is missing.'
    when contract.discount is null
      then 'The planned and the agreed sum are not both known and over zero, alike without or with VAT.'
  end as obstacle
from procurement.contracts as contract
join procurement.sources as source on source.code = contract.source_code
join procurement.contract_statuses as status on status.code = contract.status_code and status.is_analysed
join procurement.contract_types as type on type.code = contract.type_code and type.is_analysed
where contract.root_id = contract.id;
comment on view procurement._analysed is 'The contracts that indicators look at.';

-- --------------------------------------------------------------------------------------------
-- Functions: regions
-- --------------------------------------------------------------------------------------------

create function procurement._granted_regions() returns text[]
language sql stable security definer parallel safe set search_path = ''
as $$
  select coalesce(array_agg(known.region_code), '{}')
  from procurement.region_grants as known
  where known.user_id = identity.current_user_id();
$$;

create function procurement._may_see(region_codes text[]) returns boolean
language sql stable set search_path = ''
return current_setting('role') in ('operator', 'service', 'none', 'plinth_owner')
  or region_codes <@ procurement._granted_regions();

create function procurement.grant_region(user_id uuid, region_code text) returns procurement.region_grants
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  given procurement.region_grants;
begin
  insert into procurement.region_grants as known (user_id, region_code, granted_by)
  values (grant_region.user_id, grant_region.region_code, identity.current_user_id())
  on conflict on constraint region_grants_pkey do update set region_code = excluded.region_code
  returning * into given;
  return given;
end;
$$;
comment on function procurement.grant_region is 'Lets a user see what lies in a region.';

create function procurement.revoke_region(user_id uuid, region_code text) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from procurement.region_grants as known
  where known.user_id = revoke_region.user_id and known.region_code = revoke_region.region_code;
  if not found then
    return false;
  end if;
  perform events.publish(
    'region:' || region_code, 'region_revoked',
    jsonb_build_object('region_code', region_code, 'user_id', user_id), null, user_id
  );
  return true;
end;
$$;
comment on function procurement.revoke_region is
  'Takes a region from a user, who is shown and told of it no more; false where they did not have it.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: reading what sources say
-- --------------------------------------------------------------------------------------------

create function procurement._id(source_code text, kind procurement.record_kind, source_ref text) returns uuid
language sql stable parallel safe
return md5(source_code || ':' || kind || ':' || source_ref)::uuid;

-- Null for what is no number; without an exception, which would end the statement for all.
create function procurement._number(value text) returns numeric
language sql immutable parallel safe
return case when value ~ '^-?[0-9]{1,20}(\.[0-9]{1,30})?([eE]-?[0-9]{1,2})?$' then value::numeric end;

-- Null for what is no date of the calendar, from 1900 to 2199; the time behind it does not count.
create function procurement._date(value text) returns date
language sql immutable parallel safe
return case
  when value ~ '^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ].*)?$'
    and substr(value, 9, 2)::integer <= extract(
      day from make_date(substr(value, 1, 4)::integer, substr(value, 6, 2)::integer, 1) + interval '1 month - 1 day'
    )
    then make_date(substr(value, 1, 4)::integer, substr(value, 6, 2)::integer, substr(value, 9, 2)::integer)
end;

create function procurement._truth(value text) returns boolean
language sql immutable parallel safe
return lower(value) in ('true', 't', '1', 'yes', 'y');

-- What is wrong with one field; null where nothing is, or it was left out.
create function procurement._wrong_number(name text, value text) returns text
language sql immutable parallel safe
return case
  when value is null then null
  when procurement._number(value) is null then format('%s: "%s" is not a number.', name, left(value, 50))
  when procurement._number(value) < 0 then format('%s is below zero.', name)
end;

create function procurement._wrong_date(name text, value text) returns text
language sql immutable parallel safe
return case
  when value is not null and procurement._date(value) is null
    then format('%s: "%s" is not a date such as 2024-01-31.', name, left(value, 50))
end;

create function procurement._wrong_text(name text, value text, longest integer) returns text
language sql immutable parallel safe
return case when char_length(value) > longest then format('%s has more than %s characters.', name, longest) end;

create function procurement._wrong_bin(name text, value text, pattern text) returns text
language sql immutable parallel safe
return case
  when value !~ pattern or value !~ '^[0-9A-Za-z-]{1,30}$'
    then format('%s: "%s" is not a BIN of this source.', name, left(value, 50))
end;

-- --------------------------------------------------------------------------------------------
-- Functions: import
-- --------------------------------------------------------------------------------------------

create function procurement._ensure_year(fiscal_year integer) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
declare
  name text := 'contracts_' || fiscal_year;
begin
  if exists (select from pg_catalog.pg_class where relname = name and relnamespace = 'procurement'::regnamespace) then
    return false;
  end if;
  perform pg_advisory_xact_lock(hashtext('procurement._ensure_year'));
  -- Someone else may have made it meanwhile.
  if exists (select from pg_catalog.pg_class where relname = name and relnamespace = 'procurement'::regnamespace) then
    return false;
  end if;
  execute format('create table procurement.%I (like procurement.contracts including all)', name);
  execute format('alter table procurement.%I enable row level security', name);
  execute format(
    'alter table procurement.contracts attach partition procurement.%I for values in (%L)', name, fiscal_year
  );
  return true;
end;
$$;

create function procurement.begin_import(
  source_code text, name text, fingerprint text, source_name text default null, names_companies boolean default true,
  bin_pattern text default '^[0-9]{12}$'
) returns procurement.imports
language plpgsql volatile security definer set search_path = ''
as $$
declare
  import procurement.imports;
begin
  insert into procurement.sources as known (code, name, names_companies, bin_pattern)
  values (
    begin_import.source_code, coalesce(source_name, begin_import.source_code), begin_import.names_companies,
    begin_import.bin_pattern
  )
  on conflict on constraint sources_pkey do update
  set name = coalesce(source_name, known.name), names_companies = excluded.names_companies,
    bin_pattern = excluded.bin_pattern
  where (known.name, known.names_companies, known.bin_pattern)
    is distinct from (coalesce(source_name, known.name), excluded.names_companies, excluded.bin_pattern);

  -- One that was stopped goes on. The row lock makes two of one file take turns.
  select * into import
  from procurement.imports as known
  where known.source_code = begin_import.source_code and known.fingerprint = begin_import.fingerprint
    and known.finished_at is null
  order by known.id desc
  limit 1
  for update;
  if import.id is null then
    insert into procurement.imports (source_code, name, fingerprint)
    values (begin_import.source_code, left(begin_import.name, 500), begin_import.fingerprint)
    returning * into import;
  end if;
  return import;
end;
$$;
comment on function procurement.begin_import is
  'Begins an import, or finds the one of the same source and fingerprint that was stopped, with its `position`.

@hide';

create function procurement.finish_import(import_id bigint) returns procurement.imports
language sql volatile security definer set search_path = ''
as $$
  update procurement.imports as known set finished_at = now() where known.id = import_id returning known.*;
$$;
comment on function procurement.finish_import is
  'Notes that an import is done.

@hide';

-- Companies that records of any kind name. What a source does not tell now stays as it was told before.
create function procurement._merge_companies(import procurement.imports, bin_pattern text) returns void
language plpgsql volatile set search_path = ''
as $$
begin
  with said as (
    select staged.line, said.*
    from procurement.staged_records as staged
    cross join lateral (
      values
        (staged.record ->> 'bin', staged.record ->> 'name', staged.record ->> 'region', staged.record ->> 'address',
          staged.record ->> 'head', staged.kind = 'company'),
        (staged.record ->> 'customer_bin', staged.record ->> 'customer_name', null, null, null, true),
        (staged.record ->> 'supplier_bin', staged.record ->> 'supplier_name', null, null, null, true)
    ) as said (bin, name, region_code, address, head, counts)
    where staged.import_id = import.id and said.counts and said.bin is not null
      and procurement._wrong_bin('', said.bin, bin_pattern) is null
  )
  insert into procurement.companies as known (bin, name, region_code, address, head)
  select distinct on (said.bin)
    said.bin, left(said.name, 1000), region.code, left(said.address, 1000), left(said.head, 500)
  from said
  left join procurement.regions as region on region.code = said.region_code
  order by said.bin, said.region_code nulls last, said.name nulls last, said.line desc
  on conflict on constraint companies_pkey do update
  set name = coalesce(excluded.name, known.name), region_code = coalesce(excluded.region_code, known.region_code),
    address = coalesce(excluded.address, known.address), head = coalesce(excluded.head, known.head)
  where (known.name, known.region_code, known.address, known.head) is distinct from (
    coalesce(excluded.name, known.name), coalesce(excluded.region_code, known.region_code),
    coalesce(excluded.address, known.address), coalesce(excluded.head, known.head)
  );
end;
$$;

-- One statement: what is wrong goes to the rejects, of several records of one contract the last counts, and only what
-- differs is written.
create function procurement._merge_contracts(import procurement.imports, bin_pattern text)
returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  -- The years first: a statement knows the partitions that were there when it began.
  perform procurement._ensure_year(named.fiscal_year)
  from (
    select distinct coalesce(
      procurement._number(staged.record ->> 'fiscal_year')::integer,
      extract(year from procurement._date(staged.record ->> 'signed_on'))::integer
    ) as fiscal_year
    from procurement.staged_records as staged
    where staged.import_id = import.id and staged.kind = 'contract'
      and coalesce(procurement._number(staged.record ->> 'fiscal_year'), 1990) between 1990 and 2100
  ) as named
  where named.fiscal_year between 1990 and 2100
  order by 1;

  with read as materialized (
    select
      staged.line, staged.record, said.*,
      case
        when said.fiscal_year is null then extract(year from procurement._date(said.signed_on))
        else procurement._number(said.fiscal_year)
      end as year
    from procurement.staged_records as staged
    cross join lateral jsonb_to_record(staged.record) as said (
      ref text, root text, parent text, version text, number text, subject text, category text, type text, status text,
      region text, plan text, customer_bin text, supplier_bin text, fiscal_year text, signed_on text, starts_on text,
      ends_on text, has_advance text, plan_sum text, plan_sum_vat text, contract_sum text, contract_sum_vat text,
      actual_sum text, actual_sum_vat text
    )
    where staged.import_id = import.id and staged.kind = 'contract'
  ), judged as materialized (
    select
      read.*,
      concat_ws(
        ' ',
        case when coalesce(read.ref, '') = '' then 'ref is missing.' end,
        procurement._wrong_text('ref', read.ref, 200),
        procurement._wrong_text('root', read.root, 200),
        procurement._wrong_text('parent', read.parent, 200),
        procurement._wrong_text('number', read.number, 200),
        procurement._wrong_text('subject', read.subject, 10000),
        procurement._wrong_text('category', read.category, 500),
        case
          when read.year is null then 'fiscal_year and signed_on are both missing, or not readable.'
          when read.year not between 1990 and 2100 or read.year <> trunc(read.year)
            then 'fiscal_year is not from 1990 to 2100.'
        end,
        case when coalesce(read.version, '1') !~ '^[1-9][0-9]{0,5}$' then 'version is not a number from 1 on.' end,
        case when type.code is null then format('type: there is no "%s".', left(read.type, 50)) end,
        case when status.code is null then format('status: there is no "%s".', left(read.status, 50)) end,
        case
          when read.region is not null and region.code is null
            then format('region: there is no "%s".', left(read.region, 50))
        end,
        procurement._wrong_bin('customer_bin', read.customer_bin, bin_pattern),
        procurement._wrong_bin('supplier_bin', read.supplier_bin, bin_pattern),
        procurement._wrong_date('signed_on', read.signed_on),
        procurement._wrong_date('starts_on', read.starts_on),
        procurement._wrong_date('ends_on', read.ends_on),
        procurement._wrong_number('plan_sum', read.plan_sum),
        procurement._wrong_number('plan_sum_vat', read.plan_sum_vat),
        procurement._wrong_number('contract_sum', read.contract_sum),
        procurement._wrong_number('contract_sum_vat', read.contract_sum_vat),
        procurement._wrong_number('actual_sum', read.actual_sum),
        procurement._wrong_number('actual_sum_vat', read.actual_sum_vat)
      ) as reason,
      status.code as status_code
    from read
    left join procurement.contract_types as type on type.code = read.type
    left join procurement.contract_statuses as status on status.code::text = read.status
    left join procurement.regions as region on region.code = read.region
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'contract', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason <> ''
    returning 1
  ), taken as materialized (
    select distinct on (id) *
    from (
      select
        judged.*, procurement._id(import.source_code, 'contract', ref) as id,
        procurement._id(import.source_code, 'contract', coalesce(root, ref)) as root_id,
        procurement._id(import.source_code, 'contract', parent) as parent_id
      from judged
      where reason = ''
    ) as named
    order by id, line desc
  ), known as (
    select known.id, known.fiscal_year
    from taken
    join procurement.contracts as known on known.id = taken.id
  ), moved as (
    delete from procurement.contracts as gone
    using taken
    where gone.id = taken.id and gone.fiscal_year <> taken.year
    returning gone.id
  ), written as (
    insert into procurement.contracts as known (
      id, fiscal_year, source_code, source_ref, root_id, parent_id, version, number, subject, category, type_code,
      status_code, region_code, plan_id, customer_bin, supplier_bin, signed_on, starts_on, ends_on, has_advance,
      plan_sum, plan_sum_vat, contract_sum, contract_sum_vat, actual_sum, actual_sum_vat, first_paid_on
    )
    select
      id, year::integer, import.source_code, ref, root_id, parent_id, coalesce(version, '1')::integer, number, subject,
      category, type, status_code, region, procurement._id(import.source_code, 'plan', plan), customer_bin,
      supplier_bin, procurement._date(signed_on), procurement._date(starts_on), procurement._date(ends_on),
      coalesce(procurement._truth(has_advance), false), procurement._number(plan_sum),
      procurement._number(plan_sum_vat), procurement._number(contract_sum), procurement._number(contract_sum_vat),
      procurement._number(actual_sum), procurement._number(actual_sum_vat),
      (
        select min(payment.paid_on)
        from procurement.payments as payment
        where payment.contract_id = taken.id and not payment.is_advance
      )
    from taken
    on conflict (id, fiscal_year) do update
    set
      source_ref = excluded.source_ref, root_id = excluded.root_id, parent_id = excluded.parent_id,
      version = excluded.version, number = excluded.number, subject = excluded.subject, category = excluded.category,
      type_code = excluded.type_code, status_code = excluded.status_code, region_code = excluded.region_code,
      plan_id = excluded.plan_id, customer_bin = excluded.customer_bin, supplier_bin = excluded.supplier_bin,
      signed_on = excluded.signed_on, starts_on = excluded.starts_on, ends_on = excluded.ends_on,
      has_advance = excluded.has_advance, plan_sum = excluded.plan_sum, plan_sum_vat = excluded.plan_sum_vat,
      contract_sum = excluded.contract_sum, contract_sum_vat = excluded.contract_sum_vat,
      actual_sum = excluded.actual_sum, actual_sum_vat = excluded.actual_sum_vat
    where (
      known.root_id, known.parent_id, known.version, known.number, known.subject, known.category, known.type_code,
      known.status_code, known.region_code, known.plan_id, known.customer_bin, known.supplier_bin, known.signed_on,
      known.starts_on, known.ends_on, known.has_advance, known.plan_sum, known.plan_sum_vat, known.contract_sum,
      known.contract_sum_vat, known.actual_sum, known.actual_sum_vat
    ) is distinct from (
      excluded.root_id, excluded.parent_id, excluded.version, excluded.number, excluded.subject, excluded.category,
      excluded.type_code, excluded.status_code, excluded.region_code, excluded.plan_id, excluded.customer_bin,
      excluded.supplier_bin, excluded.signed_on, excluded.starts_on, excluded.ends_on, excluded.has_advance,
      excluded.plan_sum, excluded.plan_sum_vat, excluded.contract_sum, excluded.contract_sum_vat,
      excluded.actual_sum, excluded.actual_sum_vat
    )
    returning id
  )
  select
    (select count(*) from judged), count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from judged where reason = '') - count(*), (select count(*) from rejected)
  into result
  from (select id not in (select id from known) as is_new from written) as counted;
  return result;
end;
$$;

create function procurement._merge_plans(import procurement.imports, bin_pattern text)
returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  with judged as materialized (
    select
      staged.line, staged.record, said.*,
      concat_ws(
        ' ',
        case when coalesce(said.ref, '') = '' then 'ref is missing.' end,
        procurement._wrong_text('ref', said.ref, 200),
        procurement._wrong_text('subject', said.subject, 10000),
        procurement._wrong_text('category', said.category, 500),
        case
          when coalesce(said.fiscal_year, '') !~ '^(199[0-9]|20[0-9]{2}|2100)$'
            then 'fiscal_year is not from 1990 to 2100.'
        end,
        case
          when said.region is not null and region.code is null
            then format('region: there is no "%s".', left(said.region, 50))
        end,
        procurement._wrong_bin('customer_bin', said.customer_bin, bin_pattern),
        procurement._wrong_number('plan_sum', said.plan_sum),
        procurement._wrong_number('plan_sum_vat', said.plan_sum_vat)
      ) as reason
    from procurement.staged_records as staged
    cross join lateral jsonb_to_record(staged.record) as said (
      ref text, fiscal_year text, customer_bin text, region text, category text, subject text, plan_sum text,
      plan_sum_vat text
    )
    left join procurement.regions as region on region.code = said.region
    where staged.import_id = import.id and staged.kind = 'plan'
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'plan', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason <> ''
    returning 1
  ), taken as (
    select distinct on (ref) *, procurement._id(import.source_code, 'plan', ref) as id
    from judged
    where reason = ''
    order by ref, line desc
  ), known as (
    select known.id from procurement.plans as known join taken on taken.id = known.id
  ), written as (
    insert into procurement.plans as known (
      id, source_code, source_ref, fiscal_year, customer_bin, region_code, category, subject, plan_sum, plan_sum_vat
    )
    select
      id, import.source_code, ref, fiscal_year::integer, customer_bin, region, category, subject,
      procurement._number(plan_sum), procurement._number(plan_sum_vat)
    from taken
    on conflict on constraint plans_pkey do update
    set
      fiscal_year = excluded.fiscal_year, customer_bin = excluded.customer_bin, region_code = excluded.region_code,
      category = excluded.category, subject = excluded.subject, plan_sum = excluded.plan_sum,
      plan_sum_vat = excluded.plan_sum_vat
    where (known.*) is distinct from (excluded.*)
    returning id
  )
  select
    (select count(*) from judged), count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from judged where reason = '') - count(*), (select count(*) from rejected)
  into result
  from (select id not in (select id from known) as is_new from written) as counted;
  return result;
end;
$$;

create function procurement._merge_units(import procurement.imports) returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  with judged as materialized (
    select
      staged.line, staged.record, said.*,
      concat_ws(
        ' ',
        case when coalesce(said.ref, '') = '' then 'ref is missing.' end,
        case when coalesce(said.contract, '') = '' then 'contract is missing.' end,
        procurement._wrong_text('ref', said.ref, 200),
        procurement._wrong_text('name', said.name, 10000),
        procurement._wrong_number('quantity', said.quantity),
        procurement._wrong_number('unit_sum', said.unit_sum),
        procurement._wrong_number('total_sum', said.total_sum),
        procurement._wrong_number('total_sum_vat', said.total_sum_vat)
      ) as reason
    from procurement.staged_records as staged
    cross join lateral jsonb_to_record(staged.record) as said (
      ref text, contract text, plan text, name text, quantity text, unit_sum text, total_sum text, total_sum_vat text
    )
    where staged.import_id = import.id and staged.kind = 'unit'
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'unit', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason <> ''
    returning 1
  ), taken as (
    select distinct on (ref) *, procurement._id(import.source_code, 'unit', ref) as id
    from judged
    where reason = ''
    order by ref, line desc
  ), known as (
    select known.id from procurement.contract_units as known join taken on taken.id = known.id
  ), written as (
    insert into procurement.contract_units as known (
      id, contract_id, source_ref, plan_id, name, quantity, unit_sum, total_sum, total_sum_vat
    )
    select
      id, procurement._id(import.source_code, 'contract', contract), ref,
      procurement._id(import.source_code, 'plan', plan), name, procurement._number(quantity),
      procurement._number(unit_sum), procurement._number(total_sum), procurement._number(total_sum_vat)
    from taken
    on conflict on constraint contract_units_pkey do update
    set
      contract_id = excluded.contract_id, plan_id = excluded.plan_id, name = excluded.name,
      quantity = excluded.quantity, unit_sum = excluded.unit_sum, total_sum = excluded.total_sum,
      total_sum_vat = excluded.total_sum_vat
    where (known.*) is distinct from (excluded.*)
    returning id
  )
  select
    (select count(*) from judged), count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from judged where reason = '') - count(*), (select count(*) from rejected)
  into result
  from (select id not in (select id from known) as is_new from written) as counted;
  return result;
end;
$$;

create function procurement._merge_payments(import procurement.imports) returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  with judged as materialized (
    select
      staged.line, staged.record, said.*,
      concat_ws(
        ' ',
        case when coalesce(said.ref, '') = '' then 'ref is missing.' end,
        case when coalesce(said.contract, '') = '' then 'contract is missing.' end,
        case when said.paid_on is null then 'paid_on is missing.' end,
        procurement._wrong_text('ref', said.ref, 200),
        procurement._wrong_date('paid_on', said.paid_on),
        procurement._wrong_number('paid_sum', said.paid_sum)
      ) as reason
    from procurement.staged_records as staged
    cross join lateral jsonb_to_record(staged.record) as said (
      ref text, contract text, paid_on text, paid_sum text, is_advance text
    )
    where staged.import_id = import.id and staged.kind = 'payment'
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'payment', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason <> ''
    returning 1
  ), taken as (
    select distinct on (ref) *, procurement._id(import.source_code, 'payment', ref) as id
    from judged
    where reason = ''
    order by ref, line desc
  ), known as (
    select known.id from procurement.payments as known join taken on taken.id = known.id
  ), written as (
    insert into procurement.payments as known (id, contract_id, source_ref, paid_on, paid_sum, is_advance)
    select
      id, procurement._id(import.source_code, 'contract', contract), ref, procurement._date(paid_on),
      procurement._number(paid_sum), coalesce(procurement._truth(is_advance), false)
    from taken
    on conflict on constraint payments_pkey do update
    set
      contract_id = excluded.contract_id, paid_on = excluded.paid_on, paid_sum = excluded.paid_sum,
      is_advance = excluded.is_advance
    where (known.*) is distinct from (excluded.*)
    returning id
  )
  select
    (select count(*) from judged), count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from judged where reason = '') - count(*), (select count(*) from rejected)
  into result
  from (select id not in (select id from known) as is_new from written) as counted;
  return result;
end;
$$;

create function procurement._merge_acts(import procurement.imports) returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  with judged as materialized (
    select
      staged.line, staged.record, said.*,
      concat_ws(
        ' ',
        case when coalesce(said.ref, '') = '' then 'ref is missing.' end,
        case when coalesce(said.contract, '') = '' then 'contract is missing.' end,
        procurement._wrong_text('ref', said.ref, 200),
        procurement._wrong_date('approved_on', said.approved_on),
        procurement._wrong_number('act_sum', said.act_sum)
      ) as reason
    from procurement.staged_records as staged
    cross join lateral jsonb_to_record(staged.record) as said (
      ref text, contract text, approved_on text, act_sum text
    )
    where staged.import_id = import.id and staged.kind = 'act'
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'act', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason <> ''
    returning 1
  ), taken as (
    select distinct on (ref) *, procurement._id(import.source_code, 'act', ref) as id
    from judged
    where reason = ''
    order by ref, line desc
  ), known as (
    select known.id from procurement.contract_acts as known join taken on taken.id = known.id
  ), written as (
    insert into procurement.contract_acts as known (id, contract_id, source_ref, approved_on, act_sum)
    select
      id, procurement._id(import.source_code, 'contract', contract), ref, procurement._date(approved_on),
      procurement._number(act_sum)
    from taken
    on conflict on constraint contract_acts_pkey do update
    set contract_id = excluded.contract_id, approved_on = excluded.approved_on, act_sum = excluded.act_sum
    where (known.*) is distinct from (excluded.*)
    returning id
  )
  select
    (select count(*) from judged), count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from judged where reason = '') - count(*), (select count(*) from rejected)
  into result
  from (select id not in (select id from known) as is_new from written) as counted;
  return result;
end;
$$;

-- Companies that are no part of a contract or a plan.
create function procurement._count_companies(import procurement.imports, bin_pattern text)
returns procurement.import_result
language plpgsql volatile set search_path = ''
as $$
declare
  result procurement.import_result;
begin
  with judged as materialized (
    select
      staged.line, staged.record,
      case
        when staged.record ->> 'bin' is null then 'bin is missing.'
        else procurement._wrong_bin('bin', staged.record ->> 'bin', bin_pattern)
      end as reason
    from procurement.staged_records as staged
    where staged.import_id = import.id and staged.kind = 'company'
  ), rejected as (
    insert into procurement.rejects (import_id, line, kind, reason, record)
    select import.id, line, 'company', reason, case when pg_column_size(record) <= 16384 then record end
    from judged
    where reason is not null
    returning 1
  )
  select (select count(*) from judged), 0, 0, count(*) filter (where reason is null), (select count(*) from rejected)
  into result
  from judged;
  return result;
end;
$$;

create function procurement.merge_staged(import_id bigint, "position" bigint) returns procurement.import_result
language plpgsql volatile security definer set search_path = '' set jit = off
as $$
declare
  import  procurement.imports;
  pattern text;
  part    procurement.import_result;
  result  procurement.import_result := (0, 0, 0, 0, 0);
begin
  select * into import from procurement.imports as known where known.id = merge_staged.import_id for update;
  if import.id is null or import.finished_at is not null then
    raise exception using errcode = 'PT404', message = 'There is no such import, or it is done.', column = 'import_id';
  end if;
  -- Imports of one source take turns: their batches may name the same contracts and companies in another order.
  perform pg_advisory_xact_lock(hashtext('procurement.merge_staged'));
  select source.bin_pattern into pattern from procurement.sources as source where source.code = import.source_code;

  insert into procurement.regions (code, name)
  select distinct on (staged.record ->> 'region')
    staged.record ->> 'region', left(coalesce(staged.record ->> 'region_name', staged.record ->> 'region'), 200)
  from procurement.staged_records as staged
  where staged.import_id = import.id and staged.record ->> 'region' ~ '^[A-Za-z0-9-]{1,20}$'
  order by staged.record ->> 'region', staged.line
  on conflict on constraint regions_pkey do nothing;
  perform procurement._merge_companies(import, pattern);
  for part in
    select merged.* from procurement._count_companies(import, pattern) as merged
    union all select merged.* from procurement._merge_plans(import, pattern) as merged
    union all select merged.* from procurement._merge_contracts(import, pattern) as merged
    union all select merged.* from procurement._merge_units(import) as merged
    union all select merged.* from procurement._merge_payments(import) as merged
    union all select merged.* from procurement._merge_acts(import) as merged
  loop
    result := (
      result.read + part.read, result.added + part.added, result.changed + part.changed, result.known + part.known,
      result.rejected + part.rejected
    );
  end loop;
  delete from procurement.staged_records as staged where staged.import_id = import.id;
  update procurement.imports as known
  set
    "position" = merge_staged.position, added = known.added + result.added, changed = known.changed + result.changed,
    known = known.known + result.known, rejected = known.rejected + result.rejected
  where known.id = import.id;
  return result;
end;
$$;
comment on function procurement.merge_staged is
  'Takes in what was copied to staged_records for an import, and notes how far it has come, in one transaction.

@hide';

create function procurement.reject_record(import_id bigint, line bigint, reason text) returns void
language sql volatile security definer set search_path = ''
as $$
  insert into procurement.rejects (import_id, line, reason) values (import_id, line, left(reason, 1000));
  update procurement.imports as known set rejected = rejected + 1 where known.id = import_id;
$$;
comment on function procurement.reject_record is
  'Notes a record that could not even be read.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: indicators
-- --------------------------------------------------------------------------------------------
-- Each gives a verdict on everything (`roots` and `companies` null), or on what is named: contracts by their first
-- version, pairs by a company of theirs. Plain SQL without a search_path of its own, so that Postgres puts it into the
-- statement that asks: what is not flagged then costs no more than to see so.

create function procurement.super_dumping(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  select
    contract.id, contract.fiscal_year, contract.customer_bin, contract.supplier_bin, array[contract.region_code],
    case
      when contract.obstacle is not null then 'not_computable'
      when contract.discount > (thresholds ->> 'percent')::double precision then 'flagged'
      else 'clear'
    end::procurement.outcome,
    contract.discount,
    jsonb_strip_nulls(jsonb_build_object(
      'plan_sum', contract.plan_sum, 'contract_sum', contract.contract_sum, 'plan_sum_vat', contract.plan_sum_vat,
      'contract_sum_vat', contract.contract_sum_vat
    )),
    coalesce(contract.obstacle, format(
      'The agreed sum is %s %% below the planned one; over %s %% is remarkable.', round(contract.discount::numeric, 2),
      thresholds ->> 'percent'
    ))
  from procurement._analysed as contract
  where roots is null or contract.id = any (roots);
end;
comment on function procurement.super_dumping is
  'Agreed far below plan: (P − C) · 100 / P > percent.

@hide';

create function procurement.minimal_dumping(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  select
    contract.id, contract.fiscal_year, contract.customer_bin, contract.supplier_bin, array[contract.region_code],
    case
      when contract.obstacle is not null then 'not_computable'
      when contract.discount > (thresholds ->> 'over_percent')::double precision
        and contract.discount <= (thresholds ->> 'percent')::double precision then 'flagged'
      else 'clear'
    end::procurement.outcome,
    contract.discount,
    jsonb_strip_nulls(jsonb_build_object(
      'plan_sum', contract.plan_sum, 'contract_sum', contract.contract_sum, 'plan_sum_vat', contract.plan_sum_vat,
      'contract_sum_vat', contract.contract_sum_vat
    )),
    coalesce(contract.obstacle, format(
      'The agreed sum is %s %% below the planned one; over %s %% and up to %s %% is remarkable.',
      round(contract.discount::numeric, 4), thresholds ->> 'over_percent', thresholds ->> 'percent'
    ))
  from procurement._analysed as contract
  where roots is null or contract.id = any (roots);
end;
comment on function procurement.minimal_dumping is
  'Agreed just below plan: over_percent < (P − C) · 100 / P ≤ percent.

@hide';

-- Advances are not in first_paid_on; where one was agreed but the source does not tell which payment it was, the first
-- may be it.
create function procurement.fast_payment(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  select
    contract.id, contract.fiscal_year, contract.customer_bin, contract.supplier_bin, array[contract.region_code],
    case
      when contract.obstacle is not null or contract.first_paid_on is null or contract.signed_on is null
        then 'not_computable'
      when contract.has_advance then 'clear'
      when contract.first_paid_on - contract.signed_on < (thresholds ->> 'days')::integer then 'flagged'
      else 'clear'
    end::procurement.outcome,
    (contract.first_paid_on - contract.signed_on)::double precision,
    jsonb_build_object(
      'signed_on', contract.signed_on, 'first_paid_on', contract.first_paid_on, 'has_advance', contract.has_advance
    ),
    case
      when contract.obstacle is not null then contract.obstacle
      when contract.signed_on is null then 'The day it was signed is missing.'
      when contract.first_paid_on is null then 'No payment is known but advances.'
      when contract.has_advance then 'An advance was agreed: an early payment is explained by it.'
      else format(
        'It was first paid %s days after it was signed; less than %s days are remarkable.',
        contract.first_paid_on - contract.signed_on, thresholds ->> 'days'
      )
    end
  from procurement._analysed as contract
  where (roots is null or contract.id = any (roots))
    and contract.type_code = any (array(select jsonb_array_elements_text(thresholds -> 'types')));
end;
comment on function procurement.fast_payment is
  'Paid soon after it was signed: first payment − signing < days, for contracts of the types.

@hide';

-- The last version against the first. 0 executed is not executed yet: nothing to compare with.
create function procurement._growth(root uuid[]) returns table (
  root_id uuid, sum_growth double precision, actual_growth double precision, inputs jsonb
)
language sql stable parallel safe
begin atomic
  select
    first.id,
    case
      when first.contract_sum > 0 and last.contract_sum > 0
        then (last.contract_sum::double precision - first.contract_sum::double precision) * 100
          / first.contract_sum::double precision
      when first.contract_sum_vat > 0 and last.contract_sum_vat > 0
        then (last.contract_sum_vat::double precision - first.contract_sum_vat::double precision) * 100
          / first.contract_sum_vat::double precision
    end,
    case
      when first.actual_sum > 0 and last.actual_sum > 0
        then (last.actual_sum::double precision - first.actual_sum::double precision) * 100
          / first.actual_sum::double precision
      when first.actual_sum_vat > 0 and last.actual_sum_vat > 0
        then (last.actual_sum_vat::double precision - first.actual_sum_vat::double precision) * 100
          / first.actual_sum_vat::double precision
    end,
    jsonb_strip_nulls(jsonb_build_object(
      'first_sum', first.contract_sum, 'last_sum', last.contract_sum, 'first_sum_vat', first.contract_sum_vat,
      'last_sum_vat', last.contract_sum_vat, 'first_actual', first.actual_sum, 'last_actual', last.actual_sum,
      'first_actual_vat', first.actual_sum_vat, 'last_actual_vat', last.actual_sum_vat, 'last_version', last.version
    ))
  from (
    select distinct on (version.root_id) version.*
    from procurement.contracts as version
    join procurement.contract_statuses as status on status.code = version.status_code and status.is_analysed
    where version.root_id <> version.id and (root is null or version.root_id = any (root))
    order by version.root_id, version.version desc, version.signed_on desc nulls last, version.id desc
  ) as last
  join procurement.contracts as first on first.id = last.root_id
  where root is null or first.id = any (root);
end;

create function procurement.sum_growth(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  select
    contract.id, contract.fiscal_year, contract.customer_bin, contract.supplier_bin, array[contract.region_code],
    case
      when contract.obstacle is not null then 'not_computable'
      when grown.sum_growth > (thresholds ->> 'percent')::double precision then 'flagged'
      when grown.root_id is not null and grown.sum_growth is null then 'not_computable'
      else 'clear'
    end::procurement.outcome,
    grown.sum_growth,
    coalesce(grown.inputs, jsonb_build_object('last_version', contract.version)),
    case
      when contract.obstacle is not null then contract.obstacle
      when grown.root_id is null then 'It has no later version.'
      when grown.sum_growth is null then
        'The agreed sums of the first and the last version are not both known and over zero, alike without or with VAT.'
      else format(
        'From the first version to the last the agreed sum grew by %s %%; over %s %% is remarkable.',
        round(grown.sum_growth::numeric, 2), thresholds ->> 'percent'
      )
    end
  from procurement._analysed as contract
  left join procurement._growth(roots) as grown on grown.root_id = contract.id
  where roots is null or contract.id = any (roots);
end;
comment on function procurement.sum_growth is
  'The agreed sum grew: (S last − S first) · 100 / S first > percent.

@hide';

create function procurement.actual_growth(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  select
    contract.id, contract.fiscal_year, contract.customer_bin, contract.supplier_bin, array[contract.region_code],
    case
      when contract.obstacle is not null then 'not_computable'
      when grown.actual_growth > (thresholds ->> 'percent')::double precision then 'flagged'
      when grown.root_id is not null and grown.actual_growth is null then 'not_computable'
      else 'clear'
    end::procurement.outcome,
    grown.actual_growth,
    coalesce(grown.inputs, jsonb_build_object('last_version', contract.version)),
    case
      when contract.obstacle is not null then contract.obstacle
      when grown.root_id is null then 'It has no later version.'
      when grown.actual_growth is null then
        'What was executed of the first and the last version is not both known and over zero: 0 is not executed yet.'
      else format(
        'From the first version to the last what was executed grew by %s %%; over %s %% is remarkable.',
        round(grown.actual_growth::numeric, 2), thresholds ->> 'percent'
      )
    end
  from procurement._analysed as contract
  left join procurement._growth(roots) as grown on grown.root_id = contract.id
  where roots is null or contract.id = any (roots);
end;
comment on function procurement.actual_growth is
  'What was executed grew: (F last − F first) · 100 / F first > percent.

@hide';

-- Only pairs with enough contracts are judged. Everything is counted in one pass; of what is named, an index finds the
-- contracts of the pairs in question. The regions are those of all contracts that the shares count.
create function procurement.partnership(thresholds jsonb, roots uuid[], companies text[])
returns setof procurement.verdict
language sql stable parallel safe
begin atomic
  with named as materialized (
    select contract.customer_bin, contract.supplier_bin
    from procurement._analysed as contract
    where companies is not null and contract.obstacle is null
      and contract.customer_bin is not null and contract.supplier_bin is not null
      and (contract.customer_bin = any (companies) or contract.supplier_bin = any (companies))
    group by contract.customer_bin, contract.supplier_bin
    having count(*) >= (thresholds ->> 'contracts')::integer
  ), pairs as (
    select contract.customer_bin, contract.supplier_bin, count(*) as contracts
    from procurement._analysed as contract
    where contract.obstacle is null and contract.customer_bin is not null and contract.supplier_bin is not null
      and (
        companies is null
        or contract.customer_bin = any (array(select named.customer_bin from named))
        or contract.supplier_bin = any (array(select named.supplier_bin from named))
      )
    group by contract.customer_bin, contract.supplier_bin
  ), counted as (
    select
      pairs.*, sum(pairs.contracts) over (partition by pairs.customer_bin) as of_customer,
      sum(pairs.contracts) over (partition by pairs.supplier_bin) as of_supplier
    from pairs
  )
  select
    null::uuid, null::integer, pair.customer_bin, pair.supplier_bin,
    array(
      select distinct contract.region_code
      from procurement._analysed as contract
      where contract.obstacle is null
        and (contract.customer_bin = pair.customer_bin or contract.supplier_bin = pair.supplier_bin)
      order by 1
    ),
    case
      when share.of_supplier > (thresholds ->> 'share')::double precision
        and share.of_customer > (thresholds ->> 'share')::double precision then 'flagged'
      else 'clear'
    end::procurement.outcome,
    least(share.of_supplier, share.of_customer),
    jsonb_build_object(
      'contracts', pair.contracts, 'of_supplier', pair.of_supplier, 'of_customer', pair.of_customer,
      'supplier_share', share.of_supplier, 'customer_share', share.of_customer
    ),
    format(
      'They have %s contracts with each other, of %s of the supplier and %s of the customer; over %s of both is '
        'remarkable.',
      pair.contracts, pair.of_supplier, pair.of_customer, thresholds ->> 'share'
    )
  from counted as pair
  cross join lateral (
    select
      (pair.contracts / pair.of_supplier)::double precision as of_supplier,
      (pair.contracts / pair.of_customer)::double precision as of_customer
  ) as share
  where pair.contracts >= (thresholds ->> 'contracts')::integer
    and (companies is null or pair.customer_bin = any (companies) or pair.supplier_bin = any (companies));
end;
comment on function procurement.partnership is
  'A customer and a supplier who have most of their contracts with each other.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: runs
-- --------------------------------------------------------------------------------------------

-- The first versions of what has been written since. Planned for this snapshot: an index finds the few, where a plan
-- for any snapshot would read everything.
create function procurement._changed_roots(since pg_snapshot) returns uuid[]
language plpgsql stable set search_path = ''
as $$
declare
  roots uuid[];
begin
  execute '
    select coalesce(array_agg(distinct root_id), ''{}'')
    from (
      select contract.root_id
      from procurement.contracts as contract
      where contract.changed_xid >= $1 and not pg_visible_in_snapshot(contract.changed_xid, $2)
      union all
      select left_behind.root_id from procurement.departures as left_behind
    ) as changed'
  into roots
  using pg_snapshot_xmin(since), since;
  return roots;
end;
$$;

create function procurement._changed_companies(roots uuid[]) returns text[]
language sql stable set search_path = ''
as $$
  select coalesce(array_agg(distinct bin) filter (where bin is not null), '{}')
  from (
    select unnest(array[contract.customer_bin, contract.supplier_bin]) as bin
    from procurement.contracts as contract
    where contract.id = any (roots)
    union all
    select unnest(array[left_behind.customer_bin, left_behind.supplier_bin])
    from procurement.departures as left_behind
  ) as named;
$$;

-- One indicator, over everything or over what is named. Its name is from the catalog, never from a caller.
create function procurement._judge(
  run procurement.indicator_runs, indicator procurement.indicators, thresholds jsonb, roots uuid[], companies text[]
) returns procurement.indicator_results
language plpgsql volatile set search_path = ''
as $$
declare
  began  timestamptz := clock_timestamp();
  result procurement.indicator_results;
begin
  if not run.is_trial then
    delete from procurement.findings as old
    where old.indicator_code = indicator.code
      and (
        roots is null
        or not indicator.is_of_pairs and old.contract_id = any (roots)
        or indicator.is_of_pairs and (old.customer_bin = any (companies) or old.supplier_bin = any (companies))
      );
  end if;
  execute format(
    'insert into procurement.%I (
       indicator_code, run_id, contract_id, fiscal_year, customer_bin, supplier_bin, region_codes, outcome, value,
       thresholds, inputs, reason
     )
     select
       $1, $2, contract_id, fiscal_year, customer_bin, supplier_bin, region_codes, outcome, value, $3, inputs, reason
     from procurement.%I($3, $4, $5)
     where outcome = any ($6)',
    case when run.is_trial then 'trial_findings' else 'findings' end, indicator.function
  ) using indicator.code, run.id, thresholds, roots, companies, indicator.keeps;
  execute format(
    'select
       count(*) filter (where outcome = ''flagged''), count(*) filter (where outcome = ''clear''),
       count(*) filter (where outcome = ''not_computable'')
     from procurement.%I($1, $2, $3)',
    indicator.function
  ) into result.flagged, result.clear, result.not_computable using thresholds, roots, companies;
  insert into procurement.indicator_results (
    run_id, indicator_code, version, thresholds, is_full, flagged, clear, not_computable, seconds
  )
  values (
    run.id, indicator.code, indicator.version, thresholds, roots is null, result.flagged, result.clear,
    result.not_computable, extract(epoch from clock_timestamp() - began)
  )
  returning * into result;
  return result;
end;
$$;

-- Repeatable read is not needed: `seen` is taken before anything is read, so what comes meanwhile is new to the next
-- run, even if this one has met it.
create function procurement.run_indicators(changed_only boolean default true)
returns procurement.indicator_runs
language plpgsql volatile security definer set search_path = '' set work_mem = '128MB' set jit = off
as $$
declare
  run       procurement.indicator_runs;
  indicator procurement.indicators;
  state     procurement.indicator_states;
  now_seen  pg_snapshot;
  now_mark  text := events._mark();
  since     pg_snapshot;
  roots     uuid[];
  companies text[];
  departed  bigint;
begin
  perform pg_advisory_xact_lock(hashtext('procurement.run_indicators'));
  now_seen := pg_current_snapshot();
  select max(left_behind.id) into departed from procurement.departures as left_behind;
  insert into procurement.indicator_runs (is_trial, changed_only, asked_by)
  values (false, run_indicators.changed_only, identity.current_user_id())
  returning * into run;

  for indicator in select * from procurement.indicators as known where known.is_on order by known.code loop
    select * into state from procurement.indicator_states as known where known.indicator_code = indicator.code;
    if not run_indicators.changed_only or state.version is distinct from indicator.version
      or state.mark is distinct from now_mark then
      perform procurement._judge(run, indicator, indicator.thresholds, null, null);
    else
      if since::text is distinct from state.seen::text then
        since := state.seen;
        roots := procurement._changed_roots(since);
        -- So many are faster looked at with all the others.
        if cardinality(roots) > 10000 then
          roots := null;
          companies := null;
        else
          companies := procurement._changed_companies(roots);
        end if;
      end if;
      perform procurement._judge(run, indicator, indicator.thresholds, roots, companies);
    end if;
    insert into procurement.indicator_states as known (indicator_code, version, mark, seen)
    values (indicator.code, indicator.version, now_mark, now_seen)
    on conflict on constraint indicator_states_pkey do update
    set version = excluded.version, mark = excluded.mark, seen = excluded.seen;
  end loop;

  delete from procurement.departures as left_behind where left_behind.id <= departed;
  perform events.publish(
    'region:' || told.region_code, 'findings_changed',
    jsonb_build_object('region_code', told.region_code, 'run_id', run.id, 'findings', told.findings)
  )
  from (
    select region_code, count(*) as findings
    from procurement.findings as finding
    cross join lateral unnest(finding.region_codes) as region_code
    where finding.run_id = run.id and finding.outcome = 'flagged'
      and cardinality(finding.region_codes) = 1 and region_code is not null
    group by region_code
    order by region_code
  ) as told;
  update procurement.indicator_runs as known set finished_at = clock_timestamp()
  where known.id = run.id
  returning * into run;
  return run;
end;
$$;
comment on function procurement.run_indicators is
  'Asks every indicator that is on: of what has changed since its last run, or of everything. One whose thresholds have
changed judges everything.

@notNull';

create function procurement._check_thresholds(indicator procurement.indicators, thresholds jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  merged jsonb := indicator.thresholds || coalesce(thresholds, '{}');
  key    text;
begin
  if jsonb_typeof(thresholds) <> 'object' then
    raise exception using errcode = 'PT400', message = 'Thresholds are an object.', column = 'thresholds';
  end if;
  for key in select jsonb_object_keys(merged) loop
    if jsonb_typeof(merged -> key) is distinct from jsonb_typeof(indicator.defaults -> key) then
      raise exception using errcode = 'PT400', column = 'thresholds',
        message = format('%s is not a threshold of this indicator, or not of this kind.', left(key, 50)),
        hint = format('Its thresholds are such as %s.', indicator.defaults);
    end if;
    if jsonb_typeof(merged -> key) = 'number' and abs((merged ->> key)::numeric) > 1000000 then
      raise exception using errcode = 'PT400', message = format('%s is out of range.', key), column = 'thresholds';
    end if;
  end loop;
  return merged;
end;
$$;

create function procurement.try_thresholds(indicator_code text, thresholds jsonb)
returns procurement.indicator_runs
language plpgsql volatile security definer set search_path = '' set work_mem = '128MB' set jit = off
as $$
declare
  run       procurement.indicator_runs;
  indicator procurement.indicators;
begin
  select * into indicator from procurement.indicators as known where known.code = try_thresholds.indicator_code;
  if indicator.code is null then
    raise exception using errcode = 'PT404', message = 'There is no such indicator.', column = 'indicator_code';
  end if;
  insert into procurement.indicator_runs (is_trial, changed_only, asked_by)
  values (true, false, identity.current_user_id())
  returning * into run;
  perform procurement._judge(
    run, indicator, procurement._check_thresholds(indicator, try_thresholds.thresholds), null, null
  );
  update procurement.indicator_runs as known set finished_at = clock_timestamp()
  where known.id = run.id
  returning * into run;
  return run;
end;
$$;
comment on function procurement.try_thresholds is
  'What an indicator would find with other thresholds: the findings of the run stand apart (`trialFindings`), and go
after 7 days. Thresholds that are left out are as they are.

@notNull';

create function procurement.set_thresholds(indicator_code text, thresholds jsonb)
returns procurement.indicators
language plpgsql volatile security definer set search_path = ''
as $$
#variable_conflict use_column
declare
  indicator procurement.indicators;
begin
  select * into indicator from procurement.indicators as known
  where known.code = set_thresholds.indicator_code
  for no key update;
  if indicator.code is null then
    raise exception using errcode = 'PT404', message = 'There is no such indicator.', column = 'indicator_code';
  end if;
  update procurement.indicators as known
  set thresholds = procurement._check_thresholds(indicator, set_thresholds.thresholds)
  where known.code = indicator.code
  returning * into indicator;
  return indicator;
end;
$$;
comment on function procurement.set_thresholds is
  'Changes thresholds of an indicator: its next run judges everything by them. Those that are left out are as they are.

@notNull';

create function procurement.judge_changes() returns bigint
language sql volatile set search_path = ''
as $$
  select (procurement.run_indicators(true)).id;
$$;
comment on function procurement.judge_changes is
  'What the schedule runs: run_indicators on what has changed; returns the run.

@hide';

create function procurement.expire_runs() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with expired as (
    delete from procurement.indicator_runs as run
    where run.is_trial and run.started_at < now() - interval '7 days'
      or run.started_at < now() - interval '90 days'
        and not exists (select from procurement.findings as finding where finding.run_id = run.id)
    returning 1
  )
  select count(*) from expired;
$$;
comment on function procurement.expire_runs is
  'Removes runs that tried thresholds more than 7 days ago, with what they found, and runs more than 90 days ago that no
finding is of; returns how many.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: what clients ask
-- --------------------------------------------------------------------------------------------

create function procurement.versions(contract procurement.contracts) returns setof procurement.contracts
language sql stable rows 2
begin atomic
  select version.*
  from procurement.contracts as version
  where version.root_id = contract.root_id and (version.root_id <> version.id)
  union all
  select first.* from procurement.contracts as first where first.id = contract.root_id;
end;
comment on function procurement.versions is 'All versions of the contract, the first one among them.

@order version, id';

create function procurement.root(contract procurement.contracts) returns setof procurement.contracts
language sql stable rows 1
begin atomic
  select first.* from procurement.contracts as first where first.id = contract.root_id;
end;
comment on function procurement.root is 'The first version; null where it was not imported.';

create function procurement.payments(contract procurement.contracts) returns setof procurement.payments
language sql stable rows 5
begin atomic
  select payment.* from procurement.payments as payment where payment.contract_id = contract.id;
end;
comment on function procurement.payments is 'What was paid for it.

@order paid_on, id';

create function procurement.units(contract procurement.contracts) returns setof procurement.contract_units
language sql stable rows 5
begin atomic
  select unit.* from procurement.contract_units as unit where unit.contract_id = contract.id;
end;
comment on function procurement.units is 'What it buys.';

create function procurement.acts(contract procurement.contracts) returns setof procurement.contract_acts
language sql stable rows 5
begin atomic
  select act.* from procurement.contract_acts as act where act.contract_id = contract.id;
end;
comment on function procurement.acts is 'What of it was done and taken over.';

create function procurement.plan(contract procurement.contracts) returns setof procurement.plans
language sql stable rows 1
begin atomic
  select plan.* from procurement.plans as plan where plan.id = contract.plan_id;
end;
comment on function procurement.plan is 'The plan that it carries out.';

create function procurement.findings(contract procurement.contracts) returns setof procurement.findings
language sql stable rows 2
begin atomic
  select finding.* from procurement.findings as finding where finding.contract_id = contract.root_id;
end;
comment on function procurement.findings is 'What indicators have found of it.

@order id';

create function procurement.contract(finding procurement.findings) returns setof procurement.contracts
language sql stable rows 1
begin atomic
  select contract.* from procurement.contracts as contract
  where contract.id = finding.contract_id and contract.fiscal_year = finding.fiscal_year;
end;
comment on function procurement.contract is 'The contract; null where the finding is of a pair.';

create function procurement.indicator(finding procurement.findings) returns setof procurement.indicators
language sql stable rows 1
begin atomic
  select indicator.* from procurement.indicators as indicator where indicator.code = finding.indicator_code;
end;
comment on function procurement.indicator is 'The indicator.';

create function procurement.run(finding procurement.findings) returns setof procurement.indicator_runs
language sql stable rows 1
begin atomic
  select run.* from procurement.indicator_runs as run where run.id = finding.run_id;
end;
comment on function procurement.run is 'The run that found it.';

create function procurement.customer(finding procurement.findings) returns setof procurement.companies
language sql stable rows 1
begin atomic
  select company.* from procurement.companies as company where company.bin = finding.customer_bin;
end;
comment on function procurement.customer is 'Who buys.';

create function procurement.supplier(finding procurement.findings) returns setof procurement.companies
language sql stable rows 1
begin atomic
  select company.* from procurement.companies as company where company.bin = finding.supplier_bin;
end;
comment on function procurement.supplier is 'Who sells.';

create function procurement.my_regions() returns setof procurement.regions
language sql stable rows 20
begin atomic
  select region.*
  from procurement.regions as region
  where region.code = any ((select procurement._granted_regions())::text[]);
end;
comment on function procurement.my_regions is 'The regions that the caller may look at.

@order code';

-- What is not kept is worked out anew, by the functions that make the findings.
create function procurement.explain_contract(contract_id uuid) returns setof procurement.explanation
language plpgsql stable security definer rows 5 set search_path = '' set jit = off
as $$
declare
  contract  procurement.contracts;
  indicator procurement.indicators;
  verdict   procurement.verdict;
  left_out  text;
begin
  select * into contract from procurement.contracts as known where known.id = explain_contract.contract_id limit 1;
  if contract.id is null or not procurement._may_see(array[contract.region_code]) then
    raise exception using errcode = 'PT404', message = 'There is no such contract.', column = 'contract_id';
  end if;
  if contract.root_id <> contract.id then
    left_out := 'It is a later version: the first one is judged.';
  else
    select
      case
        when not status.is_analysed then format('Contracts in the status %s are left out.', status.code)
        when not type.is_analysed then format('Contracts of the type %s are left out.', type.code)
      end
    into left_out
    from procurement.contract_statuses as status, procurement.contract_types as type
    where status.code = contract.status_code and type.code = contract.type_code;
  end if;

  for indicator in select * from procurement.indicators as known where known.is_on order by known.code loop
    verdict := null;
    if left_out is null then
      execute format(
        'select * from procurement.%I($1, $2, $3)
         where contract_id is not null or customer_bin = $4 and supplier_bin = $5',
        indicator.function
      )
      into verdict
      using indicator.thresholds, array[contract.id], array[contract.customer_bin], contract.customer_bin,
        contract.supplier_bin;
    end if;
    -- What a pair's shares count may lie in regions that the caller may not see.
    if verdict.region_codes is not null and not procurement._may_see(verdict.region_codes) then
      continue;
    end if;
    return next (
      indicator.code, indicator.name, indicator.formula, coalesce(verdict.outcome, 'not_computable'), verdict.value,
      indicator.thresholds, coalesce(verdict.inputs, '{}'),
      coalesce(verdict.reason, left_out, 'The indicator does not look at contracts of this kind, or of such pairs.')
    );
  end loop;
end;
$$;
comment on function procurement.explain_contract is
  'What each indicator says of a contract now: also where it is clear, or what is missing.';

create function procurement.formula(finding procurement.findings) returns text
language sql stable set search_path = ''
as $$
  select indicator.formula from procurement.indicators as indicator where indicator.code = finding.indicator_code;
$$;
comment on function procurement.formula is
  'How the indicator judges; with `inputs`, `thresholds` and `reason` it explains the finding.';

-- With the caller's rights: what they may not see is not counted.
create function procurement.contract_totals(
  "by" procurement.total_key default 'year', fiscal_year integer default null, region_code text default null
) returns setof procurement.contract_total
language sql stable rows 50
begin atomic
  select
    case "by"
      when 'year' then contract.fiscal_year::text
      when 'region' then contract.region_code
      when 'category' then contract.category
      when 'status' then contract.status_code::text
      else contract.type_code
    end,
    count(*), sum(contract.plan_sum), sum(contract.contract_sum), sum(contract.actual_sum), sum(contract.plan_sum_vat),
    sum(contract.contract_sum_vat), sum(contract.actual_sum_vat), count(found.contract_id)
  from procurement._analysed as contract
  left join (
    select distinct finding.contract_id
    from procurement.findings as finding
    where finding.outcome = 'flagged' and finding.contract_id is not null
  ) as found on found.contract_id = contract.id
  where (contract_totals.fiscal_year is null or contract.fiscal_year = contract_totals.fiscal_year)
    and (contract_totals.region_code is null or contract.region_code = contract_totals.region_code)
  group by 1
  order by 1;
end;
comment on function procurement.contract_totals is
  'Contracts that indicators look at, added up by year, region, category, status or type.';

create function procurement.listen_to_region(region_code text) returns setof events.position
language plpgsql stable security definer rows 1 set search_path = ''
as $$
begin
  if not exists (select from procurement.regions as known where known.code = listen_to_region.region_code)
    or not procurement._may_see(array[region_code]) then
    raise exception using errcode = 'PT404', message = 'There is no such region.', column = 'region_code';
  end if;
  return query
  select 'region:' || region_code, coalesce((
    select counted.last_seq from events.topics as counted where counted.topic = 'region:' || region_code
  ), 0);
end;
$$;
comment on function procurement.listen_to_region is
  'The right to listen to a region: for whom it was granted.

@hide';

create function procurement.region_events(event events.event) returns setof procurement.indicator_runs
language sql stable rows 1
begin atomic
  select run.*
  from (select (event.data ->> 'run_id')::bigint as id offset 0) as told
  left join procurement.indicator_runs as run on run.id = told.id;
end;
comment on function procurement.region_events is
  'That a run has found something in a region (`findings` in its data: how many), with the run.

@subscription procurement.listen_to_region
@shared';

-- --------------------------------------------------------------------------------------------
-- Triggers
-- --------------------------------------------------------------------------------------------

create function procurement._note_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' then
    new.changed_xid := pg_current_xact_id();
    if (new.root_id, new.customer_bin, new.supplier_bin)
      is not distinct from (old.root_id, old.customer_bin, old.supplier_bin) then
      return new;
    end if;
  end if;
  insert into procurement.departures (root_id, customer_bin, supplier_bin)
  values (old.root_id, old.customer_bin, old.supplier_bin);
  return new;
end;
$$;
create trigger note_change before update on procurement.contracts
  for each row execute function procurement._note_change();
create trigger note_removal after delete on procurement.contracts
  for each row execute function procurement._note_change();

-- Set by set: a batch of payments is one update.
create function procurement._note_payments() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  paid uuid[];
begin
  if tg_op = 'INSERT' then
    select array_agg(distinct contract_id) into paid from now_paid;
  elsif tg_op = 'DELETE' then
    select array_agg(distinct contract_id) into paid from was_paid;
  else
    select array_agg(distinct contract_id) into paid
    from (select contract_id from now_paid union all select contract_id from was_paid) as both_of;
  end if;
  update procurement.contracts as contract
  set first_paid_on = known.first_paid_on
  from (
    select named.contract_id, min(payment.paid_on) filter (where not payment.is_advance) as first_paid_on
    from unnest(paid) as named (contract_id)
    left join procurement.payments as payment on payment.contract_id = named.contract_id
    group by named.contract_id
  ) as known
  where contract.id = known.contract_id and contract.first_paid_on is distinct from known.first_paid_on;
  return null;
end;
$$;
create trigger note_new_payments after insert on procurement.payments
  referencing new table as now_paid for each statement execute function procurement._note_payments();
create trigger note_changed_payments after update on procurement.payments
  referencing old table as was_paid new table as now_paid
  for each statement execute function procurement._note_payments();
create trigger note_removed_payments after delete on procurement.payments
  referencing old table as was_paid for each statement execute function procurement._note_payments();

create function procurement._count_version() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.version := old.version + 1;
  return new;
end;
$$;
create trigger count_version before update on procurement.indicators
  for each row when (
    (old.thresholds, old.function, old.keeps) is distinct from (new.thresholds, new.function, new.keeps)
  )
  execute function procurement._count_version();

-- --------------------------------------------------------------------------------------------
-- Policies: who sees what
-- --------------------------------------------------------------------------------------------

alter table procurement.sources enable row level security;
alter table procurement.regions enable row level security;
alter table procurement.region_grants enable row level security;
alter table procurement.contract_types enable row level security;
alter table procurement.contract_statuses enable row level security;
alter table procurement.companies enable row level security;
alter table procurement.contracts enable row level security;
alter table procurement.departures enable row level security;
alter table procurement.plans enable row level security;
alter table procurement.contract_units enable row level security;
alter table procurement.payments enable row level security;
alter table procurement.contract_acts enable row level security;
alter table procurement.imports enable row level security;
alter table procurement.staged_records enable row level security;
alter table procurement.rejects enable row level security;
alter table procurement.indicators enable row level security;
alter table procurement.indicator_runs enable row level security;
alter table procurement.indicator_results enable row level security;
alter table procurement.indicator_states enable row level security;
alter table procurement.findings enable row level security;
alter table procurement.trial_findings enable row level security;

-- What is known of the trade itself is for everyone who is signed in.
create policy members_see_sources on procurement.sources for select to member, service using (true);
create policy members_see_regions on procurement.regions for select to member, service using (true);
create policy members_see_types on procurement.contract_types for select to member, service using (true);
create policy members_see_statuses on procurement.contract_statuses for select to member, service using (true);
create policy members_see_indicators on procurement.indicators for select to member, service using (true);
create policy members_see_runs on procurement.indicator_runs for select to member
  using (not is_trial and (select procurement._granted_regions()) <> '{}');

create policy users_see_their_regions on procurement.region_grants for select to member
  using (user_id = (select identity.current_user_id()));
create policy analysts_see_contracts_of_their_regions on procurement.contracts for select to member
  using (region_code = any ((select procurement._granted_regions())::text[]));
create policy analysts_see_plans_of_their_regions on procurement.plans for select to member
  using (region_code = any ((select procurement._granted_regions())::text[]));
create policy analysts_see_companies_of_their_contracts on procurement.companies for select to member
  using (
    region_code = any ((select procurement._granted_regions())::text[])
    or exists (select from procurement.contracts as contract where contract.customer_bin = bin)
    or exists (select from procurement.contracts as contract where contract.supplier_bin = bin)
  );
create policy analysts_see_units_of_their_contracts on procurement.contract_units for select to member
  using (exists (select from procurement.contracts as contract where contract.id = contract_id));
create policy analysts_see_payments_of_their_contracts on procurement.payments for select to member
  using (exists (select from procurement.contracts as contract where contract.id = contract_id));
create policy analysts_see_acts_of_their_contracts on procurement.contract_acts for select to member
  using (exists (select from procurement.contracts as contract where contract.id = contract_id));
create policy analysts_see_findings_of_their_regions on procurement.findings for select to member
  using (region_codes <@ (select procurement._granted_regions())::text[]);

create policy operators_see_region_grants on procurement.region_grants for select to operator, service using (true);
create policy operators_see_contracts on procurement.contracts for select to operator, service using (true);
create policy operators_see_plans on procurement.plans for select to operator, service using (true);
create policy operators_see_companies on procurement.companies for select to operator, service using (true);
create policy operators_see_units on procurement.contract_units for select to operator, service using (true);
create policy operators_see_payments on procurement.payments for select to operator, service using (true);
create policy operators_see_acts on procurement.contract_acts for select to operator, service using (true);
create policy operators_see_findings on procurement.findings for select to operator, service using (true);
create policy operators_see_trial_findings on procurement.trial_findings for select to operator, service using (true);
create policy operators_see_runs on procurement.indicator_runs for select to operator, service using (true);
create policy operators_see_results on procurement.indicator_results for select to operator, service using (true);
create policy operators_see_imports on procurement.imports for select to operator, service using (true);
create policy operators_see_rejects on procurement.rejects for select to operator, service using (true);

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on
  procurement.sources, procurement.regions, procurement.region_grants, procurement.contract_types,
  procurement.contract_statuses, procurement.companies, procurement.contracts, procurement.plans,
  procurement.contract_units, procurement.payments, procurement.contract_acts, procurement.indicators,
  procurement.indicator_runs, procurement.findings, procurement._analysed
to member, service;
grant select on
  procurement.indicator_results, procurement.trial_findings, procurement.imports, procurement.rejects
to operator, service;
revoke execute on all functions in schema procurement from public;
grant execute on function procurement._granted_regions to member;
grant execute on function
  procurement.versions, procurement.root, procurement.payments, procurement.units, procurement.acts, procurement.plan,
  procurement.findings, procurement.contract, procurement.indicator, procurement.run, procurement.customer,
  procurement.supplier, procurement.formula, procurement.my_regions, procurement.explain_contract,
  procurement.contract_totals, procurement.listen_to_region, procurement.region_events
to member;
grant execute on function procurement.grant_region, procurement.revoke_region, procurement.set_thresholds
to operator, service;
grant execute on function procurement.run_indicators, procurement.try_thresholds to operator, service;
grant execute on function
  procurement.begin_import, procurement.merge_staged, procurement.reject_record, procurement.finish_import to service;

-- --------------------------------------------------------------------------------------------
-- Indicators
-- --------------------------------------------------------------------------------------------

-- A DBA, and procurement.set_thresholds, change thresholds and what is on; applied again, the file leaves them.
insert into procurement.indicators (code, name, formula, reads, function, is_of_pairs, thresholds, defaults)
select code, name, formula, reads, code, is_of_pairs, thresholds, thresholds
from (
  values
    ('super_dumping', 'Agreed far below plan', '(P − C) · 100 / P > percent',
      '{contracts.plan_sum,contracts.contract_sum}'::text[], false, '{"percent": 30}'::jsonb),
    ('minimal_dumping', 'Agreed just below plan', 'over_percent < (P − C) · 100 / P ≤ percent',
      '{contracts.plan_sum,contracts.contract_sum}', false, '{"over_percent": 0, "percent": 1}'),
    ('fast_payment', 'Paid soon after signing', 'first payment − signing < days',
      '{contracts.signed_on,contracts.has_advance,payments.paid_on}', false, '{"days": 10, "types": ["annual"]}'),
    ('sum_growth', 'Agreed sum grown from version to version', '(S last − S first) · 100 / S first > percent',
      '{contracts.contract_sum,contracts.root_id}', false, '{"percent": 20}'),
    ('actual_growth', 'Executed sum grown from version to version', '(F last − F first) · 100 / F first > percent',
      '{contracts.actual_sum,contracts.root_id}', false, '{"percent": 20}'),
    ('partnership', 'A customer and a supplier who have each other',
      'N of both / N of the supplier > share and N of both / N of the customer > share, N of both ≥ contracts',
      '{contracts.customer_bin,contracts.supplier_bin}', true, '{"share": 0.5, "contracts": 5}')
) as listed (code, name, formula, reads, is_of_pairs, thresholds)
on conflict (code) do update
set name = excluded.name, formula = excluded.formula, reads = excluded.reads, function = excluded.function,
  is_of_pairs = excluded.is_of_pairs, defaults = excluded.defaults;

insert into jobs.tasks (name, description, function, runs_alone)
values ('run indicators', 'Asks the indicators of contracts that have changed.', 'procurement.judge_changes', true)
on conflict (name) do update set description = excluded.description, function = excluded.function;
insert into jobs.schedules (name, cron, task)
values ('run indicators', '*/10 * * * *', 'run indicators')
on conflict (name) do nothing;
insert into jobs.schedules (name, cron, function)
values ('expire indicator runs', '50 3 * * *', 'procurement.expire_runs')
on conflict (name) do update set cron = excluded.cron, function = excluded.function;

-- ============================================================================================
-- stats: figures of each day and each minute
-- ============================================================================================

create schema stats;
comment on schema stats is 'Figures of each day and each minute.';
grant usage on schema stats to plinth_server, operator, service;

-- --------------------------------------------------------------------------------------------
-- Types
-- --------------------------------------------------------------------------------------------

create type stats.metric_name as enum (
  'cpu_usage', 'memory_usage', 'disk_usage', 'network_io', 'active_connections', 'message_rate', 'error_rate',
  'response_time'
);
comment on type stats.metric_name is
  'Shares from 0 to 1 (usage, error rate), bytes a second (network), messages a second, milliseconds (response time).';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table stats.daily_stats (
  stat_date          date        primary key,
  total_users        bigint      not null default 0,
  active_users       bigint      not null default 0,
  new_users          bigint      not null default 0,
  total_rooms        bigint      not null default 0,
  new_rooms          bigint      not null default 0,
  total_messages     bigint      not null default 0,
  new_messages       bigint      not null default 0,
  storage_used_bytes bigint,                                        -- null: the day was over when it was first counted
  counted_at         timestamptz not null default now()
);
comment on table  stats.daily_stats                    is 'What each day (UTC) brought, and what there was at its end.';
comment on column stats.daily_stats.stat_date          is 'The day.';
comment on column stats.daily_stats.total_users        is 'Users at its end.';
comment on column stats.daily_stats.active_users       is 'Users who wrote a message or signed in.';
comment on column stats.daily_stats.new_users          is 'Users who signed up.';
comment on column stats.daily_stats.total_rooms        is 'Rooms that had been made by its end.';
comment on column stats.daily_stats.new_rooms          is 'Rooms that were made.';
comment on column stats.daily_stats.total_messages     is 'Messages that had been sent by its end.';
comment on column stats.daily_stats.new_messages       is 'Messages that were sent.';
comment on column stats.daily_stats.storage_used_bytes is
  'The size of the database when the day was first counted; null where that was long after.';
comment on column stats.daily_stats.counted_at         is 'When this was counted.';

create table stats.system_metrics (
  id           bigint            generated always as identity primary key,
  metric_name  stats.metric_name not null,
  metric_value double precision  not null,
  server_id    text              not null,
  measured_at  timestamptz       not null default now(),

  constraint server_id_is_at_most_100_characters check (char_length(server_id) <= 100)
);
comment on table  stats.system_metrics              is 'What was measured each minute, for 30 days.';
comment on column stats.system_metrics.id           is 'The key.';
comment on column stats.system_metrics.metric_name  is 'What was measured.';
comment on column stats.system_metrics.metric_value is 'What it was.';
comment on column stats.system_metrics.server_id    is 'Where: a machine, a process, or the database.';
comment on column stats.system_metrics.measured_at  is 'When.';
-- A metric over time; what stats.expire_metrics looks for.
create index system_metrics_metric_name_measured_at_id_idx
  on stats.system_metrics (metric_name, measured_at desc, id desc);
create index system_metrics_measured_at_idx on stats.system_metrics (measured_at);

-- --------------------------------------------------------------------------------------------
-- Functions
-- --------------------------------------------------------------------------------------------

-- The first day that anything happened.
create function stats._first_day() returns date
language sql stable set search_path = ''
as $$
  select least(
    (select min(created_at) from identity.users),
    (select public.uuid_v7_time(id) from chat.messages order by id limit 1)
  )::date;
$$;

-- Counts from the rows themselves, so that a day may be counted again, and a day that nobody counted is made up for.
-- Those who signed in are known only while their sessions are kept: a later count does not take them away.
create function stats.update_daily_stats(since date default null) returns integer
language plpgsql volatile security definer set search_path = '' set timezone = 'UTC' set jit = off
as $$
declare
  last  date := (now() - interval '1 day')::date;
  first date := coalesce(
    since,
    (
      select min(day)::date
      from generate_series(stats._first_day(), last, interval '1 day') as day
      where not exists (select from stats.daily_stats as known where known.stat_date = day::date)
    ),
    last
  );
  counted integer;
begin
  first := greatest(first, stats._first_day());
  perform pg_advisory_xact_lock(hashtext('stats.update_daily_stats'));
  with sent as materialized (
    select public.uuid_v7_time(message.id)::date as day, message.sender_id, count(*) as messages
    from chat.messages as message
    where message.id >= public.uuid_v7_floor(first) and message.id < public.uuid_v7_floor(last + 1)
    group by 1, 2
  ), written as (
    select day, sum(messages) as messages from sent group by day
  ), active as (
    select day, count(distinct user_id) as users
    from (
      select day, sender_id as user_id from sent
      union all
      select created_at::date, user_id from identity.sessions where created_at >= first and created_at < last + 1
    ) as doing
    group by day
  ), joined as (
    select created_at::date as day, count(*) as users from identity.users where created_at < last + 1 group by 1
  ), removed as (
    select removed_at::date as day, count(*) as users from identity.users where removed_at < last + 1 group by 1
  ), made as (
    select created_at::date as day, count(*) as rooms
    from chat.channels
    where kind = 'room' and created_at < last + 1
    group by 1
  )
  insert into stats.daily_stats as known (
    stat_date, total_users, active_users, new_users, total_rooms, new_rooms, new_messages, storage_used_bytes
  )
  select
    day::date,
    coalesce((select sum(users) from joined where joined.day <= each.day), 0)
      - coalesce((select sum(users) from removed where removed.day <= each.day), 0),
    coalesce(active.users, 0), coalesce(joined.users, 0),
    coalesce((select sum(rooms) from made where made.day <= each.day), 0),
    coalesce(made.rooms, 0), coalesce(written.messages, 0),
    case when each.day = last then pg_database_size(current_database()) end
  from generate_series(first, last, interval '1 day') as each (day)
  left join written using (day)
  left join active using (day)
  left join joined using (day)
  left join made using (day)
  on conflict on constraint daily_stats_pkey do update
  set
    total_users = excluded.total_users, new_users = excluded.new_users,
    active_users = greatest(known.active_users, excluded.active_users),
    total_rooms = excluded.total_rooms, new_rooms = excluded.new_rooms, new_messages = excluded.new_messages,
    storage_used_bytes = coalesce(known.storage_used_bytes, excluded.storage_used_bytes), counted_at = now();
  get diagnostics counted = row_count;

  -- What came before counts for each day after it.
  update stats.daily_stats as known
  set total_messages = summed.messages
  from (
    select stat_date, sum(new_messages) over (order by stat_date) as messages from stats.daily_stats
  ) as summed
  where summed.stat_date = known.stat_date and summed.messages <> known.total_messages;
  return counted;
end;
$$;
comment on function stats.update_daily_stats is
  'Counts the days since the last one that was counted, or those since a day again; returns how many.

@notNull';

create function stats.record_metrics(server_id text, metrics jsonb) returns void
language sql volatile security definer set search_path = ''
as $$
  insert into stats.system_metrics (metric_name, metric_value, server_id)
  select known.name, (metrics ->> known.name::text)::double precision, left(record_metrics.server_id, 100)
  from unnest(enum_range(null::stats.metric_name)) as known (name)
  where jsonb_typeof(metrics -> known.name::text) = 'number';
$$;
comment on function stats.record_metrics is
  'Writes what a process has measured: an object of metrics and their values.

@hide';

create function stats.measure_database() returns void
language sql volatile security definer set search_path = ''
as $$
  select stats.record_metrics('database', jsonb_build_object(
    'active_connections', (
      select count(*) from pg_catalog.pg_stat_activity where datname = current_database()
    ),
    'message_rate', (
      select count(*) / 60.0 from chat.messages where id >= public.uuid_v7_floor(now() - interval '1 minute')
    )
  ));
$$;
comment on function stats.measure_database is
  'Measures the connections, and the messages of the last minute.

@hide';

create function stats.expire_metrics() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with expired as (
    delete from stats.system_metrics where measured_at < now() - interval '30 days' returning 1
  )
  select count(*) from expired;
$$;
comment on function stats.expire_metrics is
  'Removes what was measured more than 30 days ago; returns how many.

@hide';

-- --------------------------------------------------------------------------------------------
-- Policies, grants
-- --------------------------------------------------------------------------------------------

alter table stats.daily_stats enable row level security;
alter table stats.system_metrics enable row level security;
create policy operators_see_days on stats.daily_stats for select to operator, service using (true);
create policy operators_see_metrics on stats.system_metrics for select to operator, service using (true);

grant select on stats.daily_stats, stats.system_metrics to operator, service;
revoke execute on all functions in schema stats from public;
grant execute on function stats.update_daily_stats to operator, service;
grant execute on function stats.record_metrics to plinth_server, service;

-- ============================================================================================
-- operations: upkeep, backups, and the health of the database
-- ============================================================================================

create schema operations;
comment on schema operations is 'Upkeep, backups, and the health of the database.';
grant usage on schema operations to operator, service;

-- --------------------------------------------------------------------------------------------
-- Types: backups
-- --------------------------------------------------------------------------------------------

create type operations.backup_kind as enum ('daily', 'weekly', 'monthly');
comment on type operations.backup_kind is 'How long a backup is kept: 7 days, 30 days, for ever.';

create type operations.backup_form as enum ('portable', 'pg_dump');
comment on type operations.backup_form is 'Who wrote it: Plinth, for every version of Postgres; or pg_dump.';

create type operations.backup_state as enum ('running', 'finished', 'proven', 'failed');
comment on type operations.backup_state is
  'How far a backup is. It counts once it is proven: restored, and found equal.';

create type operations.backup_verdict as enum ('good', 'late', 'failing', 'missing');
comment on type operations.backup_verdict is
  'Good: one of the last 26 hours is proven. Late: the newest is older. Failing: it is, and what was tried since failed.
Missing: none is proven.';

create type operations.backup_health as (
  verdict         operations.backup_verdict,
  newest          text,
  begun_at        timestamptz,
  lost_seconds    double precision,
  restore_seconds double precision,
  bytes           bigint,
  problem         text
);
comment on type   operations.backup_health                 is 'How well the data is backed up.';
comment on column operations.backup_health.verdict         is 'The judgement.';
comment on column operations.backup_health.newest          is 'The newest proven backup; null for none.';
comment on column operations.backup_health.begun_at        is 'The moment whose data it holds.';
comment on column operations.backup_health.lost_seconds    is 'How much would be lost now: its age (RPO), in seconds.';
comment on column operations.backup_health.restore_seconds is
  'How long its restore took when it was proven (RTO), in seconds.';
comment on column operations.backup_health.bytes           is 'Its size.';
comment on column operations.backup_health.problem         is
  'Why the newest backup failed; null where it has not.';

-- --------------------------------------------------------------------------------------------
-- Types: what health tells
-- --------------------------------------------------------------------------------------------

create type operations.health_verdict as enum ('ok', 'warn', 'critical', 'unknown');
comment on type operations.health_verdict is
  'What a check came to; unknown where a right or a library is missing that it needs.';

create type operations.health_check as (
  name      text,
  area      text,
  value     numeric,
  unit      text,
  threshold numeric,
  verdict   operations.health_verdict,
  detail    text,
  remedy    text
);
comment on type   operations.health_check           is 'One thing that was looked at, and what it came to.';
comment on column operations.health_check.name      is 'What was looked at.';
comment on column operations.health_check.area      is 'What it belongs to: connections, storage, replication, …';
comment on column operations.health_check.value     is 'What was found, in `unit`; null: nothing to measure.';
comment on column operations.health_check.unit      is 'What the value is counted in.';
comment on column operations.health_check.threshold is 'The bound that was crossed, or else the first one.';
comment on column operations.health_check.verdict   is 'What it came to.';
comment on column operations.health_check.detail    is 'Where it was found; null where nothing stands out.';
comment on column operations.health_check.remedy    is 'What to do about it; null where it is ok.';

create type operations.slow_query as (
  query              text,
  query_id           bigint,
  role               text,
  calls              bigint,
  total_milliseconds numeric,
  mean_milliseconds  numeric,
  max_milliseconds   numeric,
  rows               bigint,
  cache_hit_percent  numeric,
  temporary_bytes    bigint
);
comment on type   operations.slow_query                    is 'A statement that took long at least once.';
comment on column operations.slow_query.query              is 'Its text, without any value in it.';
comment on column operations.slow_query.query_id           is 'What Postgres knows it by.';
comment on column operations.slow_query.role               is 'The role that it ran as.';
comment on column operations.slow_query.calls              is 'How often it ran.';
comment on column operations.slow_query.total_milliseconds is 'How long it ran, all together.';
comment on column operations.slow_query.mean_milliseconds  is 'How long it ran on average.';
comment on column operations.slow_query.max_milliseconds   is 'How long the slowest of them ran.';
comment on column operations.slow_query.rows               is 'How many rows it gave, all together.';
comment on column operations.slow_query.cache_hit_percent  is 'The share of its blocks that memory held; null: none.';
comment on column operations.slow_query.temporary_bytes    is 'What it wrote to disk for want of memory.';

create type operations.query_totals as (
  since                timestamptz,
  total_queries        bigint,
  slow_queries         bigint,
  total_milliseconds   numeric,
  average_milliseconds numeric,
  slow_percent         numeric,
  is_flagged           boolean
);
comment on type   operations.query_totals                      is 'What all statements came to, as Postgres counts.';
comment on column operations.query_totals.since                is 'When the counting began.';
comment on column operations.query_totals.total_queries        is 'How many statements ran.';
comment on column operations.query_totals.slow_queries         is 'How many of them were slow, at least.';
comment on column operations.query_totals.total_milliseconds   is 'How long they ran, all together.';
comment on column operations.query_totals.average_milliseconds is 'How long one ran on average.';
comment on column operations.query_totals.slow_percent         is 'The share of slow ones.';
comment on column operations.query_totals.is_flagged           is 'Whether more than 1 % were slow.';

create type operations.table_size as (
  schema            text,
  name              text,
  partitions        integer,
  rows              bigint,
  total_bytes       bigint,
  table_bytes       bigint,
  index_bytes       bigint,
  dead_rows         bigint,
  dead_percent      numeric,
  sequential_scans  bigint,
  index_scans       bigint,
  written_rows      bigint,
  cache_hit_percent numeric,
  vacuumed_at       timestamptz,
  analyzed_at       timestamptz
);
comment on type   operations.table_size                   is 'The size and the use of a table with its partitions.';
comment on column operations.table_size.schema            is 'The schema of the table.';
comment on column operations.table_size.name              is 'The name of the table.';
comment on column operations.table_size.partitions        is 'How many partitions hold its rows; 0: it has none.';
comment on column operations.table_size.rows              is 'About how many rows it has.';
comment on column operations.table_size.total_bytes       is 'All of it on disk.';
comment on column operations.table_size.table_bytes       is 'The rows, with their long values (TOAST).';
comment on column operations.table_size.index_bytes       is 'The indexes.';
comment on column operations.table_size.dead_rows         is 'About how many rows wait for a vacuum.';
comment on column operations.table_size.dead_percent      is 'Their share of all rows.';
comment on column operations.table_size.sequential_scans  is 'How often it was read from one end to the other.';
comment on column operations.table_size.index_scans       is 'How often it was read by an index.';
comment on column operations.table_size.written_rows      is 'Rows inserted, updated and deleted.';
comment on column operations.table_size.cache_hit_percent is 'The share of blocks that memory held; null: none read.';
comment on column operations.table_size.vacuumed_at       is 'When it, or the last of its partitions, was vacuumed.';
comment on column operations.table_size.analyzed_at       is 'When it, or the last of its partitions, was analyzed.';

create type operations.table_bloat as (
  schema          text,
  name            text,
  table_bytes     bigint,
  bloat_bytes     bigint,
  bloat_percent   numeric
);
comment on type   operations.table_bloat               is 'About how much of a table is empty space.';
comment on column operations.table_bloat.schema        is 'The schema of the table or partition.';
comment on column operations.table_bloat.name          is 'The name of the table or partition.';
comment on column operations.table_bloat.table_bytes   is 'What its rows take on disk.';
comment on column operations.table_bloat.bloat_bytes   is 'What they would not need, estimated from its statistics.';
comment on column operations.table_bloat.bloat_percent is 'The share of that.';

create type operations.index_finding as enum ('unused', 'duplicate', 'invalid', 'missing');
comment on type operations.index_finding is
  'unused: no query has read it since counting began. duplicate: another index of the table serves all that it does.
invalid: a build that failed left it; writes keep it, queries do not use it. missing: a foreign key without one.';

create type operations.index_use as (
  schema     text,
  table_name text,
  name       text,
  columns    text,
  bytes      bigint,
  scans      bigint,
  finding    operations.index_finding,
  detail     text
);
comment on type   operations.index_use            is 'The use of an index with its partitions.';
comment on column operations.index_use.schema     is 'The schema of the table.';
comment on column operations.index_use.table_name is 'The table.';
comment on column operations.index_use.name       is 'The index; null where a foreign key has none.';
comment on column operations.index_use.columns    is 'What it is over, in order.';
comment on column operations.index_use.bytes      is 'Its size on disk.';
comment on column operations.index_use.scans      is 'How often queries have read it.';
comment on column operations.index_use.finding    is 'What is wrong with it; null: nothing.';
comment on column operations.index_use.detail     is 'The other index of a duplicate, or the foreign key without one.';

create type operations.long_transaction as (
  pid                 integer,
  role                text,
  application         text,
  state               text,
  wait                text,
  transaction_seconds numeric,
  state_seconds       numeric,
  query_id            bigint,
  held_transactions   bigint
);
comment on type   operations.long_transaction                     is 'A transaction that has been open for long.';
comment on column operations.long_transaction.pid                 is 'The process: pg_terminate_backend(pid) ends it.';
comment on column operations.long_transaction.role                is 'The role that logged in.';
comment on column operations.long_transaction.application         is 'What the client calls itself.';
comment on column operations.long_transaction.state               is 'What it does; idle in transaction: nothing.';
comment on column operations.long_transaction.wait                is 'What it waits for; null: nothing.';
comment on column operations.long_transaction.transaction_seconds is 'How long it has been open.';
comment on column operations.long_transaction.state_seconds       is 'How long it has been in that state.';
comment on column operations.long_transaction.query_id            is 'Its last statement, as in slowQueries.';
comment on column operations.long_transaction.held_transactions   is
  'How many later transactions no vacuum can clean up after, because of it; null: it holds none.';

create type operations.blocked_session as (
  pid                          integer,
  role                         text,
  application                  text,
  query_id                     bigint,
  waiting_seconds              numeric,
  lock                         text,
  relation                     text,
  blocking_pid                 integer,
  blocking_role                text,
  blocking_application         text,
  blocking_state               text,
  blocking_query_id            bigint,
  blocking_transaction_seconds numeric
);
comment on type   operations.blocked_session                              is 'Who waits for a lock, and who holds it.';
comment on column operations.blocked_session.pid                          is 'The process that waits.';
comment on column operations.blocked_session.role                         is 'The role that it logged in as.';
comment on column operations.blocked_session.application                  is 'What its client calls itself.';
comment on column operations.blocked_session.query_id                     is 'Its statement, as in slowQueries.';
comment on column operations.blocked_session.waiting_seconds              is 'How long it has been waiting.';
comment on column operations.blocked_session.lock                         is 'The kind of lock, and its mode.';
comment on column operations.blocked_session.relation                     is 'What the lock is on; null: no relation.';
comment on column operations.blocked_session.blocking_pid                 is 'The process that it waits for.';
comment on column operations.blocked_session.blocking_role                is 'The role of that one.';
comment on column operations.blocked_session.blocking_application         is 'What that client calls itself.';
comment on column operations.blocked_session.blocking_state               is 'What that one does.';
comment on column operations.blocked_session.blocking_query_id            is 'Its last statement.';
comment on column operations.blocked_session.blocking_transaction_seconds is 'How long its transaction has been open.';

create type operations.connection_count as (
  role            text,
  application     text,
  state           text,
  connections     bigint,
  longest_seconds numeric
);
comment on type   operations.connection_count                 is 'Connections to this database of one kind.';
comment on column operations.connection_count.role            is 'The role that logged in.';
comment on column operations.connection_count.application     is 'What the client calls itself.';
comment on column operations.connection_count.state           is 'What they do.';
comment on column operations.connection_count.connections     is 'How many there are.';
comment on column operations.connection_count.longest_seconds is 'How long the longest has been in that state.';

create type operations.number_headroom as (
  kind         text,
  name         text,
  used         numeric,
  most         numeric,
  used_percent numeric
);
comment on type   operations.number_headroom              is 'Numbers that run out, and how far they are used.';
comment on column operations.number_headroom.kind         is
  'sequence, transactions of a database or of a table, multixacts of a database.';
comment on column operations.number_headroom.name         is 'The sequence, database or table.';
comment on column operations.number_headroom.used         is 'How many are used.';
comment on column operations.number_headroom.most         is 'How many there are.';
comment on column operations.number_headroom.used_percent is 'The share that is used.';

create type operations.replication_state as (
  kind        text,
  name        text,
  state       text,
  is_active   boolean,
  lag_seconds numeric,
  lag_bytes   numeric,
  held_bytes  numeric
);
comment on type   operations.replication_state             is 'A replica that is connected, or a slot that keeps WAL.';
comment on column operations.replication_state.kind        is 'replica or slot.';
comment on column operations.replication_state.name        is 'What the replica calls itself, or the name of the slot.';
comment on column operations.replication_state.state       is 'How it follows, or what became of its WAL.';
comment on column operations.replication_state.is_active   is 'Whether someone is connected.';
comment on column operations.replication_state.lag_seconds is 'How far a replica is behind in time; null: not known.';
comment on column operations.replication_state.lag_bytes   is 'How far it is behind.';
comment on column operations.replication_state.held_bytes  is 'How much WAL a slot keeps from being removed.';

-- --------------------------------------------------------------------------------------------
-- Tables
-- --------------------------------------------------------------------------------------------

create table operations.backups (
  name            text                    primary key,
  kind            operations.backup_kind  not null,
  form            operations.backup_form  not null,
  parts           text                    not null default 'all',
  state           operations.backup_state not null default 'running',
  storage         text                    not null,
  started_at      timestamptz             not null default clock_timestamp(),
  finished_at     timestamptz,                      -- null: not yet, or never
  proven_at       timestamptz,                      -- null: not yet, or never
  removed_at      timestamptz,                      -- null: it is in the storage, as far as is known
  bytes           bigint,                           -- null: not finished
  row_count       bigint,                           -- null: not finished
  restore_seconds double precision,                 -- null: never restored to prove it
  error           text,                             -- null: none

  constraint parts_are_all_data_or_a_section  check (parts ~ '^[a-z_]+$'),
  constraint it_ends_after_it_starts          check (finished_at >= started_at),
  constraint what_failed_says_why             check ((state = 'failed') = (error is not null)),
  constraint what_is_proven_has_been_restored check ((state = 'proven') <= (proven_at is not null))
);
comment on table  operations.backups                 is 'The backups that were made or tried.

@order started_at desc';
comment on column operations.backups.name            is 'What it is called where it is stored.';
comment on column operations.backups.kind            is 'How long it is kept.';
comment on column operations.backups.form            is 'Who wrote it.';
comment on column operations.backups.parts           is
  '`all`, `data` for data without the schema, or the name of one section.';
comment on column operations.backups.state           is 'How far it is.';
comment on column operations.backups.storage         is 'Where it is stored.';
comment on column operations.backups.started_at      is 'When it began: it holds the data of that moment.';
comment on column operations.backups.finished_at     is 'When all of it was stored; null if it was not.';
comment on column operations.backups.proven_at       is
  'When it had been restored and was found equal; null if it was not.';
comment on column operations.backups.removed_at      is 'When it was removed; null while it is there.';
comment on column operations.backups.bytes           is 'Its size where it is stored.';
comment on column operations.backups.row_count       is 'How many rows it holds.';
comment on column operations.backups.restore_seconds is 'How long restoring it took, in seconds; null if it was not.';
comment on column operations.backups.error           is 'Why it failed; null if it did not.';
-- The newest first; what backup_status and expired_backups look for.
create index backups_started_at_idx on operations.backups (started_at desc);

-- A DBA edits warn and critical here; applied again, the file leaves them. A row that is deleted is not looked at,
-- until the file is applied again: null thresholds last.
create table operations.health_thresholds (
  name     text    primary key,
  area     text    not null,
  unit     text    not null,
  warn     numeric,                         -- null: never
  critical numeric,                         -- null: never
  is_least boolean not null default false,  -- true: it is less than the threshold that is bad
  remedy   text    not null
);
comment on table  operations.health_thresholds          is 'From when on a check of health is a warning, or critical.';
comment on column operations.health_thresholds.is_least is 'Whether less than the thresholds is bad, instead of more.';
insert into operations.health_thresholds (name, area, unit, warn, critical, is_least, remedy)
values
  ('connections used', 'connections', '%', 75, 90, false,
   'See databaseConnections; lower POOL_SIZE, end what is idle, or raise max_connections.'),
  ('longest transaction', 'transactions', 's', 300, 3600, false,
   'See longTransactions; select pg_terminate_backend(pid) ends one. It keeps vacuum from cleaning up.'),
  ('longest idle in transaction', 'transactions', 's', 60, 600, false,
   'See longTransactions; mend the client, end it, or set idle_in_transaction_session_timeout.'),
  ('oldest prepared transaction', 'transactions', 's', 300, 3600, false,
   'Finish it: commit prepared or rollback prepared, by its name in pg_prepared_xacts.'),
  ('longest wait for a lock', 'transactions', 's', 10, 60, false,
   'See blockedSessions; select pg_terminate_backend(blocking_pid) ends who holds it.'),
  ('transaction ids used', 'headroom', '%', 40, 75, false,
   'Vacuum the oldest tables of headroom: vacuum (freeze); end long transactions and unused slots first.'),
  ('multixact ids used', 'headroom', '%', 40, 75, false,
   'Vacuum the oldest tables: vacuum (freeze); end long transactions first.'),
  ('sequence used', 'headroom', '%', 75, 90, false,
   'Make the column and its sequence bigint before it runs out.'),
  ('cache hits', 'storage', '%', 95, 80, true,
   'Raise shared_buffers, or find what reads so much: slowQueries, tableSizes.'),
  ('bloat of a table', 'storage', '%', 50, 80, false,
   'See bloat; vacuum full or pg_repack gives the space back. Autovacuum may be too rare for the table.'),
  ('tables to vacuum', 'storage', 'tables', 1, 10, false,
   'Vacuum them; where it does not help, something holds old rows: longTransactions, replication.'),
  ('tables to analyze', 'storage', 'tables', 1, 10, false,
   'Analyze them: autovacuum is off, or does not keep up.'),
  ('broken checksums', 'storage', 'blocks', 1, 1, false,
   'The disk returned other bytes than were written: restore from a backup, and replace it.'),
  ('autovacuum off', 'storage', 'settings', 1, 1, false,
   'alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf().'),
  ('invalid indexes', 'indexes', 'indexes', 1, null, false,
   'See indexUsage; drop them and build them again: drop index concurrently, create index concurrently.'),
  ('duplicate indexes', 'indexes', 'indexes', 1, null, false,
   'See indexUsage; drop the one that another index serves for.'),
  ('unused indexes', 'indexes', 'indexes', 1, null, false,
   'See indexUsage; drop them, unless a replica reads them or a rare job needs them.'),
  ('foreign keys without an index', 'indexes', 'keys', 1, null, false,
   'See indexUsage; index the columns, or every delete of what they refer to reads the whole table.'),
  ('slow queries', 'queries', '%', 1, 10, false,
   'See slowQueries; ask for an explanation of the operation (docs/schema.md), and index what it filters by.'),
  ('notification queue', 'events', '%', 10, 50, false,
   'Someone who listens is in a transaction that does not end: longTransactions.'),
  ('days of the log missing ahead', 'events', 'days', 1, 5, false,
   'Run operations.ensure_partitions, and see why its schedule did not.'),
  ('days of the log overdue', 'events', 'days', 2, 14, false,
   'Run operations.expire_events, and see why its schedule did not.'),
  ('months of messages ahead', 'events', 'months', 2, 1, true,
   'Run operations.ensure_partitions, and see why its schedule did not.'),
  ('lag of a replica', 'replication', 's', 30, 300, false,
   'See replication; look for a long query on the replica, its disk, and the network.'),
  ('WAL held by a slot', 'replication', 'bytes', 1073741824, 10737418240, false,
   'See replication; bring its reader back, or select pg_drop_replication_slot(name).'),
  ('WAL archiving failed', 'replication', 'failures', 1, 1, false,
   'See pg_stat_archiver and the log of Postgres; until it succeeds WAL fills the disk.')
on conflict (name) do update
  set area = excluded.area, unit = excluded.unit, is_least = excluded.is_least, remedy = excluded.remedy;

-- No policy, no grant: operations.health reads it, and who is plinth_owner.
alter table operations.health_thresholds enable row level security;

-- --------------------------------------------------------------------------------------------
-- Functions: upkeep
-- --------------------------------------------------------------------------------------------

create function operations.ensure_partitions(since timestamptz default now(), months_ahead integer default 3)
returns integer
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if since < timestamptz '1990-01-01' or months_ahead not between 0 and 120 then
    raise exception using errcode = 'PT400', message = 'Partitions are made from 1990 on, at most 120 months ahead.';
  end if;
  perform events.ensure_partitions();
  return (
    select count(*) filter (where chat._ensure_partition(month))
    from generate_series(
      date_trunc('month', since, 'UTC'), now() + make_interval(months => months_ahead), interval '1 month'
    ) as month
  );
end;
$$;
comment on function operations.ensure_partitions is
  'Makes the monthly partitions of messages that are missing from `since` until `months_ahead`; returns how many. Makes
those of the event log for the coming days too.

@notNull';

create function operations.expire_codes() returns bigint
language sql volatile security definer set search_path = ''
return identity.expire_codes();
comment on function operations.expire_codes is
  'Removes codes, counts of tries and sessions that are over; returns how many rows.

@notNull';

create function operations.expire_events() returns integer
language sql volatile security definer set search_path = ''
return events.expire();
comment on function operations.expire_events is
  'Drops the days of the event log that are kept no longer; returns how many.

@notNull';

-- Reads all of them; once a day is often enough.
create function operations.expire_nonces() returns bigint
language sql volatile security definer set search_path = ''
as $$
  with expired as (
    delete from chat.nonces as used
    using identity.users as sender
    where sender.id = used.sender_id and sender.external_ref is null and used.created_at < now() - interval '30 days'
    returning 1
  )
  select count(*) from expired;
$$;
comment on function operations.expire_nonces is
  'Removes the names that clients gave to messages more than 30 days ago: sent again after that, it is another message.
Those of imported users stay, since an import relies on them. Returns how many.

@notNull';

create function operations.analyze_messages() returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  analyze chat.messages;
end;
$$;
comment on function operations.analyze_messages is
  'Renews the statistics of messages as a whole: autovacuum does so for each month, never for all of them together.';

-- --------------------------------------------------------------------------------------------
-- Functions: backups
-- --------------------------------------------------------------------------------------------

-- One at a time: the caller's connection holds a lock as long as it lives, so what still says that it runs does not.
create function operations.backup_started(
  name text, form operations.backup_form, storage text, parts text default 'all'
) returns operations.backup_kind
language plpgsql volatile security definer set search_path = ''
as $$
declare
  kind operations.backup_kind;
begin
  if not pg_try_advisory_lock(7546, 3) then
    raise exception using errcode = 'PT409', message = 'Another backup is running.',
      hint = 'Wait for it; operations.backups tells since when it runs.';
  end if;
  update operations.backups set state = 'failed', error = 'It was cut short.' where state = 'running';
  -- The first of a month is kept for ever, the first of a week for a month.
  select case
    when backup_started.parts <> 'all' then 'daily'
    when not coalesce(bool_or(
      done.kind = 'monthly' and done.started_at >= date_trunc('month', now(), 'UTC')
    ), false) then 'monthly'
    when not coalesce(bool_or(done.started_at >= date_trunc('week', now(), 'UTC')), false) then 'weekly'
    else 'daily'
  end
  into kind
  from operations.backups as done
  where done.parts = 'all' and done.state <> 'failed' and done.kind <> 'daily';
  insert into operations.backups (name, kind, form, storage, parts)
  values (backup_started.name, kind, backup_started.form, backup_started.storage, backup_started.parts);
  return kind;
end;
$$;
comment on function operations.backup_started is
  'Notes that a backup begins; returns how long it is to be kept. Only one runs at a time, as long as the connection.

@hide';

create function operations.backup_finished(name text, bytes bigint, row_count bigint) returns void
language sql volatile security definer set search_path = ''
as $$
  update operations.backups as backup
  set state = 'finished', finished_at = clock_timestamp(), bytes = backup_finished.bytes,
    row_count = backup_finished.row_count
  where backup.name = backup_finished.name;
$$;
comment on function operations.backup_finished is 'Notes that all of a backup is stored.

@hide';

create function operations.backup_proven(name text, restore_seconds double precision) returns void
language sql volatile security definer set search_path = ''
as $$
  update operations.backups as backup
  set state = 'proven', proven_at = clock_timestamp(), restore_seconds = backup_proven.restore_seconds, error = null
  where backup.name = backup_proven.name;
$$;
comment on function operations.backup_proven is
  'Notes that a backup was restored and found equal, and how many seconds that took.

@hide';

create function operations.backup_failed(name text, error text) returns void
language sql volatile security definer set search_path = ''
as $$
  update operations.backups as backup
  set state = 'failed', error = backup_failed.error
  where backup.name = backup_failed.name;
$$;
comment on function operations.backup_failed is 'Notes that a backup, or its proof, failed.

@hide';

-- After a restore the table is that of the moment of the backup: what is stored since is noted again.
create function operations.backup_found(
  name text, kind operations.backup_kind, form operations.backup_form, storage text, parts text,
  started_at timestamptz, finished_at timestamptz, bytes bigint, row_count bigint
) returns boolean
language sql volatile security definer set search_path = ''
as $$
  with noted as (
    insert into operations.backups as backup
      (name, kind, form, storage, parts, state, started_at, finished_at, bytes, row_count)
    values (
      backup_found.name, backup_found.kind, backup_found.form, backup_found.storage, backup_found.parts, 'finished',
      backup_found.started_at, backup_found.finished_at, backup_found.bytes, backup_found.row_count
    )
    on conflict on constraint backups_pkey do nothing
    returning 1
  )
  select exists (select from noted);
$$;
comment on function operations.backup_found is
  'Notes a backup that is in the storage; false where it is known already.

@hide';

create function operations.backup_removed(name text) returns void
language sql volatile security definer set search_path = ''
as $$
  update operations.backups as backup
  set removed_at = clock_timestamp()
  where backup.name = backup_removed.name and removed_at is null;
$$;
comment on function operations.backup_removed is 'Notes that a backup is in the storage no longer.

@hide';

-- Nothing goes before a newer one is proven, so the newest proven one never does; what was cut short holds nothing.
create function operations.expired_backups(now timestamptz default now()) returns setof operations.backups
language sql stable security definer set search_path = ''
as $$
  select backup.*
  from operations.backups as backup
  where backup.removed_at is null
    and case
      when backup.state = 'running' then false
      when backup.finished_at is null then backup.started_at < expired_backups.now - interval '1 day'
      else
        backup.started_at < expired_backups.now - case
          when backup.state = 'failed' or backup.kind = 'daily' then interval '7 days'
          when backup.kind = 'weekly' then interval '30 days'
        end
        and exists (
          select
          from operations.backups as newer
          where newer.state = 'proven' and newer.parts = 'all' and newer.removed_at is null
            and newer.started_at > backup.started_at
        )
    end
  order by backup.started_at;
$$;
comment on function operations.expired_backups is
  'The backups to remove: daily ones after 7 days, weekly ones after 30, monthly ones never; none before a newer one is
proven.

@hide';

create function operations.backup_status() returns operations.backup_health
language sql stable security definer set search_path = ''
as $$
  with proven as (
    select *
    from operations.backups
    where state = 'proven' and parts = 'all' and removed_at is null
    order by started_at desc
    limit 1
  ), newest as (
    select *
    from operations.backups
    where parts = 'all' and state <> 'running'
    order by started_at desc
    limit 1
  )
  select row(
    case
      when proven.name is null then 'missing'
      when proven.started_at > now() - interval '26 hours' then 'good'
      when newest.error is not null then 'failing'
      else 'late'
    end,
    proven.name, proven.started_at, extract(epoch from now() - proven.started_at), proven.restore_seconds, proven.bytes,
    newest.error
  )::operations.backup_health
  from (select) as always
  left join proven on true
  left join newest on true;
$$;
comment on function operations.backup_status is
  'How well the data is backed up: what would be lost now, how long a restore takes, and whether that is good.

@notNull';

-- What ran when the backup was made does not run here; the backup itself has just shown that it can be restored.
create function operations.restored(
  name text, started_at timestamptz, finished_at timestamptz, bytes bigint, row_count bigint,
  restore_seconds double precision
) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  beyond bigint := events._restored(restored.name);
begin
  update chat.channels set event_seq = event_seq + beyond;
  update jobs.runs set event_seq = event_seq + beyond;
  update operations.backups as backup
  set state = 'proven', finished_at = restored.finished_at, proven_at = clock_timestamp(), bytes = restored.bytes,
    row_count = restored.row_count, restore_seconds = restored.restore_seconds, error = null
  where backup.name = restored.name;
  update operations.backups set state = 'failed', error = 'It was cut short.' where state = 'running';
end;
$$;
comment on function operations.restored is
  'To be called once in a database that was restored from a backup: cursors of events from before are refused from here
on, and the table of backups tells what is so now.

@hide';

-- --------------------------------------------------------------------------------------------
-- Functions: health
-- --------------------------------------------------------------------------------------------

-- Over a catalog with many partitions some of these are worth compiling, by their estimated cost: that takes a second,
-- and running them as they are a tenth of it. Hence `set jit = off`.

-- Why what others do cannot be seen, as a remedy; null where it can.
create function operations._blind_to_sessions() returns text
language sql stable security definer set search_path = ''
return case
  when not pg_has_role(current_user, 'pg_read_all_stats', 'usage')
    then 'As a superuser: alter role plinth_owner inherit; grant pg_monitor to plinth_owner;'
end;

-- The same of statements. The setting is there when the library is loaded.
create function operations._blind_to_statements() returns text
language sql stable security definer set search_path = ''
return case
  when current_setting('pg_stat_statements.max', true) is null
    then 'Add pg_stat_statements to shared_preload_libraries, restart Postgres, create extension pg_stat_statements;'
  when not exists (select from pg_catalog.pg_extension where extname = 'pg_stat_statements')
    then 'As a superuser: create extension pg_stat_statements;'
  else operations._blind_to_sessions()
end;

-- Postgres keeps texts with $1 in place of values, of what it plans; of anything else (alter role … password) it keeps
-- them whole, and of what it plans as well where it forgot an entry too soon: no value leaves this function.
create function operations._without_values(query text) returns text
language sql immutable set search_path = ''
return case
  when query ~* '^[\s(]*(select|insert|update|delete|merge|with|values)\M' then regexp_replace(
    regexp_replace(query, '(''|\$[a-z_]*\$).*$', '''…', 'i'), '(?<![\w$."])\d[\w.]*', '…', 'g'
  )
  else coalesce(substring(query from '^\s*([a-zA-Z]+(?:\s+[a-zA-Z]+)?)'), '') || ' …'
end;

-- Of this database. Raises where they cannot be seen. Dynamic, as the extension may come later and in any schema.
create function operations._statements() returns table (
  query text, query_id bigint, role text, calls bigint, total double precision, mean double precision,
  longest double precision, rows bigint, hit bigint, read bigint, temporary bigint, since timestamptz
)
language plpgsql stable security definer set search_path = ''
as $$
declare
  place  text := (
    select extnamespace::regnamespace::text from pg_catalog.pg_extension where extname = 'pg_stat_statements'
  );
  remedy text := operations._blind_to_statements();
begin
  if remedy is not null then
    raise exception using errcode = 'PT409', message = 'Postgres does not tell of statements.', hint = remedy;
  end if;
  return query execute format(
    'select statement.query, statement.queryid, pg_get_userbyid(statement.userid)::text, statement.calls,
      statement.total_exec_time, statement.mean_exec_time, statement.max_exec_time, statement.rows,
      statement.shared_blks_hit, statement.shared_blks_read, statement.temp_blks_written, info.stats_reset
    from %1$s.pg_stat_statements(true) as statement, %1$s.pg_stat_statements_info() as info
    where statement.dbid = (select oid from pg_catalog.pg_database where datname = current_database())', place
  );
end;
$$;

create function operations.slow_queries(slow_milliseconds integer default 1000)
returns setof operations.slow_query
language sql stable security definer rows 50 set search_path = ''
as $$
  select operations._without_values(query), query_id, role, calls, round(total::numeric, 1), round(mean::numeric, 1),
    round(longest::numeric, 1), rows, round(100.0 * hit / nullif(hit + read, 0), 1),
    temporary * current_setting('block_size')::bigint
  from operations._statements()
  where longest >= slow_milliseconds
  order by total desc, query_id;
$$;
comment on function operations.slow_queries is
  'Statements that took `slow_milliseconds` (1000) or more at least once, those that cost most first; without values.
Needs pg_stat_statements.';

create function operations.query_totals(slow_milliseconds integer default 1000) returns operations.query_totals
language sql stable security definer set search_path = ''
as $$
  select since, total_queries, slow, round(milliseconds::numeric, 1),
    round((milliseconds / nullif(total_queries, 0))::numeric, 3), percent, coalesce(percent > 1, false)
  from (
    select *, round(100.0 * slow / nullif(total_queries, 0), 2) as percent
    from (
      select min(since) as since, coalesce(sum(calls), 0)::bigint as total_queries,
        coalesce(sum(total), 0) as milliseconds,
        -- Postgres keeps the mean and the longest of a statement: of a fast one that was slow, once is certain.
        coalesce(sum(
          case when mean >= slow_milliseconds then calls when longest >= slow_milliseconds then 1 else 0 end
        ), 0)::bigint as slow
      from operations._statements()
    ) as counted
  ) as shared;
$$;
comment on function operations.query_totals is
  'All statements since Postgres began to count: how many, how long, how many took `slow_milliseconds` (1000) or more.
Needs pg_stat_statements.';

create function operations.table_sizes() returns setof operations.table_size
language sql stable security definer rows 50 set search_path = '' set jit = off
as $$
  with leaves as (
    select coalesce(pg_partition_root(class.oid), class.oid::regclass) as root, class.oid, class.relispartition,
      greatest(class.reltuples, 0) as reltuples
    from pg_catalog.pg_class as class
    join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
    where class.relkind in ('r', 'm') and namespace.nspname !~ '^pg_(catalog|toast|temp)|^information_schema$'
  ), summed as (
    select leaves.root,
      count(*) filter (where leaves.relispartition) as partitions,
      sum(greatest(leaves.reltuples, used.n_live_tup)) as rows,
      sum(pg_total_relation_size(leaves.oid)) as total_bytes,
      sum(pg_table_size(leaves.oid)) as table_bytes,
      sum(pg_indexes_size(leaves.oid)) as index_bytes,
      sum(used.n_dead_tup) as dead, sum(used.n_live_tup) as live,
      sum(used.seq_scan) as sequential_scans, sum(used.idx_scan) as index_scans,
      sum(used.n_tup_ins + used.n_tup_upd + used.n_tup_del) as written,
      sum(blocks.heap_blks_hit) as hit, sum(blocks.heap_blks_read) as read,
      max(greatest(used.last_vacuum, used.last_autovacuum)) as vacuumed_at,
      max(greatest(used.last_analyze, used.last_autoanalyze)) as analyzed_at
    from leaves
    left join pg_catalog.pg_stat_all_tables as used on used.relid = leaves.oid
    left join pg_catalog.pg_statio_all_tables as blocks on blocks.relid = leaves.oid
    group by leaves.root
  )
  select namespace.nspname::text, class.relname::text, summed.partitions::integer, summed.rows::bigint,
    summed.total_bytes::bigint, summed.table_bytes::bigint, summed.index_bytes::bigint, summed.dead::bigint,
    round(100.0 * summed.dead / nullif(summed.dead + summed.live, 0), 1), summed.sequential_scans::bigint,
    coalesce(summed.index_scans, 0)::bigint, summed.written::bigint,
    round(100.0 * summed.hit / nullif(summed.hit + summed.read, 0), 1), summed.vacuumed_at, summed.analyzed_at
  from summed
  join pg_catalog.pg_class as class on class.oid = summed.root
  join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
  order by summed.total_bytes desc, 1, 2;
$$;
comment on function operations.table_sizes is
  'Every table with its partitions: rows, bytes, dead rows, scans, writes, cache hits, last vacuum; the largest first.';

-- What so many rows, so wide, would take at the table's fillfactor, with 24 bytes of header and 4 of pointer each.
create function operations.bloat() returns setof operations.table_bloat
language sql stable security definer rows 50 set search_path = '' set jit = off
as $$
  with measured as (
    select namespace.nspname as schema, class.relname as name, class.relpages::bigint * block.size as bytes,
      ceil(
        class.reltuples * (28 + 8 * ceil(widths.width / 8.0))
        / ((block.size - 24) * coalesce(filled.factor, 100) / 100.0)
      ) * block.size as needed
    from pg_catalog.pg_class as class
    join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
    cross join (select current_setting('block_size')::bigint as size) as block
    join lateral (
      select sum((1 - stats.null_frac) * stats.avg_width) as width
      from pg_catalog.pg_stats as stats
      where stats.schemaname = namespace.nspname and stats.tablename = class.relname and not stats.inherited
    ) as widths on widths.width is not null
    left join lateral (
      select substring(option from 'fillfactor=(\d+)')::numeric as factor
      from unnest(class.reloptions) as option where option like 'fillfactor=%'
    ) as filled on true
    where class.relkind in ('r', 'm') and class.relpages > 128 and class.reltuples > 0
      and namespace.nspname !~ '^pg_(catalog|toast|temp)|^information_schema$'
  )
  select schema::text, name::text, bytes, greatest(bytes - needed, 0)::bigint,
    round((100 * greatest(bytes - needed, 0) / bytes)::numeric, 1)
  from measured
  order by 4 desc, 1, 2;
$$;
comment on function operations.bloat is
  'Tables of 1 MB and more, and about how much of each is empty space, by its statistics; the most first.';

create function operations.index_usage() returns setof operations.index_use
language sql stable security definer rows 100 set search_path = '' set jit = off
as $$
  with indexes as (
    -- Partitions of an index are counted with it.
    select coalesce(pg_partition_root(index.indexrelid), index.indexrelid::regclass) as root,
      sum(pg_relation_size(index.indexrelid))::bigint as bytes, coalesce(sum(used.idx_scan), 0)::bigint as scans,
      bool_and(index.indisvalid) as is_valid
    from pg_catalog.pg_index as index
    left join pg_catalog.pg_stat_all_indexes as used on used.indexrelid = index.indexrelid
    group by 1
  ), described as (
    select indexes.*, index.*, namespace.nspname as schema, parent.relname as table_name, class.relname as name,
      class.relam, (
        select string_agg(pg_get_indexdef(index.indexrelid, place, true), ', ' order by place)
        from generate_series(1, index.indnkeyatts) as place
      ) as columns,
      exists (select from pg_catalog.pg_constraint where conindid = index.indexrelid) as is_constraint
    from indexes
    join pg_catalog.pg_index as index on index.indexrelid = indexes.root
    join pg_catalog.pg_class as class on class.oid = index.indexrelid
    join pg_catalog.pg_class as parent on parent.oid = index.indrelid
    join pg_catalog.pg_namespace as namespace on namespace.oid = parent.relnamespace
    where namespace.nspname !~ '^pg_(catalog|toast|temp)|^information_schema$'
  ), known as (
    select described.*, twin.name as twin
    from described
    left join lateral (
      select other.name
      from described as other
      where other.indrelid = described.indrelid and other.indexrelid <> described.indexrelid
        and other.relam = described.relam and other.is_valid and described.is_valid
        and not described.is_constraint and not (described.indisunique and not other.indisunique)
        and described.indnatts = described.indnkeyatts
        and described.indexprs is null and other.indexprs is null
        and described.indpred is not distinct from other.indpred
        and (
          -- The same columns: the one that was made later is the duplicate.
          described.indkey = other.indkey and described.indclass = other.indclass
            and described.indcollation = other.indcollation and described.indoption = other.indoption
            and (other.is_constraint or described.indexrelid > other.indexrelid)
          -- The first columns of another B-tree.
          or not described.indisunique and described.relam = (select oid from pg_catalog.pg_am where amname = 'btree')
            and other.indkey::text like described.indkey::text || ' %'
            and other.indclass::text like described.indclass::text || ' %'
            and other.indcollation::text like described.indcollation::text || ' %'
            and other.indoption::text like described.indoption::text || ' %'
        )
      order by other.name
      limit 1
    ) as twin on true
  )
  select schema::text, table_name::text, name::text, columns, bytes, scans,
    case
      when not is_valid then 'invalid'
      when twin is not null then 'duplicate'
      when scans = 0 and not indisunique and not is_constraint then 'unused'
    end::operations.index_finding as finding,
    twin::text as detail
  from known
  union all
  select namespace.nspname::text, class.relname::text, null, keys.columns, 0, 0, 'missing', key.conname::text
  from pg_catalog.pg_constraint as key
  join pg_catalog.pg_class as class on class.oid = key.conrelid
  join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
  cross join lateral (
    select string_agg(attribute.attname, ', ' order by part.place) as columns
    from unnest(key.conkey) with ordinality as part (attnum, place)
    join pg_catalog.pg_attribute as attribute
      on attribute.attrelid = key.conrelid and attribute.attnum = part.attnum
  ) as keys
  where key.contype = 'f' and key.conparentid = 0
    -- What the engines of jobs leave without one is theirs.
    and namespace.nspname !~ '^pg_(catalog|toast|temp)|^(information_schema|graphile_worker|pgboss)$'
    and not exists (
      select
      from pg_catalog.pg_index as index
      where index.indrelid = key.conrelid and index.indisvalid
        -- Every column of the key stands among the first of the index, in whichever order.
        and key.conkey <@ (index.indkey::smallint[])[0:cardinality(key.conkey) - 1]
    )
  order by finding, bytes desc, schema, name;
$$;
comment on function operations.index_usage is
  'Every index, how often it is read, and what is wrong with it; foreign keys without one. What is wrong comes first.';

create function operations.long_transactions(seconds integer default 60)
returns setof operations.long_transaction
language sql stable security definer rows 10 set search_path = ''
as $$
  select pid, usename::text, application_name, state, concat_ws(' ', wait_event_type, wait_event),
    round(extract(epoch from clock_timestamp() - xact_start), 1),
    round(extract(epoch from clock_timestamp() - state_change), 1), query_id,
    greatest(age(backend_xid), age(backend_xmin))
  from pg_catalog.pg_stat_activity
  where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
    and xact_start < clock_timestamp() - make_interval(secs => seconds)
  order by xact_start;
$$;
comment on function operations.long_transactions is
  'Transactions that have been open for `seconds` (60) or more, also those that do nothing; the oldest first.';

create function operations.blocked_sessions() returns setof operations.blocked_session
language sql stable security definer rows 10 set search_path = ''
as $$
  select waiting.pid, waiting.usename::text, waiting.application_name, waiting.query_id,
    round(extract(epoch from clock_timestamp() - coalesce(wanted.waitstart, waiting.state_change)), 1),
    concat_ws(' ', wanted.locktype, wanted.mode), wanted.relation::regclass::text, holder.pid, holding.usename::text,
    holding.application_name, holding.state, holding.query_id,
    round(extract(epoch from clock_timestamp() - holding.xact_start), 1)
  from pg_catalog.pg_stat_activity as waiting
  cross join lateral unnest(pg_blocking_pids(waiting.pid)) as holder (pid)
  left join pg_catalog.pg_stat_activity as holding on holding.pid = holder.pid
  left join lateral (
    select * from pg_catalog.pg_locks as asked where asked.pid = waiting.pid and not asked.granted limit 1
  ) as wanted on true
  where waiting.datname = current_database() and waiting.wait_event_type = 'Lock'
  order by 5 desc, 1, 8;
$$;
comment on function operations.blocked_sessions is
  'Who waits for a lock and who holds it, whoever waits longest first.';

create function operations.database_connections() returns setof operations.connection_count
language sql stable security definer rows 20 set search_path = ''
as $$
  select usename::text, application_name, state, count(*),
    round(extract(epoch from clock_timestamp() - min(state_change)), 1)
  from pg_catalog.pg_stat_activity
  where datname = current_database() and backend_type = 'client backend'
  group by 1, 2, 3
  order by 4 desc, 1, 2, 3;
$$;
comment on function operations.database_connections is
  'Connections to this database by role, application and state; the most first.';

create function operations.headroom() returns setof operations.number_headroom
language sql stable security definer rows 50 set search_path = ''
as $$
  with counted (kind, name, used, most) as (
    select 'transactions of a database', datname::text, age(datfrozenxid)::numeric, 2147483647::numeric
    from pg_catalog.pg_database
    union all
    select 'multixacts of a database', datname::text, mxid_age(datminmxid), 2147483647 from pg_catalog.pg_database
    union all
    (select 'transactions of a table', oid::regclass::text, age(relfrozenxid), 2147483647
    from pg_catalog.pg_class
    where relkind in ('r', 'm', 't') and relfrozenxid <> '0'
    order by 3 desc
    limit 10)
    union all
    -- One that counts down, or starts over at its end, does not run out so.
    select 'sequence', format('%I.%I', schemaname, sequencename), last_value, max_value
    from pg_catalog.pg_sequences
    where last_value is not null and increment_by > 0 and not cycle
  )
  select kind, name, used, most, round(100 * used / most, 2)
  from counted
  order by 5 desc, 1, 2;
$$;
comment on function operations.headroom is
  'Numbers that run out (transaction ids, multixacts, sequences), and how far they are used; the furthest first.';

create function operations.replication() returns setof operations.replication_state
language sql stable security definer rows 10 set search_path = ''
as $$
  with here (lsn) as (
    select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end
  )
  select 'replica', application_name, state, true, round(extract(epoch from replay_lag), 3),
    pg_wal_lsn_diff(here.lsn, replay_lsn), null::numeric
  from pg_catalog.pg_stat_replication, here
  union all
  select 'slot', slot_name::text, wal_status, active, null, null, pg_wal_lsn_diff(here.lsn, restart_lsn)
  from pg_catalog.pg_replication_slots, here
  order by 1, 2;
$$;
comment on function operations.replication is
  'Replicas that are connected, with their lag, and slots, with the WAL that they keep.';

-- What each check of health_thresholds measures. `missing` is the remedy where it cannot be seen.
create function operations._measured()
returns table (name text, value numeric, detail text, missing text)
language sql stable security definer set search_path = ''
as $$
  with activity as materialized (
    select *, extract(epoch from clock_timestamp() - xact_start) as transaction_seconds,
      extract(epoch from clock_timestamp() - state_change) as state_seconds
    from pg_catalog.pg_stat_activity
    where backend_type = 'client backend'
  ), sessions as (
    select operations._blind_to_sessions() as missing
  ), indexes as materialized (
    select * from operations.index_usage() where finding is not null
  ), numbers as materialized (
    select distinct on (kind) * from operations.headroom() order by kind, used_percent desc
  ), bloated as materialized (
    select * from operations.bloat() where table_bytes >= 10 * 1024 * 1024 order by bloat_percent desc limit 1
  ), settings as (
    select current_setting('autovacuum_vacuum_threshold')::numeric as vacuum_rows,
      current_setting('autovacuum_vacuum_scale_factor')::numeric as vacuum_share,
      current_setting('autovacuum_analyze_threshold')::numeric as analyze_rows,
      current_setting('autovacuum_analyze_scale_factor')::numeric as analyze_share
  ), upkeep as materialized (
    -- Twice of what wakes autovacuum: it should have been there.
    select used.relid::regclass::text as name,
      used.n_dead_tup > 1000 + 2 * (settings.vacuum_rows + settings.vacuum_share * used.n_live_tup) as to_vacuum,
      used.n_mod_since_analyze > 1000 + 2 * (settings.analyze_rows + settings.analyze_share * used.n_live_tup)
        as to_analyze
    from pg_catalog.pg_stat_user_tables as used, settings
  ), log_days as materialized (
    select day.relname as name, known.kind, known.kept, to_date(right(day.relname, 10), 'YYYY_MM_DD') as day
    from events.topic_kinds as known
    join pg_catalog.pg_class as parent
      on parent.relname = 'log_' || known.kind and parent.relnamespace = 'events'::regnamespace
    join pg_catalog.pg_inherits as inherits on inherits.inhparent = parent.oid
    join pg_catalog.pg_class as day on day.oid = inherits.inhrelid
  )
  select 'connections used',
    round(100.0 * count(*) / current_setting('max_connections')::integer, 1),
    format('%s of %s', count(*), current_setting('max_connections')), (select missing from sessions)
  from activity
  union all
  select 'longest transaction', round(coalesce(max(transaction_seconds), 0), 1), (
    select format('pid %s, %s, %s', pid, usename, application_name) from activity
    where transaction_seconds > 1 and pid <> pg_backend_pid() order by transaction_seconds desc limit 1
  ), (select missing from sessions)
  from activity where pid <> pg_backend_pid()
  union all
  select 'longest idle in transaction', round(coalesce(max(state_seconds), 0), 1), (
    select format('pid %s, %s, %s', pid, usename, application_name) from activity
    where state ~ '^idle in transaction' order by state_seconds desc limit 1
  ), (select missing from sessions)
  from activity where state ~ '^idle in transaction'
  union all
  select 'oldest prepared transaction', round(coalesce(max(extract(epoch from now() - prepared)), 0), 1),
    (array_agg(gid order by prepared))[1], null
  from pg_catalog.pg_prepared_xacts where database = current_database()
  union all
  select 'longest wait for a lock', coalesce(max(waiting_seconds), 0), (
    select format('pid %s waits for pid %s', pid, blocking_pid) from operations.blocked_sessions() limit 1
  ), (select missing from sessions)
  from operations.blocked_sessions()
  union all
  select named.name, coalesce(numbers.used_percent, 0), numbers.name, null
  from (values
    ('transaction ids used', 'transactions of a database'), ('multixact ids used', 'multixacts of a database'),
    ('sequence used', 'sequence')
  ) as named (name, kind)
  left join numbers on numbers.kind = named.kind
  union all
  -- Of a few blocks the share says nothing.
  select 'cache hits',
    case when blks_hit + blks_read > 100000 then round(100.0 * blks_hit / (blks_hit + blks_read), 2) end,
    case when blks_hit + blks_read <= 100000 then 'Too little was read to tell.' end, null
  from pg_catalog.pg_stat_database where datname = current_database()
  union all
  select 'bloat of a table', coalesce(max(bloat_percent), 0),
    max(format('%s.%s, %s', schema, bloated.name, pg_size_pretty(bloat_bytes))), null
  from bloated
  union all
  select 'tables to vacuum', count(*), string_agg(upkeep.name, ', ' order by upkeep.name), null
  from upkeep where to_vacuum
  union all
  select 'tables to analyze', count(*), string_agg(upkeep.name, ', ' order by upkeep.name), null
  from upkeep where to_analyze
  union all
  select 'broken checksums', coalesce(sum(checksum_failures), 0),
    case when current_setting('data_checksums') = 'off' then 'Checksums are off.' end, null
  from pg_catalog.pg_stat_database
  union all
  select 'autovacuum off', count(*), string_agg(setting.name, ', '), null
  from unnest(array['autovacuum', 'track_counts']) as setting (name) where current_setting(setting.name) = 'off'
  union all
  select named.name, count(indexes.finding),
    string_agg(indexes.schema || '.' || coalesce(indexes.name, indexes.detail), ', ' order by indexes.bytes desc), null
  from (values
    ('invalid indexes', 'invalid'), ('duplicate indexes', 'duplicate'), ('unused indexes', 'unused'),
    ('foreign keys without an index', 'missing')
  ) as named (name, finding)
  left join indexes
    on indexes.finding::text = named.finding
    -- Of what was counted for a few days only, or is small, nobody need know.
    and (named.finding <> 'unused' or indexes.bytes >= 10 * 1024 * 1024 and exists (
      select from pg_catalog.pg_stat_database
      where datname = current_database() and coalesce(stats_reset, '-infinity') < now() - interval '7 days'
    ))
  group by named.name
  union all
  select 'slow queries', (totals).slow_percent,
    case when missing is null then format(
      '%s of %s, %s ms on average',
      (totals).slow_queries, (totals).total_queries, (totals).average_milliseconds
    ) end, missing
  from (
    -- Not asked where it would refuse.
    select missing, case when missing is null then (select sums from operations.query_totals() as sums) end as totals
    from (select operations._blind_to_statements() as missing) as statements
    offset 0
  ) as asked
  union all
  select 'notification queue', round(100 * pg_notification_queue_usage()::numeric, 3), null, null
  union all
  select 'days of the log missing ahead', count(*), string_agg(wanted.name, ', ' order by wanted.name), null
  from (
    select format('log_%s_%s', known.kind, to_char(day, 'YYYY_MM_DD')) as name
    from events.topic_kinds as known
    cross join generate_series(now() at time zone 'UTC', now() at time zone 'UTC' + interval '2 days', '1 day') as day
  ) as wanted
  where not exists (select from log_days where log_days.name = wanted.name)
  union all
  select 'days of the log overdue',
    coalesce(max(((now() - kept) at time zone 'UTC')::date - day), 0), min(log_days.name), null
  from log_days where day + 1 < (now() - kept) at time zone 'UTC'
  union all
  select 'months of messages ahead', count(*), null, null
  from generate_series(1, 12) as ahead
  where not exists (
    select from generate_series(1, ahead) as month
    where to_regclass(
      'chat.messages_' || to_char(now() at time zone 'UTC' + make_interval(months => month), 'YYYY_MM')
    ) is null
  )
  union all
  select 'lag of a replica', coalesce(max(lag_seconds), 0),
    (array_agg(state.name order by lag_seconds desc nulls last))[1],
    (select missing from sessions)
  from operations.replication() as state where kind = 'replica'
  union all
  select 'WAL held by a slot', coalesce(max(held_bytes), 0),
    (array_agg(state.name order by held_bytes desc nulls last))[1],
    null
  from operations.replication() as state where kind = 'slot'
  union all
  select 'WAL archiving failed',
    case when last_failed_time > coalesce(last_archived_time, '-infinity') then failed_count else 0 end,
    case when last_failed_time > coalesce(last_archived_time, '-infinity') then last_failed_wal end, null
  from pg_catalog.pg_stat_archiver;
$$;

create function operations.health() returns setof operations.health_check
language sql stable security definer rows 50 set search_path = '' set jit = off
as $$
  with judged as (
    select checked.name, checked.area, found.value, checked.unit, checked.warn, checked.critical, found.detail,
      coalesce(found.missing, checked.remedy) as remedy,
      case
        when found.missing is not null then 'unknown'
        when found.value is null then 'ok'
        when checked.is_least and found.value < checked.critical then 'critical'
        when checked.is_least and found.value < checked.warn then 'warn'
        when checked.is_least then 'ok'
        when found.value >= checked.critical then 'critical'
        when found.value >= checked.warn then 'warn'
        else 'ok'
      end::operations.health_verdict as verdict
    from operations.health_thresholds as checked
    join operations._measured() as found on found.name = checked.name
  )
  select name, area, case when verdict <> 'unknown' then value end, unit,
    case when verdict = 'critical' then critical else coalesce(warn, critical) end, verdict, detail,
    case when verdict <> 'ok' then remedy end
  from judged
  order by array_position(array['critical', 'warn', 'unknown', 'ok'], verdict::text), area, name;
$$;
comment on function operations.health is
  'All that is looked at, whatever is worst first, with what to do. Thresholds stand in operations.health_thresholds.';

-- --------------------------------------------------------------------------------------------
-- Policies
-- --------------------------------------------------------------------------------------------

alter table operations.backups enable row level security;
create policy operators_read_backups on operations.backups for select to operator
  using (true);

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

revoke execute on all functions in schema operations from public;
grant select on operations.backups to operator;
grant execute on function operations.backup_status to operator, service;
grant execute on function
  operations.backup_started, operations.backup_finished, operations.backup_proven, operations.backup_failed,
  operations.backup_found, operations.backup_removed, operations.expired_backups to service;
grant execute on function operations.ensure_partitions, operations.expire_codes to service;
grant execute on function operations.expire_events to service;
grant execute on function operations.expire_nonces, operations.analyze_messages to service;
grant execute on function
  operations.health, operations.slow_queries, operations.query_totals, operations.table_sizes, operations.bloat,
  operations.index_usage, operations.long_transactions, operations.blocked_sessions,
  operations.database_connections, operations.headroom, operations.replication to operator, service;

-- --------------------------------------------------------------------------------------------
-- Schedules (UTC)
-- --------------------------------------------------------------------------------------------

insert into jobs.tasks (name, description, runs_alone, timeout)
values
  ('backup',            'Makes a backup (docs/backups.md).', true, '12 hours'),
  ('prove_backup',      'Restores the newest backup beside, compares, and drops it.', true, '12 hours'),
  ('prune_backups',     'Removes the backups that are kept no longer.', true, '1 hour'),
  ('retire_partitions', 'Drops partitions that are kept no longer, while others read and write.', true, '1 hour'),
  ('remove_files',      'Removes files that nothing refers to, and what uploads left behind.', true, '1 hour'),
  ('check_upload',      'Reads what was put to an upload, and makes it a file.', false, '1 hour'),
  ('preview_file',      'Makes the preview of an image.', false, '5 minutes'),
  ('export_account',    'Writes a file with all that is kept of a user (docs/accounts.md).', false, '2 hours'),
  ('prune_exports',     'Removes the files of exports that are kept no longer.', true, '1 hour')
on conflict (name) do update set description = excluded.description, runs_alone = excluded.runs_alone;

insert into jobs.tasks (name, description, function)
values ('send scheduled message', 'Sends a message that was written for later.', 'chat.send_scheduled')
on conflict (name) do update set description = excluded.description, function = excluded.function;

-- Tried for a good day, then a dead letter: `redrive webhooks` sends those again.
insert into jobs.queues (name, retries, retry_delay, retry_delay_max, expires_after, kept, concurrency, dead_letter)
values
  ('lost_webhooks', 0, '1 second', '1 second', '15 minutes', '14 days', 1, null),
  ('webhooks', 12, '10 seconds', '6 hours', '1 minute', '1 day', 4, 'lost_webhooks')
on conflict (name) do nothing;
insert into jobs.tasks (name, description, queue, timeout, kept)
values ('deliver_webhook', 'Sends an event to a webhook (docs/webhooks.md).', 'webhooks', '1 minute', '2 days')
on conflict (name) do update set description = excluded.description;

insert into jobs.schedules (name, cron, task)
values
  ('back up',           '0 2 * * *',  'backup'),
  ('prove backup',      '0 4 * * *',  'prove_backup'),
  ('prune backups',     '30 5 * * *', 'prune_backups'),
  ('retire partitions', '30 1 * * *', 'retire_partitions'),
  ('remove files',      '17 * * * *', 'remove_files'),
  ('prune exports',     '45 * * * *', 'prune_exports')
on conflict (name) do update set cron = excluded.cron, task = excluded.task;

insert into jobs.schedules (name, cron, function)
values
  ('expire codes',     '7 * * * *',  'operations.expire_codes'),
  ('end memberships',  '* * * * *',  'organizations.end_due'),
  ('follow rooms',     '* * * * *',  'chat.follow_organizations'),
  ('close sessions',   '* * * * *',  'presence.close_sessions'),
  ('expire notifications', '15 3 * * *', 'notifications.expire'),
  ('expire presence',  '17 3 * * *', 'presence.expire'),
  ('make partitions',  '11 * * * *', 'operations.ensure_partitions'),
  ('measure database', '* * * * *',  'stats.measure_database'),
  ('daily stats',      '10 0 * * *', 'stats.update_daily_stats'),
  ('expire nonces',    '20 3 * * *', 'operations.expire_nonces'),
  ('expire messages',  '*/10 * * * *', 'accounts.expire_messages'),
  ('expire metrics',   '25 3 * * *', 'stats.expire_metrics'),
  ('expire runs',      '30 3 * * *', 'jobs.expire_runs'),
  ('expire rooms',     '35 3 * * *', 'chat.expire_rooms'),
  ('analyze messages', '40 3 * * *', 'operations.analyze_messages')
on conflict (name) do update set cron = excluded.cron, function = excluded.function;

select operations.ensure_partitions();
