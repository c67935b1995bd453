import t from 'tap';
import { openWorld } from '../world.ts';

const { ask, owner, person } = await openWorld(t);
const [ann, bob] = [await person('ann'), await person('bob')];
const createRoom = async (by: { token: string }, input: object): Promise<string> =>
  (
    await ask(
      'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id } } }',
      { input },
      by.token,
    )
  ).data.createRoom.channel.id;
const send = async (channelId: string, text: string, by = ann): Promise<string> =>
  (
    await ask(
      'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }',
      { input: { channelId, text } },
      by.token,
    )
  ).data.sendMessage.message.id;
const search = async (query: string, by = ann, channelId?: string): Promise<string[]> => {
  const answer = await ask(
    'query ($query: String!, $channelId: UUID) { searchMessages(query: $query, channelId: $channelId, first: 50) { nodes { text } } }',
    { query, ...(channelId && { channelId }) },
    by.token,
  );
  if (answer.errors) throw new Error(answer.errors[0]?.message);
  return answer.data.searchMessages.nodes.map(({ text }: { text: string }) => text);
};
const room = await createRoom(ann, { name: 'Babel', isPublic: true });

const languages: [language: string, text: string, queries: string[]][] = [
  [
    'russian',
    'Вчера мы купили новые книги для школьной библиотеки',
    ['книга', 'КНИГАМИ', 'новая книга', 'библиотек', 'школ'],
  ],
  [
    'english',
    'They were running the older servers with a new configuration',
    ['run', 'server', 'configurations', 'SERVERS RUNNING', 'figurat'],
  ],
  ['portuguese', 'Você não sabe como as crianças são felizes com os livros', ['criança', 'livro', 'feliz', 'rianç']],
  [
    'spanish',
    'Los programadores están escribiendo una biblioteca para el servidor',
    ['programador', 'bibliotecas', 'escribir', 'rvidor'],
  ],
  [
    'german',
    'Ich habe die Datenbanken mit den neuen Servern verbunden',
    ['Datenbank', 'neue Server', 'verbunden', 'bankenn'.slice(0, 6)],
  ],
  ['french', 'Nous avons mangé les pommes dans le jardin avec des amis', ['pomme', 'manger', 'jardins', 'ardin']],
  ['simple', 'kubectl xdg-open foobarbaz', ['foobarbaz', 'KUBECTL', 'barba']],
];

for (const [language, text, queries] of languages) {
  t.test(`C4 a text in ${language} is known as such, and found by other forms and parts of its words`, async (t) => {
    const id = await send(room, text);
    const { rows } = await owner.query('select language from chat.messages where id = $1', [id]);
    t.equal(rows[0].language, language);
    for (const query of queries) t.ok((await search(query)).includes(text), query);
  });
}

t.test('C4 of several words all are in what is found, in any order; the last may be a part of one', async (t) => {
  const text = 'a numbat grazes quietly beside the northern waterhole';
  await send(room, text);
  for (const query of [
    'grazes numbat',
    'numbat wat',
    'numbat the AZES',
    'waterhole northern beside quietly grazing numbat',
  ])
    t.strictSame(await search(query), [text], query);
  for (const query of ['umbat grazes', 'numbat zebra', 'waterhole northern beside quietly grazes zebra', '!!! ???'])
    t.strictSame(await search(query), [], query);
});

t.test('C4 Chinese, Japanese and Korean are found by any part', async (t) => {
  for (const [text, queries] of [
    ['我们明天在北京开会讨论数据库', ['北京', '数据', '明天在', '库', '我']],
    ['データベースの設計について話しましょう', ['設計', 'データ', 'ースの', '話']],
    ['내일 서울에서 회의가 있습니다', ['서울', '회의', '내일']],
    ['今天 deploy 完成了 v2.0', ['今天', 'deploy', '完成']],
  ] as const) {
    await send(room, text);
    for (const query of queries) t.ok((await search(query)).includes(text), query);
  }
  t.strictSame(await search('京北'), [], 'not in another order');
});

