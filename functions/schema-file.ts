import type { Node } from 'libpg-query';
import { Refusal } from './refusal.ts';
import { nameOf, objectName, plain, relationName, signature } from './sql-names.ts';
import { loadParser } from './sql-parser.ts';

/** One statement of a schema.sql. */
export type Statement = {
  /** What it is about: 'table', 'function', 'grant', 'comment', 'data', …; 'other' for what is rarely seen. */
  kind: string;
  /** The object as a person would write it: `chat.channels`, `chat.send(uuid, text)`, `newest on chat.messages`. */
  name: string;
  /** As it stands in the file, without the comments before it and the semicolon after it. */
  text: string;
  /** The line it begins at, from 1. */
  line: number;
  /** Two statements with the same meaning differ at most in white space, comments, case, and `int` for `integer`. */
  meaning: string;
  tree: Node;
};

export type SchemaFile = { fileName: string; text: string; statements: Statement[] };

/**
 * Reads SQL into its statements with Postgres's own parser (that of 18).
 *
 * @param fileName what messages call it
 * @throws Refusal with file and line for a syntax error, and for begin, commit and the like
 */
export async function parseSchema(text: string, fileName: string): Promise<SchemaFile> {
  // The parser counts bytes where JavaScript counts UTF-16 units.
  const bytes = Buffer.from(text);
  let line = 1;
  let seen = 0;
  const parsed = await parseOrRefuse(text, fileName);
  const statements = parsed.map(({ stmt, stmt_location = 0, stmt_len }): Statement => {
    for (; seen < stmt_location; seen++) if (bytes[seen] === newline) line++;
    const end = stmt_len ? stmt_location + stmt_len : bytes.length;
    const own = bytes.subarray(stmt_location, end).toString().trimEnd();
    const tree = stmt as Node;
    if ('TransactionStmt' in tree) {
      throw new Refusal(
        `${fileName}:${line}: "${own}": a schema is applied in one transaction, so it has none inside.`,
        { remedy: 'Remove the statement.' },
      );
    }
    return { ...subject(tree, own), text: own, line, meaning: meaningOf(tree), tree };
  });
  return { fileName, text, statements };
}

/** The line, from 1, of a place in a text that Postgres gives as a count of characters before it. */
export function lineAt(text: string, characters: number): number {
  return Array.from(text).slice(0, characters).join('').split('\n').length;
}

/**
 * A syntax tree as text, without what only tells where its parts stand in the file.
 *
 * @param without further keys to leave out
 */
export function meaningOf(tree: unknown, without: string[] = []): string {
  return JSON.stringify(tree, (key, value) => (places.test(key) || without.includes(key) ? undefined : value));
}

const places = /^(name_)?location$|^(rexpr_)?list_(start|end)$|^stmt_(location|len)$/;
const newline = 10;

async function parseOrRefuse(text: string, fileName: string) {
  if (text.trim() === '') return [];
  const { hasSqlDetails, parseSync } = await loadParser();
  try {
    return parseSync(text).stmts ?? [];
  } catch (error) {
    if (!hasSqlDetails(error)) throw error;
    const line = lineAt(text, error.sqlDetails?.cursorPosition ?? 0);
    throw new Refusal(`${fileName}:${line}: ${error.message}\n\n  ${text.split('\n')[line - 1]?.trim() ?? ''}\n`, {
      remedy: 'Correct the statement; nothing of the file was applied.',
      cause: error,
    });
  }
}

/** What a statement is about. Statements without a name of their own go by their first line. */
function subject(tree: Node, text: string): { kind: string; name: string } {
  const firstLine = text.split('\n', 1)[0] ?? '';
  if ('CreateSchemaStmt' in tree) return { kind: 'schema', name: plain(tree.CreateSchemaStmt.schemaname ?? '') };
  if ('CreateExtensionStmt' in tree) return { kind: 'extension', name: plain(tree.CreateExtensionStmt.extname ?? '') };
  if ('CreateRoleStmt' in tree) return { kind: 'role', name: plain(tree.CreateRoleStmt.role ?? '') };
  if ('AlterRoleStmt' in tree || 'AlterRoleSetStmt' in tree) return { kind: 'role', name: firstLine };
  if ('GrantRoleStmt' in tree) return { kind: 'membership', name: firstLine };
  if ('CreateStmt' in tree) return { kind: 'table', name: relationName(tree.CreateStmt.relation) };
  if ('AlterTableStmt' in tree) return { kind: 'alteration', name: relationName(tree.AlterTableStmt.relation) };
  if ('CreateSeqStmt' in tree) return { kind: 'sequence', name: relationName(tree.CreateSeqStmt.sequence) };
  if ('ViewStmt' in tree) return { kind: 'view', name: relationName(tree.ViewStmt.view) };
  if ('CreateTableAsStmt' in tree) return { kind: 'view', name: relationName(tree.CreateTableAsStmt.into?.rel) };
  if ('IndexStmt' in tree) return { kind: 'index', name: plain(tree.IndexStmt.idxname ?? firstLine) };
  if ('CreateEnumStmt' in tree) return { kind: 'type', name: nameOf(tree.CreateEnumStmt.typeName) };
  if ('CreateDomainStmt' in tree) return { kind: 'type', name: nameOf(tree.CreateDomainStmt.domainname) };
  if ('CreateRangeStmt' in tree) return { kind: 'type', name: nameOf(tree.CreateRangeStmt.typeName) };
  if ('CompositeTypeStmt' in tree) return { kind: 'type', name: relationName(tree.CompositeTypeStmt.typevar) };
  if ('CreateFunctionStmt' in tree) return { kind: 'function', name: signature(tree.CreateFunctionStmt) };
  if ('AlterFunctionStmt' in tree) return { kind: 'function option', name: firstLine };
  if ('AlterOwnerStmt' in tree) {
    const ofRoutine = /FUNCTION|PROCEDURE|ROUTINE/.test(tree.AlterOwnerStmt.objectType ?? '');
    return { kind: ofRoutine ? 'function owner' : 'owner', name: objectName(tree.AlterOwnerStmt.object) || firstLine };
  }
  if ('CreateTrigStmt' in tree) {
    const { trigname = '', relation } = tree.CreateTrigStmt;
    return { kind: 'trigger', name: `${plain(trigname)} on ${relationName(relation)}` };
  }
  if ('CreatePolicyStmt' in tree) {
    const { policy_name = '', table } = tree.CreatePolicyStmt;
    return { kind: 'policy', name: `${plain(policy_name)} on ${relationName(table)}` };
  }
  if ('GrantStmt' in tree) return { kind: 'grant', name: firstLine };
  if ('AlterDefaultPrivilegesStmt' in tree) return { kind: 'default privileges', name: firstLine };
  if ('CommentStmt' in tree) {
    const kind = (tree.CommentStmt.objtype ?? '').replace('OBJECT_', '').replace('TABCON', 'CON').toLowerCase();
    return { kind: 'comment', name: `on ${kind} ${objectName(tree.CommentStmt.object)}` };
  }
  if ('InsertStmt' in tree) return { kind: 'data', name: relationName(tree.InsertStmt.relation) };
  if ('UpdateStmt' in tree || 'DeleteStmt' in tree || 'SelectStmt' in tree) return { kind: 'data', name: firstLine };
  if ('DoStmt' in tree) return { kind: 'block', name: firstLine };
  if ('VariableSetStmt' in tree) return { kind: 'setting', name: firstLine };
  return { kind: 'other', name: firstLine };
}
