import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { CreateFunctionStmt } from 'libpg-query';
import type pg from 'pg';
import { addedLabels, additions, type Change, sameGrants } from './schema-changes.ts';
import { meaningOf, type SchemaFile, type Statement } from './schema-file.ts';
import { privilegeResets } from './schema-privileges.ts';
import { execute } from './schema-statement.ts';
import { quote, relationName, signature } from './sql-names.ts';
import { tokensOf } from './sql-parser.ts';

/**
 * Brings a live database from one schema file to another whose changes are all `live`, inside the caller's transaction.
 *
 * What cannot be replaced in place is dropped first. Then the new file is walked through twice, the second time for what
 * may name any object (comments, owners, grants). What was removed goes in between: a function can be dropped only when
 * nothing calls it any more, and a comment that names a function without its arguments needs its namesakes gone.
 *
 * @throws Refusal when a statement fails, for example for a dropped function that a table's default needs
 */
export async function applyLive(client: pg.ClientBase, before: SchemaFile, after: SchemaFile, changes: Change[]) {
  const fresh = new Set(changes.map(({ after }) => after));
  const added = changes.flatMap(({ change, after }) => (change === 'added' ? [after] : []));
  const labels = new Map(
    changes.flatMap(({ before, after }) => (before && after ? [[after, addedLabels(before, after)]] : [])),
  );
  const removed = changes.flatMap(({ change, before }) => (change === 'removed' ? [before] : []));
  const replaced = changes.flatMap(({ change, before, after }) =>
    change === 'changed' && !takesItsPlace(before, after) ? [before] : [],
  );

  for (const { call } of (await client.query<{ call: string }>(libraries)).rows) await client.query(call);
  for (const statement of ofKind(removed, 'comment')) {
    await execute(client, before, statement, await emptiedComment(statement));
  }
  await dropAll(client, before, ofKind([...removed, ...replaced], 'trigger', 'policy'));
  await dropAll(client, before, ofKind(replaced, 'function'));
  // One that was tried in psql may be there, with another owner or result.
  await dropAll(client, after, ofKind(added, 'trigger', 'policy', 'function'), ' if exists');
  const isObject = (statement: Statement) => fresh.has(statement) && objects.includes(statement.kind);
  await walk(client, after, isObject, (statement) => labels.get(statement) ?? createOrReplace(statement));
  await dropAll(client, before, ofKind(removed, 'function'));

  // A function that was dropped and made again has lost its privileges.
  const granting =
    !sameGrants(before, after) || changes.some((change) => (change.after ?? change.before).kind === 'function');
  if (granting) for (const reset of await privilegeResets(client, [before, after])) await client.query(reset);
  await walk(client, after, (statement) => {
    const { kind, name } = statement;
    if (kind === 'comment') return fresh.has(statement) || /^on (function|procedure|trigger|policy) /.test(name);
    return /^function (owner|option)$/.test(kind) || (granting && grants(statement));
  });
}

const libraries = readFileSync(path.join(import.meta.dirname, 'extension-libraries.sql'), 'utf8');
const objects = [...additions, 'alteration', 'function', 'trigger', 'policy', 'data'];

function ofKind(statements: Statement[], ...kinds: string[]): Statement[] {
  return statements.filter(({ kind }) => kinds.includes(kind));
}

/** A block may grant on objects whose names it has looked up; like every block it can be run again. */
function grants({ kind, text }: Statement): boolean {
  return kind === 'grant' || (kind === 'block' && /\b(grant|revoke)\b/i.test(text));
}

/** Executes the wanted statements under the settings that the file has at their place, such as `set local role`. */
async function walk(
  client: pg.ClientBase,
  file: SchemaFile,
  wanted: (statement: Statement) => boolean,
  textOf: (statement: Statement) => string = createOrReplace,
): Promise<void> {
  for (const statement of file.statements) {
    if (statement.kind !== 'setting' && !wanted(statement)) continue;
    await execute(client, file, { ...statement, text: textOf(statement) });
  }
  await client.query('reset role');
}

function createOrReplace({ tree, text }: Statement): string {
  if (!('CreateFunctionStmt' in tree || 'ViewStmt' in tree)) return text;
  return text.replace(/^create(\s+or\s+replace)?/i, 'create or replace');
}

/** In the reverse of the order in which they were created, since the later ones stand on the earlier. */
async function dropAll(
  client: pg.ClientBase,
  file: SchemaFile,
  statements: Statement[],
  condition: '' | ' if exists' = '',
): Promise<void> {
  for (const statement of statements.toSorted((one, other) => other.line - one.line)) {
    await execute(client, file, statement, dropOf(statement, condition));
  }
}

function dropOf({ kind, name, tree }: Statement, condition: string): string {
  if ('CreateFunctionStmt' in tree) {
    const routine = tree.CreateFunctionStmt;
    return `drop ${routine.is_procedure ? 'procedure' : 'function'}${condition} ${signature(routine, quote)}`;
  }
  if ('CreateTrigStmt' in tree) {
    const { trigname = '', relation } = tree.CreateTrigStmt;
    return `drop trigger${condition} ${quote(trigname)} on ${relationName(relation, quote)}`;
  }
  if ('CreatePolicyStmt' in tree) {
    const { policy_name = '', table } = tree.CreatePolicyStmt;
    return `drop policy${condition} ${quote(policy_name)} on ${relationName(table, quote)}`;
  }
  throw new Error(`How to drop the ${kind} ${name} is not known.`);
}

/** The comment statement up to its last `is` outside of strings, with null for a text. */
async function emptiedComment({ text }: Statement): Promise<string> {
  const is = (await tokensOf(text)).findLast((token) => token.text.toLowerCase() === 'is');
  return `${Buffer.from(text).subarray(0, is?.end).toString()} null`;
}

/** Whether the new statement takes the place of the old one without a drop before it. */
function takesItsPlace({ kind, tree: before }: Statement, { tree: after }: Statement): boolean {
  if (!('CreateFunctionStmt' in before && 'CreateFunctionStmt' in after))
    return kind !== 'trigger' && kind !== 'policy';
  const [old, now] = [before.CreateFunctionStmt, after.CreateFunctionStmt];
  return shapeOf(old) === shapeOf(now) && defaultsOf(old).every((name) => defaultsOf(now).includes(name));
}

/** What `create or replace function` cannot change: the result, and names and modes of arguments. */
function shapeOf({ is_procedure, parameters, returnType }: CreateFunctionStmt): string {
  return meaningOf([is_procedure, parameters, returnType], ['defexpr']);
}

function defaultsOf({ parameters = [] }: CreateFunctionStmt): (string | number)[] {
  return parameters.flatMap((node, index) => {
    const parameter = 'FunctionParameter' in node ? node.FunctionParameter : {};
    return parameter.defexpr ? [parameter.name ?? index] : [];
  });
}
