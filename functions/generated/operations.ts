// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { as, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

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

/** About how much of a table is empty space. */
export const TableBloat = row('operations.table_bloat', {
  /** The schema of the table or partition. */
  schema: orNull(pg.text),
  /** The name of the table or partition. */
  name: orNull(pg.text),
  /** What its rows take on disk. */
  tableBytes: orNull(pg.int8),
  /** What they would not need, estimated from its statistics. */
  bloatBytes: orNull(pg.int8),
  /** The share of that. */
  bloatPercent: orNull(pg.numeric),
});
export type TableBloat = ValueOf<typeof TableBloat>;

/** Who waits for a lock, and who holds it. */
export const BlockedSession = row('operations.blocked_session', {
  /** The process that waits. */
  pid: orNull(pg.int4),
  /** The role that it logged in as. */
  role: orNull(pg.text),
  /** What its client calls itself. */
  application: orNull(pg.text),
  /** Its statement, as in slowQueries. */
  queryId: orNull(pg.int8),
  /** How long it has been waiting. */
  waitingSeconds: orNull(pg.numeric),
  /** The kind of lock, and its mode. */
  lock: orNull(pg.text),
  /** What the lock is on; null: no relation. */
  relation: orNull(pg.text),
  /** The process that it waits for. */
  blockingPid: orNull(pg.int4),
  /** The role of that one. */
  blockingRole: orNull(pg.text),
  /** What that client calls itself. */
  blockingApplication: orNull(pg.text),
  /** What that one does. */
  blockingState: orNull(pg.text),
  /** Its last statement. */
  blockingQueryId: orNull(pg.int8),
  /** How long its transaction has been open. */
  blockingTransactionSeconds: orNull(pg.numeric),
});
export type BlockedSession = ValueOf<typeof BlockedSession>;

/** Connections to this database of one kind. */
export const ConnectionCount = row('operations.connection_count', {
  /** The role that logged in. */
  role: orNull(pg.text),
  /** What the client calls itself. */
  application: orNull(pg.text),
  /** What they do. */
  state: orNull(pg.text),
  /** How many there are. */
  connections: orNull(pg.int8),
  /** How long the longest has been in that state. */
  longestSeconds: orNull(pg.numeric),
});
export type ConnectionCount = ValueOf<typeof ConnectionCount>;

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

/** Numbers that run out, and how far they are used. */
export const NumberHeadroom = row('operations.number_headroom', {
  /** sequence, transactions of a database or of a table, multixacts of a database. */
  kind: orNull(pg.text),
  /** The sequence, database or table. */
  name: orNull(pg.text),
  /** How many are used. */
  used: orNull(pg.numeric),
  /** How many there are. */
  most: orNull(pg.numeric),
  /** The share that is used. */
  usedPercent: orNull(pg.numeric),
});
export type NumberHeadroom = ValueOf<typeof NumberHeadroom>;

/** What a check came to; unknown where a right or a library is missing that it needs. */
export const HealthVerdict = oneOf('operations.health_verdict', ['ok', 'warn', 'critical', 'unknown']);
export type HealthVerdict = ValueOf<typeof HealthVerdict>;

/** One thing that was looked at, and what it came to. */
export const HealthCheck = row('operations.health_check', {
  /** What was looked at. */
  name: orNull(pg.text),
  /** What it belongs to: connections, storage, replication, … */
  area: orNull(pg.text),
  /** What was found, in `unit`; null: nothing to measure. */
  value: orNull(pg.numeric),
  /** What the value is counted in. */
  unit: orNull(pg.text),
  /** The bound that was crossed, or else the first one. */
  threshold: orNull(pg.numeric),
  /** What it came to. */
  verdict: orNull(HealthVerdict),
  /** Where it was found; null where nothing stands out. */
  detail: orNull(pg.text),
  /** What to do about it; null where it is ok. */
  remedy: orNull(pg.text),
});
export type HealthCheck = ValueOf<typeof HealthCheck>;

/**
 * unused: no query has read it since counting began. duplicate: another index of the table serves all that it does.
 * invalid: a build that failed left it; writes keep it, queries do not use it. missing: a foreign key without one.
 */
