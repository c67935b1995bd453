// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';
import { Position } from './events.ts';

/** Waiting for its time or its turn, at work, or how it ended. */
export const RunState = oneOf('jobs.run_state', ['queued', 'running', 'succeeded', 'failed', 'cancelled']);
export type RunState = ValueOf<typeof RunState>;

/** One piece of work: what was asked for, and what came of it. */
export const Run = row('jobs.runs', {
  /** The key. */
  id: pg.uuid,
  /** What to run. */
  task: pg.text,
  /** The function of its schedule; null where the task says it. */
  function: orNull(pg.text),
  /** What the task is given. */
  payload: pg.jsonb,
  /** Where it stands. */
  state: RunState,
  /** Runs of one key never overlap. */
  key: orNull(pg.text),
  /** The name that the asker gave it: asked for again, it is the same run. */
  nonce: orNull(pg.text),
  /** What is higher goes first. */
  priority: pg.int4,
  /** How often it was begun. */
  attempt: pg.int4,
  /** How often it may be begun. */
  maxAttempts: pg.int4,
  /** It does not begin before. */
  runAt: pg.timestamptz,
  /** How far it is, from 0 to 1. */
  progress: pg.float4,
  /** What it is doing. */
  note: orNull(pg.text),
  /** What it gave. */
  result: orNull(pg.jsonb),
  /** Why the last try failed. */
  error: orNull(pg.text),
  /** Who asked for it; null where no user did. */
  askedBy: orNull(pg.uuid),
  /** The schedule that asked for it. */
  schedule: orNull(pg.text),
  /** The time that the schedule asked for it for. */
  scheduledFor: orNull(pg.timestamptz),
  /** The process that runs it, or ran it last. */
  worker: orNull(pg.text),
  /** When it was asked for. */
  createdAt: pg.timestamptz,
  /** When the last try began. */
  startedAt: orNull(pg.timestamptz),
  /** When it ended. */
  finishedAt: orNull(pg.timestamptz),
});
export type Run = ValueOf<typeof Run>;

/** How the runs of a task stand. */
export const TaskState = row('jobs.task_state', {
  /** The task. */
  task: orNull(pg.text),
  /** Its queue of pg-boss; null: graphile-worker. */
  queue: orNull(pg.text),
  /** Whether its runs wait for someone to let them go on. */
  isPaused: orNull(pg.bool),
  /** Runs that wait for their time or their turn. */
  waiting: orNull(pg.int8),
  /** Runs at work. */
  running: orNull(pg.int8),
  /** Runs that failed for good in the last 24 hours. */
  failedToday: orNull(pg.int8),
  /** How long the run has been due that waits longest; null: none is due. */
  oldestWaitingSeconds: orNull(pg.float8),
});
export type TaskState = ValueOf<typeof TaskState>;

/** What can be asked for: a function, or a task of the workers. */
export const Task = row('jobs.tasks', {
  /** The key. */
  name: pg.text,
  /** What it does. */
  description: pg.text,
  /**
   * The function that is the task, with its schema; it takes the payload as jsonb, or nothing. Null for a task in
   * TypeScript.
   */
  function: orNull(pg.text),
  /** The queue of pg-boss that feeds it; null where graphile-worker runs it. */
  queue: orNull(pg.text),
  /** How often it is tried; a queue has its own number. */
  maxAttempts: pg.int4,
  /** What is higher goes first. */
  priority: pg.int4,
  /** Whether no two runs of it overlap. */
  runsAlone: pg.bool,
  /** How long it may run. */
  timeout: pg.interval,
  /** How long its runs are kept after their end. */
  kept: pg.interval,
  /** Whether its runs wait. */
  isPaused: pg.bool,
});
export type Task = ValueOf<typeof Task>;

/** What is asked for again and again. A change is in force within seconds. */
export const Schedule = row('jobs.schedules', {
  /** The key. */
  name: pg.text,
  /** When: minute, hour, day of the month, month, day of the week; with six fields the first is the second. */
  cron: pg.text,
  /** Where that is the time. */
  timeZone: pg.text,
  /** What to run; null for a function. */
  task: orNull(pg.text),
  /** The function to run, with its schema; null for a task. */
  function: orNull(pg.text),
  /** What it is given. */
  payload: pg.jsonb,
  /** How far back times that were missed (no worker ran) are made up for; otherwise the last of them only. */
  backfill: pg.interval,
  /** Whether it waits. */
  isPaused: pg.bool,
  /** When it is due next. */
  nextAt: orNull(pg.timestamptz),
  /** Why it is not in force; null where it is. */
  problem: orNull(pg.text),
});
export type Schedule = ValueOf<typeof Schedule>;

/** Ends a run before its time: at once where it waits, within seconds where it runs. What has ended stays as it is. */
export const cancel = mutation('jobs.cancel', { runId: pg.uuid }, Run);

/**
 * Asks for a run of a task, in the transaction of whatever it belongs to. Runs of one `key` never overlap; asked for
 * again with the same `nonce`, it is the first run that is returned. Not before `runAt`.
 */
export const enqueue = mutation('jobs.enqueue', {
  task: pg.text,
  payload: optional(pg.jsonb),
  runAt: optional(pg.timestamptz),
  key: optional(pg.text),
  nonce: optional(pg.text),
  priority: optional(pg.int4),
}, orNull(Run));

/** The right to follow a run: for whoever asked for it, and for operators. */
export const listenToRun = query('jobs.listen_to_run', { runId: pg.uuid }, orNull(Position));

/** How the runs of each task stand. */
export const overview = query('jobs.overview', {}, setOf(TaskState));

/** Lets the runs of a task wait; those that run go on. */
export const pause = mutation('jobs.pause', { task: pg.text }, Task);

/** Tries again what has failed for good in a queue, the oldest first; returns how many. */
export const redrive = mutation('jobs.redrive', { queue: pg.text, most: optional(pg.int4) }, pg.int4);

/** Lets the runs of a task go on. */
export const resume = mutation('jobs.resume', { task: pg.text }, Task);

/** Tries a run again that has failed or was cancelled, with all its tries before it. */
export const retry = mutation('jobs.retry', { runId: pg.uuid }, Run);

/** Makes a schedule of a task, or changes one; the task and the payload may be left out for one that is there. */
export const setSchedule = mutation('jobs.set_schedule', {
  name: pg.text,
  cron: pg.text,
  timeZone: optional(pg.text),
  task: optional(pg.text),
  payload: optional(pg.jsonb),
  isPaused: optional(pg.bool),
}, Schedule);
