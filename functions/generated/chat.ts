// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { User } from './identity.ts';

/** What a member may do in a room, the most first. */
export const MemberRole = oneOf('chat.member_role', ['owner', 'admin', 'moderator', 'member']);
export type MemberRole = ValueOf<typeof MemberRole>;

/** Someone in a channel. */
export const Member = row('chat.members', {
  /** Where. */
  channelId: pg.uuid,
  /** Who. */
  userId: pg.uuid,
  /** What they may do there. */
  role: MemberRole,
  /** When they came. */
  joinedAt: pg.timestamptz,
  /** The channel's `lastSeq` when they came: unread begins after it. */
  joinedSeq: pg.int8,
  /** The `seq` up to which they have read; null for never. */
  lastReadSeq: orNull(pg.int8),
});
export type Member = ValueOf<typeof Member>;

/** Between two people, among many, or with someone on another platform. */
export const ChannelKind = oneOf('chat.channel_kind', ['direct', 'room', 'external']);
export type ChannelKind = ValueOf<typeof ChannelKind>;

/** Where messages are: a direct chat, a room, or a conversation on another platform. */
export const Channel = row('chat.channels', {
  /** The key; rises with the time of creation. */
  id: pg.uuid,
  /** Direct chat, room or external conversation. */
  kind: ChannelKind,
  /** The name of a room; null for a direct chat. */
  name: orNull(pg.text),
  /** What the room is for. */
  description: orNull(pg.text),
  /** Whether anyone signed in may read and join. */
  isPublic: pg.bool,
  /** Who answers for the room. */
  ownerId: orNull(pg.uuid),
  /** The `seq` of its newest message; 0 for none. */
  lastSeq: pg.int8,
  /** The id of its newest message; null for none. */
  lastMessageId: orNull(pg.uuid),
  /** When the last message was sent, or the channel made. */
  activeAt: pg.timestamptz,
  /** When it was closed for new messages; null while it is open. */
  closedAt: orNull(pg.timestamptz),
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** Where it was imported from, and its id there; null otherwise. */
  externalRef: orNull(pg.text),
});
export type Channel = ValueOf<typeof Channel>;

/** What a message is, for showing it. */
export const MessageKind = oneOf('chat.message_kind', ['text', 'image', 'file', 'system', 'bot']);
export type MessageKind = ValueOf<typeof MessageKind>;

/** Something said in a channel. */
export const Message = row('chat.messages', {
  /** The key; rises in the order of sending within a channel. */
  id: pg.uuid,
  /** Where it was said. */
  channelId: pg.uuid,
  /** Its number in the channel, from 1, without gaps. */
  seq: pg.int8,
  /** Who said it; null for the system. */
  senderId: orNull(pg.uuid),
  /** Text, image, file, or from the system or a bot. */
  kind: MessageKind,
  /** What was said, up to 10,000 characters; null once deleted. */
  text: orNull(pg.text),
  /** The language it was recognised as, for search; or `simple`. */
  language: pg.text,
  /** What a client adds for showing it, up to 16 kB. */
  metadata: pg.jsonb,
  /** The message it answers; null for none. */
  replyToId: orNull(pg.uuid),
  /** When it was sent. */
  sentAt: pg.timestamptz,
  /** When it last changed; null for never. */
  editedAt: orNull(pg.timestamptz),
  /** When it was deleted; null while it is there. */
  deletedAt: orNull(pg.timestamptz),
});
export type Message = ValueOf<typeof Message>;

/** What a message said before an edit. */
export const MessageEdit = row('chat.message_edits', {
  /** The message that was edited. */
  messageId: pg.uuid,
  /** Its channel. */
  channelId: pg.uuid,
  /** When the text was replaced. */
  editedAt: pg.timestamptz,
  /** The text until then. */
  text: pg.text,
});
export type MessageEdit = ValueOf<typeof MessageEdit>;

/** What became of a batch. */
export const ImportResult = row('chat.import_result', {
  /** Messages that are new. */
  added: orNull(pg.int4),
  /** Messages that were there already. */
  known: orNull(pg.int4),
  /** Those refused: a list of {line, reason}. */
  rejected: orNull(pg.jsonb),
});
export type ImportResult = ValueOf<typeof ImportResult>;

/** Whether someone is there. */
export const PresenceStatus = oneOf('chat.presence_status', ['online', 'away', 'offline']);
export type PresenceStatus = ValueOf<typeof PresenceStatus>;

