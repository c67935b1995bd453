import type { Catalog, Column, PgType } from '../../functions/catalog.ts';
import { pg } from '../../functions/kinds.ts';
import { Refusal } from '../../functions/refusal.ts';
import { plain } from '../../functions/sql-names.ts';
import { readComment } from '../../functions/tags.ts';
import { camelCase, pascalCase, singular } from '../../graphql/names.ts';
import { block, docstring, type Exported, field, literal } from './source.ts';

/** A type as functions/kinds.ts describes it. */
export type Value = {
  /** Such as `pg.uuid` or `Message`. */
  source: string;
  uses: Exported[];
  /** Of a row: the fields of its primary key, by which alone one can be given; none where it has no key. */
  key?: string[];
};

/** The types of a catalog as kinds. */
export type Types = {
  value(oid: string, usedBy: string): Value;
  /** The row of a function that `returns table (…)`. */
  columnsOf(schema: string, name: string, columns: Column[]): Value;
  isVoid(oid: string): boolean;
  /** Those that were asked for, each after those that it stands on. */
  named: Exported[];
};

export function readTypes(catalog: Catalog): Types {
  const pgTypes = new Map(catalog.types.map((type) => [type.oid, type]));
  const tables = new Map(catalog.tables.map((table) => [table.rowType, table]));
  const values = new Map<string, Value>();
  const named: Exported[] = [];

  function value(oid: string, usedBy: string): Value {
    const type = pgTypes.get(oid);
    const made = values.get(oid) ?? (type && makeValue(type, usedBy));
    if (!made) {
      throw new Refusal(`${usedBy} is of type ${type?.sqlName ?? oid}, which a typed caller cannot carry.`, {
        remedy:
          'Give it another type (jsonb carries anything), hide it with a line "@hide" in its comment, or do not grant it.',
      });
    }
    values.set(oid, made);
    return made;
  }

  function makeValue(type: PgType, usedBy: string): Value | undefined {
    const { schema, sqlName, comment } = type;
    if (schema === 'pg_catalog' && type.name in pg) return { source: `pg.${type.name}`, uses: [] };
    // A given value takes on its domain when the function is called.
    if (type.kind === 'domain') return value(type.of as string, usedBy);
    if (type.kind === 'array') return arrayOf(value(type.of as string, usedBy));
    const { description, tags } = readComment(comment, `type ${sqlName}`);
    const name = pascalCase(tags.name ?? type.name);
    if (type.kind === 'enum') {
      const labels = `oneOf(${literal(sqlName)}, [${type.labels.map(literal).join(', ')}])`;
      return add({ schema, name, source: declaration(name, description, [labels]), uses: [] });
    }
    const table = tables.get(type.oid);
    if (table) {
      const of = `${table.schema}.${table.name}`;
      const about = readComment(table.comment, `table ${of}`);
      const columns = table.columns.filter(({ roles }) => roles.length > 0);
      const called = pascalCase(about.tags.name ?? singular(table.name));
      return rowOf(table.schema, called, about.description, sqlName, of, columns, table.primaryKey);
    }
    if (type.kind !== 'composite' || type.attributes.length === 0) return undefined;
    return rowOf(schema, name, description, sqlName, sqlName, type.attributes);
  }

  /** Those whose elements SQL need not make ready one by one. */
  function arrayOf({ source, uses, key }: Value): Value | undefined {
    return key || source === 'pg.bytea' ? undefined : { source: `arrayOf(${source})`, uses };
  }

  function rowOf(
    schema: string,
    name: string,
    description: string | undefined,
    sql: string,
    owner: string,
    columns: Column[],
    primaryKey: string[] = [],
  ): Value {
    const uses: Exported[] = [];
    const names = new Map<string, string>();
    const fields = columns.flatMap((column) => {
      const { description: about, tags } = readComment(column.comment, `column ${owner}.${column.name}`);
      if (tags.hide) return [];
      const type = value(column.type, `${owner}.${column.name}`);
      uses.push(...type.uses);
      const notNull = column.notNull || tags.notNull || pgTypes.get(column.type)?.notNull;
      const kind = notNull ? type.source : `orNull(${type.source})`;
      const called = camelCase(tags.name ?? column.name);
      names.set(column.name, called);
      return [...docstring(about), field(called, column.name, kind)];
    });
    const source = block(`row(${literal(sql)}, {`, fields, '})');
    const key = primaryKey.flatMap((column) => names.get(column) ?? []);
    const made = add({ schema, name, source: declaration(name, description, source), uses });
    return { ...made, key: key.length === primaryKey.length ? key : [] };
  }

  function add(type: Exported): Value {
    named.push(type);
    return { source: type.name, uses: [type] };
  }

  return {
    value,
    columnsOf: (schema, name, columns) => {
      const of = `${schema}.${name}`;
      return rowOf(schema, `${pascalCase(name)}Row`, undefined, `${plain(schema)}.${plain(name)}`, of, columns);
    },
    isVoid: (oid) => pgTypes.get(oid)?.name === 'void',
    named,
  };
}

function declaration(name: string, description: string | undefined, [first, ...rest]: string[]): string {
  const value = [`export const ${name} = ${first}`, ...rest].join('\n');
  return [...docstring(description), `${value};`, `export type ${name} = ValueOf<typeof ${name}>;`].join('\n');
}
