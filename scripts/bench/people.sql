-- Who writes, and where, in the histories of history.sql. Their messages go without the indexes for search and of senders: those take
-- most of the time, and no statement that is measured reads them.
drop index chat.messages_searched_idx, chat.messages_of_files_searched_idx, chat.messages_sender_id_id_idx;
insert into identity.users (username, display_name) select 'user' || n, 'User ' || n from generate_series(1, 1000) as n;
insert into chat.channels (kind, name, is_public) select 'room', 'Room ' || n, true from generate_series(1, 100) as n;
