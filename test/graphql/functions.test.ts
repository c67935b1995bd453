import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

// Each kind of result, as a query (stable) and as a mutation (volatile).
const kinds = ['stable', 'volatile'].map((volatility) => {
  const make = (name: string, returns: string, body: string): string =>
    `create function things.${name}_${volatility}() returns ${returns} language sql ${volatility} set search_path = '' as $$ ${body} $$;
    grant execute on function things.${name}_${volatility} to anonymous;`;
  return [
    make('long', 'bigint', 'select 9007199254740993'),
    make('state', 'things.state', "select 'in_use'::things.state"),
    make('weight', 'things.weight', 'select 1.50::things.weight'),
    make('bytes', 'bytea', "select '\\x00ff'::bytea"),
    make('json', 'jsonb', `select '{"a": [1, null]}'::jsonb`),
    make('none', 'text', 'select null::text'),
    make('empty', 'text', "select ''"),
    make('nothing', 'void', 'select null::void'),
    make('list', 'bigint[]', "select '{1,9007199254740993}'::bigint[]"),
    make('states', 'things.state[]', "select '{new,in_use}'::things.state[]"),
    make('empty_list', 'bigint[]', "select '{}'::bigint[]"),
    make('longs', 'setof bigint', 'select * from (values (2::bigint), (9007199254740993)) as v'),
    make('some_states', 'setof things.state', "select unnest('{worn_out,new}'::things.state[])"),
    make('no_longs', 'setof bigint', 'select 1::bigint where false'),
    make('box', 'things.boxes', 'select * from things.boxes where id = 1'),
    make('no_box', 'things.boxes', 'select * from things.boxes where false'),
    make('boxes', 'setof things.boxes', 'select * from things.boxes order by id desc'),
    make('one_box', 'setof things.boxes rows 1', 'select * from things.boxes where id = 2'),
    make('size', 'things.size', 'select row(1.5, 2)::things.size'),
    make('sizes', 'setof things.size', 'select * from (values (1.5, 2), (null, null)) as v (wide, high)'),
    make('pair', 'table (a bigint, b things.state)', "values (1::bigint, 'new'::things.state), (2, null)"),
  ].join('\n');
});
const more = `
create type things.size as (wide numeric, high integer);
insert into things.boxes values (1, 'one', null), (2, 'two', 'ann');
insert into things.things (id, box_id, "text", label) values (1, 1, 'first', 'x');
create function things.both(out a integer, out b text) language sql stable set search_path = '' as $$ select 1, 'x' $$;
create function things.sum(numbers integer[] default '{}', plus integer default 1) returns bigint
language sql stable set search_path = '' as $$ select coalesce((select sum(n) from unnest(numbers) as n), 0) + plus $$;
create function things.joined(variadic words text[]) returns text
language sql stable set search_path = '' as $$ select array_to_string(words, '-') $$;
create function things.greeting(thing things.things, greeting text default 'hello') returns text
language sql stable set search_path = '' as $$ select greeting || ' ' || thing."text" $$;
create function things.neighbours(thing things.things) returns setof things.things
language sql stable begin atomic select other.* from things.things as other where other.box_id = thing.box_id; end;
create function things.salt(passes integer) returns text language plpgsql stable set search_path = '' as $$
begin
  if passes is null then raise exception using errcode = 'PT409', message = 'How many passes?'; end if;
  return '$argon2id$v=19$m=8192,t=' || passes || ',p=1$c2FsdHNhbHRzYWx0c2FsdA';
end; $$;
comment on function things.salt is '@hide';
create function things.sealed(secret text, passes integer default null) returns text
language sql volatile set search_path = '' as $$ select secret $$;
comment on function things.sealed is '@argon2id secret salted by things.salt(passes)';
grant execute on function things.salt, things.sealed to anonymous;
create function things.box_named(name text) returns things.boxes
language sql stable set search_path = '' as $$ select * from things.boxes as box where box.name = box_named.name $$;
comment on function things.box_named is 'The box of a name.
@notNull
@name boxByName';
create function things.likes(box things.boxes) returns setof things.boxes language sql stable rows 1
begin atomic select other.* from things.boxes as other order by other.id; end;
create function things.names(box things.boxes) returns setof text language sql stable rows 1
begin atomic select other.name from things.boxes as other order by other.id; end;
create function things.first_box() returns setof things.boxes language sql volatile rows 1
begin atomic select box.* from things.boxes as box order by box.id; end;
create function things.first_name() returns setof text language sql volatile rows 1
begin atomic select box.name from things.boxes as box order by box.id; end;
create function things.is_null(given text) returns boolean language sql stable return given is null;
create function things.found(given text) returns boolean language sql volatile return given is null;
grant execute on function things.likes, things.names, things.first_box, things.first_name, things.is_null, things.found to anonymous;
create function things.hidden() returns integer language sql stable as $$ select 1 $$;
comment on function things.hidden is '@hide';
create view things.owners as select owner, count(*) as boxes, array_agg(id order by id) as ids from things.boxes where owner is not null group by owner;
comment on view things.owners is 'Who owns boxes.';
create table things."Odd ""table" (id integer primary key, "a ""b'c" text, "not" text);
create index on things."Odd ""table" ("a ""b'c");
comment on table things."Odd ""table" is '@name odd';
comment on column things."Odd ""table"."a ""b'c" is '@name quoted';
insert into things."Odd ""table" values (1, 'it''s', 'no');
grant select on things.owners, things."Odd ""table" to anonymous;
grant execute on function things.both, things.sum, things.joined, things.greeting, things.neighbours, things.box_named, things.hidden to anonymous;
`;
const schema = schemaWith('things') + more + kinds.join('\n');

