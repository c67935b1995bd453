import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

const schema = schemaWith('things');

// Boxes 1 to 3 hold things, 4 is empty; things 10 to 12 lie about. Of every column some values are equal and some null.
const rows = `
insert into things.boxes values (1, 'one', 'ann'), (2, 'two', null), (3, 'three', 'bob'), (4, 'none', 'ann');
insert into things.things (
  id, box_id, "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name", "uuid",
  "timestamptz", "timestamp", "date", "time", "timetz", "interval", "jsonb", "bytea", "inet", "cidr", state, weight, texts, states
)
select
  n, case when n < 10 then (n - 1) / 3 + 1 end, v = 2, v, v, v, v / 2.0, v / 2.0, v * 1.1, 'text ' || v, 'v' || v, 'b' || v, 'n' || v,
  md5(v::text)::uuid, '2026-01-01Z'::timestamptz + v * interval '1 microsecond', '2026-01-01'::timestamp + v * interval '1 day',
  '2026-01-01'::date + v, time '12:00' + v * interval '1 s', '12:00:00+03'::timetz + v * interval '1 s', v * interval '1 hour',
  case when v > 0 then jsonb_build_object('v', v) end, decode('0' || v, 'hex'), ('10.0.0.' || v)::inet, ('10.0.' || v || '.0/24')::cidr,
  (enum_range(null::things.state))[v], v, string_to_array('t' || v || ',x', ','), array_remove(array[(enum_range(null::things.state))[v]], null)
from (select n, nullif(n % 4, 0) as v from generate_series(1, 12) as n) as numbered`;

/** Of each column a value in the middle, as GraphQL has it and, where it differs, as Postgres has it. */
const middle: Record<string, [value: unknown, sql?: string]> = {
  bool: [true],
  int2: [2],
  int4: [2],
  int8: ['2'],
  float4: [1],
  float8: [1],
  numeric: ['2.2'],
  text: ['text 2'],
  varchar: ['v2'],
  bpchar: ['b2'],
  name: ['n2'],
  uuid: ['c81e728d-9d4c-2f63-6f06-7f89cc14862c'],
  timestamptz: ['2026-01-01T00:00:00.000002Z'],
  timestamp: ['2026-01-03T00:00:00'],
  date: ['2026-01-03'],
  time: ['12:00:02'],
  timetz: ['12:00:02+03'],
  interval: ['PT2H'],
  jsonb: [{ v: 2 }, '{"v": 2}'],
  bytea: ['Ag==', '\\x02'],
  inet: ['10.0.0.2'],
  cidr: ['10.0.2.0/24'],
  state: ['IN_USE', 'in_use'],
  weight: ['2'],
  texts: [['t2', 'x'], '{t2,x}'],
  states: [['IN_USE'], '{in_use}'],
};
const operators: Record<string, string> = {
  eq: '=',
  ne: 'is distinct from',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
  in: '=',
  notIn: '<>',
  isNull: 'is null',
  startsWith: '^@',
};

// Columns that are there and are not for the API: hidden, of a type it has not, granted to nobody; and one of another name.
const partly = `
create table things.parts (id integer primary key, hidden text, place tsquery, secret text, "2nd" integer);
create index on things.parts (hidden, place, secret, "2nd");
comment on column things.parts.hidden is '@hide';
comment on column things.parts.place is '@hide';
comment on column things.parts."2nd" is '@name second';
insert into things.parts values (1, 'h', 'p', 's', 2), (2, 'h', 'p', 's', 1);
grant select (id, hidden, place, "2nd") on things.parts to anonymous;
`;

t.test(
  'D14 columns that are not in the API are neither filtered nor ordered by; others by their name there',
  async (t) => {
    const { ask } = await openWorld(t, { schema: schema + partly });
    const query =
      '{ filter: __type(name: "PartFilter") { inputFields { name } } order: __type(name: "PartOrder") { enumValues { name } } }';
    const { filter, order } = (await ask(query)).data;
    const names = (list: { name: string }[]): string[] => list.map(({ name }) => name);
    t.same(names(filter.inputFields), ['and', 'or', 'not', 'id', 'second']);
    t.same(names(order.enumValues), ['ID_ASC', 'ID_DESC', 'SECOND_ASC', 'SECOND_DESC']);
    t.same(
      (await ask('{ parts(filter: { second: { gt: 0 } }, orderBy: SECOND_ASC) { nodes { id second } } }')).data.parts
        .nodes,
      [
        { id: 2, second: 1 },
        { id: 1, second: 2 },
      ],
    );
  },
);

