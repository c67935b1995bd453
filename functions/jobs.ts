import type pg from 'pg';
import { connected } from './connection.ts';

/** A run that has begun, as a row of jobs.runs. */
export type Run = {
  id: string;
  task: string;
  /** The function of its schedule. */
  function: string | null;
  payload: Record<string, unknown>;
  state: string;
  attempt: number;
  max_attempts: number;
};

export type Task = {
  name: string;
  function: string | null;
  queue: string | null;
  timeout: number;
  is_paused: boolean;
};

/** A queue, with its times in seconds, as pg-boss wants them. */
export type Queue = {
  name: string;
  task: string | null;
  policy: string;
  retries: number;
  retry_delay: number;
  retry_delay_max: number;
  expires_after: number;
  kept: number;
  concurrency: number;
  dead_letter: string | null;
  is_paused: boolean;
};

export type Schedule = {
  name: string;
  cron: string;
  time_zone: string;
  /** How far back missed times are made up for, in seconds. */
  backfill: number;
  next_at: Date | null;
  /** By the clock of the database. */
  now: Date;
};

/** What a job of an engine is to Plinth: the id of its run, and for pg-boss what it needs to make one where there is none. */
export type Ticket = {
  id: string;
  attempt: number;
  /** Where its engine says it. */
  task: string | undefined;
  hasKey: boolean;
  /** The id of graphile-worker's job. */
  job?: string;
  /** Whether the next one of graphile-worker may be taken when it is done. */
  takesNext?: boolean;
  queue?: string;
  payload?: object;
};

/** Why a run failed, whether another try is of no use, and when the engine would make it. */
export type Failure = { message: string; isFinal: boolean; retriesAt: Date };

type Performed = { is_done: boolean; next_job: string | null; next_run: string; next_attempt: number };

export type Jobs = ReturnType<typeof openJobs>;

/**
 * What the workers say to the section jobs of schema.sql, and hear from it.
 *
 * @param pool the owner's connections, as plinth_owner.
 */
export function openJobs(pool: pg.Pool) {
  const names = new Map<string, string>();
  const rows = async <Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> => {
    const name = names.get(text) ?? `jobs ${names.size}`;
    names.set(text, name);
    return (await pool.query<Row>({ name, text, values })).rows;
  };
  // One process, one worker.
  const begin = inLots((asked: { ticket: Ticket; worker: string }[]) =>
    beginAll(
      rows,
      asked[0]?.worker as string,
      asked.map(({ ticket }) => ticket),
    ),
  );
  const call = async (text: string, values: unknown[]): Promise<void> => void (await rows(text, values));

  return {
    /** The run, where it is to begin now. */
    begin: (ticket: Ticket, worker: string): Promise<Run | undefined> => begin({ ticket, worker }),
    async stateOf(id: string): Promise<string | undefined> {
      return (await rows<{ state: string }>('select state from jobs.runs where id = $1', [id]))[0]?.state;
    },
    /**
     * Begins a run that is a function, runs it and says that it is done, in one transaction; on a connection that can be cancelled.
     *
     * @returns not done where it is to begin before it is run; and the next ticket, where it has taken one.
     */
    async perform(
      client: pg.ClientBase,
      { id, task, job, takesNext = false }: Ticket,
      worker: string,
    ): Promise<{ isDone: boolean; next: Ticket | undefined }> {
      const text = 'select * from jobs._perform($1, $2, $3, $4)';
      const values = [id, worker, job, takesNext];
      const { rows } = await client.query<Performed>({ name: 'perform', text, values });
      const { is_done: isDone, next_job: next, next_run: run, next_attempt: attempt } = rows[0] as Performed;
      return { isDone, next: next ? { id: run, attempt, task, hasKey: false, job: next } : undefined };
    },
    /** Says how a ticket that was taken with another's end has ended: it goes, or waits until then. */
    settle: ({ job }: Ticket, worker: string, retriesAt: Date | undefined) =>
      call('select jobs._settle($1, $2, $3)', [job, worker, retriesAt ?? null]),
    /** Runs the function of a run that has begun, and says that it is done, in one transaction; on a connection that can be cancelled. */
    finish: (client: pg.ClientBase, { id, attempt }: Run, worker: string) =>
      client.query({ name: 'finish', text: 'select jobs._finish($1, $2, $3)', values: [id, attempt, worker] }),
    succeed: ({ id, attempt }: Run, worker: string, result: unknown) =>
      call('select jobs._finish($1, $2, $3, $4)', [id, attempt, worker, JSON.stringify(result ?? null)]),
    /** Where the run stands now: `queued` where the engine is to try it again. */
    async fail({ id, attempt }: Run, worker: string, failure: Failure): Promise<string> {
      const { message, isFinal, retriesAt } = failure;
      const text = 'select jobs._fail($1, $2, $3, $4, $5, $6) as state';
      const [run] = await rows<{ state: string }>(text, [id, attempt, worker, message, isFinal, retriesAt]);
      return run?.state as string;
    },
    handBack: ({ id, attempt }: Run, worker: string) =>
      call('select jobs._hand_back($1, $2, $3)', [id, attempt, worker]),
    progress: ({ id, attempt }: Run, worker: string, share: number | undefined, note: string | undefined) =>
      call('select jobs._progress($1, $2, $3, $4, $5)', [id, attempt, worker, share ?? null, note ?? null]),
    /** Says that the worker lives, and with which runs; gives those of them that are to end. */
    async beat(worker: string, host: string, running: string[]): Promise<string[]> {
      const text = 'select jobs._beat($1, $2, $3, $4) as ids';
      const [beat] = await rows<{ ids: string[] }>(text, [worker, host, process.pid, running]);
      return beat?.ids ?? [];
    },
    leave: (worker: string) => call('select jobs._leave($1)', [worker]),
    rescue: (silentFor: string) => call('select jobs._rescue($1)', [silentFor]),
    handOver: () => call('select jobs._hand_over()', []),
    tasks: () =>
      rows<Task>(
        'select name, function, queue, extract(epoch from timeout)::float8 as timeout, is_paused from jobs.tasks',
      ),
    queues: () =>
      rows<Queue>(`select queue.name, task.name as task, queue.policy, queue.retries,
        extract(epoch from queue.retry_delay)::integer as retry_delay,
        extract(epoch from queue.retry_delay_max)::integer as retry_delay_max,
        extract(epoch from queue.expires_after)::integer as expires_after,
        extract(epoch from queue.kept)::integer as kept, queue.concurrency, queue.dead_letter, queue.is_paused
      from jobs.queues as queue
      left join jobs.tasks as task on task.queue = queue.name
      order by queue.name`),
    /** The schedules that are due, or whose next time is not known. */
    dueSchedules: () =>
      rows<Schedule>(`select name, cron, time_zone, extract(epoch from backfill)::float8 as backfill, next_at,
        now() as now
      from jobs.schedules
      where not is_paused and problem is null and (next_at is null or next_at <= now())`),
    /** What a machine measured: a row for each metric. */
    recordMetrics: (server: string, metrics: object) =>
      call('select stats.record_metrics($1, $2)', [server, JSON.stringify(metrics)]),
    fire: (name: string, times: Date[], nextAt: Date | undefined, problem: string | undefined) =>
      call('select jobs._fire($1, $2, $3, $4)', [name, times, nextAt ?? null, problem ?? null]),
  };
}

