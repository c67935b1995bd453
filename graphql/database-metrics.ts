import { asService, type Runner } from '../functions/callers.ts';
import { overview } from '../functions/generated/jobs.ts';
import { type BackupHealth, backupStatus, health } from '../functions/generated/operations.ts';
import type { Requests } from '../functions/requests.ts';
import type { Collector } from './metrics.ts';
import { readings, readingsOf } from './readings.ts';

const longest = 10_000;
const verdicts = { ok: 0, warn: 1, critical: 2, unknown: -1 };

/**
 * Reads what a function of the database tells, once in so many milliseconds: Prometheus may ask of several servers at once, and more often
 * than any of this changes. Undefined where there is no answer; it is asked again with the next scrape then.
 */
function reader<Result>(requests: Requests, every: number, name: string, read: (run: Runner) => Promise<Result>) {
  let known: { at: number; result: Promise<Result | undefined> } | undefined;
  return () => {
    if (!known || performance.now() - known.at > every) {
      const result = read(asService(requests, name, AbortSignal.timeout(longest))).catch(() => {
        known = undefined;
        return undefined;
      });
      known = { at: performance.now(), result };
    }
    return known.result;
  };
}

/** What the database tells of itself: its health, its jobs, its backups. */
export function databaseCollectors(requests: Requests): Collector[] {
  const checks = reader(requests, 60_000, 'health', (run) => health(run));
  const tasks = reader(requests, 10_000, 'jobs', (run) => overview(run));
  const backups = reader(requests, 60_000, 'backups', (run) => backupStatus(run));
  const allChecks = async () => (await checks()) ?? [];
  const ofBackups = (value: (status: BackupHealth) => number | bigint | string | boolean | null) => async () => {
    const status = await backups();
    return status && value(status);
  };
  const area = { check: ({ name }: { name: string | null }) => name, area: (row: { area: string | null }) => row.area };
  return [
    readings([
      ['plinth_database_up', 'Whether the database tells its health: 0 or 1.', async () => Boolean(await checks())],
      [
        'plinth_backup_good',
        'Whether a proven backup is young enough: 0 or 1.',
        ofBackups(({ verdict }) => verdict === 'good'),
      ],
      ['plinth_backup_failed', 'Whether the last backup failed: 0 or 1.', ofBackups(({ problem }) => problem !== null)],
      [
        'plinth_backup_recovery_point_seconds',
        'What would be lost now: the age of the newest proven backup.',
        ofBackups(({ lostSeconds }) => lostSeconds),
      ],
      [
        'plinth_backup_recovery_time_seconds',
        'How long restoring it took.',
        ofBackups(({ restoreSeconds }) => restoreSeconds),
      ],
      ['plinth_backup_bytes', 'Its size.', ofBackups(({ bytes }) => bytes)],
    ]),
    readingsOf(allChecks, { ...area, unit: ({ unit }) => unit }, [
      ['plinth_health_value', 'What a check of operations.health measured, in its unit.', ({ value }) => value],
    ]),
    readingsOf(allChecks, area, [
      [
        'plinth_health_verdict',
        'What a check came to: 0 ok, 1 warn, 2 critical, -1 unknown.',
        ({ verdict }) => verdicts[verdict ?? 'unknown'],
      ],
    ]),
    readingsOf(async () => (await tasks()) ?? [], { task: ({ task }) => task }, [
      ['plinth_jobs_waiting', 'Runs of a task that wait for their time or their turn.', ({ waiting }) => waiting],
      ['plinth_jobs_running', 'Runs of a task at work.', ({ running }) => running],
      ['plinth_jobs_failed', 'Runs of a task that failed for good in 24 hours.', ({ failedToday }) => failedToday],
      [
        'plinth_jobs_oldest_waiting_seconds',
        'How long the run of a task has been due that waits longest.',
        ({ isPaused, oldestWaitingSeconds }) => (isPaused ? 0 : (oldestWaitingSeconds ?? 0)),
      ],
    ]),
  ];
}
