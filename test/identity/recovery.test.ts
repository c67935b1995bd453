import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { hashPassword } from '../../functions/passwords.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, delivered, person, tokens } = world;
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

async function withMail(username: string): Promise<Person & { email: string }> {
  const made = await person(username);
  const email = `${username}@plinth.test`;
  await owner.query('update identity.accounts set email = $2 where user_id = $1', [made.id, email]);
  await owner.query('insert into identity.passwords (user_id, hash) values ($1, $2)', [
    made.id,
    await hashPassword('the old one'),
  ]);
  return { ...made, email };
}
const requestReset = (email: string): Promise<Answer> =>
  ask(
    'mutation ($email: String!) { requestPasswordReset(input: { email: $email }) { codeRequest { id recipient expiresAt } } }',
    { email },
  );
const reset = (requestId: string, code: string, password = 'a new password'): Promise<Answer> =>
  ask(
    'mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { sessionTokens { accessToken refreshToken user { username } } } }',
    { input: { requestId, code, password } },
  );
const logIn = (email: string, password: string): Promise<Answer> =>
  ask('mutation ($input: LogInInput!) { logIn(input: $input) { sessionTokens { user { username } } } }', {
    input: { email, password },
  });
const verify = (requestId: string, code: string): Promise<Answer> =>
  ask('mutation ($input: VerifyCodeInput!) { verifyCode(input: $input) { sessionTokens { accessToken } } }', {
    input: { requestId, code },
  });
const change = (field: 'Email' | 'Phone', value: string, token?: string): Promise<Answer> =>
  ask(
    `mutation ($value: String!) { request${field}Change(input: { ${field.toLowerCase()}: $value }) { codeRequest { id recipient } } }`,
    { value },
    token,
  );
const confirm = (requestId: string, code: string, token?: string): Promise<Answer> =>
  ask(
    'mutation ($input: ConfirmChangeInput!) { confirmChange(input: $input) { accountChange { account { email phone emailVerifiedAt } } } }',
    { input: { requestId, code } },
    token,
  );
const me = (token: string) => ask('{ me { username } }', {}, token);
const sentTo = async (to: string, count = 1): Promise<string> => {
  for (let tries = 0; tries < 100; tries += 1) {
    const all = delivered.filter((each) => each.to === to);
    if (all.length >= count) return all.at(-1)?.text ?? '';
    await wait(10);
  }
  throw new Error(`Nothing was sent to ${to}`);
};
const codeIn = (text: string): string => /\b\d{6}\b/.exec(text)?.[0] ?? 'no code';
const wrong = (code: string): string => (code === '000000' ? '000001' : '000000');

t.beforeEach(() => owner.query('delete from identity.attempts'));

t.test('C19 a code by mail sets a new password, ends every session and signs in', async (t) => {
  const ann = await withMail('ann');
  const request = (await requestReset('ANN@plinth.test')).data.requestPasswordReset.codeRequest;
  t.equal(request.recipient, ann.email);
  const code = codeIn(await sentTo(ann.email));
  t.equal(codeOf(await reset(request.id, wrong(code))), 'UNAUTHENTICATED');
  t.notOk((await me(ann.token)).errors, 'a wrong code changes nothing');
  t.equal(codeOf(await verify(request.id, code)), 'UNAUTHENTICATED', 'the code is not for signing in');

  const { sessionTokens } = (await reset(request.id, code)).data.resetPassword;
  t.equal(sessionTokens.user.username, 'ann');
  t.equal((await me(sessionTokens.accessToken)).data.me.username, 'ann');
  t.equal(codeOf(await me(ann.token)), 'UNAUTHENTICATED', 'the sessions from before have ended');
  t.equal(codeOf(await logIn(ann.email, 'the old one')), 'UNAUTHENTICATED');
  t.notOk((await logIn(ann.email, 'a new password')).errors);
  t.equal(codeOf(await reset(request.id, code)), 'UNAUTHENTICATED', 'a code is good once');
  const { rows } = await owner.query(
    'select email_verified_at is not null as verified from identity.accounts where user_id = $1',
    [ann.id],
  );
  t.ok(rows[0].verified, 'who reads the mail has the address');
});

