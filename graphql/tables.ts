import { GraphQLNonNull } from 'graphql';
import type { Column, ForeignKey, Table } from '../functions/catalog.ts';
import { Refusal } from '../functions/refusal.ts';
import { quote } from '../functions/sql-names.ts';
import { readComment } from '../functions/tags.ts';
import { rowOf, type Types } from './codecs.ts';
import { add, type Fields, notNullIf } from './fields.ts';
import { camelCase, pascalCase, plural, singular, spoken } from './names.ts';
import type { Codec, Field, FieldPlan, Order, Row } from './plan.ts';

export type TableNode = { table: Table; row: Row; sqlName: string; description: string | undefined };
export type Relation = {
  constraint: string;
  name: string;
  description: string;
  row: Row;
  plan: FieldPlan & { on: [string, string][]; table: string };
};

export function readTables(types: Types): TableNode[] {
  return types.catalog.tables.flatMap((table) => {
    const object = `table ${table.schema}.${table.name}`;
    const { description, tags } = readComment(table.comment, object);
    if (tags.hide) return [];
    const sqlName = `${quote(table.schema)}.${quote(table.name)}`;
    // Null is not told from null, and what nobody may read cannot stand in a cursor.
    const tells = (names: string[]): boolean =>
      names.every((each) =>
        table.columns.some(({ name, notNull, roles }) => name === each && notNull && roles.length > 0),
      );
    const key = [table.primaryKey, ...table.uniques].find((names) => names.length > 0 && tells(names)) ?? [];
    const name = types.claim(pascalCase(tags.name ?? singular(table.name)), object);
    const order = readOrder(tags.order, table.columns, object);
    const row: Row = { ...rowOf(types, name, sqlName, table.columns, `${table.schema}.${table.name}`), key, order };
    for (const suffix of ['Connection', 'Edge', 'Order', 'Filter', 'ListFilter'])
      types.claim(row.name + suffix, object);
    return [{ table, row, sqlName, description }];
  });
}

export function readOrder(order: string | undefined, columns: Column[], object: string): Order[] {
  if (!order) return [];
  return order.split(',').map((part) => {
    const [column = '', direction = 'asc'] = part.trim().split(/\s+/);
    if (!columns.some(({ name }) => name === column) || !['asc', 'desc'].includes(direction)) {
      throw new Refusal(`The comment on ${object} orders by "${part.trim()}", which is not one of its columns.`, {
        remedy: 'Write it as: @order column, or @order column desc.',
      });
    }
    return { column, descending: direction === 'desc' };
  });
}

/**
 * The columns that the API has, each under the name that it is to have there: those that some role may read.
 */
export function visibleColumns(row: Row) {
  return row.columns.flatMap((column) => {
    const { description, tags } = readComment(column.comment, `column ${spoken(row.sqlName)}.${column.name}`);
    if (tags.hide || column.roles.length === 0) return [];
    return [{ column, name: tags.name ?? column.name, description, notNull: column.notNull || tags.notNull }];
  });
}

export function columnFields(row: Row): Fields {
  const fields: Fields = {};
  for (const { column, name, description, notNull } of visibleColumns(row)) {
    const codec = row.codec(column);
    if (codec.finish === 'deliver') continue;
    add(
      fields,
      camelCase(name),
      {
        type: notNullIf(notNull, codec.output),
        description: description ?? null,
        extensions: {
          plan: codec.row ? { kind: 'attribute', column, row: codec.row } : { kind: 'column', column, codec },
        },
      },
      `column ${column.name} of ${spoken(row.sqlName)}`,
    );
  }
  return fields;
}

/** One field to the one side of a foreign key, and one back: a connection where an index finds the rows, one row where the key is unique. */
export function addRelations(
  node: TableNode,
  key: ForeignKey,
  byOid: Map<string, TableNode>,
  relations: Map<TableNode, Relation[]>,
): void {
  const target = byOid.get(key.table);
  const { tags } = readComment(key.comment, `constraint ${key.name}`);
  const readable = (columns: string[], row: Row): boolean =>
    columns.every((name) => row.columns.some((column) => column.name === name && column.roles.length > 0));
  if (!target || tags.hide || !readable(key.columns, node.row)) return;

  // Of several columns the one that is this key's own: keys within one tenant or channel all begin with its id.
  const others = node.table.foreignKeys.filter((other) => other !== key).flatMap(({ columns }) => columns);
  const column = (key.columns.find((name) => !others.includes(name)) ?? key.columns[0]) as string;
  const stem = /_id$/.test(column) ? column.replace(/_id$/, '') : `${column}_${singular(target.table.name)}`;
  const on = key.columns.map((name, index): [string, string] => [name, key.foreignColumns[index] as string]);
  relations.get(node)?.push({
    constraint: key.name,
    name: camelCase(tags.name ?? stem),
    description: `The ${target.row.name} that ${key.columns.map(camelCase).join(', ')} names.`,
    row: target.row,
    plan: {
      kind: 'one',
      table: target.sqlName,
      row: target.row,
      on,
      shared: target.table.sameForAll || tags.shared === true,
    },
  });

  const same = (columns: string[]): boolean =>
    columns.length === key.columns.length && columns.every((name) => key.columns.includes(name));
  const leads = (columns: string[]): boolean =>
    key.columns.every((name) => columns.slice(0, key.columns.length).includes(name));
  const back = on.map(([own, foreign]): [string, string] => [foreign, own]);
  const unique = node.table.uniques.some(same);
  const name = unique ? singular(node.table.name) : node.table.name;
  const namesTarget = stem === singular(target.table.name);
  if (unique || node.table.indexes.some(leads)) {
    relations.get(target)?.push({
      constraint: key.name,
      name: camelCase(tags.inverse ?? (namesTarget ? name : `${name}_by_${stem}`)),
      description: unique
        ? `The ${node.row.name} whose ${key.columns.map(camelCase).join(', ')} names this.`
        : `The ${node.row.name} rows whose ${key.columns.map(camelCase).join(', ')} names this.`,
      row: node.row,
      plan: {
        kind: unique ? 'one' : 'connection',
        table: node.sqlName,
        row: node.row,
        on: back,
        shared: node.table.sameForAll,
      } as Relation['plan'],
    });
  }
}

/** `message(id)` and `messages(…)`. */
export function addRootFields(
  query: Fields,
  node: TableNode,
  connection: Pick<Field, 'type' | 'args'>,
  types: Types,
): void {
  const { row, sqlName } = node;
  const name = camelCase(row.name.charAt(0).toLowerCase() + row.name.slice(1));
  if (row.key.length > 0) {
    const columns = row.key.map((each) => {
      const codec = row.codec(row.columns.find((column) => column.name === each) as Column);
      return { name: each, apiName: camelCase(each), codec };
    });
    add(
      query,
      name,
      {
        type: types.object(row),
        description: `One ${row.name}, by its key.`,
        args: Object.fromEntries(
          columns.map(({ apiName, codec }) => [
            apiName,
            { type: new GraphQLNonNull(codec.input as NonNullable<Codec['input']>) },
          ]),
        ),
        extensions: { plan: { kind: 'key', table: sqlName, row, columns } },
      },
      `table ${spoken(sqlName)}`,
    );
  }
  add(
    query,
    plural(name) === name ? `all${row.name}` : plural(name),
    {
      ...connection,
      description: `The ${row.name} rows that the caller may see. ${node.description ?? ''}`.trim(),
      extensions: { plan: { kind: 'connection', table: sqlName, row, on: [] } },
    },
    `table ${spoken(sqlName)}`,
  );
}
