// Made from schema.sql by `npm run generate`.
import { z } from 'zod';
import { caller } from '../callers.ts';
import { User, userJson } from './identity.ts';

/** What a member may do in a room, the most first. */
export const MemberRole = z.enum(['owner', 'admin', 'moderator', 'member']);
export type MemberRole = z.output<typeof MemberRole>;

/** Someone in a channel. */
export const Member = z.object({
  /** Where. */
  channelId: z.guid(),
  /** Who. */
  userId: z.guid(),
  /** What they may do there. */
  role: MemberRole,
  /** When they came. */
  joinedAt: z.iso.datetime({ offset: true }),
  /** The channel's `lastSeq` when they came: unread begins after it. */
  joinedSeq: z.string(),
  /** The `seq` up to which they have read; null for never. */
  lastReadSeq: z.string().nullable(),
});
export type Member = z.output<typeof Member>;
export const memberJson = `
  (select to_json(item) from (select
    r.channel_id as "channelId",
    r.user_id as "userId",
    r.role,
    r.joined_at as "joinedAt",
    r.joined_seq::text as "joinedSeq",
    r.last_read_seq::text as "lastReadSeq"
  ) as item)`;

/** Between two people, among many, or with someone on another platform. */
export const ChannelKind = z.enum(['direct', 'room', 'external']);
export type ChannelKind = z.output<typeof ChannelKind>;

/** Where messages are: a direct chat, a room, or a conversation on another platform. */
export const Channel = z.object({
  /** The key; rises with the time of creation. */
  id: z.guid(),
  /** Direct chat, room or external conversation. */
  kind: ChannelKind,
  /** The name of a room; null for a direct chat. */
  name: z.string().nullable(),
  /** What the room is for. */
  description: z.string().nullable(),
  /** Whether anyone signed in may read and join. */
  isPublic: z.boolean(),
  /** Who answers for the room. */
  ownerId: z.guid().nullable(),
  /** The `seq` of its newest message; 0 for none. */
  lastSeq: z.string(),
  /** The id of its newest message; null for none. */
  lastMessageId: z.guid().nullable(),
  /** When the last message was sent, or the channel made. */
  activeAt: z.iso.datetime({ offset: true }),
  /** When it was closed for new messages; null while it is open. */
  closedAt: z.iso.datetime({ offset: true }).nullable(),
  /** When it was made. */
  createdAt: z.iso.datetime({ offset: true }),
  /** Where it was imported from, and its id there; null otherwise. */
  externalRef: z.string().nullable(),
});
export type Channel = z.output<typeof Channel>;
export const channelJson = `
  (select to_json(item) from (select
    r.id,
    r.kind,
    r.name,
    r.description,
    r.is_public as "isPublic",
    r.owner_id as "ownerId",
    r.last_seq::text as "lastSeq",
    r.last_message_id as "lastMessageId",
    r.active_at as "activeAt",
    r.closed_at as "closedAt",
    r.created_at as "createdAt",
    r.external_ref as "externalRef"
  ) as item)`;

/** What a message is, for showing it. */
export const MessageKind = z.enum(['text', 'image', 'file', 'system', 'bot']);
export type MessageKind = z.output<typeof MessageKind>;

/** Something said in a channel. */
export const Message = z.object({
  /** The key; rises in the order of sending within a channel. */
  id: z.guid(),
  /** Where it was said. */
  channelId: z.guid(),
  /** Its number in the channel, from 1, without gaps. */
  seq: z.string(),
  /** Who said it; null for the system. */
  senderId: z.guid().nullable(),
  /** Text, image, file, or from the system or a bot. */
  kind: MessageKind,
  /** What was said, up to 10,000 characters; null once deleted. */
  text: z.string().nullable(),
  /** The language it was recognised as, for search; or `simple`. */
  language: z.string(),
  /** What a client adds for showing it, up to 16 kB. */
  metadata: z.json(),
  /** The message it answers; null for none. */
  replyToId: z.guid().nullable(),
  /** When it was sent. */
  sentAt: z.iso.datetime({ offset: true }),
  /** When it last changed; null for never. */
  editedAt: z.iso.datetime({ offset: true }).nullable(),
  /** When it was deleted; null while it is there. */
  deletedAt: z.iso.datetime({ offset: true }).nullable(),
});
export type Message = z.output<typeof Message>;
export const messageJson = `
  (select to_json(item) from (select
    r.id,
    r.channel_id as "channelId",
    r.seq::text as seq,
    r.sender_id as "senderId",
    r.kind,
    r.text,
    r.language,
    r.metadata,
    r.reply_to_id as "replyToId",
    r.sent_at as "sentAt",
    r.edited_at as "editedAt",
    r.deleted_at as "deletedAt"
  ) as item)`;

