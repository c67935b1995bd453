/** Who may do what: every object of the application schemas, declared. An object that is not named here fails the tests. */

/** What a role has beside its own grants. plinth_server becomes an API role and inherits nothing; PUBLIC is granted nothing. */
export const roles: Record<string, string[]> = {
  public: [],
  anonymous: [],
  member: ['anonymous'],
  operator: ['member', 'anonymous'],
  service: [],
  plinth_server: [],
};

/** Who may name what is in a schema. Nobody but the owner makes anything there. */
export const schemas: Record<string, string[]> = {
  public: ['plinth_server', 'anonymous', 'member', 'operator', 'service'],
  identity: ['plinth_server', 'anonymous', 'member', 'operator', 'service'],
  chat: ['member', 'operator', 'service'],
  operations: ['service'],
};

/** Tables and views: who reads which columns. Nobody writes one: only functions do. */
export const tables: Record<string, { readers: string[]; columns: string }> = {
  'public.error_codes': { readers: ['plinth_server'], columns: 'sqlstate code status description' },
  'public.schema_versions': { readers: [], columns: '' },
  'identity.users': {
    readers: ['member'],
    columns:
      'id username display_name bio avatar_url location website last_seen_at removed_at created_at updated_at external_ref searched',
  },
  'identity.accounts': {
    readers: ['member'],
    columns: 'user_id phone email email_verified_at status is_operator time_zone language preferences',
  },
  'identity.sessions': {
    readers: ['member'],
    columns: 'id user_id created_at last_access_at expires_at revoked_at address user_agent',
  },
  'identity._live_sessions': { readers: ['plinth_server'], columns: 'id user_id role' },
  'identity.passwords': { readers: [], columns: '' },
  'identity.codes': { readers: [], columns: '' },
  'identity.refresh_tokens': { readers: [], columns: '' },
  'identity.attempts': { readers: [], columns: '' },
  'chat.channels': {
    readers: ['member'],
    columns:
      'id kind name description is_public owner_id last_seq last_message_id active_at closed_at created_at external_ref',
  },
  'chat.members': { readers: ['member'], columns: 'channel_id user_id role joined_at joined_seq last_read_seq' },
  'chat.messages': {
    readers: ['member'],
    columns:
      'id channel_id seq sender_id kind text language metadata reply_to_id sent_at edited_at deleted_at searched',
  },
  'chat.message_edits': { readers: ['member'], columns: 'message_id channel_id edited_at text' },
  'chat._memberships': { readers: ['member'], columns: 'channel_id role read_seq unread' },
  'chat._readable': { readers: ['member'], columns: 'channel_id' },
  'chat.direct_pairs': { readers: [], columns: '' },
  'chat.deletions': { readers: [], columns: '' },
  'chat.nonces': { readers: [], columns: '' },
  'chat.common_words': { readers: [], columns: '' },
};

/** Functions that someone may call. */
export const functions: Record<string, string[]> = {
  'identity.begin_request(text,jsonb,text)': ['plinth_server'],
  'identity.current_user_id()': ['anonymous'],
  'identity.password_salt(text)': ['anonymous'],
  'identity.request_code(text,text)': ['anonymous'],
  'identity.sign_up(text,text,text,text)': ['anonymous'],
  'identity.verify_code(uuid,text)': ['anonymous'],
  'identity.log_in(text,text)': ['anonymous'],
  'identity.refresh_session(text)': ['anonymous'],
  'identity.me()': ['anonymous'],
  'identity.log_out()': ['member'],
  'identity.revoke_sessions(uuid)': ['member'],
  'identity.update_profile(text,text,text,text,text,text)': ['member'],
  'identity.update_account(text,text,jsonb)': ['member'],
  'identity.remove_account()': ['member'],
  'identity.search_users(text)': ['member'],
  'identity.user_by_username(text)': ['member'],
  'chat.can_read(uuid)': ['member'],
  'chat.my_channels()': ['member'],
  'chat.last_message(chat.channels)': ['member'],
  'chat.unread(chat.channels)': ['member'],
  'chat.other_user(chat.channels)': ['member'],
  'chat.unread_total()': ['member'],
  'chat.reply_to(chat.messages)': ['member'],
  'chat.replies(chat.messages)': ['member'],
  'chat.edits(chat.messages)': ['member'],
  'chat.search_messages(text,uuid)': ['member'],
  'chat.open_direct(uuid)': ['member'],
  'chat.create_room(text,text,boolean)': ['member'],
  'chat.join_room(uuid)': ['member'],
  'chat.leave_channel(uuid)': ['member'],
  'chat.add_member(uuid,uuid)': ['member'],
  'chat.remove_member(uuid,uuid)': ['member'],
  'chat.send_message(uuid,text,text,uuid,chat.message_kind,jsonb)': ['member'],
  'chat.edit_message(uuid,text)': ['member'],
  'chat.delete_message(uuid)': ['member'],
  'chat.mark_read(uuid,bigint)': ['member'],
  'chat.import_messages(text,jsonb)': ['service'],
  'operations.ensure_partitions(timestamp with time zone,integer)': ['service'],
  'operations.expire_codes()': ['service'],
};

/** Functions that only other functions call. */
export const privateFunctions = [
  'public._announce_ddl()',
  'public.refuse(text,text,text)',
  'public._uuid_v7_ticks(uuid)',
  'public._uuid_v7_ticks(timestamp with time zone)',
  'public.uuid_v7_at(timestamp with time zone,uuid)',
  'public.uuid_v7()',
  'public.uuid_v7_floor(timestamp with time zone)',
  'public.uuid_v7_time(uuid)',
  'public._touch_updated_at()',
  'identity.require_user_id()',
  'identity._address()',
  'identity._counted_address()',
  'identity._count_attempt(text,integer,interval)',
  'identity._is_exhausted(text,integer,interval)',
  'identity._new_token()',
  'identity._token_hash(text)',
  'identity._issue_tokens(identity.sessions)',
  'identity.open_session(uuid)',
  'identity._free_username(text)',
  'identity._send_code(text,text,text,text,text)',
  'identity._may_send_code(text)',
  'identity._mail_key(text)',
  'identity.expire_codes()',
  'chat._language(text)',
  'chat._cjk_pairs(text)',
  'chat._search_vector(text,text)',
  'chat._search_query(text)',
  'chat._lock_channel(uuid)',
  'chat._caller_role(uuid)',
  'chat._join(chat.channels,uuid,chat.member_role)',
  'chat._leave(chat.channels,uuid)',
  'chat._ensure_partition(timestamp with time zone)',
  'chat._post(chat.channels,uuid,chat.message_kind,text,text,uuid,jsonb,timestamp with time zone)',
  'chat._lock_message(uuid)',
  'chat._insert_message(chat.channels,uuid,chat.message_kind,text,text,uuid,jsonb,timestamp with time zone)',
  'chat._import_room(text,jsonb)',
  'chat._import_message(text,chat.channels,jsonb)',
  'chat._leave_everything()',
];
