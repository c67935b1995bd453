import { Refusal } from './refusal.ts';
import { withClient } from './schema-connection.ts';

/**
 * Makes someone an operator. Their sessions go on as such once they are refreshed.
 *
 * @throws Refusal where nobody of that name can sign in.
 */
export async function makeOperator(databaseUrl: string, username: string): Promise<void> {
  const { rowCount } = await withClient(databaseUrl, (client) =>
    client.query(
      `update identity.accounts as account set is_operator = true
       from identity.users as person
       where person.id = account.user_id and lower(person.username) = lower($1)`,
      [username],
    ),
  );
  if (rowCount === 0) {
    throw new Refusal(`Nobody called "${username}" can sign in.`, { remedy: 'They have to sign up first.' });
  }
}