/** What a message said before an edit. */
export const MessageEdit = z.object({
  /** The message that was edited. */
  messageId: z.guid(),
  /** Its channel. */
  channelId: z.guid(),
  /** When the text was replaced. */
  editedAt: z.iso.datetime({ offset: true }),
  /** The text until then. */
  text: z.string(),
});
export type MessageEdit = z.output<typeof MessageEdit>;
export const messageEditJson = `
  (select to_json(item) from (select
    r.message_id as "messageId",
    r.channel_id as "channelId",
    r.edited_at as "editedAt",
    r.text
  ) as item)`;

/** What became of a batch. */
export const ImportResult = z.object({
  /** Messages that are new. */
  added: z.int32().nullable(),
  /** Messages that were there already. */
  known: z.int32().nullable(),
  /** Those refused: a list of {line, reason}. */
  rejected: z.json().nullable(),
});
export type ImportResult = z.output<typeof ImportResult>;
export const importResultJson = `
  (select to_json(item) from (select
    r.added,
    r.known,
    r.rejected
  ) as item)`;

/** Whether someone is there. */
export const PresenceStatus = z.enum(['online', 'away', 'offline']);
export type PresenceStatus = z.output<typeof PresenceStatus>;

/** Brings someone into a room; for its owner and admins. */
export const addMember = caller({
  sql: 'chat.add_member',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
    userId: z.guid(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
    '"user_id" => $userId::uuid',
  ],
  json: memberJson,
  result: Member,
});

/** Makes a room, with the caller as its owner. */
export const createRoom = caller({
  sql: 'chat.create_room',
  volatile: true,
  input: z.strictObject({
    name: z.string(),
    description: z.string().nullish(),
    isPublic: z.boolean().nullish(),
  }),
  arguments: [
    '"name" => $name::text',
    '"description" => $description::text',
    '"is_public" => $isPublic::bool',
  ],
  json: channelJson,
  result: Channel,
});

/** Deletes a message: its place and number stay, its text and edits go. For its sender and the room's moderators. */
export const deleteMessage = caller({
  sql: 'chat.delete_message',
  volatile: true,
  input: z.strictObject({
    id: z.guid(),
  }),
  arguments: [
    '"id" => $id::uuid',
  ],
  json: messageJson,
  result: Message,
});

/** Replaces the text of one's own message; what it said before is kept in `edits`. */
export const editMessage = caller({
  sql: 'chat.edit_message',
  volatile: true,
  input: z.strictObject({
    id: z.guid(),
    text: z.string(),
  }),
  arguments: [
    '"id" => $id::uuid',
    '"text" => $text::text',
  ],
  json: messageJson,
  result: Message,
});

/** What it said before, the last first. */
export const edits = caller({
  sql: 'chat.edits',
  volatile: false,
  input: z.strictObject({
    message: Message.pick({ id: true }),
  }),
  arguments: [
    '"message" => (select one from chat.messages as one where one.id = $message.id::uuid)',
  ],
  json: messageEditJson,
  many: true,
  result: z.array(MessageEdit),
});

/**
 * Takes over messages from elsewhere, oldest first: a list of {line, room_id, room, sent_at, user_id, username,
 * message_id, text}. Rooms and users are made as they are met; an empty text is a deleted message; what was imported
 * before is left as it is.
 */
export const importMessages = caller({
  sql: 'chat.import_messages',
  volatile: true,
  input: z.strictObject({
    source: z.string(),
    batch: z.json(),
  }),
  arguments: [
    '"source" => $source::text',
    '"batch" => $batch::jsonb',
  ],
  json: importResultJson,
  result: ImportResult,
});

/** Makes the caller a member of a public room; nothing changes for who is one already. */
export const joinRoom = caller({
  sql: 'chat.join_room',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
  ],
  json: memberJson,
  result: Member,
});

/** The newest message; null for none. */
export const lastMessage = caller({
  sql: 'chat.last_message',
  volatile: false,
  input: z.strictObject({
    channel: Channel.pick({ id: true }),
  }),
  arguments: [
    '"channel" => (select one from chat.channels as one where one.id = $channel.id::uuid)',
  ],
  json: messageJson,
  result: Message.nullable(),
});

/** Takes the caller out of a room; an owner's place goes to the next in rank. */
export const leaveChannel = caller({
  sql: 'chat.leave_channel',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
  ],
  result: z.void(),
});

