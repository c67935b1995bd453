-- Someone who is in every room, behind in some, and has 20 direct chats, signed in.
do $$
declare
  viewer uuid;
  other uuid;
  talk uuid;
begin
  insert into identity.users (username, display_name) values ('bench', 'Bench') returning id into viewer;
  insert into identity.accounts (user_id) values (viewer);
  insert into identity.sessions (user_id) values (viewer);
  insert into chat.members (channel_id, user_id, joined_seq, last_read_seq)
  select id, viewer, 0, greatest(last_seq - 10, 0) from chat.channels where kind = 'room';
  for other in select id from identity.users where id <> viewer order by username limit 20 loop
    perform set_config('plinth.user_id', viewer::text, false);
    talk := (chat.open_direct(other)).id;
    perform set_config('plinth.user_id', other::text, false);
    perform chat.send_message(talk, 'Hello, are you there? ' || n) from generate_series(1, 3) as n;
  end loop;
end;
$$;

select
  users.id as "userId",
  sessions.id as "sessionId",
  array(select id from chat.channels where kind = 'room' order by id) as rooms,
  array(select id from chat.channels where kind = 'direct' order by id) as direct
from identity.users join identity.sessions on user_id = users.id
where username = 'bench';