const expected: [name: string, selection: string, value: unknown, payload?: string][] = [
  ['long', '', '9007199254740993'],
  ['state', '', 'IN_USE'],
  ['weight', '', '1.50'],
  ['bytes', '', 'AP8='],
  ['json', '', { a: [1, null] }],
  ['none', '', null],
  ['empty', '', ''],
  ['nothing', '', true, 'ok'],
  ['list', '', ['1', '9007199254740993']],
  ['states', '', ['NEW', 'IN_USE']],
  ['emptyList', '', []],
  ['longs', '', ['2', '9007199254740993']],
  ['someStates', '', ['WORN_OUT', 'NEW']],
  ['noLongs', '', []],
  ['box', '{ id name things { totalCount } }', { id: 1, name: 'one', things: { totalCount: 1 } }, 'box'],
  ['noBox', '{ id name }', null, 'box'],
  ['boxes', '{ id }', [{ id: 2 }, { id: 1 }], 'boxes'],
  ['oneBox', '{ id owner }', { id: 2, owner: 'ann' }, 'box'],
  ['size', '{ wide high }', { wide: '1.5', high: 2 }, 'size'],
  [
    'sizes',
    '{ wide high }',
    [
      { wide: '1.5', high: 2 },
      { wide: null, high: null },
    ],
    'sizes',
  ],
  [
    'pair',
    '{ a b }',
    [
      { a: '1', b: 'NEW' },
      { a: '2', b: null },
    ],
    'pairRows',
  ],
];

