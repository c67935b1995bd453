import t from 'tap';
import { actsIn } from '../accounts/acts.ts';
import { edits, openPlatformWorld, presses, writes } from './platform-world.ts';

const world = await openPlatformWorld(t);
const { ask, connect, eventually, person, post, said, sql, telegram } = world;
const { act, say } = actsIn(world);
await world.start();

t.test('a message comes in, an operator answers, Telegram shows it (F3, F4)', async (t) => {
  const bot = await connect('anna');
  const update = writes(501, 'Is it in stock?');
  const answer = await post(bot, update);
  t.equal(answer.status, 200);
  const [heard] = await eventually('the message is there', async () => {
    const rows = await said(bot, 501);
    return rows.length > 0 && rows;
  });
  t.match(heard, { text: 'Is it in stock?', sender_id: null, direction: 'inbound', seq: '1' });

  const { data, errors } = await ask(
    `{ myChannels(first: 1) { nodes {
      id kind name unread
      conversation { status state chatId integration { platform { name } } contact { name username language } }
      messages(first: 1) { nodes { text sender { id } contact { name } } }
    } } }`,
    {},
    bot.owner.token,
  );
  t.notOk(errors);
  const [channel] = data.myChannels.nodes;
  t.match(channel, {
    kind: 'EXTERNAL',
    name: 'Vera 501',
    unread: 1,
    conversation: {
      status: 'ACTIVE',
      state: 'initial',
      chatId: '501',
      integration: { platform: { name: 'Telegram' } },
      contact: { name: 'Vera 501', username: 'vera501', language: 'ru' },
    },
    messages: { nodes: [{ text: 'Is it in stock?', sender: null, contact: { name: 'Vera 501' } }] },
  });

  const id = await say(bot.owner, channel.id, 'It is.');
  await telegram.until('sendMessage', 1);
  t.strictSame(
    telegram.shown.map(({ chat, text }) => ({ chat, text })),
    [{ chat: '501', text: 'It is.' }],
  );
  const sent = await eventually('it is known to be sent', async () => {
    const asked = await ask(
      'query ($id: UUID!) { message(id: $id) { delivery { state attempts error } } }',
      { id },
      bot.owner.token,
    );
    return asked.data.message.delivery.state === 'SENT' && asked.data.message.delivery;
  });
  t.strictSame(sent, { state: 'SENT', attempts: 1, error: null });
  const [known] = await sql('select external_id from platforms.external_messages where message_id = $1', [id]);
  t.equal(known?.external_id, '501:1000', 'the id that it has there is kept');
});

t.test('what comes twice, late, at once or changed is stored once (F4)', async (t) => {
  const bot = await connect('boris');
  const [first, second] = [writes(502, 'one'), writes(502, 'two')];
  // To two servers at the same moment, and again.
  const twice = await Promise.all([...Array(6).keys()].map(() => post(bot, first)));
  t.ok(twice.every(({ status }) => status === 200));
  await post(bot, second);
  await post(bot, first);
  const number = second.message.message_id;
  // A change that comes before what it changes, which then comes.
  const late = writes(502, 'thre');
  await post(bot, edits(502, late.message.message_id, 'three', 1_800_000_000));
  await post(bot, late);
  await post(bot, edits(502, number, 'two!', 1_800_000_002));
  await post(bot, edits(502, number, 'two?', 1_800_000_001));
  const texts = async () => (await said(bot, 502)).map(({ text }) => text);
  await eventually('all is applied', async () => {
    const waiting = await sql('select from platforms.inbound where applied_at is null and integration_id = $1', [
      bot.id,
    ]);
    return waiting.length === 0 && (await texts()).length === 3;
  });
  t.strictSame(await texts(), ['one', 'two!', 'three'], 'the latest change holds, whenever it comes');
  const [{ count }] = (await sql('select count(*) from platforms.conversations where integration_id = $1', [
    bot.id,
  ])) as [{ count: string }];
  t.equal(count, '1');
});

