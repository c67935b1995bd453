import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { judgeSent, judgeUnread, type Truth, type Unread } from './account.ts';
import { ask } from './http.ts';
import { unreadOfAll } from './model.ts';
import type { ActivePerson, Day, Person } from './person.ts';

/** What the end of a day shows. All but the first of each are to be 0. */
export type Proof = {
  sent: { acknowledged: number; lost: number; twice: number };
  delivered: {
    count: number;
    subscribers: number;
    lost: number;
    repeated: number;
    outOfOrder: number;
    different: number;
  };
  unread: Unread & { users: number };
  /** Everything that was not as it has to be. */
  wrong: string[];
};

/** What is still on its way may take so long, in milliseconds. */
const mostWaited = 60_000;
const atOnce = 8;

/** Compares what everyone was sent, and what they are told is unread, with the database. */
export async function judgeDay({
  url,
  people,
  active,
  day,
  wrong,
}: {
  url: string;
  people: Person[];
  active: ActivePerson[];
  day: Day;
  wrong: string[];
}): Promise<Proof> {
  const owner = new pg.Client({ connectionString: url });
  await owner.connect();
  const kept = await owner.query<{ channel: string; seq: string; id: string; nonce: string }>(`
    select channel_id as channel, seq, id, substring(text from '#(day-[0-9a-f-]+)$') as nonce
    from chat.messages
    where text ~ ' #day-[0-9a-f-]+$'`);
  const memberships = await owner.query<{ person: string; channels: string[] }>(
    'select user_id as person, array_agg(channel_id) as channels from chat.members group by user_id',
  );
  const truth: Truth = { seqs: await seqsOf(owner), messages: new Map() };
  for (const { channel, seq, id } of kept.rows) {
    const messages = truth.messages.get(channel) ?? new Map<number, string>();
    truth.messages.set(channel, messages.set(Number(seq), id));
  }
  const channelsOf = new Map(memberships.rows.map(({ person, channels }) => [person, channels]));

  const isBehind = ({ id, account, watched }: ActivePerson): boolean => {
    const screen = watched();
    const ends = (channelId: string) => truth.seqs.get(channelId) ?? 0;
    if (screen && screen.account.seqOf(screen.channelId) < ends(screen.channelId)) return true;
    return (channelsOf.get(id) ?? []).some((channelId) => account.seqOf(channelId) < ends(channelId));
  };
  for (const until = Date.now() + mostWaited; active.some(isBehind) && Date.now() < until; ) await sleep(200);
  // What comes twice may come late.
  await sleep(1000);

  const delivered = { count: 0, subscribers: active.length, lost: 0, repeated: 0, outOfOrder: 0, different: 0 };
  for (const { id, account, watched } of active) {
    const found = account.judge(truth, channelsOf.get(id) ?? []);
    const screen = watched();
    const shown = screen?.account.judge(truth, [screen.channelId]);
    delivered.count += found.delivered;
    for (const name of ['lost', 'repeated', 'outOfOrder', 'different'] as const)
      delivered[name] += found[name] + (shown?.[name] ?? 0);
  }
  const sent = judgeSent(day.acknowledged, kept.rows, day.tell);

  const left = await openCounts(owner);
  await owner.end();
  const unread = { users: people.length, checked: 0, doubted: 0, wrong: 0 };
  const waiting = [...people];
  const one = async () => {
    for (let person = waiting.pop(); person; person = waiting.pop()) {
      const { unreadTotal, myChannels } = await ask(day.port, await day.token(person), unreadOfAll, {});
      if (myChannels.pageInfo.hasNextPage) throw new Error(`${person.name} is in too many channels.`);
      type Listed = { id: string; unread: number };
      const said = {
        total: Number(unreadTotal),
        channels: new Map((myChannels.nodes as Listed[]).map(({ id, unread: count }) => [id, count])),
      };
      const { name, id, positions } = person;
      const found = judgeUnread(name, said, { positions, left, channels: channelsOf.get(id) ?? [] }, day.tell);
      unread.checked += found.checked;
      unread.doubted += found.doubted;
      unread.wrong += found.wrong;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return { sent, delivered, unread, wrong };
}

async function seqsOf(owner: pg.Client): Promise<Map<string, number>> {
  const { rows } = await owner.query('select channel_id as id, max(seq) as seq from chat.messages group by channel_id');
  return new Map(rows.map(({ id, seq }) => [id, Number(seq)]));
}

/** How many messages of a channel there are after a seq, counted one by one. */
async function openCounts(owner: pg.Client): Promise<(channelId: string, seq: number) => number> {
  const { rows } = await owner.query<{ id: string; seqs: string[] }>(
    'select channel_id as id, array_agg(seq order by seq) as seqs from chat.messages where deleted_at is null group by channel_id',
  );
  const seqs = new Map(rows.map(({ id, seqs: listed }) => [id, listed.map(Number)]));
  return (channelId, seq) => {
    const listed = seqs.get(channelId) ?? [];
    let [low, high] = [0, listed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((listed[middle] as number) <= seq) low = middle + 1;
      else high = middle;
    }
    return listed.length - low;
  };
}
