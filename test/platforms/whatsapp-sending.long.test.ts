import t from 'tap';
import { actsIn, codeOf } from '../accounts/acts.ts';
import { credentials, type Fault } from './whatsapp-server.ts';
import { openWhatsappWorld, states, writes } from './whatsapp-world.ts';

const world = await openWhatsappWorld(t);
const { ask, connectNumber, conversation, eventually, said, sql, tell, upload, whatsapp } = world;
const { act, say } = actsIn(world);
await world.start();
const shop = await connectNumber('gina');

const delivery = (id: string) => world.deliveryOf(shop.owner, id);
const comesTo = (id: string, state: string) => world.comesTo(shop.owner, id, state);
const shownTo = (to: string) => whatsapp.shown.filter((each) => each.to === to);
const textsTo = (to: string) => shownTo(to).map(({ text }) => text?.body);
const idOf = async (message: string): Promise<string> =>
  (await sql('select external_id from platforms.external_messages where message_id = $1', [message]))[0]?.external_id;
const isApplied = () =>
  eventually('all is applied', async () => {
    return (await sql('select from platforms.inbound where applied_at is null')).length === 0;
  });

t.test('an answer is sent, and its states are known, in whatever order they come (F4)', async (t) => {
  const to = '16505551001';
  const channelId = await conversation(shop, to);
  const [heard] = await said(shop, to);
  const reply = await act(
    shop.owner,
    'sendMessage',
    { channelId, text: 'It does.', replyToId: heard?.id },
    'message { id }',
  );
  const { id } = reply.data.sendMessage.message;
  await comesTo(id, 'SENT');
  const [shown] = shownTo(to);
  t.match(shown, {
    messaging_product: 'whatsapp',
    recipient_type: 'individual',
    to,
    type: 'text',
    text: { body: 'It does.' },
    context: { message_id: heard?.external_id },
  });
  const external = await idOf(id);
  t.equal(external, shown?.id);
  await tell(shop, states(external, 'read'));
  await comesTo(id, 'READ');
  for (const status of ['sent', 'delivered', 'failed']) await tell(shop, states(external, status));
  await isApplied();
  t.match(await delivery(id), { state: 'READ', error: null }, 'what was read stays read');

  const lost = await say(shop.owner, channelId, 'to nobody');
  await comesTo(lost, 'SENT');
  const errors = [{ code: 131026, title: 'Message undeliverable', error_data: { details: 'Not on WhatsApp.' } }];
  await tell(shop, states(await idOf(lost), 'failed', { errors }));
  t.match(await comesTo(lost, 'FAILED'), { error: 'WhatsApp says 131026: Not on WhatsApp.' });
  await tell(shop, states(await idOf(lost), 'delivered'));
  t.match(await comesTo(lost, 'DELIVERED'), { error: null }, 'on another device it has come all the same');

  await act(shop.owner, 'editMessage', { id, text: 'It does not.' }, 'message { id }');
  const [edit] = await eventually('the change is refused', async () => {
    const rows = await sql(
      "select error from platforms.deliveries where message_id = $1 and action = 'edit' and state = 'failed'",
      [id],
    );
    return rows.length > 0 && rows;
  });
  t.match(edit?.error, /nobody change or delete/);
});

t.test('a message whose call was never answered is settled by what Meta tells of it', async (t) => {
  const to = '16505551002';
  const channel = await conversation(shop, to);
  whatsapp.faults.set('messages', [{ kind: 'lost' }]);
  const unsure = await say(shop.owner, channel, 'Are you there?');
  await comesTo(unsure, 'UNSURE');
  const [lost] = shownTo(to);
  t.match(lost?.biz_opaque_callback_data, /^plinth \d+$/);
  const along = { biz_opaque_callback_data: lost?.biz_opaque_callback_data };
  await tell(shop, states(lost?.id as string, 'delivered', along));
  await comesTo(unsure, 'DELIVERED');
  t.equal(await idOf(unsure), lost?.id, 'and its id is known');

  whatsapp.faults.set('messages', [{ kind: 'slow' }]);
  const calls = whatsapp.of('messages').length;
  const early = await say(shop.owner, channel, 'Before the answer');
  await whatsapp.until('messages', calls + 1);
  const given = whatsapp.of('messages').at(-1)?.body.biz_opaque_callback_data;
  await tell(shop, states('wamid.early', 'read', { biz_opaque_callback_data: given }));
  await comesTo(early, 'READ');
  whatsapp.release();
  const next = await say(shop.owner, channel, 'After it');
  await comesTo(next, 'SENT');
  t.match(await delivery(early), { state: 'READ', attempts: 1 }, 'the answer that comes later takes nothing back');

  whatsapp.faults.set('messages', [{ kind: 'error', status: 500, code: 131000, details: 'Something went wrong.' }]);
  const retried = await say(shop.owner, channel, 'It was there');
  await eventually('it waits for another try', async () => (await delivery(retried)).failures === 1);
  const [row] = await sql('select id from platforms.deliveries where message_id = $1', [retried]);
  await tell(shop, states('wamid.there', 'sent', { biz_opaque_callback_data: `plinth ${row?.id}` }));
  await comesTo(retried, 'SENT');
  await sql('update platforms.deliveries set due_at = now()');
  await sql('select platforms._ask_to_send($1)', [channel]);
  await comesTo(await say(shop.owner, channel, 'the last'), 'SENT');
  t.strictSame(textsTo(to), ['Are you there?', 'Before the answer', 'After it', 'the last'], 'it is not sent again');
});