export const IndexFinding = oneOf('operations.index_finding', ['unused', 'duplicate', 'invalid', 'missing']);
export type IndexFinding = ValueOf<typeof IndexFinding>;

/** The use of an index with its partitions. */
export const IndexUse = row('operations.index_use', {
  /** The schema of the table. */
  schema: orNull(pg.text),
  /** The table. */
  tableName: orNull(pg.text),
  /** The index; null where a foreign key has none. */
  name: orNull(pg.text),
  /** What it is over, in order. */
  columns: orNull(pg.text),
  /** Its size on disk. */
  bytes: orNull(pg.int8),
  /** How often queries have read it. */
  scans: orNull(pg.int8),
  /** What is wrong with it; null: nothing. */
  finding: orNull(IndexFinding),
  /** The other index of a duplicate, or the foreign key without one. */
  detail: orNull(pg.text),
});
export type IndexUse = ValueOf<typeof IndexUse>;

/** A transaction that has been open for long. */
export const LongTransaction = row('operations.long_transaction', {
  /** The process: pg_terminate_backend(pid) ends it. */
  pid: orNull(pg.int4),
  /** The role that logged in. */
  role: orNull(pg.text),
  /** What the client calls itself. */
  application: orNull(pg.text),
  /** What it does; idle in transaction: nothing. */
  state: orNull(pg.text),
  /** What it waits for; null: nothing. */
  wait: orNull(pg.text),
  /** How long it has been open. */
  transactionSeconds: orNull(pg.numeric),
  /** How long it has been in that state. */
  stateSeconds: orNull(pg.numeric),
  /** Its last statement, as in slowQueries. */
  queryId: orNull(pg.int8),
  /** How many later transactions no vacuum can clean up after, because of it; null: it holds none. */
  heldTransactions: orNull(pg.int8),
});
export type LongTransaction = ValueOf<typeof LongTransaction>;

/** What all statements came to, as Postgres counts. */
export const QueryTotals = row('operations.query_totals', {
  /** When the counting began. */
  since: orNull(pg.timestamptz),
  /** How many statements ran. */
  totalQueries: orNull(pg.int8),
  /** How many of them were slow, at least. */
  slowQueries: orNull(pg.int8),
  /** How long they ran, all together. */
  totalMilliseconds: orNull(pg.numeric),
  /** How long one ran on average. */
  averageMilliseconds: orNull(pg.numeric),
  /** The share of slow ones. */
  slowPercent: orNull(pg.numeric),
  /** Whether more than 1 % were slow. */
  isFlagged: orNull(pg.bool),
});
export type QueryTotals = ValueOf<typeof QueryTotals>;

/** A replica that is connected, or a slot that keeps WAL. */
export const ReplicationState = row('operations.replication_state', {
  /** replica or slot. */
  kind: orNull(pg.text),
  /** What the replica calls itself, or the name of the slot. */
  name: orNull(pg.text),
  /** How it follows, or what became of its WAL. */
  state: orNull(pg.text),
  /** Whether someone is connected. */
  isActive: orNull(pg.bool),
  /** How far a replica is behind in time; null: not known. */
  lagSeconds: orNull(pg.numeric),
  /** How far it is behind. */
  lagBytes: orNull(pg.numeric),
  /** How much WAL a slot keeps from being removed. */
  heldBytes: orNull(pg.numeric),
});
export type ReplicationState = ValueOf<typeof ReplicationState>;

/** A statement that took long at least once. */
export const SlowQuery = row('operations.slow_query', {
  /** Its text, without any value in it. */
  query: orNull(pg.text),
  /** What Postgres knows it by. */
  queryId: orNull(pg.int8),
  /** The role that it ran as. */
  role: orNull(pg.text),
  /** How often it ran. */
  calls: orNull(pg.int8),
  /** How long it ran, all together. */
  totalMilliseconds: orNull(pg.numeric),
  /** How long it ran on average. */
  meanMilliseconds: orNull(pg.numeric),
  /** How long the slowest of them ran. */
  maxMilliseconds: orNull(pg.numeric),
  /** How many rows it gave, all together. */
  rows: orNull(pg.int8),
  /** The share of its blocks that memory held; null: none. */
  cacheHitPercent: orNull(pg.numeric),
  /** What it wrote to disk for want of memory. */
  temporaryBytes: orNull(pg.int8),
});
export type SlowQuery = ValueOf<typeof SlowQuery>;

