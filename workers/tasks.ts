import { z } from 'zod';
import { retirePartitions } from '../functions/partitions.ts';
import { exportAccountTask } from './account-export.ts';
import { backupTask, proveBackupTask, pruneBackupsTask } from './backup-tasks.ts';
import { exportContractsTask } from './contract-export.ts';
import { checkUploadTask, previewFileTask, removeFilesTask } from './file-tasks.ts';
import { fetchFilesTask } from './platforms/files.ts';
import { applyInboundTask } from './platforms/inbound.ts';
import { sendOutboundTask } from './platforms/outbound.ts';
import { syncShopTask } from './platforms/sync.ts';
import { checkIntegrationTask, pollPlatformTask, resealCredentialsTask } from './platforms/upkeep.ts';
import { pruneExportsTask } from './stored-exports.ts';
import type { Task } from './task.ts';
import { deliverWebhookTask } from './webhook.ts';

const retire: Task = {
  name: 'retire_partitions',
  payload: z.looseObject({}),
  run: (_, { databaseUrl, signal, progress }) =>
    retirePartitions(databaseUrl, signal, (done, of) => progress(done / of, `${done} of ${of}`)),
};

/** The tasks in TypeScript: those that touch the outside, and what no function can do. Each has a row in jobs.tasks. */
export const tasks: Task[] = [
  retire,
  backupTask,
  proveBackupTask,
  pruneBackupsTask,
  checkUploadTask,
  previewFileTask,
  removeFilesTask,
  exportAccountTask,
  exportContractsTask,
  pruneExportsTask,
  deliverWebhookTask,
  applyInboundTask,
  sendOutboundTask,
  fetchFilesTask,
  syncShopTask,
  checkIntegrationTask,
  pollPlatformTask,
  resealCredentialsTask,
];
