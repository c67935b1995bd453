/**
 * Postgres's own parser, loaded when it is first needed: most starts need none. (A process that ends while its WebAssembly is still
 * being compiled sometimes does not end: seen in one start of five that was refused at once, on Node 24.)
 */
export async function loadParser() {
  const parser = await import('libpg-query');
  await parser.loadModule();
  return parser;
}