/** The size and the use of a table with its partitions. */
export const TableSize = row('operations.table_size', {
  /** The schema of the table. */
  schema: orNull(pg.text),
  /** The name of the table. */
  name: orNull(pg.text),
  /** How many partitions hold its rows; 0: it has none. */
  partitions: orNull(pg.int4),
  /** About how many rows it has. */
  rows: orNull(pg.int8),
  /** All of it on disk. */
  totalBytes: orNull(pg.int8),
  /** The rows, with their long values (TOAST). */
  tableBytes: orNull(pg.int8),
  /** The indexes. */
  indexBytes: orNull(pg.int8),
  /** About how many rows wait for a vacuum. */
  deadRows: orNull(pg.int8),
  /** Their share of all rows. */
  deadPercent: orNull(pg.numeric),
  /** How often it was read from one end to the other. */
  sequentialScans: orNull(pg.int8),
  /** How often it was read by an index. */
  indexScans: orNull(pg.int8),
  /** Rows inserted, updated and deleted. */
  writtenRows: orNull(pg.int8),
  /** The share of blocks that memory held; null: none read. */
  cacheHitPercent: orNull(pg.numeric),
  /** When it, or the last of its partitions, was vacuumed. */
  vacuumedAt: orNull(pg.timestamptz),
  /** When it, or the last of its partitions, was analyzed. */
  analyzedAt: orNull(pg.timestamptz),
});
export type TableSize = ValueOf<typeof TableSize>;

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

/** Tables of 1 MB and more, and about how much of each is empty space, by its statistics; the most first. */
export const bloat = query('operations.bloat', {}, setOf(TableBloat));

/** Who waits for a lock and who holds it, whoever waits longest first. */
export const blockedSessions = query('operations.blocked_sessions', {}, setOf(BlockedSession));

/** Connections to this database by role, application and state; the most first. */
export const databaseConnections = query('operations.database_connections', {}, setOf(ConnectionCount));

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

/** Numbers that run out (transaction ids, multixacts, sequences), and how far they are used; the furthest first. */
export const headroom = query('operations.headroom', {}, setOf(NumberHeadroom));

/** All that is looked at, whatever is worst first, with what to do. Thresholds stand in operations.health_thresholds. */
export const health = query('operations.health', {}, setOf(HealthCheck));

/** Every index, how often it is read, and what is wrong with it; foreign keys without one. What is wrong comes first. */
export const indexUsage = query('operations.index_usage', {}, setOf(IndexUse));

/** Transactions that have been open for `seconds` (60) or more, also those that do nothing; the oldest first. */
export const longTransactions = query('operations.long_transactions', {
  seconds: optional(pg.int4),
}, setOf(LongTransaction));

/**
 * All statements since Postgres began to count: how many, how long, how many took `slow_milliseconds` (1000) or more.
 * Needs pg_stat_statements.
 */
export const queryTotals = query('operations.query_totals', {
  slowMilliseconds: optional(pg.int4),
}, orNull(QueryTotals));

/** Replicas that are connected, with their lag, and slots, with the WAL that they keep. */
export const replication = query('operations.replication', {}, setOf(ReplicationState));

/**
 * Statements that took `slow_milliseconds` (1000) or more at least once, those that cost most first; without values.
 * Needs pg_stat_statements.
 */
export const slowQueries = query('operations.slow_queries', { slowMilliseconds: optional(pg.int4) }, setOf(SlowQuery));

/** Every table with its partitions: rows, bytes, dead rows, scans, writes, cache hits, last vacuum; the largest first. */
export const tableSizes = query('operations.table_sizes', {}, setOf(TableSize));
