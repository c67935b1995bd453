import { imported, office, part, removal, type Section, someone, somewhere } from './section.ts';

export const chat: Section = {
  uses: {
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
    'chat.messages_pkey': `select message.* from chat.channels as channel, chat.last_message(channel) as message where channel.id = ${somewhere}`,
    'chat.messages_channel_id_id_idx': `select * from chat.messages where channel_id = ${somewhere} order by id desc limit 20`,
    'chat.messages_sender_id_id_idx': `select * from chat.messages where sender_id = ${someone} order by id desc limit 20`,
    'chat.messages_reply_to_id_id_idx':
      'select reply.* from (select * from chat.messages limit 1) as m, chat.replies(m) as reply',
    'chat.messages_of_files_searched_idx': "select * from chat.search_messages('hello', has_file => true)",
    'chat.messages_searched_idx': "select * from chat.search_messages('walrus')",
    'chat.message_edits_pkey': 'select edit.* from (select * from chat.messages limit 1) as m, chat.edits(m) as edit',
    'chat.message_edits_channel_id_idx': `delete from chat.channels where id = ${somewhere}`,
    'chat.deletions_pkey': 'select chat.unread_total()',
    'chat.deletions_deleted_by_idx': `delete from identity.users where id = ${someone}`,
    'chat.nonces_pkey': `select chat.send_message(${somewhere}, 'hello', 'nonce77')`,
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
    'chat.pins_message_id_idx': removal,
    'chat.bookmarks_message_id_idx': removal,
    'chat.drafts_reply_to_id_idx': removal,
    'chat.scheduled_messages_reply_to_id_idx': removal,
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
  },
  rows: `
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
  `,
};
