import { type FieldNode, GraphQLError, type GraphQLField, type GraphQLObjectType, getNamedType } from 'graphql';
import { quote } from '../functions/sql-names.ts';
import { type Context, collectFields, type Input, input, spend } from './context.ts';
import { cursorOf, type Key, keyOf, keyset, orderBy, readCursor } from './cursor.ts';
import { filterSql } from './filter.ts';
import type { Order } from './plan.ts';
import { checkColumn } from './rights.ts';
import {
  areColumns,
  type CompileConnection,
  columnsOf,
  jsonBuildObject,
  jsonObject,
  literal,
  newAlias,
  scopeOf,
  select,
} from './select.ts';

const defaultPage = 20;

/**
 * A page of rows: an ordered, limited subquery of the columns that are used, its relations joined to it, gathered into one JSON
 * value. One row more than asked for is read only where someone asks whether there is more.
 */
export const compileConnection: CompileConnection = (place, source) => {
  const { context, type: parent, name, nodes, multiplicity, depth, path } = place;
  const field = parent.getFields()[name] as GraphQLField<unknown, unknown>;
  const node = nodes[0] as FieldNode;
  const { row } = source;
  const given = (argument: string): Input | undefined => {
    const value = input(context, field, node, argument);
    return value?.now === null ? undefined : value;
  };

  const { size, backward } = pageOf(context, given('first'), given('last'));
  spend(context, multiplicity * size);
  const wanted = given('orderBy')?.now as Order | undefined;
  if (wanted) checkColumn(context, row, wanted.column);
  const ordinal = row.key.length === 0 || (source.ordinal && !wanted);
  const order: Key = keyOf(row, wanted ? [wanted] : source.order, ordinal);

  const base = newAlias(context, 'b');
  const numbered = (alias: string): string => {
    if (!ordinal) return `${source.from} as ${alias}`;
    return source.ordinal
      ? `${source.from} with ordinality as ${alias}`
      : `(select *, row_number() over () as ordinality from ${source.from} as every) as ${alias}`;
  };
  const rowsOfAll = [...source.where(base)];
  const filter = given('filter');
  if (filter)
    rowsOfAll.push(
      filterSql(context, filter, getNamedType(field.args.find((each) => each.name === 'filter')?.type), base, row),
    );
  const rowsOfPage = [...rowsOfAll];
  for (const [argument, forward] of [
    ['after', true],
    ['before', false],
  ] as const) {
    const cursor = given(argument);
    if (cursor) rowsOfPage.push(keyset(context, order, base, readCursor(cursor, order, argument), forward, numbered));
  }

  // What is asked of the page.
  const scope = scopeOf(context, row);
  const page = newAlias(context, 'p');
  const connectionType = getNamedType(field.type) as GraphQLObjectType;
  const edgeType = getNamedType(connectionType.getFields().edges?.type) as GraphQLObjectType;
  const nodeType = getNamedType(connectionType.getFields().nodes?.type) as GraphQLObjectType;
  const columns: string[] = [];
  const joins: string[] = [];
  const counted: string[] = [];
  let looksAhead = false;
  // Where only nodes are asked for, they need neither numbers nor columns beside them: the rows come out of the limited subquery in
  // its order, since each join is a look-up for one row, and are JSON at once.
  let plainNodes: [string, string][] | undefined;
  const isPlain = (): boolean =>
    plainNodes !== undefined &&
    columns.length === 1 &&
    counted.length === 0 &&
    !looksAhead &&
    !backward &&
    areColumns(plainNodes);
  const add = (sql: string): string => {
    columns.push(sql);
    return `${page}.c${columns.length}`;
  };
  const sets = (of: FieldNode[]) => of.flatMap(({ selectionSet }) => selectionSet ?? []);
  const nodePairs = (of: FieldNode[], level: number, keys: string[]): [string, string][] => {
    const fields = collectFields(context, nodeType, sets(of));
    const selected = select(
      context,
      nodeType,
      fields,
      scope,
      level,
      compileConnection,
      [...path, ...keys],
      multiplicity * size,
    );
    joins.push(...selected.joins);
    counted.push(...selected.rows);
    return selected.pairs;
  };
  let cursorColumn: string | undefined;
  const cursor = (): string => {
    cursorColumn ??= add(cursorOf(order, scope));
    return cursorColumn;
  };
  const direction = backward ? ' desc' : '';
  const inPage = (): string => (looksAhead ? ` filter (where ${page}.i <= ${size})` : '');
  const list = (column: string): string =>
    `coalesce(json_agg(${column} order by ${page}.i${direction})${inPage()}, '[]'::json)`;
  const info: Record<string, () => string> = {
    hasNextPage: () => (backward ? String(given('before') !== undefined) : `count(*) > ${size}`),
    hasPreviousPage: () => (backward ? `count(*) > ${size}` : String(given('after') !== undefined)),
    startCursor: () => `(array_agg(${cursor()} order by ${page}.i${direction})${inPage()})[1]`,
    endCursor: () => `(array_agg(${cursor()} order by ${page}.i${backward ? '' : ' desc'})${inPage()})[1]`,
  };

  // Each member is told what it needs first, and written when all of them are known: one may ask for a row more, or a column.
  const members = [...collectFields(context, connectionType, sets(nodes))].map(
    ([key, each]): [string, () => string] => [key, member(key, each)],
  );
  const pairs = members.map(([key, write]): [string, string] => [key, write()]);

  function member(ownKey: string, each: FieldNode[]): () => string {
    switch (each[0]?.name.value) {
      case 'nodes': {
        const asked = nodePairs(each, depth + 2, [ownKey]);
        plainNodes = asked;
        const column = add(jsonObject(asked));
        return () => (isPlain() ? `coalesce(json_agg(${page}), '[]'::json)` : list(column));
      }
      case 'edges': {
        const edge: [string, string][] = [];
        for (const [key, inner] of collectFields(context, edgeType, sets(each))) {
          const asksFor = inner[0]?.name.value;
          if (asksFor === 'cursor') edge.push([key, cursorOf(order, scope)]);
          else
            edge.push([
              key,
              asksFor === 'node' ? jsonObject(nodePairs(inner, depth + 3, [ownKey, key])) : literal(edgeType.name),
            ]);
        }
        const column = add(jsonObject(edge));
        return () => list(column);
      }
      case 'pageInfo': {
        const type = getNamedType(connectionType.getFields().pageInfo?.type) as GraphQLObjectType;
        const asked = [...collectFields(context, type, sets(each))];
        for (const [, [inner]] of asked) {
          if (/^has(Next|Previous)Page$/.test(inner?.name.value ?? '')) looksAhead = true;
          if (/Cursor$/.test(inner?.name.value ?? '')) cursor();
        }
        return () =>
          jsonBuildObject(
            asked.map(([key, [inner]]): [string, string] => [
              key,
              info[inner?.name.value ?? '']?.() ?? literal(type.name),
            ]),
          );
      }
      case 'totalCount': {
        const where = rowsOfAll.length > 0 ? ` where ${rowsOfAll.join(' and ')}` : '';
        return () => `(select count(*) from ${source.from} as ${base}${where})`;
      }
      default:
        return () => literal(connectionType.name);
    }
  }

  const used = [...scope.used].map((column) => `${base}.${quote(column)}`);
  const where = rowsOfPage.length > 0 ? ` where ${rowsOfPage.join(' and ')}` : '';
  const limited =
    `select ${used.join(', ') || '1'} from ${numbered(base)}${where}` +
    ` order by ${orderBy(order, base, backward)} limit ${looksAhead ? size + 1 : size}`;
  const inner = [
    `${scope.alias}."i " as i`,
    ...columns.map((sql, index) => `${sql} as c${index + 1}`),
    ...(counted.length > 0 ? [`${counted.map((each) => `coalesce(${each}, 0)`).join(' + ')} as n`] : []),
  ];
  const rowsOf = isPlain()
    ? `select ${columnsOf(plainNodes ?? [])} from (${limited}) as ${scope.alias}${joins.join('')}`
    : `select ${inner.join(', ')} from (select *, row_number() over () as "i " from (${limited}) as ${scope.alias}) ` +
      `as ${scope.alias}${joins.join('')}`;
  const rows = `least(count(*), ${size})${counted.length > 0 ? ` + coalesce(sum(${page}.n), 0)` : ''}`;
  const gathered = pairs.map(([, sql], index) => `${sql} as m${index + 1}`);
  const named = pairs.map(([key], index): [string, string] => [key, `g.m${index + 1}`]);
  const text =
    `select ${jsonObject(named)} as data, g.n from ` +
    `(select ${[...gathered, `${rows} as n`].join(', ')} from (${rowsOf}) as ${page}) as g`;
  const alias = newAlias(context);
  return { sql: `${alias}.data`, joins: [` left join lateral (${text}) as ${alias} on true`], rows: [`${alias}.n`] };
};

function pageOf(
  context: Context,
  first: Input | undefined,
  last: Input | undefined,
): { size: number; backward: boolean } {
  const refuse = (message: string): never => {
    throw new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', argument: last ? 'last' : 'first' } });
  };
  if (first && last) refuse('Ask for the first rows or the last ones, not both.');
  const size = ((last ?? first)?.now ?? Math.min(defaultPage, context.limits.maxPage)) as number;
  if (size < 0 || size > context.limits.maxPage) refuse(`A page has 0 to ${context.limits.maxPage} rows.`);
  return { size, backward: last !== undefined };
}
