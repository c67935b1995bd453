import { randomUUID } from 'node:crypto';
import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
type Token = { id: string; token: string; scopes: string[] };

const createBot = (by: Person | undefined, username: string) =>
  ask(
    'mutation ($username: String!) { createBot(input: { username: $username, displayName: "A bot" }) { user { id bot { owner { username } } } } }',
    { username },
    by?.token,
  );
const createToken = (by: Person | undefined, botId: string, more: object = {}) =>
  ask(
    'mutation ($input: CreateBotTokenInput!) { createBotToken(input: $input) { botToken { id token scopes } } }',
    { input: { botId, name: 'deploys', ...more } },
    by?.token,
  );
const openSession = (token: string) =>
  ask(
    'mutation ($token: String!) { openBotSession(input: { token: $token }) { sessionTokens { accessToken refreshToken user { id } } } }',
    { token },
  );
const revoke = (by: Person | undefined, id: string) =>
  ask('mutation ($id: UUID!) { revokeBotToken(input: { id: $id }) { ok } }', { id }, by?.token);
const say = (token: string, channelId: string, text = 'hello') =>
  ask(
    'mutation ($channelId: UUID!, $text: String!) { sendMessage(input: { channelId: $channelId, text: $text }) { message { id kind sender { username } } } }',
    { channelId, text },
    token,
  );
const createRoom = (token: string) =>
  ask('mutation { createRoom(input: { name: "made", isPublic: true }) { channel { id } } }', {}, token);
const me = (token: string) => ask('{ me { username } }', {}, token);

/** A bot of someone's, in a room of theirs, with sessions of each set of scopes. */
async function botOf(by: Person, username: string) {
  const id: string = (await createBot(by, username)).data.createBot.user.id;
  const room: string = (await createRoom(by.token)).data.createRoom.channel.id;
  await ask(
    'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { role } } }',
    { input: { channelId: room, userId: id } },
    by.token,
  );
  const tokenWith = async (...scopes: string[]): Promise<Token> =>
    (await createToken(by, id, { scopes })).data.createBotToken.botToken;
  const signIn = async (...scopes: string[]): Promise<string> =>
    (await openSession((await tokenWith(...scopes)).token)).data.openBotSession.sessionTokens.accessToken;
  return { id, room, tokenWith, signIn };
}

t.test('a bot is a user with an owner, and signs in by a token that is shown once', async (t) => {
  const ann = await person('ann');
  const made = await createBot(ann, 'ann-bot');
  t.equal(made.data.createBot.user.bot.owner.username, 'ann');
  const { id } = made.data.createBot.user;
  const { token, ...shown } = (await createToken(ann, id)).data.createBotToken.botToken;
  t.match(token, /^bot_[0-9a-f]{64}$/);
  const { sessionTokens } = (await openSession(token)).data.openBotSession;
  t.equal(sessionTokens.refreshToken, null);
  t.equal((await me(sessionTokens.accessToken)).data.me.username, 'ann-bot');
  const list = await ask(
    'query ($id: UUID!) { botTokens(botId: $id) { id name token scopes lastUsedAt } }',
    { id },
    ann.token,
  );
  t.match(list.data.botTokens, [{ id: shown.id, name: 'deploys', token: null, scopes: [] }]);
  t.ok(list.data.botTokens[0].lastUsedAt);
  const { rows } = await owner.query('select to_jsonb(known)::text as row from identity.bot_tokens as known');
  t.notOk(
    rows.some(({ row }) => row.includes(token.slice(4))),
    'only its hash is kept',
  );
});

t.test('a token without scopes reads, and does nothing else', async (t) => {
  const bea = await person('bea');
  const { room, signIn } = await botOf(bea, 'bea-bot');
  const session = await signIn();
  await say(bea.token, room, 'to be read');
  const read = await ask(
    'query ($id: UUID!) { channel(id: $id) { messages { nodes { text } } } }',
    { id: room },
    session,
  );
  t.strictSame(read.data.channel.messages.nodes, [{ text: 'to be read' }]);
  for (const answer of [await say(session, room), await createRoom(session)]) t.equal(codeOf(answer), 'FORBIDDEN');
  const { rowCount } = await owner.query("select from chat.messages where channel_id = $1 and kind = 'bot'", [room]);
  t.equal(rowCount, 0);
});

t.test('each scope lets a bot do its own, whatever function does it', async (t) => {
  const cal = await person('cal');
  const { room, id, signIn } = await botOf(cal, 'cal-bot');
  const [sends, manages] = [await signIn('SEND'), await signIn('MANAGE')];
  t.match((await say(sends, room)).data.sendMessage.message, { kind: 'BOT', sender: { username: 'cal-bot' } });
  t.equal(codeOf(await createRoom(sends)), 'FORBIDDEN');
  const leave = 'mutation ($id: UUID!) { leaveChannel(input: { channelId: $id }) { ok } }';
  t.equal(codeOf(await ask(leave, { id: room }, sends)), 'FORBIDDEN');
  t.equal(codeOf(await say(manages, room)), 'FORBIDDEN');
  t.notOk((await createRoom(manages)).errors);
  t.notOk((await ask(leave, { id: room }, manages)).errors);
  t.equal((await say(cal.token, room)).data.sendMessage.message.kind, 'TEXT', 'people are not asked for scopes');
  const both = await signIn('SEND', 'MANAGE', 'SEND');
  t.notOk((await createRoom(both)).errors);

  for (const mutation of [
    'removeAccount { ok }',
    'requestExport { export { id } }',
    'requestEmailChange(input: { email: "bot@plinth.test" }) { codeRequest { id } }',
    'createBot(input: { username: "more", displayName: "More" }) { user { id } }',
    `createBotToken(input: { botId: "${id}", name: "x" }) { botToken { id } }`,
  ])
    t.equal(codeOf(await ask(`mutation { ${mutation} }`, {}, both)), 'FORBIDDEN', mutation);
});

