import t from 'tap';
import { openActs } from '../events/acts.ts';
import { fieldOf, listen } from '../events/listen.ts';
import { type Answer, openWorld, type Person } from '../world.ts';

// C11: what someone should know of, by the API.

t.setTimeout(180_000);
const world = await openWorld(t);
const { ask, owner, person } = world;
const acts = openActs(world);
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const nobody = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

const list = `query ($first: Int, $after: String) {
  notifications(first: $first, after: $after) {
    nodes { id type title text readAt data channel { id } actor { username } }
    pageInfo { endCursor hasNextPage }
  }
}`;
const notificationsOf = async (by: Person): Promise<Answer['data'][]> =>
  (await ask(list, { first: 100 }, by.token)).data.notifications.nodes;
const countsOf = async (by: Person): Promise<Answer['data']> =>
  (await ask('{ notificationCounts { unread mentions invitations alerts channels messages } }', {}, by.token)).data
    .notificationCounts;
const newMessagesOf = async (by: Person): Promise<Answer['data'][]> =>
  (await ask('{ newMessages { nodes { id unread lastMessage { text } } } }', {}, by.token)).data.newMessages.nodes;
const markRead = (by: Person, ids?: string[]): Promise<Answer> =>
  ask(
    'mutation ($input: MarkNotificationsReadInput!) { markNotificationsRead(input: $input) { notificationCounts { unread } } }',
    { input: ids ? { ids } : {} },
    by.token,
  );
const choose = (by: Person | undefined, input: object): Promise<Answer> =>
  ask(
    'mutation ($input: SetNotificationsInput!) { setNotifications(input: $input) { notificationSetting { level mutedUntil } } }',
    { input },
    by?.token,
  );

/** As another section tells someone of something. */
async function notify(
  by: Person,
  to: Person,
  type: string,
  more: Record<string, unknown> = {},
): Promise<string | null> {
  const client = await owner.connect();
  try {
    await client.query('begin');
    await client.query("select set_config('plinth.user_id', $1, true)", [by.id]);
    const names = Object.keys(more);
    const given = names.map((name, index) => `, ${name} => $${index + 3}`).join('');
    const { rows } = await client.query(`select notifications._notify($1, $2${given}) as id`, [
      to.id,
      type,
      ...names.map((name) => more[name]),
    ]);
    await client.query('commit');
    return rows[0].id;
  } finally {
    client.release();
  }
}

t.test('C11 a mention, an invitation and an alert: listed, counted, live, marked read', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const room = await acts.room(ann, [bob]);
  const live = listen(t, world.server.url, {
    query: `subscription ($after: String) {
      notificationEvents(after: $after) { event { type } notification { type actor { username } } }
    }`,
    variables: { after: await acts.cursor() },
    token: bob.token,
  });
  await notify(ann, bob, 'mention', { channel_id: room });
  await notify(ann, bob, 'room_invitation', { channel_id: room, data: '{"name": "Room"}' });
  t.strictSame(
    (await live.take(2)).map(fieldOf).map(({ notification }) => notification),
    [
      { type: 'MENTION', actor: { username: 'ann' } },
      { type: 'ROOM_INVITATION', actor: { username: 'ann' } },
    ],
  );
  const found = await notificationsOf(bob);
  t.match(found, [
    { type: 'ROOM_INVITATION', channel: { id: room }, data: { name: 'Room' }, readAt: null },
    { type: 'MENTION', channel: { id: room } },
  ]);
  t.strictSame(await countsOf(bob), {
    unread: 2,
    mentions: 1,
    invitations: 1,
    alerts: 0,
    channels: 0,
    messages: '0',
  });
  t.equal((await markRead(bob, [found[1].id])).data.markNotificationsRead.notificationCounts.unread, 1, 'one');
  t.match(await countsOf(bob), { unread: 1, mentions: 0 });
  t.equal((await markRead(bob)).data.markNotificationsRead.notificationCounts.unread, 0, 'all');
  t.ok((await notificationsOf(bob)).every(({ readAt }) => readAt));
  t.strictSame(await notificationsOf(ann), [], 'nobody else sees them');
});

t.test('C11 pages by cursor, the newest first', async (t) => {
  const [cat, dan] = [await person('cat'), await person('dan')];
  const made: string[] = [];
  for (let n = 0; n < 5; n += 1) made.unshift((await notify(cat, dan, 'mention')) as string);
  const first = (await ask(list, { first: 3 }, dan.token)).data.notifications;
  await notify(cat, dan, 'mention');
  const rest = (await ask(list, { first: 3, after: first.pageInfo.endCursor }, dan.token)).data.notifications;
  t.strictSame(
    [...first.nodes, ...rest.nodes].map(({ id }) => id),
    made,
  );
  const unread = await ask(
    '{ notifications(filter: {type: {eq: MENTION}, readAt: {isNull: true}}) { totalCount } }',
    {},
    dan.token,
  );
  t.equal(unread.data?.notifications.totalCount, 6);
});

