import pg from 'pg';

/** Runs `work` on a connection of its own, which is closed after it. */
export async function connected<Result>(
  connectionString: string,
  work: (client: pg.Client) => Promise<Result>,
  options: pg.ClientConfig = {},
): Promise<Result> {
  const client = new pg.Client({ connectionString, ...options });
  // A connection that breaks fails the query that is running; without a listener it would end the process too.
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}
