import type pg from 'pg';

/** Whether the engines have their tables: no backup holds them, so a database that was restored has none. */
export async function hasEngines(pool: pg.Pool): Promise<boolean> {
  const { rows } = await pool.query<{ ready: boolean }>({
    name: 'has engines',
    text: `select to_regclass('graphile_worker.plinth_ready') is not null
      and to_regclass('pgboss.plinth_ready') is not null as ready`,
  });
  return rows[0]?.ready ?? false;
}
