-- A place of bench.towns towns: the first are the people, rooms and messages of an archive that was imported, each other has as many
-- people, in rooms as large, who have said the same. Everyone has an account, a session, and direct chats with the five next to them and
-- the five before. Made past triggers: nobody is told, and its keys are right by how they are made.
select operations.ensure_partitions(now() - interval '1 month', 3);
set session_replication_role = replica;
set maintenance_work_mem = '256MB';

create schema bench;
create table bench.people as
select town, known.id as original, case town when 0 then known.id else gen_random_uuid() end as id,
  row_number() over (partition by town order by known.id) as place
from identity.users as known
cross join generate_series(0, current_setting('bench.towns')::integer - 1) as town
where known.external_ref is not null;
create table bench.rooms as
select town, known.id as original, case town when 0 then known.id else gen_random_uuid() end as id
from chat.channels as known
cross join generate_series(0, current_setting('bench.towns')::integer - 1) as town
where known.kind = 'room';
create unique index on bench.people (town, original);
create unique index on bench.people (town, place);
analyze bench.people, bench.rooms;

insert into identity.users (id, username, display_name)
select person.id, 'town' || person.town || '_' || person.place, known.display_name
from bench.people as person
join identity.users as known on known.id = person.original
where person.town > 0;
insert into identity.accounts (user_id) select id from bench.people;
insert into identity.sessions (user_id) select id from bench.people;

insert into chat.channels (id, kind, name, is_public, last_seq, active_at)
select room.id, 'room', left(known.name, 80) || ' of town ' || room.town, true, known.last_seq, known.active_at
from bench.rooms as room
join chat.channels as known on known.id = room.original
where room.town > 0;
insert into chat.rooms (channel_id, max_members, member_count)
select room.id, known.max_members, known.member_count
from bench.rooms as room
join chat.rooms as known on known.channel_id = room.original
where room.town > 0;
insert into chat.members (channel_id, user_id, joined_at, joined_seq, last_read_seq)
select room.id, person.id, known.joined_at, known.joined_seq, known.last_read_seq
from chat.members as known
join bench.rooms as room on room.original = known.channel_id
join bench.people as person on person.original = known.user_id and person.town = room.town
where room.town > 0;
insert into chat.deletions (channel_id, seq, message_id)
select room.id, known.seq, known.message_id
from chat.deletions as known
join bench.rooms as room on room.original = known.channel_id
where room.town > 0;
-- The same moments, in the same order: the beginning of a key tells both.
insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, deleted_at, searched)
select
  (left(known.id::text, 24) || right(md5(room.town || known.id::text), 12))::uuid, room.id, known.seq, person.id, known.text,
  known.language, known.sent_at, known.deleted_at, known.searched
from chat.messages as known
join bench.rooms as room on room.original = known.channel_id
join bench.people as person on person.original = known.sender_id and person.town = room.town
where room.town > 0;

-- Direct chats, of eight messages each.
create table bench.talks as
select one.id as one_id, other.id as other_id, public.uuid_v7() as id,
  row_number() over (order by one.town, one.place, step) as number
from bench.people as one
cross join generate_series(1, 5) as step
join bench.people as other
  on other.town = one.town
  and other.place = 1 + (one.place - 1 + step) % (select count(*) from bench.people where town = 0);
insert into chat.channels (id, kind, last_seq, active_at) select id, 'direct', 8, now() from bench.talks;
insert into chat.direct_pairs (first_user_id, second_user_id, channel_id)
select least(one_id, other_id), greatest(one_id, other_id), id from bench.talks;
insert into chat.members (channel_id, user_id, last_read_seq)
select id, one_id, 8 from bench.talks
union all
select id, other_id, 8 - number % 4 from bench.talks;
create table bench.texts as
select row_number() over () as number, text, language, searched
from (
  select text, language, searched
  from chat.messages
  where char_length(text) between 5 and 500
  order by md5(id::text) limit 5000
) as said;
create unique index on bench.texts (number);
analyze bench.texts;
insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched)
select
  (substr(public.uuid_v7_floor(at)::text, 1, 19) || '8' || substr(md5(talk.number || ' ' || seq), 1, 3) || '-'
    || right(md5(talk.number || ' ' || seq), 12))::uuid,
  talk.id, seq, case seq % 2 when 0 then talk.one_id else talk.other_id end, said.text, said.language, at, said.searched
from bench.talks as talk
cross join generate_series(1, 8) as seq
cross join lateral (select now() - make_interval(hours => (9 - seq)::integer * 6, mins => (talk.number % 300)::integer) as at) as moment
join bench.texts as said on said.number = 1 + (talk.number * 8 + seq) % (select count(*) from bench.texts);
analyze chat.channels, chat.messages;
update chat.channels as channel set last_message_id = said.id
from chat.messages as said
where said.channel_id = channel.id and said.seq = channel.last_seq and channel.last_message_id is null;
reset session_replication_role;
