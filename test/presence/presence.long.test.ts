import pg from 'pg';
import t from 'tap';
import { openGathering } from '../../functions/gathering.ts';
import { keepServer } from '../../scripts/chaos/servers.ts';
import { openActs } from '../events/acts.ts';
import { fieldOf, listen, until } from '../events/listen.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

// C9: who is there, who may see it, and what it costs.

t.setTimeout(180_000);
const world = await openWorld(t);
const { ask, owner, person } = world;
const acts = openActs(world);
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const nobody = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

const presenceOf = async (whom: Person, by: Person): Promise<string> =>
  (await ask('query ($id: UUID!) { user(id: $id) { presence } }', { id: whom.id }, by.token)).data.user.presence;
const becomes = (whom: Person, by: Person, status: string): Promise<void> =>
  until(async () => (await presenceOf(whom, by)) === status, `${whom.username} being ${status} for ${by.username}`);
const show = (by: Person | undefined, visibleTo: string): Promise<Answer> =>
  ask(
    'mutation ($input: SetPresenceVisibilityInput!) { setPresenceVisibility(input: $input) { result } }',
    { input: { visibleTo } },
    by?.token,
  );
/** Another device: a session of its own. */
async function device({ id, username }: Person): Promise<Person> {
  const { rows } = await owner.query('select (identity.open_session($1)).access_token as claims', [id]);
  return { id, username, token: await world.tokens.sign(rows[0].claims) };
}

t.test('C9 there, away, gone: the best of all devices, told when it changes', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const phone = await device(ann);
  const live = listen(t, world.server.url, {
    query: 'subscription ($ids: [UUID!]!) { presence(userIds: $ids) { event { data } user { username presence } } }',
    variables: { ids: [ann.id] },
    token: bob.token,
  });
  t.equal(await presenceOf(ann, bob), 'OFFLINE');
  const answer = await ask(
    'mutation ($status: PresenceStatus!) { a: setPresence(input: {status: $status}) { kind: __typename done: ok } }',
    { status: 'ONLINE' },
    ann.token,
  );
  t.strictSame(answer, { data: { a: { kind: 'SetPresencePayload', done: true } } });
  await becomes(ann, bob, 'ONLINE');
  await acts.presence(phone, 'AWAY');
  await acts.presence(ann, 'OFFLINE');
  await becomes(ann, bob, 'AWAY');
  await acts.presence(phone, 'OFFLINE');
  await becomes(ann, bob, 'OFFLINE');
  const changes: string[] = [];
  // The subscription may have begun after the first change.
  while (changes.at(-1) !== 'offline') {
    const { event, user } = fieldOf(await live.next());
    t.equal(user.username, 'ann');
    changes.push(event.data.status);
  }
  t.strictSame(changes.slice(-2), ['away', 'offline']);
  t.equal((await owner.query("select from events.log where topic like 'presence%'")).rowCount, 0, 'off the log');
});

t.test(
  'C9 who is online in a channel; a session ends when nothing is said for long, and with a revoked token',
  async (t) => {
    const [cat, dan, eve] = [await person('cat'), await person('dan'), await person('eve')];
    const room = await acts.room(cat, [dan, eve]);
    const online = async (by: Person): Promise<string[]> =>
      (
        await ask(
          'query ($id: UUID!) { channel(id: $id) { onlineMembers { nodes { username } } } }',
          { id: room },
          by.token,
        )
      ).data.channel.onlineMembers.nodes.map(({ username }: { username: string }) => username);
    await acts.presence(cat, 'ONLINE');
    await acts.presence(dan, 'AWAY');
    await until(async () => (await online(eve)).length === 2, 'Two who are there');
    t.strictSame(await online(eve), ['cat', 'dan']);

    await owner.query(
      `update presence.sessions set started_at = now() - interval '3 hours', beat_at = now() - interval '2 minutes' where user_id = $1`,
      [dan.id],
    );
    t.strictSame(await online(eve), ['cat'], 'nobody has to close it first');
    t.equal((await owner.query('select presence.close_sessions() as n')).rows[0].n, 1);
    const days = await owner.query('select sum(seconds)::integer as seconds from presence.days where user_id = $1', [
      dan.id,
    ]);
    t.equal(days.rows[0].seconds, 3 * 3600 - 120, 'to the last word, not until it was noticed');

    await owner.query('update identity.sessions set revoked_at = now() where user_id = $1', [eve.id]);
    t.notOk(
      (await ask('mutation { setPresence(input: {status: ONLINE}) { ok } }', {}, eve.token)).errors,
      'it is not asked',
    );
    await acts.presence(dan, 'ONLINE');
    await until(async () => (await online(cat)).includes('dan'), 'dan');
    t.notOk((await online(cat)).includes('eve'), 'but it does not count');
  },
);

