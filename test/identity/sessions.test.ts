import t from 'tap';
import { hashPassword } from '../../functions/passwords.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, person, tokens } = world;
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

/** Another session of a user, with its refresh token; as logging in gives it. */
async function signIn(user: Person): Promise<{ id: string; token: string; refresh: string }> {
  const { rows } = await owner.query(
    'select (t).access_token as claims, (t).refresh_token as refresh from identity.open_session($1) as t',
    [user.id],
  );
  return { id: rows[0].claims.sid, token: await tokens.sign(rows[0].claims), refresh: rows[0].refresh };
}
const me = (token?: string) => ask('{ me { username } }', {}, token);
const sessionsOf = async (token: string): Promise<{ id: string; revokedAt: string | null }[]> =>
  (await ask('{ sessions(orderBy: ID_DESC) { nodes { id revokedAt } } }', {}, token)).data.sessions.nodes;
const refresh = (refreshToken: string): Promise<Answer> =>
  ask(
    'mutation ($input: RefreshSessionInput!) { refreshSession(input: $input) { sessionTokens { accessToken refreshToken user { username } } } }',
    {
      input: { refreshToken },
    },
  );
const revoke = (token: string | undefined, id?: string): Promise<Answer> =>
  ask(
    'mutation ($input: RevokeSessionsInput!) { revokeSessions(input: $input) { result } }',
    { input: { ...(id && { id }) } },
    token,
  );

t.test('C10 a user lists their own sessions, with address and program', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const second = await signIn(ann);
  await signIn(bob);
  const own = await sessionsOf(second.token);
  t.equal(own.length, 2);
  t.equal(own[0]?.id, second.id, 'the newest first');

  // Signing in through the server: it knows the address, and the program as it calls itself.
  const email = 'ann@plinth.test';
  await owner.query('update identity.accounts set email = $2 where user_id = $1', [ann.id, email]);
  const hash = await hashPassword('a long password');
  await owner.query('insert into identity.passwords (user_id, hash) values ($1, $2)', [ann.id, hash]);
  const third = await ask('mutation ($input: LogInInput!) { logIn(input: $input) { sessionTokens { accessToken } } }', {
    input: { email, password: 'a long password' },
  });
  const token = third.data.logIn.sessionTokens.accessToken;
  const { data } = await ask(
    '{ sessions(orderBy: ID_DESC, first: 1) { nodes { address userAgent user { username } } } }',
    {},
    token,
  );
  t.match(data.sessions.nodes[0], { address: '127.0.0.1', userAgent: /node/, user: { username: 'ann' } });
});

t.test('C10 one session is revoked, or all; a revoked one ends at once', async (t) => {
  const [cat, dan] = [await person('cat'), await person('dan')];
  const [second, third] = [await signIn(cat), await signIn(cat)];
  t.equal((await revoke(cat.token, second.id)).data.revokeSessions.result, 1);
  t.equal(codeOf(await me(second.token)), 'UNAUTHENTICATED');
  t.equal(codeOf(await refresh(second.refresh)), 'UNAUTHENTICATED', 'nor can it be refreshed');
  t.notOk((await me(third.token)).errors);
  t.equal(codeOf(await revoke(cat.token, second.id)), 'NOT_FOUND', 'a second time there is nothing to revoke');
  t.equal(codeOf(await revoke(dan.token, third.id)), 'NOT_FOUND', 'nor for another user');
  t.notOk((await me(third.token)).errors);
  t.equal((await revoke(cat.token)).data.revokeSessions.result, 2, 'all that are left');
  for (const token of [cat.token, third.token]) t.equal(codeOf(await me(token)), 'UNAUTHENTICATED');
  t.notOk((await me(dan.token)).errors, 'and nobody else’s');
  t.equal(codeOf(await revoke(undefined)), 'FORBIDDEN', 'nobody revokes without being signed in');
});

