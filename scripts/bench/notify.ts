import type { Ground, Report } from './ground.ts';
import { median, rounded } from './rounds.ts';

const sizes = [10, 100, 1000, 10_000];
const crowds = [100, 1000, 10_000];

type Row = { name: string; size: number; ms: number; ratio: number; rows: number };

/**
 * What it costs to send a message to rooms of different sizes, with what it notifies of; to see what is new in as many channels; and to
 * write the heartbeats of a second: milliseconds of the statement, as a multiple of the first of each (of heartbeats: of one of them),
 * and the rows that it wrote to the tables of notifications.
 */
export async function benchNotify({ owner }: Ground, quick: boolean, report: Report): Promise<Row[]> {
  const rounds = quick ? 60 : 300;
  await owner.query(`
    insert into identity.users (username, display_name) select 'member' || n, 'Member' from generate_series(1, 10000) as n;
    insert into identity.accounts (user_id) select id from identity.users;
    insert into identity.sessions (user_id) select id from identity.users;`);
  const { rows } = await owner.query<{ id: string }>(
    "select id from identity.users order by username = 'member1' desc",
  );
  const [sender, reader] = rows.map(({ id }) => id) as [string, string];
  const rooms: string[] = [];
  for (const size of sizes) {
    report(`A room of ${size}`);
    const made = await owner.query(
      `with room as (insert into chat.channels (kind, name) values ('room', 'Room of ' || $1) returning id)
       insert into chat.members (channel_id, user_id)
       select room.id, member.id from room, unnest($2::uuid[]) as member (id) returning channel_id`,
      [size, rows.slice(0, size).map(({ id }) => id)],
    );
    rooms.push(made.rows[0].channel_id);
  }
  await owner.query('vacuum analyze');
  await owner.query('set plan_cache_mode = force_generic_plan');
  await owner.query("select set_config('plinth.user_id', $1, false)", [sender]);

  // In turns, so that whatever else the machine does meets every size.
  report('Sending');
  const sent = new Map<number, number[]>(sizes.map((size) => [size, []]));
  const written = new Map<number, number>();
  for (let round = 0; round < rounds; round += 1) {
    for (const [place, size] of sizes.entries()) {
      const before = round === 0 ? await countRows() : 0;
      const took = await timed({
        name: 'send',
        text: "select id from chat.send_message($1, 'hello')",
        values: [rooms[place]],
      });
      if (round === 0) written.set(size, (await countRows()) - before);
      else sent.get(size)?.push(took);
    }
  }

  report('Reading');
  await owner.query("select set_config('plinth.user_id', $1, false)", [reader]);
  const counted: number[] = [];
  const query = { name: 'count', text: 'select (notifications.notification_counts()).*', values: [] };
  for (let round = 0; round < rounds; round += 1) counted.push(await timed(query));

  report('Heartbeats');
  const beats = new Map<number, number[]>(crowds.map((crowd) => [crowd, []]));
  for (let round = 0; round < (quick ? 5 : 20); round += 1) {
    for (const crowd of crowds) {
      const values = [await beatsOf(crowd)];
      const took = await timed({ name: 'beat', text: 'select presence._record($1::jsonb)', values });
      if (round > 0) beats.get(crowd)?.push(took);
    }
  }

  async function timed(query: { name: string; text: string; values: unknown[] }): Promise<number> {
    const began = performance.now();
    await owner.query(query);
    return performance.now() - began;
  }

  async function countRows(): Promise<number> {
    const found = await owner.query(
      'select (select count(*) from notifications.notifications) + (select count(*) from notifications.calls) as n',
    );
    return Number(found.rows[0].n);
  }

  async function beatsOf(crowd: number): Promise<string> {
    const found = await owner.query(
      `select jsonb_agg(jsonb_build_object('user', user_id, 'session', id, 'age', 10, 'input', '{"status": "online"}'::jsonb))::text as beats
       from (select user_id, id from identity.sessions order by id limit $1) as session`,
      [crowd],
    );
    return found.rows[0].beats;
  }

  const rowOf = (name: string, size: number, times: number[], unit: number, rows: number): Row => {
    const ms = median(times);
    return { name, size, ms: rounded(ms), ratio: rounded(ms / unit), rows };
  };
  const least = median(sent.get(sizes[0] as number) ?? []);
  const beat = median(beats.get(crowds[0] as number) ?? []) / (crowds[0] as number);
  return [
    ...sizes.map((size) =>
      rowOf('a message to a room of so many', size, sent.get(size) ?? [], least, written.get(size) ?? 0),
    ),
    rowOf('the counts of one in so many rooms', sizes.length, counted, median(counted), 0),
    ...crowds.map((crowd) =>
      rowOf('the heartbeats of so many in one statement', crowd, beats.get(crowd) ?? [], beat, 0),
    ),
  ];
}
