import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { bringUpToDate } from '../../functions/apply.ts';
import { Refusal } from '../../functions/refusal.ts';
import { openScratch } from '../scratch-database.ts';

const fixtures = path.join(import.meta.dirname, '..', 'fixtures');

/** A small schema file. */
export const library = readFileSync(path.join(fixtures, 'library.sql'), 'utf8');
/** The query that shows all that is in a database. */
export const picture = readFileSync(path.join(fixtures, 'catalog-picture.sql'), 'utf8');

/** The library with each text replaced by the other; a text that is not there is a mistake of the test. */
export function edited(...replacements: [from: string, to: string][]): string {
  return replacements.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`The fixture has no ${from}`);
    return text.replace(from, () => to);
  }, library);
}

export async function refusalOf(work: Promise<unknown>): Promise<Refusal> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('It was expected to be refused.');
}

/** Databases that a schema file is applied to; they are gone when the test ends. */
export async function openLibraries(t: Pick<Test, 'teardown'>) {
  const folder = mkdtempSync(path.join(tmpdir(), 'plinth-schema-'));
  const schemaFile = path.join(folder, 'schema.sql');
  const scratch = await openScratch();
  t.teardown(async () => {
    await scratch.close();
    rmSync(folder, { recursive: true });
  });

  /** Brings the database to this text of a schema file and gives back what was reported. */
  async function bring(databaseUrl: string, text: string, development = true): Promise<string[]> {
    const lines: string[] = [];
    writeFileSync(schemaFile, text);
    await bringUpToDate({ databaseUrl, schemaFile, development, report: (line) => lines.push(line) });
    return lines;
  }

  async function withLibrary(): Promise<string> {
    const url = await scratch.create();
    await bring(url, library);
    return url;
  }

  return { scratch, schemaFile, bring, withLibrary };
}
