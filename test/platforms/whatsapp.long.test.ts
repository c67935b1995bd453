import t from 'tap';
import { credentials } from './whatsapp-server.ts';
import { newId, openWhatsappWorld, signatureOf, states, webhook, writes } from './whatsapp-world.ts';

const world = await openWhatsappWorld(t);
const { ask, connectNumber, eventually, filesOf, person, said, server, sql, tell, whatsapp } = world;
await world.start();
const shop = await connectNumber('anna');

const stored = async (): Promise<number> => (await sql('select count(*)::integer as n from platforms.inbound'))[0]?.n;
const only = (from: string) =>
  eventually('the message is there', async () => {
    const rows = await said(shop, from);
    return rows.length > 0 && rows.at(-1);
  });
const at = (path: string, given: RequestInit = {}) => fetch(`${server.url}webhooks/whatsapp/${path}`, given);

t.test('connecting tries the token and has Meta call the webhook, which answers its challenge (F1, F2)', async (t) => {
  const [row] = await sql('select * from platforms.integrations where id = $1', [shop.id]);
  t.match(row, { status: 'connected', name: 'Harbour +1 555-078-3881', account: credentials.phone_number_id });
  const [registered] = whatsapp.of('webhook');
  t.equal(
    registered?.body.webhook_configuration.override_callback_uri,
    `https://plinth.test/webhooks/whatsapp/${shop.id}`,
  );
  const challenge = (secret: string, mode = 'subscribe') =>
    at(`${shop.id}?hub.mode=${mode}&hub.verify_token=${secret}&hub.challenge=77`);
  t.equal(await (await challenge(shop.secret)).text(), '77');
  for (const [secret, mode] of [
    ['', 'subscribe'],
    [`${shop.secret}x`, 'subscribe'],
    [shop.secret, 'unsubscribe'],
  ] as const) {
    t.equal((await challenge(secret, mode)).status, 404);
  }
  t.equal((await at(`${shop.id}?hub.mode=subscribe&hub.verify_token=${shop.secret}&hub.challenge=<b>`)).status, 405);

  const bela = await person('bela');
  const document =
    'mutation ($credentials: JSON!) { connectPlatform(input: { platformId: "whatsapp", credentials: $credentials }) { integration { id } } }';
  const { app_secret: _, ...without } = credentials;
  t.match((await ask(document, { credentials: without }, bela.token)).errors?.[0], {
    message: 'WhatsApp needs access_token, phone_number_id, app_secret.',
  });
  const wrong = { ...credentials, access_token: 'EAAexpired' };
  t.notOk((await ask(document, { credentials: wrong }, bela.token)).errors);
  const told = await eventually('she is told why', async () => {
    const { data } = await ask('{ integrations { nodes { status statusMessage } } }', {}, bela.token);
    return data.integrations.nodes[0].status === 'ERROR' && data.integrations.nodes[0];
  });
  t.match(told, { statusMessage: /WhatsApp answered 190/ });
  t.notMatch(JSON.stringify([world.logged, told]), wrong.access_token);
});

t.test('what Meta has not signed is turned away, and nothing is stored', async (t) => {
  const value = writes('16505550001', { text: { body: 'Hello' } });
  const body = JSON.stringify(webhook(value));
  const signed = { 'x-hub-signature-256': signatureOf(body) };
  for (const signature of ['', 'sha256=', signatureOf(`${body} `), signatureOf(body).slice('sha256='.length)]) {
    t.equal((await tell(shop, value, { 'x-hub-signature-256': signature })).status, 404, signature.slice(0, 9));
  }
  const elsewhere = `telegram/${shop.id}`;
  t.equal((await fetch(`${server.url}webhooks/${elsewhere}`, { method: 'POST', body, headers: signed })).status, 404);
  for (const strange of [
    '',
    '{',
    '[]',
    'null',
    '{"object": "page", "entry": []}',
    '{"object": "whatsapp_business_account"}',
  ]) {
    const headers = { 'x-hub-signature-256': signatureOf(strange) };
    t.equal((await at(shop.id, { method: 'POST', body: strange, headers })).status, 400, strange);
  }
  const others = [
    webhook(value, 'message_template_status_update'),
    webhook(value, 'messages', '999'),
    webhook({ errors: [{ code: 130429 }] }),
  ];
  for (const told of others) {
    const other = JSON.stringify(told);
    const headers = { 'x-hub-signature-256': signatureOf(other) };
    t.equal((await at(shop.id, { method: 'POST', body: other, headers })).status, 200, 'Meta need not tell it again');
  }
  t.equal(await stored(), 0, 'and what is of another number is not ours');
});

