import { type FieldNode, type GraphQLObjectType, getNamedType } from 'graphql';
import { type Context, collectFields, type Input, input, limitError, type Read, spend } from './context.ts';
import { quote } from './names.ts';
import type { FieldPlan, FunctionPlan, Row } from './plan.ts';

/** Rows that a statement stands on, under an alias; it remembers which columns were asked for. */
export type Scope = { alias: string; row: Row; used: Set<string>; column(name: string): string };

/** A selection: the members of a JSON object, the joins they need, and the expressions that count its rows. */
export type Selected = { pairs: [string, string][]; joins: string[]; rows: string[] };

type Value = { sql: string; joins?: string[]; rows?: string[] };

/** How a connection is compiled; passed on, since connections stand on selections and selections on connections. */
export type CompileConnection = (
  context: Context,
  type: GraphQLObjectType,
  field: string,
  nodes: FieldNode[],
  source: { from: string; row: Row; where(alias: string): string[]; ordinal: boolean; order: FunctionPlan['order'] },
  multiplicity: number,
  depth: number,
) => { sql: string; join: string; rows: string };

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

/** A new alias. */
export function newAlias(context: Context, letter = 'j'): string {
  context.counts.names += 1;
  if (context.counts.names > mostNames) throw limitError('The operation asks for too many relations at once.');
  return `${letter}${context.counts.names}`;
}

export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A JSON object; a function takes 100 arguments, so a larger one is put together from the texts of several. */
export function jsonObject(pairs: [string, string][]): string {
  const build = (part: [string, string][]): string =>
    `json_build_object(${part.map(([key, sql]) => `${literal(key)}, ${sql}`).join(', ')})`;
  if (pairs.length <= 50) return build(pairs);
  const parts: string[] = [];
  for (let start = 0; start < pairs.length; start += 50) parts.push(build(pairs.slice(start, start + 50)));
  return `(${parts
    .map((part, index) => {
      const open = index === 0 ? `${part}::text` : `substr(${part}::text, 2)`;
      return index === parts.length - 1 ? open : `left(${open}, -1) || ', '`;
    })
    .join(' || ')})::json`;
}

/**
 * Compiles the fields asked of an object.
 *
 * @param scope the row they are read from; undefined at the root.
 * @param multiplicity how many such rows there may be: what its pages cost is multiplied by it.
 */
export function select(
  context: Context,
  type: GraphQLObjectType,
  fields: Map<string, FieldNode[]>,
  scope: Scope | undefined,
  depth: number,
  connection: CompileConnection,
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
        : compileField(context, type, name, nodes, scope, depth, connection, multiplicity);
    selected.pairs.push([key, sql]);
    selected.joins.push(...(joins ?? []));
    selected.rows.push(...(rows ?? []));
  }
  return selected;
}

