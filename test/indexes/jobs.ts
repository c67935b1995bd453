import { type Section, someone } from './section.ts';

export const jobs: Section = {
  uses: {
    'jobs.queues_dead_letter_idx': "delete from jobs.queues where name = 'queue_77'",
    'jobs.schedules_task_idx': "delete from jobs.tasks where name = 'task 2077'",
    'jobs.runs_task_created_at_id_idx': "delete from jobs.tasks where name = 'task 2077'",
    'jobs.runs_state_created_at_id_idx': 'select * from jobs.overview()',
    'jobs.runs_asked_by_created_at_idx': `select * from jobs.runs where asked_by = ${someone} order by created_at desc limit 20`,
    'jobs.runs_finished_at_idx': 'select jobs.expire_runs()',
    'jobs.queues_pkey': null,
    'jobs.tasks_pkey': null,
    'jobs.tasks_queue_key': null,
    'jobs.schedules_pkey': null,
    'jobs.workers_pkey': null,
    'jobs.runs_pkey': null,
    'jobs.runs_task_nonce_key': null,
    'jobs.runs_schedule_scheduled_for_key': null,
    'jobs.runs_running_key': null,
    'jobs.cancellations_pkey': null,
  },
  rows: `
  insert into jobs.queues (name) select 'queue_' || n from who;
  insert into jobs.tasks (name) select 'task ' || n from who;
  insert into jobs.schedules (name, cron, task) select 'schedule ' || n, '0 0 1 1 *', 'task ' || n from who where n < 2000;
  insert into jobs.runs (task, state, asked_by, worker, max_attempts, created_at, finished_at)
    select 'task ' || n % 2000 + 1, case when n % 100 = 0 then 'running' when n % 101 = 0 then 'queued' else 'succeeded' end::jobs.run_state,
      id, 'worker ' || n, 1, now() - n * interval '1 minute', case when n % 100 <> 0 and n % 101 <> 0 then now() - n * interval '15 minutes' end
    from who;
  `,
};
