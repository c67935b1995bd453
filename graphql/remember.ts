/** Gives what a key stands for, made when it is not remembered. */
export type Remember<Value> = (key: string, make: () => Value) => Value;

/**
 * Remembers what was made, up to a number of bytes, and forgets what was not used for the longest time.
 *
 * @param bytesOf about how much memory a value holds beside its key.
 */
export function openMemory<Value>(mostBytes: number, bytesOf: (value: Value) => number): Remember<Value> {
  const entries = new Map<string, { value: Value; bytes: number }>();
  let held = 0;
  return (key, make) => {
    let entry = entries.get(key);
    if (entry) entries.delete(key);
    else {
      const value = make();
      entry = { value, bytes: key.length + bytesOf(value) };
      held += entry.bytes;
    }
    entries.set(key, entry);
    for (const [oldest, { bytes }] of entries) {
      if (held <= mostBytes || entries.size === 1) break;
      entries.delete(oldest);
      held -= bytes;
    }
    return entry.value;
  };
}
