import { randomUUID } from 'node:crypto';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act } = actsIn(world);
const boss = await person('boss', { operator: true });
const other = await person('other-boss', { operator: true });
const me = (token: string) => ask('{ me { username } }', {}, token);
const setStatus = (by: Person | undefined, userId: string, status: string, reason = 'spam') =>
  act(by, 'setAccountStatus', { userId, status, reason }, 'act { kind reason data operator { username } }');
const impersonate = (by: Person | undefined, userId: string, reason = 'a ticket') =>
  act(by, 'impersonate', { userId, reason }, 'sessionTokens { accessToken refreshToken expiresAt user { username } }');

t.test(
  'C1 an operator bans a user: sessions end at once, and they cannot sign in until they are let in again',
  async (t) => {
    const ann = await person('ann');
    const banned = await setStatus(boss, ann.id, 'BANNED');
    t.match(banned.data.setAccountStatus.act, {
      kind: 'STATUS_CHANGED',
      reason: 'spam',
      data: { before: 'active', after: 'banned' },
      operator: { username: 'boss' },
    });
    t.equal(codeOf(await me(ann.token)), 'UNAUTHENTICATED');
    await t.rejects(owner.query('select identity.open_session($1)', [ann.id]), { code: 'PT403' });
    t.notOk((await setStatus(boss, ann.id, 'ACTIVE', 'a mistake')).errors);
    t.equal(codeOf(await me(ann.token)), 'UNAUTHENTICATED', 'what has ended stays so');
    t.ok((await owner.query('select identity.open_session($1)', [ann.id])).rowCount);
    const { data } = await ask(
      'query ($id: UUID!) { acts(filter: { userId: { eq: $id } }) { nodes { kind reason user { username } } } }',
      { id: ann.id },
      other.token,
    );
    t.strictSame(
      data.acts.nodes.map((node: { reason: string }) => node.reason),
      ['a mistake', 'spam'],
      'every operator reads the log, the newest first',
    );
  },
);

t.test('who may not ban is refused, and nothing changes', async (t) => {
  const bea = await person('bea');
  t.equal(codeOf(await setStatus(undefined, bea.id, 'BANNED')), 'FORBIDDEN');
  t.equal(codeOf(await setStatus(bea, bea.id, 'BANNED')), 'FORBIDDEN');
  t.equal(codeOf(await setStatus(boss, other.id, 'BANNED')), 'FORBIDDEN', 'an operator');
  t.equal(codeOf(await setStatus(boss, boss.id, 'BANNED')), 'FORBIDDEN', 'oneself');
  t.equal(codeOf(await setStatus(boss, randomUUID(), 'BANNED')), 'NOT_FOUND');
  t.equal(codeOf(await setStatus(boss, bea.id, 'GONE')), 'BAD_USER_INPUT');
  for (const reason of ['', ' ', 'x'.repeat(1001)])
    t.equal(
      codeOf(await setStatus(boss, bea.id, 'BANNED', reason)),
      'BAD_USER_INPUT',
      JSON.stringify(reason.slice(0, 9)),
    );
  t.notOk((await me(bea.token)).errors);
  const { rowCount } = await owner.query('select from accounts.acts where user_id = $1', [bea.id]);
  t.equal(rowCount, 0);
});

t.test('two operators who ban and let in at the same moment take turns', async (t) => {
  const cal = await person('cal');
  const answers = await Promise.all([setStatus(boss, cal.id, 'BANNED'), setStatus(other, cal.id, 'ACTIVE')]);
  t.strictSame(answers.map(codeOf), [undefined, undefined]);
  const { rows } = await owner.query(
    `select account.status::text as status, (select data ->> 'after' from accounts.acts where user_id = $1 order by id desc limit 1) as last
    from identity.accounts as account where user_id = $1`,
    [cal.id],
  );
  t.equal(rows[0].status, rows[0].last, 'the log ends with what is so');
});

t.test('an operator acts as a user for 15 minutes, and the user sees who did, when and why', async (t) => {
  const dee = await person('dee');
  const { sessionTokens } = (await impersonate(boss, dee.id)).data.impersonate;
  t.equal(sessionTokens.refreshToken, null);
  t.ok(Date.parse(sessionTokens.expiresAt) - Date.now() <= 15 * 60_000);
  t.equal((await me(sessionTokens.accessToken)).data.me.username, 'dee');
  t.equal(
    codeOf(await ask('{ legalHolds { nodes { id } } }', {}, sessionTokens.accessToken)),
    'FORBIDDEN',
    'as a member',
  );
  const { data } = await ask(
    '{ acts { nodes { kind reason operator { username } } } sessions { nodes { impersonator { username } } } }',
    {},
    dee.token,
  );
  t.strictSame(data.acts.nodes, [{ kind: 'IMPERSONATED', reason: 'a ticket', operator: { username: 'boss' } }]);
  t.strictSame(
    data.sessions.nodes
      .map((node: { impersonator: { username: string } | null }) => node.impersonator?.username)
      .sort(),
    ['boss', undefined],
  );
  const eva = await person('eva');
  t.strictSame((await ask('{ acts { nodes { id } } }', {}, eva.token)).data.acts.nodes, [], 'and nobody else does');
  await ask('mutation { revokeSessions(input: {}) { result } }', {}, dee.token);
  t.equal(codeOf(await me(sessionTokens.accessToken)), 'UNAUTHENTICATED', 'the user can end it');
});

