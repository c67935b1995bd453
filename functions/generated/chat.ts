// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { User } from './identity.ts';

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
  /** Whether anyone signed in, and not banned, may read and join. */
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

/** A message that the caller keeps for themselves; at most 1,000. */
export const Bookmark = row('chat.bookmarks', {
  /** Whose it is: the caller. */
  userId: pg.uuid,
  /** Which message. */
  messageId: pg.uuid,
  /** Its channel. */
  channelId: pg.uuid,
  /** What they noted, up to 500 characters; null for nothing. */
  note: orNull(pg.text),
  /** When. */
  madeAt: pg.timestamptz,
});
export type Bookmark = ValueOf<typeof Bookmark>;

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

/** Someone who may not come into a room, whichever way, nor read it where it is public. */
export const RoomBan = row('chat.room_bans', {
  /** The room. */
  channelId: pg.uuid,
  /** Who. */
  userId: pg.uuid,
  /** Who banned them. */
  bannedBy: orNull(pg.uuid),
  /** Since when. */
  bannedAt: pg.timestamptz,
  /** Until when; null until it is lifted. */
  endsAt: orNull(pg.timestamptz),
  /** Why; they are told. */
  reason: orNull(pg.text),
});
export type RoomBan = ValueOf<typeof RoomBan>;

/** Someone who may come into a room with joinRoom. It ends when they come, it expires, or who invited leaves. */
export const RoomInvitation = row('chat.room_invitations', {
  /** The room. */
  channelId: pg.uuid,
  /** Who is invited. */
  userId: pg.uuid,
  /** Who invited them. */
  invitedBy: pg.uuid,
  /** When. */
  createdAt: pg.timestamptz,
  /** Until when it holds. */
  expiresAt: pg.timestamptz,
  /** When they declined; they are not invited again until it expires, 7 days later at the earliest. */
  declinedAt: orNull(pg.timestamptz),
});
export type RoomInvitation = ValueOf<typeof RoomInvitation>;

/** What who is invited learns of a room before they come in. */
export const RoomCard = row('chat.room_card', {
  /** The room. */
  channelId: orNull(pg.uuid),
  /** Its name. */
  name: orNull(pg.text),
  /** What it is for. */
  description: orNull(pg.text),
  /** Whether anyone signed in may read and join. */
  isPublic: orNull(pg.bool),
  /** How many are in it. */
  memberCount: orNull(pg.int4),
});
export type RoomCard = ValueOf<typeof RoomCard>;

/** A message of the caller that is sent at its time; at most 100, with those that were refused. */
export const ScheduledMessage = row('chat.scheduled_messages', {
  /** The key. */
  id: pg.uuid,
  /** Whose it is: the caller. */
  userId: pg.uuid,
  /** Where it is to go. */
  channelId: pg.uuid,
  /** What is to be said. */
  text: pg.text,
  /** The message it is to answer; null for none. */
  replyToId: orNull(pg.uuid),
  /** When it is to be sent. */
  sendAt: pg.timestamptz,
  /** Why it was not sent at its time; null while it waits. */
  refusal: orNull(pg.text),
  /** When it was written. */
  createdAt: pg.timestamptz,
});
export type ScheduledMessage = ValueOf<typeof ScheduledMessage>;

/** A link into a room, for whoever has its token. It ends when it expires, is used up or revoked, or its maker leaves. */
export const RoomLink = row('chat.room_links', {
  /** The key; not what lets in. */
  id: pg.uuid,
  /** The room. */
  channelId: pg.uuid,
  /** Who made it. */
  createdBy: pg.uuid,
  /** When. */
  createdAt: pg.timestamptz,
  /** Until when it holds. */
  expiresAt: pg.timestamptz,
  /** How many it lets in; null for any number. */
  maxUses: orNull(pg.int4),
  /** How many it has let in. */
  uses: pg.int4,
});
export type RoomLink = ValueOf<typeof RoomLink>;

/** A link that was made. */
export const NewRoomLink = row('chat.new_room_link', {
  /** What joinByLink takes; shown this once, and kept nowhere. */
  token: orNull(pg.text),
  /** What its maker and the room's moderators see of it. */
  link: orNull(RoomLink),
});
export type NewRoomLink = ValueOf<typeof NewRoomLink>;