t.test('a photo, an album, a reply, a press of a button (F4)', async (t) => {
  const bot = await connect('clara');
  const photo = [
    { file_id: 'small', file_unique_id: 's', width: 9, height: 9 },
    { file_id: 'large', file_unique_id: 'l', width: 90, height: 90, file_size: 77 },
  ];
  const asked = writes(503, 'Which one?');
  await post(bot, asked);
  await post(bot, writes(503, '', { text: undefined, photo, caption: 'This one', media_group_id: 'a1' }));
  await post(
    bot,
    writes(503, '', {
      text: undefined,
      photo,
      media_group_id: 'a1',
      reply_to_message: asked.message && { ...asked.message, chat: { id: 503 } },
    }),
  );
  const rows = await eventually('all three are there', async () => {
    const all = await said(bot, 503);
    return all.length === 3 && all;
  });
  const files = [{ id: 'large', kind: 'photo', media_type: 'image/jpeg', bytes: 77 }];
  t.match(rows[1], { text: 'This one', kind: 'image', metadata: { album: 'a1', files } });
  t.match(rows[2], { text: '[photo]', kind: 'image', metadata: { album: 'a1', files }, reply_to_id: rows[0]?.id });

  const channelId = rows[0]?.channel_id as string;
  const buttons = [
    [
      { text: 'Red', data: 'red' },
      { text: 'Blue', data: 'blue' },
    ],
    [{ text: 'See', url: 'https://plinth.test/' }],
  ];
  const metadata = { buttons };
  t.notOk((await act(bot.owner, 'sendMessage', { channelId, text: 'Choose', metadata }, 'message { id }')).errors);
  const shown = await eventually('Telegram shows it', async () =>
    telegram.shown.find(({ chat, text }) => chat === '503' && text === 'Choose'),
  );
  t.strictSame(shown.reply_markup.inline_keyboard, [
    [
      { text: 'Red', callback_data: 'red' },
      { text: 'Blue', callback_data: 'blue' },
    ],
    [{ text: 'See', url: 'https://plinth.test/' }],
  ]);
  await eventually('its id is known', async () =>
    (await said(bot, 503)).find(({ external_id: id }) => id === `503:${shown.message_id}`),
  );
  await post(bot, presses(503, shown.message_id, 'blue', 'Blue'));
  const pressed = await eventually('the press is there', async () =>
    (await said(bot, 503)).find(({ text }) => text === 'Blue'),
  );
  t.match(pressed, { metadata: { pressed: 'blue' }, direction: 'inbound' });
  t.equal(pressed.reply_to_id, (await said(bot, 503)).find(({ text }) => text === 'Choose')?.id);
  const [acknowledged] = await telegram.until('answerCallbackQuery', 1);
  t.match(acknowledged?.parameters.callback_query_id, /^press/);
});

t.test('what an operator changes or deletes, changes there', async (t) => {
  const bot = await connect('dora');
  await post(bot, writes(504, 'Hello'));
  const [heard] = await eventually('it is there', async () => {
    const all = await said(bot, 504);
    return all.length === 1 && all;
  });
  const id = await say(bot.owner, heard?.channel_id as string, 'Helo');
  const shown = await eventually('it is shown', async () => telegram.shown.find(({ chat }) => chat === '504'));
  await act(bot.owner, 'editMessage', { id, text: 'Hello' }, 'message { id }');
  await eventually('it is changed', async () => shown.text === 'Hello');
  await act(bot.owner, 'deleteMessage', { id }, 'message { id }');
  await eventually('it is gone', async () => !telegram.shown.includes(shown));
  await eventually('all is known to be done', async () => {
    const open = "select from platforms.deliveries where message_id = $1 and state <> 'sent'";
    return (await sql(open, [id])).length === 0;
  });
  t.strictSame(await sql('select action, state from platforms.deliveries where message_id = $1 order by id', [id]), [
    { action: 'send', state: 'sent' },
    { action: 'edit', state: 'sent' },
    { action: 'delete', state: 'sent' },
  ]);
});

t.test('/start, /help, /connect: a code links an account, once (D5)', async (t) => {
  const bot = await connect('emil');
  const fay = await person('fay');
  const { data } = await ask('mutation { createLinkCode { linkCode { code expiresAt } } }', {}, fay.token);
  const { code, expiresAt } = data.createLinkCode.linkCode;
  t.match(code, /^[2-9A-HJ-NP-Z]{6}$/);
  t.ok(new Date(expiresAt).getTime() - Date.now() <= 300_000);
  for (const text of [
    '/start',
    '/help',
    '/connect',
    '/connect WRONG1',
    `/connect ${code.toLowerCase()}`,
    `/connect ${code}`,
  ])
    await post(bot, writes(505, text));
  const answers = await eventually('all are answered', async () => {
    const shown = telegram.shown.filter(({ chat }) => chat === '505').map(({ text }) => text);
    return shown.length === 6 && shown;
  });
  t.match(answers, [
    /^Hello, Vera 505\. Write here/,
    /^Write here/,
    /^Send \/connect and the code/,
    /wrong, spent or expired/,
    'You are connected as fay.',
    /wrong, spent or expired/,
  ]);
  t.notMatch(JSON.stringify(await said(bot, 505)), code, 'nobody reads the code in the channel');
  const mine = await ask('{ contacts(first: 5) { nodes { id name linkedAt } } }', {}, fay.token);
  t.match(mine.data.contacts.nodes, [{ name: 'Vera 505', linkedAt: String }]);
  t.equal(
    Number((await sql('select platforms.tell_user($1, $2) as told', [fay.id, 'Your export is ready.']))[0]?.told),
    1,
  );
  await eventually('she is told there', async () =>
    telegram.shown.some(({ chat, text }) => chat === '505' && text === 'Your export is ready.'),
  );
  await act(fay, 'unlinkContact', { id: mine.data.contacts.nodes[0].id }, 'ok');
  t.strictSame((await ask('{ contacts(first: 5) { nodes { id } } }', {}, fay.token)).data.contacts.nodes, []);
});
