import type pg from 'pg';
import { connected } from './connection.ts';
import { Refusal } from './refusal.ts';
import type { Claims } from './tokens.ts';

/**
 * Signs a user in without asking for proof, as only the owner of the database may: for development.
 *
 * @param databaseUrl the owner's connection to the database, which has the schema.
 * @returns what the access token of the session is to say.
 * @throws Refusal for a user that does not exist, with those of the nearest names, or one that cannot sign in.
 */
export function openDevelopmentSession(databaseUrl: string, username: string): Promise<Claims> {
  return connected(databaseUrl, async (client) => {
    const { rows } = await client.query<{ id: string; status: string | null }>(
      `select person.id, account.status
       from identity.users as person
       left join identity.accounts as account on account.user_id = person.id
       where lower(person.username) = lower($1)`,
      [username],
    );
    const [user] = rows;
    if (!user) throw await unknown(client, username, databaseUrl);
    if (user.status !== 'active') {
      const why = user.status ? `the account is ${user.status}` : 'there is no account, as for whoever was imported';
      throw new Refusal(`${username} cannot sign in: ${why}.`, {
        remedy: 'Take another user; `npm run seed` makes some.',
      });
    }
    const session = await client.query('select (identity.open_session($1)).access_token as claims', [user.id]);
    return session.rows[0].claims;
  });
}

async function unknown(client: pg.Client, username: string, databaseUrl: string): Promise<Refusal> {
  const { rows } = await client.query<{ username: string }>(
    `select person.username
     from identity.users as person
     join identity.accounts as account on account.user_id = person.id and account.status = 'active'
     order by lower(person.username) operator(public.<->) lower($1), person.username
     limit 5`,
    [username],
  );
  const nearest = rows.length > 0 ? `The nearest names are ${rows.map((row) => row.username).join(', ')}.\n` : '';
  const remedy =
    `${nearest}\`npm run seed\` makes a small world with a user alice. Where the server has another database, set DATABASE_URL ` +
    '(or PLINTH_DATA) as it has.';
  const { host, pathname } = new URL(databaseUrl);
  return new Refusal(`There is no user ${username} in the database at ${host}${pathname}.`, { remedy });
}