/** What the caller has written in a channel and not sent. */
export const Draft = row('chat.drafts', {
  /** Where. */
  channelId: pg.uuid,
  /** Whose it is: the caller. */
  userId: pg.uuid,
  /** What is written so far. */
  text: pg.text,
  /** The message it is to answer; null for none. */
  replyToId: orNull(pg.uuid),
  /** When it last changed. */
  changedAt: pg.timestamptz,
});
export type Draft = ValueOf<typeof Draft>;

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

/** Where a forwarded message comes from. */
export const Forward = row('chat.forwards', {
  /** The message that was made of it. */
  messageId: pg.uuid,
  /** Where it went. */
  channelId: pg.uuid,
  /** Which message it was; `original` shows it to who may read it. */
  fromMessageId: pg.uuid,
  /** Who said it first; null for the system, or who is gone. */
  authorId: orNull(pg.uuid),
  /** When it was said first. */
  saidAt: pg.timestamptz,
});
export type Forward = ValueOf<typeof Forward>;

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

/** Someone whom a message names with @, or everyone in its room (@room). */
export const Mention = row('chat.mentions', {
  /** The key; rises with the time of the mention. */
  id: pg.uuid,
  /** The message that says it. */
  messageId: pg.uuid,
  /** Its channel. */
  channelId: pg.uuid,
  /** The message's number in the channel. */
  seq: pg.int8,
  /** Who is meant; null for everyone in the room. */
  userId: orNull(pg.uuid),
});
export type Mention = ValueOf<typeof Mention>;

/** A sign that a message was answered with, and by how many. */
export const Reaction = row('chat.reactions', {
  /** The message. */
  messageId: pg.uuid,
  /** The sign: an emoji, or a short name between colons. */
  emoji: pg.text,
  /** Its channel. */
  channelId: pg.uuid,
  /** How many gave it. */
  count: pg.int4,
});
export type Reaction = ValueOf<typeof Reaction>;

/** Someone who may read in a room, and not write. */
export const RoomMute = row('chat.room_mutes', {
  /** The room. */
  channelId: pg.uuid,
  /** Who. */
  userId: pg.uuid,
  /** Who muted them. */
  mutedBy: orNull(pg.uuid),
  /** Since when. */
  mutedAt: pg.timestamptz,
  /** Until when; null until it is lifted. */
  endsAt: orNull(pg.timestamptz),
  /** Why; they are told. */
  reason: orNull(pg.text),
});
export type RoomMute = ValueOf<typeof RoomMute>;

/**
 * What someone may do in a room: by their role, or by a right of their own. `add` brings people in without asking them,
 * `manage` changes settings, roles and the password.
 */
export const RoomPermission = oneOf('chat.room_permission', ['write', 'invite', 'add', 'approve', 'mute', 'remove', 'ban', 'delete_messages', 'manage']);
export type RoomPermission = ValueOf<typeof RoomPermission>;

/** A message that a channel keeps in sight; at most 50 in each. */
export const Pin = row('chat.pins', {
  /** Where. */
  channelId: pg.uuid,
  /** Which message. */
  messageId: pg.uuid,
  /** Who pinned it; null where their account is gone. */
  pinnedBy: orNull(pg.uuid),
  /** When. */
  pinnedAt: pg.timestamptz,
});
export type Pin = ValueOf<typeof Pin>;

/** Who answered a message with a sign. */
export const Reactor = row('chat.reactors', {
  /** The message. */
  messageId: pg.uuid,
  /** The sign. */
  emoji: pg.text,
  /** Who gave it. */
  userId: pg.uuid,
  /** Its channel. */
  channelId: pg.uuid,
  /** When. */
  reactedAt: pg.timestamptz,
});
export type Reactor = ValueOf<typeof Reactor>;

