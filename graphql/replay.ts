import { GraphQLError } from 'graphql';
import type { LogFollower } from '../functions/event-log.ts';
import type { LoggedEvent } from '../functions/log-reader.ts';

/** An event with its cursor; null for what the log does not keep. */
export type Numbered = { event: LoggedEvent; cursor: string | null };

/** The topics of a subscription, and what each has counted by now. */
export type Positions = { topics: string[]; counted: string[] };

// Behind the mark of the restore that the database comes from, if it does.
const snapshot = /^([0-9a-f]+\.)?\d+:\d+:(\d+(,\d+)*)?$/;
const number = /^\d{1,18}$/;
// What a client may send back in a header (Last-Event-ID). Every event of a page repeats most of the cursor that it was asked with.
const longest = 16_384;

/**
 * The cursor of an event within a batch: `since~until~topic~seq`. Events of a batch are in the order of topic and seq, so what comes
 * after it is the rest of the topics from there, and then what `until` did not see.
 */
export function cursorWithin(since: string, until: string): (event: LoggedEvent) => string {
  return ({ topic, seq }) => `${since}~${until}~${topic}~${seq}`;
}

/**
 * What the log holds of topics after a cursor, in pages. A cursor is a seq where there is one topic, a snapshot (events.cursor), or that
 * of an event within a batch.
 *
 * @param boundary the snapshot to stop at.
 * @throws GraphQLError with CURSOR_EXPIRED where the log does not reach back so far.
 */
export async function* missedSince(
  log: Pick<LogFollower, 'seqsAt' | 'missed'>,
  { topics, counted }: Positions,
  cursor: string,
  boundary: string,
): AsyncGenerator<Numbered[]> {
  const seqsAt = (at: string): Promise<string[]> => log.seqsAt(topics, counted, at);
  const bySeq = ({ seq }: LoggedEvent): string => seq as string;
  const [since = '', until, topic = '', seq = ''] = cursor.split('~');
  if (number.test(cursor) && topics.length === 1) {
    return yield* between(log, topics, [cursor], await seqsAt(boundary), bySeq);
  }
  if (
    cursor.length > longest ||
    !snapshot.test(since) ||
    (until !== undefined && !(snapshot.test(until) && number.test(seq)))
  ) {
    throw new GraphQLError('That is not a cursor.', { extensions: { code: 'BAD_USER_INPUT', argument: 'after' } });
  }
  const now = await seqsAt(boundary);
  let past = await seqsAt(since);
  if (until !== undefined) {
    const upto = await seqsAt(until);
    past = topics.map((each, index) => (each === topic ? seq : each < topic ? upto[index] : past[index]) as string);
    yield* between(log, topics, past, upto, cursorWithin(since, until));
    past = upto;
  }
  yield* between(log, topics, past, now, cursorWithin(until ?? since, boundary));
}

async function* between(
  log: Pick<LogFollower, 'missed'>,
  topics: string[],
  from: string[],
  upto: string[],
  cursorOf: (event: LoggedEvent) => string,
): AsyncGenerator<Numbered[]> {
  const past = from.map(BigInt);
  const end = upto.map(BigInt);
  if (past.some((seq, index) => seq > (end[index] as bigint))) throw expired();
  while (past.some((seq, index) => seq < (end[index] as bigint))) {
    const events = await log.missed(topics, past.map(String), upto);
    if (events.length === 0) throw expired();
    for (const { topic, seq } of events) {
      const index = topics.indexOf(topic);
      // Within a topic there are no gaps: what is missing here is kept no longer.
      past[index] = (past[index] as bigint) + 1n;
      if (past[index] !== BigInt(seq as string)) throw expired();
    }
    yield events.map((event) => ({ event, cursor: cursorOf(event) }));
  }
}

/** What a client is told whose cursor is from before what the log knows. */
export function expired(): GraphQLError {
  return new GraphQLError('The log does not reach from this cursor to now.', {
    extensions: {
      code: 'CURSOR_EXPIRED',
      argument: 'after',
      hint: 'Read the state anew together with its cursor, and subscribe after that.',
    },
  });
}
