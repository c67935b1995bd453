// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

/** How long a backup is kept: 7 days, 30 days, for ever. */
export const BackupKind = oneOf('operations.backup_kind', ['daily', 'weekly', 'monthly']);
export type BackupKind = ValueOf<typeof BackupKind>;

/** Who wrote it: Plinth, for every version of Postgres; or pg_dump. */
export const BackupForm = oneOf('operations.backup_form', ['portable', 'pg_dump']);
export type BackupForm = ValueOf<typeof BackupForm>;

/**
 * Good: one of the last 26 hours is proven. Late: the newest is older. Failing: it is, and what was tried since failed.
 * Missing: none is proven.
 */
export const BackupVerdict = oneOf('operations.backup_verdict', ['good', 'late', 'failing', 'missing']);
export type BackupVerdict = ValueOf<typeof BackupVerdict>;

/** How well the data is backed up. */
export const BackupHealth = row('operations.backup_health', {
  /** The judgement. */
  verdict: orNull(BackupVerdict),
  /** The newest proven backup; null for none. */
  newest: orNull(pg.text),
  /** The moment whose data it holds. */
  begunAt: orNull(pg.timestamptz),
  /** How much would be lost now: its age (RPO), in seconds. */
  lostSeconds: orNull(pg.float8),
  /** How long its restore took when it was proven (RTO), in seconds. */
  restoreSeconds: orNull(pg.float8),
  /** Its size. */
  bytes: orNull(pg.int8),
  /** Why the newest backup failed; null where it has not. */
  problem: orNull(pg.text),
});
export type BackupHealth = ValueOf<typeof BackupHealth>;

/** How far a backup is. It counts once it is proven: restored, and found equal. */
export const BackupState = oneOf('operations.backup_state', ['running', 'finished', 'proven', 'failed']);
export type BackupState = ValueOf<typeof BackupState>;

/** The backups that were made or tried. */
export const Backup = row('operations.backups', {
  /** What it is called where it is stored. */
  name: pg.text,
  /** How long it is kept. */
  kind: BackupKind,
  /** Who wrote it. */
  form: BackupForm,
  /** `all`, `data` for data without the schema, or the name of one section. */
  parts: pg.text,
  /** How far it is. */
  state: BackupState,
  /** Where it is stored. */
  storage: pg.text,
  /** When it began: it holds the data of that moment. */
  startedAt: pg.timestamptz,
  /** When all of it was stored; null if it was not. */
  finishedAt: orNull(pg.timestamptz),
  /** When it had been restored and was found equal; null if it was not. */
  provenAt: orNull(pg.timestamptz),
  /** When it was removed; null while it is there. */
  removedAt: orNull(pg.timestamptz),
  /** Its size where it is stored. */
  bytes: orNull(pg.int8),
  /** How many rows it holds. */
  rowCount: orNull(pg.int8),
  /** How long restoring it took, in seconds; null if it was not. */
  restoreSeconds: orNull(pg.float8),
  /** Why it failed; null if it did not. */
  error: orNull(pg.text),
});
export type Backup = ValueOf<typeof Backup>;

/** Renews the statistics of messages as a whole: autovacuum does so for each month, never for all of them together. */
export const analyzeMessages = mutation('operations.analyze_messages', {});

/** Notes that a backup, or its proof, failed. */
export const backupFailed = mutation('operations.backup_failed', { name: pg.text, error: pg.text });

/** Notes that all of a backup is stored. */
export const backupFinished = mutation('operations.backup_finished', {
  name: pg.text,
  bytes: pg.int8,
  rowCount: pg.int8,
});

/** Notes a backup that is in the storage; false where it is known already. */
export const backupFound = mutation('operations.backup_found', {
  name: pg.text,
  kind: BackupKind,
  form: BackupForm,
  storage: pg.text,
  parts: pg.text,
  startedAt: pg.timestamptz,
  finishedAt: pg.timestamptz,
  bytes: pg.int8,
  rowCount: pg.int8,
}, orNull(pg.bool));

/** Notes that a backup was restored and found equal, and how many seconds that took. */
export const backupProven = mutation('operations.backup_proven', { name: pg.text, restoreSeconds: pg.float8 });

/** Notes that a backup is in the storage no longer. */
export const backupRemoved = mutation('operations.backup_removed', { name: pg.text });

/** Notes that a backup begins; returns how long it is to be kept. Only one runs at a time, as long as the connection. */
export const backupStarted = mutation('operations.backup_started', {
  name: pg.text,
  form: BackupForm,
  storage: pg.text,
  parts: optional(pg.text),
}, orNull(BackupKind));

/** How well the data is backed up: what would be lost now, how long a restore takes, and whether that is good. */
export const backupStatus = query('operations.backup_status', {}, BackupHealth);

/**
 * Makes the monthly partitions of messages that are missing from `since` until `months_ahead`; returns how many. Makes
 * those of the event log for the coming days too.
 */
export const ensurePartitions = mutation('operations.ensure_partitions', {
  since: optional(pg.timestamptz),
  monthsAhead: optional(pg.int4),
}, pg.int4);

/** Removes codes, counts of tries and sessions that are over; returns how many rows. */
export const expireCodes = mutation('operations.expire_codes', {}, pg.int8);

/** Drops the days of the event log that are kept no longer; returns how many. */
export const expireEvents = mutation('operations.expire_events', {}, pg.int4);

/**
 * Removes the names that clients gave to messages more than 30 days ago: sent again after that, it is another message.
 * Those of imported users stay, since an import relies on them. Returns how many.
 */
export const expireNonces = mutation('operations.expire_nonces', {}, pg.int8);

/**
 * The backups to remove: daily ones after 7 days, weekly ones after 30, monthly ones never; none before a newer one is
 * proven.
 */
export const expiredBackups = query('operations.expired_backups', { now: optional(pg.timestamptz) }, setOf(Backup));
