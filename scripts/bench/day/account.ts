import { openBook, type Page, type Received, type Wrongs } from '../../chaos/ledger.ts';

/** What there is in truth, read from the database when all is quiet: of each channel the ids of its messages by their seq. */
export type Truth = {
  seqs: Map<string, number>;
  /** Those sent since everything began. */
  messages: Map<string, Map<number, string>>;
};

/** An event as subscriptions give it: `data.seq` is the message's number in its channel. */
export type Told = {
  cursor: string;
  topic: string;
  type: string;
  timestamp: string;
  data: { channel_id?: string; message_id?: string; seq?: number };
};

/** What one subscription was sent of messages, by channel. */
export type Account = {
  take(event: Told): void;
  /** How far it came in a channel. */
  seqOf(channelId: string): number;
  /**
   * Compares with what there is.
   *
   * @param channels those that were to be followed to their end.
   */
  judge(truth: Truth, channels: Iterable<string>): Wrongs & { delivered: number };
};

/**
 * Books what a subscription is sent: of each channel every message that is sent, once, in order, from where it stood.
 *
 * @param stood the seq of each channel where the subscription began; a channel that is not there begins at 0.
 * @param tell told of each thing that is wrong, in a sentence.
 */
export function openAccount(name: string, stood: Map<string, number>, tell: (what: string) => void): Account {
  const book = openBook(stood, tell);
  const page: Page = book.open(name);
  return {
    take({ type, timestamp, data }) {
      if (type !== 'message_sent') return;
      const { channel_id = '', message_id, seq } = data;
      page.take({ topic: channel_id, seq: String(seq), type, timestamp, data: { message_id } } as Received);
    },
    seqOf: (channelId) => page.seqOf(channelId),
    judge({ seqs, messages }, channels) {
      page.close([...channels], seqs);
      let different = book.wrongs.different;
      for (const [channelId, told] of book.told) {
        for (const [seq, id] of told) {
          if (messages.get(channelId)?.get(seq) === id) continue;
          different += 1;
          tell(`${name} was told of message ${id} as ${channelId} ${seq}, which it is not`);
        }
      }
      return { ...book.wrongs, different, delivered: book.delivered() };
    },
  };
}

/** How far someone has read, as their own client has to think. */
export type Positions = {
  /** They read up to there, or wrote there, and the server said so. */
  read(channelId: string, seq: number): void;
  /** A request went unanswered: it may have counted or not. */
  doubt(channelId: string): void;
  /** Up to where; undefined where nobody can know. */
  of(channelId: string): number | undefined;
};

/** @param stood how far they had read when it began; 0 in a channel that is not there. */
export function openPositions(stood: Map<string, number>): Positions {
  const doubted = new Set<string>();
  return {
    read: (channelId, seq) => void stood.set(channelId, Math.max(stood.get(channelId) ?? 0, seq)),
    doubt: (channelId) => void doubted.add(channelId),
    of: (channelId) => (doubted.has(channelId) ? undefined : (stood.get(channelId) ?? 0)),
  };
}

/** What one channel should say is unread, and what it says. */
export type Unread = { checked: number; doubted: number; wrong: number };

/**
 * Compares what the API says is unread with a count of the messages themselves.
 *
 * @param said by the API: the channels of one user, and their sum.
 * @param left how many messages of a channel there are, not deleted, after a seq.
 * @param channels those that the user is in.
 */
export function judgeUnread(
  name: string,
  said: { total: number; channels: Map<string, number> },
  {
    positions,
    left,
    channels,
  }: { positions: Positions; left(channelId: string, seq: number): number; channels: string[] },
  tell: (what: string) => void,
): Unread {
  const result: Unread = { checked: 0, doubted: 0, wrong: 0 };
  let sum = 0;
  for (const channelId of channels) {
    const position = positions.of(channelId);
    const unread = said.channels.get(channelId);
    sum += unread ?? 0;
    if (position === undefined) {
      result.doubted += 1;
      continue;
    }
    result.checked += 1;
    const expected = left(channelId, position);
    if (unread === expected) continue;
    result.wrong += 1;
    tell(`${name} has ${unread} unread in ${channelId}, where ${expected} are, after ${position}`);
  }
  for (const channelId of said.channels.keys()) {
    if (channels.includes(channelId)) continue;
    result.wrong += 1;
    tell(`${name} is told of ${channelId}, which they are not in`);
  }
  if (said.total !== sum) {
    result.wrong += 1;
    tell(`${name} has ${said.total} unread in all, where the channels say ${sum}`);
  }
  return result;
}

/** Messages that were acknowledged, against those in the table: each there once, as the one that was acknowledged. */
export function judgeSent(
  acknowledged: Map<string, string>,
  kept: { nonce: string; id: string }[],
  tell: (what: string) => void,
): { acknowledged: number; lost: number; twice: number } {
  const found = new Map<string, string[]>();
  for (const { nonce, id } of kept) found.set(nonce, [...(found.get(nonce) ?? []), id]);
  let lost = 0;
  for (const [nonce, id] of acknowledged) {
    if (found.get(nonce)?.includes(id)) continue;
    lost += 1;
    tell(`${nonce} was acknowledged as ${id}, which is not there`);
  }
  const twice = [...found].filter(([, ids]) => ids.length > 1);
  for (const [nonce, ids] of twice) tell(`${nonce} is there ${ids.length} times`);
  return { acknowledged: acknowledged.size, lost, twice: twice.length };
}