t.test('nobody acts as an operator, as someone who is banned, or without a reason', async (t) => {
  const fin = await person('fin');
  t.equal(codeOf(await impersonate(fin, boss.id)), 'FORBIDDEN');
  t.equal(codeOf(await impersonate(undefined, fin.id)), 'FORBIDDEN');
  t.equal(codeOf(await impersonate(boss, other.id)), 'FORBIDDEN');
  t.equal(codeOf(await impersonate(boss, fin.id, '')), 'BAD_USER_INPUT');
  t.notOk((await setStatus(boss, fin.id, 'INACTIVE')).errors);
  t.equal(codeOf(await impersonate(boss, fin.id)), 'CONFLICT');
  const { rowCount } = await owner.query(
    'select from identity.sessions where impersonator_id is not null and user_id = $1',
    [fin.id],
  );
  t.equal(rowCount, 0);
});

t.test('who is an operator no longer acts as nobody any longer', async (t) => {
  const [gus, late] = [await person('gus'), await person('late', { operator: true })];
  const { accessToken } = (await impersonate(late, gus.id)).data.impersonate.sessionTokens;
  t.notOk((await me(accessToken)).errors);
  await owner.query('update identity.accounts set is_operator = false where user_id = $1', [late.id]);
  t.equal(codeOf(await me(accessToken)), 'UNAUTHENTICATED');
  t.notOk((await me(gus.token)).errors);
});

t.test('the log of what operators did is edited by nobody, not by its owner either', async (t) => {
  const { rowCount: before } = await owner.query('select from accounts.acts');
  t.ok(before);
  for (const statement of [
    "update accounts.acts set reason = 'another'",
    'delete from accounts.acts',
    'truncate accounts.acts',
    `delete from identity.users where id = '${boss.id}'`,
  ]) {
    await t.rejects(owner.query(statement), statement);
  }
  t.equal((await owner.query('select from accounts.acts')).rowCount, before);
});

t.test('what an operator does as a user is logged singly, and nobody can edit it', async (t) => {
  const [hal, ida] = [await person('hal'), await person('ida')];
  const { accessToken } = (await impersonate(boss, hal.id, 'ticket 17')).data.impersonate.sessionTokens;
  const { channel } = (
    await ask('mutation { first: createRoom(input: {name: "theirs"}) { channel { id } } }', {}, accessToken)
  ).data.first;
  t.notOk((await me(accessToken)).errors, 'what is only read is not logged');
  const both = await ask(
    `mutation ($id: UUID!) {
      a: sendMessage(input: {channelId: $id, text: "one"}) { message { id } }
      b: updateProfile(input: {bio: "two"}) { user { bio } }
    }`,
    { id: channel.id },
    accessToken,
  );
  t.notOk(both.errors);
  t.equal(codeOf(await ask('mutation { removeAccount { ok } }', {}, accessToken)), 'FORBIDDEN');
  t.notOk((await ask('mutation { updateProfile(input: {bio: "own"}) { user { bio } } }', {}, hal.token)).errors);

  const query = '{ acts { nodes { kind reason data createdAt operator { username } user { username } } } }';
  const actedFor = async (by: Person) =>
    (await ask(query, {}, by.token)).data.acts.nodes.filter(({ kind }: { kind: string }) => kind === 'ACTED');
  const seen = await actedFor(hal);
  t.strictSame(
    seen.map(({ data }: { data: { mutation: string } }) => data.mutation).reverse(),
    ['createRoom', 'sendMessage', 'updateProfile'],
    'by the name of each, whatever the client calls it; not what was refused, nor what the user did',
  );
  for (const act of seen) {
    t.match(act, { reason: 'ticket 17', operator: { username: 'boss' }, user: { username: 'hal' } });
    t.ok(Date.parse(act.createdAt) > Date.now() - 60_000);
  }
  t.strictSame(await actedFor(other), seen, 'operators see it');
  t.strictSame(await actedFor(ida), [], 'and nobody else');
  for (const statement of [
    "update accounts.acts set reason = 'x' where kind = 'acted'",
    "delete from accounts.acts where kind = 'acted'",
  ])
    await t.rejects(owner.query(statement), { code: 'PT403' });
  await owner.query("select accounts._note_acting(id, 'x', null) from identity.sessions where user_id = $1", [ida.id]);
  t.strictSame(await actedFor(ida), [], 'a session of one’s own makes no entry');
});
