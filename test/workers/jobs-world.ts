import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Test } from 'tap';
import { z } from 'zod';
import { connected } from '../../functions/connection.ts';
import { letOwnerCreate } from '../../functions/jobs.ts';
import { makeLog } from '../../functions/log.ts';
import { readSettings } from '../../functions/settings.ts';
import type { Task } from '../../workers/task.ts';
import { startWorkers, type Workers } from '../../workers/workers.ts';
import { openWorld, type World } from '../world.ts';

// biome-ignore lint/suspicious/noExplicitAny: rows of whatever is asked for
type Row = Record<string, any>;

/** A world with jobs: SQL as the owner, and workers that end with the test. */
export type JobsWorld = World & {
  sql(text: string, values?: unknown[]): Promise<Row[]>;
  work(tasks?: Task[], env?: Record<string, string>): Promise<Workers>;
  /** A run, when it has come to one of the states. */
  ended(id: string, states?: string[]): Promise<Row>;
};

export async function openJobsWorld(t: Test, options: Parameters<typeof openWorld>[1] = {}): Promise<JobsWorld> {
  const world = await openWorld(t, options);
  await connected(world.databaseUrl, letOwnerCreate);
  const owner = new pg.Pool({ connectionString: `${world.databaseUrl}?options=-c%20role%3Dplinth_owner`, max: 3 });
  owner.on('error', () => {});
  const workers: Workers[] = [];
  t.teardown(async () => {
    await Promise.all(workers.map(({ stop }) => stop()));
    await owner.end();
  });
  const sql = async (text: string, values: unknown[] = []): Promise<Row[]> => (await owner.query(text, values)).rows;
  return {
    ...world,
    sql,
    async work(tasks = [], env = {}) {
      const settings = readSettings({ PLINTH_ENV: 'development', LOG_LEVEL: 'silent', ...env });
      const started = await startWorkers({ databaseUrl: world.databaseUrl, settings, tasks, log: makeLog(settings) });
      workers.push(started);
      return started;
    },
    async ended(id, states = ['succeeded', 'failed', 'cancelled']) {
      for (let waited = 0; waited < 60_000; waited += 50) {
        const [run] = await sql('select * from jobs.runs where id = $1', [id]);
        if (run && states.includes(run.state)) return run;
        await sleep(50);
      }
      const [run] = await sql('select * from jobs.runs where id = $1', [id]);
      throw new Error(`The run has not come to ${states.join(' or ')}: ${JSON.stringify(run)}`);
    },
  };
}

/** A task in TypeScript that takes anything. */
export function taskOf(name: string, run: Task['run']): Task {
  return { name, payload: z.looseObject({}), run };
}
