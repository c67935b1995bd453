import t from 'tap';
import { openWorld } from '../world.ts';

const { ask, owner, person } = await openWorld(t);
const ann = await person('searcher');
const search = async (query: string): Promise<string[]> => {
  const answer = await ask(
    'query ($query: String!) { searchUsers(query: $query, first: 50) { nodes { username } } }',
    { query },
    ann.token,
  );
  if (answer.errors) throw new Error(answer.errors[0]?.message);
  return answer.data.searchUsers.nodes.map(({ username }: { username: string }) => username);
};
await owner.query(`insert into identity.users (username, display_name, last_seen_at, removed_at) values
  ('ivanov', 'Иван Иванов', now() - interval '3 days', null),
  ('petrova_m', 'Мария Петрова', now() - interval '1 day', null),
  ('rybakov', 'Рыбаков Пётр', null, null),
  ('JohnSmith', 'John Smith', now() - interval '5 days', null),
  ('smithy', 'Smithy Jones', now(), null),
  ('blacksmith', 'Old Forge', now() - interval '2 days', null),
  ('smith', 'Zed', now() - interval '9 days', null),
  ('booklover', 'Любитель книг', null, null),
  ('percent', '100% Real_Name', null, null),
  ('gone-smith', 'Gone Smith', now(), now())`);

t.test('T6 users are found by name and username, in any case, by parts of words', async (t) => {
  for (const [query, username] of [
    ['иванов', 'ivanov'],
    ['ИВАН', 'ivanov'],
    ['ванов', 'ivanov'],
    ['IVAN', 'ivanov'],
    ['мари', 'petrova_m'],
    ['petrova', 'petrova_m'],
    ['  Петрова  ', 'petrova_m'],
    ['hnsm', 'JohnSmith'],
    ['john smith', 'JohnSmith'],
  ] as const) {
    t.ok((await search(query)).includes(username), query);
  }
});

t.test('T6 words of Russian names are found in other forms', async (t) => {
  for (const query of ['книги', 'книга', 'книгами', 'любители'])
    t.ok((await search(query)).includes('booklover'), query);
  t.ok((await search('Рыбакова')).includes('rybakov'));
});

t.test('T6 typos are forgiven', async (t) => {
  for (const [query, username] of [
    ['ivanoff', 'ivanov'],
    ['petrva', 'petrova_m'],
    ['Рыбоков', 'rybakov'],
    ['jonh smith', 'JohnSmith'],
  ] as const) {
    t.ok((await search(query)).includes(username), query);
  }
  t.notOk((await search('zzzzqqqq')).length, 'not everything is a typo of something');
});

t.test('T6 the best match first, then who was seen last; removed accounts never', async (t) => {
  const found = await search('smith');
  t.equal(found[0], 'smith', 'the very name');
  t.ok(
    found.indexOf('JohnSmith') > 0 && found.indexOf('blacksmith') > found.indexOf('JohnSmith'),
    'a whole word before a part',
  );
  t.notOk(found.includes('gone-smith'));
  await owner.query(
    "insert into identity.users (username, display_name, last_seen_at) values ('twin-a', 'Twin Same', now() - interval '2 days'), ('twin-b', 'Twin Same', now()), ('twin-c', 'Twin Same', null)",
  );
  t.strictSame(await search('twin same'), ['twin-b', 'twin-a', 'twin-c']);
  const hide = (to: string) =>
    owner.query(
      `insert into presence.visibilities (user_id, visible_to) select id, $1 from identity.users where username = 'twin-b'
      on conflict (user_id) do update set visible_to = excluded.visible_to`,
      [to],
    );
  await hide('contacts');
  t.equal((await search('twin same'))[0], 'twin-a', 'by what they show');
  await hide('everyone');
  t.equal((await search('twin same'))[0], 'twin-b');
});

t.test('T6 signs of patterns and queries are only signs', async (t) => {
  t.strictSame(await search('100%'), ['percent']);
  t.strictSame(await search('l_n'), ['percent']);
  for (const query of [
    '%%',
    '__',
    '\\\\',
    "''",
    "' or true --",
    '<->',
    '&&',
    '((',
    'x'.repeat(3000),
    '\u{1F600}\u{1F600}',
  ]) {
    t.ok((await search(query)).length < 3, JSON.stringify(query).slice(0, 20));
  }
  t.strictSame(await search(''), []);
  t.strictSame(await search('i'), [], 'one letter finds nobody');
});
