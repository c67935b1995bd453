import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../events/listen.ts';
import { openWorld, schemaWith, type World } from '../world.ts';

const schema = schemaWith('things', 'sleep');
const code = (wanted: string) => ({ errors: [{ extensions: { code: wanted } }] });

/** Sends a request as a client might, and gives its status with its answer. */
async function post({ server }: World, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, answer: await response.json() };
}

t.test('D14 what a client may ask for is limited before anything runs', async (t) => {
  const env = {
    MAX_QUERY_BYTES: '2000',
    MAX_TOKENS: '300',
    MAX_DEPTH: '8',
    MAX_ALIASES: '10',
    MAX_COST: '1000',
    MAX_PAGE: '50',
  };
  const world = await openWorld(t, { schema, env });
  const { ask, proxy } = world;
  const refused = async (t: Test, query: string, variables?: object) => {
    proxy.counted();
    const answer = await ask(query, variables);
    t.match(answer, code('LIMIT_EXCEEDED'), query.slice(0, 60));
    t.notOk(answer.data);
    t.same(proxy.counted(), {}, 'Postgres is not asked');
  };

  t.test('the size of a document and its tokens', async (t) => {
    await refused(t, `{ boxes { totalCount } } # ${'long '.repeat(400)}`);
    t.match(await ask(`{ ${'__typename '.repeat(150)} }`), { data: {} });
    const many = await ask(`{ ${'__typename '.repeat(400)}`.slice(0, 2000));
    t.match(many, code('BAD_REQUEST'));
  });

  t.test('depth, through fragments too', async (t) => {
    const nest = (levels: number): string => (levels === 0 ? 'id' : `box { things { nodes { ${nest(levels - 1)} } } }`);
    t.match(await ask('{ thing(id: "1") { box { things { nodes { box { id } } } } } }'), { data: { thing: null } });
    await refused(t, `{ thing(id: "1") { ${nest(3)} } }`);
    await refused(
      t,
      `query { ...A } fragment A on Query { thing(id: "1") { ...B } } fragment B on Thing { ${nest(3)} }`,
    );
  });

  t.test('filters: their depth, and how many conditions they have', async (t) => {
    const query = 'query ($filter: ThingFilter) { things(filter: $filter) { nodes { id } } }';
    const through = (levels: number): object =>
      levels === 0 ? {} : { box: { things: { some: through(levels - 1) } } };
    const either = (count: number): object => ({ or: Array.from({ length: count }, () => ({ text: { eq: 'x' } })) });
    const related = (count: number): object => ({
      and: Array.from({ length: count }, () => ({ box: { owner: { eq: 'x' } } })),
    });
    for (const filter of [through(3), either(300), related(18)])
      t.match(await ask(query, { filter }), { data: { things: { nodes: [] } } });
    for (const filter of [through(4), either(301), related(21)]) await refused(t, query, { filter });
  });

  t.test('variables: how deep they nest, of use or not', async (t) => {
    const nested = (levels: number): object => (levels === 1 ? {} : { inner: nested(levels - 1) });
    await refused(t, '{ boxes { totalCount } }', nested(101));
    await refused(t, 'query ($filter: BoxFilter) { boxes(filter: $filter) { totalCount } }', { filter: nested(1000) });
    t.match(await ask('{ boxes { totalCount } }', nested(100)), { data: {} });
    const deep = `{"query": "{ __typename }", "variables": {"list": ${'['.repeat(100_000)}${']'.repeat(100_000)}}}`;
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${world.server.url}graphql`, { method: 'POST', headers, body: deep });
    t.match(await response.json(), code('LIMIT_EXCEEDED'));
  });

  t.test('aliases, through fragments too', async (t) => {
    const aliases = (count: number): string => Array.from({ length: count }, (_, n) => `a${n}: __typename`).join(' ');
    t.match(await ask(`{ ${aliases(10)} }`), { data: { a9: 'Query' } });
    await refused(t, `{ ${aliases(11)} }`);
    await refused(
      t,
      `{ boxes { ...F nodes { ...B } } } fragment F on BoxConnection { ${aliases(6)} } fragment B on Box { ${aliases(6)} }`,
    );
  });

  t.test('cost: the rows that nested pages may come to', async (t) => {
    const pages =
      'query ($outer: Int!, $inner: Int!) { boxes(first: $outer) { nodes { things(first: $inner) { nodes { id } } } } }';
    t.match(await ask(pages, { outer: 30, inner: 30 }), { data: { boxes: { nodes: [] } } });
    await refused(t, pages, { outer: 40, inner: 40 });
    await refused(t, '{ boxes(first: 50) { nodes { things { nodes { box { id } } } } } }');
  });

  t.test('the size of a page', async (t) => {
    t.match(await ask('{ boxes(first: 50) { nodes { id } } }'), { data: {} });
    t.match(await ask('{ boxes(first: 51) { nodes { id } } }'), code('BAD_USER_INPUT'));
    t.match(await ask('query ($n: Int) { boxes(last: $n) { nodes { id } } }', { n: 51 }), code('BAD_USER_INPUT'));
  });

  t.test('fragments that multiply', async (t) => {
    const double = (n: number): string => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`;
    const doubling = Array.from({ length: 28 }, (_, n) => double(n)).join(' ');
    t.match(await ask(`{ ...F0 } ${doubling} fragment F28 on Query { __typename }`), { data: { __typename: 'Query' } });
    t.match(await ask('{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }'), code('BAD_REQUEST'));
  });

  t.test('one operation a request: a batch is refused', async (t) => {
    const batch = await post(world, [{ query: '{ __typename }' }, { query: '{ __typename }' }]);
    t.equal(batch.status, 400);
    t.ok(batch.answer.errors);
  });

  t.test('the time that a role may take', async (t) => {
    const [quick, slow] = [await ask('{ sleep(seconds: 0) }'), await ask('{ sleep(seconds: 60) }')];
    t.match(quick, { data: { sleep: true } });
    t.match(slow, {
      data: null,
      errors: [{ message: "It took longer than the caller's role allows.", extensions: { code: 'TIMEOUT' } }],
    });
  });

  t.test('a client that goes away takes its statement with it', async (t) => {
    const sleeping = async (): Promise<number> => {
      const { rows } = await world.owner.query(
        "select from pg_stat_activity where state = 'active' and query like '%sleep%' and pid <> pg_backend_pid() and datname = current_database()",
      );
      return rows.length;
    };
    // A service may take ten minutes: what it asks for does not end by itself while anybody looks.
    const token = await world.service();
    await world.owner.query(
      'grant usage on schema things to service; grant execute on function things.sleep to service',
    );
    await until(async () => (await ask('{ sleep(seconds: 0) }', {}, token)).data?.sleep === true, 'That it may');
    const gone = new AbortController();
    const request = fetch(`${world.server.url}graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: '{ sleep(seconds: 180) }' }),
      signal: gone.signal,
    });
    let hasEnded = false;
    request.catch(() => {}).finally(() => (hasEnded = true));
    await until(async () => {
      if (hasEnded) throw new Error('It has ended.');
      return (await sleeping()) === 1;
    }, 'That it runs');
    gone.abort();
    await t.rejects(request);
    await until(async () => (await sleeping()) === 0, 'That it is cancelled');
    t.match(await ask('{ sleep(seconds: 0) }'), { data: { sleep: true } }, 'and nobody else is');
  });
});

t.test('D14 an answer of more bytes than are allowed is not even sent here by Postgres', async (t) => {
  const world = await openWorld(t, { schema, env: { MAX_ANSWER_BYTES: '20000' } });
  const add = `mutation ($text: String!) { addThing(input: { thing: { text: $text } }) { thing { id text } } }`;
  const aliases = (count: number) => Array.from({ length: count }, (_, n) => `t${n}: text`).join(' ');
  // Of two bytes each.
  const text = 'ж'.repeat(4000);
  t.match(await world.ask(add, { text }), { data: { addThing: { thing: { text } } } });
  const query = (count: number) => `{ things(first: 10) { nodes { ${aliases(count)} } } }`;
  t.match(await world.ask(query(2)), { data: { things: { nodes: [{ t1: text }] } } });
  t.match(await world.ask(query(3)), {
    data: null,
    errors: [
      { message: 'The answer is larger than 20000 bytes.', extensions: { code: 'LIMIT_EXCEEDED', hint: /pages/ } },
    ],
  });
  t.match(
    await world.ask(add, { text: 'x'.repeat(30_000) }),
    {
      data: { addThing: null },
      errors: [{ path: ['addThing'], extensions: { code: 'LIMIT_EXCEEDED', hint: /is done/ } }],
    },
    'a mutation is done all the same, and says so',
  );
  t.match(await world.ask('{ things { totalCount } }'), { data: { things: { totalCount: 2 } } });
});

t.test('D14 what an installation may close', async (t) => {
  const known = '{ boxes { totalCount } }';
  const hash = createHash('sha256').update(known).digest('hex');
  const file = path.join(t.testdir(), 'documents.json');
  writeFileSync(file, JSON.stringify({ [hash]: known }));
  const world = await openWorld(t, {
    schema,
    env: { TRUSTED_DOCUMENTS: file, TRUSTED_DOCUMENTS_ONLY: 'true', MAX_BODY_BYTES: '10000' },
  });
  const { server } = world;
  const found = { status: 200, answer: { data: { boxes: { totalCount: 0 } } } };

  t.test('trusted documents are named by their hash, or sent as they are', async (t) => {
    t.match(await post(world, { documentId: `sha256:${hash}` }), found);
    t.match(await post(world, { documentId: hash }), found);
    t.match(
      await post(world, { extensions: { persistedQuery: { version: 1, sha256Hash: hash } } }),
      found,
      'as Apollo names them',
    );
    t.match(await post(world, { query: known }), found);
    const extensions = encodeURIComponent(JSON.stringify({ persistedQuery: { version: 1, sha256Hash: hash } }));
    for (const named of [`extensions=${extensions}`, `documentId=sha256:${hash}`]) {
      const got = await fetch(`${server.url}graphql?${named}`, { headers: { accept: 'application/json' } });
      t.match(await got.json(), found.answer, `by GET, ${named.slice(0, 10)}`);
    }
  });

  t.test('other documents are refused', async (t) => {
    t.match((await post(world, { query: '{ __typename }' })).answer, code('FORBIDDEN'));
    t.match((await post(world, { query: `${known} ` })).answer, code('FORBIDDEN'), 'to the letter');
    t.match((await post(world, { documentId: 'sha256:0' })).answer, code('PERSISTED_QUERY_NOT_FOUND'));
    const text = encodeURIComponent('{ __typename }');
    t.match(
      await (await fetch(`${server.url}graphql?query=${text}`, { headers: { accept: 'application/json' } })).json(),
      code('FORBIDDEN'),
      'by GET',
    );
  });

  t.test('the size of a body', async (t) => {
    const large = await post(world, { query: '{ __typename }', variables: { x: 'x'.repeat(10_000) } });
    t.match(large, { status: 413, answer: code('LIMIT_EXCEEDED') });
  });

  t.test('introspection and GraphiQL', async (t) => {
    const open = await openWorld(t, { schema, env: { INTROSPECTION: 'false', GRAPHIQL: 'false' } });
    t.match(await open.ask('{ __schema { queryType { name } } }'), {
      errors: [{ message: /introspection/i, extensions: { code: 'BAD_REQUEST' } }],
    });
    t.match(await open.ask('{ __type(name: "Box") { name } }'), { errors: [{}] });
    t.match(await open.ask('{ __typename }'), { data: { __typename: 'Query' } }, 'the name of a type is no secret');
    for (const query of ['{ boxs { id } }', '{ box(idd: 1) { id } }', 'query ($x: Bx) { box(id: $x) { id } }'])
      t.notMatch(
        JSON.stringify((await open.ask(query)).errors),
        /did you mean/i,
        'and what is like a name is not told',
      );
    const filter = 'query ($filter: BoxFilter) { boxes(filter: $filter) { totalCount } }';
    const { errors } = await open.ask(filter, { filter: { nam: {} } });
    t.match(errors, [{ message: /unknown field "nam"(?!.*did you mean)/i }], 'in variables');
    const page = await fetch(`${open.server.url}graphql`, { headers: { accept: 'text/html' } });
    t.notMatch(await page.text(), /graphiql/i);
  });
});
