import { type FieldNode, type GraphQLObjectType, getNamedType } from 'graphql';
import { quote } from '../functions/sql-names.ts';
import { type Context, collectFields, type Input, input, limitError, type Read, readText, spend } from './context.ts';
import type { FieldPlan, FunctionPlan, Order, Row } from './plan.ts';
import { checkColumn } from './rights.ts';

/** Rows that a statement stands on, under an alias; it remembers which columns were asked for. */
export type Scope = { alias: string; row: Row; used: Set<string>; column(name: string): string };

/** A selection: the members of a JSON object, the joins they need, and the expressions that count its rows. */
export type Selected = { pairs: [string, string][]; joins: string[]; rows: string[] };

type Value = { sql: string; joins?: string[]; rows?: string[] };

/** Where the rows of a connection come from. */
type Source = {
  /** An item of FROM, without its alias. */
  from: string;
  row: Row;
  /** The conditions that join it to the row that it belongs to. */
  where(alias: string): string[];
  /** Whether the rows come in an order of their own. */
  ordinal: boolean;
  order: Order[];
};

/** How a connection is compiled; passed on, since connections stand on selections and selections on connections. */
export type CompileConnection = (place: Place, source: Source) => Value;

export function scopeOf(context: Context, row: Row): Scope {
  const alias = newAlias(context, 't');
  const used = new Set<string>();
  return {
    alias,
    row,
    used,
    column(name) {
      used.add(name);
      return `${alias}.${quote(name)}`;
    },
  };
}

// Fragments can make a short document ask for very many relations; Postgres would plan them for long.
const mostNames = 400;

/**
 * A new alias. It ends with a space, as no name in GraphQL does: `row_to_json(o)` would be the column of that name, where there is one, and
 * columns of subqueries are named by clients.
 */
export function newAlias(context: Context, letter = 'j'): string {
  context.counts.names += 1;
  if (context.counts.names > mostNames) throw limitError('The operation asks for too many relations at once.');
  return `"${letter}${context.counts.names} "`;
}

export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Columns of a subquery whose rows are to be JSON objects. */
export function columnsOf(pairs: [string, string][]): string {
  return pairs.map(([key, sql]) => `${sql} as ${quote(key)}`).join(', ');
}

/** Whether every key can be the name of a column: Postgres cuts names at 63 bytes. */
export function areColumns(pairs: [string, string][]): boolean {
  return pairs.every(([key]) => key.length <= 63);
}

/** A JSON object. Made of a row, it is written faster and without white space than by json_build_object. */
export function jsonObject(pairs: [string, string][]): string {
  return areColumns(pairs)
    ? `(select row_to_json("o ") from (select ${columnsOf(pairs)}) as "o ")`
    : jsonBuildObject(pairs);
}

/** A JSON object where keys are too long for columns, or values are aggregates, which would count the subquery's rows. */
export function jsonBuildObject(pairs: [string, string][]): string {
  // A function takes 100 arguments: a larger object is put together from the texts of several.
  const parts: string[] = [];
  for (let start = 0; start < pairs.length; start += 50) {
    const part = pairs.slice(start, start + 50).map(([key, sql]) => `${literal(key)}, ${sql}`);
    const text = `json_build_object(${part.join(', ')})::text`;
    const opened = start === 0 ? text : `substr(${text}, 2)`;
    parts.push(start + 50 < pairs.length ? `left(${opened}, -1) || ','` : opened);
  }
  return `(${parts.join(' || ')})::json`;
}

/**
 * Compiles the fields asked of an object.
 *
 * @param scope the row they are read from; undefined at the root.
 * @param path the keys that lead to the object in the answer.
 * @param multiplicity how many such rows there may be: what its pages cost is multiplied by it.
 */
export function select(
  context: Context,
  type: GraphQLObjectType,
  fields: Map<string, FieldNode[]>,
  scope: Scope | undefined,
  depth: number,
  connection: CompileConnection,
  path: string[],
  multiplicity = 1,
): Selected {
  if (depth > context.limits.maxDepth) {
    throw limitError(`The fields of the operation nest deeper than ${context.limits.maxDepth}.`);
  }
  const selected: Selected = { pairs: [], joins: [], rows: [] };
  for (const [key, nodes] of fields) {
    const name = nodes[0]?.name.value as string;
    const { sql, joins, rows } =
      name === '__typename'
        ? { sql: literal(type.name) }
        : compileField({ context, type, name, nodes, scope, depth, multiplicity, connection, path: [...path, key] });
    selected.pairs.push([key, sql]);
    selected.joins.push(...(joins ?? []));
    selected.rows.push(...(rows ?? []));
  }
  return selected;
}

