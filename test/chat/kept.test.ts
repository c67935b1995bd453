import t from 'tap';
import { openActs } from '../events/acts.ts';
import { openJobsWorld } from '../workers/jobs-world.ts';
import type { Answer, Person } from '../world.ts';

const world = await openJobsWorld(t);
const { ask, owner, person, sql, work } = world;
const acts = openActs(world);
const [ann, bob, eve] = [await person('ann'), await person('bob'), await person('eve')];
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const room = await acts.room(ann, [bob]);
const call = (by: Person | undefined, mutation: string, input: object, selection: string): Promise<Answer> => {
  const type = `${mutation[0]?.toUpperCase()}${mutation.slice(1)}Input`;
  const text = `mutation($input: ${type}!) { ${mutation}(input: $input) { ${selection} } }`;
  return ask(text, { input }, by?.token);
};
const told = async (by: Person, type: string): Promise<Record<string, string>[]> =>
  (await sql('select data from events.log where topic = $1 and type = $2 order by seq', [`user:${by.id}`, type])).map(
    ({ data }) => data,
  );

const forward = (by: Person | undefined, messageId: string, channelId: string, nonce?: string): Promise<Answer> =>
  call(
    by,
    'forwardMessage',
    { messageId, channelId, ...(nonce && { nonce }) },
    'message { id text sender { username } forwardedFrom { author { username } original { id text } } }',
  );

t.test('one forwards what one may read to where one may write, with a note of who said it', async (t) => {
  const own = await acts.room(bob, [eve]);
  const id = await acts.send(ann, room, 'a secret');
  const { message } = (await forward(bob, id, own)).data.forwardMessage;
  t.match(message, {
    text: 'a secret',
    sender: { username: 'bob' },
    forwardedFrom: { author: { username: 'ann' }, original: { id } },
  });
  const seen = await ask(
    'query($id: UUID!) { message(id: $id) { text forwardedFrom { author { username } original { id } } } }',
    { id: message.id },
    eve.token,
  );
  t.match(
    seen.data.message,
    { text: 'a secret', forwardedFrom: { author: { username: 'ann' }, original: null } },
    'where it was said is closed to her',
  );
  const again = (await forward(eve, message.id, own)).data.forwardMessage.message;
  t.match(
    again,
    { sender: { username: 'eve' }, forwardedFrom: { author: { username: 'ann' }, original: null } },
    'still of who said it first',
  );

  t.equal(codeOf(await forward(eve, id, own)), 'NOT_FOUND', 'what she may not read');
  t.equal(codeOf(await forward(eve, message.id, room)), 'NOT_FOUND', 'where she may not write');
  t.equal(codeOf(await forward(undefined, id, own)), 'FORBIDDEN');
  await acts.delete(ann, id);
  t.equal(codeOf(await forward(bob, id, own)), 'NOT_FOUND', 'what is deleted');
});

t.test(
  'forwarding twice at once with a nonce makes one message; a nonce of another message marks nothing',
  async (t) => {
    const id = await acts.send(ann, room, 'once');
    const answers = await Promise.all([1, 2, 3].map(() => forward(bob, id, room, 'same')));
    t.equal(new Set(answers.map((answer) => answer.data.forwardMessage.message.id)).size, 1);
    await call(bob, 'sendMessage', { channelId: room, text: 'my own', nonce: 'taken' }, 'message { id }');
    t.match((await forward(bob, id, room, 'taken')).data.forwardMessage.message, {
      text: 'my own',
      forwardedFrom: null,
    });
  },
);

