import type { Constraint, CreateFunctionStmt, Node, TypeName } from 'libpg-query';
import type { Statement } from '../../functions/schema-file.ts';
import { nameOf, relationName, stringOf, typeName } from '../../functions/sql-names.ts';
import type { Finding } from './finding.ts';

/** What functions and tables must have, and what they must not be made of. */
export function findInObjects(statements: Statement[]): Finding[] {
  const comments = new Set(statements.flatMap(({ kind, name }) => (kind === 'comment' ? [name] : [])));
  const guarded = guardedTables(statements);
  const open = openSchemas(statements);
  return statements.flatMap(({ tree, name, line }): Finding[] => {
    const found = (rule: string, message: string) => ({ line, rule, message });
    const findings = [
      ...unnamedChecks(tree).map(() => found('constraint-name', `a check of ${name} has no name`)),
      ...refusedTypes(tree).map(([type, better]) => found('type', `${name} has ${type}; use ${better}`)),
    ];
    if ('CreateFunctionStmt' in tree) {
      if (!fixesItsNames(tree.CreateFunctionStmt))
        findings.push(found('search-path', `${name} lacks set search_path = ''`));
      if (!isDocumented(tree.CreateFunctionStmt, name, comments))
        findings.push(found('comment', `${name} has no comment`));
    }
    if ('CreateStmt' in tree) {
      const partition = tree.CreateStmt.partbound !== undefined;
      const schema = tree.CreateStmt.relation?.schemaname ?? 'public';
      if (!partition && !comments.has(`on table ${name}`))
        findings.push(found('comment', `table ${name} has no comment`));
      if (open.has(schema) && !guarded.has(name)) {
        findings.push(found('row-security', `${name} is in a schema that others may use; enable row level security`));
      }
    }
    return findings;
  });
}

/** The schemas that a role other than their owner may use. */
function openSchemas(statements: Statement[]): Set<string> {
  const schemas = statements.flatMap(({ tree }) => {
    if (!('GrantStmt' in tree) || !tree.GrantStmt.is_grant || tree.GrantStmt.objtype !== 'OBJECT_SCHEMA') return [];
    return (tree.GrantStmt.objects ?? []).map(stringOf);
  });
  return new Set(schemas);
}

function guardedTables(statements: Statement[]): Set<string> {
  const tables = statements.flatMap(({ tree }) => {
    if (!('AlterTableStmt' in tree)) return [];
    const enables = (tree.AlterTableStmt.cmds ?? []).some(
      (command) => 'AlterTableCmd' in command && command.AlterTableCmd.subtype === 'AT_EnableRowSecurity',
    );
    return enables ? [relationName(tree.AlterTableStmt.relation)] : [];
  });
  return new Set(tables);
}

/**
 * A caller's search_path must not decide what the names in a function mean. Where the body is standard SQL (`return …`,
 * `begin atomic`) its names are bound when the function is made, and run with the caller's rights it may do without the
 * setting, which would keep Postgres from inlining it.
 */
function fixesItsNames({ options = [], sql_body }: CreateFunctionStmt): boolean {
  const option = (name: string) =>
    options.flatMap((node) =>
      'DefElem' in node && node.DefElem.defname === name && node.DefElem.arg ? [node.DefElem.arg] : [],
    );
  const empties = option('set').some((arg) => {
    if (!('VariableSetStmt' in arg) || arg.VariableSetStmt.name !== 'search_path') return false;
    const [value, ...more] = arg.VariableSetStmt.args ?? [];
    return more.length === 0 && value !== undefined && 'A_Const' in value && !value.A_Const.sval?.sval;
  });
  const asDefiner = option('security').some((arg) => 'Boolean' in arg && arg.Boolean.boolval);
  return empties || (sql_body !== undefined && !asDefiner);
}

function isDocumented(
  { funcname = [], is_procedure }: CreateFunctionStmt,
  name: string,
  comments: Set<string>,
): boolean {
  const own = funcname.at(-1);
  if (own && stringOf(own).startsWith('_')) return true;
  const kinds = [is_procedure ? 'procedure' : 'function', 'routine'];
  return kinds.some((kind) => comments.has(`on ${kind} ${name}`) || comments.has(`on ${kind} ${nameOf(funcname)}`));
}

function unnamedChecks(tree: Node): Constraint[] {
  const inDefinition = 'CreateStmt' in tree || 'AlterTableStmt' in tree || 'CreateDomainStmt' in tree;
  if (!inDefinition) return [];
  return all<Constraint>(tree, 'Constraint').filter(({ contype, conname }) => contype === 'CONSTR_CHECK' && !conname);
}

const betterTypes: Record<string, string> = {
  timestamp: 'timestamptz',
  varchar: 'text with a check',
  char: 'text with a check',
  json: 'jsonb',
  smallserial: 'smallint generated always as identity',
  serial: 'integer generated always as identity',
  bigserial: 'bigint generated always as identity',
};

/** Types that have a better one, with that one, in columns, fields, arguments and results. */
function refusedTypes(tree: Node): [string, string][] {
  const signature =
    'CreateFunctionStmt' in tree ? [tree.CreateFunctionStmt.parameters, tree.CreateFunctionStmt.returnType] : [];
  const isDefinition = ['CreateStmt', 'AlterTableStmt', 'CompositeTypeStmt', 'CreateDomainStmt'].some(
    (kind) => kind in tree,
  );
  const definition = isDefinition ? [tree] : signature;
  const types = ['TypeName', 'typeName', 'argType', 'returnType'].flatMap((key) => all<TypeName>(definition, key));
  const returned =
    'CreateFunctionStmt' in tree && tree.CreateFunctionStmt.returnType ? [tree.CreateFunctionStmt.returnType] : [];
  return [...types, ...returned].flatMap((type): [string, string][] => {
    const name = typeName({ ...type, arrayBounds: [] });
    const better = betterTypes[name];
    return better ? [[name, better]] : [];
  });
}

/** Every value under that key, at any depth of a syntax tree. */
function all<Found>(tree: unknown, key: string): Found[] {
  if (typeof tree !== 'object' || tree === null) return [];
  return Object.entries(tree).flatMap(([name, value]) => [
    ...(name === key ? [value as Found] : []),
    ...all<Found>(value, key),
  ]);
}