/** Someone who has asked to come into a room. */
export const JoinRequest = row('chat.join_requests', {
  /** The room. */
  channelId: pg.uuid,
  /** Who asks. */
  userId: pg.uuid,
  /** What they say for themselves. */
  text: orNull(pg.text),
  /** When. */
  createdAt: pg.timestamptz,
  /** When it was declined; they may ask again 7 days later. Null while it is open. */
  declinedAt: orNull(pg.timestamptz),
});
export type JoinRequest = ValueOf<typeof JoinRequest>;

/** Keeps a message for oneself, with a note; again, it changes the note. At most 1,000. */
export const addBookmark = mutation('chat.add_bookmark', { messageId: pg.uuid, note: optional(pg.text) }, Bookmark);

/** Brings someone into a room; for its owner and admins. */
export const addMember = mutation('chat.add_member', { channelId: pg.uuid, userId: pg.uuid }, Member);

/**
 * Answers a message with a sign: an emoji, or a short name between colons. Given twice it counts once; a message has at
 * most 20 kinds.
 */
export const addReaction = mutation('chat.add_reaction', { messageId: pg.uuid, emoji: pg.text }, Message);

/** Lets someone in who has asked. */
export const approveRequest = mutation('chat.approve_request', { channelId: pg.uuid, userId: pg.uuid }, Member);

/** Closes a room: it is read as before, and nobody writes or comes in. */
export const archiveRoom = mutation('chat.archive_room', { channelId: pg.uuid }, Channel);

/**
 * Takes someone out of a room, and keeps them out whichever way they try, for so many seconds or until it is lifted;
 * where it is public they read it no more, and out of a room of an organization they stay in the organization, whose owner
 * is not banned. For moderators, about who stands below them or is not in.
 */
export const banFromRoom = mutation('chat.ban_from_room', {
  channelId: pg.uuid,
  userId: pg.uuid,
  seconds: optional(pg.int4),
  reason: optional(pg.text),
}, RoomBan);

/** The caller's bookmark of it; null for none. */
export const bookmark = query('chat.bookmark', { message: keyOf(Message, 'id') }, orNull(Bookmark));

/** The message; null for who may no longer read it. */
export const bookmarkedMessage = query('chat.bookmarked_message', {
  bookmark: keyOf(Bookmark, 'userId', 'messageId'),
}, orNull(Message));

/** Takes a scheduled message away before it is sent, or after it was refused. */
export const cancelScheduledMessage = mutation('chat.cancel_scheduled_message', { id: pg.uuid });

/** What the invited person learns of the room. */
export const card = query('chat.card', { invitation: keyOf(RoomInvitation, 'channelId', 'userId') }, orNull(RoomCard));

/** Gives a member another role; for who may manage the room, about members below them and roles below their own. */
export const changeMemberRole = mutation('chat.change_member_role', {
  channelId: pg.uuid,
  userId: pg.uuid,
  role: MemberRole,
}, Member);

/** Changes the text or the time of a message that was not sent yet; one that was refused waits again. */
export const changeScheduledMessage = mutation('chat.change_scheduled_message', {
  id: pg.uuid,
  text: optional(pg.text),
  sendAt: optional(pg.timestamptz),
}, ScheduledMessage);

/**
 * Makes a room that everyone in the organization, or in one of its departments, is in for as long as they are there. It
 * takes {"rooms": ["write"]}.
 */
export const createOrganizationRoom = mutation('chat.create_organization_room', {
  organizationId: pg.uuid,
  name: pg.text,
  description: optional(pg.text),
  departmentId: optional(pg.uuid),
  withSubdepartments: optional(pg.bool),
}, Channel);

/** Makes a room, with the caller as its owner. */
export const createRoom = mutation('chat.create_room', {
  name: pg.text,
  description: optional(pg.text),
  isPublic: optional(pg.bool),
}, Channel);

/** Makes a link into a room, for `expiresIn` seconds (7 days) and `maxUses` people. Its token is told this once. */
export const createRoomLink = mutation('chat.create_room_link', {
  channelId: pg.uuid,
  expiresIn: optional(pg.int4),
  maxUses: optional(pg.int4),
}, NewRoomLink);

/** Declines an invitation to a room. */
export const declineInvitation = mutation('chat.decline_invitation', { channelId: pg.uuid });

