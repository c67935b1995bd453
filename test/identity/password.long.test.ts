import { hash, randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import t from 'tap';
import { type Answer, openWorld } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, delivered } = world;
const password = 'correct horse battery';

/** The newest request for each address: its id is needed beside the code. */
const requests = new Map<string, string>();
async function signUp(email: string, displayName: string, more: object = {}): Promise<Answer> {
  const answer = await ask(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { codeRequest { id recipient expiresAt } } }',
    { input: { email, password, displayName, ...more } },
  );
  const request = answer.data?.signUp?.codeRequest;
  if (request) {
    requests.set(email, request.id);
    delete request.id;
  }
  return answer;
}
const verifyCode = (recipient: string, code: string): Promise<Answer> =>
  ask(
    'mutation ($input: VerifyCodeInput!) { verifyCode(input: $input) { sessionTokens { accessToken user { id username } } } }',
    { input: { requestId: requests.get(recipient) ?? randomUUID(), code } },
  );
const logIn = (email: string, given: string): Promise<Answer> =>
  ask(
    'mutation ($input: LogInInput!) { logIn(input: $input) { sessionTokens { accessToken user { id username } } } }',
    {
      input: { email, password: given },
    },
  );
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

async function mailTo(email: string): Promise<string> {
  for (let tries = 0; tries < 50; tries += 1) {
    const mail = delivered.filter(({ to }) => to === email).at(-1);
    if (mail) return mail.text;
    await wait(10);
  }
  throw new Error(`No mail was sent to ${email}`);
}
async function account(email: string, displayName: string, more: object = {}): Promise<Answer> {
  await signUp(email, displayName, more);
  return verifyCode(email, /\d{6}/.exec(await mailTo(email))?.[0] ?? '');
}

t.beforeEach(() => owner.query('delete from identity.attempts'));

t.test('C1 C19 an e-mail address, a password and the code in the mail make an account', async (t) => {
  const made = await account('ann@plinth.test', 'Ann Bee', { username: 'ann' });
  t.equal(made.data.verifyCode.sessionTokens.user.username, 'ann');
  const answer = await logIn('ANN@Plinth.test', password);
  t.equal(answer.data.logIn.sessionTokens.user.username, 'ann', 'in any case');
  const { rows } = await owner.query(
    "select email_verified_at is not null as verified from identity.accounts where email = 'ann@plinth.test'",
  );
  t.strictSame(rows, [{ verified: true }]);
});

t.test('C1 addresses with a plus in front and with long top-level domains are addresses', async (t) => {
  for (const email of ['+tag@plinth.test', 'cy@museum.photography', 'd.e+f@a.b.plinth.test', 'ю@почта.рф']) {
    t.notOk((await account(email, 'Cy Dee')).errors, email);
    t.equal(delivered.at(-1)?.channel, 'mail');
    t.notOk((await logIn(email, password)).errors, email);
  }
  for (const email of [
    '',
    'x',
    '@plinth.test',
    'x@plinth',
    'x y@plinth.test',
    'x@plinth.test\nbcc: y@z.test',
    `${'x'.repeat(250)}@p.test`,
  ]) {
    const answer = await signUp(email, 'Cy Dee');
    t.equal(codeOf(answer), 'BAD_USER_INPUT', JSON.stringify(email.slice(0, 40)));
  }
});

t.test('C1 only the hash of a password is kept, by argon2id, and each with a salt of its own', async (t) => {
  await account('eve@plinth.test', 'Eve Fay');
  await account('eva@plinth.test', 'Eva Fay');
  const { rows } = await owner.query(
    "select hash from identity.passwords join identity.accounts using (user_id) where email in ('eve@plinth.test', 'eva@plinth.test')",
  );
  t.equal(rows.length, 2);
  for (const { hash } of rows) t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  t.not(rows[0].hash, rows[1].hash);
});

t.test('C1 a password is never in a statement, a log or the list of activities', async (t) => {
  const seen: string[] = [];
  const watcher = new pg.Client({ connectionString: world.databaseUrl });
  await watcher.connect();
  let done = false;
  const watching = (async () => {
    while (!done)
      seen.push(
        ...(await watcher.query('select query from pg_stat_activity where query is not null')).rows.map(
          (row) => row.query,
        ),
      );
  })();
  // Until the list was read while a password was being checked.
  for (let round = 0; round < 5 || (round < 100 && !seen.some((query) => query.includes('log_in'))); round += 1) {
    await owner.query('delete from identity.attempts');
    await signUp(`gil${round}@plinth.test`, 'Gil Ham');
    await logIn('ann@plinth.test', password);
    await logIn('ann@plinth.test', `${password} wrong`);
  }
  done = true;
  await watching;
  await watcher.end();
  t.ok(
    seen.some((query) => query.includes('log_in')),
    'the statements were seen',
  );
  t.notOk(
    seen.some((query) => query.includes(password)),
    'and the password is in none of them',
  );
  t.notOk(JSON.stringify(world.logged).includes(password), 'nor in the log');
  const kept = await owner.query("select string_agg(c::text, ' ') as all from identity.codes as c");
  t.notOk(kept.rows[0].all.includes(password), 'nor with the code');
});

