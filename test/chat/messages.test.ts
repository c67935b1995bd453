import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';

const { ask, owner, person } = await openWorld(t);
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const [ann, bob, eve] = [await person('ann'), await person('bob'), await person('eve')];
const room: string = (await ask('mutation { createRoom(input: { name: "talk" }) { channel { id } } }', {}, ann.token))
  .data.createRoom.channel.id;
await ask(
  'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { role } } }',
  { input: { channelId: room, userId: bob.id } },
  ann.token,
);

const fields =
  'id seq kind text metadata language editedAt deletedAt replyTo { id text } replies { nodes { text } } edits { nodes { text } } sender { username }';
const send = (by: Person | undefined, input: object): Promise<Answer> =>
  ask(
    `mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { ${fields} } } }`,
    { input: { channelId: room, ...input } },
    by?.token,
  );
const sent = async (by: Person, input: object) => {
  const answer = await send(by, input);
  if (answer.errors) throw new Error(answer.errors[0]?.message);
  return answer.data.sendMessage.message;
};
const edit = (by: Person | undefined, id: string, text: string): Promise<Answer> =>
  ask(
    `mutation ($input: EditMessageInput!) { editMessage(input: $input) { message { ${fields} } } }`,
    { input: { id, text } },
    by?.token,
  );
const remove = (by: Person | undefined, id: string): Promise<Answer> =>
  ask(
    `mutation ($input: DeleteMessageInput!) { deleteMessage(input: $input) { message { ${fields} } } }`,
    { input: { id } },
    by?.token,
  );
const read = async (id: string, by = ann) =>
  (await ask(`query ($id: UUID!) { message(id: $id) { ${fields} } }`, { id }, by.token)).data.message;

t.test('C4 a message has its kind, its data and its place', async (t) => {
  const message = await sent(ann, {
    text: 'Look',
    kind: 'IMAGE',
    metadata: { width: 640, 'кл"юч': [null, { a: 1.5 }] },
  });
  t.match(message, { kind: 'IMAGE', text: 'Look', sender: { username: 'ann' } });
  t.strictSame(message.metadata, { width: 640, 'кл"юч': [null, { a: 1.5 }] });
  t.equal(Number((await sent(bob, { text: ' \u{1F600} é \n\t "quoted" \\ ' })).seq), Number(message.seq) + 1);
  const { rows } = await owner.query('select text from chat.messages order by id desc limit 1');
  t.equal(rows[0].text, ' \u{1F600} é \n\t "quoted" \\ ', 'as it was written');
});

t.test('C4 an edit keeps what was said before; only the sender edits', async (t) => {
  const { id } = await sent(ann, { text: 'first' });
  await edit(ann, id, 'second');
  const answer = await edit(ann, id, 'third');
  const { message } = answer.data.editMessage;
  t.equal(message.text, 'third');
  t.ok(message.editedAt);
  t.strictSame((await read(id, bob)).edits.nodes, [{ text: 'second' }, { text: 'first' }], 'the last first');
  t.equal(codeOf(await edit(bob, id, 'mine')), 'FORBIDDEN');
  t.equal(codeOf(await edit(eve, id, 'mine')), 'NOT_FOUND');
  t.equal(codeOf(await edit(undefined, id, 'mine')), 'FORBIDDEN');
  t.equal((await read(id)).text, 'third');
});

t.test('C4 a deleted message keeps its place; text, data and edits go', async (t) => {
  const { id, seq } = await sent(bob, { text: 'oops', metadata: { a: 1 } });
  await edit(bob, id, 'oops!');
  t.equal(codeOf(await remove(eve, id)), 'NOT_FOUND');
  const { message } = (await remove(bob, id)).data.deleteMessage;
  t.match(message, { seq, text: null, metadata: {} });
  t.ok(message.deletedAt);
  t.strictSame(message.edits.nodes, []);
  for (const answer of [await edit(bob, id, 'again'), await remove(bob, id)]) t.equal(codeOf(answer), 'NOT_FOUND');
  const { rows } = await owner.query(
    'select m::text as row from chat.messages as m where id = $1 union all select e::text from chat.message_edits as e where message_id = $1',
    [id],
  );
  t.equal(rows.length, 1);
  t.notMatch(rows[0].row, 'oops');
});