/** Turns down someone who has asked; they may ask again 7 days later. */
export const declineRequest = mutation('chat.decline_request', { channelId: pg.uuid, userId: pg.uuid });

/** Deletes a message: its place and number stay, its text and edits go. For its sender and the room's moderators. */
export const deleteMessage = mutation('chat.delete_message', { id: pg.uuid, reason: optional(pg.text) }, Message);

/** What the caller has written there and not sent; null for nothing. */
export const draft = query('chat.draft', { channel: keyOf(Channel, 'id') }, orNull(Draft));

/**
 * Replaces the text of one's own message, where one may write, 100 times at most; what it said before is kept in
 * `edits`.
 */
export const editMessage = mutation('chat.edit_message', { id: pg.uuid, text: pg.text }, Message);

/** What it said before, the last first. */
export const edits = query('chat.edits', { message: keyOf(Message, 'id') }, setOf(MessageEdit));

/**
 * Makes the partition of messages for the month of that time; false where it is there. For who is about to import: a
 * transaction of its own keeps writers waiting shortly, one that then imports for as long as that takes.
 */
export const ensureMonth = mutation('chat.ensure_month', { at: pg.timestamptz }, pg.bool);

/**
 * Sends a message that the caller may read, with its files, to a channel where they may write, with a note of who said
 * it first. With a `nonce`, forwarding again returns the first message.
 */
export const forwardMessage = mutation('chat.forward_message', {
  messageId: pg.uuid,
  channelId: pg.uuid,
  nonce: optional(pg.text),
}, Message);

/** Where it was forwarded from; null for what was said here first. */
export const forwardedFrom = query('chat.forwarded_from', { message: keyOf(Message, 'id') }, orNull(Forward));

/** Makes another member the owner of a room; who was it becomes an admin. For its owner, and for operators. */
export const handOverRoom = mutation('chat.hand_over_room', { channelId: pg.uuid, userId: pg.uuid }, Channel);

/**
 * A piece of its text with what was searched for in `<mark>`, as HTML: all that was written itself is escaped. Null
 * once deleted.
 */
export const highlight = query('chat.highlight', { message: keyOf(Message, 'id'), query: pg.text }, orNull(pg.text));

/**
 * Takes over messages from elsewhere, oldest first: a list of {line, room_id, room, sent_at, user_id, username,
 * message_id, text}. Rooms and users are made as they are met; an empty text is a deleted message; what was imported
 * before is left as it is. Months that are missing are made first; with ensureMonth before, nobody waits for the batch.
 */
export const importMessages = mutation('chat.import_messages', { source: pg.text, batch: pg.jsonb }, ImportResult);

/** Invites someone into a room, for `expiresIn` seconds (7 days): they come with joinRoom, also where it is private. */
export const inviteToRoom = mutation('chat.invite_to_room', {
  channelId: pg.uuid,
  userId: pg.uuid,
  expiresIn: optional(pg.int4),
}, RoomInvitation);

/**
 * Makes the caller a member of the room that a link leads to; nothing changes for who is one already. The link of
 * who may no longer invite lets nobody in; where requests are approved, that of who does not approve leads to
 * `requestToJoin`.
 */
export const joinByLink = mutation('chat.join_by_link', { token: pg.text }, Member);

/**
 * Makes the caller a member of a room: of a public one, of one that they are invited to, or of one whose password they
 * know. Nothing changes for who is a member already.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const joinRoom = mutation('chat.join_room', { channelId: pg.uuid, password: optional(pg.text) }, Member);

/** The newest message; null for none. */
export const lastMessage = query('chat.last_message', { channel: keyOf(Channel, 'id') }, orNull(Message));

/** Takes the caller out of a room; an owner's place goes to the next in rank. */
export const leaveChannel = mutation('chat.leave_channel', { channelId: pg.uuid });

/** Moves the caller's read position up to a `seq`, or to the newest message when it is left out; never back. */
export const markRead = mutation('chat.mark_read', { channelId: pg.uuid, seq: optional(pg.int8) }, Channel);

/** The message that names them. */
export const mentioningMessage = query('chat.mentioning_message', { mention: keyOf(Mention, 'id') }, orNull(Message));