t.test('what is told twice, at once, or in one request with others is stored once (F4)', async (t) => {
  const from = '16505550002';
  const [one, two, three] = ['one', 'two', 'three'].map((text) => writes(from, { text: { body: text } }));
  await Promise.all([...Array(6).keys()].map(() => tell(shop, one as object as Record<string, unknown>)));
  const both = { ...one, messages: [...(one?.messages ?? []), ...(two?.messages ?? []), ...(three?.messages ?? [])] };
  t.equal((await tell(shop, both)).status, 200);
  await tell(shop, both);
  await eventually('all is applied', async () => {
    const waiting = await sql('select from platforms.inbound where applied_at is null');
    return waiting.length === 0 && (await said(shop, from)).length === 3;
  });
  t.strictSame(
    (await said(shop, from)).map(({ text }) => text),
    ['one', 'two', 'three'],
  );
  const { data } = await ask(
    '{ myChannels(first: 1) { nodes { name kind unread conversation { chatId repliesUntil contact { name } } } } }',
    {},
    shop.owner.token,
  );
  const [channel] = data.myChannels.nodes;
  t.match(channel, {
    kind: 'EXTERNAL',
    unread: 3,
    conversation: { chatId: from, contact: { name: `Sheena ${from}` } },
  });
  const left = new Date(channel.conversation.repliesUntil).getTime() - Date.now();
  t.ok(left > 23 * 3_600_000 && left <= 24 * 3_600_000, 'and one may reply for a day');
});

t.test('what people send that is no text is described, and keeps what it answers (F4)', async (t) => {
  const from = '16505550003';
  const asked = writes(from, { text: { body: 'Which one?' } });
  await tell(shop, asked);
  const first = await only(from);
  const context = { context: { from: '15550783881', id: asked.messages[0].id } };
  const kinds: [object, object, string][] = [
    [{ location: { latitude: 37.4, longitude: -122.1, name: 'HQ' } }, {}, '[location 37.4, -122.1] HQ'],
    [{ contacts: [{ name: { formatted_name: 'Ana' }, phones: [{ phone: '+1 555' }] }] }, {}, '[contact Ana +1 555]'],
    [{ reaction: { message_id: asked.messages[0].id, emoji: '👍' } }, {}, '[👍]'],
    [{ order: { catalog_id: '1', product_items: [{}, {}], text: 'Soon!' } }, {}, '[order of 2] Soon!'],
    [{ unsupported: { type: 'poll_creation' }, errors: [{ code: 131051 }] }, {}, '[something that is not shown here]'],
    [{ system: { body: 'User changed from 1 to 2', type: 'user_changed_number' } }, {}, 'User changed from 1 to 2'],
    [{ text: { body: 'This one' } }, context, 'This one'],
  ];
  for (const [content, own] of kinds) await tell(shop, writes(from, content, own));
  await tell(shop, writes(from, { reaction: { message_id: asked.messages[0].id } }));
  await tell(shop, writes(from, { text: { body: 'of a group' } }, { group_id: 'Y2FwaV9ncm91cDox' }));
  const rows = await eventually('all are there', async () => {
    const all = await said(shop, from);
    return all.length === kinds.length + 1 && all;
  });
  t.strictSame(
    rows.slice(1).map(({ text }) => text),
    kinds.map(([, , text]) => text),
  );
  t.equal(rows[3]?.reply_to_id, first?.id, 'a reaction is a reply');
  t.equal(rows.at(-1)?.reply_to_id, first?.id);
  t.match(
    await sql('select error from platforms.inbound where error is not null and integration_id = $1', [shop.id]),
    [],
    'nothing was set aside',
  );

  const broken = { id: newId(), type: 'text', text: { body: 7 } };
  await tell(shop, { messages: [broken] });
  await tell(shop, writes(from, { text: { body: 'as ever' } }));
  await eventually('the next is there', async () => (await said(shop, from)).at(-1)?.text === 'as ever');
  const aside = await sql('select external_id from platforms.inbound where error is not null');
  t.strictSame(aside, [{ external_id: broken.id }], 'what cannot be read holds up nothing');
});