t.test('C19 nobody learns from it who has an account', async (t) => {
  const bea = await withMail('bea');
  const [known, unknown] = [await requestReset(bea.email), await requestReset('nobody@plinth.test')];
  const shape = (answer: Answer) => Object.keys(answer.data.requestPasswordReset.codeRequest);
  t.strictSame(shape(unknown), shape(known));
  t.notMatch(await sentTo('nobody@plinth.test'), /\d{6}/, 'the mailbox without an account is told so');
  const requestId = unknown.data.requestPasswordReset.codeRequest.id;
  const answers = await Promise.all([reset(requestId, '123456'), reset(randomUUID(), '123456')]);
  t.strictSame(answers.map(codeOf), ['UNAUTHENTICATED', 'UNAUTHENTICATED']);
  t.equal(
    answers[0]?.errors?.[0]?.message,
    (await reset(known.data.requestPasswordReset.codeRequest.id, 'wrong')).errors?.[0]?.message,
  );
});

t.test('C19 a code expires, and is tried five times at most', async (t) => {
  const cal = await withMail('cal');
  const { id } = (await requestReset(cal.email)).data.requestPasswordReset.codeRequest;
  const code = codeIn(await sentTo(cal.email));
  for (let tries = 0; tries < 5; tries += 1)
    t.equal(codeOf(await reset(id, wrong(code))), 'UNAUTHENTICATED', `try ${tries + 1}`);
  t.equal(codeOf(await reset(id, code)), 'UNAUTHENTICATED', 'the sixth is refused though it is right');

  const late = (await requestReset(cal.email)).data.requestPasswordReset.codeRequest.id;
  const lateCode = codeIn(await sentTo(cal.email, 2));
  await owner.query(
    "update identity.codes set created_at = now() - interval '1 hour', expires_at = now() - interval '1 second' where id = $1",
    [late],
  );
  t.equal(codeOf(await reset(late, lateCode)), 'UNAUTHENTICATED');
  t.notOk((await logIn(cal.email, 'the old one')).errors, 'nothing has changed');
});

t.test('C19 of two resets at the same moment one wins', async (t) => {
  const dee = await withMail('dee');
  const { id } = (await requestReset(dee.email)).data.requestPasswordReset.codeRequest;
  const code = codeIn(await sentTo(dee.email));
  const answers = await Promise.all([reset(id, code, 'the first one'), reset(id, code, 'the second one')]);
  t.strictSame(answers.map(codeOf).sort(), ['UNAUTHENTICATED', undefined].sort());
  const logIns = await Promise.all([logIn(dee.email, 'the first one'), logIn(dee.email, 'the second one')]);
  t.equal(logIns.filter((answer) => !answer.errors).length, 1);
});

t.test('C19 codes to one address are limited, and what is no address is refused', async (t) => {
  for (let sent = 0; sent < 5; sent += 1) t.notOk((await requestReset('often@plinth.test')).errors);
  t.equal(codeOf(await requestReset('often@plinth.test')), 'TOO_MANY_REQUESTS');
  for (const email of ['', 'x', `${'x'.repeat(255)}@a.test`, 'a@b.test\nbcc: c@d.test', 'a\u0000@b.test'])
    t.equal(codeOf(await requestReset(email)), 'BAD_USER_INPUT', JSON.stringify(email.slice(0, 20)));
  t.equal(codeOf(await reset('no uuid', '123456')), 'BAD_USER_INPUT');
  t.equal(codeOf(await reset(randomUUID(), 'x'.repeat(100_000))), 'UNAUTHENTICATED');
});

t.test('C19 an account that is banned gets no session by a reset', async (t) => {
  const fin = await withMail('fin');
  const { id } = (await requestReset(fin.email)).data.requestPasswordReset.codeRequest;
  const code = codeIn(await sentTo(fin.email));
  await owner.query("update identity.accounts set status = 'banned' where user_id = $1", [fin.id]);
  t.equal(codeOf(await reset(id, code)), 'FORBIDDEN');
  await t.rejects(owner.query('select identity.open_session($1)', [fin.id]), { code: 'PT403' });
});