t.test('C11 new messages are read from the channels: no row, however many are in the room', async (t) => {
  const [eve, fay] = [await person('eve'), await person('fay')];
  const room = await acts.room(eve, [fay]);
  const direct = await acts.direct(eve, fay);
  const rows = async () =>
    (await owner.query('select count(*)::integer as n from notifications.notifications')).rows[0].n;
  const before = await rows();
  await acts.send(eve, room, 'one');
  await acts.send(eve, room, 'two');
  await acts.send(eve, direct, 'you');
  t.equal(await rows(), before);
  t.strictSame(await newMessagesOf(fay), [
    { id: direct, unread: 1, lastMessage: { text: 'you' } },
    { id: room, unread: 2, lastMessage: { text: 'two' } },
  ]);
  t.match(await countsOf(fay), { channels: 2, messages: '3' });
  await acts.read(fay, direct);
  t.match(await countsOf(fay), { channels: 1, messages: '2' });
  const left = await ask(
    'mutation { markEverythingRead { notificationCounts { unread channels messages } } }',
    {},
    fay.token,
  );
  t.strictSame(left.data.markEverythingRead.notificationCounts, { unread: 0, channels: 0, messages: '0' });
  t.strictSame(await newMessagesOf(fay), []);
});

t.test('C11 C3 all, mentions, none, muted until: what is listed, counted and live', async (t) => {
  const [gus, hal] = [await person('gus'), await person('hal')];
  const room = await acts.room(gus, [hal]);
  const setting = async () =>
    (
      await ask(
        'query ($id: UUID!) { channel(id: $id) { notificationSetting { level mutedUntil } } }',
        { id: room },
        hal.token,
      )
    ).data.channel.notificationSetting;
  t.equal(await setting(), null, 'everything, as long as nothing was chosen');
  const live = listen(t, world.server.url, {
    query: 'subscription ($after: String) { newMessageEvents(after: $after) { message { text } } }',
    variables: { after: await acts.cursor() },
    token: hal.token,
  });
  const heard = async () => fieldOf(await live.next()).message.text;
  await acts.send(gus, room, 'all');
  t.equal(await heard(), 'all');

  t.match((await choose(hal, { channelId: room, level: 'MENTIONS' })).data.setNotifications.notificationSetting, {
    level: 'MENTIONS',
    mutedUntil: null,
  });
  await acts.send(gus, room, 'not named');
  t.strictSame(await newMessagesOf(hal), []);
  t.equal(await notify(gus, hal, 'user_joined', { channel_id: room }), null);
  t.ok(await notify(gus, hal, 'mention', { channel_id: room }), 'who is named is told');
  const called = await acts.send(gus, room, '@room');
  await owner.query('select notifications._call_room(channel_id, seq) from chat.messages where id = $1', [called]);
  t.match(await newMessagesOf(hal), [{ id: room, unread: 3 }], 'a call of the room is for them, too');

  await choose(hal, { channelId: room, level: 'NONE' });
  t.strictSame(await newMessagesOf(hal), []);
  t.equal(await notify(gus, hal, 'mention', { channel_id: room }), null);
  await acts.send(gus, room, 'nobody hears');
  // What they have chosen is asked when an event is handed on: so nothing is chosen anew before.
  const other = await acts.room(gus, [hal]);
  await acts.send(gus, other, 'elsewhere');
  let last = '';
  while (last !== 'elsewhere') {
    last = await heard();
    t.notMatch(last, /not named|nobody hears/);
  }
  await acts.leave(hal, other);

  const soon = new Date(Date.now() + 3_600_000).toISOString();
  await choose(hal, { channelId: room, level: 'ALL', mutedUntil: soon });
  t.match(await setting(), { level: 'ALL', mutedUntil: soon.replace('Z', '').slice(0, 19) ? /./ : '' });
  t.strictSame(await newMessagesOf(hal), []);
  t.equal(await notify(gus, hal, 'mention', { channel_id: room }), null);
  await owner.query("update notifications.notification_settings set muted_until = now() - interval '1 second'");
  t.match(await newMessagesOf(hal), [{ id: room }], 'the mute has ended by itself');
  await choose(hal, { channelId: room, mutedUntil: soon });
  await choose(hal, { channelId: room, mutedUntil: '2020-01-01T00:00:00Z' });
  t.strictSame(await setting(), { level: 'ALL', mutedUntil: null }, 'a time that is past ends it; the level stays');
  await acts.send(gus, room, 'again');
  while (last !== 'again') {
    last = await heard();
    t.notMatch(last, /not named|nobody hears/);
  }
  await acts.leave(hal, room);
  await acts.add(gus, room, hal);
  t.equal(await setting(), null, 'settings go with the membership');
});

