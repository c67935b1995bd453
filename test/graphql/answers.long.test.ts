import { readFileSync } from 'node:fs';
import t from 'tap';
import { until } from '../events/listen.ts';
import { openWorld, schemaFile } from '../world.ts';

const flags = '{ featureFlags { name isOn } }';
const house = readFileSync(schemaFile, 'utf8');

t.test('C14 C15 what is the same for every stranger is read once, and again after a change', async (t) => {
  const { ask, person, owner, proxy } = await openWorld(t);
  const olga = await person('olga', { operator: true });
  const set = (isOn: boolean) =>
    ask(`mutation { setFlag(input: {name: "voice", isOn: ${isOn}}) { flag { name } } }`, {}, olga.token);
  await set(true);
  const seen = async () => (await ask(flags)).data.featureFlags;
  await until(async () => (await seen()).length === 1, 'The flag');
  for (const isOn of [false, true, false]) {
    await set(isOn);
    await until(async () => (await seen())[0].isOn === isOn, 'The change');
  }
  await owner.query("update access.flags set is_on = true where name = 'voice'");
  await until(async () => (await seen())[0].isOn === true, 'What a DBA changed');

  proxy.counted();
  for (let times = 0; times < 50; times += 1) await ask(flags);
  t.ok((proxy.counted().E ?? 0) <= 5, 'and not once for each who asks');
});

t.test('C15 whoever has a token is answered by Postgres, which knows whether the session holds', async (t) => {
  const { ask, person, owner } = await openWorld(t);
  const ann = await person('ann');
  await owner.query(
    "insert into access.flags (name, is_on, share, for_users, description) values ('voice', true, 0, $1, 'V')",
    [[ann.id]],
  );
  await until(async () => (await ask(flags)).data.featureFlags.length === 1, 'The flag');
  t.match((await ask(flags)).data, { featureFlags: [{ isOn: false }] });
  t.match((await ask(flags, {}, ann.token)).data, { featureFlags: [{ isOn: true }] });
  await owner.query('update identity.sessions set revoked_at = now()');
  t.match(await ask(flags, {}, ann.token), { errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
});

t.test('D12 a document that asks for more than what is kept is not kept', async (t) => {
  const { ask, owner } = await openWorld(t);
  const both = '{ cursor featureFlags { name } }';
  const first = (await ask(both)).data.cursor;
  await owner.query("select events.publish('system:other', 'it_happened')");
  t.not((await ask(both)).data.cursor, first);
  t.same((await ask('{ one: featureFlags { name } }')).data, { one: [] });
  t.same((await ask('{ other: featureFlags { isOn } }')).data, { other: [] });
});

t.test('D12 @keptUntil on what cannot be kept stops the start, and says why', async (t) => {
  const mistaken = `${house}\ncomment on function identity.me is 'Me.\n\n@keptUntil system:access';`;
  await t.rejects(openWorld(t, { schema: mistaken }), { message: /keeps what cannot be kept/ });
});

t.test('D12 an answer to a GET has a validator: whoever has it already is told so', async (t) => {
  const { server, person } = await openWorld(t);
  const ann = await person('ann');
  const url = `${server.url}graphql?query=${encodeURIComponent('{ me { username } }')}`;
  const get = (headers: Record<string, string> = {}) => fetch(url, { headers });
  const mine = { authorization: `Bearer ${ann.token}` };
  const first = await get(mine);
  const etag = first.headers.get('etag') ?? '';
  t.match([first.status, etag, first.headers.get('cache-control')], [200, /^"[\w-]{27}"$/, 'private, no-cache']);
  t.match(first.headers.get('vary'), /authorization/);
  const again = await get({ ...mine, 'if-none-match': `W/${etag}, "other"` });
  t.strictSame([again.status, await again.text(), again.headers.get('etag')], [304, '', etag]);
  const strange = await get({ 'if-none-match': etag });
  t.strictSame([strange.status, await strange.json()], [200, { data: { me: null } }], 'someone else gets their own');
  t.equal(strange.headers.get('cache-control'), 'public, no-cache');
  const reserved = await fetch(`${server.url}graphql`, { method: 'PUT', headers: mine });
  const by = await get({ 'x-graphql-event-stream-token': await reserved.text(), accept: 'application/json' });
  t.strictSame(await by.json(), { data: { me: { username: 'ann' } } });
  t.equal(by.headers.get('cache-control'), 'private, no-cache', 'whichever header says who it is');
  t.match(by.headers.get('vary'), /x-graphql-event-stream-token/);
  const wrong = await fetch(`${server.url}graphql?query=${encodeURIComponent('{ nothing }')}`);
  t.equal(wrong.headers.get('etag'), null, 'an error has none');
});
