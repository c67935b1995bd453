/** Rows as lines of text, numbers to the right. */
export function table(rows: Record<string, string | number>[]): string {
  const [first] = rows;
  if (!first) return '';
  const names = Object.keys(first);
  const cells = rows.map((row) => names.map((name) => textOf(row[name])));
  const widths = names.map((name, column) => Math.max(name.length, ...cells.map((line) => line[column]?.length ?? 0)));
  const line = (values: string[]) =>
    values
      .map((value, column) => {
        const isNumber = typeof first[names[column] as string] === 'number';
        return isNumber ? value.padStart(widths[column] ?? 0) : value.padEnd(widths[column] ?? 0);
      })
      .join('  ');
  return [line(names), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n');
}

function textOf(value: string | number | undefined): string {
  if (typeof value !== 'number') return value ?? '';
  if (Number.isNaN(value)) return '-';
  return value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 2 : 0 });
}
