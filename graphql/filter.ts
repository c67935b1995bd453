import { type GraphQLInputObjectType, getNamedType } from 'graphql';
import { arrayText } from '../functions/pipeline.ts';
import { quote } from '../functions/sql-names.ts';
import { type Context, type Input, limitError, type Read, readText } from './context.ts';
import type { Codec, Row } from './plan.ts';
import { checkColumn } from './rights.ts';
import { newAlias } from './select.ts';

// A filter in a variable is as long as its sender likes; what it compiles to is planned, and kept.
const mostConditions = 300;
// Each relation is one more table to join, and what they take to plan grows faster than they do.
const relationCounts = 15;

/**
 * The condition that a filter makes on the rows of an alias. Which conditions there are, and which of their values are null, is part
 * of the shape that an operation is compiled for; the values are bound.
 *
 * @param row what the rows are, where a function may have given them; those of a table Postgres guards itself.
 * @param depth how deep the filter stands in others.
 */
export function filterSql(
  context: Context,
  filter: Input,
  type: unknown,
  alias: string,
  row: Row | undefined,
  depth = 1,
): string {
  if (depth > context.limits.maxDepth) {
    throw limitError(`The filters of the operation nest deeper than ${context.limits.maxDepth}.`);
  }
  const fields = (type as GraphQLInputObjectType).getFields();
  const conditions = Object.keys(filter.now as object).map((name) => {
    const value = filter.field(name);
    const inner = getNamedType(fields[name]?.type);
    const plan = fields[name]?.extensions.plan;
    if (!value || value.now === null) return 'true';
    if (!plan) {
      if (name === 'not') return `not coalesce(${filterSql(context, value, type, alias, row, depth + 1)}, false)`;
      const parts = value.items().map((item) => filterSql(context, item, type, alias, row, depth + 1));
      if (parts.length === 0) return name === 'and' ? 'true' : 'false';
      return `(${parts.join(name === 'and' ? ' and ' : ' or ')})`;
    }
    const columns = plan.kind === 'column' ? [plan.column.name] : plan.on.map(([mine]) => mine);
    for (const column of row ? columns : []) checkColumn(context, row as Row, column);
    if (plan.kind === 'column') return columnSql(context, value, plan.codec, `${alias}.${quote(plan.column.name)}`);

    count(context, relationCounts);
    const other = newAlias(context, 'f');
    const joined = plan.on.map(([mine, theirs]) => `${other}.${quote(theirs)} = ${alias}.${quote(mine)}`).join(' and ');
    const exists = (condition: string): string =>
      `exists (select from ${plan.table} as ${other} where ${joined} and ${condition})`;
    if (plan.kind === 'one') return exists(filterSql(context, value, inner, other, undefined, depth + 1));
    const rowFilter = getNamedType((inner as GraphQLInputObjectType).getFields().some?.type);
    const lists = Object.keys(value.now as object).map((quantifier) => {
      const each = value.field(quantifier);
      if (!each || each.now === null) return 'true';
      const condition = filterSql(context, each, rowFilter, other, undefined, depth + 1);
      if (quantifier === 'some') return exists(condition);
      return `not ${exists(quantifier === 'none' ? condition : `not coalesce(${condition}, false)`)}`;
    });
    return lists.join(' and ') || 'true';
  });
  return conditions.length > 0 ? `(${conditions.join(' and ')})` : 'true';
}

function count(context: Context, conditions: number): void {
  context.counts.conditions += conditions;
  if (context.counts.conditions > mostConditions) {
    throw limitError(`The filters of the operation have more than ${mostConditions} conditions.`);
  }
}

const comparisons: Record<string, string> = { eq: '=', ne: 'is distinct from', lt: '<', lte: '<=', gt: '>', gte: '>=' };

function columnSql(context: Context, filter: Input, codec: Codec, column: string): string {
  const conditions = Object.keys(filter.now as object).map((operator) => {
    count(context, 1);
    const value = filter.field(operator) as Input;
    if (operator === 'isNull') {
      if (value.now === null) return 'true';
      return `${column} is ${value.now ? '' : 'not '}null`;
    }
    if (value.now === null)
      return operator === 'eq' ? `${column} is null` : operator === 'ne' ? `${column} is not null` : 'false';
    if (operator === 'in' || operator === 'notIn') {
      const list = context.bind(readList(value.read, codec));
      return operator === 'in'
        ? `${column} = any (${list}::${codec.sqlName}[])`
        : `${column} <> all (${list}::${codec.sqlName}[])`;
    }
    const bound = context.bind(readText(value.read, codec));
    if (operator === 'startsWith') return `starts_with(${column}, ${bound}::text)`;
    return `${column} ${comparisons[operator]} ${bound}::${codec.sqlName}`;
  });
  return conditions.join(' and ') || 'true';
}

function readList(read: Input['read'], { encode }: Codec): Read {
  return (variables) => {
    const items = read(variables);
    return arrayText((Array.isArray(items) ? items : [items]).map((item) => encode(item)));
  };
}
