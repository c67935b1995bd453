import type { Column, Table, Value } from '../functions/contract-exports.ts';

/**
 * Writes a table as CSV (RFC 4180), in UTF-8 with the mark by which Excel knows it. What a spreadsheet would take for a formula has an
 * apostrophe before it, also behind what it may take for the end of a cell.
 */
export async function* writeCsv({ columns, pages }: Table): AsyncGenerator<string> {
  yield `\uFEFF${columns.map(({ name }) => name).join(',')}\r\n`;
  for await (const page of pages)
    yield page.map((row) => `${row.map((value, index) => field(columns[index], value)).join(',')}\r\n`).join('');
}

function field(column: Column | undefined, value: Value): string {
  if (value === null) return '';
  if (column?.kind === 'truth') return value === 't' ? 'true' : 'false';
  const text = column?.kind === 'text' ? value.replace(cellsOfFormulas, "$1'") : value;
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Whether a spreadsheet would take a text for a formula (OWASP, "CSV Injection"). */
export const startsFormula = (text: string): boolean => /^[=+\-@\t\r\n]/.test(text);

// Where a spreadsheet may begin a cell: one whose language lists by semicolons does so there, whatever the quotes.
const cellsOfFormulas = /(^|[;\t\r\n])(?=[=+\-@\t\r\n])/g;

/** Writes a table as an object a line; what is not known is left out. Numbers have all their digits. */
export async function* writeJsonLines({ columns, pages }: Table): AsyncGenerator<string> {
  const keys = columns.map(({ name }) => JSON.stringify(name));
  for await (const page of pages) yield page.map((row) => `{${[...members(keys, columns, row)].join(',')}}\n`).join('');
}

function* members(keys: string[], columns: Column[], row: Value[]): Generator<string> {
  for (const [index, value] of row.entries()) {
    if (value === null) continue;
    const kind = columns[index]?.kind;
    const isNumber = kind === 'sum' || kind === 'number' || kind === 'integer';
    const shown = kind === 'truth' ? `${value === 't'}` : isNumber ? value : JSON.stringify(value);
    yield `${keys[index]}:${shown}`;
  }
}