/** A field where it is asked for. */
type Place = {
  context: Context;
  type: GraphQLObjectType;
  name: string;
  nodes: FieldNode[];
  /** The row that it is read from; undefined at the root. */
  scope: Scope | undefined;
  depth: number;
  /** How many such rows there may be. */
  multiplicity: number;
  connection: CompileConnection;
  /** The keys that lead to it in the answer. */
  path: string[];
};

function compileField(place: Place): Value {
  const { context, type, name, nodes, scope } = place;
  const field = type.getFields()[name];
  const plan = field?.extensions.plan as FieldPlan | undefined;
  if (!field || !plan) return { sql: 'null' };
  const own = scope as Scope;
  if (isPersonal(plan)) context.counts.personal += 1;
  const given = (argument: string): Input | undefined => input(context, field, nodes[0] as FieldNode, argument);
  for (const column of columnsRead(plan)) checkColumn(context, own.row, column);

  switch (plan.kind) {
    case 'column':
      if (plan.codec.finish === 'sign') context.signs.push(place.path);
      return { sql: plan.codec.toJson(own.column(plan.column.name)) };
    case 'attribute': {
      const value = own.column(plan.column.name);
      return object(place, plan.row, `(select (${value}).*)`, () => [`not (${value} is null)`]);
    }
    case 'one':
      return object(place, plan.row, plan.table, (alias) => joined(plan.on, alias, own));
    case 'key':
      return object(place, plan.row, plan.table, (alias) =>
        plan.columns.map(({ name: column, apiName, codec }) => {
          const value = context.bind(readText(given(apiName)?.read, codec));
          return `${alias}.${quote(column)} = ${value}::${codec.sqlName}`;
        }),
      );
    case 'connection':
      return place.connection(place, {
        from: plan.table,
        row: plan.row,
        where: (alias) => joined(plan.on, alias, own),
        ordinal: false,
        order: plan.row.order,
      });
    case 'function':
      return compileCall(place, plan.call, plan.connection, given);
    default:
      throw new Error(`${plan.kind} is not read`);
  }
}

/** Whether another caller may get something else from it. */
function isPersonal(plan: FieldPlan): boolean {
  if (plan.kind === 'one') return !plan.shared;
  if (plan.kind === 'function') return !plan.call.shared;
  return plan.kind === 'connection' || plan.kind === 'key';
}

/** The columns of its own row that a field is made of. */
function columnsRead(plan: FieldPlan): string[] {
  if (plan.kind === 'column' || plan.kind === 'attribute') return [plan.column.name];
  return plan.kind === 'one' || plan.kind === 'connection' ? plan.on.map(([mine]) => mine) : [];
}

function joined(on: [string, string][], alias: string, own: Scope): string[] {
  return on.map(([mine, theirs]) => `${alias}.${quote(theirs)} = ${own.column(mine)}`);
}

// Keeps Postgres from merging a subquery into the join around it, where it would make the JSON of every row of a table to hash
// it, instead of looking up the one that is wanted: a page with senders takes four times as long then. And a function that is declared
// to give one row may give more.
const onItsOwn = ' limit 1';

