import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { Bad } from './message.ts';

/** The rows that were not taken, in a file of line and reason for each source. */
export type Rejects = {
  add(source: string, bad: Bad): void;
  /** The files that were written. */
  files(): string[];
  count(): number;
  close(): void;
};

/** Rejects of `<folder>/Room.tsv` go to `Room.tsv.rejects.tsv` in the current folder: a source may stand where nothing may be written. */
export function openRejects(): Rejects {
  const open = new Map<string, number>();
  let count = 0;
  return {
    add(source, { line, reason }) {
      const name = `${path.basename(source)}.rejects.tsv`;
      const file = open.get(name) ?? openSync(name, 'w');
      if (!open.has(name)) writeSync(file, 'line\treason\n');
      open.set(name, file);
      writeSync(file, `${line}\t${reason.replace(/\s+/g, ' ')}\n`);
      count += 1;
    },
    files: () => [...open.keys()],
    count: () => count,
    close() {
      for (const file of open.values()) closeSync(file);
    },
  };
}