t.test('D9 functions', async (t) => {
  const { ask } = await openWorld(t, { schema });
  const data = async (query: string, variables?: object) => {
    const answer = await ask(query, variables);
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    return answer.data;
  };

  t.test('that read give each kind of result', async (t) => {
    for (const [name, selection, value] of expected) {
      const connection = name === 'boxes';
      const field = `${name}Stable`;
      const answer = await ask(`{ ${field} ${connection ? '{ nodes { id } }' : selection} }`);
      t.strictSame(answer, { data: { [field]: connection ? { nodes: value } : value } }, name);
    }
  });

  t.test('that write give each kind of result in a payload', async (t) => {
    for (const [name, selection, value, payload = 'result'] of expected) {
      const field = `${name}Volatile`;
      const called = payload.replace('pairRows', 'pairVolatileRows');
      const answer = await ask(`mutation { ${field} { ${called} ${selection} } }`);
      t.strictSame(answer, { data: { [field]: { [called]: value } } }, name);
    }
  });

  t.test('with out arguments give a row', async (t) => {
    t.same(await data('{ both { a b } }'), { both: { a: 1, b: 'x' } });
  });

  t.test('take what has a default or not', async (t) => {
    const query = 'query ($numbers: [Int!], $plus: Int) { sum(numbers: $numbers, plus: $plus) }';
    t.same(await data(query, { numbers: [1, 2], plus: 3 }), { sum: '6' });
    t.same(await data(query, { numbers: [1, 2] }), { sum: '4' });
    t.same(await data(query, { numbers: null, plus: null }), { sum: '1' }, 'null is as if left out');
    t.same(await data('{ sum }'), { sum: '1' });
    t.same(await data('{ joined(words: ["a", "b,c", "\\""]) }'), { joined: 'a-b,c-"' });
    t.match(await ask('{ joined }'), { errors: [{ extensions: { code: 'BAD_REQUEST' } }] });
  });

  t.test('that are to give one row give one, and do not double the row that asks', async (t) => {
    t.same(await data('{ boxes { nodes { id likes { id } names } } }'), {
      boxes: { nodes: [1, 2].map((id) => ({ id, likes: { id: 1 }, names: 'one' })) },
    });
    t.same(await data('mutation { firstBox { box { id } } firstName { result } }'), {
      firstBox: { box: { id: 1 } },
      firstName: { result: 'one' },
    });
  });

  t.test('are not called with null where there has to be a value', async (t) => {
    for (const document of [
      'query ($a: String = "x") { isNull(given: $a) }',
      'mutation ($a: String = "x") { found(input: { given: $a }) { result } }',
      'query ($a: Int = 1) { things(filter: { int4: { in: [$a] } }) { totalCount } }',
      'query ($a: Boolean = true) { boxes { totalCount @include(if: $a) } }',
    ]) {
      t.notOk((await ask(document)).errors, document);
      const given = await ask(document, { a: null });
      t.match(given, { errors: [{ message: /null/i }], data: undefined }, document);
    }
  });

  t.test('that write are answered in the order of the document', async (t) => {
    const given = await data('mutation { nothingVolatile { ok } name: __typename longVolatile { result } }');
    t.same(Object.keys(given), ['nothingVolatile', 'name', 'longVolatile']);
  });

  t.test('that write and give lists are counted like pages', async (t) => {
    const pages = 'things(first: 100) { nodes { id } }';
    t.match(await ask(`mutation { boxVolatile { box { ${pages} } } }`), { data: { boxVolatile: { box: {} } } });
    const asked = `mutation { boxesVolatile { boxes { ${pages} more: ${pages} third: ${pages} } } }`;
    t.match(await ask(asked), { errors: [{ extensions: { code: 'LIMIT_EXCEEDED' } }] });
  });

  t.test('of a row are fields of it', async (t) => {
    const query =
      '{ thing(id: "1") { greeting hi: greeting(greeting: "hi") neighbours { nodes { id } totalCount } boxOf { name } } }';
    t.same((await data(query)).thing, {
      greeting: 'hello first',
      hi: 'hi first',
      neighbours: { nodes: [{ id: '1' }], totalCount: 1 },
      boxOf: { name: 'one' },
    });
  });

  t.test('are called and documented as their comment says', async (t) => {
    t.same((await data('{ boxByName(name: "two") { id } }')).boxByName, { id: 2 });
    const { fields } = (await data('{ __type(name: "Query") { fields { name description type { kind } } } }')).__type;
    t.match(
      fields.find(({ name }: { name: string }) => name === 'boxByName'),
      { description: 'The box of a name.', type: { kind: 'NON_NULL' } },
    );
    t.notOk(fields.some(({ name }: { name: string }) => name === 'hidden' || name === 'boxNamed'));
  });
});

t.test('a function that salts gives what to hash like, or says why not; what was left out is null to it', async (t) => {
  const { ask } = await openWorld(t, { schema });
  const seal = 'mutation ($passes: Int) { sealed(input: { secret: "a long secret", passes: $passes }) { result } }';
  t.match(
    (await ask(seal, { passes: 3 })).data.sealed.result,
    /^\$argon2id\$v=19\$m=8192,t=3,p=1\$c2FsdHNhbHRzYWx0c2FsdA\$[A-Za-z0-9+/]{43}$/,
  );
  for (const document of [seal, 'mutation { sealed(input: { secret: "a long secret" }) { result } }']) {
    const { errors } = await ask(document);
    t.match(errors, [{ message: 'How many passes?', extensions: { code: 'CONFLICT' } }]);
  }
});

t.test('D9 views, and names that need quotes', async (t) => {
  const { ask } = await openWorld(t, { schema });
  t.same(await ask('{ owners(first: 1) { nodes { owner boxes ids } pageInfo { hasNextPage } totalCount } }'), {
    data: {
      owners: { nodes: [{ owner: 'ann', boxes: '1', ids: [2] }], pageInfo: { hasNextPage: false }, totalCount: 1 },
    },
  });
  t.same(
    await ask(
      '{ odd(id: 1) { quoted not } quotes: odds(orderBy: QUOTED_ASC) { edges { cursor } } odds(orderBy: ID_DESC, filter: { quoted: { ne: null } }) { edges { cursor node { quoted } } } }',
    ),
    {
      data: {
        odd: { quoted: "it's", not: 'no' },
        quotes: { edges: [{ cursor: Buffer.from(`["+a \\"b'c+id", "it's", "1"]`).toString('base64url') }] },
        odds: { edges: [{ cursor: Buffer.from('["-id", "1"]').toString('base64url'), node: { quoted: "it's" } }] },
      },
    },
  );
});