t.test('bookmarks are one’s own, a thousand at most, and tell one’s other devices', async (t) => {
  const id = await acts.send(ann, room, 'remember');
  const add = (by: Person | undefined, messageId: string, note?: string) =>
    call(
      by,
      'addBookmark',
      { messageId, ...(note !== undefined && { note }) },
      'bookmark { note bookmarkedMessage { text } }',
    );
  t.match((await add(bob, id, 'why not')).data.addBookmark.bookmark, {
    note: 'why not',
    bookmarkedMessage: { text: 'remember' },
  });
  t.match((await add(bob, id)).data.addBookmark.bookmark, { note: null });
  t.equal((await told(bob, 'bookmark_added')).length, 2);
  const list = async (by: Person) =>
    (await ask('{ bookmarks { nodes { bookmarkedMessage { text bookmark { note } } } } }', {}, by.token)).data.bookmarks
      .nodes;
  t.strictSame(await list(bob), [{ bookmarkedMessage: { text: 'remember', bookmark: { note: null } } }]);
  t.strictSame(await list(ann), []);
  t.equal(codeOf(await add(eve, id)), 'NOT_FOUND');
  t.equal(codeOf(await add(undefined, id)), 'FORBIDDEN');
  t.equal(codeOf(await add(bob, id, 'x'.repeat(501))), 'BAD_USER_INPUT');

  await sql(
    'insert into chat.bookmarks (user_id, message_id, channel_id) select $1, gen_random_uuid(), $2 from generate_series(1, 995)',
    [bob.id, room],
  );
  const ids = await Promise.all(Array.from({ length: 8 }, (_, n) => acts.send(ann, room, `text ${n}`)));
  const answers = await Promise.all(ids.map((each) => add(bob, each)));
  t.equal(
    answers.filter((answer) => codeOf(answer) === 'CONFLICT').length,
    4,
    'the bound holds for those that come at once',
  );
  for (const each of [id, id]) t.notOk(codeOf(await call(bob, 'removeBookmark', { messageId: each }, 'ok')));
  t.equal((await told(bob, 'bookmark_removed')).length, 1);
});

const draft = (by: Person | undefined, channelId: string, text?: string) =>
  call(by, 'setDraft', { channelId, ...(text !== undefined && { text }) }, 'channel { draft { text } }');

t.test('a draft is kept for each channel, for its author alone, and told to their devices', async (t) => {
  t.match((await draft(bob, room, 'I thi')).data.setDraft.channel, { draft: { text: 'I thi' } });
  await draft(bob, room, 'I think');
  await draft(bob, room, 'I think');
  t.equal((await told(bob, 'draft_changed')).length, 2, 'what stays as it was is not told');
  const seen = async (by: Person) =>
    (
      await ask(
        'query($id: UUID!) { channel(id: $id) { draft { text } } drafts { totalCount } }',
        { id: room },
        by.token,
      )
    ).data;
  t.match(await seen(bob), { channel: { draft: { text: 'I think' } }, drafts: { totalCount: 1 } });
  t.match(await seen(ann), { channel: { draft: null }, drafts: { totalCount: 0 } });
  t.equal(codeOf(await draft(eve, room, 'x')), 'NOT_FOUND');
  t.equal(codeOf(await draft(undefined, room, 'x')), 'FORBIDDEN');
  t.equal(codeOf(await draft(bob, room, 'x'.repeat(10_001))), 'BAD_USER_INPUT');
  await Promise.all(['a', 'b', 'c', 'd'].map((text) => draft(bob, room, text)));
  t.equal((await seen(bob)).drafts.totalCount, 1);
  t.match((await draft(bob, room, '  ')).data.setDraft.channel, { draft: null });
  const other = await acts.room(ann, [bob]);
  await draft(bob, other, 'unsaid');
  await acts.leave(bob, other);
  t.equal((await seen(bob)).drafts.totalCount, 0, 'it goes with the membership');
});

const later = (ms: number): string => new Date(Date.now() + ms).toISOString();
const hour = 3_600_000;
const schedule = (by: Person | undefined, text: string, sendAt: string, channelId = room): Promise<Answer> =>
  call(by, 'scheduleMessage', { channelId, text, sendAt }, 'scheduledMessage { id sendAt refusal }');
const scheduled = async (by: Person, text: string, sendAt: string, channelId = room): Promise<string> =>
  (await schedule(by, text, sendAt, channelId)).data.scheduleMessage.scheduledMessage.id;