function compileField(
  context: Context,
  type: GraphQLObjectType,
  name: string,
  nodes: FieldNode[],
  scope: Scope | undefined,
  depth: number,
  connection: CompileConnection,
  multiplicity: number,
): Value {
  const field = type.getFields()[name];
  const plan = field?.extensions.plan as FieldPlan | undefined;
  const node = nodes[0] as FieldNode;
  if (!field || !plan) return { sql: 'null' };
  const own = scope as Scope;
  const given = (argument: string): Input | undefined => input(context, field, node, argument);

  /** One row as a JSON object, from a FROM item whose alias is the scope's. */
  const one = (row: Row, from: (alias: string) => string, where: (alias: string) => string[]): Value => {
    spend(context, multiplicity);
    const inner = scopeOf(context, row);
    const object = getNamedType(field.type) as GraphQLObjectType;
    const fields = collectFields(
      context,
      object,
      nodes.flatMap(({ selectionSet }) => selectionSet ?? []),
    );
    const selected = select(context, object, fields, inner, depth + 1, connection, multiplicity);
    const alias = newAlias(context);
    const conditions = where(inner.alias);
    const counted =
      selected.rows.length > 0 ? `, ${selected.rows.map((each) => `coalesce(${each}, 0)`).join(' + ')} as n` : '';
    const text =
      `select ${jsonObject(selected.pairs)} as data${counted} from ${from(inner.alias)}${selected.joins.join('')}` +
      (conditions.length > 0 ? ` where ${conditions.join(' and ')}` : '');
    return {
      sql: `${alias}.data`,
      joins: [` left join lateral (${text}) as ${alias} on true`],
      rows: counted ? [`${alias}.n`] : [],
    };
  };
  const page = (source: Parameters<CompileConnection>[4]): Value => {
    const made = connection(context, type, name, nodes, source, multiplicity, depth);
    return { sql: made.sql, joins: [made.join], rows: [made.rows] };
  };

  switch (plan.kind) {
    case 'column':
      return { sql: plan.codec.toJson(own.column(plan.column.name)) };
    case 'attribute': {
      const value = own.column(plan.column.name);
      return one(
        plan.row,
        (alias) => `(select (${value}).*) as ${alias}`,
        () => [`not (${value} is null)`],
      );
    }
    case 'one':
      return one(
        plan.row,
        (alias) => `${plan.table} as ${alias}`,
        (alias) => plan.on.map(([mine, theirs]) => `${alias}.${quote(theirs)} = ${own.column(mine)}`),
      );
    case 'key':
      return one(
        plan.row,
        (alias) => `${plan.table} as ${alias}`,
        (alias) =>
          plan.columns.map(({ name: column, apiName, codec }) => {
            const value = given(apiName);
            return `${alias}.${quote(column)} = ${context.bind((variables) => codec.encode(value?.read(variables)))}::${codec.sqlName}`;
          }),
      );
    case 'connection':
      return page({
        from: plan.table,
        row: plan.row,
        where: (alias) => plan.on.map(([mine, theirs]) => `${alias}.${quote(theirs)} = ${own.column(mine)}`),
        ordinal: false,
        order: plan.row.order,
      });
    case 'function': {
      const { call } = plan;
      spend(context, call.cost * multiplicity);
      const text = `${call.sqlName}(${argumentList(context, call, scope, given)})`;
      const { result } = call;
      if (result.kind === 'row') {
        // A function that is not a set gives a row of nulls for null.
        return one(
          result.row,
          (alias) => `${text} as ${alias}`,
          (alias) => (call.returnsSet ? [] : [`not (${alias} is null)`]),
        );
      }
      if (result.kind === 'rows' && plan.connection) {
        return page({
          from: text,
          row: result.row,
          where: () => [],
          ordinal: call.order.length === 0,
          order: call.order,
        });
      }
      const alias = newAlias(context);
      if (result.kind === 'rows') {
        spend(context, multiplicity * context.limits.maxPage);
        const row = one(
          result.row,
          (inner) => `${text} as ${inner}`,
          () => [],
        );
        const list = `select coalesce(json_agg(r.data), '[]'::json) as data from (values (0)) as z${row.joins?.join('').replace(/ as \w+ on true$/, ' as r on true')}`;
        return { sql: `${alias}.data`, joins: [` left join lateral (${list}) as ${alias} on true`] };
      }
      if (result.kind === 'void') return { sql: `(${text} is null)` };
      if (!call.returnsSet) return { sql: result.codec.toJson(text) };
      const value = result.codec.toJson(`${alias}.value`);
      if (result.kind === 'value')
        return { sql: value, joins: [` left join lateral ${text} as ${alias} (value) on true`] };
      return { sql: `(select coalesce(json_agg(${value}), '[]'::json) from ${text} as ${alias} (value))` };
    }
    default:
      throw new Error(`${plan.kind} is not read`);
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
  call: FunctionPlan,
  own: Scope | undefined,
  given: (apiName: string) => Input | undefined,
  hashed?: { argument: string; read: Read },
): string {
  const list = call.ofRow && own ? [wholeRow(context, call.ofRow, own)] : [];
  for (const { name, apiName, codec, hasDefault } of call.arguments) {
    const value = given(apiName);
    if (hasDefault && (value === undefined || value.now === null)) continue;
    const read: Read =
      hashed?.argument === name
        ? hashed.read
        : (variables) => {
            const current = value?.read(variables);
            return current === null || current === undefined ? null : codec.encode(current);
          };
    list.push(`${quote(name)} => ${context.bind(read)}::${codec.sqlName}`);
  }
  return list.join(', ');
}

/** A row to pass to a function. What the role may not read is null in it, as Postgres would refuse the whole row. */
function wholeRow(context: Context, row: Row, own: Scope): string {
  const columns = row.columns.map((column) =>
    column.roles.includes(context.role) ? own.column(column.name) : `null::${row.typeName(column)}`,
  );
  return `row(${columns.join(', ')})::${row.sqlName}`;
}
