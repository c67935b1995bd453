-- Plinth: the whole application. Read from top to bottom; each section stands only on those above it.
--
--   foundation   roles, errors, time-ordered keys                                  (schema public)
--   identity     users, sign-up, log-in, sessions, profiles                        (schema identity)
--   events       what has happened, in a log; who may listen                       (schema events)
--   access       maintenance, rate limits, feature flags                           (schema access)
--   jobs         work that is done later: queues, tasks, schedules, runs            (schema jobs)
--   chat         channels, members, messages, unread, search, import               (schema chat)
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
  id            uuid        primary key default gen_random_uuid(),
  recipient     text        not null,
  salt          text        not null,
  hash          bytea       not null,
  display_name  text,                   -- null: no sign-up
  username      text,                   -- null: one is made
  password_hash text,                   -- null: by phone, without a password
  tries         integer     not null default 0,
  expires_at    timestamptz not null,
  created_at    timestamptz not null default now(),

  constraint it_expires_after_it_is_made check (expires_at > created_at)
);
comment on table identity.codes is 'Codes sent to a phone or an address and not yet spent, as hashes.';
-- What expire_codes looks for.
create index codes_expires_at_idx on identity.codes (expires_at);

create table identity.sessions (
  id             uuid        primary key default public.uuid_v7(),
  user_id        uuid        not null references identity.users (id) on delete cascade,
  created_at     timestamptz not null default now(),
  last_access_at timestamptz not null default now(),
  expires_at     timestamptz not null default now() + interval '30 days',
  revoked_at     timestamptz,                     -- null: in force until it expires
  address        inet,                            -- null: not known
  user_agent     text,                            -- null: not known

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
-- The sessions of a user, newest first.
create index sessions_user_id_id_idx on identity.sessions (user_id, id desc);

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

-- --------------------------------------------------------------------------------------------
-- Views
-- --------------------------------------------------------------------------------------------

-- For begin_request, which runs as the server: it sees that a session holds, and nothing else of it.
create view identity._live_sessions as
select session.id, session.user_id, case when account.is_operator then 'operator' else 'member' end as role
from identity.sessions as session
join identity.accounts as account on account.user_id = session.user_id
where session.revoked_at is null and session.expires_at > now() and account.status = 'active';
comment on view identity._live_sessions is
  'The sessions that hold, and the role that the requests of each run as.

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
begin
  -- Hardly ever: to look here is cheaper than to call what looks.
  if exists (select from identity._closed) and role in ('anonymous', 'member') then
    perform identity._require_open(role, not read_only);
  end if;
  if role in ('member', 'operator') and not exists (
    select
    from identity._live_sessions as live
    where live.id = (claims ->> 'sid')::uuid
      and live.user_id = (claims ->> 'sub')::uuid
      and live.role = begin_request.role
  ) then
    raise exception using errcode = 'PT401', message = 'The session has ended.', hint = 'Sign in again.';
  end if;
  perform
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

create function identity.verify_code(request_id uuid, code text) returns identity.session_tokens
language plpgsql volatile security definer set search_path = ''
as $$
declare
  pending   identity.codes;
  account   identity.accounts;
  by_mail   boolean;
  signed_in uuid;
begin
  -- Guards: what is counted must be kept, so these refuse and do not raise. The row lock makes tries take turns.
  if not identity._count_attempt('verify:address:' || identity._counted_address(), 100, interval '1 hour') then
    perform public.refuse('PT429', 'Too many codes were tried; try again in an hour.');
    return null;
  end if;
  update identity.codes as known set tries = known.tries + 1 where known.id = request_id returning * into pending;
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
create function identity.remove_account() returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller uuid := identity.require_user_id();
begin
  update identity.users set
    username = 'removed-' || replace(gen_random_uuid()::text, '-', ''), display_name = 'Removed account', bio = null,
    avatar_url = null, location = null, website = null, external_ref = null, last_seen_at = null, removed_at = now()
  where id = caller;
  delete from identity.accounts where user_id = caller;
  delete from identity.passwords where user_id = caller;
  delete from identity.sessions where user_id = caller;
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

alter table identity.sessions enable row level security;
create policy members_see_their_own_sessions on identity.sessions for select to member
  using (user_id = (select identity.current_user_id()));

-- No policy, no grant: only the functions above reach these.
alter table identity.passwords enable row level security;
alter table identity.codes enable row level security;
alter table identity.refresh_tokens enable row level security;
alter table identity.attempts enable row level security;
alter table identity.maintenance enable row level security;

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on identity.users, identity.accounts, identity.sessions to member;

revoke execute on all functions in schema identity from public;
grant select on identity._live_sessions, identity._closed to plinth_server;
grant execute on function identity.begin_request, identity._require_open to plinth_server;
grant execute on function identity.current_user_id, identity.password_salt, identity.sign_up_salt to anonymous;
grant execute on function identity.request_code, identity.sign_up, identity.verify_code, identity.log_in to anonymous;
grant execute on function identity.refresh_session, identity.me to anonymous;
grant execute on function identity.log_out, identity.revoke_sessions to member;
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
  ('run',          'run',          interval '7 days')
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

-- Kept for the end of the request, when the server hands it on; outside of one nobody hears it.
create function events.signal(topic text, type text, data jsonb default '{}') returns void
language sql volatile set search_path = ''
as $$
  select set_config('plinth.signals', (
    coalesce(nullif(current_setting('plinth.signals', true), ''), '[]')::jsonb
    || jsonb_build_object(
      'topic', signal.topic, 'id', public.uuid_v7(), 'type', signal.type, 'version', '1.0',
      'timestamp', clock_timestamp(), 'producer', current_setting('application_name'), 'data', signal.data,
      'metadata', jsonb_strip_nulls(jsonb_build_object(
        'trace_id', nullif(current_setting('plinth.request_id', true), ''), 'user_id', identity.current_user_id()
      ))
    )
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
  'What is counted: every `request`, each `query`, `mutation` or `subscription`, or a field by its name in the API.';
comment on column access.rate_limits.count   is 'How often.';
comment on column access.rate_limits.per     is 'Within what time.';
insert into access.rate_limits (subject, covers, count, per)
values
  ('address', 'request',      12000, interval '1 minute'),  -- an office has one
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
      'endsIn', extract(epoch from closed.ends_at - clock_timestamp())
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
  beat_at    timestamptz not null default now()
);
comment on table  jobs.workers            is 'The processes that run jobs.';
comment on column jobs.workers.id         is 'The key: the name by which graphile-worker locks its jobs.';
comment on column jobs.workers.host       is 'The machine.';
comment on column jobs.workers.process_id is 'The process there.';
comment on column jobs.workers.started_at is 'When it began.';
comment on column jobs.workers.beat_at    is 'When it last said that it is alive.';

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
-- What jobs.expire_runs and jobs._rescue look for.
create index runs_finished_at_idx on jobs.runs (finished_at) where finished_at is not null;
create index runs_worker_idx on jobs.runs (worker) where state = 'running';

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
    -- A job of this key that is just being taken makes add_job give nothing; it can be asked again.
    for attempt in 1..10 loop
      if (
        graphile_worker.add_job(
          'run', json_build_object('run', run.id), queue_name => run.key, run_at => run.run_at,
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
    coalesce(enqueue.key, case when known.runs_alone then known.name end), enqueue.nonce,
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
  update jobs.queues as fed set is_paused = _set_paused.is_paused where fed.name = changed.queue;
  return changed;
end;
$$;

create function jobs.set_schedule(
  name text, cron text, time_zone text default 'UTC', task text default null, payload jsonb default '{}',
  is_paused boolean default false
) returns jobs.schedules
language plpgsql volatile security definer set search_path = ''
as $$
declare
  changed jobs.schedules;
begin
  insert into jobs.schedules as known (name, cron, time_zone, task, payload, is_paused)
  values (
    set_schedule.name, set_schedule.cron, set_schedule.time_zone, set_schedule.task, set_schedule.payload,
    set_schedule.is_paused
  )
  on conflict on constraint schedules_pkey do update
  set cron = excluded.cron, time_zone = excluded.time_zone, payload = excluded.payload,
    is_paused = excluded.is_paused,
    task = coalesce(excluded.task, known.task),
    function = case when excluded.task is null then known.function end
  returning * into changed;
  return changed;
end;
$$;
comment on function jobs.set_schedule is
  'Makes a schedule of a task, or changes one; the task may be left out for one that is there.

@notNull';

-- --------------------------------------------------------------------------------------------
-- Functions: running, for the workers
-- --------------------------------------------------------------------------------------------

-- A run begins once for each try. Nothing is given back for what was cancelled, has ended, or has begun elsewhere.
-- Jobs that others sent to a queue by pg-boss itself become runs here.
create function jobs._begin(
  id uuid, attempt integer, worker text, queue text default null, payload jsonb default null
) returns jobs.runs
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  update jobs.runs as begun
  set state = 'running', attempt = begun.attempt + 1, worker = _begin.worker, started_at = clock_timestamp()
  where begun.id = _begin.id and begun.state = 'queued'
  returning * into run;
  if run.id is null and queue is not null then
    insert into jobs.runs (id, task, payload, state, attempt, max_attempts, worker, started_at)
    select _begin.id, task.name, coalesce(_begin.payload, '{}'), 'running', _begin.attempt,
      greatest(fed.retries + 1, _begin.attempt), _begin.worker, clock_timestamp()
    from jobs.tasks as task
    join jobs.queues as fed on fed.name = task.queue
    where task.queue = _begin.queue
    on conflict on constraint runs_pkey do nothing
    returning * into run;
  end if;
  if run.asked_by is not null then
    perform jobs._tell(run);
  end if;
  return run;
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

create function jobs._succeed(id uuid, attempt integer, worker text, result jsonb) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run jobs.runs;
begin
  update jobs.runs as done
  set state = 'succeeded', progress = 1, result = _succeed.result, finished_at = clock_timestamp()
  where done.id = _succeed.id and done.state = 'running'
    and done.attempt = _succeed.attempt and done.worker = _succeed.worker
  returning * into run;
  if run.id is null then
    raise exception using errcode = 'PT409', message = 'This run is no longer of this worker.';
  end if;
  delete from jobs.cancellations as old where old.run_id = run.id;
  if run.asked_by is not null then
    perform jobs._tell(run);
  end if;
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

-- The function and the word that it is done are one transaction: its effect happens once, whatever dies.
create function jobs._perform(id uuid, attempt integer, worker text) returns void
language plpgsql volatile set search_path = ''
as $$
declare
  run    jobs.runs := jobs._still(id, attempt, worker);
  result jsonb;
begin
  execute jobs._call_of(coalesce(
    run.function, (select task.function from jobs.tasks as task where task.name = run.task)
  )) into result using run.payload;
  perform jobs._succeed(id, attempt, worker, result);
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

-- Every few seconds: says that the worker lives, and hears which of its runs are to end. What it has begun and does
-- not know any more (its word of how it ended was lost) is begun again.
create function jobs._beat(worker text, host text, process_id integer, running uuid[]) returns uuid[]
language plpgsql volatile set search_path = ''
as $$
declare
  lost jobs.runs;
begin
  insert into jobs.workers as known (id, host, process_id)
  values (worker, _beat.host, _beat.process_id)
  on conflict on constraint workers_pkey do update set beat_at = clock_timestamp();
  for lost in
    select run.*
    from jobs.runs as run
    where run.worker = _beat.worker and run.state = 'running' and run.id <> all (running)
      and run.started_at < clock_timestamp() - interval '15 seconds'
    for no key update skip locked
  loop
    perform jobs._lose(lost, 'What came of it was not heard.');
  end loop;
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

-- Takes from workers that have not said for so long that they live what they held. What a function of theirs has locked
-- is theirs still: its transaction lives.
create function jobs._rescue(silent_for interval) returns integer
language plpgsql volatile set search_path = ''
as $$
declare
  dead    text[];
  lost    jobs.runs;
  rescued integer := 0;
begin
  dead := array(
    select worker.id from jobs.workers as worker where worker.beat_at < clock_timestamp() - silent_for
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
language sql volatile security definer set search_path = ''
as $$
  with expired as (
    delete from jobs.runs as run
    using jobs.tasks as task
    where task.name = run.task and run.finished_at < now() - task.kept
      and run.finished_at < now() - (select min(kept) from jobs.tasks)
    returning 1
  )
  select count(*) from expired;
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
  where run.id = listen_to_run.run_id and jobs._may_see(run);
  if not found then
    raise exception using errcode = 'PT404', message = 'There is no such run.', column = 'run_id';
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
-- chat: channels, members, messages, unread, search, import
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

create type chat.presence_status as enum ('online', 'away', 'offline');
comment on type chat.presence_status is 'Whether someone is there.';

create type chat.message_kind as enum ('text', 'image', 'file', 'system', 'bot');
comment on type chat.message_kind is 'What a message is, for showing it.';

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
create index channels_owner_id_idx on chat.channels (owner_id);
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

-- The words of a question, stemmed as each language would: what it finds was stemmed by one of them.
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
  else
    plainto_tsquery('pg_catalog.simple', query)
    || plainto_tsquery('pg_catalog.russian', query)
    || plainto_tsquery('pg_catalog.english', query)
    || plainto_tsquery('pg_catalog.portuguese', query)
    || plainto_tsquery('pg_catalog.spanish', query)
    || plainto_tsquery('pg_catalog.german', query)
    || plainto_tsquery('pg_catalog.french', query)
end;

-- With the owner's rights: under row level security Postgres may not use these indexes for a caller's own condition.
-- What the caller may read is therefore a condition here.
create function chat.search_messages(query text, channel_id uuid default null) returns setof chat.messages
language plpgsql stable security definer rows 100 set search_path = '' set plan_cache_mode = force_custom_plan
as $$
declare
  words   text := trim(left(query, 200));
  stems   tsquery := chat._search_query(trim(left(query, 200)));
  part    text := '%' || regexp_replace(trim(left(query, 200)), '([\\%_])', '\\\1', 'g') || '%';
begin
  if words = '' then
    raise exception using errcode = 'PT400', message = 'Say what to search for.', column = 'query';
  end if;
  if channel_id is not null and not chat.can_read(channel_id) then
    return;
  end if;

  -- Parts of words need three letters: a shorter one is in nearly every text.
  return query
  select message.*
  from chat.messages as message
  where (message.searched @@ stems or (char_length(words) >= 3 and message.text ilike part))
    and (search_messages.channel_id is null or message.channel_id = search_messages.channel_id)
    and (
      search_messages.channel_id is not null
      or exists (select from chat._readable as readable where readable.channel_id = message.channel_id offset 0)
    )
    and message.deleted_at is null
  order by ts_rank(message.searched, stems) desc, message.id desc
  limit 500;
end;
$$;
comment on function chat.search_messages is
  'Messages in one channel, or in all that the caller may read: by words in any form in the language of the text, and
by parts of words. Best match first, then newest; at most 500.';

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

create function chat.listen_to_presence(user_ids uuid[]) returns setof events.position
language plpgsql stable security definer rows 100 set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if cardinality(user_ids) not between 1 and 500 then
    raise exception using errcode = 'PT400', message = 'Name 1 to 500 users.', column = 'user_ids';
  end if;
  return query select distinct 'presence:' || user_id, null::bigint from unnest(user_ids) as user_id;
end;
$$;
comment on function chat.listen_to_presence is
  'The right to see who is there: for every member.

@hide';

-- The id is taken out of the event before a row is looked for (`offset 0`): a policy is asked before whatever may fail,
-- such as a cast, so with the cast in the condition no index would find the row, and the whole table be read.
create function chat.message_events(event events.event) returns setof chat.messages
language sql stable rows 1
begin atomic
  select message.*
  from (select (event.data ->> 'message_id')::uuid as id offset 0) as told
  join chat.messages as message on message.id = told.id
  where event.type in ('message_sent', 'message_edited', 'message_deleted');
end;
comment on function chat.message_events is
  'The messages of a channel as they are sent, edited and deleted: each as it is now.

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

create function chat.presence(event events.event) returns setof identity.users
language sql stable rows 1
begin atomic
  select person.*
  from (select (event.data ->> 'user_id')::uuid as id offset 0) as told
  join identity.users as person on person.id = told.id;
end;
comment on function chat.presence is
  'Who comes and goes: `data.status` says which.

@subscription chat.listen_to_presence
@shared';

create function chat.set_typing(channel_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform identity.require_user_id();
  if chat._caller_role(channel_id) is null then
    raise exception using errcode = 'PT404', message = 'You are not in this channel.', column = 'channel_id';
  end if;
  perform events.signal(
    'typing:' || channel_id, 'typing',
    jsonb_build_object('channel_id', channel_id, 'user_id', identity.current_user_id())
  );
end;
$$;
comment on function chat.set_typing is
  'Tells those in the channel that the caller is typing; clients say it every few seconds while that is so.';

create function chat.set_presence(status chat.presence_status) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform events.signal(
    'presence:' || identity.require_user_id(), 'presence_changed',
    jsonb_build_object('user_id', identity.current_user_id(), 'status', set_presence.status)
  );
end;
$$;
comment on function chat.set_presence is 'Tells those who look that the caller is there, away or gone.';

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
language sql volatile set search_path = ''
as $$
  insert into chat.members as known (channel_id, user_id, role, joined_seq)
  values (channel.id, user_id, role, channel.last_seq)
  on conflict on constraint members_pkey do update set role = known.role  -- they are in already: as they were
  returning *;
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

create function chat.join_room(channel_id uuid) returns chat.members
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
begin
  -- Asked under the lock: they may have been removed while they waited for it.
  if not channel.is_public and chat._caller_role(channel.id) is null then
    raise exception using errcode = 'PT404', message = 'There is no such channel.';
  end if;
  if channel.closed_at is not null then
    raise exception using errcode = 'PT409', message = 'The room is closed.';
  end if;
  return chat._join(channel, caller, 'member');
end;
$$;
comment on function chat.join_room is
  'Makes the caller a member of a public room; nothing changes for who is one already.

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
  if chat._caller_role(channel.id) is null or chat._caller_role(channel.id) > 'admin' then
    raise exception using errcode = 'PT403', message = 'Only an owner or admin of the room adds members.';
  end if;
  if not exists (select from identity.users where id = add_member.user_id and removed_at is null for share) then
    raise exception using errcode = 'PT404', message = 'There is no such user.', column = 'user_id';
  end if;
  return chat._join(channel, add_member.user_id, 'member');
end;
$$;
comment on function chat.add_member is
  'Brings someone into a room; for its owner and admins.

@notNull';

create function chat.remove_member(channel_id uuid, user_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  channel chat.channels := chat._lock_channel(channel_id);
  removed chat.members;
begin
  select * into removed
  from chat.members as member
  where member.channel_id = channel.id and member.user_id = remove_member.user_id;
  if chat._caller_role(channel.id) is null
    or removed.role <= chat._caller_role(channel.id)
    or channel.kind <> 'room' then
    raise exception using errcode = 'PT403', message = 'Only a member with a higher role in the room removes someone.';
  end if;
  if removed.user_id is null then
    raise exception using errcode = 'PT404', message = 'They are not in the room.', column = 'user_id';
  end if;
  delete from chat.members as member where member.channel_id = channel.id and member.user_id = removed.user_id;
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

create function chat.delete_message(id uuid) returns chat.messages
language plpgsql volatile security definer set search_path = ''
as $$
declare
  caller  uuid := identity.require_user_id();
  message chat.messages := chat._lock_message(id);
begin
  if message.sender_id is distinct from caller and chat._caller_role(message.channel_id) > 'moderator' then
    raise exception using errcode = 'PT403', message = 'Only its sender and the room''s moderators delete a message.';
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
    update chat.members as member
    set last_read_seq = spoken.value::bigint
    from jsonb_each_text(read_up) as spoken
    where member.channel_id = channel.id and member.user_id = spoken.key::uuid;
  end loop;
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

-- --------------------------------------------------------------------------------------------
-- Grants: this is the API
-- --------------------------------------------------------------------------------------------

grant select on chat.channels, chat.members, chat.messages, chat.message_edits to member;
grant select on chat._memberships, chat._readable to member;

revoke execute on all functions in schema chat from public;
grant execute on function chat.can_read, chat.my_channels, chat.unread_total to member;
grant execute on function chat.last_message, chat.unread, chat.other_user to member;
grant execute on function chat.reply_to, chat.replies, chat.edits, chat.search_messages to member;
grant execute on function chat.open_direct, chat.create_room, chat.join_room, chat.leave_channel to member;
grant execute on function chat.add_member, chat.remove_member to member;
grant execute on function chat.send_message, chat.edit_message, chat.delete_message, chat.mark_read to member;
grant execute on function chat.listen_to_channel, chat.listen_to_user to member;
grant execute on function chat.listen_to_typing, chat.listen_to_presence to member;
grant execute on function chat.message_events, chat.channel_events, chat.user_events to member;
grant execute on function chat.typing, chat.presence, chat.set_typing, chat.set_presence to member;
grant execute on function chat.ensure_month, chat.import_messages to service;

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
    and namespace.nspname !~ '^pg_(catalog|toast|temp)|^information_schema$'
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
  ('retire_partitions', 'Drops partitions that are kept no longer, while others read and write.', true, '1 hour')
on conflict (name) do update set description = excluded.description, runs_alone = excluded.runs_alone;

insert into jobs.schedules (name, cron, task)
values
  ('back up',           '0 2 * * *',  'backup'),
  ('prove backup',      '0 4 * * *',  'prove_backup'),
  ('prune backups',     '30 5 * * *', 'prune_backups'),
  ('retire partitions', '30 1 * * *', 'retire_partitions')
on conflict (name) do update set cron = excluded.cron, task = excluded.task;

insert into jobs.schedules (name, cron, function)
values
  ('expire codes',     '7 * * * *',  'operations.expire_codes'),
  ('make partitions',  '11 * * * *', 'operations.ensure_partitions'),
  ('measure database', '* * * * *',  'stats.measure_database'),
  ('daily stats',      '10 0 * * *', 'stats.update_daily_stats'),
  ('expire nonces',    '20 3 * * *', 'operations.expire_nonces'),
  ('expire metrics',   '25 3 * * *', 'stats.expire_metrics'),
  ('expire runs',      '30 3 * * *', 'jobs.expire_runs'),
  ('analyze messages', '40 3 * * *', 'operations.analyze_messages')
on conflict (name) do update set cron = excluded.cron, function = excluded.function;

select operations.ensure_partitions();