/** Rows as JSON objects, joined on the side: one, or null; as a list, all of them. */
function object(place: Place, row: Row, from: string, where: (alias: string) => string[], list = false): Value {
  const { context, type, name, nodes, depth, connection } = place;
  const multiplicity = place.multiplicity * (list ? context.limits.maxPage : 1);
  spend(context, multiplicity);
  const inner = scopeOf(context, row);
  const objectType = getNamedType(type.getFields()[name]?.type) as GraphQLObjectType;
  const sets = nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
  const fields = collectFields(context, objectType, sets);
  const selected = select(context, objectType, fields, inner, depth + 1, connection, place.path, multiplicity);
  const inside = selected.rows.map((each) => `coalesce(${each}, 0)`).join(' + ');
  const conditions = where(inner.alias);
  const rows =
    `from ${from} as ${inner.alias}${selected.joins.join('')}` +
    (conditions.length > 0 ? ` where ${conditions.join(' and ')}` : '') +
    (list ? '' : onItsOwn);
  const plain = inside === '' && areColumns(selected.pairs);
  const source = plain
    ? `select ${columnsOf(selected.pairs)} ${rows}`
    : `select ${jsonObject(selected.pairs)} as data, ${inside || '0'} as n ${rows}`;
  const [one, n] = plain ? ['row_to_json("o ")', '0'] : ['"o ".data', '"o ".n'];
  const text = list
    ? `select coalesce(json_agg(${plain ? '"o "' : '"o ".data'}), '[]'::json) as data, count(*) + coalesce(sum(${n}), 0) as n from (${source}) as "o "`
    : `select ${one} as data, ${n} as n from (${source}) as "o "`;
  const alias = newAlias(context);
  return {
    sql: `${alias}.data`,
    joins: [` left join lateral (${text}) as ${alias} on true`],
    rows: list || !plain ? [`${alias}.n`] : [],
  };
}

function compileCall(
  place: Place,
  call: FunctionPlan,
  asConnection: boolean,
  given: (argument: string) => Input | undefined,
): Value {
  const { context } = place;
  const { result, returnsSet } = call;
  spend(context, call.cost * place.multiplicity);
  const text = `${call.sqlName}(${argumentList(context, call, place.scope, given)})`;
  switch (result.kind) {
    case 'rows':
      if (!asConnection) return object(place, result.row, text, () => [], true);
      return place.connection(place, {
        from: text,
        row: result.row,
        where: () => [],
        ordinal: call.order.length === 0,
        order: call.order,
      });
    case 'row':
      // A function that is not a set gives a row of nulls for null.
      return object(place, result.row, text, (alias) => (returnsSet ? [] : [`not (${alias} is null)`]));
    case 'void':
      return { sql: `(${text} is null)` };
    case 'value': {
      if (result.codec.finish === 'sign') context.signs.push(place.path);
      if (!returnsSet) return { sql: result.codec.toJson(text) };
      const alias = newAlias(context);
      const join = ` left join lateral (select * from ${text}${onItsOwn}) as ${alias} (value) on true`;
      return { sql: result.codec.toJson(`${alias}.value`), joins: [join] };
    }
    case 'values': {
      if (result.codec.finish === 'sign') context.signs.push(place.path);
      const alias = newAlias(context);
      const value = result.codec.toJson(`${alias}.value`);
      return { sql: `(select coalesce(json_agg(${value}), '[]'::json) from ${text} as ${alias} (value))` };
    }
  }
}

/**
 * The arguments of a call. An argument with a default that is not given, or given as null, is left to its default.
 *
 * @param own the row that a computed field belongs to, passed first.
 * @param hashed the argument that is hashed by the server, and what reads it.
 */
export function argumentList(
  context: Context,
  call: Pick<FunctionPlan, 'ofRow' | 'arguments'>,
  own: Scope | undefined,
  given: (apiName: string) => Input | undefined,
  hashed?: { argument: string; read: Read },
): string {
  const list = call.ofRow && own ? [wholeRow(context, call.ofRow, own)] : [];
  for (const { name, apiName, codec, hasDefault, isVariadic } of call.arguments) {
    const value = given(apiName);
    if (hasDefault && (value === undefined || value.now === null)) continue;
    const read = hashed?.argument === name ? hashed.read : readText(value?.read, codec);
    if (codec.sealed) context.seals.push(context.reads.length);
    list.push(`${isVariadic ? 'variadic ' : ''}${quote(name)} => ${context.bind(read)}::${codec.sqlName}`);
  }
  return list.join(', ');
}

/** A row to pass to a function. What the role may not read is null in it: Postgres would refuse it the whole row. */
function wholeRow(context: Context, row: Row, own: Scope): string {
  const columns = row.columns.map((column) =>
    column.roles.includes(context.role) ? own.column(column.name) : `null::${row.typeName(column)}`,
  );
  return `row(${columns.join(', ')})::${row.sqlName}`;
}
