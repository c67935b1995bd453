import t from 'tap';
import { openWorld } from '../world.ts';

t.test('operators see the SQL and the plan of an operation', async (t) => {
  const { owner, server, person } = await openWorld(t);
  const [olga, alice] = [await person('olga', { operator: true }), await person('alice')];
  const explained = async (token: string, query: string) => {
    const response = await fetch(`${server.url}graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query, extensions: { explain: true } }),
    });
    return (await response.json()) as {
      data: unknown;
      extensions?: { explanation: { sql: string; plan?: unknown[] }[] };
    };
  };

  await t.test('a query with its plan, beside its answer', async (t) => {
    const { data, extensions } = await explained(olga.token, '{ me { username } }');
    t.same(data, { me: { username: 'olga' } });
    t.match(extensions?.explanation, [{ sql: /identity"\."me"\(\)/, plan: [{ Plan: {} }] }]);
  });
  await t.test('a mutation with the two statements of each field', async (t) => {
    const { extensions } = await explained(
      olga.token,
      'mutation { createRoom(input: { name: "R" }) { channel { id } } }',
    );
    t.match(extensions?.explanation, [{ sql: /create_room/ }, { sql: /plinth\.result/ }]);
  });
  await t.test('nobody else does', async (t) => {
    const { data, extensions } = await explained(alice.token, '{ me { username } }');
    t.same({ data, extensions }, { data: { me: { username: 'alice' } }, extensions: undefined });
  });
  await t.test('an error, as it is without', async (t) => {
    await owner.query('revoke select on chat.messages from member');
    const answer = await explained(olga.token, '{ messages(first: 1) { nodes { id } } }');
    t.match(answer, { data: null, errors: [{ extensions: { code: 'FORBIDDEN' } }], extensions: undefined });
  });
});

t.test('C15 the address that tries are limited by is the client’s, not the proxy’s', async (t) => {
  const { server, owner } = await openWorld(t, { env: { TRUSTED_PROXIES: '1' } });
  const asked = 'mutation { requestCode(input: { phone: "+77010000001" }) { codeRequest { recipient } } }';
  await fetch(`${server.url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': '10.0.0.1, 192.0.2.7' },
    body: JSON.stringify({ query: asked }),
  });
  const { rows } = await owner.query("select subject from identity.attempts where subject like 'code:address:%'");
  t.same(rows, [{ subject: 'code:address:192.0.2.7' }], 'what the client itself claims before it is not believed');
});
