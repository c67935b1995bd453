import pg from 'pg';
import { prepare } from '../../functions/pipeline.ts';
import { openRequests, type Requests } from '../../functions/requests.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { type Captured, capture } from './capture.ts';
import { type Ground, makeViewer, type Report, runFile, type Viewer } from './ground.ts';
import { rounded } from './rounds.ts';

const sizes = [10_000, 1_000_000, 10_000_000];
const months = [12, 60];

/**
 * What is read, in buffers of 8 kB, as a channel's history grows: of a page, of what is unread, and of a message by its id,
 * by the statements that Plinth sends, as a member, with the plan that Postgres keeps for them.
 */
export async function benchScale(ground: Ground, quick: boolean, report: Report) {
  const { owner } = ground;
  await runFile(owner, 'people.sql');
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
  return [...buffers].map(([name, byColumn]) => {
    // The most that is read, as a multiple of what is read with the fewest messages and partitions.
    const [first = Number.NaN, ...others] = byColumn.values();
    return { name, ...Object.fromEntries(byColumn), growth: rounded(Math.max(first, ...others) / first) };
  });
}

/** Makes messages over so many months. @returns the id of one in the middle. */
export async function fill({ owner }: Ground, size: number, span: number): Promise<string> {
  await owner.query("select set_config('bench.size', $1, false), set_config('bench.months', $2, false)", [size, span]);
  await runFile(owner, 'history.sql');
  await owner.query('vacuum analyze');
  const { rows } = await owner.query('select id from chat.messages order by id offset $1 limit 1', [size / 2]);
  return rows[0].id;
}

async function measure(ground: Ground, viewer: Viewer, messageId: string): Promise<[string, number][]> {
  const room = { id: viewer.rooms[0] };
  const cases = [
    {
      name: 'a page of 20 messages',
      plinth:
        'query ($id: UUID!) { channel(id: $id) { messages(first: 20) { nodes { id seq text sender { username } } } } }',
      variables: [room],
    },
    { name: 'unread in one channel', plinth: 'query ($id: UUID!) { channel(id: $id) { unread } }', variables: [room] },
    { name: 'unread in all channels', plinth: '{ unreadTotal }', variables: [{}] },
    {
      name: 'one message by its id',
      plinth: 'query ($id: UUID!) { message(id: $id) { text sender { username } } }',
      variables: [{ id: messageId }],
    },
  ];
  const url = await serverUrl(ground.url);
  const captured = await capture(url, cases, viewer);
  const requests = openRequests(url, { size: 1, log: console });
  const read: [string, number][] = [];
  for (const [place, { name }] of cases.entries())
    read.push([name, await buffersOf(requests, captured[place] as Captured)]);
  await requests.close();
  return read;
}

/** The buffers that a request's statement reads with the plan that is kept, once the catalog is known. */
async function buffersOf(requests: Requests, { caller, calls: [statement] }: Captured): Promise<number> {
  const literals = statement?.values.map((value) => (value === null ? 'null' : pg.escapeLiteral(value))).join(', ');
  const execute = `execute measured${literals && `(${literals})`}`;
  const explain = `explain (analyze, buffers, format json) ${execute}`;
  const sent = [`prepare measured as ${statement?.text}`, ...Array(6).fill(execute), explain, 'deallocate measured'];
  const calls = sent.map((text) => ({ statement: prepare(text), values: [] }));
  const rows = (await requests.run(caller, calls, { readOnly: true })).at(-2);
  const plan = JSON.parse(rows?.[0]?.[0] ?? '')[0].Plan;
  return plan['Shared Hit Blocks'] + plan['Shared Read Blocks'];
}