t.test('who hides their number is known by their user id, and answered by it', async (t) => {
  const id = 'US.13491208655302741918';
  const value = writes('', { text: { body: 'Guess who' } }, { from: undefined, from_user_id: id });
  await tell(shop, { ...value, contacts: [{ profile: { name: 'Ida', username: 'ida' }, user_id: id }] });
  const heard = await only(id);
  const [contact] = await sql('select name, username from platforms.contacts where external_id = $1', [id]);
  t.match(contact, { name: 'Ida', username: 'ida' });
  await ask(
    'mutation ($id: UUID!) { sendMessage(input: { channelId: $id, text: "Ida!" }) { message { id } } }',
    { id: heard?.channel_id },
    shop.owner.token,
  );
  const shown = await eventually('it is shown', async () => whatsapp.shown.find(({ text }) => text?.body === 'Ida!'));
  t.match(shown, { recipient: id, to: undefined });
});

t.test('files that people send are fetched with the token, by their ids (F4)', async (t) => {
  const from = '16505550004';
  const bytes = Buffer.from('%PDF-1.4\nfrom WhatsApp\n');
  const kinds = [
    ['document', { filename: 'order.pdf', caption: 'My order' }, 'My order', 'order.pdf'],
    ['image', {}, '[image]', 'image.pdf'],
    ['audio', { voice: true }, '[voice]', 'voice.pdf'],
    ['video', {}, '[video]', 'video.pdf'],
    ['sticker', { animated: false }, '[sticker]', 'sticker.pdf'],
  ] as const;
  for (const [n, [kind, own, text, name]] of kinds.entries()) {
    const id = `77000${n}`;
    whatsapp.media.set(id, { bytes, type: 'application/pdf' });
    await tell(shop, writes(from, { [kind]: { id, mime_type: 'application/pdf; a=b', sha256: 's', ...own } }));
    const message = await eventually(`the ${kind} is there`, async () =>
      (await said(shop, from)).find((each) => each.metadata.files?.[0].id === id),
    );
    t.match(message, { text, kind: kind === 'image' ? 'image' : 'file' });
    const [file] = await eventually('its file is there', async () => {
      const files = await filesOf(shop.owner, message.id);
      return files.length > 0 && files;
    });
    t.match(file, { name, mediaType: 'application/pdf' });
  }
  const calls = whatsapp.of('download').length;
  t.equal(calls, kinds.length);

  whatsapp.faults.set('download', [{ kind: 'cut' }]);
  whatsapp.media.set('770010', { bytes: Buffer.from(`${bytes}again`), type: 'application/pdf' });
  await tell(shop, writes(from, { document: { id: '770010', filename: 'cut.pdf' } }));
  const cut = await eventually('it has failed', async () => {
    const [row] = await sql('select * from platforms.remote_files where attempts = 1 and due_at > now()');
    return row;
  });
  await sql('update platforms.remote_files set due_at = now()');
  await sql('select platforms._ask_to_fetch($1)', [cut.channel_id]);
  await eventually('it is there', async () => (await filesOf(shop.owner, cut.message_id)).length === 1);

  await tell(shop, writes(from, { document: { id: '770099', filename: 'gone.pdf' } }));
  const gone = await eventually('it is said to be gone', async () => {
    const message = (await said(shop, from)).at(-1);
    return message?.metadata.files[0].problem && message;
  });
  t.match(gone.metadata.files[0].problem, /WhatsApp answered 100/);

  for (const [n, url] of ['http://plinth.test/', 'https://facebook.com.plinth.test/', 'file:///etc/passwd'].entries()) {
    whatsapp.media.set(`88000${n}`, { bytes, type: 'application/pdf', url });
    await tell(shop, writes(from, { document: { id: `88000${n}`, filename: 'x.pdf' } }));
    const problem = await eventually('it is not asked for', async () => {
      const file = (await said(shop, from)).at(-1)?.metadata.files[0];
      return file.id === `88000${n}` && file.problem;
    });
    t.match(problem, /no address of the file that is its own/, 'the token goes to nobody else');
  }
  t.notMatch(JSON.stringify([world.logged, await said(shop, from)]), credentials.access_token);
});

t.test('a state of a message that is not ours changes nothing', async (t) => {
  await tell(shop, states(newId(), 'delivered'));
  await tell(shop, states(newId(), 'read', { biz_opaque_callback_data: 'plinth 999999' }));
  await tell(shop, states(newId(), 'played'));
  await eventually('all is applied', async () => {
    return (await sql('select from platforms.inbound where applied_at is null')).length === 0;
  });
  t.strictSame(await sql("select from platforms.deliveries where state in ('delivered', 'read')"), []);
});
