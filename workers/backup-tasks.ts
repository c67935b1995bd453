import { z } from 'zod';
import { backUp } from './backup.ts';
import { proveBackup, pruneBackups } from './backup-care.ts';
import type { Task } from './task.ts';

// The tasks that jobs run for backups. Run twice, each does no harm: another backup, another proof, nothing more to remove.

const backupPayload = z.strictObject({
  parts: z
    .string()
    .regex(/^[a-z_]+$/)
    .optional(),
  form: z.enum(['portable', 'pg_dump']).optional(),
});

/** Makes a backup. */
export const backupTask: Task<z.output<typeof backupPayload>> = {
  name: 'backup',
  payload: backupPayload,
  async run(payload, work) {
    const { name, kind, form, rows, bytes } = await backUp(work, payload);
    return { name, kind, form, rows, bytes };
  },
};

const provePayload = z.strictObject({ name: z.string().optional() });

/** Proves a backup, by default the newest that is not proven yet. */
export const proveBackupTask: Task<z.output<typeof provePayload>> = {
  name: 'prove_backup',
  payload: provePayload,
  run: ({ name }, work) => proveBackup(work, name),
};

const nothing = z.strictObject({});

/** Removes the backups that are kept no longer. */
export const pruneBackupsTask: Task<z.output<typeof nothing>> = {
  name: 'prune_backups',
  payload: nothing,
  run: (_, work) => pruneBackups(work),
};