const sentTexts = async (like: string): Promise<string[]> =>
  (await sql('select text from chat.messages where text like $1', [like])).map(({ text }) => text);
const runOf = async (id: string): Promise<string> =>
  (await sql('select run_id from chat.scheduled_messages where id = $1', [id]))[0]?.run_id;

t.test('a message is scheduled by who is in the channel, for a time within a year', async (t) => {
  for (const [by, text, at, code] of [
    [eve, 'x', later(hour), 'NOT_FOUND'],
    [undefined, 'x', later(hour), 'FORBIDDEN'],
    [bob, '  ', later(hour), 'BAD_USER_INPUT'],
    [bob, 'x'.repeat(10_001), later(hour), 'BAD_USER_INPUT'],
    [bob, 'x', later(-hour), 'BAD_USER_INPUT'],
    [bob, 'x', later(400 * 24 * hour), 'BAD_USER_INPUT'],
    [bob, 'x', 'soon', 'BAD_USER_INPUT'],
  ] as const)
    t.equal(codeOf(await schedule(by, text, at)), code, `${text.slice(0, 3)} ${at}`);
  const id = await scheduled(bob, 'private until then', later(hour));
  const list = async (by: Person) =>
    (await ask('{ scheduledMessages { nodes { id text } } }', {}, by.token)).data.scheduledMessages.nodes;
  t.strictSame(await list(bob), [{ id, text: 'private until then' }]);
  t.strictSame(await list(ann), []);
  for (const mutation of ['changeScheduledMessage', 'cancelScheduledMessage'])
    t.equal(codeOf(await call(ann, mutation, { id }, '__typename')), 'NOT_FOUND', 'only its author');
  t.notOk(codeOf(await call(bob, 'cancelScheduledMessage', { id }, 'ok')));
  t.strictSame(await list(bob), []);
});

t.test('a hundred wait at most, however many are asked for at once', async (t) => {
  const many = await person('many');
  await acts.add(ann, room, many);
  await sql(
    "insert into chat.scheduled_messages (user_id, channel_id, text, send_at) select $1, $2, 'x', now() + interval '1 day' from generate_series(1, 96)",
    [many.id, room],
  );
  const answers = await Promise.all(Array.from({ length: 8 }, () => schedule(many, 'x', later(hour))));
  t.equal(answers.filter((answer) => codeOf(answer) === 'CONFLICT').length, 4);
});

t.test('D8 it is sent at its time, once, with what it is then; cancelled or changed it is not', async (t) => {
  const [one, changed, cancelled] = [
    await scheduled(bob, 'timed one', later(8_000)),
    await scheduled(bob, 'timed two', later(8_000)),
    await scheduled(bob, 'timed three', later(8_000)),
  ];
  const [first, second] = [await runOf(one), await runOf(changed)];
  t.notOk(
    codeOf(
      await call(
        bob,
        'changeScheduledMessage',
        { id: changed, text: 'timed two, changed', sendAt: later(9_000) },
        'scheduledMessage { id }',
      ),
    ),
  );
  await call(bob, 'cancelScheduledMessage', { id: cancelled }, 'ok');
  const third = await runOf(changed);
  await work();
  await work();
  t.match(await world.ended(first), { state: 'succeeded' });
  t.match(await world.ended(second), { state: 'cancelled' });
  t.match(await world.ended(third), { state: 'succeeded' });
  t.strictSame((await sentTexts('timed%')).sort(), ['timed one', 'timed two, changed']);
  t.equal((await told(bob, 'scheduled_message_sent')).length, 2);
  const { rows } = await owner.query(`select sender_id from chat.messages where text = 'timed one'`);
  t.equal(rows[0].sender_id, bob.id);
  // Run again, at once, from four sides: nothing is sent again.
  await Promise.all([1, 2, 3, 4].map(() => sql('select chat.send_scheduled($1)', [{ id: one }])));
  t.equal((await sentTexts('timed one')).length, 1);
  t.equal(codeOf(await call(bob, 'cancelScheduledMessage', { id: one }, 'ok')), 'NOT_FOUND', 'it is sent');
});

