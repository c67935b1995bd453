-- Replaces all messages of rooms by bench.size others, spread over the rooms and over the bench.months that end in four months.
truncate chat.messages;
do $$
declare
  partition regclass;
begin
  for partition in select inhrelid from pg_inherits where inhparent = 'chat.messages'::regclass loop
    execute 'drop table ' || partition;
  end loop;
end;
$$;
select operations.ensure_partitions(now() - make_interval(months => current_setting('bench.months')::integer - 4), 3);

-- Its keys are right by how they are made; checking each of them takes longer than the rest.
set session_replication_role = replica;
insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched)
select
  (substr(public.uuid_v7_floor(at)::text, 1, 19) || '8' || substr(md5(n::text), 1, 3) || '-' || right(md5(n::text), 12))::uuid,
  room.ids[1 + n % cardinality(room.ids)],
  1 + n / cardinality(room.ids),
  person.ids[1 + n % 1000],
  'A message like many others, of a length that people write.',
  'simple',
  at,
  ''
from (
  select current_setting('bench.size')::integer as size,
    make_interval(months => current_setting('bench.months')::integer - 4) as past
) as wanted
cross join generate_series(0, wanted.size - 1) as n
cross join lateral (select now() - past * (1 - n / size::float8) as at) as moment
cross join (select array_agg(id) as ids from chat.channels where kind = 'room') as room
cross join (select array_agg(id) as ids from identity.users) as person;
reset session_replication_role;

update chat.channels as channel set last_seq = said.seq, last_message_id = said.id
from (select distinct on (channel_id) channel_id, seq, id from chat.messages order by channel_id, id desc) as said
where said.channel_id = channel.id;
update chat.members
set last_read_seq = greatest((select last_seq from chat.channels where id = channel_id) - 10, 0);
