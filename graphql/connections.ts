import {
  GraphQLBoolean,
  GraphQLEnumType,
  type GraphQLFieldConfigArgumentMap,
  GraphQLInputObjectType,
  GraphQLInt,
  GraphQLList,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLString,
  getNamedType,
  isListType,
} from 'graphql';
import type { Column, Table } from '../functions/catalog.ts';
import type { Types } from './codecs.ts';
import { checkName } from './fields.ts';
import { camelCase, spoken, upperCase } from './names.ts';
import type { Codec, FilterPlan, Order, Row } from './plan.ts';
import { visibleColumns } from './tables.ts';

const pageInfo = new GraphQLObjectType({
  name: 'PageInfo',
  description: 'Where a page stands among all.',
  fields: {
    hasNextPage: {
      type: new GraphQLNonNull(GraphQLBoolean),
      description: 'Whether more follows this page; going back, whether it began after a cursor.',
    },
    hasPreviousPage: {
      type: new GraphQLNonNull(GraphQLBoolean),
      description: 'Whether more stands before this page; going on, whether it began after a cursor.',
    },
    startCursor: { type: GraphQLString, description: 'The cursor of the first row: `before` it is the page before.' },
    endCursor: { type: GraphQLString, description: 'The cursor of the last row: `after` it is the next page.' },
  },
});

/** `MessageConnection` and `MessageEdge` for a row type; fields of a connection have no plan, the compiler knows them. */
export function connectionType(row: Row, node: GraphQLObjectType): GraphQLObjectType {
  const edge = new GraphQLObjectType({
    name: `${row.name}Edge`,
    description: `A ${row.name} in a page, with its cursor.`,
    fields: {
      cursor: { type: new GraphQLNonNull(GraphQLString), description: 'Its place, for `after` and `before`.' },
      node: { type: new GraphQLNonNull(node), description: 'The row.' },
    },
  });
  return new GraphQLObjectType({
    name: `${row.name}Connection`,
    description: `A page of ${row.name}.`,
    fields: {
      nodes: {
        type: new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(node))),
        description: 'The rows of the page.',
      },
      edges: {
        type: new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(edge))),
        description: 'The rows with their cursors.',
      },
      pageInfo: { type: new GraphQLNonNull(pageInfo), description: 'What stands before and after the page.' },
      totalCount: {
        type: new GraphQLNonNull(GraphQLInt),
        description: 'How many rows there are in all pages; counted only when asked for.',
      },
    },
  });
}

/** first, after, last, before; orderBy and filter where the rows have columns to order and filter by. */
export function connectionArguments(
  order: GraphQLEnumType | null,
  filter: GraphQLInputObjectType | null,
): GraphQLFieldConfigArgumentMap {
  return {
    first: { type: GraphQLInt, description: 'How many rows, from the start or after the cursor; 20 unless said.' },
    after: { type: GraphQLString, description: 'The cursor to go on from.' },
    last: { type: GraphQLInt, description: 'How many rows, from the end or before the cursor.' },
    before: { type: GraphQLString, description: 'The cursor to go back from.' },
    ...(order && { orderBy: { type: order, description: 'The order of the rows.' } }),
    ...(filter && { filter: { type: filter, description: 'Which rows.' } }),
  };
}

/** The columns of a table that an index can find or sort: the only ones to filter and order by. */
function indexedColumns(table: Table, row: Row): { column: Column; name: string; codec: Codec }[] {
  const indexed = new Set(table.indexes.flat());
  return visibleColumns(row)
    .filter(({ column }) => indexed.has(column.name))
    .map(({ column, name }) => ({ column, name, codec: row.codec(column) }))
    .filter(({ codec }) => codec.input !== null);
}

export function orderType(table: Table, row: Row): GraphQLEnumType | null {
  const columns = indexedColumns(table, row).filter(({ codec }) => codec.ordered);
  if (columns.length === 0) return null;
  const values: Record<string, { value: Order; description: string }> = {};
  for (const { column, name } of columns) {
    values[`${upperCase(name)}_ASC`] = {
      value: { column: column.name, descending: false },
      description: `By ${camelCase(name)}, the lowest first.`,
    };
    values[`${upperCase(name)}_DESC`] = {
      value: { column: column.name, descending: true },
      description: `By ${camelCase(name)}, the highest first.`,
    };
  }
  return new GraphQLEnumType({ name: `${row.name}Order`, description: `An order of ${row.name} rows.`, values });
}

