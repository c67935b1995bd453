import t from 'tap';
import { openSealing } from '../../functions/sealing.ts';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

const world = await openPlatformWorld(t);
const { ask, connect, eventually, person, post, said, server, sql } = world;
const { act, say } = actsIn(world);
const workers = await world.start();
const bot = await connect('hans');
const stored = async () => Number((await sql('select count(*) from platforms.inbound'))[0]?.count);

t.test('what does not come from Telegram is turned away, and nothing is stored', async (t) => {
  const update = writes(701, 'Hello');
  const secret = 'x-telegram-bot-api-secret-token';
  for (const wrong of ['', 'wrong', `${bot.secret}x`, bot.secret.slice(1)]) {
    t.equal((await post(bot, update, { [secret]: wrong })).status, 404, wrong.slice(0, 5));
  }
  const nobody = { ...bot, id: '01a1fe74-6591-7639-89a3-ede7d351c8c4' };
  t.equal((await post(nobody, update)).status, 404);
  const at = (path: string, given: RequestInit = {}) =>
    fetch(`${server.url}webhooks/${path}`, { method: 'POST', headers: { [secret]: bot.secret }, ...given });
  t.equal((await at(`whatsapp/${bot.id}`, { body: '{}' })).status, 404);
  t.equal((await at(`telegram/${bot.id}/more`, { body: '{}' })).status, 404);
  t.equal((await at(`telegram/${bot.id}`, { method: 'GET' })).status, 405);
  for (const body of ['', '{', '[]', 'null', '{"update_id": "1"}', '{"message": {}}']) {
    t.equal((await at(`telegram/${bot.id}`, { body })).status, 400, body);
  }
  t.equal((await at(`telegram/${bot.id}`, { body: `{"update_id": 1, "x": "${'x'.repeat(1_100_000)}"}` })).status, 413);
  t.equal(await stored(), 0);
});

t.test('what cannot be read is set aside, and does not hold up the rest', async (t) => {
  const strange = [
    { update_id: 1, message: { message_id: 1, from: 7 } },
    { update_id: 2, message: { message_id: 1, date: 'x', chat: {}, from: { id: 1 } } },
    { update_id: 3, something_new: {} },
    { update_id: 4, message: { ...writes(702, 'x').message, text: 'NUL \0 and half \ud800' } },
    { update_id: 5, message: { ...writes(702, 'x').message, text: undefined } },
    { update_id: 6, message: { ...writes(702, 'x').message, text: 'x'.repeat(20_000) } },
  ];
  for (const update of strange) t.equal((await post(bot, update)).status, 200);
  await post(bot, writes(702, 'as ever'));
  await eventually('the last is there', async () => (await said(bot, 702)).some(({ text }) => text === 'as ever'));
  const texts = (await said(bot, 702)).map(({ text }) => String(text).slice(0, 20));
  t.strictSame(texts, ['NUL  and half \ufffd', '[something that is n', 'x'.repeat(20), 'as ever']);
  const aside = await sql('select external_id from platforms.inbound where error is not null order by id');
  t.strictSame(
    aside.map(({ external_id: id }) => id),
    ['1', '2'],
  );
});

t.test('credentials are encrypted before Postgres sees them, and nobody reads them', async (t) => {
  const [held] = await sql('select * from platforms.sealed_credentials where integration_id = $1', [bot.id]);
  t.notMatch(JSON.stringify(held), world.telegramToken);
  t.strictSame(held?.names, ['bot_token']);
  t.notMatch(JSON.stringify(await sql('select * from jobs.runs')), world.telegramToken);
  t.notMatch(JSON.stringify(world.logged), world.telegramToken);
  const refused = async (credentials: unknown) => {
    const document = `mutation ($credentials: JSON!) { connectPlatform(input: { platformId: "telegram", credentials: $credentials }) { integration { id } } }`;
    return (await ask(document, { credentials }, bot.owner.token)).errors?.[0];
  };
  t.match(await refused({ token: 'x' }), {
    message: 'Telegram needs bot_token.',
    extensions: { code: 'BAD_USER_INPUT' },
  });
  for (const wrong of [{}, [], 'x', { bot_token: 7 }, { bot_token: '' }, { bot_token: 'x'.repeat(70_000) }]) {
    t.equal((await refused(wrong))?.extensions?.code, 'BAD_USER_INPUT');
  }
  await t.rejects(
    sql(
      "select set_config('plinth.user_id', $1, false), platforms.connect_platform('telegram', '{\"bot_token\": \"x\"}')",
      [bot.owner.id],
    ),
    /encrypted only|Sign in/,
    'not even from psql in the clear',
  );
});

t.test('the key is replaced while all goes on', async (t) => {
  const older = world.env.CREDENTIALS_KEY as string;
  const newer = Buffer.alloc(32, 9).toString('base64url');
  await workers.stop();
  await world.start({ CREDENTIALS_KEY: `${newer},${older}` });
  const [run] = await sql("select (jobs.enqueue('reseal_credentials')).id");
  t.match((await world.ended(run?.id)).result, { resealed: 1, lost: 0 });
  const [held] = await sql('select sealed, key_id from platforms.sealed_credentials where integration_id = $1', [
    bot.id,
  ]);
  const [both, fresh, old] = await Promise.all(
    [[newer, older], [newer], [older]].map((keys) =>
      openSealing(keys.map((key) => new Uint8Array(Buffer.from(key, 'base64url')))),
    ),
  );
  const stored = held as Parameters<NonNullable<typeof both>['open']>[0];
  t.match(await fresh?.open(stored), { bot_token: world.telegramToken, webhook_secret: bot.secret });
  await t.rejects(async () => old?.open(stored), { code: 'PT409' });
  const tampered = { ...stored, sealed: { ...stored.sealed, sealed: stored.sealed.wrapped } };
  await t.rejects(async () => fresh?.open(tampered), 'what is exchanged does not decrypt');
  const id = (await said(bot, 702))[0]?.channel_id as string;
  await say(bot.owner, id, 'with the new key');
  await eventually('it is sent', async () => world.telegram.shown.some(({ text }) => text === 'with the new key'));
});

