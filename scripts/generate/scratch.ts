import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { applySchema } from '../../functions/apply.ts';
import { type Catalog, readCatalog } from '../../functions/catalog.ts';
import { Refusal } from '../../functions/refusal.ts';
import { connectionOptions } from '../../functions/requests.ts';

/**
 * The catalog that a schema file makes, read from a database that is made for it and dropped: what is generated follows the file,
 * not what someone's database happens to be.
 *
 * @param serverUrl a database on the server to use, as a role that may create databases.
 * @throws Refusal where it may not, and where the schema does not apply.
 */
export async function catalogOf(serverUrl: string, schema: string): Promise<Catalog> {
  const admin = new pg.Client({ connectionString: serverUrl });
  admin.on('error', () => {});
  await admin.connect();
  const name = `plinth_generate_${randomBytes(6).toString('hex')}`;
  try {
    await create(admin, name);
    try {
      return await read(Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href, schema);
    } finally {
      await admin.query(`drop database ${name}`);
    }
  } finally {
    await admin.end();
  }
}

async function create(admin: pg.Client, name: string): Promise<void> {
  try {
    await admin.query(`create database ${name}`);
  } catch (cause) {
    throw new Refusal(`A database to try schema.sql in cannot be made: ${(cause as Error).message}`, {
      remedy:
        'Let the role of DATABASE_URL create databases, or leave DATABASE_URL out: the embedded Postgres is used.',
      cause,
    });
  }
}

async function read(url: string, schema: string): Promise<Catalog> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    await applySchema(client, schema, 'schema.sql');
    for (const [, name, value] of connectionOptions.matchAll(/-c (\w+)=(\S*)/g)) {
      await client.query('select set_config($1, $2, false)', [name, value]);
    }
    return await readCatalog(client);
  } finally {
    await client.end();
  }
}
