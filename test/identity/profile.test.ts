import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { type Answer, openWorld } from '../world.ts';

const { ask, owner, person } = await openWorld(t);
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const profile = 'username displayName bio avatarUrl location website createdAt updatedAt';
const update = (token: string | undefined, input: object) =>
  ask(
    `mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { user { ${profile} } } }`,
    { input },
    token,
  );

t.test('T2 a profile is changed in parts; an empty text removes, and the time of change is kept', async (t) => {
  const ann = await person('ann');
  const before = (await ask(`{ me { ${profile} } }`, {}, ann.token)).data.me;
  await wait(5);
  const input = {
    displayName: 'Аня',
    bio: 'Hi',
    avatarUrl: 'https://plinth.test/a.png',
    location: 'Astana',
    website: 'http://a.test',
  };
  const { updateProfile } = (await update(ann.token, input)).data;
  t.match(updateProfile.user, { ...input, username: 'ann', createdAt: before.createdAt });
  t.not(updateProfile.user.updatedAt, before.updatedAt);
  const less = (await update(ann.token, { bio: '', location: '' })).data.updateProfile.user;
  t.match(less, { bio: null, location: null, displayName: 'Аня', website: 'http://a.test' });
  await owner.query('update identity.users set last_seen_at = now() where id = $1', [ann.id]);
  t.equal(
    (await ask(`{ me { ${profile} } }`, {}, ann.token)).data.me.updatedAt,
    less.updatedAt,
    'being seen is no change of the profile',
  );
});

t.test('T2 what breaks a rule of the profile is refused and changes nothing', async (t) => {
  const [bob] = [await person('bob'), await person('Taken')];
  const before = (await ask(`{ me { ${profile} } }`, {}, bob.token)).data.me;
  for (const [input, code] of [
    [{ username: 'TAKEN' }, 'CONFLICT'],
    [{ username: 'ab' }, 'BAD_USER_INPUT'],
    [{ username: 'x'.repeat(51) }, 'BAD_USER_INPUT'],
    [{ username: '.dot' }, 'BAD_USER_INPUT'],
    [{ username: '' }, 'BAD_USER_INPUT'],
    [{ displayName: 'x' }, 'BAD_USER_INPUT'],
    [{ displayName: '' }, 'BAD_USER_INPUT'],
    [{ displayName: 'x'.repeat(101) }, 'BAD_USER_INPUT'],
    [{ bio: 'x'.repeat(1001) }, 'BAD_USER_INPUT'],
    [{ bio: 'a\u0000b' }, 'BAD_USER_INPUT'],
    [{ avatarUrl: 'javascript:alert(1)' }, 'BAD_USER_INPUT'],
    [{ website: 'ftp://a.test' }, 'BAD_USER_INPUT'],
    [{ website: `https://a.test/${'x'.repeat(2000)}` }, 'BAD_USER_INPUT'],
    [{ location: 'x'.repeat(101) }, 'BAD_USER_INPUT'],
  ] as const) {
    t.equal(codeOf(await update(bob.token, input)), code, JSON.stringify(input).slice(0, 50));
  }
  t.strictSame((await ask(`{ me { ${profile} } }`, {}, bob.token)).data.me, before);
  t.equal(codeOf(await update(undefined, { bio: 'x' })), 'FORBIDDEN');
});

t.test('C1 time zone, language and preferences are the account’s', async (t) => {
  const cat = await person('cat');
  const change = (input: object) =>
    ask(
      'mutation ($input: UpdateAccountInput!) { updateAccount(input: $input) { account { timeZone language preferences } } }',
      { input },
      cat.token,
    );
  const { updateAccount } = (
    await change({ timeZone: 'Asia/Almaty', language: 'pt-BR', preferences: { theme: 'dark' } })
  ).data;
  t.strictSame(updateAccount.account, { timeZone: 'Asia/Almaty', language: 'pt-BR', preferences: { theme: 'dark' } });
  t.match((await change({ language: 'ru' })).data.updateAccount.account, { timeZone: 'Asia/Almaty', language: 'ru' });
  for (const input of [
    { timeZone: 'Mars/Olympus' },
    { language: 'русский' },
    { language: `en${'-abcdefgh'.repeat(6)}` },
    { preferences: [1] },
    { preferences: { x: Array(9000).fill(Math.random()).map(String) } },
  ]) {
    t.equal(codeOf(await change(input)), 'BAD_USER_INPUT', JSON.stringify(input).slice(0, 50));
  }
});

