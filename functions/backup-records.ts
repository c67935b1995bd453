import pg from 'pg';
import { connected } from './connection.ts';
import { Refusal } from './refusal.ts';

/** What operations.backups is told of a backup. */
export type Record = {
  name: string;
  kind: 'daily' | 'weekly' | 'monthly';
  form: 'portable' | 'pg_dump';
  storage: string;
  parts: string;
  startedAt: string;
  finishedAt: string;
  bytes: number;
  rows: number;
};

/**
 * Notes that a backup begins. Only one runs at a time, as long as the connection.
 *
 * @throws Refusal where another one is running.
 */
export async function noteStarted(
  client: pg.ClientBase,
  { name, form, storage, parts }: Pick<Record, 'name' | 'form' | 'storage' | 'parts'>,
): Promise<Record['kind']> {
  try {
    const { rows } = await client.query('select operations.backup_started($1, $2, $3, $4) as kind', [
      ...[name, form, storage, parts],
    ]);
    return rows[0].kind;
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError) || !cause.code?.startsWith('PT')) throw cause;
    throw new Refusal(cause.message, { ...(cause.hint && { remedy: cause.hint }), cause });
  }
}

export async function noteFinished(client: pg.ClientBase, name: string, bytes: number, rows: number): Promise<void> {
  await client.query('select operations.backup_finished($1, $2, $3)', [name, bytes, rows]);
}

/** On a connection of its own: the one that the backup had may be what failed. */
export async function noteFailed(databaseUrl: string, name: string, error: string): Promise<void> {
  await connected(databaseUrl, (client) => client.query('select operations.backup_failed($1, $2)', [name, error]));
}

export async function noteProven(databaseUrl: string, name: string, restoreSeconds: number): Promise<void> {
  await connected(databaseUrl, (client) =>
    client.query('select operations.backup_proven($1, $2)', [name, restoreSeconds]),
  );
}

/** Notes a backup that is stored; tells whether that is news. */
export async function noteFound(client: pg.ClientBase, record: Record): Promise<boolean> {
  const { name, kind, form, storage, parts, startedAt, finishedAt, bytes, rows } = record;
  const { rows: found } = await client.query(
    'select operations.backup_found($1, $2, $3, $4, $5, $6, $7, $8, $9) as is_new',
    [...[name, kind, form, storage, parts, startedAt, finishedAt, bytes, rows]],
  );
  return found[0].is_new;
}

export async function noteRemoved(client: pg.ClientBase, name: string): Promise<void> {
  await client.query('select operations.backup_removed($1)', [name]);
}

/** The names of those in a storage that are to be removed, and whatever else is noted as being there. */
export async function expired(client: pg.ClientBase, storage: string): Promise<{ expired: string[]; known: string[] }> {
  const { rows } = await client.query(
    `
    select array(select name from operations.expired_backups() where storage = $1) as expired,
      array(select name from operations.backups where storage = $1 and removed_at is null) as known`,
    [storage],
  );
  return rows[0];
}

/** The newest backup that is finished and not proven yet. */
export async function newestUnproven(databaseUrl: string): Promise<string | undefined> {
  return connected(databaseUrl, async (client) => {
    const { rows } = await client.query(
      "select name from operations.backups where state = 'finished' and removed_at is null order by started_at desc limit 1",
    );
    return rows[0]?.name;
  });
}

/** When each backup was proven, by its name. */
export async function provenAt(databaseUrl: string): Promise<Map<string, Date>> {
  return connected(databaseUrl, async (client) => {
    const { rows } = await client.query<{ name: string; proven_at: Date }>(
      "select name, proven_at from operations.backups where state = 'proven'",
    );
    return new Map(rows.map(({ name, proven_at: at }) => [name, at]));
  });
}
