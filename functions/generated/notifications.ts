// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { Channel } from './chat.ts';

/** What the caller has not seen yet. */
export const NotificationCounts = row('notifications.notification_counts', {
  /** Notifications that are not read, of every type. */
  unread: orNull(pg.int4),
  /** Mentions among them. */
  mentions: orNull(pg.int4),
  /** Invitations to rooms among them. */
  invitations: orNull(pg.int4),
  /** Alerts of the system among them. */
  alerts: orNull(pg.int4),
  /** Channels with new messages (`newMessages`). */
  channels: orNull(pg.int4),
  /** New messages in them. */
  messages: orNull(pg.int8),
});
export type NotificationCounts = ValueOf<typeof NotificationCounts>;

/** What a member wants to be told of a channel: every message, only what names them or calls the room, nothing. */
export const NotificationLevel = oneOf('notifications.notification_level', ['all', 'mentions', 'none']);
export type NotificationLevel = ValueOf<typeof NotificationLevel>;

/** What a member wants to be told of a channel. */
export const NotificationSetting = row('notifications.notification_settings', {
  /** The channel. */
  channelId: pg.uuid,
  /** The member. */
  userId: pg.uuid,
  /** What they are told. */
  level: NotificationLevel,
  /** Until when nothing is told; null: not muted. */
  mutedUntil: orNull(pg.timestamptz),
});
export type NotificationSetting = ValueOf<typeof NotificationSetting>;

/** Marks all notifications and all messages as read, of up to 1,000 channels at once. Returns what is left. */
export const markEverythingRead = mutation('notifications.mark_everything_read', {}, NotificationCounts);

/**
 * Marks notifications as read: one, up to 200, or all where `ids` is left out. Those that are read, gone or someone
 * else's are passed over. Returns what is left.
 */
export const markNotificationsRead = mutation('notifications.mark_notifications_read', {
  ids: optional(arrayOf(pg.uuid)),
}, NotificationCounts);

/** What the caller wants to be told of this channel; null where they have not chosen: everything. */
export const notificationSetting = query('notifications.my_notification_settings', {
  channel: keyOf(Channel, 'id'),
}, orNull(NotificationSetting));

/**
 * The notifications of new messages: the caller's channels with messages that they have not read and want to be told
 * of, the last active first. Their `unread` and `lastMessage` say what is new; `markRead` takes a channel out.
 */
export const newMessages = query('notifications.new_messages', {}, setOf(Channel));

/** How much the caller has not seen yet. */
export const notificationCounts = query('notifications.notification_counts', {}, NotificationCounts);

/**
 * Tells up to 1,000 users, or everyone, of something about the place. Returns how many were told; null for everyone,
 * which is one row, however many they are.
 */
export const sendAlert = mutation('notifications.send_alert', {
  title: pg.text,
  text: optional(pg.text),
  userIds: optional(arrayOf(pg.uuid)),
}, orNull(pg.int4));

/**
 * Chooses what the caller is told of a channel: the level, and until when nothing at all. What is left out stays; a
 * `mutedUntil` that is past ends the mute.
 */
export const setNotifications = mutation('notifications.set_notifications', {
  channelId: pg.uuid,
  level: optional(NotificationLevel),
  mutedUntil: optional(pg.timestamptz),
}, NotificationSetting);
