import type { FaultKind } from './faults.ts';
import type { Book, Wrongs } from './ledger.ts';

/** A fault, and how long it took until everyone was served again. */
export type Happened = { kind: FaultKind; milliseconds: number; delays?: { before: number[]; during: number[] } };

export type Summary = {
  seed: number;
  seconds: number;
  faults: { fault: string; count: number; medianSeconds: number; maxSeconds: number }[];
  /** In the table is what the acknowledged are compared with: missing, or there more than once. */
  messages: { acknowledged: number; sentAgain: number; lost: number; twice: number; unasked: number; untold: number };
  events: { processes: number; subscribers: number; connections: number; delivered: number } & Wrongs;
  /** The delays of events, in milliseconds, before and while a transaction stayed open. */
  openTransaction: { beforeP50: number; beforeP95: number; duringP50: number; duringP95: number } | undefined;
  /** Why connections of subscribers ended, and how often. */
  reasons: Record<string, number>;
  /** Why messages were sent again, and how often. */
  retries: Record<string, number>;
  /** Everything that was not as it has to be. */
  wrong: string[];
};

type Found = {
  seed: number;
  seconds: number;
  processes: number;
  subscribers: number;
  connections: number;
  happened: Happened[];
  book: Book;
  acknowledged: Map<string, string>;
  kept: { id: string; nonce: string; copies: number }[];
  retries: Record<string, number>;
  reasons: Record<string, number>;
  wrong: string[];
};

// Who waited for an open transaction would wait for seconds; a busy machine is slow by less than this.
const longestDelay = 1000;

export function summarise(found: Found): Summary {
  const { seed, seconds, happened, book, acknowledged, kept, retries, reasons } = found;
  const byId = new Map(kept.map((message) => [message.id, message]));
  const told = new Set([...book.told.values()].flatMap((messages) => [...messages.values()]));
  const ids = [...acknowledged];
  const messages = {
    acknowledged: acknowledged.size,
    sentAgain: Object.values(retries).reduce((sum, each) => sum + each, 0),
    lost: ids.filter(([nonce, id]) => byId.get(id)?.nonce !== nonce).length,
    twice: kept.filter(({ copies }) => copies > 1).length,
    unasked: kept.filter(({ nonce, id }) => acknowledged.get(nonce) !== id).length,
    untold: ids.filter(([, id]) => !told.has(id)).length,
  };
  const { processes, subscribers, connections } = found;
  const events = { processes, subscribers, connections, delivered: book.delivered(), ...book.wrongs };
  const openTransaction = delaysOf(happened);
  const wrong = [...found.wrong];
  for (const name of ['lost', 'twice', 'unasked', 'untold'] as const) {
    if (messages[name] > 0) wrong.push(`${messages[name]} messages ${name}`);
  }
  if (openTransaction && !(openTransaction.duringP95 < longestDelay)) {
    wrong.push(`events came ${openTransaction.duringP95} ms late (p95) while a transaction was open`);
  }
  return {
    ...{
      seed,
      seconds: Math.round(seconds),
      faults: timesOf(happened),
      messages,
      events,
      openTransaction,
      reasons,
      retries,
    },
    wrong,
  };
}

/** Prints the summary for a person. */
export function print({ seed, seconds, faults, messages, events, openTransaction, ...told }: Summary): void {
  const { reasons, retries, wrong } = told;
  for (const rows of [faults, [messages], [events], ...(openTransaction ? [[openTransaction]] : [])])
    console.table(rows);
  console.log(`Connections ended: ${listOf(reasons)}`);
  console.log(`Messages sent again: ${listOf(retries)}`);
  console.log(`${seconds} s, seed ${seed}`);
  console.log(
    wrong.length === 0 ? 'Nothing was lost.' : `${wrong.length} things are wrong:\n${wrong.slice(0, 50).join('\n')}`,
  );
}

function listOf(counts: Record<string, number>): string {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return sorted.map(([what, count]) => `${what} ${count}`).join(', ') || 'none';
}

function timesOf(happened: Happened[]): Summary['faults'] {
  const kinds = [...new Set(happened.map(({ kind }) => kind))].sort();
  return kinds.map((kind) => {
    const times = happened.filter((each) => each.kind === kind).map(({ milliseconds }) => milliseconds / 1000);
    return { fault: kind, count: times.length, medianSeconds: share(times, 0.5), maxSeconds: share(times, 1) };
  });
}

function delaysOf(happened: Happened[]): Summary['openTransaction'] {
  const all = happened.flatMap(({ delays }) => delays ?? []);
  if (all.length === 0) return undefined;
  const before = all.flatMap((delays) => delays.before);
  const during = all.flatMap((delays) => delays.during);
  return {
    ...{ beforeP50: share(before, 0.5), beforeP95: share(before, 0.95) },
    ...{ duringP50: share(during, 0.5), duringP95: share(during, 0.95) },
  };
}

/** The value that a share of them is not above. */
function share(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}