t.test('a day after they last wrote only a template is taken, and then they may be written to again', async (t) => {
  const to = '16505551003';
  const channelId = await conversation(shop, to);
  await comesTo(await say(shop.owner, channelId, 'in time'), 'SENT');
  // Meta tells late what was written yesterday: the day is counted from when it was written.
  const old = { timestamp: String(Math.floor(Date.now() / 1000) - 90_000) };
  const silent = '16505551004';
  await tell(shop, writes(silent, { text: { body: 'yesterday' } }, old));
  const [heard] = await eventually('it is there', async () => {
    const rows = await said(shop, silent);
    return rows.length > 0 && rows;
  });
  const late = await act(shop.owner, 'sendMessage', { channelId: heard?.channel_id, text: 'Sorry!' }, 'message { id }');
  t.match(late.errors?.[0], {
    message: 'WhatsApp takes only templates later than 24 hours after they last wrote.',
    extensions: { code: 'CONFLICT', constraint: 'replies_within', argument: 'metadata', hint: /template/ },
  });
  t.equal((await said(shop, silent)).length, 1, 'nothing was said');

  const template = {
    name: 'order_update',
    language: 'en_US',
    components: [{ type: 'body', parameters: [{ type: 'text', text: '77' }] }],
  };
  const offer = (metadata: object) =>
    act(shop.owner, 'sendMessage', { channelId: heard?.channel_id, text: 'Your order 77', metadata }, 'message { id }');
  const wrong = [{}, { name: 'x' }, { ...template, language: 'english!' }, { ...template, components: {} }, 'x', null];
  for (const each of wrong) t.equal(codeOf(await offer({ template: each })), 'BAD_USER_INPUT');
  const sent = await offer({ template });
  t.notOk(sent.errors);
  await comesTo(sent.data.sendMessage.message.id, 'SENT');
  t.match(shownTo(silent), [
    {
      type: 'template',
      template: { name: 'order_update', language: { code: 'en_US' }, components: template.components },
    },
  ]);

  await tell(shop, writes(silent, { text: { body: 'Thanks' } }));
  await eventually('it is there', async () => (await said(shop, silent)).at(-1)?.text === 'Thanks');
  await comesTo(await say(shop.owner, heard?.channel_id, 'Welcome'), 'SENT');

  // What has waited until the day was over is not sent either, nor sent again.
  whatsapp.faults.set('messages', [{ kind: 'error', status: 429, code: 130429, retryAfter: 3600 }]);
  const waiting = await say(shop.owner, heard?.channel_id, 'too late');
  await eventually('it is put off', async () => (await delivery(waiting)).failures === 1);
  await sql("update platforms.conversations set heard_at = now() - interval '25 hours' where channel_id = $1", [
    heard?.channel_id,
  ]);
  await sql('update platforms.deliveries set due_at = now() where message_id = $1', [waiting]);
  await sql('update platforms.inboxes set calls_at = now()');
  await sql('select platforms._ask_to_send($1)', [heard?.channel_id]);
  t.match(await comesTo(waiting, 'FAILED'), { error: /only templates/ });
  const again = await act(shop.owner, 'resendMessage', { messageId: waiting }, 'delivery { state }');
  t.match(again.errors?.[0]?.extensions, { code: 'CONFLICT', constraint: 'replies_within' });

  await sql('update platforms.contacts set user_id = $1 where external_id = any ($2)', [shop.owner.id, [to, silent]]);
  const [row] = await sql('select platforms.tell_user($1, $2) as told', [shop.owner.id, 'Your export is ready.']);
  t.equal(row?.told, 1, 'a user is told only where that is allowed');
});

