/**
 * A message to the person at the terminal: what is wrong and what to do about it. It is printed without a stack.
 * An error that is not a Refusal is a defect of Plinth and is printed whole.
 */
export class Refusal extends Error {
  readonly remedy: string | undefined;

  constructor(problem: string, { remedy, cause }: { remedy?: string; cause?: unknown } = {}) {
    super(problem, { cause });
    this.name = 'Refusal';
    this.remedy = remedy;
  }
}

/**
 * What to print for an error: problem and remedy of a Refusal, or of what a function of schema.sql says no with (PT…); that the database
 * is gone; the whole stack of anything else.
 */
function explain(error: unknown): string {
  if (error instanceof Refusal) return error.remedy ? `${error.message}\n${error.remedy}` : error.message;
  const { code, message, hint } = Object(error) as { code?: string; message?: string; hint?: string };
  if (/^PT\d/.test(code ?? '')) return hint ? `${message}\n${hint}` : `${message}`;
  if (/^(08|57P0)/.test(code ?? '')) return `The database has gone away: ${message}\nStart this again when it is back.`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Whether a function of schema.sql says no for good. What is late or too often (PT409, PT429) may be tried again. */
export function isRefusal(code = ''): boolean {
  return code.startsWith('PT4') && code !== 'PT409' && code !== 'PT429';
}

/**
 * Runs what a script is for. An error is explained on stderr and makes the exit code 1; nothing is cut off: the process
 * ends when its work has ended.
 */
export async function runScript(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exitCode = 1;
  }
}