/** Whom it names with @; one without a user for everyone in the room. */
export const mentions = query('chat.mentions', { message: keyOf(Message, 'id') }, setOf(Mention));

/** Whether the caller gave it. */
export const mine = query('chat.mine', { reaction: keyOf(Reaction, 'messageId', 'emoji') }, pg.bool);

/**
 * Keeps a member from writing in a room for so many seconds, or until it is lifted. For moderators, about members below
 * them.
 */
export const muteMember = mutation('chat.mute_member', {
  channelId: pg.uuid,
  userId: pg.uuid,
  seconds: optional(pg.int4),
  reason: optional(pg.text),
}, RoomMute);

/** The caller's channels, the last active first. */
export const myChannels = query('chat.my_channels', {}, setOf(Channel));

/** The invitations that wait for the caller's answer. */
export const myInvitations = query('chat.my_invitations', {}, setOf(RoomInvitation));

/** What names the caller, or everyone in a room of theirs, the last first. */
export const myMentions = query('chat.my_mentions', {}, setOf(Mention));

/** What the caller may do in the room; nothing for who is not in it. Who is muted does not write all the same. */
export const myPermissions = query('chat.my_permissions', {
  channel: keyOf(Channel, 'id'),
}, orNull(arrayOf(RoomPermission)));

/** What the room is called; who is banned sees nothing else of it. */
export const name = query('chat.name', { ban: keyOf(RoomBan, 'channelId', 'userId') }, orNull(pg.text));

/** The direct chat with someone: the one there is, or a new one. */
export const openDirect = mutation('chat.open_direct', { userId: pg.uuid }, Channel);

/** The message as it stands where it was said; null for who may not read it there. */
export const original = query('chat.original', { forward: keyOf(Forward, 'messageId') }, orNull(Message));

/** The other side of a direct chat; null for any other channel. */
export const otherUser = query('chat.other_user', { channel: keyOf(Channel, 'id') }, orNull(User));

/** Pins a message, for everyone in the channel: by moderators of a room, by either side of a direct chat. */
export const pinMessage = mutation('chat.pin_message', { messageId: pg.uuid }, Pin);

/** The message that is pinned. */
export const pinnedMessage = query('chat.pinned_message', {
  pin: keyOf(Pin, 'channelId', 'messageId'),
}, orNull(Message));

/** What it was answered with, and by how many each; at most 20. */
export const reactions = query('chat.reactions', { message: keyOf(Message, 'id') }, setOf(Reaction));

/** Who gave it. */
export const reactors = query('chat.reactors', { reaction: keyOf(Reaction, 'messageId', 'emoji') }, setOf(Reactor));

/**
 * Makes a room of an organization an ordinary one: who is in it stays, and may leave. It takes a role of one's own
 * with {"rooms": ["delete"]}.
 */
export const releaseOrganizationRoom = mutation('chat.release_organization_room', {
  channelId: pg.uuid,
}, orNull(Channel));

/** Keeps a message no longer; nothing changes where there is no bookmark. */
export const removeBookmark = mutation('chat.remove_bookmark', { messageId: pg.uuid });

/** Takes someone out of a room; for members with a higher role than theirs. */
export const removeMember = mutation('chat.remove_member', {
  channelId: pg.uuid,
  userId: pg.uuid,
  reason: optional(pg.text),
});

/** Takes the caller's sign back from a message; nothing changes where there is none. */
export const removeReaction = mutation('chat.remove_reaction', { messageId: pg.uuid, emoji: pg.text }, Message);

/** Opens an archived room again; one of a closed organization opens with that. */
export const reopenRoom = mutation('chat.reopen_room', { channelId: pg.uuid }, Channel);

/** The messages that answer this one, in order. */
export const replies = query('chat.replies', { message: keyOf(Message, 'id') }, setOf(Message));

/** How many messages answer it, those that were deleted left out; `replies` pages through them. */
export const replyCount = query('chat.reply_count', { message: keyOf(Message, 'id') }, pg.int8);

/** The message this one answers; null for none. */
export const replyTo = query('chat.reply_to', { message: keyOf(Message, 'id') }, orNull(Message));