t.test('buttons are shown, and a press is a reply to them', async (t) => {
  const to = '16505551005';
  const channelId = await conversation(shop, to);
  const choose = async (buttons: object[], text = 'Choose'): Promise<string> => {
    const sent = await act(shop.owner, 'sendMessage', { channelId, text, metadata: { buttons } }, 'message { id }');
    return sent.data.sendMessage.message.id;
  };
  const asked = await choose([
    [
      { text: 'Red', data: 'red' },
      { text: 'Blue', data: 'blue' },
    ],
  ]);
  await comesTo(asked, 'SENT');
  const many = await choose([...'abcd'].map((text) => ({ text })));
  await comesTo(many, 'SENT');
  await comesTo(await choose([[{ text: 'See', url: 'https://plinth.test/' }]]), 'SENT');
  t.match(
    shownTo(to).map(({ interactive }) => interactive),
    [
      {
        type: 'button',
        body: { text: 'Choose' },
        action: { buttons: [{ type: 'reply', reply: { id: 'red', title: 'Red' } }, { reply: { id: 'blue' } }] },
      },
      { type: 'list', action: { sections: [{ rows: [{ id: 'a', title: 'a' }, {}, {}, { id: 'd' }] }] } },
      { type: 'cta_url', action: { parameters: { display_text: 'See', url: 'https://plinth.test/' } } },
    ],
  );
  const mixed = [{ text: 'See', url: 'https://plinth.test/' }, { text: 'Red' }];
  t.match(await comesTo(await choose(mixed), 'FAILED'), { error: /up to ten buttons/, attempts: 1 });
  const long = await comesTo(await choose([{ text: 'x'.repeat(21) }]), 'FAILED');
  t.match(long, { error: /WhatsApp answered 131009/, attempts: 1 });

  const pressed = [
    [
      asked,
      { type: 'interactive', interactive: { type: 'button_reply', button_reply: { id: 'blue', title: 'Blue' } } },
      'blue',
    ],
    [many, { type: 'interactive', interactive: { type: 'list_reply', list_reply: { id: 'd', title: 'd' } } }, 'd'],
    [many, { type: 'button', button: { payload: 'yes', text: 'Yes' } }, 'yes'],
  ] as const;
  for (const [message, content, data] of pressed) {
    await tell(shop, writes(to, content, { context: { from: '15550783881', id: await idOf(message) } }));
    const row = await eventually(`${data} is there`, async () =>
      (await said(shop, to)).find(({ metadata }) => metadata.pressed === data),
    );
    t.match(row, { reply_to_id: message, direction: 'inbound' });
  }
});

t.test('files are uploaded, then sent: what WhatsApp shows as such, all else as documents (F4)', async (t) => {
  const to = '16505551006';
  const channelId = await conversation(shop, to);
  const png = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==',
    'base64',
  );
  const large = Buffer.concat([Buffer.from('%PDF-1.4\n'), Buffer.alloc(3_000_000, 'x')]);
  const give = async (files: [string, Buffer][], own: object = {}): Promise<string> => {
    const fileIds = [];
    for (const [name, bytes] of files) fileIds.push(await upload(shop.owner, name, bytes));
    const sent = await act(shop.owner, 'sendFiles', { channelId, fileIds, ...own }, 'message { id }');
    if (sent.errors) throw new Error(JSON.stringify(sent.errors));
    return sent.data.sendFiles.message.id;
  };
  await comesTo(await give([['red.png', png]], { text: 'Red' }), 'SENT');
  const both = await give(
    [
      ['one.pdf', large],
      ['two.png', png],
    ],
    { text: 'Both' },
  );
  await comesTo(both, 'SENT');
  const shown = shownTo(to);
  t.match(shown, [
    { type: 'image', image: { caption: 'Red' } },
    { type: 'document', document: { caption: 'Both', filename: 'one.pdf' } },
    { type: 'image', image: { caption: undefined } },
  ]);
  const uploads = shown.map(({ type, ...message }) => whatsapp.media.get(message[type].id));
  t.match(uploads[0], { name: 'red.png', type: 'image/png' });
  t.ok(uploads[0]?.bytes.equals(png) && uploads[1]?.bytes.equals(large), 'byte for byte');
  const known = await sql('select external_id from platforms.external_messages where message_id = $1', [both]);
  t.equal(known.length, 2, 'both ids are known');
  await tell(shop, states(shown[2]?.id as string, 'read'));
  await comesTo(both, 'READ');

  // An upload is no message: it is tried again whatever became of it.
  whatsapp.faults.set('media', [{ kind: 'lost' }]);
  const retried = await give([['again.png', png]]);
  await eventually('it waits for another try', async () => (await delivery(retried)).failures === 1);
  await sql('update platforms.deliveries set due_at = now() where message_id = $1', [retried]);
  await sql('select platforms._ask_to_send($1)', [channelId]);
  await comesTo(retried, 'SENT');

  // Of several files each is a message: nothing that was sent is sent again because the next was not taken.
  const count = shownTo(to).length;
  whatsapp.faults.set('messages', [{ kind: 'none' }, { kind: 'error', status: 500, code: 131000 }]);
  const parts = await comesTo(
    await give([
      ['a.png', png],
      ['b.png', png],
    ]),
    'UNSURE',
  );
  t.match(parts, { attempts: 1, error: /^1 of 2 parts were sent\./ });
  whatsapp.faults.set('messages', [{ kind: 'page', status: 200 }]);
  t.match(await comesTo(await give([['c.png', png]]), 'UNSURE'), { attempts: 1 }, 'a page is no answer');
  t.equal(shownTo(to).length, count + 1);
});

