import type pg from 'pg';
import { z } from 'zod';
import { onClient, type Runner } from '../functions/callers.ts';
import { connected } from '../functions/connection.ts';
import { withDatabase } from '../functions/database.ts';
import { cancel, enqueue, overview, pause, type Run, redrive, resume, retry } from '../functions/generated/jobs.ts';
import { failures, runningJobs } from '../functions/jobs.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { loadSettings } from '../functions/vault.ts';
import { inColumns } from './terminal.ts';

// npm run jobs: what waits, what runs and how far it is, what failed; asks for runs, tries them again, ends them.

const usage = `npm run jobs                        what waits, runs and has failed
npm run jobs -- run TASK [PAYLOAD]  asks for a run; the payload is a JSON object
npm run jobs -- retry RUN           tries a run again
npm run jobs -- redrive QUEUE       tries everything again that failed for good in a queue
npm run jobs -- cancel RUN          ends a run
npm run jobs -- pause TASK          lets the runs of a task wait
npm run jobs -- resume TASK         lets them go on`;

const commands: Record<string, (run: Runner, given: string, payload?: string) => Promise<string>> = {
  run: async (run, task, payload) => told(await enqueue(run, { task, ...(payload && { payload: objectOf(payload) }) })),
  retry: async (run, runId) => told(await retry(run, { runId: idOf(runId) })),
  cancel: async (run, runId) => told(await cancel(run, { runId: idOf(runId) })),
  redrive: async (run, queue) => `${await redrive(run, { queue })} runs are tried again.`,
  pause: (run, task) => pause(run, { task }).then(() => `The runs of ${task} wait.`),
  resume: (run, task) => resume(run, { task }).then(() => `The runs of ${task} go on.`),
};

function told(run: Run | null): string {
  return run ? `${run.id}  ${run.task}  ${run.state}` : 'There is no such run.';
}

function idOf(text: string): string {
  if (z.guid().safeParse(text).success) return text;
  throw new Refusal(`${text} is not the id of a run.`, {
    remedy: '`npm run jobs` shows those that run and that have failed; the table jobs.runs has all.',
  });
}

const object = z.record(z.string(), z.json());

function objectOf(text: string): z.infer<typeof object> {
  try {
    return object.parse(JSON.parse(text));
  } catch (cause) {
    throw new Refusal(`The payload is not a JSON object: ${text}`, { remedy: `Such as '{"days": 3}'.`, cause });
  }
}

async function show(client: pg.Client): Promise<string> {
  const tasks = await overview(onClient(client));
  const state = tasks.map(({ task, queue, isPaused, waiting, running, failedToday }) => ({
    task,
    'run by': queue ? `pg-boss: ${queue}` : 'graphile-worker',
    waiting: Number(waiting),
    running: Number(running),
    'failed today': Number(failedToday),
    paused: isPaused ? 'yes' : '',
  }));
  const running = await runningJobs(client);
  const failed = await failures(client);
  return [
    table(state),
    running.length > 0 ? `\nRunning:\n${table(running)}` : '\nNothing runs.',
    failed.length > 0 ? `\nFailed:\n${table(failed)}` : '',
  ].join('\n');
}

/** Rows under their names. */
function table(rows: Record<string, unknown>[]): string {
  const names = Object.keys(rows[0] ?? {});
  return inColumns([names, ...rows.map((row) => names.map((name) => `${row[name] ?? ''}`))]).join('\n');
}

await runScript(async () => {
  const [command, given, payload, ...rest] = process.argv.slice(2);
  const act = command === undefined ? undefined : commands[command];
  if ((command !== undefined && (!act || !given)) || rest.length > 0 || (payload && command !== 'run')) {
    throw new Refusal('That is not something to do with jobs.', { remedy: usage });
  }
  const settings = await loadSettings(process.env);
  const done = await withDatabase(settings, { log: console.error, upToDate: false }, (url) =>
    connected(url, async (client) => (act && given ? act(onClient(client), given, payload) : show(client))),
  ).catch((cause) => {
    if (!/^(PT|22|23)/.test(cause.code ?? '')) throw cause;
    throw new Refusal(cause.message, { ...(cause.hint && { remedy: cause.hint }), cause });
  });
  console.log(done);
});
process.exit();
