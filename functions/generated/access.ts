// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

/** That the place is being worked on. */
export const Maintenance = row('access.maintenance', {
  /** Members may only read (`read_only`), or not even that (`closed`). */
  level: orNull(pg.text),
  /** What they are told. */
  message: orNull(pg.text),
  /** Since when. */
  startedAt: orNull(pg.timestamptz),
  /** When it ends by itself; null: when it is ended by hand. */
  endsAt: orNull(pg.timestamptz),
});
export type Maintenance = ValueOf<typeof Maintenance>;

/** Whether something new is there for the caller. */
export const FeatureFlag = row('access.feature_flag', {
  /** What it is called. */
  name: orNull(pg.text),
  /** Whether it is there. */
  isOn: orNull(pg.bool),
});
export type FeatureFlag = ValueOf<typeof FeatureFlag>;

/** What may be switched on for some, or for all. */
export const Flag = row('access.flags', {
  /** The key. */
  name: pg.text,
  /** Off is off for everyone. */
  isOn: pg.bool,
  /** For how many percent of users it is on, always the same ones; below 100, not for who is signed out. */
  share: pg.int4,
  /** Users whom it is on for whatever the share. */
  forUsers: arrayOf(pg.uuid),
  /** What it switches. */
  description: pg.text,
});
export type Flag = ValueOf<typeof Flag>;

/**
 * Lets members only read (level `read_only`), or not even that (`closed`): they are told the message and when to come
 * back. Called again, it replaces what was said before. Operators and services go on.
 */
export const beginMaintenance = mutation('access.begin_maintenance', {
  message: pg.text,
  endsAt: optional(pg.timestamptz),
  level: optional(pg.text),
}, Maintenance);

/** Lets everyone in again; false where they were. */
export const endMaintenance = mutation('access.end_maintenance', {}, pg.bool);

/** All flags, and whether each is on for the caller. */
export const featureFlags = query('access.feature_flags', {}, setOf(FeatureFlag));

/** Whether a flag is on for the caller; false where there is none of that name. In a policy: `(select access.is_on(…))`. */
export const isOn = query('access.is_on', { flag: pg.text }, orNull(pg.bool));

/** That the place is being worked on; null while it is not. */
export const maintenance = query('access.maintenance', {}, orNull(Maintenance));

/** Removes a flag, which is off from then on; false where there was none of that name. */
export const removeFlag = mutation('access.remove_flag', { name: pg.text }, pg.bool);

/** Makes a flag, or changes what is given of it. */
export const setFlag = mutation('access.set_flag', {
  name: pg.text,
  isOn: optional(pg.bool),
  share: optional(pg.int4),
  forUsers: optional(arrayOf(pg.uuid)),
  description: optional(pg.text),
}, Flag);