t.test('filters', async (t) => {
  const { ask, owner } = await openWorld(t, { schema });
  await owner.query(rows);
  const find = async (filter: unknown) => {
    const query =
      'query ($filter: ThingFilter) { things(filter: $filter, first: 100, orderBy: ID_ASC) { nodes { id } totalCount } }';
    const { data, errors } = await ask(query, { filter });
    if (errors) return errors;
    t.equal(data.things.totalCount, data.things.nodes.length);
    return data.things.nodes.map(({ id }: { id: string }) => Number(id));
  };
  const where = async (sql: string, values: unknown[] = []): Promise<number[]> =>
    (await owner.query(`select id::integer from things.things where ${sql} order by 1`, values)).rows.map(
      ({ id }) => id,
    );
  const operatorsOf = async (type: string): Promise<string[]> =>
    (
      await ask('query ($type: String!) { __type(name: $type) { inputFields { name } } }', { type })
    ).data.__type.inputFields.map(({ name }: { name: string }) => name);

  t.test('have every operator that a column has, and each means what it means in SQL', async (t) => {
    const query = '{ __type(name: "ThingFilter") { inputFields { name type { name } } } }';
    const { inputFields } = (await ask(query)).data.__type;
    for (const { name, type } of inputFields.filter(({ name }: { name: string }) => name in middle)) {
      const [value, sql = String(value)] = middle[name] as [unknown, string?];
      for (const operator of await operatorsOf(type.name)) {
        const given = operator === 'isNull' ? true : operator === 'in' || operator === 'notIn' ? [value] : value;
        const cast = `(select atttypid::regtype::text from pg_attribute where attrelid = 'things.things'::regclass and attname = '${name}')`;
        const {
          rows: [{ cast: pgType }],
        } = await owner.query(`select ${cast} as cast`);
        const operand = pgType === 'character' ? 'bpchar' : pgType;
        const condition =
          operator === 'isNull'
            ? `"${name}" is null`
            : `"${name}" ${operators[operator]} $1::${operator === 'startsWith' ? 'text' : operand}`;
        const expected = await where(condition, operator === 'isNull' ? [] : [sql]);
        t.same(await find({ [name]: { [operator]: given } }), expected, `${name} ${operator}`);
        t.ok(
          expected.length > 0 || ['bool gt', 'states isNull'].includes(`${name} ${operator}`),
          `${name} ${operator} finds something`,
        );
      }
    }
    t.same(
      Object.keys(middle).filter((name) => !inputFields.some((field: { name: string }) => field.name === name)),
      [],
      'no column is missing',
    );
  });

  t.test('say what null means', async (t) => {
    t.same(await find({ int4: { eq: null } }), [4, 8, 12]);
    t.same(await find({ int4: { ne: null } }), await where('"int4" is not null'));
    t.same(await find({ int4: { isNull: false } }), await where('"int4" is not null'));
    t.same(await find({ int4: { ne: 1 } }), await where('"int4" is distinct from 1'), 'no value is not equal to one');
    t.same(await find({ int4: { lt: null } }), [], 'nothing is less than no value');
    t.same(await find({ int4: null }), await where('true'), 'no condition');
    t.same(await find({}), await where('true'));
    t.same(await find(null), await where('true'));
  });

  t.test('join with and, or, not', async (t) => {
    t.same(await find({ int4: { gt: 1, lt: 3 }, bool: { eq: true } }), await where('"int4" = 2 and "bool"'));
    t.same(await find({ or: [{ int4: { eq: 1 } }, { int4: { eq: 3 } }] }), await where('"int4" in (1, 3)'));
    t.same(await find({ and: [{ int4: { gte: 2 } }, { not: { int4: { eq: 2 } } }] }), await where('"int4" = 3'));
    t.same(
      await find({ not: { int4: { eq: 1 } } }),
      await where('"int4" is distinct from 1'),
      'not is the rest, null included',
    );
    t.same(await find({ not: { not: { int4: { eq: 1 } } } }), await where('"int4" = 1'));
    t.same([await find({ or: [] }), await find({ and: [] })], [[], await where('true')]);
  });

  t.test('reach through relations to one', async (t) => {
    t.same(await find({ box: { name: { eq: 'two' } } }), [4, 5, 6]);
    t.same(await find({ box: { owner: { isNull: true } } }), [4, 5, 6], 'where there is one');
    t.same(await find({ not: { box: { name: { eq: 'two' } } } }), [1, 2, 3, 7, 8, 9, 10, 11, 12]);
    t.same(await find({ box: {} }), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  t.test('reach through relations to many', async (t) => {
    const boxes = async (filter: unknown) => {
      const { data } = await ask(
        'query ($filter: BoxFilter) { boxes(filter: $filter, orderBy: ID_ASC) { nodes { id } } }',
        { filter },
      );
      return data.boxes.nodes.map(({ id }: { id: number }) => id);
    };
    t.same(await boxes({ things: { some: { int4: { eq: 1 } } } }), [1, 2, 3]);
    t.same(await boxes({ things: { some: { id: { in: ['1', '9'] } } } }), [1, 3]);
    t.same(await boxes({ things: { none: { id: { in: ['1', '9'] } } } }), [2, 4]);
    t.same(await boxes({ things: { every: { id: { lt: '4' } } } }), [1, 4], 'an empty box too');
    t.same(await boxes({ things: { every: { int4: { gt: 0 } } } }), [1, 4], 'what is null does not fit');
    t.same(await boxes({ things: { some: {} } }), [1, 2, 3]);
    t.same(
      await boxes({ things: { some: { box: { things: { some: { id: { eq: '5' } } } } } } }),
      [2],
      'there and back',
    );
  });

  t.test('are the same whether they come as a variable, as a literal, or as a literal with variables', async (t) => {
    const query =
      'query ($text: String, $list: [Int!], $flag: Boolean) {' +
      ' literal: things(filter: { or: [{ text: { eq: "text 2" } }, { int4: { in: [3] } }], not: { bool: { eq: true } } }, orderBy: ID_ASC) { nodes { id } }' +
      ' mixed: things(filter: { or: [{ text: { eq: $text } }, { int4: { in: $list } }], not: { bool: { eq: $flag } } }, orderBy: ID_ASC) { nodes { id } } }';
    const { data } = await ask(query, { text: 'text 2', list: [3], flag: true });
    const whole = await find({ or: [{ text: { eq: 'text 2' } }, { int4: { in: [3] } }], not: { bool: { eq: true } } });
    t.same(data.mixed, data.literal);
    t.same(
      data.mixed.nodes.map(({ id }: { id: string }) => Number(id)),
      whole,
    );
    const other = await ask(query, { text: null, list: [], flag: null });
    t.same(
      other.data.mixed.nodes.map(({ id }: { id: string }) => Number(id)),
      await where('"text" is null and "bool" is not null'),
    );
  });

  t.test('D14 take hostile values as values', async (t) => {
    const hostile = [
      "'",
      "''; drop table things.things; --",
      '"',
      '\\',
      '%',
      '_',
      '%_\\%',
      '$1',
      '{}',
      '{"a"}',
      'NULL',
      '\u202e🦔é',
      '\u0024{x}',
      "E'\\000'",
      '\n',
    ];
    for (const [index, text] of hostile.entries()) {
      await owner.query('insert into things.things (id, "text", texts) values ($1, $2, $3)', [
        1000 + index,
        text,
        [text],
      ]);
    }
    for (const [index, text] of hostile.entries()) {
      const [id, name] = [[1000 + index], JSON.stringify(text)];
      t.same(await find({ text: { eq: text } }), id, `eq ${name}`);
      t.same(await find({ text: { in: [text] } }), id, `in ${name}`);
      t.same(await find({ texts: { eq: [text] } }), id, `list ${name}`);
      t.same(
        await find({ text: { startsWith: text } }),
        await where('starts_with("text", $1)', [text]),
        `startsWith ${name}`,
      );
      const literal = await ask(`{ things(filter: { text: { eq: ${JSON.stringify(text)} } }) { nodes { id text } } }`);
      t.same(literal.data?.things.nodes, [{ id: String(1000 + index), text }], `literal ${name}`);
    }
    t.match(
      await find({ text: { eq: 'a\0b' } }),
      [{ extensions: { code: 'BAD_USER_INPUT' } }],
      'no text of Postgres has a NUL',
    );
    t.match(await find({ jsonb: { eq: { a: '\0' } } }), [{ extensions: { code: 'BAD_USER_INPUT' } }]);
    t.same(await find({ text: { eq: '\ud800' } }), [], 'half a character');
    const long = Array.from({ length: 20_000 }, (_, n) => `no ${n}`);
    t.same(await find({ text: { in: [...long, 'text 2'] } }), await where('"text" = \'text 2\''), 'a very long list');
    t.same((await where('true')).length, 12 + hostile.length, 'and the table is there');
  });
});
