import { buildClientSchema, getIntrospectionQuery } from 'graphql';
import t, { type Test } from 'tap';
import { openWorld, schemaWith } from '../world.ts';

const schema = schemaWith('things');

t.test('D14 what a client may ask of the schema itself is limited before it is answered', async (t) => {
  const { ask } = await openWorld(t, { schema, env: { MAX_ALIASES: '10' } });
  const refused = async (t: Test, query: string) => {
    const answer = await ask(query);
    t.match(answer, { errors: [{ extensions: { code: 'LIMIT_EXCEEDED' } }] }, query.slice(0, 60));
    t.notOk(answer.data);
  };

  t.test('introspection that goes in circles', async (t) => {
    const circles = (times: number): string => (times === 0 ? 'name' : `fields { type { ${circles(times - 1)} } }`);
    t.match(await ask(`{ __type(name: "Thing") { ${circles(1)} } }`), { data: { __type: { fields: [] } } });
    const answer = await ask(`{ __type(name: "Thing") { ${circles(4)} } }`);
    t.match(answer, { errors: [{ message: /introspection/i }] });
    await refused(t, `{ __schema { types { ${circles(2)} } } }`);
  });

  t.test('introspection that multiplies', async (t) => {
    const chain = (levels: number, of: string, spreads: string): string =>
      Array.from({ length: levels }, (_, n) =>
        `fragment F${n} on __Type { ${of} { ${spreads} } }`.replaceAll('@', `${n + 1}`),
      ).join('');
    const end = (levels: number, last = 'name'): string => `fragment F${levels} on __Type { ${last} }`;
    const all = '{ __schema { types { fields { type { ...F0 } } } } }';
    t.match(await ask(`${all} ${chain(5, 'ofType', '...F@')} ${end(5)}`), { data: { __schema: {} } });
    await refused(t, `${all} ${chain(12, 'a: ofType { ...F@ } ofType', '...F@')} ${end(12)}`);
    await refused(t, `${all} ${chain(12, 'ofType', '...F@ ...F@')} ${end(12)}`);
    await refused(t, `${all} ${chain(25, 'ofType', '...F@')} ${end(25)}`);
    const aliases = Array.from({ length: 11 }, (_, n) => `a${n}: name`).join(' ');
    await refused(t, `{ __schema { types { ${aliases} } } }`);
  });

  t.test('fields of one name, which are compared each with each', async (t) => {
    const same = (count: number): string => `{ thing(id: "1") { ${'box { id } '.repeat(count)} } }`;
    t.match(await ask(same(30)), { data: { thing: null } });
    await refused(t, same(150));
    await refused(
      t,
      `{ thing(id: "1") { ...A ...B } } ${['A', 'B'].map((name) => `fragment ${name} on Thing { ${'box { id } '.repeat(75)} }`).join(' ')}`,
    );
  });

  t.test('what is read beside introspection comes as it does alone', async (t) => {
    const asked = 'echo(state: IN_USE, states: [NEW]) { state states }';
    const { data } = await ask(`{ __schema { queryType { name } } ${asked} type: __type(name: "Nothing") { name } }`);
    t.same(Object.entries(data), [
      ['__schema', { queryType: { name: 'Query' } }],
      ['echo', { state: 'IN_USE', states: ['NEW'] }],
      ['type', null],
    ]);
    const byName = 'query ($name: String = "Thing") { __type(name: $name) { name } }';
    t.same(await ask(byName), { data: { __type: { name: 'Thing' } } });
    t.same(await ask(byName, { name: 'Box' }), { data: { __type: { name: 'Box' } } });
    t.match(await ask(byName, { name: null }), { errors: [{ message: /null/ }] });
  });

  t.test('introspection as tools ask for it', async (t) => {
    const options = {
      specifiedByUrl: true,
      directiveIsRepeatable: true,
      schemaDescription: true,
      inputValueDeprecation: true,
      oneOf: true,
    };
    for (const query of [getIntrospectionQuery(), getIntrospectionQuery(options)]) {
      const { data } = await ask(query);
      t.ok(buildClientSchema(data).getType('Thing'));
    }
  });
});