t.test('a removed account leaves nothing personal, and the history of others whole', async (t) => {
  const [dan, eve, fay] = [await person('dan'), await person('eve'), await person('fay')];
  const run = async (token: string, mutation: string, input: object) => {
    const answer = await ask(mutation, { input }, token);
    if (answer.errors) throw new Error(answer.errors[0]?.message);
    return answer.data;
  };
  const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }';
  const createRoom = 'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id } } }';
  const addMember = 'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { role } } }';
  const openDirect = 'mutation ($input: OpenDirectInput!) { openDirect(input: $input) { channel { id } } }';
  const roomId = (await run(dan.token, createRoom, { name: 'club' })).createRoom.channel.id;
  for (const { id } of [eve, fay]) await run(dan.token, addMember, { channelId: roomId, userId: id });
  await owner.query("update chat.members set role = 'admin' where channel_id = $1 and user_id = $2", [roomId, fay.id]);
  const empty = (await run(dan.token, createRoom, { name: 'alone' })).createRoom.channel.id;
  const directId = (await run(dan.token, openDirect, { userId: eve.id })).openDirect.channel.id;
  for (const channelId of [roomId, directId]) await run(dan.token, send, { channelId, text: 'from dan' });
  await run(eve.token, send, { channelId: directId, text: 'from eve' });
  await owner.query(
    "update identity.accounts set phone = '+77011112233', email = 'dan@plinth.test' where user_id = $1",
    [dan.id],
  );
  await run(dan.token, 'mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { user { id } } }', {
    bio: 'dan is me',
    location: 'Oslo',
    website: 'https://dan.test',
  });

  t.notOk((await ask('mutation { removeAccount { ok } }', {}, dan.token)).errors);
  t.equal(codeOf(await ask('{ me { id } }', {}, dan.token)), 'UNAUTHENTICATED');
  const { rows } = await owner.query(
    `select (select count(*) from identity.accounts where user_id = $1)::integer + (select count(*) from identity.sessions where user_id = $1)::integer as kept,
      (select u::text from identity.users as u where id = $1) as row`,
    [dan.id],
  );
  t.equal(rows[0].kept, 0, 'no account, no session');
  t.notMatch(rows[0].row, /\bdan\b|Oslo|dan\.test/, 'no name or place');

  const text =
    '{ messages(last: 5) { nodes { text sender { displayName removedAt } } } otherUser { displayName } closedAt }';
  const direct = (await ask(`query ($id: UUID!) { channel(id: $id) ${text} }`, { id: directId }, eve.token)).data
    .channel;
  t.strictSame(direct.messages.nodes.map((node: { text: string }) => node.text).sort(), ['from dan', 'from eve']);
  t.equal(direct.otherUser.displayName, 'Removed account');
  t.ok(direct.closedAt, 'the direct chat is closed');
  t.equal(codeOf(await ask(send, { input: { channelId: directId, text: 'hello?' } }, eve.token)), 'CONFLICT');
  t.equal(codeOf(await ask(openDirect, { input: { userId: dan.id } }, eve.token)), 'NOT_FOUND', 'and not opened again');

  const room = (
    await ask(
      `query ($id: UUID!) { channel(id: $id) { ownerId closedAt members { nodes { role user { username } } } messages { nodes { text } } } }`,
      { id: roomId },
      eve.token,
    )
  ).data.channel;
  t.equal(room.ownerId, fay.id, 'the next in rank has the room');
  t.equal(room.closedAt, null);
  t.strictSame(room.messages.nodes, [{ text: 'from dan' }]);
  t.strictSame(
    room.members.nodes
      .map((node: { role: string; user: { username: string } }) => `${node.user.username} ${node.role}`)
      .sort(),
    ['eve MEMBER', 'fay OWNER'],
  );
  const alone = await owner.query('select owner_id from chat.channels where id = $1', [empty]);
  t.equal(alone.rows[0].owner_id, null, 'a room with nobody else is nobody’s');

  const found = await ask('{ searchUsers(query: "dan") { totalCount } }', {}, eve.token);
  t.equal(found.data.searchUsers.totalCount, 0);
  await person('dan');
  t.pass('the name is free again');
});

