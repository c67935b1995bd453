import { type GraphQLInputType, getNamedType, getNullableType, isEnumType, isListType, isNonNullType } from 'graphql';

// Values of each type of the API: one that is meant, those that fit the type and nothing else, and those that do not fit it.

/** An id of nothing. */
const nobodys = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

/** Text that some program on its way might take for something else. */
const texts = [
  "'; drop table identity.users; --",
  'a\u0000b',
  '\ud800 lone',
  '\u202egnp.exe\u2066',
  '=HYPERLINK("http://plinth.test","x")',
  '../../../../etc/passwd\\..\\..',
  '<script>alert(1)</script>',
  '$1 %s %n {{7*7}} `id` $(id)',
  '\\x00\\u0000',
  '{"a":{"$gt":""}}',
  '\uffff\u0300'.repeat(40),
  ' \t\r\n\u200b\ufeff',
];

const deep = (levels: number) => JSON.parse(`${'[{"a":'.repeat(levels)}1${'}]'.repeat(levels)}`);

const meant: Record<string, unknown> = {
  UUID: nobodys,
  String: 'text',
  Int: 1,
  Float: 1,
  BigInt: '1',
  Decimal: '1',
  Boolean: true,
  JSON: {},
  DateTime: '2032-01-01T00:00:00Z',
  Date: '2026-01-01',
  Interval: 'P1D',
  // Only a multipart request has one.
  Upload: null,
};

const unmeant: Record<string, unknown[]> = {
  UUID: [nobodys, '00000000-0000-0000-0000-000000000000', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'],
  Int: [0, -1, 2_147_483_647, -2_147_483_648],
  Float: [1e308, -1e308, 5e-324],
  BigInt: ['0', '-1', '9223372036854775807', '-9223372036854775808', '9999999999999999999'],
  Decimal: ['9e999', '-1', '.1e-999'],
  Boolean: [true, false],
  JSON: [[], '', 'a\u0000b', { a: '\u0000', '\ud800': 1 }, deep(40), 1e308, { a: [[[[{}]]]] }],
  DateTime: ['0001-01-01T00:00:00Z', '0000-00-00T00:00:00Z', '294276-12-31T23:59:59Z', '999999-12-31T23:59:59Z'],
  Date: ['0001-01-01', '9999-12-31', '999999-01-01', '2026-02-31'],
  Interval: ['P999999999Y', '-P1D', 'PT0S', 'P-----'],
};

const unfit: Record<string, unknown[]> = {
  UUID: ['', 'x', 1, {}, [[]], true],
  String: [1, {}, [[]], true],
  Int: [2 ** 31, 1.5, '1', {}],
  Float: ['1', {}],
  BigInt: ['', '1e3', 'x', 1.5, '9'.repeat(30), {}],
  Decimal: ['NaN', 'Infinity', '', {}],
  Boolean: [0, 'true', {}],
  JSON: [],
  DateTime: ['', 'infinity', '-infinity', 'now', 0, {}, '2026-01-01'],
  Date: ['infinity', 'today', '', 0],
  Interval: ['infinity', '1 day', ''],
  Upload: ['x', {}],
};

function known<Value>(values: Record<string, Value>, name: string): Value {
  if (!(name in values)) throw new Error(`No value of ${name} is known.`);
  return values[name] as Value;
}

/** A value that is meant. */
export function meantValue(type: GraphQLInputType): unknown {
  const named = getNamedType(type);
  const value = isEnumType(named) ? named.getValues()[0]?.name : known(meant, named.name);
  return isListType(getNullableType(type)) ? [value] : value;
}

let turn = 0;

/**
 * Values that fit a type and are not meant: of texts, some of them each time, in turn.
 *
 * @param ids ids of things that are there, each of which is given for an id.
 */
export function unmeantValues(type: GraphQLInputType, ids: string[]): unknown[] {
  const named = getNamedType(type);
  const optional = isNonNullType(type) ? [] : [null];
  const next = () => texts[turn++ % texts.length] as string;
  const values = isEnumType(named)
    ? named.getValues().map(({ name }) => name)
    : named.name === 'String'
      ? ['', next(), next(), next()]
      : [...known(unmeant, named.name), ...(named.name === 'UUID' ? ids : [])];
  if (!isListType(getNullableType(type))) return [...optional, ...values];
  return [...optional, [], values.filter((value) => value !== null), [values[0], values[0]]];
}

/**
 * What is far larger than is meant.
 *
 * @param size how many characters, or ten times how many items.
 */
export function hugeValues(type: GraphQLInputType, size: number): unknown[] {
  const named = getNamedType(type);
  const one = meantValue(named as GraphQLInputType);
  if (isListType(getNullableType(type))) return [Array.from({ length: size / 10 }, () => one)];
  if (named.name === 'String') return ['x'.repeat(size)];
  return named.name === 'JSON' ? [{ a: 'x'.repeat(size) }] : [];
}

/** Values that do not fit a type; `undefined` is none at all. */
export function unfitValues(type: GraphQLInputType): unknown[] {
  const named = getNamedType(type);
  const values = isEnumType(named) ? ['NOTHING', 1, {}, ''] : known(unfit, named.name);
  const none = isNonNullType(type) ? [undefined, null] : [];
  return [...none, ...(isListType(getNullableType(type)) ? [[null], ...values.map((value) => [value])] : values)];
}
