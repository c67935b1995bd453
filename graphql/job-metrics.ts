import { Gauge } from 'prom-client';
import { overview, type TaskState } from '../functions/generated/jobs.ts';
import type { Requests } from '../functions/requests.ts';
import type { Collector } from './metrics.ts';

// Prometheus may ask of several servers at once, and each again.
const readEvery = 10_000;

/** How jobs stand, task by task, as jobs.overview tells. */
export function collectJobs(requests: Requests): Collector {
  let known: { at: number; tasks: Promise<TaskState[]> } | undefined;

  function tasks(): Promise<TaskState[]> {
    if (!known || Date.now() - known.at > readEvery) {
      const caller = { role: 'service', claims: {} } as const;
      const read = overview((calls, { readOnly }) => requests.run(caller, calls, { readOnly, operation: 'jobs' }));
      // That the database is not there is told by plinth_database_up.
      known = { at: Date.now(), tasks: read.catch(() => []) };
    }
    return known.tasks;
  }

  const gauges: [string, string, (task: TaskState) => number | string | bigint | null][] = [
    ['plinth_jobs_waiting', 'Runs of a task that wait for their time or their turn.', ({ waiting }) => waiting],
    ['plinth_jobs_running', 'Runs of a task at work.', ({ running }) => running],
    ['plinth_jobs_failed', 'Runs of a task that failed for good in 24 hours.', (task) => task.failedToday],
    [
      'plinth_jobs_oldest_waiting_seconds',
      'How long the run of a task has been due that waits longest.',
      (task) => (task.isPaused ? 0 : task.oldestWaitingSeconds),
    ],
  ];
  return (registry) => {
    for (const [name, help, value] of gauges) {
      new Gauge({
        name,
        help,
        labelNames: ['task'],
        registers: [registry],
        async collect() {
          this.reset();
          for (const task of await tasks()) this.set({ task: task.task ?? '' }, Number(value(task) ?? 0));
        },
      });
    }
  };
}