t.test('who serves an integration sees its conversations, and nobody else (F2)', async (t) => {
  const [ida, jon] = [await person('ida'), await person('jon')];
  const all =
    '{ integrations { nodes { id } } contacts { nodes { id } } conversations { nodes { channelId status } } deliveries { nodes { id } } }';
  t.strictSame((await ask(all, {}, ida.token)).data, {
    integrations: { nodes: [] },
    contacts: { nodes: [] },
    conversations: { nodes: [] },
    deliveries: { nodes: [] },
  });
  t.notOk((await act(bot.owner, 'addAgent', { integrationId: bot.id, userId: ida.id }, 'agent { userId }')).errors);
  const seen = (await ask(all, {}, ida.token)).data;
  t.equal(seen.conversations.nodes.length, 1);
  const channelId = seen.conversations.nodes[0].channelId;
  const say = (by: typeof ida) => act(by, 'sendMessage', { channelId, text: 'I take over.' }, 'message { id }');
  t.equal((await say(ida)).errors?.[0]?.extensions?.code, 'NOT_FOUND', 'not before she takes it');
  const escalate = { channelId, status: 'ESCALATED', reason: 'It is urgent.' };
  const status = 'conversation { status reason assignee { username } }';
  t.equal((await act(jon, 'setConversationStatus', escalate, status)).errors?.[0]?.extensions?.code, 'NOT_FOUND');
  t.match((await act(bot.owner, 'setConversationStatus', escalate, status)).data.setConversationStatus, {
    conversation: { status: 'ESCALATED', reason: 'It is urgent.' },
  });
  const told = await sql("select from events.log where topic = 'user:' || $1 and type = 'conversation_escalated'", [
    ida.id,
  ]);
  t.equal(told.length, 1, 'the agents are told');
  t.equal(
    (await act(bot.owner, 'assignConversation', { channelId, userId: jon.id }, status)).errors?.[0]?.extensions?.code,
    'FORBIDDEN',
  );
  t.match((await act(ida, 'assignConversation', { channelId }, status)).data, {
    assignConversation: { conversation: { assignee: { username: 'ida' } } },
  });
  t.notOk((await say(ida)).errors);
  await act(bot.owner, 'removeAgent', { integrationId: bot.id, userId: ida.id }, 'ok');
  t.equal((await say(ida)).errors?.[0]?.extensions?.code, 'NOT_FOUND');
});

t.test('an account that is removed leaves no credentials behind', async (t) => {
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, bot.owner.token)).errors);
  t.strictSame(await sql('select from platforms.sealed_credentials'), []);
  t.match(await sql('select status from platforms.integrations'), [{ status: 'disconnected' }]);
  t.equal((await post(bot, writes(702, 'Anyone?'))).status, 404);
});

t.test('who signs with credentials that the platform has not confirmed is not believed', async (t) => {
  const frida = await connect('frida');
  await sql("update platforms.integrations set status = 'pending' where id = $1", [frida.id]);
  const before = await stored();
  t.equal((await post(frida, writes(703, 'forged'))).status, 503);
  t.equal(await stored(), before);
  await sql("update platforms.integrations set status = 'connected' where id = $1", [frida.id]);
  t.equal((await post(frida, writes(703, 'Hello'))).status, 200);
  await eventually('it is there', async () => (await said(frida, 703)).some(({ text }) => text === 'Hello'));
});

t.test('what anyone may repeat is bounded: checks, people who are new, codes that are tried', async (t) => {
  const gina = await connect('gina');
  const counts =
    "select count(*)::integer as count from jobs.runs where task = 'check_integration' and state = 'queued'";
  await sql("select jobs.pause('check_integration')");
  for (let n = 0; n < 3; n += 1) await sql('select platforms._check($1)', [gina.id]);
  t.match(await sql(counts), [{ count: 1 }]);
  await sql("select jobs.resume('check_integration')");
  await post(gina, writes(704, 'Hello'));
  await eventually('it is there', async () => (await said(gina, 704)).length > 0);
  await sql("update identity.attempts set count = 5000 where subject = 'contacts:' || $1", [gina.id]);
  await post(gina, writes(705, 'one too many'));
  const aside = `select error from platforms.inbound where error is not null and integration_id = '${gina.id}'`;
  await eventually('it is set aside', async () => (await sql(aside)).length > 0);
  t.match(await sql(aside), [{ error: /new in an hour/ }]);
  const tried = `select platforms._link(contact, 'AAAAAA') as answer from platforms.contacts as contact where integration_id = '${gina.id}' limit 1`;
  t.match(await sql(tried), [{ answer: /wrong, spent or expired/ }]);
  await sql("update identity.attempts set count = 100 where subject = 'links:' || $1", [gina.id]);
  t.match(await sql(tried), [{ answer: /Too many/ }]);
});
