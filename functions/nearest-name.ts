/** The name that someone may have meant: the nearest of those known, at most three letters away. */
export function nearestName(written: string, known: string[]): string | undefined {
  const near = known.map((name) => ({ name, far: distance(written, name) })).sort((a, b) => a.far - b.far)[0];
  return near && near.far <= 3 ? near.name : undefined;
}

/** Levenshtein distance: how many letters to insert, delete or replace. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