t.test('C11 who leads a room is told who came and who left, once for each, and live', async (t) => {
  const [ian, joe, kim, leo] = [await person('ian'), await person('joe'), await person('kim'), await person('leo')];
  const room = await acts.room(ian, [joe], true);
  await owner.query("update chat.members set role = 'admin' where channel_id = $1 and user_id = $2", [room, joe.id]);
  const live = listen(t, world.server.url, {
    query:
      'subscription ($after: String) { notificationEvents(after: $after) { notification { type actor { username } } } }',
    variables: { after: await acts.cursor() },
    token: joe.token,
  });
  await acts.join(kim, room);
  await acts.add(ian, room, leo);
  await acts.leave(kim, room);
  await acts.join(kim, room);
  const told = async (by: Person) => (await notificationsOf(by)).map(({ type, actor }) => `${type} ${actor.username}`);
  t.strictSame(
    await told(ian),
    ['USER_JOINED kim', 'USER_LEFT kim', 'USER_JOINED joe'].slice(0, 2),
    'not of whom they brought',
  );
  t.strictSame(await told(joe), ['USER_JOINED kim', 'USER_LEFT kim', 'USER_JOINED leo']);
  t.strictSame(await told(kim), [], 'members are not told');
  t.match(fieldOf(await live.next()).notification, { type: 'USER_JOINED', actor: { username: 'kim' } });
  const direct = await acts.direct(kim, leo);
  t.ok(direct);
  t.strictSame(await told(leo), [], 'a direct chat is nothing that someone joins');
});

t.test('C11 an alert for all is one row; each reads it for themselves, who comes later does not see it', async (t) => {
  const operator = await person('operator', { operator: true });
  const [mia, ned] = [await person('mia'), await person('ned')];
  const send = (by: Person | undefined, input: object) =>
    ask('mutation ($input: SendAlertInput!) { sendAlert(input: $input) { result } }', { input }, by?.token);
  const live = listen(t, world.server.url, {
    query: 'subscription ($after: String) { notificationEvents(after: $after) { notification { title } } }',
    variables: { after: await acts.cursor() },
    token: mia.token,
  });
  const before = (await owner.query('select count(*)::integer as n from notifications.notifications')).rows[0].n;
  t.strictSame((await send(operator, { title: 'Tonight', text: 'We move.' })).data, { sendAlert: { result: null } });
  t.equal((await owner.query('select count(*)::integer as n from notifications.notifications')).rows[0].n, before + 1);
  t.equal(fieldOf(await live.next()).notification.title, 'Tonight');
  const [alert] = await notificationsOf(mia);
  t.match(alert, { type: 'SYSTEM_ALERT', title: 'Tonight', text: 'We move.', readAt: null });
  t.match(await countsOf(mia), { unread: 1, alerts: 1 });
  t.equal((await markRead(mia, [alert.id])).data.markNotificationsRead.notificationCounts.unread, 0);
  await markRead(mia, [alert.id]);
  const [mine, ...others] = await notificationsOf(mia);
  t.match(mine, { id: alert.id, title: 'Tonight' });
  t.ok(mine.readAt);
  t.strictSame(others, []);
  t.match(await countsOf(ned), { unread: 1 }, 'still new to others');
  t.strictSame(await notificationsOf(await person('newcomer')), []);

  t.equal(
    (await send(operator, { title: 'You two', userIds: [mia.id, ned.id, mia.id, nobody] })).data.sendAlert.result,
    2,
  );
  t.match((await notificationsOf(ned))[0], { title: 'You two' });
  t.equal(codeOf(await send(mia, { title: 'x' })), 'FORBIDDEN');
  t.equal(codeOf(await send(undefined, { title: 'x' })), 'FORBIDDEN');
  t.equal(codeOf(await send(operator, { title: '' })), 'BAD_USER_INPUT');
  t.equal(codeOf(await send(operator, { title: 'x'.repeat(256) })), 'BAD_USER_INPUT');
  t.equal(codeOf(await send(operator, { title: 'x', text: 'x'.repeat(2001) })), 'BAD_USER_INPUT');
  t.equal(codeOf(await send(operator, { title: 'x', userIds: [] })), 'BAD_USER_INPUT');
});