/** Brings someone into a room; for its owner and admins. */
export const addMember = mutation('chat.add_member', { channelId: pg.uuid, userId: pg.uuid }, Member);

/** Makes a room, with the caller as its owner. */
export const createRoom = mutation('chat.create_room', {
  name: pg.text,
  description: optional(pg.text),
  isPublic: optional(pg.bool),
}, Channel);

/** Deletes a message: its place and number stay, its text and edits go. For its sender and the room's moderators. */
export const deleteMessage = mutation('chat.delete_message', { id: pg.uuid }, Message);

/** Replaces the text of one's own message; what it said before is kept in `edits`. */
export const editMessage = mutation('chat.edit_message', { id: pg.uuid, text: pg.text }, Message);

/** What it said before, the last first. */
export const edits = query('chat.edits', { message: keyOf(Message, 'id') }, setOf(MessageEdit));

/**
 * Makes the partition of messages for the month of that time; false where it is there. For who is about to import: a
 * transaction of its own keeps writers waiting shortly, one that then imports for as long as that takes.
 */
export const ensureMonth = mutation('chat.ensure_month', { at: pg.timestamptz }, pg.bool);

/**
 * Takes over messages from elsewhere, oldest first: a list of {line, room_id, room, sent_at, user_id, username,
 * message_id, text}. Rooms and users are made as they are met; an empty text is a deleted message; what was imported
 * before is left as it is. Months that are missing are made first; with ensureMonth before, nobody waits for the batch.
 */
export const importMessages = mutation('chat.import_messages', { source: pg.text, batch: pg.jsonb }, ImportResult);

/** Makes the caller a member of a public room; nothing changes for who is one already. */
export const joinRoom = mutation('chat.join_room', { channelId: pg.uuid }, Member);

/** The newest message; null for none. */
export const lastMessage = query('chat.last_message', { channel: keyOf(Channel, 'id') }, orNull(Message));

/** Takes the caller out of a room; an owner's place goes to the next in rank. */
export const leaveChannel = mutation('chat.leave_channel', { channelId: pg.uuid });

/** Moves the caller's read position up to a `seq`, or to the newest message when it is left out; never back. */
export const markRead = mutation('chat.mark_read', { channelId: pg.uuid, seq: optional(pg.int8) }, Channel);

/** The caller's channels, the last active first. */
export const myChannels = query('chat.my_channels', {}, setOf(Channel));

/** The direct chat with someone: the one there is, or a new one. */
export const openDirect = mutation('chat.open_direct', { userId: pg.uuid }, Channel);

/** The other side of a direct chat; null for any other channel. */
export const otherUser = query('chat.other_user', { channel: keyOf(Channel, 'id') }, orNull(User));

/** Takes someone out of a room; for members with a higher role than theirs. */
export const removeMember = mutation('chat.remove_member', { channelId: pg.uuid, userId: pg.uuid });

/** The messages that answer this one, in order. */
export const replies = query('chat.replies', { message: keyOf(Message, 'id') }, setOf(Message));

/** The message this one answers; null for none. */
export const replyTo = query('chat.reply_to', { message: keyOf(Message, 'id') }, orNull(Message));

/**
 * Messages in one channel, or in all that the caller may read: by words in any form in the language of the text, and
 * by parts of words. Best match first, then newest; at most 500.
 */
export const searchMessages = query('chat.search_messages', {
  query: pg.text,
  channelId: optional(pg.uuid),
}, setOf(Message));

/** Sends a message to a channel. With a `nonce`, unique for the sender, sending again returns the first message. */
export const sendMessage = mutation('chat.send_message', {
  channelId: pg.uuid,
  text: pg.text,
  nonce: optional(pg.text),
  replyToId: optional(pg.uuid),
  kind: optional(MessageKind),
  metadata: optional(pg.jsonb),
}, Message);

/** Tells those who look that the caller is there, away or gone. */
export const setPresence = mutation('chat.set_presence', { status: PresenceStatus });

/** Tells those in the channel that the caller is typing; clients say it every few seconds while that is so. */
export const setTyping = mutation('chat.set_typing', { channelId: pg.uuid });

/** How many messages the caller has not read; null for who is not a member. */
export const unread = query('chat.unread', { channel: keyOf(Channel, 'id') }, orNull(pg.int4));

/** How many messages the caller has not read, in all channels. */
export const unreadTotal = query('chat.unread_total', {}, pg.int8);
