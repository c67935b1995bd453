import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Claims } from '../../functions/tokens.ts';

// What chaos asks of the database as its owner, past the API: to arrange, to disturb, and to judge.

export type Person = { id: string; claims: Claims };

/** Runs something on a connection of its own. Where Postgres is just coming back, it waits for it. */
export async function withOwner<Result>(url: string, use: (owner: pg.Client) => Promise<Result>): Promise<Result> {
  const owner = await connect(url);
  try {
    return await use(owner);
  } finally {
    await owner.end().catch(() => {});
  }
}

async function connect(url: string): Promise<pg.Client> {
  for (let tries = 1; ; tries += 1) {
    const client = new pg.Client({ connectionString: url, application_name: 'chaos', connectionTimeoutMillis: 10_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      return client;
    } catch (error) {
      client.end().catch(() => {});
      if (tries === 100) throw error;
      await sleep(100);
    }
  }
}

/** People with an account and a session each. */
export async function makePeople(owner: pg.Client, usernames: string[]): Promise<Person[]> {
  const people: Person[] = [];
  for (const username of usernames) {
    const { rows } = await owner.query(
      `with made as (
        insert into identity.users (username, display_name) values ($1, $1) returning id
      )
      insert into identity.accounts (user_id) select id from made returning user_id as id`,
      [username],
    );
    const { id } = rows[0];
    const session = await owner.query('select (identity.open_session($1)).access_token as claims', [id]);
    people.push({ id, claims: session.rows[0].claims });
  }
  return people;
}

/** How far every topic has counted. */
export async function countsOfTopics(owner: pg.Client): Promise<Map<string, number>> {
  const { rows } = await owner.query(
    `select 'channel:' || id as topic, event_seq::int as seq from chat.channels
    union all
    select topic, last_seq::int from events.topics`,
  );
  return new Map(rows.map(({ topic, seq }) => [topic, seq]));
}

/** Every message of the channels: which nonce it was sent with, and how often its text is there. */
export async function messagesKept(
  owner: pg.Client,
  channels: string[],
): Promise<{ id: string; nonce: string; copies: number }[]> {
  const { rows } = await owner.query(
    `select message.id, used.nonce, count(*) over (partition by message.text)::int as copies
    from chat.messages as message
    left join chat.nonces as used on used.message_id = message.id
    where message.channel_id = any ($1)`,
    [channels],
  );
  return rows;
}

/** Ends connections of the servers; gives how many there were to choose from. */
export async function terminate(owner: pg.Client, choose: (pids: number[]) => number[]): Promise<number> {
  const chosen = choose(await backends(owner));
  const { rowCount } = await owner.query('select pg_terminate_backend(pid) from unnest($1::int[]) as pid', [chosen]);
  return rowCount ?? 0;
}

/** The processes that serve the servers' connections. */
export async function backends(owner: pg.Client): Promise<number[]> {
  const { rows } = await owner.query(
    "select pid from pg_stat_activity where datname = current_database() and usename = 'plinth_server' order by pid",
  );
  return rows.map(({ pid }) => pid);
}

/** Writes an event of someone's own topic, counts it, and commits it that much later; gives its seq. */
export async function publishLate(owner: pg.Client, userId: string, milliseconds: number): Promise<number> {
  const topic = `user:${userId}`;
  await owner.query('begin');
  await owner.query('select events.publish($1, $2)', [topic, 'came_late']);
  await owner.query('set constraints all immediate');
  const { rows } = await owner.query('select last_seq::int as seq from events.topics where topic = $1', [topic]);
  await sleep(milliseconds);
  await owner.query('commit');
  return rows[0].seq;
}