t.test('C3 C4 owner, admin and moderator delete what others said, a member does not', async (t) => {
  const cat = await person('cat');
  await ask(
    'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { role } } }',
    { input: { channelId: room, userId: cat.id } },
    ann.token,
  );
  for (const [role, code] of [
    ['member', 'FORBIDDEN'],
    ['moderator', undefined],
    ['admin', undefined],
    ['owner', undefined],
  ] as const) {
    await owner.query('update chat.members set role = $3 where channel_id = $1 and user_id = $2', [room, cat.id, role]);
    t.equal(codeOf(await remove(cat, (await sent(bob, { text: 'hm' })).id)), code, role);
  }
});

t.test('C3 who leaves at the moment when they delete or edit does neither', async (t) => {
  const open: string = (
    await ask('mutation { createRoom(input: { name: "open", isPublic: true }) { channel { id } } }', {}, ann.token)
  ).data.createRoom.channel.id;
  const own = async (by: Person) => {
    await ask(
      'mutation ($id: UUID!) { joinRoom(input: { channelId: $id }) { member { role } } }',
      { id: open },
      by.token,
    );
    return sent(by, { channelId: open, text: 'as it was' });
  };
  for (const [call, author] of [
    ['chat.delete_message($1)', ann],
    [`chat.edit_message($1, 'other')`, eve],
  ] as const) {
    const { id } = await own(author);
    await own(eve);
    const [leaver, other] = [await owner.connect(), await owner.connect()];
    for (const client of [leaver, other]) {
      await client.query('begin');
      await client.query("select set_config('plinth.user_id', $1, true)", [eve.id]);
    }
    await leaver.query('select chat.leave_channel($1)', [open]);
    // It is public: they read it still.
    const changed = t.rejects(other.query(`select ${call}`, [id]), { code: 'PT403' }, call);
    await wait(50);
    await leaver.query('commit');
    await changed;
    await other.query('rollback');
    for (const client of [leaver, other]) client.release();
    t.equal((await read(id)).text, 'as it was');
  }
});

t.test('deleting one message from two places at once happens once', async (t) => {
  const { id } = await sent(bob, { text: 'twice' });
  const answers = await Promise.all([bob, ann, bob, ann].map((by) => remove(by, id)));
  t.strictSame(answers.map(codeOf).sort(), ['NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND', undefined]);
});

t.test('C5 replies stand with what they answer, in order, in one channel', async (t) => {
  const question = await sent(ann, { text: 'why?' });
  for (const text of ['because', 'therefore'])
    t.equal((await sent(bob, { text, replyToId: question.id })).replyTo.text, 'why?');
  t.strictSame((await read(question.id)).replies.nodes, [{ text: 'because' }, { text: 'therefore' }]);
  const other = (await ask('mutation { createRoom(input: { name: "other" }) { channel { id } } }', {}, ann.token)).data
    .createRoom.channel.id;
  t.equal(
    codeOf(await send(ann, { channelId: other, text: 'hm', replyToId: question.id })),
    'NOT_FOUND',
    'not across channels',
  );
  await remove(ann, question.id);
  t.strictSame(
    (await read(question.id)).replies.nodes,
    [{ text: 'because' }, { text: 'therefore' }],
    'they outlive it',
  );
  const page = await ask(
    'query ($id: UUID!) { message(id: $id) { replies(first: 1) { totalCount nodes { text } pageInfo { hasNextPage } } } }',
    { id: question.id },
    bob.token,
  );
  t.strictSame(page.data.message.replies, {
    totalCount: 2,
    nodes: [{ text: 'because' }],
    pageInfo: { hasNextPage: true },
  });
});

t.test('a nonce is the sender’s: sent again, the first message comes back', async (t) => {
  const first = await sent(ann, { text: 'once', nonce: 'n1' });
  const again = await sent(ann, { text: 'once, changed', nonce: 'n1' });
  t.strictSame([again.id, again.text], [first.id, 'once']);
  t.not((await sent(bob, { text: 'once', nonce: 'n1' })).id, first.id);
  t.not((await sent(ann, { text: 'once' })).id, (await sent(ann, { text: 'once' })).id, 'without one, each is new');
});