t.test('nobody keeps another from going by taking the name that they would have as removed', async (t) => {
  const [uma, vic] = [await person('uma'), await person('vic')];
  const name = `Removed-${uma.id.replaceAll('-', '')}`;
  t.notOk((await update(vic.token, { username: name })).errors);
  t.notOk((await ask('mutation { removeAccount { ok } }', {}, uma.token)).errors);
  const { rows } = await owner.query('select username from identity.users where id = $1', [uma.id]);
  t.match(rows[0].username, /^removed-[0-9a-f]{32}$/);
});

t.test('two who remove their accounts at the same moment do not stop each other', async (t) => {
  const people = await Promise.all(['gil', 'hal', 'ida', 'jon'].map((name) => person(name)));
  for (const one of people) {
    for (const other of people.filter((each) => each !== one)) {
      await ask(
        'mutation ($id: UUID!) { openDirect(input: { userId: $id }) { channel { id } } }',
        { id: other.id },
        one.token,
      );
    }
  }
  const answers = await Promise.all(people.map(({ token }) => ask('mutation { removeAccount { ok } }', {}, token)));
  t.strictSame(answers.map(codeOf), [undefined, undefined, undefined, undefined]);
});

t.test(
  'an account that is removed at the moment when someone opens a chat with it or adds it is not left inside',
  async (t) => {
    const kim = await person('kim');
    const { createRoom } = (
      await ask('mutation { createRoom(input: { name: "late" }) { channel { id } } }', {}, kim.token)
    ).data;
    for (const [call, values] of [
      ['chat.open_direct($1)', []],
      ['chat.add_member($2, $1)', [createRoom.channel.id]],
    ] as const) {
      for (const removedFirst of [true, false]) {
        const lee = await person(`lee-${call.slice(5, 8)}-${removedFirst}`);
        const [remover, opener] = [await owner.connect(), await owner.connect()];
        const begin = 'begin; select set_config($$plinth.user_id$$, $$USER$$, true)';
        await remover.query(begin.replace('USER', lee.id));
        await opener.query(begin.replace('USER', kim.id));
        const remove = () => remover.query('select identity.remove_account()').then(() => remover.query('commit'));
        const open = () => opener.query(`select ${call}`, [lee.id, ...values]);
        if (removedFirst) {
          await remover.query('select identity.remove_account()');
          const opened = t.rejects(open(), { code: 'PT404' }, `${call} waits, and finds nobody`);
          await wait(50);
          await remover.query('commit');
          await opened;
          await opener.query('rollback');
        } else {
          await open();
          const removed = remove();
          await wait(50);
          await opener.query('commit');
          await removed;
        }
        remover.release();
        opener.release();
        const { rowCount } = await owner.query(
          `select from chat.members join chat.channels on id = channel_id where user_id = $1 and (kind = 'room' or closed_at is null)`,
          [lee.id],
        );
        t.equal(rowCount, 0, `${call}, removed ${removedFirst ? 'before' : 'after'}`);
      }
    }
  },
);

t.test('an account that is removed at the moment when it signs in or changes its profile stays removed', async (t) => {
  for (const call of ['identity.open_session($1)', "identity.update_profile(bio => left($1::text, 0) || 'it is me')"]) {
    const mia = await person(`mia-${call.slice(9, 12)}`);
    const [remover, other] = [await owner.connect(), await owner.connect()];
    for (const client of [remover, other]) {
      await client.query('begin');
      await client.query("select set_config('plinth.user_id', $1, true)", [mia.id]);
    }
    await remover.query('select identity.remove_account()');
    const refused = t.rejects(other.query(`select ${call}`, [mia.id]), { code: 'PT401' }, call);
    await wait(50);
    await remover.query('commit');
    await refused;
    await other.query('commit');
    for (const client of [remover, other]) client.release();
    const { rows } = await owner.query(
      `select bio, last_seen_at, (select count(*)::integer from identity.sessions where user_id = id) as sessions
      from identity.users where id = $1`,
      [mia.id],
    );
    t.strictSame(rows, [{ bio: null, last_seen_at: null, sessions: 0 }]);
  }
});
