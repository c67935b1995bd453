import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import t from 'tap';
import { readSettings } from '../../functions/settings.ts';
import { startServer } from '../../graphql/server.ts';
import { backUp } from '../../workers/backup.ts';
import { restore } from '../../workers/restore.ts';
import { until as comesAbout } from '../events/listen.ts';
import { openBench } from '../workers/backups.ts';
import { openWorld, type World } from '../world.ts';

t.setTimeout(120_000);

type Answered = { status: number; retryAfter: string | null; code?: string | undefined; message?: string | undefined };

const begin =
  'mutation B($i: BeginMaintenanceInput!) { beginMaintenance(input: $i) { maintenance { level message } } }';
const end = 'mutation { endMaintenance { result } }';

/** What a request comes to over HTTP. */
async function request(
  { server }: World,
  query: string,
  token?: string,
  accept = 'application/json',
): Promise<Answered> {
  const response = await fetch(`${server.url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query }),
  });
  const { errors } = (await response.json()) as { errors?: { message: string; extensions: { code: string } }[] };
  const [error] = errors ?? [];
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    ...(error && { code: error.extensions.code, message: error.message }),
  };
}

/** Asks until the answer has a status: a change is in force within a second, on a busy machine later. */
async function until(world: World, status: number, query: string, token?: string): Promise<Answered> {
  for (const patience = Date.now() + 30_000; ; ) {
    const answered = await request(world, query, token);
    if (answered.status === status || Date.now() > patience) return answered;
  }
}

t.test('C15 during maintenance members and strangers are told so, and operators and services go on', async (t) => {
  const world = await openWorld(t);
  const { ask, person, service } = world;
  const [ann, olga] = [await person('ann'), await person('olga', { operator: true })];
  const read = '{ me { username } }';
  const write = 'mutation { updateProfile(input: {bio: "Hello"}) { user { bio } } }';
  t.match(await request(world, read, ann.token), { status: 200 });

  const endsAt = new Date(Date.now() + 600_000).toISOString();
  const said = await ask(begin, { i: { message: 'We move house.', endsAt } }, olga.token);
  t.strictSame(said.data, { beginMaintenance: { maintenance: { level: 'closed', message: 'We move house.' } } });

  const told = await until(world, 503, read, ann.token);
  t.match(told, { status: 503, code: 'MAINTENANCE', message: 'We move house.' });
  const accepted = Number((await request(world, read, ann.token)).retryAfter);
  t.ok(accepted > 590 && accepted <= 600, `Retry-After: ${accepted}`);
  for (const [who, query, token] of [
    ['a member who writes', write, ann.token],
    ['a stranger', read, undefined],
    ['a stranger who asks for the schema', '{ __typename }', undefined],
  ] as const) {
    t.match(await request(world, query, token), { status: 503, code: 'MAINTENANCE', retryAfter: /^\d+$/ }, who);
  }
  const accept = 'application/graphql-response+json';
  t.match(await request(world, read, ann.token, accept), { status: 503, code: 'MAINTENANCE' });
  const get = await fetch(`${world.server.url}graphql?query=${encodeURIComponent(read)}`);
  t.match([get.status, get.headers.get('retry-after')], [503, /^\d+$/], 'by GET as well');

  t.match(await request(world, read, olga.token), { status: 200, code: undefined });
  t.match(await request(world, write, olga.token), { status: 200, code: undefined });
  t.match(await request(world, '{ maintenance { level } }', await service()), { status: 200, code: undefined });
  t.equal((await fetch(`${world.server.url}ready`)).status, 200);

  t.strictSame((await ask(end, {}, olga.token)).data, { endMaintenance: { result: true } });
  t.match(await until(world, 200, read, ann.token), { status: 200, code: undefined });
  t.strictSame((await ask(end, {}, olga.token)).data, { endMaintenance: { result: false } });
});

t.test('C15 in read-only mode members read and do not write; they may sign in', async (t) => {
  const world = await openWorld(t);
  const { ask, person, owner } = world;
  const [ann, olga] = [await person('ann'), await person('olga', { operator: true })];
  await ask(begin, { i: { message: 'Reading only.', level: 'read_only' } }, olga.token);
  const write = 'mutation { updateProfile(input: {bio: "Hello"}) { user { bio } } }';
  t.match(await until(world, 503, write, ann.token), { status: 503, code: 'MAINTENANCE', message: 'Reading only.' });
  t.equal((await request(world, write, ann.token)).retryAfter, '60', 'nobody knows for how long');
  t.match(await request(world, '{ me { username } }', ann.token), { status: 200, code: undefined });
  t.strictSame((await ask('{ maintenance { level message endsAt } }')).data, {
    maintenance: { level: 'read_only', message: 'Reading only.', endsAt: null },
  });
  t.match((await owner.query('select (identity.open_session($1)).expires_at', [ann.id])).rows.length, 1);
});

t.test('C15 the database says no by itself, to whatever gets past the server', async (t) => {
  const { owner, person } = await openWorld(t);
  const [ann, olga] = [await person('ann'), await person('olga', { operator: true })];
  await owner.query("select access.begin_maintenance('We move house.', now() + interval '1 hour')");
  const enter = (role: string, readOnly: boolean) =>
    owner.query('select identity.begin_request($1, $2, $3, $4)', [role, '{}', '1s', readOnly]);
  for (const [role, readOnly] of [
    ['member', true],
    ['member', false],
    ['anonymous', true],
  ] as const) {
    await t.rejects(enter(role, readOnly), { code: 'PT503', message: 'We move house.' }, `${role} ${readOnly}`);
  }
  await enter('service', true);
  await enter('anonymous', false);
  await t.rejects(owner.query('select identity.open_session($1)', [ann.id]), { code: 'PT503' }, 'ann cannot sign in');
  t.equal((await owner.query('select identity.open_session($1)', [olga.id])).rowCount, 1, 'an operator can');

  await owner.query(
    "update identity.maintenance set started_at = now() - interval '2 h', ends_at = now() - interval '1 s'",
  );
  t.equal((await owner.query('select identity.open_session($1)', [ann.id])).rowCount, 1, 'it has ended by itself');
});

t.test('C15 maintenance that ends at infinity ends by hand, and keeps no server from starting', async (t) => {
  const world = await openWorld(t);
  const { token } = await world.person('ann');
  await world.owner.query("select access.begin_maintenance('For good.', 'infinity')");
  t.match(await until(world, 503, '{ me { username } }', token), { message: 'For good.', retryAfter: '60' });
  t.match((await world.owner.query('select access._gate() as rules')).rows[0].rules.closed, [{ endsIn: null }]);
  await world.owner.query('select access.end_maintenance()');
  t.match(await until(world, 200, '{ me { username } }', token), { status: 200 });
});

t.test(
  'C15 E5 a restore to before maintenance lets everyone in again; what was kept of the former is gone',
  async (t) => {
    const world = await openWorld(t);
    const { ask, person, owner, databaseUrl } = world;
    const { token } = await person('ann');
    const bench = openBench(t, databaseUrl);
    const { name } = await backUp(bench);
    await owner.query("insert into access.flags (name, is_on, description) values ('voice', true, 'V')");
    const flags = async (): Promise<object[] | undefined> =>
      (await ask('{ featureFlags { name } }')).data?.featureFlags;
    await comesAbout(async () => (await flags())?.length === 1, 'The flag');
    await owner.query("select access.begin_maintenance('For good.')");
    t.match(await until(world, 503, '{ me { username } }', token), { message: 'For good.' });
    await restore(bench, { name });
    const isIn = async () => (await request(world, '{ me { username } }', token)).status === 200;
    await comesAbout(isIn, 'The end of maintenance');
    t.same(await flags(), []);
  },
);

t.test('C15 a server that starts while the rules change goes by the new ones', async (t) => {
  const world = await openWorld(t);
  const { owner, person, databaseUrl, keys } = world;
  const { token } = await person('ann');
  // Without a word to the server of the world, which is not to read the rules as well.
  const quietly = 'begin; set local session_replication_role = replica';
  await owner.query(
    `${quietly}; insert into identity.maintenance (level, message) values ('closed', 'For good.'); commit`,
  );
  // Reads them, and waits before it gives them.
  await owner.query(`
    alter function access._gate() rename to _rules;
    create function access._gate() returns jsonb
    language plpgsql stable security definer set search_path = ''
    as $$ begin perform pg_advisory_xact_lock_shared(15); return access._rules(); end $$;
    grant execute on function access._gate to plinth_server`);
  const lock = await owner.connect();
  await lock.query('select pg_advisory_lock(15)');
  const settings = readSettings({ PORT: '0', HOST: '127.0.0.1' });
  const given = { settings, keys, databaseUrl, log: pino({ level: 'silent' }), deliver: async () => {} };
  const starting = startServer(given);
  t.teardown(async () => (await starting).close());
  const reads = `
    select from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query ~ '^select access._gate'`;
  await comesAbout(async () => (await owner.query(reads)).rowCount === 1, 'That it reads the rules');
  await owner.query('select access.end_maintenance()');
  await sleep(1500);
  await lock.query('select pg_advisory_unlock(15)');
  lock.release();
  const server = await starting;
  t.match(await until({ ...world, server }, 200, '{ me { username } }', token), { status: 200 });
});

t.test('C15 an operator signs in with a password during maintenance, a member does not', async (t) => {
  const world = await openWorld(t);
  const { ask, owner, delivered } = world;
  const tokens: (string | undefined)[] = [];
  for (const name of ['ann', 'olga']) {
    const email = `${name}@plinth.test`;
    const signUp = `mutation { signUp(input: {email: "${email}", password: "a long secret", username: "${name}", displayName: "${name} X"}) { codeRequest { id } } }`;
    const { data } = await ask(signUp);
    while (delivered.at(-1)?.to !== email) await sleep(10);
    const [code] = /\d{6}/.exec(delivered.at(-1)?.text ?? '') ?? [];
    const verify = `mutation { verifyCode(input: {requestId: "${data.signUp.codeRequest.id}", code: "${code}"}) { sessionTokens { refreshToken } } }`;
    tokens.push((await ask(verify)).data?.verifyCode.sessionTokens.refreshToken);
  }
  await owner.query(
    "update identity.accounts set is_operator = true where user_id = (select id from identity.users where username = 'olga')",
  );
  await owner.query("select access.begin_maintenance('We move house.')");
  await until(world, 503, '{ me { username } }');
  const logIn = (name: string) =>
    ask(
      `mutation { logIn(input: {email: "${name}@plinth.test", password: "a long secret"}) { sessionTokens { accessToken } } }`,
    );
  t.match(await logIn('olga'), { data: { logIn: { sessionTokens: { accessToken: String } } } });
  t.match(await logIn('ann'), { errors: [{ message: 'We move house.', extensions: { code: 'MAINTENANCE' } }] });
  const refresh = `mutation { refreshSession(input: {refreshToken: "${tokens[0]}"}) { sessionTokens { expiresAt } } }`;
  t.match(await ask(refresh), { errors: [{ extensions: { code: 'MAINTENANCE' } }] });
  await owner.query('select access.end_maintenance()');
  t.match(await ask(refresh), { data: { refreshSession: { sessionTokens: {} } } }, 'and her token is not spent');
});

t.test('C15 subscriptions of members end when maintenance begins', async (t) => {
  const world = await openWorld(t);
  const { server, person, owner } = world;
  const ann = await person('ann');
  const response = await fetch(`${server.url}graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${ann.token}`,
    },
    body: JSON.stringify({ query: 'subscription { userEvents { event { type } } }' }),
  });
  await owner.query("select access.begin_maintenance('We move house.')");
  const text = await response.text();
  t.match(text, /"code":"MAINTENANCE"/);
  t.match(text, /event: complete/);
});

t.test('C15 a flag is on for a share of users, always the same, and for those it names', async (t) => {
  const { ask, person, owner, service } = await openWorld(t);
  const [ann, olga] = [await person('ann'), await person('olga', { operator: true })];
  const set = 'mutation S($i: SetFlagInput!) { setFlag(input: $i) { flag { name isOn share } } }';
  const flags = async (token?: string) => {
    const { data } = await ask('{ featureFlags { name isOn } }', {}, token);
    return Object.fromEntries(data.featureFlags.map((flag: { name: string; isOn: boolean }) => [flag.name, flag.isOn]));
  };
  t.match(await ask(set, { i: { name: 'voice', description: 'Voice messages' } }, ann.token), {
    errors: [{ extensions: { code: 'FORBIDDEN' } }],
  });
  t.match((await ask(set, { i: { name: 'voice', description: 'Voice messages' } }, olga.token)).data, {
    setFlag: { flag: { name: 'voice', isOn: false, share: 100 } },
  });
  t.strictSame(await flags(ann.token), { voice: false });
  await ask(set, { i: { name: 'voice', isOn: true } }, olga.token);
  for (let waited = 0; waited < 5000 && !(await flags()).voice; waited += 50) await sleep(50);
  t.strictSame([await flags(ann.token), await flags()], [{ voice: true }, { voice: true }]);
  await ask(set, { i: { name: 'voice', share: 0 } }, await service());
  // What strangers share is kept until the event of the change has come.
  for (let waited = 0; waited < 5000 && (await flags()).voice; waited += 50) await sleep(50);
  t.strictSame([await flags(ann.token), await flags()], [{ voice: false }, { voice: false }]);
  await ask(set, { i: { name: 'voice', forUsers: [ann.id] } }, olga.token);
  t.strictSame([await flags(ann.token), await flags(olga.token)], [{ voice: true }, { voice: false }]);
  await ask(set, { i: { name: 'voice', isOn: false } }, olga.token);
  t.strictSame(await flags(ann.token), { voice: false }, 'off is off for everyone');

  const { rows } = await owner.query(
    `select avg((access._percent_of('voice', id) < 30)::integer)::float as share
     from (select gen_random_uuid() as id from generate_series(1, 20000)) as users`,
  );
  t.ok(Math.abs(rows[0].share - 0.3) < 0.02, `30 % are ${rows[0].share}`);

  await ask(set, { i: { name: 'voice', isOn: true, share: 100 } }, olga.token);
  await owner.query(
    'create policy with_voice on identity.users as restrictive for select to member using ((select access.is_on($$voice$$)))',
  );
  t.match((await ask('{ users(first: 5) { nodes { username } } }', {}, ann.token)).data.users.nodes.length, 2);
  await ask('mutation { removeFlag(input: {name: "voice"}) { result } }', {}, olga.token);
  t.same((await ask('{ users(first: 5) { nodes { username } } }', {}, ann.token)).data.users.nodes, [], 'in a policy');
});
