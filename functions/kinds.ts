import { z } from 'zod';
import { arrayText } from './pipeline.ts';
import { quote } from './sql-names.ts';

// What functions/generated/ describes its types with: each kind of value is checked by zod, and knows how SQL takes and gives it.

/** Puts a value, in Postgres's text form, among those of a statement, and gives back its place, such as `$2`. */
export type Place = (value: string | null) => string;

/** `In` checks what is given, `Out` what comes back. */
export type Kind<Out extends z.ZodType = z.ZodType, In extends z.ZodType = z.ZodType> = {
  /** The type's name in SQL. */
  sql: string;
  in: In;
  out: Out;
  /** Postgres's text form of what was given. */
  encode(value: unknown): string;
  /** The SQL of what was given. */
  take(value: unknown, place: Place): string;
  /** The SQL that makes a value ready for JSON. */
  give(value: string): string;
  /** What the field or argument is called in SQL, where its name in TypeScript does not tell. */
  named?: string;
  set?: true;
};

/** The values of a kind that come back: `type Message = ValueOf<typeof Message>`. */
export type ValueOf<Of extends Kind> = z.output<Of['out']>;

type Fields = Record<string, Kind>;
type Side<Of extends Fields, Way extends 'in' | 'out'> = { [Name in keyof Of]: Of[Name][Way] };
type Row<Of extends Fields> = Kind<z.ZodObject<Side<Of, 'out'>>> & { fields: Of };

type Ways<Out> = { given?: Out; encode?: (value: unknown) => string; give?: (sql: string) => string };

function scalar<Out extends z.ZodType>(sql: string, out: Out, ways: Ways<Out> = {}): Kind<Out, Out> {
  const { given = out, encode = String, give = (value) => value } = ways;
  const text = (value: unknown): string | null => (value === null || value === undefined ? null : encode(value));
  return { sql, in: given, out, encode, give, take: (value, place) => `${place(text(value))}::${sql}` };
}

/** What makes a bigint or a numeric keep its digits: it stays text, as in the API. */
const asText = (sql: string): string => `${sql}::text`;
const number = (pattern: RegExp) => ({ given: z.string().regex(pattern), give: asText });
const json = { encode: (value: unknown) => JSON.stringify(value) };

/** Postgres's own types by their names. */
export const pg = {
  bool: scalar('bool', z.boolean()),
  int2: scalar('int2', z.int32()),
  int4: scalar('int4', z.int32()),
  int8: scalar('int8', z.string(), number(/^-?\d{1,19}$/)),
  float4: scalar('float4', z.number()),
  float8: scalar('float8', z.number()),
  numeric: scalar('numeric', z.string(), number(/^-?\d+(\.\d+)?$/)),
  text: scalar('text', z.string()),
  varchar: scalar('varchar', z.string()),
  bpchar: scalar('bpchar', z.string()),
  name: scalar('name', z.string()),
  uuid: scalar('uuid', z.guid()),
  timestamptz: scalar('timestamptz', z.iso.datetime({ offset: true })),
  timestamp: scalar('timestamp', z.iso.datetime({ local: true })),
  date: scalar('date', z.iso.date()),
  time: scalar('time', z.iso.time()),
  timetz: scalar('timetz', z.string()),
  interval: scalar('interval', z.string()),
  json: scalar('json', z.json(), json),
  jsonb: scalar('jsonb', z.json(), json),
  bytea: scalar('bytea', z.base64(), {
    encode: (value) => `\\x${Buffer.from(String(value), 'base64').toString('hex')}`,
    give: (value) => `translate(encode(${value}, 'base64'), E'\\n', '')`,
  }),
  inet: scalar('inet', z.string()),
  cidr: scalar('cidr', z.string()),
};

export function oneOf<const Labels extends readonly string[]>(sql: string, labels: Labels) {
  return scalar(sql, z.enum(labels));
}

/** The elements are ready for JSON as they are, or as text. */
export function arrayOf<Out extends z.ZodType, In extends z.ZodType>({
  sql,
  out,
  in: given,
  encode,
  give,
}: Kind<Out, In>) {
  const list = scalar(`${sql}[]`, z.array(out), {
    encode: (value) => arrayText((value as unknown[]).map((each) => encode(each))),
    give: (value) => (give(value) === asText(value) ? `${value}::text[]` : value),
  });
  return { ...list, in: z.array(given) };
}

/** The row of a table or of another composite type; only {@link keyOf} one can be given. */
export function row<Of extends Fields>(sql: string, fields: Of): Row<Of> {
  const columns = Object.entries(fields).map(
    ([name, field]) => `${field.give(`r.${columnOf(name, field)}`)} as ${quote(name)}`,
  );
  const items = `select ${columns.join(', ')} from`;
  return {
    ...scalar(sql, z.object(sideOf(fields, 'out'))),
    give: (value) => `(select to_json(item) from (${items} (select (${value}).*) as r where not (r is null)) as item)`,
    fields,
  };
}

/** A row that is given by the values of its key. */
export function keyOf<Of extends Fields, Name extends keyof Of & string>({ sql, fields }: Row<Of>, ...names: Name[]) {
  const key = Object.fromEntries(names.map((name) => [name, fields[name]])) as unknown as Pick<Of, Name>;
  const given = z.object(sideOf(key, 'in'));
  const take = (value: unknown, place: Place): string => {
    const values = (value ?? {}) as Record<string, unknown>;
    const same = Object.entries<Kind>(key).map(
      ([name, field]) => `one.${columnOf(name, field)} = ${field.take(values[name], place)}`,
    );
    return `(select one from ${sql} as one where ${same.join(' and ')})`;
  };
  return { ...scalar(sql, given), take };
}

/** An argument with a default: left out, the default counts; null is null. */
export function optional<Out extends z.ZodType, In extends z.ZodType>(kind: Kind<Out, In>) {
  return { ...kind, in: kind.in.nullish() };
}

export function orNull<Out extends z.ZodType, In extends z.ZodType>(kind: Kind<Out, In>) {
  return { ...kind, out: kind.out.nullable() };
}

/** Any number of rows or values. */
export function setOf<Out extends z.ZodType>(kind: Kind<Out>) {
  return { ...kind, out: z.array(kind.out), set: true as const };
}

/** What SQL calls by another name than TypeScript. */
export function as<Of extends Kind>(named: string, kind: Of): Of {
  return { ...kind, named };
}

/** What checks one side of some fields. */
export function sideOf<Of extends Fields, Way extends 'in' | 'out'>(fields: Of, way: Way): Side<Of, Way> {
  return Object.fromEntries(Object.entries(fields).map(([name, kind]) => [name, kind[way]])) as Side<Of, Way>;
}

/** A field's or argument's quoted name in SQL. */
export function columnOf(name: string, { named = snakeCase(name) }: Kind): string {
  return quote(named);
}

export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
