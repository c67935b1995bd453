// Made from schema.sql by `npm run generate`.
import { mutation } from '../callers.ts';
import { oneOf, optional, orNull, pg, row, type ValueOf } from '../kinds.ts';
import { Channel } from './chat.ts';
import { AccountStatus, SessionTokens, User } from './identity.ts';
import { Organization } from './organizations.ts';

/** Where an export is downloaded, by whoever has the link. */
export const ExportLink = row('accounts.export_link', {
  /** The path on this server: `/exports/…`. */
  path: orNull(pg.text),
  /** Until when it is good. */
  expiresAt: orNull(pg.timestamptz),
});
export type ExportLink = ValueOf<typeof ExportLink>;

/** What an operator did; `ACTED` is a mutation that they ran as the user, which `data` names. */
export const ActKind = oneOf('accounts.act_kind', ['status_changed', 'merged', 'impersonated', 'held', 'released', 'acted']);
export type ActKind = ValueOf<typeof ActKind>;

/** What operators have done to accounts; a log that nobody can edit. Users see who acted as them. */
export const Act = row('accounts.acts', {
  /** The key; rises with time. */
  id: pg.uuid,
  /** What was done. */
  kind: ActKind,
  /** Who did it; null for someone at the database. */
  operatorId: orNull(pg.uuid),
  /** To whom; null where it is about a channel. */
  userId: orNull(pg.uuid),
  /** To which channel; null where it is about a user. */
  channelId: orNull(pg.uuid),
  /** Why, in their words. */
  reason: pg.text,
  /** What else there is to know of it. */
  data: pg.jsonb,
  /** The IP address it was done from. */
  address: orNull(pg.inet),
  /** When. */
  createdAt: pg.timestamptz,
});
export type Act = ValueOf<typeof Act>;

/** A file that is made at the wish of a user: of all that Plinth keeps of them, or of what they may see. */
export const Export = row('accounts.exports', {
  /** The key; rises with time. */
  id: pg.uuid,
  /** Who asked for it. */
  userId: pg.uuid,
  /** What it is of: `account` is all that is kept of the user (`requestExport`). */
  kind: pg.text,
  /** How it is written: `jsonl`, `csv` or `xlsx`. */
  format: pg.text,
  /** Which rows it has, where not all. */
  criteria: pg.jsonb,
  /** The name that the client gave it: asked for again, it is the same. */
  nonce: orNull(pg.text),
  /** The run that makes it: follow it by `runEvents`. */
  runId: orNull(pg.uuid),
  /** When it was asked for. */
  createdAt: pg.timestamptz,
  /** When it was finished; null until then. */
  finishedAt: orNull(pg.timestamptz),
  /** Its size; null until it is finished. */
  bytes: orNull(pg.int8),
  /** How many rows it has; null until it is finished. */
  rowCount: orNull(pg.int8),
  /** When it is removed. */
  expiresAt: pg.timestamptz,
});
export type Export = ValueOf<typeof Export>;

/** Where a finished export of the caller's is downloaded, for an hour. The link before is good no longer. */
export const createExportLink = mutation('accounts.create_export_link', { id: pg.uuid }, ExportLink);

/**
 * Signs the operator in as a user for 15 minutes, for a reason that is logged; the user sees the session and the log.
 * There is no refresh token.
 */
export const impersonate = mutation('accounts.impersonate', { userId: pg.uuid, reason: pg.text }, SessionTokens);

/**
 * Makes two accounts of one person one: messages, memberships and direct chats of `from` become those of `into`, and
 * `from` is removed. What the other lacks to sign in with, a phone number or an e-mail address, comes along.
 */
export const mergeAccounts = mutation('accounts.merge_accounts', {
  fromId: pg.uuid,
  intoId: pg.uuid,
  reason: pg.text,
}, User);

/** From now on nothing of a user, or of a channel, is removed, whoever asks: no message, no account, no room. */
export const placeHold = mutation('accounts.place_hold', {
  reason: pg.text,
  userId: optional(pg.uuid),
  channelId: optional(pg.uuid),
}, Act);

/** Ends the legal hold of a user or of a channel: what is kept no longer is removed by the next upkeep. */
export const releaseHold = mutation('accounts.release_hold', {
  reason: pg.text,
  userId: optional(pg.uuid),
  channelId: optional(pg.uuid),
}, Act);

/** Asks for a file with all that Plinth keeps of the caller; its job makes it. One at a time, three a day. */
export const requestExport = mutation('accounts.request_export', {}, Export);

/**
 * Bans a user (`BANNED`), suspends them (`INACTIVE`) or lets them in again (`ACTIVE`), for a reason that is logged.
 * Their sessions end at once.
 */
export const setAccountStatus = mutation('accounts.set_account_status', {
  userId: pg.uuid,
  status: AccountStatus,
  reason: pg.text,
}, Act);

/**
 * Keeps the messages of the organization's rooms for so many days, where a room has no rule of its own; for ever where
 * `days` is left out. It takes {"organization": ["write"]}.
 */
export const setOrganizationRetention = mutation('accounts.set_organization_retention', {
  organizationId: pg.uuid,
  days: optional(pg.int4),
}, Organization);

/**
 * Keeps the messages of a room for so many days; where `days` is left out, for as long as its organization says, else
 * for ever. For its owner and admins.
 */
export const setRetention = mutation('accounts.set_retention', {
  channelId: pg.uuid,
  days: optional(pg.int4),
}, Channel);
