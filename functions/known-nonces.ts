import pg from 'pg';

/**
 * How many of these nonces messages were sent with, whoever sent them.
 *
 * @param databaseUrl the owner's connection to the database, which has the schema.
 */
export async function countKnownNonces(databaseUrl: string, nonces: string[]): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on('error', () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ known: number }>(
      'select count(distinct nonce)::integer as known from chat.nonces where nonce = any ($1)',
      [nonces],
    );
    return rows[0]?.known ?? 0;
  } finally {
    await client.end();
  }
}
