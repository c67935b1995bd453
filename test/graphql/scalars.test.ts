import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

const schema = schemaWith('things');

/** Of each type: what GraphQL calls it, values that come back as they went, and values that are refused. */
const types: Record<string, { type: string; same: unknown[]; refused: unknown[] }> = {
  bool: { type: 'Boolean', same: [true, false], refused: ['true', 1] },
  int2: { type: 'Int', same: [-32768, 0, 32767], refused: [32768, 1.5, '1'] },
  int4: { type: 'Int', same: [-2147483648, 2147483647], refused: [2147483648, '1', true] },
  int8: {
    type: 'BigInt',
    same: ['9223372036854775807', '-9223372036854775808', '9007199254740993'],
    refused: ['9223372036854775808', '1.5', 'one', '', 9007199254740992],
  },
  float4: { type: 'Float', same: [1.5, -0.25], refused: ['1.5', 1e300] },
  float8: { type: 'Float', same: [0.1, 1e300, -5e-324], refused: ['0.1'] },
  numeric: {
    type: 'Decimal',
    same: ['12.50', '-0.000000000000000000000000000001', `${'9'.repeat(100)}.${'1'.repeat(100)}`],
    refused: ['12,5', 'NaN', '', '1'.repeat(1001)],
  },
  text: {
    type: 'String',
    same: ['', "it's", '"\\', 'Ёж 🦔 漢字', '%_', '\n\t', '$1', '{a,b}', 'NULL'],
    refused: ['\0', 1],
  },
  varchar: { type: 'String', same: ['short'], refused: ['a\0b'] },
  bpchar: { type: 'String', same: ['five!'], refused: [5] },
  name: { type: 'String', same: ['pg_catalog'], refused: [{}] },
  uuid: {
    type: 'UUID',
    same: ['0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90'],
    refused: ['0193f5a2', '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c9g', ''],
  },
  timestamptz: {
    type: 'DateTime',
    same: ['2026-11-21T09:30:00.123456+00:00', '1969-12-31T23:59:59.999999+00:00'],
    refused: ['2026-11-21T09:30:00', '2026-02-30T00:00:00Z', 'now', 'infinity', 'yesterday'],
  },
  timestamp: {
    type: 'LocalDateTime',
    same: ['2026-11-21T09:30:00.123456'],
    refused: ['2026-11-21T09:30:00Z', 'today'],
  },
  date: { type: 'Date', same: ['2024-02-29'], refused: ['2023-02-29', '29.02.2024', 'today'] },
  time: { type: 'Time', same: ['23:59:59.999999'], refused: ['25:00', 'noon'] },
  timetz: { type: 'Time', same: ['23:59:59.999999+03'], refused: ['25:00+03'] },
  interval: { type: 'Interval', same: ['P1Y2M3DT4H5M6.789S', 'PT-1H'], refused: ['1 day', 'P', ''] },
  jsonb: { type: 'JSON', same: [{ a: [1, null, { b: "'" }] }, [], 'text', 0, false], refused: ['\0', { a: '\0' }] },
  json: { type: 'JSON', same: [{ b: 1, a: 2 }, [1, 'x']], refused: [] },
  bytea: { type: 'Base64', same: ['', 'cGxpbnRo', 'AA==', '//79'], refused: ['A', 'AAAAA', 'not base64!', '_-8='] },
  inet: {
    type: 'IPAddress',
    same: ['192.0.2.1', '2001:db8::1', '192.0.2.1/24'],
    refused: ['192.0.2', '1.2.3.4.5', 'localhost'],
  },
  cidr: { type: 'IPAddress', same: ['192.0.2.0/24'], refused: ['192.0.2.1/24'] },
  state: { type: 'State', same: ['NEW', 'WORN_OUT'], refused: ['new', 'BROKEN', ''] },
  weight: { type: 'Decimal', same: ['0.5'], refused: ['0', '-1'] },
  label: { type: 'String', same: ['', 'twenty characters ok'], refused: ['more than twenty characters'] },
  texts: { type: '[String!]', same: [[], ['a', 'b,c', '"', '\\', '{}', 'NULL', '']], refused: [[null], [1], ['\0']] },
  longs: { type: '[BigInt!]', same: [[], ['9007199254740993', '-1']], refused: [['x'], 'x'] },
  states: { type: '[State!]', same: [[], ['IN_USE', 'NEW']], refused: [['new']] },
  weights: { type: '[Decimal!]', same: [[], ['0.50']], refused: [['0']] },
};

t.test('D9 D14 values of every type of Postgres', async (t) => {
  const { ask, owner } = await openWorld(t, { schema });
  const echo = async (name: string, value: unknown) => {
    const type = types[name]?.type;
    return ask(`query ($value: ${type}) { echo(${name}: $value) { ${name} } }`, { value });
  };

  for (const [name, { type, same, refused }] of Object.entries(types)) {
    t.test(`${name} is ${type}`, async (t) => {
      for (const value of [...same, null]) {
        const { data, errors } = await echo(name, value);
        const absent = ({ label: '', states: [] } as Record<string, unknown>)[name] ?? null;
        t.strictSame(
          { value: data?.echo?.[name], errors },
          { value: value ?? absent, errors: undefined },
          JSON.stringify(value),
        );
      }
      for (const value of refused) {
        const { data, errors } = await echo(name, value);
        t.notOk(data?.echo, JSON.stringify(value));
        t.equal(errors?.[0]?.extensions?.code, 'BAD_USER_INPUT', JSON.stringify(value));
      }
    });
  }

  t.test('literals keep their digits too', async (t) => {
    const { data } = await ask('{ echo(int8: 9007199254740993, numeric: 0.12345678901234567890) { int8 numeric } }');
    t.same(data.echo, { int8: '9007199254740993', numeric: '0.12345678901234567890' });
  });

  t.test('what was stored is what is read', async (t) => {
    await owner.query(
      `insert into things.things (id, "int8", "float8", "timestamptz", longs) values (7, 9007199254740993, 'NaN', 'infinity', '{}')`,
    );
    const { data, errors } = await ask('{ thing(id: "7") { id int8 timestamptz longs states weights } }');
    t.notOk(errors);
    t.same(data.thing, {
      id: '7',
      int8: '9007199254740993',
      timestamptz: 'infinity',
      longs: [],
      states: [],
      weights: null,
    });
  });

  t.test('what must not be null is said to be so, by the column or by its domain', async (t) => {
    const { data } = await ask('{ __type(name: "Thing") { fields { name type { kind } } } }');
    const kinds = Object.fromEntries(
      data.__type.fields.map(({ name, type }: { name: string; type: { kind: string } }) => [name, type.kind]),
    );
    t.match(kinds, { id: 'NON_NULL', label: 'NON_NULL', states: 'NON_NULL', weight: 'SCALAR' });
  });
});
