import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { Refusal } from '../../functions/refusal.ts';

/** Something that stands in a file of JSON, or why it could not be read; `line` is where it begins, or its number in a package. */
export type Told = { line: number; value: unknown } | { line: number; reason: string };

const largestPackage = 256 * 1024 * 1024;
const longestLine = 64 * 1024 * 1024;

/**
 * Reads a file with a JSON value a line, however long it is; or one with a single value, which is held in memory. A list, and what is
 * in a list of a package, are told one by one.
 *
 * @param lists the names that packages have their lists by.
 * @throws Refusal where a file of one value is too large for that.
 */
export async function* readJson(file: string, lists: string[]): AsyncGenerator<Told> {
  let line = 0;
  for await (const text of linesOf(file)) {
    line += 1;
    if (text.trim() === '') continue;
    const value = parsed(text);
    if (value === undefined && line === 1) {
      yield* unpacked(parseWhole(file), 1, lists);
      return;
    }
    if (value === undefined) yield { line, reason: 'It is no JSON.' };
    else yield* unpacked(value, line, lists);
  }
}

/** What tells the content of a file from any other. */
export async function contentHash(file: string, ...also: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const each of also) hash.update(each).update('\0');
  for await (const block of createReadStream(file)) hash.update(block);
  return hash.digest('hex');
}

function* unpacked(value: unknown, line: number, lists: string[]): Generator<Told> {
  const of = (value ?? {}) as Record<string, unknown>;
  const items = Array.isArray(value) ? value : lists.map((name) => of[name]).find(Array.isArray);
  // A record of OCDS has a list of releases, too: it is told as a whole.
  if (!Array.isArray(items) || 'ocid' in of) {
    yield { line, value };
    return;
  }
  let number = line;
  for (const item of items) {
    yield { line: number, value: item };
    number += 1;
  }
}

function parseWhole(file: string): unknown {
  const remedy = 'Write each of its items on a line of its own: jq -c ".releases[]" FILE > FILE.jsonl';
  if (statSync(file).size > largestPackage) throw new Refusal(`${file} is too large to be read at once.`, { remedy });
  try {
    return JSON.parse(readFileSync(file, 'utf8').replace(/^\uFEFF/, ''));
  } catch (cause) {
    throw new Refusal(`${file} is no JSON: ${(cause as Error).message}`, { remedy: 'Fetch it again.', cause });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    return undefined;
  }
}

/** By line feeds alone: JSON may have other characters that readline takes for the end of a line. */
async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const block of createReadStream(file, 'utf8')) {
    const whole = `${rest}${block}`.split('\n');
    rest = whole.pop() ?? '';
    yield* whole;
    // A single value without lines is read as a whole; anything else of that length is no JSON that we know.
    if (rest.length > longestLine) break;
  }
  if (rest) yield rest.slice(0, longestLine);
}