t.test('C1 whether there is an account is not told: not by sign-up, not by sign-in', async (t) => {
  await account('ina@plinth.test', 'Ina Joy');
  const known = await signUp('ina@plinth.test', 'Someone Else');
  const unknown = await signUp('new@plinth.test', 'Someone Else');
  const shape = (answer: Answer) =>
    JSON.stringify(answer)
      .replace(/\w+@plinth.test/, 'ADDRESS')
      .replace(/\d{4}-[^"]+/, 'TIME');
  t.equal(shape(known), shape(unknown));
  t.match(await mailTo('ina@plinth.test'), /have an account/, 'its owner is told by mail');

  const wrong = await logIn('ina@plinth.test', 'not the password');
  const nobody = await logIn('nobody@plinth.test', 'not the password');
  t.strictSame(wrong, nobody);
  t.equal(codeOf(wrong), 'UNAUTHENTICATED');
  const salts = await owner.query(
    "select identity.password_salt('a@b.test') as one, identity.password_salt('a@b.test') as two, identity.password_salt('c@b.test') as other",
  );
  t.equal(salts.rows[0].one, salts.rows[0].two, 'an address without an account has a salt that stays');
  t.not(salts.rows[0].one, salts.rows[0].other);
});

t.test(
  'C1 nor by trying codes: a request for an address with an account is counted and spent like any other',
  async (t) => {
    await account('jim@plinth.test', 'Jim Kay');
    const answers: Record<string, (string | undefined)[]> = {};
    for (const email of ['jim@plinth.test', 'free@plinth.test']) {
      await owner.query('delete from identity.attempts');
      await signUp(email, 'Someone Else');
      answers[email] = [];
      for (let tries = 0; tries < 21; tries += 1) answers[email].push(codeOf(await verifyCode(email, 'wrong')));
    }
    t.strictSame(answers['jim@plinth.test'], answers['free@plinth.test']);
    t.equal(answers['jim@plinth.test']?.at(-1), 'TOO_MANY_REQUESTS');

    const { rows } = await owner.query(
      `select salt, hash, expires_at - created_at as lives, display_name, username is null as unnamed, left(password_hash, 10) as hashed
      from identity.codes where id = any ($1) order by recipient`,
      [[requests.get('jim@plinth.test'), requests.get('free@plinth.test')]],
    );
    const isRight = ({ salt, hash: kept }: { salt: string; hash: Buffer }, code: string) =>
      hash('sha256', salt + code) === kept.toString('hex');
    t.ok(isRight(rows[0], /\d{6}/.exec(await mailTo('free@plinth.test'))?.[0] ?? ''));
    let right = 0;
    for (let n = 0; n < 1_000_000; n += 1) if (isRight(rows[1], String(n).padStart(6, '0'))) right += 1;
    t.equal(right, 0, 'but no code is right');
    const [free, taken] = rows.map(({ salt, hash: kept, ...more }) => [salt.length, kept.length, more]);
    t.strictSame(taken, free, 'and what is kept looks the same');
  },
);

t.test(
  'C1 wrong passwords are counted by user, also at the same moment, and the right one clears the count',
  async (t) => {
    await account('kay@plinth.test', 'Kay Lou');
    for (let tries = 0; tries < 9; tries += 1)
      t.equal(codeOf(await logIn('kay@plinth.test', 'wrong password')), 'UNAUTHENTICATED');
    t.notOk((await logIn('kay@plinth.test', password)).errors, 'the tenth is the right one');
    const answers = await Promise.all(Array.from({ length: 14 }, () => logIn('Kay@plinth.test', 'wrong password')));
    t.equal(
      answers.filter((answer) => codeOf(answer) === 'UNAUTHENTICATED').length,
      10,
      'ten are tried, in any case of letters',
    );
    t.equal(answers.filter((answer) => codeOf(answer) === 'TOO_MANY_REQUESTS').length, 4);
    t.equal(codeOf(await logIn('kay@plinth.test', password)), 'TOO_MANY_REQUESTS', 'also the right one');
    t.notOk((await logIn('ina@plinth.test', password)).errors, 'others are let in');
    await owner.query("update identity.attempts set started_at = now() - interval '16 minutes'");
    t.notOk((await logIn('kay@plinth.test', password)).errors, 'a quarter of an hour later');
  },
);

t.test('C1 wrong passwords are counted by address, whoever they are for', async (t) => {
  await owner.query("insert into identity.attempts values ('log_in:address:127.0.0.1', now(), 100)");
  t.equal(codeOf(await logIn('ina@plinth.test', password)), 'TOO_MANY_REQUESTS');
});

t.test('C1 an address that nobody can have is refused before a password is hashed for it', async (t) => {
  for (const length of [255, 6000, 100_000]) {
    const answer = await logIn(`${randomBytes(length).toString('hex').slice(12, length)}@plinth.test`, password);
    t.equal(codeOf(answer), 'BAD_USER_INPUT', `${length} characters`);
    t.equal(answer.errors?.[0]?.extensions?.argument, 'email');
  }
  await t.rejects(
    owner.query("select identity.log_in($1, 'x')", ['x'.repeat(255)]),
    { code: 'PT400' },
    'also where nothing salts it',
  );
  t.equal(codeOf(await logIn(`${'x'.repeat(242)}@plinth.test`, password)), 'UNAUTHENTICATED', '254 may be one');
});

t.test('C1 a banned account gives itself away only to who knows its password', async (t) => {
  await account('max@plinth.test', 'Max Nye');
  await owner.query("update identity.accounts set status = 'banned' where email = 'max@plinth.test'");
  t.equal(codeOf(await logIn('max@plinth.test', 'wrong password')), 'UNAUTHENTICATED');
  t.equal(codeOf(await logIn('max@plinth.test', password)), 'FORBIDDEN');
});

t.test('C1 T2 sign-up refuses what breaks a rule and names the argument', async (t) => {
  for (const [argument, input] of [
    ['password', { password: 'short' }],
    ['password', { password: 'x'.repeat(1001) }],
    ['displayName', { displayName: 'x' }],
    ['username', { username: 'a b' }],
    ['username', { username: 'ANN' }],
  ] as const) {
    const answer = await signUp('oli@plinth.test', 'Oli Pym', input);
    t.ok(answer.errors, JSON.stringify(input).slice(0, 40));
    t.match(answer.errors?.[0]?.message ?? '', new RegExp(argument.replace('N', '.?n'), 'i'));
  }
  t.notOk(
    delivered.some(({ to }) => to === 'oli@plinth.test'),
    'no mail went out',
  );
});

t.test('C1 a sign-up that is refused costs no hash, so that sign-ins do not wait behind it', async (t) => {
  const salt = (email: string, name: string, username: string | null) =>
    owner.query('select identity.sign_up_salt($1, $2, $3)', [email, name, username]);
  await t.rejects(salt('nowhere', 'Pat Quy', null), { code: 'PT400' });
  await t.rejects(salt('pat@plinth.test', 'x', null), { code: 'PT400' });
  await t.rejects(salt('pat@plinth.test', 'Pat Quy', 'a b'), { code: 'PT400' });
  await owner.query("insert into identity.attempts values ('code:recipient:pat@plinth.test', now(), 5)");
  await t.rejects(salt('Pat@plinth.test', 'Pat Quy', 'pat'), { code: 'PT429' }, 'in any case');

  await owner.query("insert into identity.attempts values ('code:address:127.0.0.1', now(), 50)");
  const crowd = await Promise.all(Array.from({ length: 210 }, (_, n) => signUp(`pat${n}@plinth.test`, 'Pat Quy')));
  t.strictSame([...new Set(crowd.map(codeOf))], ['TOO_MANY_REQUESTS'], 'more at once than may wait to be hashed');
});

t.test('C19 a sign-up is confirmed by who asked for it, not by who asked for the same address later', async (t) => {
  const email = 'victim@plinth.test';
  await signUp(email, 'Victim');
  const own = requests.get(email) ?? '';
  await ask('mutation ($input: SignUpInput!) { signUp(input: $input) { codeRequest { id } } }', {
    input: { email, password: 'the password of an attacker', displayName: 'Attacker' },
  });
  const newest = /\d{6}/.exec(await mailTo(email))?.[0] ?? '';
  requests.set(email, own);
  const answer = await verifyCode(email, newest);
  // One time in a million both codes are the same: then the account is the victim's own, and that is right as well.
  if (answer.data.verifyCode) t.equal(answer.data.verifyCode.sessionTokens.user.username, 'Victim');
  t.equal(codeOf(await logIn(email, 'the password of an attacker')), 'UNAUTHENTICATED');
});
