import type { ScanToken } from 'libpg-query';

/**
 * Postgres's own parser, loaded when it is first needed: most starts need none. (A process that ends while its WebAssembly is still
 * being compiled sometimes does not end: seen in one start of five that was refused at once, on Node 24.)
 */
export async function loadParser() {
  const parser = await import('libpg-query');
  await parser.loadModule();
  return parser;
}

/**
 * The tokens of a text of SQL, comments included, with their places in bytes. Strings are one token each, the body of a
 * function too.
 *
 * @throws Error for an unterminated string; parse the text first
 */
export async function tokensOf(sql: string): Promise<ScanToken[]> {
  const { scanSync } = await loadParser();
  // The scanner writes control characters into its JSON as they are, which cannot be read back.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return scanSync(sql.replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, ' ')).tokens;
}