t.test('sent from several sides at once it is sent once', async (t) => {
  const id = await scheduled(bob, 'raced', later(hour));
  await sql('update chat.scheduled_messages set send_at = now() where id = $1', [id]);
  await Promise.all([1, 2, 3, 4].map(() => sql('select chat.send_scheduled($1)', [{ id }])));
  t.strictSame(await sentTexts('raced'), ['raced']);
});

t.test('what slow mode holds back at its time is sent when the turn comes', async (t) => {
  const slow = await acts.room(ann, [bob]);
  await acts.done(ann, 'updateRoom', { channelId: slow, slowModeSeconds: 21_600 });
  await acts.send(bob, slow, 'my turn');
  const id = await scheduled(bob, 'next turn', later(hour), slow);
  await sql('update chat.scheduled_messages set send_at = now() where id = $1', [id]);
  await t.rejects(sql('select chat.send_scheduled($1)', [{ id }]), { code: 'PT429' });
  t.match(await sql('select refusal from chat.scheduled_messages where id = $1', [id]), [{ refusal: null }]);
  await sql("update chat.slow_turns set spoke_at = spoke_at - interval '6 hours' where channel_id = $1", [slow]);
  await sql('select chat.send_scheduled($1)', [{ id }]);
  t.strictSame(await sentTexts('next turn'), ['next turn']);
  // A run waits that long: graphile-worker waits exp(attempt) seconds, of at most 10, before the next.
  const [run] = await sql("select max_attempts from jobs.tasks where name = 'send scheduled message'");
  const waits = Array.from({ length: run?.max_attempts - 1 }, (_, n) => Math.exp(Math.min(n + 1, 10)));
  t.ok(waits.reduce((sum, wait) => sum + wait) > 21_600);
});

t.test('what its author may not say at its time is refused, and they are told why', async (t) => {
  const other = await acts.room(ann, [bob]);
  const id = await scheduled(bob, 'too late', later(hour), other);
  await acts.remove(ann, other, bob);
  await sql('update chat.scheduled_messages set send_at = now() where id = $1', [id]);
  await sql('select chat.send_scheduled($1)', [{ id }]);
  t.strictSame(await sentTexts('too late'), []);
  t.match(await told(bob, 'scheduled_message_refused'), [
    { scheduled_message_id: id, channel_id: other, reason: 'There is no such channel.' },
  ]);
  const list = await ask('{ scheduledMessages { nodes { refusal } } }', {}, bob.token);
  t.strictSame(list.data.scheduledMessages.nodes, [{ refusal: 'There is no such channel.' }]);
  await acts.add(ann, other, bob);
  t.notOk(
    codeOf(await call(bob, 'changeScheduledMessage', { id, sendAt: later(hour) }, 'scheduledMessage { id }')),
    'it may be tried again',
  );
  await sql("update identity.accounts set status = 'banned' where user_id = $1", [bob.id]);
  await sql('update chat.scheduled_messages set send_at = now() where id = $1', [id]);
  await sql('select chat.send_scheduled($1)', [{ id }]);
  t.strictSame(await sentTexts('too late'), [], 'nor does a banned account speak');
});

t.test('a removed account keeps nothing for itself, and what it had scheduled is not sent', async (t) => {
  const gone = await person('gone');
  const direct = await acts.direct(gone, ann);
  const said = await acts.send(ann, direct, 'hello');
  await call(gone, 'addBookmark', { messageId: said }, 'bookmark { messageId }');
  await draft(gone, direct, 'unsaid');
  const id = await scheduled(gone, 'from beyond', later(hour), direct);
  t.notOk(codeOf(await ask('mutation { removeAccount { __typename } }', {}, gone.token)));
  for (const table of ['bookmarks', 'drafts', 'scheduled_messages'])
    t.equal((await sql(`select from chat.${table} where user_id = $1`, [gone.id])).length, 0, table);
  await sql('select chat.send_scheduled($1)', [{ id }]);
  t.strictSame(await sentTexts('from beyond'), []);
});
