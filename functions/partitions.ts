import pg from 'pg';
import { connected } from './connection.ts';

/**
 * Takes the days of the event log that are kept no longer out of it, and drops them, so that nobody who reads or writes other days
 * waits. A detaching that was cut off is brought to its end.
 *
 * @param databaseUrl the owner's connection.
 * @param progress told of each, with its number.
 * @returns the names of those that are gone.
 */
export async function retirePartitions(
  databaseUrl: string,
  signal: AbortSignal,
  progress: (done: number, of: number) => void,
): Promise<string[]> {
  return connected(
    databaseUrl,
    async (client) => {
      await client.query('set role plinth_owner');
      // Others' statements queue behind one that waits for a lock: it gives up soon, and the job tries again later.
      await client.query("set lock_timeout = '5s'");
      const gone: string[] = [];
      const { rows } = await client.query<{ kind: string; name: string; is_detaching: boolean }>(
        'select kind, name, is_detaching from events._expired_days()',
      );
      for (const { kind, name, is_detaching: isDetaching } of rows) {
        signal.throwIfAborted();
        const [parent, day] = [`log_${kind}`, name].map(pg.escapeIdentifier);
        if (!isDetaching) {
          await client.query('select events._forget_day($1, $2)', [kind, name]);
          await client.query(`alter table events.${parent} detach partition events.${day} concurrently`);
        } else await client.query(`alter table events.${parent} detach partition events.${day} finalize`);
        await client.query(`drop table events.${day}`);
        gone.push(name);
        progress(gone.length, rows.length);
      }
      return gone;
    },
    { application_name: 'plinth worker' },
  );
}