/**
 * Filters: one input type for each type of column, shared, and one for each table with its columns and relations.
 *
 * @param claim gives a type its name, once.
 * @param relations what a row is related to, asked when the schema is complete.
 */
export function filterTypes(claim: Types['claim']) {
  const byColumnType = new Map<string, GraphQLInputObjectType>();
  const byRow = new Map<string, GraphQLInputObjectType>();

  function columnFilter(codec: Codec): GraphQLInputObjectType {
    const type = codec.input as NonNullable<Codec['input']>;
    const known = byColumnType.get(String(type));
    if (known) return known;
    const list = new GraphQLList(new GraphQLNonNull(type));
    const name = `${getNamedType(type)}${isListType(type) ? 'List' : ''}Filter`;
    const made = new GraphQLInputObjectType({
      name: claim(name, `the conditions on a ${type}`),
      description: `Conditions on a ${type}; all of those given must hold.`,
      fields: {
        eq: { type, description: 'Equal; null for no value.' },
        ne: { type, description: 'Not equal; null for any value.' },
        ...(!isListType(type) && {
          in: { type: list, description: 'One of these.' },
          notIn: { type: list, description: 'None of these.' },
        }),
        ...(codec.ordered && {
          lt: { type, description: 'Less.' },
          lte: { type, description: 'Less or equal.' },
          gt: { type, description: 'Greater.' },
          gte: { type, description: 'Greater or equal.' },
        }),
        ...(type === GraphQLString && { startsWith: { type, description: 'Begins with this, in the same case.' } }),
        isNull: { type: GraphQLBoolean, description: 'Whether there is no value.' },
      },
    });
    byColumnType.set(String(type), made);
    return made;
  }

  const listOfRows = new Map<string, GraphQLInputObjectType>();
  function manyFilter(row: Row, filter: GraphQLInputObjectType): GraphQLInputObjectType {
    const made =
      listOfRows.get(row.name) ??
      new GraphQLInputObjectType({
        name: `${row.name}ListFilter`,
        description: `Conditions on the ${row.name} rows of a row.`,
        fields: {
          some: { type: filter, description: 'At least one fits.' },
          none: { type: filter, description: 'None fits.' },
          every: { type: filter, description: 'All fit, or there are none.' },
        },
      });
    listOfRows.set(row.name, made);
    return made;
  }

  function rowFilter(
    table: Table,
    row: Row,
    relations: () => { name: string; row: Row; plan: FilterPlan }[],
  ): GraphQLInputObjectType | null {
    const columns = indexedColumns(table, row);
    if (columns.length === 0) return null;
    const filter: GraphQLInputObjectType = new GraphQLInputObjectType({
      name: `${row.name}Filter`,
      description: `Which ${row.name} rows; all conditions given must hold.`,
      fields: () => {
        const fields: Record<
          string,
          {
            type: GraphQLInputObjectType | GraphQLList<GraphQLNonNull<GraphQLInputObjectType>>;
            description: string;
            extensions?: { plan: FilterPlan };
          }
        > = {
          and: { type: new GraphQLList(new GraphQLNonNull(filter)), description: 'All of these hold.' },
          or: { type: new GraphQLList(new GraphQLNonNull(filter)), description: 'One of these holds.' },
          not: { type: filter, description: 'This does not hold.' },
        };
        for (const { column, name, codec } of columns) {
          const plan: FilterPlan = { kind: 'column', column, codec };
          const field = camelCase(name);
          checkName(field, `column ${column.name} of ${spoken(row.sqlName)}`, fields[field] && 'every filter');
          fields[field] = { type: columnFilter(codec), description: `By ${field}.`, extensions: { plan } };
        }
        for (const { name, row: other, plan } of relations()) {
          const otherFilter = byRow.get(other.name);
          if (!otherFilter || fields[name]) continue;
          fields[name] = {
            type: plan.kind === 'many' ? manyFilter(other, otherFilter) : otherFilter,
            description: plan.kind === 'many' ? `By its ${name}.` : `By its ${name}, where there is one.`,
            extensions: { plan },
          };
        }
        return fields;
      },
    });
    byRow.set(row.name, filter);
    return filter;
  }

  return { rowFilter };
}
