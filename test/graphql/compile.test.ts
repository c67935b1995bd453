import t from 'tap';
import { openWorld, schemaWith } from '../world.ts';

const schema = schemaWith('things');
const rows = `
insert into things.boxes values (1, 'one', 'ann'), (2, 'two', null);
insert into things.things (id, box_id, "int4", "text") select n, n % 2 + 1, n, 'thing ' || n from generate_series(1, 6) as n`;

t.test('D9 an operation means what GraphQL says, and is one statement', async (t) => {
  const { ask, owner, person, proxy, server } = await openWorld(t, { schema });
  await owner.query(rows);
  const data = async (query: string, variables?: object) => {
    const answer = await ask(query, variables);
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    return answer.data;
  };

  t.test('fields come in the order asked, under the names asked, once', async (t) => {
    const query = `
      query ($id: BigInt!) { b: thing(id: $id) { text ...Parts a: id } thing(id: "1") { ... on Thing { id } ...Parts } }
      fragment Parts on Thing { int4 text ...Box } fragment Box on Thing { box { name } box { id ...Name } }
      fragment Name on Box { owner }`;
    t.equal(
      JSON.stringify(await data(query, { id: '2' })).replaceAll(/\s/g, ''),
      '{"b":{"text":"thing2","int4":2,"box":{"name":"one","id":1,"owner":"ann"},"a":"2"},' +
        '"thing":{"id":"1","int4":1,"text":"thing1","box":{"name":"two","id":2,"owner":null}}}',
    );
  });

  t.test('one field twice with different arguments is two answers', async (t) => {
    const query = `{ box(id: 1) {
      first: things(first: 1, orderBy: ID_ASC) { nodes { id } } last: things(first: 1, orderBy: ID_DESC) { nodes { id } totalCount }
    } }`;
    t.same((await data(query)).box, { first: { nodes: [{ id: '2' }] }, last: { nodes: [{ id: '6' }], totalCount: 3 } });
    const clash = await ask('{ thing(id: "1") { id } thing(id: "2") { id } }');
    t.match(clash.errors, [{ message: /conflict/ }], 'under one name they conflict');
  });

  t.test(
    '@include and @skip, on fields and fragments, by variables and not, in one document again and again',
    async (t) => {
      const query = `query ($yes: Boolean!, $no: Boolean = false) { thing(id: "1") {
      id @include(if: $yes) text @skip(if: $yes) int4 @include(if: $no)
      ... @include(if: $yes) { box { id } } ...Box @skip(if: $yes)
      state @include(if: false) always: id @skip(if: false)
    } } fragment Box on Thing { box { name } }`;
      t.same((await data(query, { yes: true })).thing, { id: '1', box: { id: 2 }, always: '1' });
      t.same((await data(query, { yes: false })).thing, { text: 'thing 1', box: { name: 'two' }, always: '1' });
      t.same((await data(query, { yes: true, no: true })).thing, { id: '1', int4: 1, box: { id: 2 }, always: '1' });
      t.same(await data('query { thing(id: "1") @skip(if: true) { id } }'), {}, 'of nothing left');
    },
  );

  t.test('__typename is known everywhere', async (t) => {
    const query = `{ __typename boxes(first: 1) { __typename edges { __typename node { __typename things(first: 1) { nodes { __typename } } } }
      pageInfo { __typename } } thing(id: "1") { boxOf { type: __typename } } }`;
    t.same(await data(query), {
      __typename: 'Query',
      boxes: {
        __typename: 'BoxConnection',
        edges: [{ __typename: 'BoxEdge', node: { __typename: 'Box', things: { nodes: [{ __typename: 'Thing' }] } } }],
        pageInfo: { __typename: 'PageInfo' },
      },
      thing: { boxOf: { type: 'Box' } },
    });
    const mutation =
      'mutation { __typename addThing(input: { thing: { text: "new" } }) { __typename thing { __typename text } } }';
    t.same(await data(mutation), {
      __typename: 'Mutation',
      addThing: { __typename: 'AddThingPayload', thing: { __typename: 'Thing', text: 'new' } },
    });
  });

  t.test('an object may have more fields than a function of Postgres has arguments', async (t) => {
    const { fields } = (
      await data('{ __type(name: "Thing") { fields { name args { name } type { kind ofType { kind } } } } }')
    ).__type;
    const plain = fields
      .filter(
        ({ type }: { type: { kind: string; ofType?: { kind: string } } }) => (type.ofType ?? type).kind === 'SCALAR',
      )
      .map(({ name }: { name: string }) => name);
    const spread = plain.map((name: string) => `${name} x_${name}: ${name}`).slice(0, 29);
    const { thing } = await data(`{ thing(id: "1") { ${spread.join(' ')} } }`);
    t.ok(Object.keys(thing).length > 50);
    t.same(
      Object.keys(thing).filter((name) => name.startsWith('x_') && thing[name] !== thing[name.slice(2)]),
      [],
    );
    t.equal(thing.x_text, 'thing 1');
  });

  t.test('connections nest', async (t) => {
    const query = `{ boxes(orderBy: ID_ASC) { nodes { id things(first: 2, orderBy: ID_ASC) { totalCount pageInfo { hasNextPage }
      edges { node { id box { things(last: 1, orderBy: ID_ASC) { nodes { id } } } } } } } } }`;
    t.same((await data(query)).boxes.nodes[0], {
      id: 1,
      things: {
        totalCount: 3,
        pageInfo: { hasNextPage: true },
        edges: ['2', '4'].map((id) => ({ node: { id, box: { things: { nodes: [{ id: '6' }] } } } })),
      },
    });
  });

  t.test('the schema may be asked beside the data', async (t) => {
    const query =
      'query ($id: BigInt!) { __type(name: "Box") { name } one: thing(id: $id) { text __typename } __schema { queryType { name } } boxes { totalCount } }';
    t.same(await data(query, { id: '1' }), {
      __type: { name: 'Box' },
      one: { text: 'thing 1', __typename: 'Thing' },
      __schema: { queryType: { name: 'Query' } },
      boxes: { totalCount: 2 },
    });
  });

  t.test('an operation is chosen by its name', async (t) => {
    const query = 'query A { thing(id: "1") { id } } query B { box(id: 1) { id } }';
    t.match((await ask(query)).errors, [{ message: /operationName/, extensions: { code: 'BAD_REQUEST' } }]);
  });

  t.test('what is not there is null, and the rest is there', async (t) => {
    t.same(await data('{ none: thing(id: "-1") { id box { id } } thing(id: "1") { state weights } }'), {
      none: null,
      thing: { state: null, weights: null },
    });
  });

  t.test(
    'one statement a query, two a field of a mutation, each with one for the role, in one round trip',
    async (t) => {
      const deep =
        '{ boxes { nodes { things { nodes { box { name } boxOf { id } } totalCount } } } heaviest { nodes { id } } a: thing(id: "1") { id } }';
      const add = (name: string): string =>
        `${name}: addThing(input: { thing: { text: "x" } }) { thing { id box { things { nodes { id } } } } }`;
      const plain = 'addThing(input: { thing: { text: "x" } }) { thing { id } }';
      for (const [query, executes, syncs] of [
        [deep, 2, 1],
        [`mutation { ${plain} }`, 3, 1],
        // A selection that reads more than was returned is tried on nothing first.
        [`mutation { ${add('a')} }`, 4, 1],
        [`mutation { ${add('a')} ${add('b')} }`, 8, 2],
      ] as const) {
        for (const known of [0, 1]) {
          proxy.counted();
          await data(query);
          const { P: parses = 0, E, S, Q = 0 } = proxy.counted();
          t.same({ E, S, Q }, { E: executes, S: syncs, Q: 0 }, query);
          if (known) t.equal(parses, 0, 'and is prepared once');
        }
      }
    },
  );

  t.test('each field of a mutation is a transaction of its own, in the order of the document', async (t) => {
    const count = async () => (await data('{ things { totalCount } }')).things.totalCount;
    const before = await count();
    const mutation =
      'mutation { a: addThing(input: { thing: { text: "kept?" } }) { thing { id } } b: addThing(input: { thing: { int2: "no" } }) { thing { id } } }';
    t.match(await ask(mutation), {
      data: { a: { thing: {} }, b: null },
      errors: [{ path: ['b'], extensions: { code: 'BAD_USER_INPUT' } }],
    });
    t.equal(await count(), before + 1);
  });

  t.test(
    'T4 C16 a page of a channel reads the partitions one after another, by index, and stops when it is full',
    async (t) => {
      await owner.query('select operations.ensure_partitions($1)', [new Date(Date.now() - 60 * 86_400_000)]);
      const batch = Array.from({ length: 300 }, (_, n) => ({
        ...{
          room_id: 'r',
          room: 'Room',
          user_id: 'u',
          username: 'writer',
          message_id: String(n),
          text: `message ${n}`,
        },
        sent_at: new Date(Date.now() - (300 - n) * 4 * 3_600_000).toISOString(),
      }));
      await owner.query("select chat.import_messages('test', $1)", [JSON.stringify(batch)]);
      await owner.query('analyze');
      const [{ id }] = (await owner.query("select id from chat.channels where name = 'Room'")).rows;

      // As an operator sees it, on the way that the server takes.
      const operator = await person('operator', { operator: true });
      const response = await fetch(`${server.url}graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${operator.token}` },
        body: JSON.stringify({
          query:
            'query ($id: UUID!) { channel(id: $id) { messages(first: 20) { nodes { text sender { username } } } } }',
          variables: { id },
          extensions: { explain: true },
        }),
      });
      const { data, extensions } = await response.json();
      t.equal(data.channel.messages.nodes.length, 20);
      const limit = nodes(extensions.explanation[0].plan[0].Plan).find(
        (node) => node['Node Type'] === 'Limit' && node.Plans?.[0]?.['Node Type'] === 'Append',
      );
      const months = (limit?.Plans?.[0]?.Plans ?? []).filter((node) => node['Parent Relationship'] === 'Member');
      t.ok(months.length >= 5, 'the limit stands right above the partitions: nothing is sorted');
      t.same(new Set(months.map((node) => node['Node Type'])), new Set(['Index Scan']));
      const names = months.map((node) => node['Relation Name']);
      t.same(names, names.toSorted().reverse(), 'the newest first');
    },
  );
});

type Node = { [name: string]: unknown; 'Node Type': string; Plans?: Node[] };
function nodes(node: Node): Node[] {
  return [node, ...(node.Plans ?? []).flatMap(nodes)];
}
