import { parseSchema } from '../../functions/schema-file.ts';
import { findInCase } from './case.ts';
import { findInCharacters } from './characters.ts';
import type { Finding } from './finding.ts';
import { findInIndexes } from './indexes.ts';
import { findInObjects } from './objects.ts';
import { findInSections } from './sections.ts';

/**
 * Checks a schema file against the conventions that a parser can see: how it is written and laid out, and what its
 * tables, functions and indexes must have.
 *
 * @throws Refusal when the file does not parse
 */
export async function lintSchema(text: string, fileName: string): Promise<Finding[]> {
  const file = await parseSchema(text, fileName);
  const findings = [
    ...findInCharacters(text),
    ...(await findInCase(text)),
    ...findInSections(file),
    ...findInObjects(file.statements),
    ...findInIndexes(file.statements),
  ];
  return findings.toSorted((one, other) => one.line - other.line || one.rule.localeCompare(other.rule));
}
