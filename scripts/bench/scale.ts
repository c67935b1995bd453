import { serverUrl } from '../../functions/server-role.ts';
import { type Captured, capture } from './capture.ts';
import type { Case } from './cases.ts';
import { type Ground, makeViewer, type Report, type Viewer } from './ground.ts';

const sizes = [10_000, 1_000_000, 10_000_000];
const months = [12, 60];
const rooms = 100;

/**
 * What is read, in buffers of 8 kB, as a channel's history grows: of a page, of what is unread, and of a message by its id,
 * by the statements that Plinth sends, as a member, with the plan that Postgres keeps for them.
 *
 * Messages are made by SQL, without the indexes for search and of senders: those take most of the time, and none of these
 * statements reads them.
 */
export async function benchScale(ground: Ground, quick: boolean, report: Report) {
  const { owner } = ground;
  await owner.query('drop index chat.messages_searched_idx, chat.messages_sender_id_id_idx');
  await owner.query(`
    insert into identity.users (username, display_name) select 'user' || n, 'User ' || n from generate_series(1, 1000) as n`);
  await owner.query(`
    insert into chat.channels (kind, name, is_public) select 'room', 'Room ' || n, true from generate_series(1, ${rooms}) as n`);
  const viewer = await makeViewer(owner);
  const buffers = new Map<string, Map<string, number>>();
  for (const span of months) {
    for (const size of quick ? sizes.slice(0, 2) : sizes) {
      const began = performance.now();
      const made = await fill(ground, size, span);
      report(
        `${size.toLocaleString('en')} messages over ${span} months: ${((performance.now() - began) / 1000).toFixed(0)} s`,
      );
      for (const [name, read] of await measure(ground, viewer, made)) {
        const column = `${size.toLocaleString('en')} over ${span}`;
        buffers.set(name, (buffers.get(name) ?? new Map()).set(column, read));
      }
    }
  }
  return [...buffers].map(([name, byColumn]) => ({
    name,
    ...Object.fromEntries(byColumn),
    growth: growthOf(byColumn),
  }));
}

/** The most that is read, as a multiple of what is read with the fewest messages and partitions. */
function growthOf(byColumn: Map<string, number>): number {
  const [first = Number.NaN, ...others] = byColumn.values();
  return Math.max(first, ...others) / first;
}

/** Replaces all messages of rooms: spread over the months that end with this one, and over the rooms. */
async function fill({ owner }: Ground, size: number, span: number): Promise<string> {
  await owner.query('truncate chat.messages');
  const { rows: old } = await owner.query(
    "select inhrelid::regclass as name from pg_inherits where inhparent = 'chat.messages'::regclass",
  );
  for (const { name } of old) await owner.query(`drop table ${name}`);
  await owner.query(`select operations.ensure_partitions(now() - interval '${span - 4} months', 3)`);
  // Its keys are right by how they are made; checking each of them takes longer than the rest.
  await owner.query('set session_replication_role = replica');
  await owner.query(`
    insert into chat.messages (id, channel_id, seq, sender_id, text, language, sent_at, searched)
    select
      (substr(public.uuid_v7_floor(at)::text, 1, 19) || '8' || substr(md5(n::text), 1, 3) || '-' || right(md5(n::text), 12))::uuid,
      room.ids[1 + n % ${rooms}],
      1 + n / ${rooms},
      person.ids[1 + n % 1000],
      'A message like many others, of a length that people write.',
      'simple',
      at,
      ''
    from generate_series(0, ${size - 1}) as n
    cross join lateral (
      select now() - interval '${span - 4} months' * (1 - n / ${size}::float8) as at
    ) as moment
    cross join (select array_agg(id) as ids from chat.channels where kind = 'room') as room
    cross join (select array_agg(id) as ids from identity.users) as person`);
  await owner.query('reset session_replication_role');
  await owner.query(`
    update chat.channels as channel set last_seq = said.seq, last_message_id = said.id
    from (select distinct on (channel_id) channel_id, seq, id from chat.messages order by channel_id, id desc) as said
    where said.channel_id = channel.id`);
  await owner.query(
    'update chat.members set last_read_seq = greatest((select last_seq from chat.channels where id = channel_id) - 10, 0)',
  );
  await owner.query('vacuum analyze');
  const { rows } = await owner.query('select id from chat.messages order by id offset $1 limit 1', [
    Math.floor(size / 2),
  ]);
  return rows[0].id;
}

async function measure(ground: Ground, viewer: Viewer, messageId: string): Promise<[string, number][]> {
  const documents: [string, string, Record<string, unknown>][] = [
    [
      'a page of 20 messages',
      'query ($id: UUID!) { channel(id: $id) { messages(first: 20) { nodes { id seq text sender { username } } } } }',
      { id: viewer.rooms[0] },
    ],
    ['unread in one channel', 'query ($id: UUID!) { channel(id: $id) { unread } }', { id: viewer.rooms[0] }],
    ['unread in all channels', '{ unreadTotal }', {}],
    [
      'one message by its id',
      'query ($id: UUID!) { message(id: $id) { text sender { username } } }',
      { id: messageId },
    ],
  ];
  const cases = documents.map(
    ([name, plinth, variables]): Case => ({ name, plinth, postgraphile: '', yoga: '', variables: [variables] }),
  );
  const claims = { sub: viewer.userId, sid: viewer.sessionId, role: 'member' as const };
  const captured = await capture(await serverUrl(ground.url), ground.owner, cases, claims);
  const read: [string, number][] = [];
  for (const [place, each] of captured.entries())
    read.push([documents[place]?.[0] ?? '', await buffersOf(ground, each)]);
  return read;
}

/** The buffers that the last statement of a request reads once its plan is kept. */
async function buffersOf({ owner }: Ground, { sent }: Captured): Promise<number> {
  const [begin, statement] = sent;
  const literals = (values: (string | null)[]) =>
    values.map((value) => (value === null ? 'null' : owner.escapeLiteral(value)));
  await owner.query('begin');
  try {
    await owner.query(begin?.text ?? '', begin?.values);
    await owner.query(`prepare measured as ${statement?.text}`);
    const call = `execute measured${statement?.values.length ? `(${literals(statement.values).join(', ')})` : ''}`;
    for (let n = 0; n < 6; n += 1) await owner.query(call);
    const { rows } = await owner.query(`explain (analyze, buffers, format json) ${call}`);
    const plan = rows[0]['QUERY PLAN'][0].Plan;
    return plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];
  } finally {
    await owner.query('rollback');
    await owner.query('deallocate all');
  }
}
