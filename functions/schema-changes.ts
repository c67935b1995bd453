import type { CreateEnumStmt, Node } from 'libpg-query';
import { escapeLiteral } from 'pg';
import { meaningOf, type SchemaFile, type Statement } from './schema-file.ts';
import { nameOf, quote } from './sql-names.ts';

/** A difference between two schema files; `live` when a database with data takes it without a plan. */
export type Change = { live: boolean } & (
  | { change: 'added'; after: Statement; before?: undefined }
  | { change: 'changed'; after: Statement; before: Statement }
  | { change: 'removed'; after?: undefined; before: Statement }
);

/**
 * What differs between two schema files, statement by statement. Their order in the file does not count; comments and
 * white space outside of functions do not either.
 */
export function compareSchemas(before: SchemaFile, after: SchemaFile): Change[] {
  const old = withoutCommon(before.statements, after.statements);
  const added = withoutCommon(after.statements, before.statements);
  const changes = added.map((statement): Change => {
    const index = old.findIndex((other) => other.kind === statement.kind && other.name === statement.name);
    if (index < 0) return { change: 'added', after: statement, live: canBeAdded(statement) };
    const [former] = old.splice(index, 1) as [Statement];
    return { change: 'changed', before: former, after: statement, live: canBeChanged(former, statement) };
  });
  return [
    ...changes,
    ...old.map((former): Change => ({ change: 'removed', before: former, live: canBeRemoved(former) })),
  ];
}

/** Whether the grants are the same in the same order: a revoke before a grant is not the one after it. */
export function sameGrants(before: SchemaFile, after: SchemaFile): boolean {
  const [old, now] = [before, after].map(({ statements }) =>
    statements.flatMap(({ kind, meaning }) => (kind === 'grant' ? [meaning] : [])).join(),
  );
  return old === now;
}

/** Differences as lines for a person: where, what, and how it differs. */
export function listChanges(changes: Change[], fileName: string): string {
  return changes
    .map(({ change, before, after }) => {
      const { kind, name, text } = after ?? before;
      // A statement without a name of its own goes by its first line, which says what kind it is.
      const what = text.startsWith(name) ? name : `${kind} ${name}`;
      return `  ${after ? `${fileName}:${after.line}` : fileName}  ${what}  ${change}`;
    })
    .join('\n');
}

/** Each occurrence in `others` takes away one, so that a statement written twice is not the same as written once. */
function withoutCommon(statements: Statement[], others: Statement[]): Statement[] {
  const counts = new Map<string, number>();
  for (const { meaning } of others) counts.set(meaning, (counts.get(meaning) ?? 0) + 1);
  return statements.filter(({ meaning }) => {
    const left = counts.get(meaning) ?? 0;
    counts.set(meaning, left - 1);
    return left <= 0;
  });
}

const replaceable = ['function', 'trigger', 'policy', 'comment'];
/** What takes nothing away when it is new. */
export const additions = ['schema', 'type', 'table', 'index', 'view'];

function canBeAdded({ kind, tree }: Statement): boolean {
  return (
    [...replaceable, ...additions, 'grant', 'function owner', 'function option'].includes(kind) ||
    onConflict(tree) !== undefined ||
    securesRows(tree)
  );
}

/** `alter table … enable row level security`, and nothing else. */
function securesRows(tree: Node): boolean {
  const cmds = 'AlterTableStmt' in tree ? (tree.AlterTableStmt.cmds ?? []) : [];
  const kinds = cmds.map((cmd) => ('AlterTableCmd' in cmd ? cmd.AlterTableCmd.subtype : undefined));
  return kinds.length > 0 && kinds.every((kind) => kind === 'AT_EnableRowSecurity');
}

function canBeChanged(before: Statement, after: Statement): boolean {
  const { kind, tree } = after;
  if (kind === 'data') return rewritesItsRows(tree) || onlyAddsRows(before.tree, tree);
  // Postgres replaces a view that keeps its columns, and says so where it does not.
  if ('ViewStmt' in tree && 'ViewStmt' in before.tree) return true;
  if (addedLabels(before, after) !== undefined) return true;
  return [...replaceable, 'function owner'].includes(kind) || (kind === 'grant' && canBeTakenBack(before));
}

/** The statements that give an enum its further labels; undefined where one is taken away or moved, or it is no enum. */
export function addedLabels({ tree: before }: Statement, { tree: after }: Statement): string | undefined {
  if (!('CreateEnumStmt' in before && 'CreateEnumStmt' in after)) return undefined;
  const [old, now] = [labelsOf(before.CreateEnumStmt), labelsOf(after.CreateEnumStmt)];
  if (String(old) !== String(now.filter((label) => old.includes(label)))) return undefined;
  const type = nameOf(after.CreateEnumStmt.typeName, quote);
  return now
    .map((label, index) => {
      const place =
        index === 0 ? `before ${escapeLiteral(old[0] ?? '')}` : `after ${escapeLiteral(now[index - 1] ?? '')}`;
      return old.includes(label) ? '' : `alter type ${type} add value if not exists ${escapeLiteral(label)} ${place};`;
    })
    .join('');
}

function labelsOf({ vals = [] }: CreateEnumStmt): string[] {
  return vals.map((value) => ('String' in value ? (value.String.sval ?? '') : ''));
}

function canBeRemoved(statement: Statement): boolean {
  return replaceable.includes(statement.kind) || (statement.kind === 'grant' && canBeTakenBack(statement));
}

/** Privileges on these are reset and granted anew (schema-privileges.ts); those on a database or a language are not. */
function canBeTakenBack({ tree }: Statement): boolean {
  if (!('GrantStmt' in tree)) return false;
  const { objtype = '', objects = [] } = tree.GrantStmt;
  const onPublic =
    objtype === 'OBJECT_SCHEMA' && objects.some((name) => 'String' in name && name.String.sval === 'public');
  return !onPublic && /_(SCHEMA|TABLE|SEQUENCE|FUNCTION|PROCEDURE|ROUTINE|TYPE|DOMAIN)$/.test(objtype);
}

function onConflict(tree: Node): string | undefined {
  return 'InsertStmt' in tree ? tree.InsertStmt.onConflictClause?.action : undefined;
}

function rewritesItsRows(tree: Node): boolean {
  return onConflict(tree) === 'ONCONFLICT_UPDATE';
}

/** `do nothing` leaves a row that is there as it was, so that only further rows take effect. */
function onlyAddsRows(before: Node, after: Node): boolean {
  const [old, now] = [before, after].map((tree) => meaningOf(tree, ['valuesLists']));
  const kept = new Set(rowsOf(after));
  return onConflict(after) !== undefined && old === now && rowsOf(before).every((row) => kept.has(row));
}

function rowsOf(tree: Node): string[] {
  const source = 'InsertStmt' in tree ? tree.InsertStmt.selectStmt : undefined;
  const rows = source && 'SelectStmt' in source ? (source.SelectStmt.valuesLists ?? []) : [];
  return rows.map((row) => meaningOf(row));
}
