import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { type Answer, openWorld } from '../world.ts';

const world = await openWorld(t);
const { ask, owner, delivered } = world;

/** The newest request for each phone: its id is needed beside the code. */
const requests = new Map<string, string>();
async function requestCode(phone: string, displayName?: string): Promise<Answer> {
  const answer = await ask(
    'mutation ($input: RequestCodeInput!) { requestCode(input: $input) { codeRequest { id recipient expiresAt } } }',
    { input: { phone, ...(displayName && { displayName }) } },
  );
  const request = answer.data?.requestCode?.codeRequest;
  if (request) {
    requests.set(phone, request.id);
    delete request.id;
  }
  return answer;
}
const verifyCode = (recipient: string, code: string): Promise<Answer> =>
  ask(
    'mutation ($input: VerifyCodeInput!) { verifyCode(input: $input) { sessionTokens { accessToken refreshToken expiresAt user { id displayName } } } }',
    { input: { requestId: requests.get(recipient) ?? randomUUID(), code } },
  );
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;

/** The code in the newest text to a number. Texts are sent once the answer is. */
async function codeSentTo(phone: string): Promise<string> {
  for (let tries = 0; tries < 50; tries += 1) {
    const text = delivered.filter(({ to }) => to === phone).at(-1)?.text;
    if (text) return /\d{6}/.exec(text)?.[0] ?? '';
    await wait(10);
  }
  throw new Error(`No text was sent to ${phone}`);
}
const wrong = (code: string): string => String((Number(code) + 1) % 1_000_000).padStart(6, '0');
const forgetTries = () => owner.query('delete from identity.attempts');

t.beforeEach(forgetTries);

t.test('T1 who is new signs up with a code and a name, and logs in with a code later', async (t) => {
  const phone = '+77010000001';
  t.notOk((await requestCode(phone, 'Аня Ким')).errors);
  const signedUp = await verifyCode(phone, await codeSentTo(phone));
  const { user, accessToken } = signedUp.data.verifyCode.sessionTokens;
  t.equal(user.displayName, 'Аня Ким', 'the name was kept with the code');
  t.equal((await ask('{ me { id } }', {}, accessToken)).data.me.id, user.id);
  const account = await ask(
    'query ($id: UUID!) { account(userId: $id) { phone status } }',
    { id: user.id },
    accessToken,
  );
  t.strictSame(account.data.account, { phone, status: 'ACTIVE' });

  delivered.length = 0;
  await requestCode(phone);
  const loggedIn = await verifyCode(phone, await codeSentTo(phone));
  t.equal(loggedIn.data.verifyCode.sessionTokens.user.id, user.id);
});

t.test('T1 a code is kept as a hash, is spent once and by its own phone only', async (t) => {
  const phone = '+77010000002';
  await requestCode(phone, 'Bo Li');
  const code = await codeSentTo(phone);
  const { rows } = await owner.query(
    'select c::text as row, salt, hash from identity.codes as c where recipient = $1',
    [phone],
  );
  t.notOk(rows[0].row.includes(code), 'the code is not in the table');
  t.equal(rows[0].hash.length, 32);
  t.equal(codeOf(await verifyCode('+77010000003', code)), 'UNAUTHENTICATED', 'not for another phone');
  t.notOk((await verifyCode(phone, code)).errors);
  t.equal(codeOf(await verifyCode(phone, code)), 'UNAUTHENTICATED', 'not a second time');
});

t.test('T1 two who spend one code at the same moment: one is signed in', async (t) => {
  const phone = '+77010000004';
  await requestCode(phone, 'Cy Day');
  const code = await codeSentTo(phone);
  const answers = await Promise.all(Array.from({ length: 8 }, () => verifyCode(phone, code)));
  t.equal(answers.filter(({ errors }) => !errors).length, 1);
  const { rows } = await owner.query('select count(*)::integer as n from identity.accounts where phone = $1', [phone]);
  t.equal(rows[0].n, 1);
});

t.test('T1 a code expires, and a new one replaces the old', async (t) => {
  const phone = '+77010000005';
  await requestCode(phone, 'Di Fox');
  const first = await codeSentTo(phone);
  await owner.query(
    "update identity.codes set created_at = now() - interval '1 hour', expires_at = now() - interval '1 second' where recipient = $1",
    [phone],
  );
  t.equal(codeOf(await verifyCode(phone, first)), 'UNAUTHENTICATED', 'it has expired');
  delivered.length = 0;
  await requestCode(phone, 'Di Fox');
  const second = await codeSentTo(phone);
  if (first !== second) t.equal(codeOf(await verifyCode(phone, first)), 'UNAUTHENTICATED', 'the old one is replaced');
  t.notOk((await verifyCode(phone, second)).errors);
});

