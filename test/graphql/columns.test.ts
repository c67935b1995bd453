import { readFileSync } from 'node:fs';
import t from 'tap';
import { openWorld, schemaFile } from '../world.ts';

// A member may read some columns of a user, an operator all; where the user comes from makes no difference.
const schema = `${readFileSync(schemaFile, 'utf8')}
revoke select on identity.users from member;
grant select (id, username, display_name, removed_at) on identity.users to member;
grant select on identity.users to operator;
create function identity.greeting(person identity.users) returns text
  language sql stable security definer set search_path = '' return person.username || ', ' || coalesce(person.bio, 'null');
grant execute on function identity.greeting to member;
create index users_bio_idx on identity.users (bio);
`;
const { ask, owner, person } = await openWorld(t, { schema });
const [alice, bob] = [await person('alice'), await person('bob')];
const { channel } = (
  await ask(
    'mutation ($input: OpenDirectInput!) { openDirect(input: $input) { channel { id } } }',
    { input: { userId: bob.id } },
    alice.token,
  )
).data.openDirect;
await owner.query("update identity.users set bio = 'secret'");

const paths: Record<string, (fields: string) => string> = {
  'the table': (fields) => `{ users { nodes { ${fields} } } }`,
  'a function that gives one': (fields) => `{ me { ${fields} } }`,
  'a function that gives a page': (fields) => `{ searchUsers(query: "bob") { nodes { ${fields} } } }`,
  'the edges of a page': (fields) => `{ searchUsers(query: "bob") { edges { node { ${fields} } } } }`,
  'a computed field': (fields) => `{ myChannels { nodes { otherUser { ${fields} } } } }`,
  'a relation of a relation': (fields) =>
    `{ channel(id: "${channel.id}") { members { nodes { user { ${fields} } } } } }`,
  'a mutation': (fields) => `mutation { updateProfile(input: { location: "here" }) { user { ${fields} } } }`,
};

for (const [name, query] of Object.entries(paths)) {
  t.test(`a column that was not granted is not read by ${name}`, async (t) => {
    t.match(await ask(query('id username'), {}, alice.token), { errors: undefined });
    const refused = await ask(query('id username avatarUrl'), {}, alice.token);
    t.match(refused, { errors: [{ extensions: { code: 'FORBIDDEN' } }] });
    const { rows } = await owner.query('select location from identity.users where location is not null');
    t.equal(rows.length, query('id').startsWith('mutation') ? 1 : 0, 'and nothing is done for it');
    await owner.query('update identity.users set location = null');
  });
}

t.test('nor found by, nor ordered by, where a function gives the rows', async (t) => {
  for (const argument of [
    'filter: { bio: { startsWith: "s" } }',
    'filter: { not: { or: [{ bio: { eq: "secret" } }] } }',
    'orderBy: BIO_ASC',
  ]) {
    const answer = await ask(`{ searchUsers(query: "bob", ${argument}) { nodes { id } } }`, {}, alice.token);
    t.match(answer, { errors: [{ extensions: { code: 'FORBIDDEN' } }] }, argument);
  }
  const answer = await ask(
    '{ searchUsers(query: "bob", filter: { id: { isNull: false } }, orderBy: ID_DESC) { nodes { username } } }',
    {},
    alice.token,
  );
  t.equal(answer.errors?.[0]?.message, undefined);
});

t.test('who was granted it reads it', async (t) => {
  const root = await person('root', { operator: true });
  const { data } = await ask('{ searchUsers(query: "bob", orderBy: BIO_ASC) { nodes { bio } } }', {}, root.token);
  t.same(data.searchUsers.nodes, [{ bio: 'secret' }]);
});

t.test('a computed field gets the row with null in what was not granted to the caller', async (t) => {
  t.same((await ask('{ users(first: 1, orderBy: ID_ASC) { nodes { greeting } } }', {}, alice.token)).data, {
    users: { nodes: [{ greeting: 'alice, null' }] },
  });
});

t.test('who reads nothing of a table gets what a function gives: to sign in is to be handed the user', async (t) => {
  const { id } = (
    await ask('mutation { requestCode(input: { phone: "+77011234567", displayName: "Carol" }) { codeRequest { id } } }')
  ).data.requestCode.codeRequest;
  await owner.query("update identity.codes set hash = sha256(convert_to(salt || '123456', 'UTF8'))");
  const { data } = await ask(
    'mutation ($input: VerifyCodeInput!) { verifyCode(input: $input) { sessionTokens { user { displayName bio } } } }',
    { input: { requestId: id, code: '123456' } },
  );
  t.same(data.verifyCode.sessionTokens.user, { displayName: 'Carol', bio: null });
});
