/** An event as a subscriber was sent it. */
export type Received = { topic: string; seq: string; type: string; timestamp: string; data: { message_id?: string } };

/** What is wrong with what subscribers were sent; all of it is to be nothing. */
export type Wrongs = { lost: number; repeated: number; outOfOrder: number; different: number };

/** What every subscriber was sent, checked event by event against the counts of the topics. */
export type Book = {
  /** A page for a subscriber. */
  open(subscriber: string): Page;
  /** The messages that were told of, by topic and seq as whoever came first was told. */
  told: Map<string, Map<number, string>>;
  wrongs: Wrongs;
  delivered(): number;
};

export type Page = {
  take(event: Received): void;
  seqOf(topic: string): number;
  /** Notes what never came. */
  close(topics: string[], counts: Map<string, number>): void;
};

/**
 * @param counts where each topic stood when the subscribers began.
 * @param tell told of each thing that is wrong, in a sentence.
 */
export function openBook(counts: Map<string, number>, tell: (what: string) => void): Book {
  const told = new Map<string, Map<number, string>>();
  const wrongs: Wrongs = { lost: 0, repeated: 0, outOfOrder: 0, different: 0 };
  let delivered = 0;

  /** Whether two subscribers were told the same of one event. */
  function compare(subscriber: string, { topic, seq, data }: Received): void {
    const known = told.get(topic) ?? new Map<number, string>();
    told.set(topic, known);
    const message = data.message_id ?? '';
    const first = known.get(Number(seq)) ?? message;
    known.set(Number(seq), first);
    if (first === message) return;
    wrongs.different += 1;
    tell(`${subscriber} was told of message ${message} as ${topic} ${seq}, another subscriber of ${first}`);
  }

  function open(subscriber: string): Page {
    const last = new Map<string, number>();
    const missing = new Set<string>();
    const seqOf = (topic: string): number => last.get(topic) ?? counts.get(topic) ?? 0;
    return {
      seqOf,
      take(event) {
        const { topic } = event;
        const seq = Number(event.seq);
        const expected = seqOf(topic) + 1;
        delivered += 1;
        compare(subscriber, event);
        if (seq < expected) {
          const isLate = missing.delete(`${topic} ${seq}`);
          wrongs[isLate ? 'outOfOrder' : 'repeated'] += 1;
          if (isLate) wrongs.lost -= 1;
          tell(`${subscriber} was sent ${topic} ${seq} ${isLate ? 'late' : 'again'}, after ${expected - 1}`);
          return;
        }
        if (seq > expected) {
          for (let each = expected; each < seq; each += 1) missing.add(`${topic} ${each}`);
          wrongs.lost += seq - expected;
          tell(`${subscriber} was sent ${topic} ${seq} after ${expected - 1}`);
        }
        last.set(topic, seq);
      },
      close(topics, end) {
        for (const topic of topics) {
          const behind = (end.get(topic) ?? 0) - seqOf(topic);
          if (behind <= 0) continue;
          wrongs.lost += behind;
          tell(`${subscriber} was never sent the last ${behind} of ${topic}, after ${seqOf(topic)}`);
        }
      },
    };
  }

  return { open, told, wrongs, delivered: () => delivered };
}
