import type { ScanToken } from 'libpg-query';
import { loadParser } from './postgres-parser.ts';

export type Token = ScanToken;

/**
 * The tokens of a text of SQL, comments included, with their places in bytes. Strings are one token each, the body of a
 * function too.
 *
 * @throws Error for an unterminated string; parse the text first
 */
export async function tokensOf(sql: string): Promise<Token[]> {
  const { scanSync } = await loadParser();
  // The scanner writes control characters into its JSON as they are, which cannot be read back.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return scanSync(sql.replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, ' ')).tokens;
}