t.test('C10 logging out ends the session it came with', async (t) => {
  const eli = await person('eli');
  const second = await signIn(eli);
  t.notOk((await ask('mutation { logOut { ok } }', {}, second.token)).errors);
  t.equal(codeOf(await me(second.token)), 'UNAUTHENTICATED');
  t.equal((await me(eli.token)).data.me.username, 'eli');
});

t.test('a refresh token is good once; using it again ends the whole session', async (t) => {
  const session = await signIn(await person('fay'));
  const first = (await refresh(session.refresh)).data.refreshSession.sessionTokens;
  t.equal(first.user.username, 'fay');
  t.not(first.refreshToken, session.refresh);
  t.notOk((await me(first.accessToken)).errors);
  const second = (await refresh(first.refreshToken)).data.refreshSession.sessionTokens;
  t.equal(codeOf(await refresh(session.refresh)), 'UNAUTHENTICATED', 'the first token comes again: a theft');
  t.equal(codeOf(await me(second.accessToken)), 'UNAUTHENTICATED', 'whoever holds the newest is out too');
  t.equal(codeOf(await refresh(second.refreshToken)), 'UNAUTHENTICATED');
  t.equal(codeOf(await refresh('0'.repeat(64))), 'UNAUTHENTICATED');
  t.equal(codeOf(await refresh('')), 'UNAUTHENTICATED');
});

t.test('of two refreshes at the same moment one wins', async (t) => {
  const session = await signIn(await person('gus'));
  const answers = await Promise.all(Array.from({ length: 6 }, () => refresh(session.refresh)));
  t.equal(answers.filter(({ errors }) => !errors).length, 1);
});

t.test('a session tells where it was refreshed from, and is refreshed 100 times an hour at most', async (t) => {
  const session = await signIn(await person('gwen'));
  const kept = async () =>
    (
      await owner.query('select host(address) as address, user_agent from identity.sessions where id = $1', [
        session.id,
      ])
    ).rows[0];
  t.strictSame(await kept(), { address: null, user_agent: null });
  const { refreshToken } = (await refresh(session.refresh)).data.refreshSession.sessionTokens;
  t.match(await kept(), { address: '127.0.0.1', user_agent: /node/ });

  await owner.query("update identity.attempts set count = 100 where subject = 'refresh:' || $1", [session.id]);
  t.equal(codeOf(await refresh(refreshToken)), 'TOO_MANY_REQUESTS');
  await owner.query("update identity.attempts set started_at = now() - interval '61 minutes'");
  t.notOk((await refresh(refreshToken)).errors, 'an hour later with the same token, which was not spent');
});

t.test('tokens are kept as hashes', async (t) => {
  const session = await signIn(await person('hal'));
  const { rows } = await owner.query("select string_agg(r::text, ' ') as all from identity.refresh_tokens as r");
  t.notOk(rows[0].all.includes(session.refresh));
  const found = await owner.query("select 1 from identity.refresh_tokens where hash = sha256(convert_to($1, 'UTF8'))", [
    session.refresh,
  ]);
  t.equal(found.rowCount, 1);
});

t.test('a session ends with its time, and a refresh prolongs it', async (t) => {
  const session = await signIn(await person('ian'));
  const left = async () =>
    (
      await owner.query(
        "select expires_at - now() as left, expires_at > now() + interval '29 days' as fresh from identity.sessions where id = $1",
        [session.id],
      )
    ).rows[0];
  await owner.query("update identity.sessions set expires_at = now() + interval '1 minute' where id = $1", [
    session.id,
  ]);
  const renewed = (await refresh(session.refresh)).data.refreshSession.sessionTokens;
  t.ok((await left()).fresh);
  await owner.query("update identity.sessions set expires_at = now() - interval '1 second' where id = $1", [
    session.id,
  ]);
  t.equal(codeOf(await me(renewed.accessToken)), 'UNAUTHENTICATED');
  t.equal(codeOf(await refresh(renewed.refreshToken)), 'UNAUTHENTICATED');
});

