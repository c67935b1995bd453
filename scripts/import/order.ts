import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** How many items are sorted in memory: some 200 MB of messages. */
const mostInMemory = 200_000;

/** Where an item stands: ascending, the first that differs decides. */
export type Key = (string | number)[];

/** Sorts any number of items: those that do not fit into memory wait in temporary files, which are merged as they are read. */
export type Sorter<Item> = {
  add(item: Item): Promise<void>;
  /** All of them in order. To be read once, to the end or not. */
  sorted(): AsyncGenerator<Item>;
  close(): Promise<void>;
};

/** What is in order already, in a file or in memory. */
type Run<Item> = Iterator<Item> | AsyncIterator<Item>;

export function openSorter<Item>(keyOf: (item: Item) => Key, most = mostInMemory): Sorter<Item> {
  let held: Item[] = [];
  let folder: string | undefined;
  const files: string[] = [];

  function ordered(): Item[] {
    const keyed = held.map((item) => ({ item, key: keyOf(item) })).sort((a, b) => compare(a.key, b.key));
    held = [];
    return keyed.map(({ item }) => item);
  }

  async function* merge(runs: Run<Item>[]): AsyncGenerator<Item> {
    const heads: { run: Run<Item>; item: Item; key: Key }[] = [];
    const take = async (run: Run<Item>): Promise<void> => {
      const { done, value } = await run.next();
      if (!done) heads.push({ run, item: value, key: keyOf(value) });
    };
    for (const run of runs) await take(run);
    while (heads.length > 0) {
      const first = heads.reduce((least, head) => (compare(head.key, least.key) < 0 ? head : least));
      heads.splice(heads.indexOf(first), 1);
      yield first.item;
      await take(first.run);
    }
  }

  return {
    async add(item) {
      held.push(item);
      if (held.length < most) return;
      folder ??= await mkdtemp(path.join(tmpdir(), 'plinth-import-'));
      const file = path.join(folder, `${files.length}.jsonl`);
      const lines = ordered()
        .values()
        .map((each) => `${JSON.stringify(each)}\n`);
      await pipeline(Readable.from(lines), createWriteStream(file, { mode: 0o600 }));
      files.push(file);
    },
    async *sorted() {
      const last = ordered();
      if (files.length === 0) yield* last;
      else yield* merge([...files.map((file) => readLines<Item>(file)), last.values()]);
    },
    async close() {
      if (folder) await rm(folder, { recursive: true, force: true });
    },
  };
}

function compare(a: Key, b: Key): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] as string | number;
    if (value !== other) return value < other ? -1 : 1;
  }
  return 0;
}

async function* readLines<Item>(file: string): AsyncGenerator<Item> {
  // JSON has no line feed inside, but other characters that readline takes for the end of a line.
  let rest = '';
  for await (const block of createReadStream(file, 'utf8')) {
    const whole = `${rest}${block}`.split('\n');
    rest = whole.pop() ?? '';
    for (const line of whole) yield JSON.parse(line) as Item;
  }
}
