import type { CreateFunctionStmt, Node, RangeVar, TypeName } from 'libpg-query';

// Names in a syntax tree, written in two ways: `plain` for messages, quoted only where they must be; `quote` for text
// that is executed, since a plain name may still be a reserved word.

/** How one part of a name is written: `plain` or `quote`. */
export type Write = (name: string) => string;

export function plain(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : quote(name);
}

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function stringOf(node: Node): string {
  return 'String' in node ? (node.String.sval ?? '') : '';
}

/** A list of name parts, such as schema and table, as one name. */
export function nameOf(parts: Node[] | undefined, write: Write = plain): string {
  return (parts ?? []).map((part) => write(stringOf(part))).join('.');
}

export function relationName(relation: RangeVar | undefined, write: Write = plain): string {
  const parts = [relation?.schemaname, relation?.relname];
  return parts.flatMap((part) => (part === undefined ? [] : [write(part)])).join('.');
}

/** A type without its length or precision; in messages under the name that people use. */
function typeName(type: TypeName | undefined, write: Write = plain): string {
  const [first, second] = (type?.names ?? []).map(stringOf);
  const builtIn = write === plain && first === 'pg_catalog' && second !== undefined;
  const name = builtIn ? (spokenNames[second] ?? second) : nameOf(type?.names, write);
  return `${name}${type?.pct_type ? '%type' : ''}${'[]'.repeat(type?.arrayBounds?.length ?? 0)}`;
}

/** A function with the types that tell it from its namesakes, such as `chat.send(uuid, text)`. */
export function signature(routine: CreateFunctionStmt, write: Write = plain): string {
  const types = (routine.parameters ?? []).flatMap((node) => {
    const parameter = 'FunctionParameter' in node ? node.FunctionParameter : {};
    // What is only given back does not tell functions apart; for procedures it does.
    const givenBack = parameter.mode === 'FUNC_PARAM_TABLE' || parameter.mode === 'FUNC_PARAM_OUT';
    return givenBack && !routine.is_procedure ? [] : [typeName(parameter.argType, write)];
  });
  return `${nameOf(routine.funcname, write)}(${types.join(', ')})`;
}

/** The object of a comment or of an owner. For constraints, triggers and policies the table's name comes first. */
export function objectName(object: Node | undefined): string {
  if (!object) return '';
  if ('String' in object) return plain(stringOf(object));
  if ('TypeName' in object) return typeName(object.TypeName);
  if ('List' in object) return nameOf(object.List.items);
  if (!('ObjectWithArgs' in object)) return '';
  const { objname, objargs, args_unspecified } = object.ObjectWithArgs;
  const types = (objargs ?? []).map((type) => ('TypeName' in type ? typeName(type.TypeName) : ''));
  return args_unspecified ? nameOf(objname) : `${nameOf(objname)}(${types.join(', ')})`;
}

const spokenNames: Record<string, string> = {
  bool: 'boolean',
  bpchar: 'char',
  float4: 'real',
  float8: 'double precision',
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
};