t.test('a banned account, a changed role and an invented token end at the door', async (t) => {
  const [jon, kim] = [await person('jon'), await person('kim', { operator: true })];
  await owner.query("update identity.accounts set status = 'banned' where user_id = $1", [jon.id]);
  t.equal(codeOf(await me(jon.token)), 'UNAUTHENTICATED', 'banned');
  await owner.query("update identity.accounts set status = 'active' where user_id = $1", [jon.id]);
  t.notOk((await me(jon.token)).errors);

  const session = (await owner.query('select id from identity.sessions where user_id = $1', [jon.id])).rows[0].id;
  for (const [what, claims] of [
    ['a member as operator', { sub: jon.id, sid: session, role: 'operator' }],
    ['another’s session', { sub: kim.id, sid: session, role: 'member' }],
    ['a session that is none', { sub: jon.id, sid: jon.id, role: 'member' }],
    ['no session', { role: 'member' }],
  ] as const) {
    t.equal(codeOf(await me(await tokens.sign(claims))), 'UNAUTHENTICATED', what);
  }
  await owner.query('update identity.accounts set is_operator = false where user_id = $1', [kim.id]);
  t.equal(codeOf(await me(kim.token)), 'UNAUTHENTICATED', 'who is no operator any more signs in again');
  for (const role of ['plinth_owner', 'plinth_server', 'root', 'postgres', 'none']) {
    const answer = await ask('{ users { totalCount } }', {}, await tokens.sign({ role } as never));
    t.ok(answer.errors, `nobody becomes ${role}`);
    t.notOk(answer.data?.users);
  }
});

t.test('a service is nobody, and may do what services are granted', async (t) => {
  const token = await world.service();
  t.equal(codeOf(await me(token)), 'FORBIDDEN');
  t.equal(codeOf(await ask('{ users { totalCount } }', {}, token)), 'FORBIDDEN');
  t.notOk((await ask('mutation { expireCodes { result } }', {}, token)).errors);
  const lou = await person('lou');
  const named = await tokens.sign({ role: 'service', sub: lou.id });
  t.equal(
    codeOf(await ask('mutation { removeAccount { ok } }', {}, named)),
    'FORBIDDEN',
    'a user in its token is not believed',
  );
  t.equal(
    codeOf(await ask('mutation { expireCodes { result } }', {}, lou.token)),
    'FORBIDDEN',
    'a member is no service',
  );
});

t.test('T7 what has expired is removed, and nothing else', async (t) => {
  const max = await person('max');
  const [old, recent] = [await signIn(max), await signIn(max)];
  await owner.query("update identity.sessions set revoked_at = now() - interval '31 days' where id = $1", [old.id]);
  await owner.query("update identity.sessions set revoked_at = now() - interval '1 day' where id = $1", [recent.id]);
  await owner.query(`insert into identity.codes (recipient, salt, hash, created_at, expires_at) values
    ('+70000000001', '', '', now() - interval '2 hours', now() - interval '1 hour'), ('+70000000002', '', '', now(), now() + interval '1 minute')`);
  await owner.query(`insert into identity.attempts values ('old', now() - interval '25 hours', 1), ('new', now(), 1)`);
  const removed = await ask('mutation { expireCodes { result } }', {}, await world.service());
  t.equal(removed.data.expireCodes.result, '3');
  const { rows } = await owner.query(
    `select array(select recipient from identity.codes) as codes, array(select subject from identity.attempts where subject in ('old', 'new')) as attempts,
      array(select id::text from identity.sessions where id = any ($1)) as sessions`,
    [[old.id, recent.id]],
  );
  t.strictSame(rows[0], { codes: ['+70000000002'], attempts: ['new'], sessions: [recent.id] });
  const tokensLeft = await owner.query('select from identity.refresh_tokens where session_id = $1', [old.id]);
  t.equal(tokensLeft.rowCount, 0, 'its tokens went with it');
});