type Rows = <Row extends object>(text: string, values: unknown[]) => Promise<Row[]>;

/** Begins runs in one transaction. */
async function beginAll(rows: Rows, worker: string, tickets: Ticket[]): Promise<(Run | undefined)[]> {
  const begun = await rows<Run>('select * from jobs._begin($1, $2, $3, $4, $5)', [
    worker,
    tickets.map(({ id }) => id),
    tickets.map(({ attempt }) => attempt),
    tickets.map(({ queue }) => queue ?? null),
    tickets.map(({ payload }) => (payload ? JSON.stringify(payload) : null)),
  ]);
  const byId = new Map(begun.map((run) => [run.id, run]));
  return tickets.map(({ id }) => byId.get(id));
}

/** Does together what is asked for in one turn of the event loop; one by one where that fails, so that each has its own error. */
function inLots<Item, Result>(act: (items: Item[]) => Promise<Result[]>): (item: Item) => Promise<Result> {
  type Waiting = { item: Item; resolve(result: Result): void; reject(error: unknown): void };
  let waiting: Waiting[] = [];

  async function settle(lot: Waiting[]): Promise<void> {
    try {
      const results = await act(lot.map(({ item }) => item));
      for (const [index, { resolve }] of lot.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (lot.length === 1) lot[0]?.reject(error);
      else for (const one of lot) await settle([one]);
    }
  }

  return (item) =>
    new Promise((resolve, reject) => {
      if (waiting.length === 0) {
        setImmediate(() => {
          const lot = waiting;
          waiting = [];
          void settle(lot);
        });
      }
      waiting.push({ item, resolve, reject });
    });
}

// Any number that no one else uses.
const installing = 7547;

/**
 * Has the engines make their tables, one process at a time, and then says in their schemas that they are whole: before that nothing is
 * handed to them (jobs._hand_on).
 */
export async function withEnginesLocked(databaseUrl: string, install: () => Promise<void>): Promise<void> {
  await connected(databaseUrl, async (client) => {
    await client.query('select pg_advisory_lock($1)', [installing]);
    await letOwnerCreate(client);
    await install();
    await client.query('set role plinth_owner');
    for (const engine of ['graphile_worker', 'pgboss']) {
      await client.query(`create table if not exists ${engine}.plinth_ready ()`);
    }
  });
}

/** Lets plinth_owner make the schemas of the engines: a database that was copied or restored has not its right to. */
export async function letOwnerCreate(client: pg.ClientBase): Promise<void> {
  await client.query(`do $$
    begin
      if not has_database_privilege('plinth_owner', current_database(), 'create') then
        execute format('grant create on database %I to plinth_owner', current_database());
      end if;
    end $$`);
}

/** The runs at work, the oldest first, as a person reads them. */
export async function runningJobs(client: pg.ClientBase): Promise<Record<string, unknown>[]> {
  const { rows } =
    await client.query(`select id, coalesce(function, task) as task, attempt as try, round(progress::numeric * 100) || ' %' as progress,
      note, date_trunc('second', clock_timestamp() - started_at)::text as for
    from jobs.runs
    where state = 'running'
    order by started_at
    limit 50`);
  return rows;
}

/** The last runs that failed for good. */
export async function failures(client: pg.ClientBase): Promise<Record<string, unknown>[]> {
  const { rows } =
    await client.query(`select id, coalesce(function, task) as task, attempt as tries, to_char(finished_at, 'YYYY-MM-DD HH24:MI') as at,
      left(split_part(error, E'\\n', 1), 80) as error
    from jobs.runs
    where state = 'failed'
    order by created_at desc
    limit 20`);
  return rows;
}
