import t from 'tap';
import { openActs } from '../events/acts.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const acts = openActs(world);
const [ann, bob, eve] = [await person('ann'), await person('bob'), await person('eve')];
const room = await acts.room(ann, [bob]);
const page = (by: Person | undefined, values: object): Promise<Answer> =>
  ask(
    `query($query: String!, $channelId: UUID, $authorId: UUID, $since: DateTime, $until: DateTime, $hasFile: Boolean, $threadId: UUID) {
      searchMessages(query: $query, channelId: $channelId, authorId: $authorId, since: $since, until: $until, hasFile: $hasFile,
        threadId: $threadId, first: 100) { nodes { text highlight(query: $query) } } }`,
    values,
    by?.token,
  );
const texts = async (by: Person, values: object): Promise<string[]> => {
  const answer = await page(by, values);
  if (answer.errors) throw new Error(answer.errors[0]?.message);
  return answer.data.searchMessages.nodes.map(({ text }: { text: string }) => text).sort();
};
const say = async (by: Person, input: object): Promise<string> =>
  (await acts.done(by, 'sendMessage', { channelId: room, ...input }, 'message { id }')).message.id;
const highlight = async (by: Person, query: string): Promise<string[]> =>
  (await page(by, { query })).data.searchMessages.nodes.map((each: { highlight: string }) => each.highlight);

t.test('C4 a search keeps to an author, a time, a thread, and to what has a file', async (t) => {
  const question = await say(ann, { text: 'narwhal: why?' });
  await say(bob, { text: 'narwhal: because', replyToId: question });
  await say(bob, { text: 'narwhal: a picture', kind: 'IMAGE' });
  await say(ann, { text: 'narwhal: a file', kind: 'FILE', replyToId: question });
  const query = 'narwhal';
  t.equal((await texts(ann, { query })).length, 4);
  t.strictSame(await texts(ann, { query, authorId: bob.id }), ['narwhal: a picture', 'narwhal: because']);
  t.strictSame(await texts(ann, { query, threadId: question }), [
    'narwhal: a file',
    'narwhal: because',
    'narwhal: why?',
  ]);
  t.strictSame(await texts(ann, { query, hasFile: true }), ['narwhal: a file', 'narwhal: a picture']);
  t.strictSame(await texts(ann, { query, hasFile: false }), ['narwhal: because', 'narwhal: why?']);
  t.strictSame(await texts(ann, { query, hasFile: true, threadId: question, authorId: ann.id, channelId: room }), [
    'narwhal: a file',
  ]);
  const [first] = (
    await owner.query('select sent_at from chat.messages where reply_to_id = $1 order by id limit 1', [question])
  ).rows;
  const at = first.sent_at.toISOString();
  t.notOk((await texts(ann, { query, since: at })).includes('narwhal: why?'));
  t.strictSame(await texts(ann, { query, until: at }), ['narwhal: why?']);
  t.strictSame(await texts(ann, { query, since: '2199-01-01T00:00:00Z' }), []);
  t.strictSame(
    await texts(ann, { query: 'arwha', authorId: bob.id }),
    ['narwhal: a picture', 'narwhal: because'],
    'by parts, too',
  );
});

t.test('C4 no filter shows what is not to be read', async (t) => {
  const id = await say(ann, { text: 'the axolotl is a secret' });
  for (const filter of [
    {},
    { channelId: room },
    { authorId: ann.id },
    { threadId: id },
    { hasFile: false },
    { since: '2020-01-01T00:00:00Z' },
  ]) {
    for (const query of ['axolotl', 'xolot']) {
      t.strictSame(await texts(eve, { query, ...filter }), [], JSON.stringify(filter));
      t.equal((await texts(bob, { query, ...filter })).length, 1);
    }
  }
  t.equal((await page(undefined, { query: 'axolotl' })).errors?.[0]?.extensions?.code, 'FORBIDDEN');
});

t.test('C4 with more public rooms than are named one by one, the same is found', async (t) => {
  await say(ann, { text: 'the quokka smiles' });
  await owner.query(
    "insert into chat.channels (kind, name, is_public) select 'room', 'public ' || n, true from generate_series(1, 300) as n",
  );
  t.strictSame(await texts(bob, { query: 'quokka' }), ['the quokka smiles']);
  t.strictSame(await texts(bob, { query: 'uokk' }), ['the quokka smiles']);
  t.strictSame(await texts(eve, { query: 'quokka' }), []);
});

