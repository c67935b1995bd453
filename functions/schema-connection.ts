import pg from 'pg';
import { connected } from './connection.ts';
import { Refusal } from './refusal.ts';

/**
 * Runs `work` with a connection of its own to a database that is known to answer (functions/database.ts checks it).
 *
 * @throws Refusal for missing rights and for what is locked; whatever else `work` throws
 */
export async function withClient<Result>(
  databaseUrl: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  try {
    return await connected(databaseUrl, work, { application_name: 'plinth schema' });
  } catch (error) {
    throw told(error);
  }
}

/**
 * Runs `work` in a transaction that takes turns with all others of this kind in the database.
 *
 * Roles belong to the cluster, and an advisory lock only to a database: two databases that get their schema at once
 * (tests do that) can both find a role missing and make it. The second waits for the first to commit and fails then;
 * all of its work is undone, so it simply starts again and finds the role. A lock in some third database would spare
 * this, but the owner of this one may not be allowed to connect there.
 */
export async function inTransaction<Result>(client: pg.ClientBase, work: () => Promise<Result>): Promise<Result> {
  // Before the transaction: one that began earlier could still remember that a table is missing which the process
  // before it in the queue has just made.
  await client.query(`select pg_advisory_lock(${turns})`);
  try {
    return await repeated(client, work);
  } finally {
    // A connection that broke has lost the lock already.
    await client.query(`select pg_advisory_unlock(${turns})`).catch(() => {});
  }
}

async function repeated<Result>(client: pg.ClientBase, work: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    await client.query('begin isolation level read committed');
    try {
      await client.query('set local statement_timeout = 0');
      // What is in use for long is told rather than waited for, with everybody else queueing behind.
      await client.query("set local lock_timeout = '10s'");
      const result = await work();
      await client.query('commit');
      return result;
    } catch (error) {
      // On a broken connection there is nothing left to undo, and the first error is the one to tell.
      await client.query('rollback').catch(() => {});
      if (attempt === maxAttempts || !metAnotherDatabase(error)) throw error;
    }
  }
}

// Any number that no one else uses: 'plinth' in ASCII.
const turns = 0x706c696e7468;
const maxAttempts = 10;

/** Whether the error comes from two transactions that changed the same role. */
function metAnotherDatabase(error: unknown): boolean {
  const cause = error instanceof Refusal ? error.cause : error;
  if (!(cause instanceof pg.DatabaseError)) return false;
  if (cause.code === duplicateObject) return cause.message.startsWith('role ');
  if (cause.code === uniqueViolation) return cause.schema === 'pg_catalog';
  return cause.code === deadlock || /^tuple concurrently (updated|deleted)$/.test(cause.message);
}

/** What the person can do something about, as a Refusal; other errors as they are. */
function told(error: unknown): unknown {
  const cause = error instanceof Refusal ? error.cause : error;
  if (!(cause instanceof pg.DatabaseError)) return error;
  if (cause.code === lockNotAvailable) {
    return new Refusal(
      'Something else has been using what is to be changed for 10 s. Everything is as it was before.',
      { remedy: 'Wait for it, or end it (pg_stat_activity and pg_locks show what it is), and try again.', cause },
    );
  }
  if (cause.code !== insufficientPrivilege || error instanceof Refusal) return error;
  return new Refusal(`Postgres does not allow it: ${cause.message}. Everything is as it was before.`, {
    remedy: 'Connect as the owner of the database and of all that is in it (DATABASE_URL).',
    cause,
  });
}

const lockNotAvailable = '55P03';
const insufficientPrivilege = '42501';
const duplicateObject = '42710';
const uniqueViolation = '23505';
const deadlock = '40P01';
