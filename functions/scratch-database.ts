import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { applySchema } from './apply.ts';
import { connected } from './connection.ts';
import { Refusal } from './refusal.ts';

/**
 * Runs `work` on a database that is made for it, given a schema, and dropped: what a file says, not what someone's database is.
 *
 * @param serverUrl a database on the server to use, as a role that may create databases.
 * @param work gets the owner's connection and its URL.
 * @throws Refusal where the role may not, and where the schema does not apply.
 */
export function onScratch<Result>(
  serverUrl: string,
  schema: { text: string; fileName: string },
  work: (client: pg.Client, url: string) => Promise<Result>,
): Promise<Result> {
  const name = `plinth_scratch_${randomBytes(6).toString('hex')}`;
  const url = Object.assign(new URL(serverUrl), { pathname: name }).href;
  return connected(serverUrl, async (admin) => {
    await admin.query(`create database ${name}`).catch((cause: Error) => {
      throw new Refusal(`A database to try the schema in cannot be made: ${cause.message}`, {
        remedy:
          'Let the role of DATABASE_URL create databases, or leave DATABASE_URL out: the embedded Postgres is used.',
        cause,
      });
    });
    try {
      return await connected(url, async (client) => {
        await applySchema(client, schema.text, schema.fileName);
        return work(client, url);
      });
    } finally {
      await admin.query(`drop database ${name} with (force)`);
    }
  });
}