t.test('T1 five wrong tries spend a code, also when they come at the same moment', async (t) => {
  for (const [phone, tries] of [
    ['+77010000006', 5],
    ['+77010000007', 12],
  ] as const) {
    await forgetTries();
    await requestCode(phone, 'Ed Gray');
    const code = await codeSentTo(phone);
    const answers = await Promise.all(Array.from({ length: tries }, () => verifyCode(phone, wrong(code))));
    t.ok(
      answers.every((answer) => codeOf(answer) === 'UNAUTHENTICATED'),
      'each is refused',
    );
    const { rows } = await owner.query('select tries from identity.codes where recipient = $1', [phone]);
    t.equal(rows[0].tries, tries, 'each was counted');
    t.equal(codeOf(await verifyCode(phone, code)), 'UNAUTHENTICATED', 'the right one comes too late');
  }
});

t.test('T1 tries are limited by phone and by address', async (t) => {
  const phone = '+77010000008';
  await requestCode(phone, 'Eve Hill');
  const answers = await Promise.all(Array.from({ length: 25 }, () => verifyCode(phone, '000000')));
  t.equal(answers.filter((answer) => codeOf(answer) === 'TOO_MANY_REQUESTS').length, 5, 'by phone: 20 an hour');
  await forgetTries();
  await owner.query("insert into identity.attempts values ('verify:address:127.0.0.1', now(), 99)");
  t.equal(codeOf(await verifyCode('+77010000009', '000000')), 'UNAUTHENTICATED', 'the hundredth of an address');
  t.equal(codeOf(await verifyCode('+77010000010', '000000')), 'TOO_MANY_REQUESTS', 'and no more, for any phone');
});

t.test('T1 codes that are sent are limited by phone and by address, and the limit ends with its hour', async (t) => {
  const phone = '+77010000011';
  const answers = await Promise.all(Array.from({ length: 8 }, () => requestCode(phone, 'Flo Hart')));
  t.equal(answers.filter((answer) => codeOf(answer) === 'TOO_MANY_REQUESTS').length, 3, 'by phone: 5 an hour');
  t.equal(delivered.filter(({ to }) => to === phone).length, 5, 'and no more texts');
  await owner.query("update identity.attempts set started_at = now() - interval '61 minutes'");
  t.notOk((await requestCode(phone, 'Flo Hart')).errors, 'an hour later');
  await owner.query(
    "update identity.attempts set count = 50, started_at = now() where subject = 'code:address:127.0.0.1'",
  );
  t.equal(codeOf(await requestCode('+77010000012', 'Gus Ives')), 'TOO_MANY_REQUESTS', 'by address: 50 an hour');
});

t.test('T1 who may ask for no more codes does not use up those of a phone', async (t) => {
  const phone = '+77010000019';
  await owner.query("insert into identity.attempts values ('code:address:127.0.0.1', now(), 50)");
  for (let tries = 0; tries < 6; tries += 1) t.equal(codeOf(await requestCode(phone, 'Ned Orr')), 'TOO_MANY_REQUESTS');
  await owner.query("delete from identity.attempts where subject like 'code:address:%'");
  t.notOk((await requestCode(phone, 'Ned Orr')).errors);
});

