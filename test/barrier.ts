import pg from 'pg';
import type { Test } from 'tap';
import { until } from './events/listen.ts';

/** Where whoever adds to a table waits, so that another process can be ended in the middle of it, however fast it is. */
export type Barrier = {
  /** Holds up who adds a row while a condition of SQL holds. */
  close(condition: string): Promise<void>;
  /** Settled when someone waits. */
  reached(): Promise<void>;
  open(): Promise<void>;
};

const lock = 7547;

/** Makes a barrier on a table, open at first; it is gone when the test ends. */
export async function openBarrier(t: Test, databaseUrl: string, table: string): Promise<Barrier> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const open = async (): Promise<void> => void (await client.query('select pg_advisory_unlock_all()'));
  t.teardown(async () => {
    await open();
    await client.query('drop function if exists public.wait_at_barrier cascade');
    await client.end();
  });
  return {
    async close(condition) {
      await client.query(`
        select pg_advisory_lock(${lock});
        create or replace function public.wait_at_barrier() returns trigger
        language plpgsql security definer set search_path = ''
        as $$ begin if ${condition} then perform pg_advisory_xact_lock_shared(${lock}); end if; return null; end $$;
        create or replace trigger barrier before insert on ${table}
        for each statement execute function public.wait_at_barrier()`);
    },
    reached: () =>
      until(async () => {
        const waiting = `
          select from pg_locks join pg_database on pg_database.oid = database
          where locktype = 'advisory' and objid = ${lock} and datname = current_database() and not granted`;
        return (await client.query(waiting)).rowCount !== 0;
      }, `That someone adds to ${table}`),
    open,
  };
}
