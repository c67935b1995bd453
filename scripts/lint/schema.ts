import { parseSchema } from '../../functions/schema-file.ts';
import { type Finding, findInCatalog } from '../../functions/schema-findings.ts';
import { onScratch } from '../../functions/scratch-database.ts';
import { findInSections } from './sections.ts';
import { findInCase, findInCharacters } from './text.ts';

/**
 * Checks a schema file against the conventions: how it is written and laid out, and what its tables, functions and indexes must have.
 *
 * @param serverUrl a database on the server where it is tried.
 * @throws Refusal when the file does not apply
 */
export async function lintSchema(serverUrl: string, text: string, fileName: string): Promise<Finding[]> {
  const file = await parseSchema(text, fileName);
  const findings = [
    ...findInCharacters(text),
    ...(await findInCase(text)),
    ...findInSections(file),
    ...(await onScratch(serverUrl, { text, fileName }, (client) => findInCatalog(client, file.statements))),
  ];
  return findings.toSorted((one, other) => one.line - other.line || one.rule.localeCompare(other.rule));
}
