import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Settings } from '../functions/settings.ts';

/** What a task has to work with. */
export type Work = {
  /** The run that this is, a row of jobs.runs. */
  runId: string;
  /** 1 for the first try. */
  attempt: number;
  /** The database, by the login of DATABASE_URL; `asOwner` makes it act as plinth_owner. */
  databaseUrl: string;
  settings: Settings;
  /** Aborted when the run is cancelled or the worker is to stop: what is half done is undone or can be gone on with. */
  signal: AbortSignal;
  /**
   * Notes how far it is: a share from 0 to 1 (undefined where the whole is not known), and what is being done; seen by whoever follows the
   * run. Within one try it only rises: a share that is less is not noted.
   */
  progress(share: number | undefined, note?: string): void;
  log: Logger;
};

/** What making, proving and restoring a backup has to work with. */
export type BackupWork = Pick<Work, 'databaseUrl' | 'settings' | 'signal' | 'progress' | 'log'>;

/**
 * A task in TypeScript: one that touches the outside (what is SQL only is a function and a row, see jobs.tasks). It may be run twice for one
 * job, since a worker can die between its last step and saying so.
 */
export type Task<Payload = unknown> = {
  /** As in jobs.tasks. */
  name: string;
  /** What the payload must be; anything else fails the run for good. */
  payload: z.ZodType<Payload>;
  /** Its result, kept in jobs.runs.result as JSON. */
  run(payload: Payload, work: Work): Promise<unknown>;
};