t.test('tries are counted by network where addresses are many, and a session keeps the whole address', async (t) => {
  const client = await owner.connect();
  t.teardown(() => client.release());
  const from = (address: string) => client.query("select set_config('plinth.address', $1, false)", [address]);
  const counted = async (address: string) => {
    await forgetTries();
    await from(address);
    await client.query("select identity.request_code('+77010000020', 'Ora Poe')");
    const { rows } = await client.query(
      "select substr(subject, 14) as by from identity.attempts where subject like 'code:address:%'",
    );
    return rows.map(({ by }) => by).join();
  };
  t.equal(await counted('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  t.equal(await counted('2001:DB8:1:2:ffff::1'), '2001:db8:1:2::/64', 'of one network');
  t.equal(await counted('2001:db8:1:3::1'), '2001:db8:1:3::/64', 'another');
  t.equal(await counted('fe80::1%eth0'), 'fe80::/64', 'its interface is left out');
  t.equal(await counted('192.0.2.7'), '192.0.2.7');
  t.equal(await counted('::ffff:192.0.2.7'), '::ffff:192.0.2.7', 'an IPv4 address in IPv6 is one');
  t.equal(await counted(''), 'unknown');

  const { id } = await world.person('pia');
  for (const address of ['2001:db8:1:2:3:4:5:6', 'fe80::1%eth0', '192.0.2.7', '']) {
    await from(address);
    await client.query('select identity.open_session($1)', [id]);
    const { rows } = await client.query(
      'select host(address) as kept from identity.sessions where user_id = $1 order by id desc limit 1',
      [id],
    );
    t.equal(rows[0].kept, address === '' ? null : address.replace('%eth0', ''));
  }
  await from('');
});

t.test('T1 the answer does not tell whether a phone has an account', async (t) => {
  const [known, unknown] = ['+77010000013', '+77010000014'];
  await requestCode(known, 'Hal Ito');
  await verifyCode(known, await codeSentTo(known));
  const shape = (answer: Answer, phone: string) =>
    JSON.stringify(answer)
      .replace(phone, 'PHONE')
      .replace(/\d{4}-[^"]+/, 'TIME');
  t.equal(shape(await requestCode(known), known), shape(await requestCode(unknown), unknown), 'asking');
  t.equal(shape(await verifyCode(known, 'nope'), known), shape(await verifyCode(unknown, 'nope'), unknown), 'trying');
  const { rows } = await owner.query('select count(*)::integer as n from identity.codes where recipient = any ($1)', [
    [known, unknown],
  ]);
  t.equal(rows[0].n, 2, 'a code is made for either');
});

t.test('T2 a phone is one in E.164, once', async (t) => {
  for (const phone of [
    '',
    '7701',
    '+0123456789',
    '+7 701 000 00 00',
    '+1234567890123456',
    "+77010000015'--",
    '+７７０１００００',
  ]) {
    const answer = await requestCode(phone, 'Ivy Jones');
    t.equal(codeOf(answer), 'BAD_USER_INPUT', JSON.stringify(phone));
    t.equal(answer.errors?.[0]?.extensions?.argument, 'phone');
  }
  t.equal(codeOf(await requestCode('+77010000015', 'x')), 'BAD_USER_INPUT', 'a name has two characters');
  t.equal(codeOf(await requestCode('+77010000015', 'x'.repeat(101))), 'BAD_USER_INPUT', 'and at most a hundred');
  await t.rejects(
    owner.query("insert into identity.accounts (user_id, phone) select id, '+77010000001' from identity.users limit 1"),
    'a phone is unique',
  );
});

t.test('T1 a code without a name signs nobody up, and a banned account is not let in', async (t) => {
  const phone = '+77010000016';
  await requestCode(phone);
  t.equal(codeOf(await verifyCode(phone, await codeSentTo(phone))), 'BAD_USER_INPUT');
  delivered.length = 0;
  await requestCode(phone, 'Jo King');
  t.notOk((await verifyCode(phone, await codeSentTo(phone))).errors);
  await owner.query("update identity.accounts set status = 'banned' where phone = $1", [phone]);
  delivered.length = 0;
  await requestCode(phone);
  t.equal(codeOf(await verifyCode(phone, await codeSentTo(phone))), 'FORBIDDEN');
});

t.test('a code is compared, also where none is given', async (t) => {
  const phone = '+77010000017';
  await requestCode(phone, 'Kim Lee');
  await codeSentTo(phone);
  const { rows } = await owner.query('select (identity.verify_code($1, null)).refresh_token', [requests.get(phone)]);
  t.equal(rows[0].refresh_token, null);
});

t.test('T1 a try is counted whatever else the same document asks for', async (t) => {
  const phone = '+77010000018';
  await requestCode(phone, 'Lou Marsh');
  const code = await codeSentTo(phone);
  const guess = (given: string, selection: string, beside = '') =>
    ask(
      `mutation ($id: UUID!, $code: String!) { verifyCode(input: { requestId: $id, code: $code }) { ${selection} } ${beside} }`,
      { id: requests.get(phone), code: given },
    );
  const tries = async () =>
    (await owner.query('select tries from identity.codes where recipient = $1', [phone])).rows[0]?.tries;

  await guess(wrong(code), '__typename', 'refreshSession(input: { refreshToken: "x" }) { __typename }');
  t.equal(await tries(), 1, 'beside a field that fails');
  const answers = [];
  for (const given of [wrong(code), code]) {
    answers.push(await guess(given, 'sessionTokens { user { account { phone } } }'));
  }
  t.equal(await tries(), 1, 'a selection that anonymous has no right to fails before the code is looked at');
  t.same(answers[0], answers[1], 'and so tells nothing of it');
});
