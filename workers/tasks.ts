import type { Task } from './task.ts';

/** The tasks in TypeScript: those that touch the outside. Each has a row in jobs.tasks. */
export const tasks: Task[] = [];
