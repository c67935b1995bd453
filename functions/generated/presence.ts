// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { keyOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { Channel } from './chat.ts';
import { User } from './identity.ts';

/** Who sees whether someone is there: every member, those to whom they have written in a direct chat, nobody else. */
export const PresenceVisibility = oneOf('presence.presence_visibility', ['everyone', 'contacts', 'nobody']);
export type PresenceVisibility = ValueOf<typeof PresenceVisibility>;

/** How long someone was there on a day of their time zone. */
export const OnlineDay = row('presence.online_day', {
  /** The day. */
  day: orNull(pg.date),
  /** For how long; several devices at once count once. */
  seconds: orNull(pg.int4),
  /** How many times: sessions that touch the day. */
  sessions: orNull(pg.int4),
  /** When they were first there on that day. */
  firstSessionAt: orNull(pg.timestamptz),
  /** When they were last there on that day. */
  lastSessionAt: orNull(pg.timestamptz),
});
export type OnlineDay = ValueOf<typeof OnlineDay>;

/** Whether someone is there. */
export const PresenceStatus = oneOf('presence.presence_status', ['online', 'away', 'offline']);
export type PresenceStatus = ValueOf<typeof PresenceStatus>;

/** When they last opened or refreshed a session, as far as the caller may see it; null for never. */
export const lastSeenAt = query('presence.last_seen_at', { person: keyOf(User, 'id') }, orNull(pg.timestamptz));

/** Who sees whether the caller is there. */
export const presenceVisibility = query('presence.my_presence_visibility', {}, PresenceVisibility);

/**
 * How long someone was there on each day since and until, the last 31 days where these are left out; the caller, or
 * whoever lets them see it. Days without are left out.
 */
export const onlineDays = query('presence.online_days', {
  userId: optional(pg.uuid),
  since: optional(pg.date),
  until: optional(pg.date),
}, setOf(OnlineDay));

/** Who of the channel is there now, as far as the caller may see it. */
export const onlineMembers = query('presence.online_members', { channel: keyOf(Channel, 'id') }, setOf(User));

/**
 * Says that the caller is there, away or gone, with this device (the session that the token is of). Clients say it
 * every 30 seconds: who has said nothing for 90 is gone. It counts within a second.
 */
export const setPresence = mutation('presence.set_presence', { status: PresenceStatus });

/** Chooses who sees whether the caller is there, and how long they were. */
export const setPresenceVisibility = mutation('presence.set_presence_visibility', {
  visibleTo: PresenceVisibility,
}, PresenceVisibility);

/** Whether they are there, as far as the caller may see it. */
export const presence = query('presence.status', { person: keyOf(User, 'id') }, orNull(PresenceStatus));
