import { Gauge } from 'prom-client';
import { type BackupHealth, backupStatus } from '../functions/generated/operations.ts';
import type { Requests } from '../functions/requests.ts';
import type { Collector } from './metrics.ts';

// Prometheus may ask of several servers at once, and each again.
const readEvery = 60_000;

/** How backups stand, as operations.backup_status tells: what could be lost, and how long coming back takes. */
export function collectBackups(requests: Requests): Collector {
  let known: { at: number; status: Promise<BackupHealth | null> } | undefined;

  function status(): Promise<BackupHealth | null> {
    if (!known || Date.now() - known.at > readEvery) {
      const caller = { role: 'service', claims: {} } as const;
      const read = backupStatus((calls, { readOnly }) =>
        requests.run(caller, calls, { readOnly, operation: 'backups' }),
      );
      // That the database is not there is told by plinth_database_up.
      known = { at: Date.now(), status: read.catch(() => null) };
    }
    return known.status;
  }

  const gauges: [string, string, (status: BackupHealth) => number | bigint | string | null][] = [
    [
      'plinth_backup_good',
      'Whether a proven backup is young enough: 0 or 1.',
      ({ verdict }) => Number(verdict === 'good'),
    ],
    ['plinth_backup_failed', 'Whether the last backup failed: 0 or 1.', ({ problem }) => Number(problem !== null)],
    [
      'plinth_backup_recovery_point_seconds',
      'What would be lost now: the age of the newest proven backup.',
      ({ lostSeconds }) => lostSeconds,
    ],
    ['plinth_backup_recovery_time_seconds', 'How long restoring it took.', ({ restoreSeconds }) => restoreSeconds],
    ['plinth_backup_bytes', 'Its size.', ({ bytes }) => bytes],
  ];
  return (registry) => {
    for (const [name, help, value] of gauges) {
      new Gauge({
        name,
        help,
        registers: [registry],
        async collect() {
          this.reset();
          const health = await status();
          const found = health && value(health);
          if (found !== null && found !== undefined) this.set(Number(found));
        },
      });
    }
  };
}