t.test('wrong, huge and hostile input is refused by type, and changes nothing', async (t) => {
  const { id } = await sent(ann, { text: 'stays' });
  const picture = async () =>
    JSON.stringify(
      (
        await owner.query(
          'select (select json_agg(c order by id) from chat.channels as c) as c, (select json_agg(m order by id) from chat.messages as m) as m, (select json_agg(x order by user_id) from chat.members as x) as x, (select count(*) from chat.nonces) as n',
        )
      ).rows,
    );
  const before = await picture();
  const nobodys = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';
  const wrong: [object, string][] = [
    [{ text: '' }, 'BAD_USER_INPUT'],
    [{ text: '   ' }, 'BAD_USER_INPUT'],
    [{ text: ' \n\t\r ' }, 'BAD_USER_INPUT'],
    [{ text: 'x'.repeat(10_001) }, 'BAD_USER_INPUT'],
    [{ text: `${'x'.repeat(10_000)} ` }, 'BAD_USER_INPUT'],
    [{ text: 'nul \u0000' }, 'BAD_USER_INPUT'],
    [{ text: 'ok', nonce: '' }, 'BAD_USER_INPUT'],
    [{ text: 'ok', nonce: 'x'.repeat(101) }, 'BAD_USER_INPUT'],
    [{ text: 'ok', kind: 'SYSTEM' }, 'FORBIDDEN'],
    [{ text: 'ok', kind: 'BOT' }, 'FORBIDDEN'],
    [{ text: 'ok', metadata: [1] }, 'BAD_USER_INPUT'],
    [{ text: 'ok', metadata: 'text' }, 'BAD_USER_INPUT'],
    [{ text: 'ok', metadata: { nul: '\u0000' } }, 'BAD_USER_INPUT'],
    [
      { text: 'ok', metadata: { big: Array.from({ length: 4000 }, (_, index) => `${index * 7919}`) } },
      'BAD_USER_INPUT',
    ],
    [{ text: 'ok', replyToId: nobodys }, 'NOT_FOUND'],
    [{ text: 'ok', channelId: nobodys }, 'NOT_FOUND'],
  ];
  for (const [input, code] of wrong) {
    const answer = await send(ann, input);
    t.equal(codeOf(answer), code, JSON.stringify(input).slice(0, 60));
    t.notOk(answer.data?.sendMessage, 'no message');
  }
  for (const text of ['', ' \n ', 'x'.repeat(10_001), '\u0000'])
    t.equal(codeOf(await edit(ann, id, text)), 'BAD_USER_INPUT');
  for (const input of [
    { channelId: "'; drop table chat.messages; --", text: 'x' },
    { channelId: 7, text: 'x' },
    { text: 5 },
    { text: null },
    { text: 'x', replyToId: {} },
    { text: 'x', unknown: 1 },
    { text: 'x', kind: 'POEM' },
  ]) {
    t.ok((await send(ann, input)).errors, JSON.stringify(input));
  }
  for (const [name, max] of [
    ['', ''],
    ['x'.repeat(101), ''],
    ['ok', 'x'.repeat(1001)],
  ] as const) {
    const answer = await ask(
      'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id } } }',
      { input: { name, description: max } },
      ann.token,
    );
    t.equal(codeOf(answer), 'BAD_USER_INPUT', `a room called ${name.slice(0, 5)}`);
  }
  t.equal(await picture(), before, 'nothing changed');
  const injected = `'); delete from chat.messages; -- $1 \${text} %s \\' "`;
  t.equal((await sent(ann, { text: injected })).text, injected, 'what looks like SQL is a text');
});

t.test('a mark of reading goes up to a number, never back, and not past the end', async (t) => {
  const mark = (by: Person | undefined, input: object): Promise<Answer> =>
    ask(
      'mutation ($input: MarkReadInput!) { markRead(input: $input) { channel { unread } } }',
      { input: { channelId: room, ...input } },
      by?.token,
    );
  const position = async () =>
    Number(
      (
        await owner.query('select last_read_seq from chat.members where channel_id = $1 and user_id = $2', [
          room,
          bob.id,
        ])
      ).rows[0].last_read_seq,
    );
  await mark(bob, {});
  const start = await position();
  for (let count = 0; count < 3; count += 1) await send(ann, { text: 'more' });
  t.equal((await mark(bob, { seq: String(start + 2) })).data.markRead.channel.unread, 1);
  t.equal((await mark(bob, { seq: '1' })).data.markRead.channel.unread, 1, 'never back');
  t.equal((await mark(bob, { seq: '-5' })).data.markRead.channel.unread, 1);
  t.equal((await mark(bob, { seq: '9223372036854775807' })).data.markRead.channel.unread, 0);
  t.equal(await position(), start + 3, 'not past the end');
  t.equal(codeOf(await mark(bob, { seq: '9223372036854775808' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await mark(eve, {})), 'NOT_FOUND');
  t.equal(codeOf(await mark(undefined, {})), 'FORBIDDEN');
});