t.test('a revoked token ends its sessions at once, and the others go on', async (t) => {
  const [dee, eve] = [await person('dee'), await person('eve')];
  const { tokenWith } = await botOf(dee, 'dee-bot');
  const [first, second] = [await tokenWith('SEND'), await tokenWith('SEND')];
  const [one, two] = await Promise.all(
    [first, second].map(
      async ({ token }) => (await openSession(token)).data.openBotSession.sessionTokens.accessToken as string,
    ),
  );
  t.equal(codeOf(await revoke(eve, first.id)), 'NOT_FOUND', 'not by another');
  t.equal(codeOf(await revoke(undefined, first.id)), 'FORBIDDEN');
  t.notOk((await me(one as string)).errors);
  const answers = await Promise.all([revoke(dee, first.id), revoke(dee, first.id)]);
  t.strictSame(answers.filter((answer) => !answer.errors).length >= 1, true);
  t.equal(codeOf(await me(one as string)), 'UNAUTHENTICATED');
  t.equal(codeOf(await openSession(first.token)), 'UNAUTHENTICATED');
  t.notOk((await me(two as string)).errors);
});

t.test('a bot goes with its owner, and by their wish', async (t) => {
  const [fin, boss] = [await person('fin'), await person('boss', { operator: true })];
  const { id, tokenWith } = await botOf(fin, 'fin-bot');
  const { token } = await tokenWith('SEND');
  const session = (await openSession(token)).data.openBotSession.sessionTokens.accessToken;
  const status = (to: string) =>
    ask(
      'mutation ($input: SetAccountStatusInput!) { setAccountStatus(input: $input) { act { id } } }',
      { input: { userId: fin.id, status: to, reason: 'spam' } },
      boss.token,
    );
  t.notOk((await status('BANNED')).errors);
  t.equal(codeOf(await me(session)), 'UNAUTHENTICATED', 'banned together');
  t.equal(codeOf(await openSession(token)), 'FORBIDDEN');
  t.notOk((await status('ACTIVE')).errors);
  t.notOk((await openSession(token)).errors, 'and let in together');
  const gus = await person('gus');
  const remove = (by: Person) =>
    ask('mutation ($id: UUID!) { removeBot(input: { botId: $id }) { ok } }', { id }, by.token);
  t.equal(codeOf(await remove(gus)), 'NOT_FOUND');
  const { rows } = await owner.query('select (identity.open_session($1)).access_token as claims', [fin.id]);
  const back = { ...fin, token: await world.tokens.sign(rows[0].claims) };
  t.notOk((await remove(back)).errors);
  t.equal(codeOf(await openSession(token)), 'UNAUTHENTICATED');
  const left = await owner.query('select removed_at is not null as removed from identity.users where id = $1', [id]);
  t.strictSame(left.rows, [{ removed: true }], 'what it said stays, without its name');
});

t.test('bots and tokens are few, and wrong input is refused', async (t) => {
  const hal = await person('hal');
  t.equal(codeOf(await createBot(undefined, 'nobody-bot')), 'FORBIDDEN');
  for (const username of ['', 'x', 'a b c', 'x'.repeat(51)])
    t.equal(codeOf(await createBot(hal, username)), 'BAD_USER_INPUT', username.slice(0, 9));
  t.equal(codeOf(await createBot(hal, 'HAL')), 'CONFLICT');
  const id = (await createBot(hal, 'hal-bot')).data.createBot.user.id;
  await owner.query(
    `with made as (insert into identity.users (username, display_name) select 'hal-bot-' || n, 'Bot' from generate_series(1, 18) as n returning id)
    insert into identity.bots (user_id, owner_id) select id, $1 from made`,
    [hal.id],
  );
  const last = await Promise.all([createBot(hal, 'hal-last'), createBot(hal, 'hal-over')]);
  t.strictSame(last.map(codeOf).sort(), ['CONFLICT', undefined].sort(), 'of two at once one is the twentieth');
  const ida = await person('ida');
  t.equal(codeOf(await createToken(ida, id)), 'NOT_FOUND');
  t.equal(codeOf(await createToken(hal, randomUUID())), 'NOT_FOUND');
  t.equal(codeOf(await createToken(hal, id, { name: '' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await createToken(hal, id, { expiresAt: '2020-01-01T00:00:00Z' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await createToken(hal, id, { expiresAt: '9999-01-01T00:00:00Z' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await createToken(hal, id, { scopes: ['RULE'] })), 'BAD_USER_INPUT');
  const many = await Promise.all(Array.from({ length: 12 }, () => createToken(hal, id)));
  t.equal(many.filter((answer) => !answer.errors).length, 10);
  for (const token of ['', 'bot_', 'x'.repeat(100_000), "bot_' or true --"])
    t.equal(codeOf(await openSession(token)), 'UNAUTHENTICATED', token.slice(0, 20));
  const { token } = many.find((answer) => !answer.errors)?.data.createBotToken.botToken ?? {};
  await owner.query("update identity.bot_tokens set expires_at = now() - interval '1 second'");
  t.equal(codeOf(await openSession(token)), 'UNAUTHENTICATED', 'an expired one');
});

t.test('a bot in a loop is stopped', async (t) => {
  const jon = await person('jon');
  const { tokenWith } = await botOf(jon, 'jon-bot');
  const { token } = await tokenWith();
  for (let opened = 0; opened < 60; opened += 1) await openSession(token);
  t.equal(codeOf(await openSession(token)), 'TOO_MANY_REQUESTS');
});
