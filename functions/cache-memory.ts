import type { Store } from './cache.ts';

type Entry = { value: string; bytes: number; endsAt: number };

/** What an entry takes beside its letters. */
const overhead = 200;

/** Entries in the memory of this process. Where there are too many, those used longest ago go first. */
export function memoryStore({ mostEntries, mostBytes }: { mostEntries: number; mostBytes: number }) {
  const entries = new Map<string, Entry>();
  let bytes = 0;

  function drop(key: string): void {
    bytes -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  }

  function get(key: string): string | undefined {
    const entry = entries.get(key);
    if (!entry) return undefined;
    drop(key);
    if (entry.endsAt <= performance.now()) return undefined;
    put(key, entry);
    return entry.value;
  }

  function put(key: string, entry: Entry): void {
    drop(key);
    if (entry.bytes > mostBytes) return;
    entries.set(key, entry);
    bytes += entry.bytes;
    for (const oldest of entries.keys()) {
      if (entries.size <= mostEntries && bytes <= mostBytes) break;
      drop(oldest);
    }
  }

  const store: Store = {
    get: async (key) => get(key),
    async set(key, value, milliseconds) {
      put(key, { value, bytes: (key.length + value.length) * 2 + overhead, endsAt: performance.now() + milliseconds });
    },
    async remove(key) {
      drop(key);
    },
    async empty(prefix) {
      for (const key of entries.keys()) if (key.startsWith(prefix)) drop(key);
    },
    async count(counts) {
      return counts.map(({ key, by, milliseconds }) => {
        const total = Number(get(key) ?? 0) + by;
        put(key, { value: String(total), bytes: key.length * 2 + overhead, endsAt: performance.now() + milliseconds });
        return total;
      });
    },
    close: async () => {},
  };
  return { ...store, size: () => ({ entries: entries.size, bytes }) };
}
