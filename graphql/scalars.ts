import {
  GraphQLBoolean,
  GraphQLError,
  GraphQLFloat,
  GraphQLID,
  GraphQLInt,
  GraphQLScalarType,
  GraphQLString,
  valueFromASTUntyped,
} from 'graphql';
import type { Codec } from './plan.ts';

function scalar(
  name: string,
  description: string,
  pattern: RegExp,
  example: string,
  specifiedByURL?: string,
): GraphQLScalarType {
  const check = (value: unknown): string => {
    const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
    if (typeof text !== 'string' || !pattern.test(text)) {
      throw new GraphQLError(`${name} cannot represent ${preview(value)}; write it like "${example}".`);
    }
    return text;
  };
  return new GraphQLScalarType({
    name,
    description,
    ...(specifiedByURL && { specifiedByURL }),
    coerceInputValue: check,
    // A number is taken as it is written: as a number of JavaScript it would lose digits.
    coerceInputLiteral: (node) =>
      check('value' in node && typeof node.value === 'string' ? node.value : valueFromASTUntyped(node)),
  });
}

function preview(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const date = String.raw`\d{4,6}-\d\d-\d\d`;
const time = String.raw`\d\d:\d\d(:\d\d(\.\d{1,9})?)?`;
const zone = String.raw`(Z|[+-]\d\d(:?\d\d)?)`;

const uuid = scalar(
  'UUID',
  'A UUID.',
  /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i,
  '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90',
  'https://www.rfc-editor.org/rfc/rfc9562',
);
const dateTime = scalar(
  'DateTime',
  'A point in time, in ISO 8601 with an offset.',
  new RegExp(`^${date}T${time}${zone}$`, 'i'),
  '2026-11-21T09:30:00Z',
  'https://www.rfc-editor.org/rfc/rfc3339',
);
const localDateTime = scalar(
  'LocalDateTime',
  'A date and time of day without an offset.',
  new RegExp(`^${date}T${time}$`, 'i'),
  '2026-11-21T09:30:00',
);
const dateOnly = scalar('Date', 'A day, in ISO 8601.', new RegExp(`^${date}$`), '2026-11-21');
const timeOnly = scalar('Time', 'A time of day.', new RegExp(`^${time}${zone}?$`, 'i'), '09:30:00');
const interval = scalar('Interval', 'A length of time, in ISO 8601.', /^-?P[-0-9YMWDTHS.]{1,60}$/, 'P1DT2H');
const bigInt = scalar('BigInt', 'A whole number of up to 64 bits, as text: no digit is lost.', /^-?\d{1,19}$/, '42');
const decimal = scalar(
  'Decimal',
  'A number of any precision, as text: no digit is lost.',
  /^-?(\d{1,1000}(\.\d{0,1000})?|\.\d{1,1000})(e[+-]?\d{1,3})?$/i,
  '12.50',
);
const base64 = scalar(
  'Base64',
  'Bytes, in Base64.',
  /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/,
  'cGxpbnRo',
);
const ipAddress = scalar('IPAddress', 'An IP address or network.', /^[0-9a-fA-F.:]{2,45}(\/\d{1,3})?$/, '192.0.2.1');
const json = new GraphQLScalarType({
  name: 'JSON',
  description: 'Any JSON value.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc8259',
  coerceInputValue: (value) => value,
  coerceInputLiteral: (node) => valueFromASTUntyped(node),
});
export const jwt = new GraphQLScalarType({
  name: 'JWT',
  description: 'A JSON Web Token.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc7519',
});

/** A file of a multipart request that stands in the storage, under the key of its upload. Only the server makes one. */
export class ReceivedFile {
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }
}

function receivedFile(value: unknown): ReceivedFile {
  if (value instanceof ReceivedFile) return value;
  throw new GraphQLError('Upload is a variable of a multipart request, and nothing that can be written.');
}
export const upload = new GraphQLScalarType({
  name: 'Upload',
  description: 'A file that is sent along with the operation, in a multipart request.',
  specifiedByURL: 'https://github.com/jaydenseric/graphql-multipart-request-spec',
  coerceInputValue: receivedFile,
  coerceInputLiteral: receivedFile,
});

const same = (sql: string): string => sql;
const asText = (sql: string): string => `${sql}::text`;

function codec(type: GraphQLScalarType, toJson = same, encode: Codec['encode'] = String): Omit<Codec, 'sqlName'> {
  return { output: type, input: type, encode, toJson, ordered: true };
}
const unordered = { ordered: false };

/** The codec of each built-in type of Postgres that the API can carry. */
export const scalars: Record<string, Omit<Codec, 'sqlName'>> = {
  bool: { ...codec(GraphQLBoolean), ...unordered },
  int2: codec(GraphQLInt),
  int4: codec(GraphQLInt),
  int8: codec(bigInt, asText),
  float4: codec(GraphQLFloat),
  float8: codec(GraphQLFloat),
  numeric: codec(decimal, asText),
  text: codec(GraphQLString),
  varchar: codec(GraphQLString),
  bpchar: codec(GraphQLString),
  name: codec(GraphQLString),
  uuid: codec(uuid),
  timestamptz: codec(dateTime),
  timestamp: codec(localDateTime),
  date: codec(dateOnly),
  time: codec(timeOnly),
  timetz: codec(timeOnly),
  interval: codec(interval),
  jsonb: { ...codec(json, same, JSON.stringify), ...unordered },
  json: { ...codec(json, same, JSON.stringify), ...unordered },
  bytea: {
    ...codec(
      base64,
      (sql) => `translate(encode(${sql}, 'base64'), E'\\n', '')`,
      (value) => `\\x${Buffer.from(String(value), 'base64').toString('hex')}`,
    ),
    ...unordered,
  },
  inet: codec(ipAddress),
  cidr: codec(ipAddress),
};

/** What they are called: no type of an application can have such a name. */
export const scalarNames = new Set([
  ...Object.values(scalars).map(({ output }) => String(output)),
  GraphQLID.name,
  jwt.name,
  upload.name,
]);