t.test('what WhatsApp puts off, fails at or refuses is treated as it says (D13, E3)', async (t) => {
  const to = '16505551007';
  const channel = await conversation(shop, to);
  const [other, otherTo] = [await conversation(shop, '16505551008'), '16505551008'];
  const isError = (status: number, code: number, own: object = {}): Fault => ({ kind: 'error', status, code, ...own });
  const hurry = async (): Promise<void> => {
    await sql("update platforms.deliveries set due_at = now() where state = 'queued'");
    await sql('select platforms._ask_to_send($1)', [channel]);
  };

  whatsapp.faults.set('messages', [{ kind: 'slow' }]);
  const calls = whatsapp.of('messages').length;
  const silence = await say(shop.owner, await conversation(shop, '16505551009'), 'never answered');
  await whatsapp.until('messages', calls + 1);

  whatsapp.faults.set('messages', [isError(429, 130429, { retryAfter: 1 })]);
  const before = whatsapp.of('messages').length;
  const [first, second] = [await say(shop.owner, channel, 'first'), await say(shop.owner, channel, 'second')];
  await comesTo(second, 'SENT');
  t.match(await delivery(first), { state: 'SENT', attempts: 1, failures: 1 }, 'what is put off is no failed try');
  const [refused, again] = whatsapp.of('messages').slice(before);
  t.ok((again?.at ?? 0) - (refused?.at ?? 0) >= 1000, 'not before it said');

  whatsapp.faults.set('messages', [isError(400, 131056)]);
  const pair = await say(shop.owner, channel, 'too many for one');
  await eventually('it is put off', async () => (await delivery(pair)).failures === 1);
  await comesTo(await say(shop.owner, other, 'for another'), 'SENT');
  t.strictSame(textsTo(otherTo), ['for another'], 'others do not wait for it');
  await hurry();
  await comesTo(pair, 'SENT');

  whatsapp.faults.set('messages', [isError(500, 131016), isError(503, 2)]);
  const failing = await say(shop.owner, channel, 'again and again');
  for (const failures of [1, 2]) {
    await eventually(`failure ${failures}`, async () => (await delivery(failing)).failures === failures);
    await hurry();
  }
  t.match(await comesTo(failing, 'SENT'), { attempts: 3, failures: 2 });

  const finals: [number, string][] = [
    [131047, 'Re-engagement message'],
    [131026, 'Message undeliverable'],
    [132001, 'Template does not exist'],
  ];
  for (const [code, details] of finals) {
    whatsapp.faults.set('messages', [isError(400, code, { details })]);
    const id = await say(shop.owner, channel, `${code}`);
    t.match(await comesTo(id, 'FAILED'), { attempts: 1, error: `WhatsApp answered ${code}: ${details}` });
  }
  for (const fault of [{ kind: 'cut' }, { kind: 'bad JSON' }, isError(504, -3)] as Fault[]) {
    whatsapp.faults.set('messages', [fault]);
    const id = await say(shop.owner, channel, fault.kind);
    t.match(await comesTo(id, 'UNSURE'), { attempts: 1, error: /did not answer/ });
  }
  t.notOk(textsTo(to).some((text) => /^13/.test(text)));
  t.equal(new Set(textsTo(to)).size, textsTo(to).length, 'nothing was sent twice');

  t.match(await comesTo(silence, 'UNSURE'), { attempts: 1, error: 'WhatsApp did not answer: no answer within 15 s' });
  whatsapp.release();

  whatsapp.faults.set('messages', [isError(401, 190, { message: 'The access token has expired' })]);
  await comesTo(await say(shop.owner, channel, 'locked out'), 'FAILED');
  const { data } = await ask('{ integrations(first: 1) { nodes { status statusMessage } } }', {}, shop.owner.token);
  t.match(data.integrations.nodes, [{ status: 'ERROR', statusMessage: /190/ }]);
  t.notMatch(
    JSON.stringify([world.logged, await sql('select error from platforms.deliveries')]),
    credentials.access_token,
  );
  t.notMatch(JSON.stringify(world.logged), credentials.app_secret);
});