/** Asks to be let into a room that approves who comes. Its moderators are told; asking twice is one request. */
export const requestToJoin = mutation('chat.request_to_join', {
  channelId: pg.uuid,
  text: optional(pg.text),
}, JoinRequest);

/** Ends a link into a room; for who made it and for who approves requests in the room. */
export const revokeRoomLink = mutation('chat.revoke_room_link', { id: pg.uuid });

/** The room that a link leads to; null where the link does not hold. */
export const roomByLink = query('chat.room_by_link', { token: pg.text }, orNull(RoomCard));

/** Writes a message that is sent at its time, within a year. At most 100 wait. */
export const scheduleMessage = mutation('chat.schedule_message', {
  channelId: pg.uuid,
  text: pg.text,
  sendAt: pg.timestamptz,
  replyToId: optional(pg.uuid),
}, ScheduledMessage);

/**
 * Messages in one channel, or in all that the caller may read: by words in any form in the language of the text, and
 * by parts of words (of several, by a part of the last); of an author, from `since` and before `until`, with a file or
 * without, in the thread of a message.
 * Best match first, then newest, of the newest 200 that match.
 */
export const searchMessages = query('chat.search_messages', {
  query: pg.text,
  channelId: optional(pg.uuid),
  authorId: optional(pg.uuid),
  since: optional(pg.timestamptz),
  until: optional(pg.timestamptz),
  hasFile: optional(pg.bool),
  threadId: optional(pg.uuid),
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

/** Keeps what the caller has written in a channel and not sent, for their other devices; left out or empty, it goes. */
export const setDraft = mutation('chat.set_draft', {
  channelId: pg.uuid,
  text: optional(pg.text),
  replyToId: optional(pg.uuid),
}, Channel);

/**
 * Gives a member a right beyond their role, or takes one away; left out, the role decides again. For who may manage the
 * room and has the right themselves.
 */
export const setMemberPermission = mutation('chat.set_member_permission', {
  channelId: pg.uuid,
  userId: pg.uuid,
  permission: RoomPermission,
  isAllowed: optional(pg.bool),
}, Member);

/**
 * Sets the password by which people come into a private room, or removes it where it is left out. Its hash alone is
 * kept.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const setRoomPassword = mutation('chat.set_room_password', {
  channelId: pg.uuid,
  password: optional(pg.text),
}, Channel);

/** Tells those in the channel that the caller is typing; clients say it every few seconds while that is so. */
export const setTyping = mutation('chat.set_typing', { channelId: pg.uuid });

/** Lifts a ban; they come in again like anyone, and are in again where the room follows an organization of theirs. */
export const unbanFromRoom = mutation('chat.unban_from_room', { channelId: pg.uuid, userId: pg.uuid });

/** Lets a member write again. */
export const unmuteMember = mutation('chat.unmute_member', { channelId: pg.uuid, userId: pg.uuid });

/** Unpins a message; nothing changes where it is not pinned. */
export const unpinMessage = mutation('chat.unpin_message', { messageId: pg.uuid });

/** How many messages the caller has not read; null for who is not a member. */
export const unread = query('chat.unread', { channel: keyOf(Channel, 'id') }, orNull(pg.int4));

/** How many messages the caller has not read, in all channels. */
export const unreadTotal = query('chat.unread_total', {}, pg.int8);

/** Changes what a room is called and how it takes people in. What is left out stays; an empty description removes it. */
export const updateRoom = mutation('chat.update_room', {
  channelId: pg.uuid,
  name: optional(pg.text),
  description: optional(pg.text),
  isPublic: optional(pg.bool),
  maxMembers: optional(pg.int4),
  requiresApproval: optional(pg.bool),
  membersMayInvite: optional(pg.bool),
  lowestWriter: optional(MemberRole),
  slowModeSeconds: optional(pg.int4),
}, Channel);

/** Takes an invitation back; for who made it and for who approves requests in the room. */
export const withdrawInvitation = mutation('chat.withdraw_invitation', { channelId: pg.uuid, userId: pg.uuid });

/** Takes the caller's request to come into a room back. */
export const withdrawRequest = mutation('chat.withdraw_request', { channelId: pg.uuid });