t.test('C4 what lies in many months is found in each of them, the newest 200 of it', async (t) => {
  const at = (month: number): string => new Date(Date.UTC(2020, month, 15, 12)).toISOString();
  const batch = Array.from({ length: 300 }, (_, n) => ({
    ...{ message_id: `old ${n}`, user_id: '1', username: 'old', room_id: '1', room: 'Archive', sent_at: at(n % 40) },
    text: n < 40 ? `dugong ${n}` : n < 80 ? `adugongz ${n}` : `wombat ${n}`,
  }));
  await owner.query("select operations.ensure_partitions('2020-01-01')");
  // In their order, as the importer brings them.
  const inTime = batch.toSorted((one, other) => (one.sent_at < other.sent_at ? -1 : 1));
  await owner.query("select chat.import_messages('gitter', $1)", [JSON.stringify(inTime)]);
  const all = await texts(ann, { query: 'dugong' });
  t.strictSame(
    all,
    batch
      .slice(0, 80)
      .map(({ text }) => text)
      .sort(),
    'words, and parts of words',
  );
  t.strictSame(
    await texts(ann, { query: 'dugong', since: at(3), until: at(37) }),
    batch
      .slice(0, 80)
      .filter((_, n) => n % 40 >= 3 && n % 40 < 37)
      .map(({ text }) => text)
      .sort(),
  );
  const { rows } = await owner.query(
    `select set_config('plinth.user_id', $1, false),
       array(select text from chat.search_messages('wombat') as found order by id desc) as texts`,
    [ann.id],
  );
  const wombats = inTime.filter(({ text }) => text.startsWith('wombat')).map(({ text }) => text);
  t.strictSame(rows[0].texts, wombats.toReversed().slice(0, 200));
});

t.test('C4 what was found is marked; all else is escaped', async (t) => {
  const hostile = `<img src=x onerror="alert('1')"> & these are the servers that \u0002we\u0003 have <mark>`;
  await say(ann, { text: hostile });
  const [marked = ''] = await highlight(ann, 'server');
  t.match(marked, '<mark>servers</mark>');
  t.notMatch(marked, /<(?!\/?mark>)/);
  t.equal(marked.match(/<mark>/g)?.length, 1, 'what was written itself is no mark');
  await say(ann, { text: `${'long '.repeat(500)}marmoset ${'text '.repeat(500)}` });
  const [piece = ''] = await highlight(ann, 'marmosets');
  t.match(piece, '<mark>marmoset</mark>');
  t.ok(piece.length < 600, 'a piece of a long text');
  t.match(await highlight(ann, 'armose'), [/m<mark>armose<\/mark>t/], 'a part of a word');
  await say(ann, { text: '我们明天在北京开会' });
  t.strictSame(await highlight(ann, '北京'), ['我们明天在<mark>北京</mark>开会']);
});

t.test('C4 odd values of a search have an answer or a typed error', async (t) => {
  const nobody = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';
  for (const filter of [{ authorId: nobody }, { threadId: nobody }, { channelId: nobody }])
    t.strictSame(await texts(ann, { query: 'narwhal', ...filter }), []);
  for (const filter of [{ authorId: 'x' }, { since: 'yesterday' }, { hasFile: 'no' }, { threadId: 7 }])
    t.equal(
      (await page(ann, { query: 'narwhal', ...filter })).errors?.[0]?.extensions?.code,
      'BAD_USER_INPUT',
      JSON.stringify(filter),
    );
  for (const at of ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z']) {
    for (const side of ['since', 'until'])
      t.ok(Array.isArray(await texts(ann, { query: 'narwhal', [side]: at })), `${side} ${at}`);
  }
  for (const query of ['', '\u0002', '%', 'x'.repeat(5000), '<b>'])
    t.type(
      (
        await ask(
          'query($query: String!) { messages(first: 5) { nodes { highlight(query: $query) } } }',
          { query },
          ann.token,
        )
      ).data,
      Object,
      query.slice(0, 5),
    );
});