t.test('C11 wrong, huge, hostile and concurrent input: a typed error, nothing changed', async (t) => {
  const [oli, pia] = [await person('oli'), await person('pia')];
  const room = await acts.room(oli);
  t.equal(codeOf(await choose(undefined, { channelId: room, level: 'ALL' })), 'FORBIDDEN');
  t.equal(codeOf(await choose(pia, { channelId: room, level: 'ALL' })), 'NOT_FOUND', 'not a member');
  t.equal(codeOf(await choose(oli, { channelId: nobody, level: 'ALL' })), 'NOT_FOUND');
  t.ok((await choose(oli, { channelId: room, level: "ALL'; drop table x; --" })).errors);
  const far = new Date(Date.now() + 400 * 86_400_000).toISOString();
  t.equal(codeOf(await choose(oli, { channelId: room, mutedUntil: far })), 'BAD_USER_INPUT');
  t.equal(codeOf(await choose(oli, { channelId: room, mutedUntil: 'infinity' })), 'BAD_USER_INPUT');
  const { rows } = await owner.query('select from notifications.notification_settings where channel_id = $1', [room]);
  t.equal(rows.length, 0);

  t.equal(codeOf(await markRead(oli, [])), 'BAD_USER_INPUT');
  t.equal(codeOf(await markRead(oli, Array(201).fill(nobody))), 'BAD_USER_INPUT');
  const made = (await notify(oli, pia, 'mention')) as string;
  t.notOk((await markRead(oli, [made, nobody])).errors, 'what is not theirs is passed over');
  t.match(await countsOf(pia), { unread: 1 });
  t.equal(codeOf(await ask('{ notificationCounts { unread } }')), 'FORBIDDEN');

  for (let n = 0; n < 20; n += 1) await notify(oli, pia, 'mention');
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, n) =>
      n % 3 === 0
        ? markRead(pia)
        : n % 3 === 1
          ? markRead(pia, [made])
          : ask('mutation { markEverythingRead { notificationCounts { unread } } }', {}, pia.token),
    ),
  );
  t.strictSame(answers.map(codeOf).filter(Boolean), []);
  t.match(await countsOf(pia), { unread: 0 });
  const both = await Promise.all(
    Array.from({ length: 8 }, (_, n) => choose(oli, { channelId: room, level: n % 2 ? 'ALL' : 'NONE' })),
  );
  t.strictSame(both.map(codeOf).filter(Boolean), []);
});

t.test('C11 nobody fills the list of someone else: what is told once is told once, the oldest give way', async (t) => {
  const [quin, rob] = [await person('quin'), await person('rob')];
  t.ok(await notify(quin, rob, 'mention', { key: 'mention:1' }));
  t.equal(await notify(quin, rob, 'mention', { key: 'mention:1' }), null);
  t.equal(await notify(rob, rob, 'mention'), null, 'not of what one does oneself');
  const last = await notify(quin, rob, 'mention');
  const invited = await notify(quin, rob, 'room_invitation');
  await owner.query(
    "insert into notifications.notifications (recipient_id, type) select $1, 'mention' from generate_series(1, 1500)",
    [rob.id],
  );
  await notify(quin, rob, 'mention');
  const { rows } = await owner.query(
    `select count(*) filter (where type = 'mention')::integer as n, bool_or(id = $2) as has, bool_or(id = $3) as other
    from notifications.notifications where recipient_id = $1`,
    [rob.id, last, invited],
  );
  t.strictSame(rows[0], { n: 500, has: false, other: true }, 'of one type; what is of others stays');
  await ask('mutation { removeAccount { ok } }', {}, rob.token);
  const left = await owner.query('select from notifications.notifications where recipient_id = $1', [rob.id]);
  t.equal(left.rowCount, 0, 'gone with the account');
  t.equal(await notify(quin, rob, 'mention'), null);
});

t.test('C11 upkeep removes what is older than 90 days', async (t) => {
  const [sam, tim] = [await person('sam'), await person('tim')];
  const old = await notify(sam, tim, 'mention');
  const recent = await notify(sam, tim, 'mention');
  await owner.query("update notifications.notifications set created_at = now() - interval '91 days' where id = $1", [
    old,
  ]);
  t.equal(Number((await owner.query('select notifications.expire() as n')).rows[0].n), 1);
  t.strictSame(
    (await notificationsOf(tim)).map(({ id }) => id),
    [recent],
  );
});