t.test('C9 days: one’s own, in one’s time zone, with the session that goes on', async (t) => {
  const fay = await person('fay');
  await owner.query("update identity.accounts set time_zone = 'Asia/Tokyo' where user_id = $1", [fay.id]);
  const record = (status: string, at: string) =>
    owner.query(
      `select presence._record(jsonb_build_array(jsonb_build_object('user', user_id, 'session', id, 'age', 0, 'input', jsonb_build_object('status', $2::text))), $3)
       from identity.sessions where user_id = $1`,
      [fay.id, status, at],
    );
  const [year, month] = [new Date().getUTCFullYear(), new Date().getUTCMonth()];
  const day = (offset: number, time: string) =>
    `${new Date(Date.UTC(year, month, 1 + offset)).toISOString().slice(0, 10)}T${time}`;
  // Midnight of Tokyo is at 15:00.
  for (const time of ['14:59:00.000Z', '14:59:50.000Z', '15:00:40.000Z']) await record('online', day(-3, time));
  await record('offline', day(-3, '15:01:00.000Z'));
  const days = (by: Person | undefined, given: object): Promise<Answer> =>
    ask(
      'query ($userId: UUID, $since: Date, $until: Date) { onlineDays(userId: $userId, since: $since, until: $until) { day seconds sessions firstSessionAt lastSessionAt } }',
      given,
      by?.token,
    );
  const range = { since: day(-5, '').slice(0, 10), until: day(0, '').slice(0, 10) };
  t.match((await days(fay, range)).data.onlineDays, [
    { day: day(-3, '').slice(0, 10), seconds: 60, sessions: 1 },
    { day: day(-2, '').slice(0, 10), seconds: 60, sessions: 1 },
  ]);
  const gus = await person('gus');
  await acts.presence(gus, 'ONLINE');
  await until(async () => (await days(gus, {})).data.onlineDays.length === 1, 'The day of gus');
  t.match((await days(gus, {})).data.onlineDays, [{ seconds: 0, sessions: 1, firstSessionAt: String }]);
  t.match((await days(gus, { userId: fay.id, ...range })).data.onlineDays.length, 2, 'who lets others see it');
  await show(fay, 'NOBODY');
  t.equal(codeOf(await days(gus, { userId: fay.id, ...range })), 'NOT_FOUND');
  t.equal(codeOf(await days(gus, { userId: nobody })), 'NOT_FOUND');
  t.equal((await days(fay, range)).data.onlineDays.length, 2, 'not hidden from oneself');
  t.equal(codeOf(await days(gus, { since: '2000-01-01' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await days(gus, { since: '2024-02-01', until: '2024-01-01' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await days(gus, { since: 'infinity', until: '-infinity' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await days(undefined, {})), 'FORBIDDEN');
});

t.test('C9 whom it is hidden from: they see nothing, hear nothing, and do not learn that it is hidden', async (t) => {
  const [hal, ian, joe] = [await person('hal'), await person('ian'), await person('joe')];
  await acts.send(hal, await acts.direct(hal, ian), 'hello');
  await acts.presence(hal, 'ONLINE');
  await becomes(hal, joe, 'ONLINE');
  const hear = (by: Person) =>
    listen(t, world.server.url, {
      query: 'subscription ($ids: [UUID!]!) { presence(userIds: $ids) { event { data } } }',
      variables: { ids: [hal.id, ian.id] },
      token: by.token,
    });
  const [friend, stranger] = [hear(ian), hear(joe)];
  t.equal((await show(hal, 'CONTACTS')).data.setPresenceVisibility.result, 'CONTACTS');
  t.equal((await ask('{ presenceVisibility }', {}, hal.token)).data.presenceVisibility, 'CONTACTS');
  t.equal(await presenceOf(hal, ian), 'ONLINE');
  t.equal(await presenceOf(hal, joe), 'OFFLINE');
  t.equal(await presenceOf(hal, hal), 'ONLINE');
  let turns = 0;
  const toggle = () => acts.presence(hal, turns++ % 2 ? 'ONLINE' : 'AWAY');
  await toggle();
  await becomes(hal, ian, 'AWAY');
  await toggle();
  await becomes(hal, ian, 'ONLINE');
  await acts.presence(ian, 'ONLINE');
  // What concerns ian comes after what concerned hal.
  let last = fieldOf(await stranger.next());
  while (last.event.data.user_id !== ian.id) last = fieldOf(await stranger.next());
  const heard = [fieldOf(await friend.next())];
  while (heard.at(-1).event.data.user_id !== ian.id) heard.push(fieldOf(await friend.next()));
  t.ok(heard.some(({ event }) => event.data.user_id === hal.id));
  await show(hal, 'NOBODY');
  t.equal(await presenceOf(hal, ian), 'OFFLINE');
  await acts.presence(hal, 'AWAY');
  await becomes(hal, hal, 'AWAY');
  await acts.presence(ian, 'AWAY');
  for (const ear of [friend, stranger]) {
    const { event } = fieldOf(await ear.next());
    t.strictSame(event.data, { user_id: ian.id, status: 'away' }, 'nothing of hal was heard');
  }
  await show(hal, 'EVERYONE');
  t.equal(await presenceOf(hal, joe), 'AWAY');
});

t.test('C9 wrong, hostile and concurrent input', async (t) => {
  const kim = await person('kim');
  const say = (input: string, token?: string) => ask(`mutation { setPresence(input: ${input}) { ok } }`, {}, token);
  t.ok(codeOf(await say('{status: ONLINE}')), 'nobody is signed in');
  t.equal(codeOf(await say('{status: ONLINE}', await world.service())), 'UNAUTHENTICATED');
  t.ok((await say('{status: "online"}', kim.token)).errors);
  t.ok((await say('{}', kim.token)).errors);
  t.ok((await say('{status: null}', kim.token)).errors);
  t.equal(codeOf(await show(undefined, 'NOBODY')), 'FORBIDDEN');
  const beats = async (given: unknown) => owner.query('select presence._record($1)', [JSON.stringify(given)]);
  const { rows } = await owner.query('select id from identity.sessions where user_id = $1', [kim.id]);
  const lou = await person('lou');
  await beats([{ user: lou.id, session: rows[0].id, age: 0, input: { status: 'online' } }]);
  t.equal(await presenceOf(lou, kim), 'OFFLINE', 'nobody speaks for someone else');
  await Promise.all(
    Array.from({ length: 40 }, (_, n) =>
      beats([{ user: kim.id, session: rows[0].id, age: 0, input: { status: n % 3 ? 'online' : 'offline' } }]),
    ),
  );
  await acts.presence(kim, 'ONLINE');
  await becomes(kim, lou, 'ONLINE');
  await ask('mutation { removeAccount { ok } }', {}, kim.token);
  const left = await owner.query(
    'select user_id from presence.sessions where user_id = $1 union all select user_id from presence.days where user_id = $1 union all select user_id from presence.devices where user_id = $1',
    [kim.id],
  );
  t.equal(left.rowCount, 0, 'gone with the account');
});

t.test('C9 one statement a second, whatever the number of users; nothing is lost where it fails', async (t) => {
  await owner.query(`
    with made as (
      insert into identity.users (username, display_name) select 'crowd' || n, 'Crowd' from generate_series(1, 5000) as n returning id
    ), account as (insert into identity.accounts (user_id) select id from made returning user_id)
    insert into identity.sessions (user_id) select user_id from account`);
  const { rows } = await owner.query<{ user: string; session: string }>(
    "select session.user_id as user, session.id as session from identity.sessions as session join identity.users as person on person.id = user_id where username like 'crowd%'",
  );
  let fails = true;
  const gathering = openGathering(
    async (query: pg.QueryConfig) => {
      if (!fails) return owner.query(query);
      fails = false;
      throw new pg.DatabaseError('The connection was lost.', 0, 'error');
    },
    () => {},
    { warn: () => {} },
  );
  t.teardown(gathering.close);
  const speak = () => {
    for (const { user, session } of rows)
      gathering.gather('presence._record', { user, session, input: { status: 'online' } });
  };
  speak();
  speak();
  t.equal(gathering.state().waiting, 5000, 'the last word of each');
  await gathering.flush();
  t.equal(gathering.state().waiting, 5000, 'what was not taken waits');
  await gathering.flush();
  t.match(gathering.state(), { waiting: 0, handedOn: 5000, statements: 1 });
  const there = async () =>
    (
      await owner.query(
        "select count(*)::integer as n from presence.sessions join identity.users on id = user_id where username like 'crowd%'",
      )
    ).rows[0].n;
  t.equal(await there(), 5000);
});

t.test('C9 a server that is killed loses its last second at most', async (t) => {
  const kid = world.keys[0];
  const server = await keepServer(
    'plinth',
    {
      DATABASE_URL: world.databaseUrl,
      JWT_KEYS: `${kid?.kid}:${Buffer.from(kid?.key ?? []).toString('base64url')}`,
      PLINTH_DATA: temporaryFolder(t),
      LOG_LEVEL: 'silent',
      PLINTH_ENV: 'development',
    },
    () => {},
  );
  t.teardown(server.close);
  await until(server.isReady, 'The server');
  const mia = await person('mia');
  const say = async (): Promise<void> => {
    const answer = await fetch(`${server.url}graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${mia.token}` },
      body: JSON.stringify({ query: 'mutation { setPresence(input: {status: ONLINE}) { ok } }' }),
    });
    t.notOk(((await answer.json()) as Answer).errors);
  };
  const beatAt = async () =>
    (
      await owner.query('select extract(epoch from beat_at) * 1000 as at from presence.sessions where user_id = $1', [
        mia.id,
      ])
    ).rows[0]?.at;
  await say();
  await until(async () => Boolean(await beatAt()), 'The first word');
  const first = Number(await beatAt());
  await say();
  await until(async () => Number(await beatAt()) > first, 'The second word');
  const kept = await beatAt();
  await say();
  await server.kill('SIGKILL');
  t.ok(Number(await beatAt()) >= Number(kept), 'what had been handed on stands');
  await until(server.isReady, 'The next server');
  await say();
  await until(async () => Number(await beatAt()) > Number(kept), 'The session goes on');
  const { rows } = await owner.query(
    'select extract(epoch from started_at) * 1000 as at from presence.sessions where user_id = $1',
    [mia.id],
  );
  t.ok(Number(rows[0].at) <= first, 'as one');
});

t.test('C9 when someone was last active is for whom they let see it, in every way to ask', async (t) => {
  const [ida, friend, stranger] = [
    await person('seen-ida'),
    await person('seen-friend'),
    await person('seen-stranger'),
  ];
  await acts.send(ida, await acts.direct(ida, friend), 'hello');
  const room = await acts.room(ida, [friend, stranger]);
  await owner.query('update identity.users set last_seen_at = now() where id = $1', [ida.id]);
  const asked = [
    'query ($id: UUID!, $room: UUID!) { user(id: $id) { lastSeenAt } channel(id: $room) { id } }',
    `query ($id: UUID!, $room: UUID!) {
      channel(id: $room) { members(filter: { userId: { eq: $id } }) { nodes { user { lastSeenAt } } } }
    }`,
    'query ($id: UUID!, $room: UUID!) { users(filter: { id: { eq: $id } }) { nodes { lastSeenAt } } channel(id: $room) { id } }',
  ];
  const sees = async (by: Person): Promise<boolean[]> => {
    const answers = await Promise.all(asked.map((query) => ask(query, { id: ida.id, room }, by.token)));
    return answers.map((answer) => {
      if (answer.errors) throw new Error(JSON.stringify(answer.errors));
      return !JSON.stringify(answer.data).includes('"lastSeenAt":null');
    });
  };
  const all = async () => [await sees(ida), await sees(friend), await sees(stranger)];
  const [yes, no] = [Array(3).fill(true), Array(3).fill(false)];
  t.strictSame(await all(), [yes, yes, yes], 'everyone, unless they say otherwise');
  await show(ida, 'CONTACTS');
  t.strictSame(await all(), [yes, yes, no]);
  await show(ida, 'NOBODY');
  t.strictSame(await all(), [yes, no, no]);
  for (const argument of ['filter: { lastSeenAt: { isNull: false } }', 'orderBy: LAST_SEEN_AT_DESC'])
    t.ok((await ask(`{ users(${argument}) { nodes { id } } }`, {}, stranger.token)).errors, 'nor is it found by it');
  await show(ida, 'EVERYONE');
  t.strictSame(await all(), [yes, yes, yes]);
});
