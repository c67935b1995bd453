import type { Catalog, Column, PgType, Table } from '../../functions/catalog.ts';
import { Refusal } from '../../functions/refusal.ts';
import { readComment } from '../../functions/tags.ts';
import { camelCase, pascalCase, singular } from '../../graphql/names.ts';

/** A named type of a section: an enum, the row of a table, or a composite type. */
export type Named = {
  schema: string;
  /** `Message`; its JSON in SQL is `messageJson`. */
  name: string;
  description: string | undefined;
  labels?: string[];
  fields?: { name: string; description: string | undefined; type: Value; nullable: boolean; column: string }[];
};

/** How values of a type are checked and carried. */
type Value = {
  /** zod for what comes back. */
  output: string;
  /** zod for what is given; null where nobody can give it. */
  input: string | null;
  /** The SQL that makes a value ready for JSON. */
  ready(sql: string): string;
  /** What to cast a given value to. */
  cast: string;
  named?: Named;
};

/** The types of a catalog as zod. */
export type Types = {
  value(oid: string, usedBy: string): Value;
  /** The table whose row type that is. */
  tableOf(oid: string): Table | undefined;
  /** The row of a function that `returns table (…)`. */
  columnsOf(schema: string, name: string, columns: Column[]): Named;
  isVoid(oid: string): boolean;
  /** Those that were asked for, each after those that it stands on. */
  named: Named[];
};

type Scalar = { output: string; input?: string; ready?: (sql: string) => string };

const text = (sql: string): string => `${sql}::text`;
const time = 'z.iso.datetime({ offset: true })';

// bigint and numeric stay text, as in the API: no digit is lost.
const scalars: Record<string, Scalar> = {
  bool: { output: 'z.boolean()' },
  int2: { output: 'z.int32()' },
  int4: { output: 'z.int32()' },
  int8: { output: 'z.string()', input: 'z.string().regex(/^-?\\d{1,19}$/)', ready: text },
  float4: { output: 'z.number()' },
  float8: { output: 'z.number()' },
  numeric: { output: 'z.string()', input: 'z.string().regex(/^-?\\d+(\\.\\d+)?$/)', ready: text },
  text: { output: 'z.string()' },
  varchar: { output: 'z.string()' },
  bpchar: { output: 'z.string()' },
  name: { output: 'z.string()' },
  uuid: { output: 'z.guid()' },
  timestamptz: { output: time },
  timestamp: { output: 'z.iso.datetime({ local: true })' },
  date: { output: 'z.iso.date()' },
  time: { output: 'z.iso.time()' },
  timetz: { output: 'z.string()' },
  interval: { output: 'z.string()' },
  json: { output: 'z.json()' },
  jsonb: { output: 'z.json()' },
  bytea: { output: 'z.base64()', ready: (sql) => `translate(encode(${sql}, 'base64'), E'\\n', '')` },
  inet: { output: 'z.string()' },
  cidr: { output: 'z.string()' },
};

export function readTypes(catalog: Catalog): Types {
  const pgTypes = new Map(catalog.types.map((type) => [type.oid, type]));
  const tables = new Map(catalog.tables.map((table) => [table.rowType, table]));
  const values = new Map<string, Value>();
  const named: Named[] = [];

  function value(oid: string, usedBy: string): Value {
    const known = values.get(oid);
    if (known) return known;
    const type = pgTypes.get(oid);
    const made = type && makeValue(type, usedBy);
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
    const scalar = type.schema === 'pg_catalog' ? scalars[type.name] : undefined;
    if (scalar) {
      const { output, input = output, ready = (sql) => sql } = scalar;
      return { output, input, ready, cast: type.name };
    }
    // A given value takes on its domain when the function is called.
    if (type.kind === 'domain') return value(type.of as string, usedBy);
    if (type.kind === 'array') return arrayOf(type, value(type.of as string, usedBy));
    const { description, tags } = readComment(type.comment, `type ${type.sqlName}`);
    if (type.kind === 'enum') {
      const name = pascalCase(tags.name ?? type.name);
      const made = add({ schema: type.schema, name, description, labels: type.labels });
      return { output: name, input: name, ready: (sql) => sql, cast: type.sqlName, named: made };
    }
    const table = tables.get(type.oid);
    if (table) return rowOf(rowOfTable(table), type.sqlName);
    if (type.kind !== 'composite' || type.attributes.length === 0) return undefined;
    const name = pascalCase(tags.name ?? type.name);
    return rowOf(
      add({ schema: type.schema, name, description, fields: fieldsOf(type.sqlName, type.attributes) }),
      type.sqlName,
    );
  }

  function arrayOf(type: PgType, element: Value): Value | undefined {
    if (element.named?.fields) return undefined;
    return {
      output: `z.array(${element.output})`,
      input: element.input && `z.array(${element.input})`,
      ready: (sql) => (element.ready(sql) === text(sql) ? `${sql}::text[]` : sql),
      cast: type.schema === 'pg_catalog' ? type.name : type.sqlName,
      ...(element.named && { named: element.named }),
    };
  }

  function rowOfTable(table: Table): Named {
    const { description, tags } = readComment(table.comment, `table ${table.schema}.${table.name}`);
    const columns = table.columns.filter(({ roles }) => roles.length > 0);
    const name = pascalCase(tags.name ?? singular(table.name));
    return add({ schema: table.schema, name, description, fields: fieldsOf(`${table.schema}.${table.name}`, columns) });
  }

  function fieldsOf(owner: string, columns: Column[]): NonNullable<Named['fields']> {
    return columns.flatMap((column) => {
      const { description, tags } = readComment(column.comment, `column ${owner}.${column.name}`);
      if (tags.hide) return [];
      const type = value(column.type, `${owner}.${column.name}`);
      const nullable = !(column.notNull || tags.notNull || pgTypes.get(column.type)?.notNull);
      return [{ name: camelCase(tags.name ?? column.name), description, type, nullable, column: column.name }];
    });
  }

  function add(type: Named): Named {
    const other = named.find(({ schema, name }) => schema === type.schema && name === type.name);
    if (other) {
      throw new Refusal(`Two types of the section ${type.schema} would be called ${type.name}.`, {
        remedy: 'Give one of them another name: a line "@name other_name" in its comment.',
      });
    }
    named.push(type);
    return type;
  }

  return {
    value,
    tableOf: (oid) => tables.get(oid),
    columnsOf: (schema, name, columns) =>
      add({
        schema,
        name: `${pascalCase(name)}Row`,
        description: undefined,
        fields: fieldsOf(`${schema}.${name}`, columns),
      }),
    isVoid: (oid) => pgTypes.get(oid)?.name === 'void',
    named,
  };
}

function rowOf(named: Named, cast: string): Value {
  const ready = (sql: string): string =>
    `(select \${${jsonName(named)}} from (select (${sql}).*) as r where not (r is null))`;
  return { output: named.name, input: null, ready, cast, named };
}

/** What the SQL of a row type is called: `messageJson`. */
export function jsonName({ name }: Named): string {
  return `${name.charAt(0).toLowerCase()}${name.slice(1)}Json`;
}
