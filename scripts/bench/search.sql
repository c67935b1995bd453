-- Messages to search in: bench.size of them over 12 months, in 1,000 rooms of which 100 are public, the first the largest; of words as
-- people use them, few often and most rarely. Every fiftieth has a file, and one in the first room has 500 answers. Whole sentences come again, which changes nothing for an index of words.
set session_replication_role = replica;
set maintenance_work_mem = '512MB';
insert into identity.users (username, display_name) select 'user' || n, 'User ' || n from generate_series(1, 1000) as n;
insert into chat.channels (kind, name, is_public)
select 'room', 'Room ' || to_char(n, 'FM0000'), n % 10 = 0 from generate_series(1, 1000) as n;
select operations.ensure_partitions(now() - interval '11 months', 1);

create temp table words as
select n, substr(translate(md5(n::text), '0123456789', 'aeioutrnsl'), 1, 4 + n % 6) as word from generate_series(1, 20000) as n;
create index on words (n);
create temp table sentences as
select place as n, string_agg(words.word, ' ') as text, to_tsvector('simple', string_agg(words.word, ' ')) as searched
from generate_series(1, 100000) as place
cross join generate_series(1, 7) as at
join words on words.n = 1 + floor(exp(ln(20000) * abs(hashint8(place * 10 + at) / 2147483649.0)))::integer
group by place;
create index on sentences (n);
analyze words, sentences;

insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched, kind)
select
  (substr(public.uuid_v7_floor(at)::text, 1, 19) || '8' || substr(md5(each.n::text), 1, 3) || '-' || right(md5(each.n::text), 12))::uuid,
  room.ids[1 + floor(1000 * power(hashint8(each.n + 77) / 2147483649.0, 2))::integer],
  each.n,
  person.ids[1 + each.n % 1000],
  said.text,
  'simple',
  at,
  said.searched,
  (case when abs(hashint8(each.n + 7)::bigint) % 50 = 0 then 'image' else 'text' end)::chat.message_kind
from generate_series(1, current_setting('bench.size')::integer) as each (n)
cross join lateral (
  select now() - interval '11 months' * (1 - each.n / current_setting('bench.size')::float8) as at
) as moment
cross join (select array_agg(id order by name) as ids from chat.channels) as room
cross join (select array_agg(id) as ids from identity.users) as person
join sentences as said on said.n = 1 + abs(hashint8(each.n)::bigint) % 100000;

with root as (
  select message.id, message.channel_id
  from chat.messages as message
  join chat.channels as channel on channel.id = message.channel_id and channel.name = 'Room 0001'
  where message.sent_at > now() - interval '20 days'
  order by message.id
  limit 1
)
update chat.messages as message set reply_to_id = root.id
from root
where message.id in (
  select reply.id from chat.messages as reply, root
  where reply.channel_id = root.channel_id and reply.id > root.id
  order by reply.id
  limit 500
);
reset session_replication_role;
