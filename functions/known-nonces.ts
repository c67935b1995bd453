import { connected } from './connection.ts';

/**
 * How many of these nonces messages were sent with, whoever sent them.
 *
 * @param databaseUrl the owner's connection to the database, which has the schema.
 */
export async function countKnownNonces(databaseUrl: string, nonces: string[]): Promise<number> {
  const count = 'select count(distinct nonce)::integer as known from chat.nonces where nonce = any ($1)';
  return (await connected(databaseUrl, (client) => client.query(count, [nonces]))).rows[0].known;
}
