/** Tells how far something has come: a bar that moves on a terminal, a line now and then elsewhere. */
export type Progress = { show(done: number): void; end(): void };

const barWidth = 30;
/** Milliseconds between two looks. */
const onTerminal = 100;
const elsewhere = 2_000;

/**
 * @param total how many there are.
 * @param what they are called, such as `rows`.
 * @param out where to tell it.
 */
export function showProgress(
  total: number,
  what: string,
  out: { isTTY?: boolean; write(text: string): unknown } = process.stdout,
): Progress {
  const began = performance.now();
  let shown = began;
  const width = String(total).length;

  function line(done: number): string {
    const seconds = (performance.now() - began) / 1000;
    const share = total === 0 ? 1 : done / total;
    const full = Math.round(share * barWidth);
    const bar = out.isTTY ? `[${'█'.repeat(full)}${'·'.repeat(barWidth - full)}] ` : '';
    const percent = `${Math.floor(share * 100)}`.padStart(3);
    return `${bar}${percent} %  ${`${done}`.padStart(width)} of ${total} ${what}, ${Math.round(done / seconds)} a second`;
  }

  return {
    show(done) {
      const now = performance.now();
      if (done < total && now - shown < (out.isTTY ? onTerminal : elsewhere)) return;
      shown = now;
      out.write(out.isTTY ? `\r\x1b[K${line(done)}` : `${line(done)}\n`);
    },
    end() {
      if (out.isTTY) out.write('\n');
    },
  };
}
