import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { Refusal } from '../functions/refusal.ts';

/**
 * Asks whoever sits at the terminal to type yes.
 *
 * @throws Refusal where they do not, and where there is no terminal.
 */
export async function askForYes(): Promise<void> {
  if (!process.stdin.isTTY)
    throw new Refusal('There is no terminal to ask at.', { remedy: 'Run it again with --yes.' });
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await Promise.race([
    terminal.question('Type yes to go on: ').catch(() => ''), // Ctrl-C
    once(terminal, 'close').then(() => ''), // the end of the input, which leaves the question open
  ]);
  terminal.close();
  if (answer.trim().toLowerCase() !== 'yes') throw new Refusal('Nothing was changed.');
}

/** Cells as columns of text: a line for each row. */
export function inColumns(rows: string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** The arguments of a script. @throws Refusal with its usage where there is one that it does not know. */
export function readArguments<Options extends NonNullable<ParseArgsConfig['options']>>(
  options: Options,
  usage: string,
) {
  try {
    return parseArgs({ allowPositionals: true, options });
  } catch (cause) {
    throw new Refusal((cause as Error).message, { remedy: usage, cause });
  }
}