t.test('C19 an e-mail address is confirmed at the new one, and the old one is told', async (t) => {
  const gus = await withMail('gus');
  t.equal(codeOf(await change('Email', 'gus@new.test')), 'FORBIDDEN', 'nobody changes it without being signed in');
  const { id } = (await change('Email', 'Gus@New.test', gus.token)).data.requestEmailChange.codeRequest;
  const code = codeIn(await sentTo('gus@new.test'));
  const hal = await person('hal');
  t.equal(codeOf(await confirm(id, wrong(code), gus.token)), 'UNAUTHENTICATED');
  const pending = (await requestReset(gus.email)).data.requestPasswordReset.codeRequest.id;
  const pendingCode = codeIn(await sentTo(gus.email));
  const changed = (await confirm(id, code, gus.token)).data.confirmChange.accountChange.account;
  t.equal(changed.email, 'gus@new.test');
  t.ok(changed.emailVerifiedAt);
  t.match(await sentTo(gus.email, 2), /was changed/, 'the old one is told');
  t.equal(codeOf(await reset(pending, pendingCode)), 'UNAUTHENTICATED', 'a code at the old one is good no longer');
  t.equal(codeOf(await change('Email', 'gus@new.test', gus.token)), 'CONFLICT', 'it is theirs already');

  const taken = (await change('Email', 'gus@new.test', hal.token)).data.requestEmailChange.codeRequest;
  t.ok(taken.id, 'the answer is the same where another has it');
  t.notMatch(await sentTo('gus@new.test', 2), /\d{6}/);
  const other = (await change('Email', 'hal@plinth.test', hal.token)).data.requestEmailChange.codeRequest.id;
  const otherCode = codeIn(await sentTo('hal@plinth.test'));
  t.equal(codeOf(await confirm(other, otherCode, gus.token)), 'UNAUTHENTICATED', 'a code is for who asked');
});

t.test('C19 an address that is not verified is verified by the same way, and nobody is told', async (t) => {
  const ida = await withMail('ida');
  const { id } = (await change('Email', ida.email, ida.token)).data.requestEmailChange.codeRequest;
  const code = codeIn(await sentTo(ida.email));
  t.ok((await confirm(id, code, ida.token)).data.confirmChange.accountChange.account.emailVerifiedAt);
  t.equal(delivered.filter(({ to }) => to === ida.email).length, 1);
});

t.test('C1 a phone is confirmed at the new one, and the old one is told', async (t) => {
  const jan = await person('jan');
  await owner.query("update identity.accounts set phone = '+77010000001' where user_id = $1", [jan.id]);
  t.equal(codeOf(await change('Phone', '7701', jan.token)), 'BAD_USER_INPUT');
  t.equal(codeOf(await change('Phone', '+77010000001', jan.token)), 'CONFLICT');
  const { id } = (await change('Phone', '+77010000002', jan.token)).data.requestPhoneChange.codeRequest;
  const code = codeIn(await sentTo('+77010000002'));
  t.equal((await confirm(id, code, jan.token)).data.confirmChange.accountChange.account.phone, '+77010000002');
  t.match(await sentTo('+77010000001'), /was changed/);
});

t.test('C1 of two who confirm one address at the same moment one has it', async (t) => {
  const people = [await person('kit'), await person('lou')];
  const codes: { id: string; code: string; token: string }[] = [];
  for (const [index, { token }] of people.entries()) {
    const { id } = (await change('Email', 'both@plinth.test', token)).data.requestEmailChange.codeRequest;
    codes.push({ id, code: codeIn(await sentTo('both@plinth.test', index + 1)), token });
  }
  const answers = await Promise.all(codes.map(({ id, code, token }) => confirm(id, code, token)));
  t.strictSame(answers.map(codeOf).sort(), ['CONFLICT', undefined].sort());
});

t.test('an operator who acts as a user changes neither address nor phone, and removes nothing', async (t) => {
  const mia = await person('mia');
  const boss = await person('boss', { operator: true });
  const { rows } = await owner.query(
    'insert into identity.sessions (user_id, impersonator_id) values ($1, $2) returning id',
    [mia.id, boss.id],
  );
  const token = await tokens.sign({ sub: mia.id, sid: rows[0].id, role: 'member' });
  t.equal((await me(token)).data.me.username, 'mia');
  t.equal(codeOf(await change('Email', 'mine@boss.test', token)), 'FORBIDDEN');
  t.equal(codeOf(await change('Phone', '+77010000009', token)), 'FORBIDDEN');
  t.equal(codeOf(await confirm(randomUUID(), '123456', token)), 'FORBIDDEN');
  t.equal(codeOf(await ask('mutation { removeAccount { ok } }', {}, token)), 'FORBIDDEN');
});