/** Moves the caller's read position up to a `seq`, or to the newest message when it is left out; never back. */
export const markRead = caller({
  sql: 'chat.mark_read',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
    seq: z.string().regex(/^-?\d{1,19}$/).nullish(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
    '"seq" => $seq::int8',
  ],
  json: channelJson,
  result: Channel,
});

/** The caller's channels, the last active first. */
export const myChannels = caller({
  sql: 'chat.my_channels',
  volatile: false,
  input: z.strictObject({}),
  arguments: [],
  json: channelJson,
  many: true,
  result: z.array(Channel),
});

/** The direct chat with someone: the one there is, or a new one. */
export const openDirect = caller({
  sql: 'chat.open_direct',
  volatile: true,
  input: z.strictObject({
    userId: z.guid(),
  }),
  arguments: [
    '"user_id" => $userId::uuid',
  ],
  json: channelJson,
  result: Channel,
});

/** The other side of a direct chat; null for any other channel. */
export const otherUser = caller({
  sql: 'chat.other_user',
  volatile: false,
  input: z.strictObject({
    channel: Channel.pick({ id: true }),
  }),
  arguments: [
    '"channel" => (select one from chat.channels as one where one.id = $channel.id::uuid)',
  ],
  json: userJson,
  result: User.nullable(),
});

/** Takes someone out of a room; for members with a higher role than theirs. */
export const removeMember = caller({
  sql: 'chat.remove_member',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
    userId: z.guid(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
    '"user_id" => $userId::uuid',
  ],
  result: z.void(),
});

/** The messages that answer this one, in order. */
export const replies = caller({
  sql: 'chat.replies',
  volatile: false,
  input: z.strictObject({
    message: Message.pick({ id: true }),
  }),
  arguments: [
    '"message" => (select one from chat.messages as one where one.id = $message.id::uuid)',
  ],
  json: messageJson,
  many: true,
  result: z.array(Message),
});

/** The message this one answers; null for none. */
export const replyTo = caller({
  sql: 'chat.reply_to',
  volatile: false,
  input: z.strictObject({
    message: Message.pick({ id: true }),
  }),
  arguments: [
    '"message" => (select one from chat.messages as one where one.id = $message.id::uuid)',
  ],
  json: messageJson,
  result: Message.nullable(),
});

/**
 * Messages in one channel, or in all that the caller may read: by words in any form in the language of the text, and
 * by parts of words. Best match first, then newest; at most 500.
 */
export const searchMessages = caller({
  sql: 'chat.search_messages',
  volatile: false,
  input: z.strictObject({
    query: z.string(),
    channelId: z.guid().nullish(),
  }),
  arguments: [
    '"query" => $query::text',
    '"channel_id" => $channelId::uuid',
  ],
  json: messageJson,
  many: true,
  result: z.array(Message),
});

/** Sends a message to a channel. With a `nonce`, unique for the sender, sending again returns the first message. */
export const sendMessage = caller({
  sql: 'chat.send_message',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
    text: z.string(),
    nonce: z.string().nullish(),
    replyToId: z.guid().nullish(),
    kind: MessageKind.nullish(),
    metadata: z.json().nullish(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
    '"text" => $text::text',
    '"nonce" => $nonce::text',
    '"reply_to_id" => $replyToId::uuid',
    '"kind" => $kind::chat.message_kind',
    '"metadata" => $metadata::jsonb',
  ],
  json: messageJson,
  result: Message,
});

/** Tells those who look that the caller is there, away or gone. */
export const setPresence = caller({
  sql: 'chat.set_presence',
  volatile: true,
  input: z.strictObject({
    status: PresenceStatus,
  }),
  arguments: [
    '"status" => $status::chat.presence_status',
  ],
  result: z.void(),
});

/** Tells those in the channel that the caller is typing; clients say it every few seconds while that is so. */
export const setTyping = caller({
  sql: 'chat.set_typing',
  volatile: true,
  input: z.strictObject({
    channelId: z.guid(),
  }),
  arguments: [
    '"channel_id" => $channelId::uuid',
  ],
  result: z.void(),
});

/** How many messages the caller has not read; null for who is not a member. */
export const unread = caller({
  sql: 'chat.unread',
  volatile: false,
  input: z.strictObject({
    channel: Channel.pick({ id: true }),
  }),
  arguments: [
    '"channel" => (select one from chat.channels as one where one.id = $channel.id::uuid)',
  ],
  json: 'to_json(r)',
  result: z.int32().nullable(),
});

/** How many messages the caller has not read, in all channels. */
export const unreadTotal = caller({
  sql: 'chat.unread_total',
  volatile: false,
  input: z.strictObject({}),
  arguments: [],
  json: 'to_json(r::text)',
  result: z.string(),
});
