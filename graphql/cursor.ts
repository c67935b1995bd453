import { GraphQLError } from 'graphql';
import { quote } from '../functions/sql-names.ts';
import type { Context, Input, Read } from './context.ts';
import type { Order, Row } from './plan.ts';
import { literal, type Scope } from './select.ts';

/** What a page is ordered by, to the last difference between rows: a cursor holds these values of a row. */
export type Key = {
  parts: { column: string; descending: boolean; nullable: boolean; sqlName: string }[];
  /** The order is a function's own: its rows are numbered, and a row is found again by its key. */
  ordinal: boolean;
  row: Row;
};

export function keyOf(row: Row, order: Order[], ordinal: boolean): Key {
  if (ordinal) return { parts: [], ordinal, row };
  // The key decides between equals, in the direction of the last column, so that one comparison of rows says it all.
  const descending = order.at(-1)?.descending ?? false;
  const rest = row.key.filter((name) => !order.some(({ column }) => column === name));
  const parts = [...order, ...rest.map((column) => ({ column, descending }))].map((part) => {
    const column = row.columns.find(({ name }) => name === part.column);
    if (!column) throw new Error(`${row.sqlName} has no column ${part.column}`);
    return { ...part, nullable: !column.notNull, sqlName: row.codec(column).sqlName };
  });
  return { parts, ordinal, row };
}

/** Names the order, so that a cursor of another one is noticed. */
function signature({ parts, ordinal }: Key): string {
  return ordinal ? '#' : parts.map(({ column, descending }) => `${descending ? '-' : '+'}${column}`).join('');
}

export function orderBy({ parts, ordinal }: Key, alias: string, backward: boolean): string {
  if (ordinal) return `${alias}.ordinality${backward ? ' desc' : ''}`;
  return parts
    .map(({ column, descending, nullable }) => {
      const direction = descending === backward ? 'asc' : 'desc';
      // Rows without a value come last, and going backward first.
      const nulls = nullable ? ` nulls ${backward ? 'first' : 'last'}` : '';
      return `${alias}.${quote(column)} ${direction}${nulls}`;
    })
    .join(', ');
}

/** The SQL that gives a row's cursor: the order's name and the row's values, as URL-safe Base64 of JSON. */
export function cursorOf(key: Key, scope: Scope): string {
  const names = key.ordinal ? ['ordinality', ...key.row.key] : key.parts.map(({ column }) => column);
  const values = names.map((name) => `${scope.column(name)}::text`);
  const json = `json_build_array(${literal(signature(key))}, ${values.join(', ')})`;
  return `rtrim(translate(encode(convert_to(${json}::text, 'UTF8'), 'base64'), E'+/\\n', '-_'), '=')`;
}

/** The values of a cursor that a client gave back. */
export function readCursor({ read }: Pick<Input, 'read'>, key: Key, argument: string): Read[] {
  const count = key.ordinal ? key.row.key.length + 1 : key.parts.length;
  const order = signature(key);
  return Array.from({ length: count }, (_, index) => readCursorPart(read, order, count, index, argument));
}

function readCursorPart(read: Input['read'], order: string, count: number, index: number, argument: string): Read {
  return (variables) => {
    try {
      const [given, ...values]: unknown[] = JSON.parse(Buffer.from(String(read(variables)), 'base64url').toString());
      const fits = values.length === count && values.every((value) => value === null || typeof value === 'string');
      if (given === order && fits) return values[index] as string | null;
    } catch {
      // Not a cursor at all: told like one of another order.
    }
    throw new GraphQLError(`The cursor in ${argument} is not one of this connection in this order.`, {
      extensions: { code: 'BAD_USER_INPUT', argument },
    });
  };
}

/** The condition for the rows after a cursor (`forward`) or before it. */
export function keyset(
  context: Context,
  key: Key,
  alias: string,
  reads: Read[],
  forward: boolean,
  numbered: (alias: string) => string,
): string {
  if (key.ordinal) return ordinalCondition(context, key, alias, reads, forward, numbered);
  const values = key.parts.map(({ sqlName }, index) => `${context.bind(reads[index] as Read)}::${sqlName}`);
  const columns = key.parts.map(({ column }) => `${alias}.${quote(column)}`);
  const operators = key.parts.map(({ descending }) => (descending === forward ? '<' : '>'));
  const plain = key.parts.every(({ nullable }) => !nullable) && new Set(operators).size === 1;
  if (plain) return `(${columns.join(', ')}) ${operators[0]} (${values.join(', ')})`;

  const beyond = key.parts.map(({ nullable }, index) => {
    const [column, value, operator] = [columns[index], values[index], operators[index]];
    if (!nullable) return `${column} ${operator} ${value}`;
    const nulls = forward ? `${column} is null and ${value} is not null` : `${column} is not null and ${value} is null`;
    return `(${column} ${operator} ${value} or (${nulls}))`;
  });
  const alternatives = beyond.map((condition, index) => {
    const equal = columns.slice(0, index).map((column, each) => `${column} is not distinct from ${values[each]}`);
    return `(${[...equal, condition].join(' and ')})`;
  });
  return `(${alternatives.join(' or ')})`;
}

/** From where the row now stands; where it is gone, from where it stood. */
function ordinalCondition(
  context: Context,
  { row }: Key,
  alias: string,
  reads: Read[],
  forward: boolean,
  numbered: (alias: string) => string,
): string {
  const stood = `${context.bind(reads[0] as Read)}::bigint`;
  const same = row.key.map((name, index) => {
    const column = row.columns.find((each) => each.name === name) as Row['columns'][number];
    return `again.${quote(name)} = ${context.bind(reads[index + 1] as Read)}::${row.codec(column).sqlName}`;
  });
  const stands = `(select again.ordinality from ${numbered('again')} where ${same.join(' and ') || 'false'})`;
  return `${alias}.ordinality ${forward ? '>' : '<'} coalesce(${stands}, ${stood})`;
}
