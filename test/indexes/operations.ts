import type { Section } from './section.ts';

export const operations: Section = {
  uses: {
    'operations.backups_started_at_idx': 'select operations.backup_status()',
    'operations.backups_pkey': null,
    'operations.health_thresholds_pkey': null,
  },
  rows: `
  insert into operations.backups (name, kind, form, storage, state, started_at, finished_at, proven_at)
    select 'backup ' || n, 'daily', 'portable', 'folder', 'proven', now() - n * interval '1 day', now() - n * interval '1 day', now() from who;
  `,
};