t.test('C4 what is edited is found by its new words, what is deleted by none', async (t) => {
  const id = await send(room, 'a walrus in the harbour');
  t.equal((await search('walruses')).length, 1);
  await ask(
    'mutation ($id: UUID!) { editMessage(input: { id: $id, text: "ein Flusspferd und der Hafen" }) { message { id } } }',
    { id },
    ann.token,
  );
  t.strictSame(await search('walrus'), []);
  t.strictSame(await search('flusspferde'), ['ein Flusspferd und der Hafen']);
  await ask('mutation ($id: UUID!) { deleteMessage(input: { id: $id }) { message { id } } }', { id }, ann.token);
  t.strictSame(await search('flusspferd'), []);
});

t.test('C4 the best match comes first, then the newest', async (t) => {
  await send(room, 'penguin');
  await send(room, 'penguin penguin penguin');
  await send(room, 'a penguinarium, whatever that may be');
  await send(room, 'penguin');
  const found = await search('penguin');
  t.equal(found[0], 'penguin penguin penguin');
  t.equal(found.at(-1), 'a penguinarium, whatever that may be', 'a mere part of a word comes last');
  t.equal(found.length, 4);
});

t.test('C4 one finds only what one may read, in a channel or everywhere', async (t) => {
  const cellar = await createRoom(ann, { name: 'cellar' });
  await send(room, 'the okapi is public');
  await send(cellar, 'the okapi is private');
  t.strictSame((await search('okapi')).sort(), ['the okapi is private', 'the okapi is public']);
  t.strictSame(await search('okapi', ann, cellar), ['the okapi is private']);
  t.strictSame(await search('okapi', bob), ['the okapi is public']);
  t.strictSame(await search('okapi', bob, cellar), []);
  t.strictSame(await search('okapi', bob, '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90'), []);
});

t.test('C4 hostile and odd questions have an answer or a typed error', async (t) => {
  await send(room, "it's 100% \\ under_score & | ! ( ) : * <-> 'quoted'");
  for (const query of ["it's", '100%', 'under_score', "'quoted'"])
    t.ok(
      (await search(query)).some((text) => text.includes(query)),
      query,
    );
  for (const query of [
    '%',
    '_',
    '\\',
    "'",
    "' or 1=1 --",
    '& | !',
    ':*',
    '(((',
    '<->',
    '%%%',
    '___',
    "你'",
    '你\\',
    '你:*',
    '漢',
    'x'.repeat(5000),
    '\u{1F600}',
    'the',
    'и',
    '-',
    '   x   ',
  ]) {
    t.ok(Array.isArray(await search(query)), JSON.stringify(query).slice(0, 20));
  }
  t.ok((await search('%%%')).length === 0 && (await search('___')).length === 0, 'signs of patterns are only signs');
  for (const query of ['', '   ', '\u0000']) {
    const answer = await ask(
      'query ($query: String!) { searchMessages(query: $query) { totalCount } }',
      { query },
      ann.token,
    );
    t.equal(answer.errors?.[0]?.extensions?.code, 'BAD_USER_INPUT', JSON.stringify(query));
  }
});

t.test('C4 results come in pages, each once', async (t) => {
  for (let count = 0; count < 25; count += 1) await send(room, `quagga number ${count}`);
  const got: string[] = [];
  let after: string | null = null;
  do {
    const answer: {
      data?: { searchMessages: { nodes: { text: string }[]; pageInfo: { endCursor: string; hasNextPage: boolean } } };
    } = await ask(
      'query ($after: String) { searchMessages(query: "quagga", first: 7, after: $after) { nodes { text } pageInfo { endCursor hasNextPage } } }',
      { after },
      bob.token,
    );
    const page = answer.data?.searchMessages;
    got.push(...(page?.nodes ?? []).map(({ text }) => text));
    after = page?.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  } while (after);
  t.equal(got.length, 25);
  t.equal(new Set(got).size, 25);
});
