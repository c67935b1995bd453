import type pg from 'pg';
import { readOpenViews } from '../../functions/open-views.ts';
import { parseSchema, type Statement } from '../../functions/schema-file.ts';
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
    ...(await onScratch(serverUrl, { text, fileName }, async (client) => [
      ...(await findInCatalog(client, file.statements)),
      ...(await findOpenViews(client, file.statements)),
    ])),
  ];
  return findings.toSorted((one, other) => one.line - other.line || one.rule.localeCompare(other.rule));
}

async function findOpenViews(client: pg.ClientBase, statements: Statement[]): Promise<Finding[]> {
  const openViews = await readOpenViews(client);
  const message =
    'serves rows past row level security: make it with (security_invoker = true), or say "@asOwner" in its comment';
  return statements.flatMap(({ kind, name, line }) =>
    kind === 'view' && openViews.includes(name) ? [{ line, rule: 'view-rights', message: `${name} ${message}` }] : [],
  );
}
