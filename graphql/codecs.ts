import { GraphQLEnumType, GraphQLList, GraphQLNonNull, GraphQLObjectType, GraphQLString } from 'graphql';
import type { Catalog, Column, PgType } from '../functions/catalog.ts';
import { arrayText } from '../functions/pipeline.ts';
import { Refusal } from '../functions/refusal.ts';
import { readComment } from '../functions/tags.ts';
import { checkName } from './fields.ts';
import { pascalCase, upperCase } from './names.ts';
import type { Codec, Row } from './plan.ts';
import { jwt, type ReceivedFile, scalars, upload } from './scalars.ts';

/** The types of one schema while it is built: by oid, each made once, each name given once. */
export type Types = {
  catalog: Catalog;
  codec(oid: string, usedBy: string): Codec;
  /** A type as it stands in a cast. */
  typeName(oid: string): string;
  /** The GraphQL object of a row type; the fields are given when the schema is complete. */
  object(row: Row): GraphQLObjectType;
  /** Makes the row type known by which a table is read and functions return it. */
  addRow(oid: string, row: Row, description: string | undefined, fields: () => Record<string, never>): void;
  /** Every name of a type may be given once. */
  claim(name: string, object: string): string;
};

/**
 * Codecs for the types of a catalog.
 *
 * @param compositeFields gives the fields of a composite type that is not a table's.
 */
export function readTypes(catalog: Catalog, compositeFields: (row: Row, types: Types) => Record<string, never>): Types {
  const pgTypes = new Map(catalog.types.map((type) => [type.oid, type]));
  const codecs = new Map<string, Codec>();
  const objects = new Map<string, GraphQLObjectType>();
  const names = new Map<string, string>();

  const types: Types = {
    catalog,
    codec(oid, usedBy) {
      const known = codecs.get(oid);
      if (known) return known;
      const type = pgTypes.get(oid);
      if (!type) throw unmapped(`the type with oid ${oid}`, usedBy);
      const made = makeCodec(type, usedBy);
      codecs.set(oid, made);
      return made;
    },
    typeName: (oid) => pgTypes.get(oid)?.sqlName ?? 'text',
    object(row) {
      return objects.get(row.name) as GraphQLObjectType;
    },
    addRow(oid, row, description, fields) {
      const object = new GraphQLObjectType({ name: row.name, description: description ?? null, fields });
      objects.set(row.name, object);
      codecs.set(oid, rowCodec(row, object));
    },
    claim(name, object) {
      checkName(name, object, names.get(name));
      names.set(name, object);
      return name;
    },
  };

  function makeCodec(type: PgType, usedBy: string): Codec {
    // The comments on Postgres's own types are not meant for the API.
    const comment = type.schema === 'pg_catalog' ? null : type.comment;
    const { description, tags } = readComment(comment, `type ${type.sqlName}`);
    if (type.kind === 'array') {
      const element = types.codec(type.of as string, usedBy);
      if (element.row || element.finish) throw unmapped(type.sqlName, usedBy);
      return listCodec(type, element);
    }
    if (type.kind === 'enum') return enumCodec(type, description, tags.name);
    if (type.kind === 'domain') {
      const base = types.codec(type.of as string, usedBy);
      if (tags.jwt) return { ...base, sqlName: type.sqlName, output: jwt, input: null, finish: 'sign' };
      if (tags.presign) return { ...base, sqlName: type.sqlName, output: GraphQLString, input: null, finish: 'sign' };
      if (tags.upload) {
        const encode = (value: unknown): string => (value as ReceivedFile).id;
        return { ...base, sqlName: type.sqlName, output: upload, input: upload, encode };
      }
      if (tags.sealed) return { ...base, sqlName: type.sqlName, sealed: true };
      if (tags.deliver) return { ...base, sqlName: type.sqlName, input: null, finish: 'deliver' };
      return { ...base, sqlName: type.sqlName };
    }
    if (type.kind === 'composite' && type.attributes.length > 0) {
      const name = types.claim(pascalCase(tags.name ?? type.name), `type ${type.sqlName}`);
      const row = rowOf(types, name, type.sqlName, type.attributes);
      types.addRow(type.oid, row, description, () => compositeFields(row, types));
      return codecs.get(type.oid) as Codec;
    }
    const scalar = type.schema === 'pg_catalog' && scalars[type.name];
    if (!scalar) throw unmapped(type.sqlName, usedBy);
    return { ...scalar, sqlName: type.sqlName };
  }

  function enumCodec(type: PgType, description: string | undefined, name: string | undefined): Codec {
    const values = Object.fromEntries(type.labels.map((label) => [upperCase(label), { value: label }]));
    const plain = type.labels.every((label) => /^[a-z][a-z0-9_]*$/.test(label));
    if (!plain) {
      throw new Refusal(`The enum ${type.sqlName} has labels that the API cannot carry: ${type.labels.join(', ')}.`, {
        remedy: 'Use lower-case letters, digits and underscores: alter type … rename value ….',
      });
    }
    const enumType = new GraphQLEnumType({
      name: types.claim(pascalCase(name ?? type.name), `type ${type.sqlName}`),
      description: description ?? null,
      values,
    });
    return {
      sqlName: type.sqlName,
      output: enumType,
      input: enumType,
      encode: String,
      toJson: (sql) => `upper(${sql}::text)`,
      ordered: true,
    };
  }

  return types;
}

/** A row type of which nothing is known but its columns; `object` is what has them, for messages. */
export function rowOf(types: Types, name: string, sqlName: string, columns: Column[], object = sqlName): Row {
  return {
    name,
    sqlName,
    columns,
    key: [],
    order: [],
    codec: (column) => types.codec(column.type, `${object}.${column.name}`),
    typeName: (column) => types.typeName(column.type),
  };
}

function listCodec(type: PgType, element: Codec): Codec {
  return {
    sqlName: type.sqlName,
    output: new GraphQLList(element.output),
    input: element.input && new GraphQLList(new GraphQLNonNull(element.input)),
    encode: (value) => arrayText((value as unknown[]).map((each) => element.encode(each))),
    toJson: (sql) =>
      element.toJson('x') === 'x'
        ? sql
        : // Of no items there is nothing to gather: an empty list, or null.
          `coalesce((select json_agg(${element.toJson('item.value')} order by item.n) from unnest(${sql}) with ordinality as item (value, n)), to_json(${sql}))`,
    ordered: false,
  };
}

function rowCodec(row: Row, output: GraphQLObjectType): Codec {
  const none = (): never => {
    throw new Error(`${row.sqlName} is a row and is selected field by field`);
  };
  return { sqlName: row.sqlName, output, input: null, encode: none, toJson: none, ordered: false, row };
}

function unmapped(type: string, usedBy: string): Refusal {
  return new Refusal(`${usedBy} is of type ${type}, for which the API has no type.`, {
    remedy: `Hide it with a line "@hide" in its comment, do not grant it, or give it another type (jsonb carries anything).`,
  });
}
