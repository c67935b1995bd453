import { makeLog } from '../../functions/log.ts';
import { loadSettings } from '../../functions/vault.ts';
import { tasks } from '../../workers/tasks.ts';
import { startWorkers } from '../../workers/workers.ts';

// What npm run worker does, on the database of DATABASE_URL as it is: its schema.sql holds more than ours.

const settings = await loadSettings(process.env);
await startWorkers({ databaseUrl: process.env.DATABASE_URL ?? '', settings, tasks, log: makeLog(settings) }).catch(
  (error: Error) => {
    console.error(`A worker did not start: ${error.message}`);
    process.exit(1);
  },
);
