import t from 'tap';
import { openWorld } from '../world.ts';
import { codeOf, openActs } from './room-acts.ts';

// What a member with a client of their own might do beyond what rooms allow.

const world = await openWorld(t);
const { ask, owner } = world;
const { act, done, room, bring, people } = openActs(world);
const spend = (subject: string, count: number) =>
  owner.query('insert into identity.attempts (subject, started_at, count) values ($1, now(), $2)', [subject, count]);

t.test('C4 a forwarded message is not edited: its words are someone else’s', async (t) => {
  const [ann, bob] = await people('ann', 'bob');
  const channelId = await room(ann, { isPublic: true });
  const said = await done(ann, 'sendMessage', { channelId, text: 'I owe you nothing' });
  const passedOn = await done(bob, 'forwardMessage', { messageId: said.id, channelId: await room(bob) });
  t.equal(codeOf(await act(bob, 'editMessage', { id: passedOn.id, text: 'I owe you everything' })), 'CONFLICT');
  t.notOk((await act(bob, 'deleteMessage', { id: passedOn.id })).errors, 'but it is deleted');
});

t.test('C4 who may not write edits nothing either, and one message is not edited without end', async (t) => {
  const [cal, dee] = await people('cal', 'dee');
  const channelId = await room(cal);
  await bring(cal, channelId, dee);
  const { id } = await done(dee, 'sendMessage', { channelId, text: 'first' });
  const edit = () => act(dee, 'editMessage', { id, text: 'second' });
  await done(cal, 'updateRoom', { channelId, lowestWriter: 'MODERATOR' });
  t.equal(codeOf(await edit()), 'FORBIDDEN');
  await done(cal, 'updateRoom', { channelId, lowestWriter: 'MEMBER' });
  await owner.query(
    `insert into chat.message_edits (message_id, channel_id, edited_at, text)
    select $1, $2, now() - make_interval(secs => n), 'earlier' from generate_series(1, 99) as n`,
    [id, channelId],
  );
  t.notOk((await edit()).errors, 'the hundredth');
  t.equal(codeOf(await edit()), 'CONFLICT');
  const other = await done(dee, 'sendMessage', { channelId, text: 'third' });
  await done(cal, 'archiveRoom', { channelId });
  t.equal(codeOf(await act(dee, 'editMessage', { id: other.id, text: 'fourth' })), 'CONFLICT', 'nor in the archive');
});

t.test('C2 a link lets in whom its maker may invite today, and past no approval but theirs', async (t) => {
  const [eve, fin, gus] = await people('eve', 'fin', 'gus');
  const channelId = await room(eve);
  await bring(eve, channelId, fin);
  const { token } = await done(fin, 'createRoomLink', { channelId });
  const { token: owners } = await done(eve, 'createRoomLink', { channelId });
  const card = 'query ($token: String!) { roomByLink(token: $token) { name } }';
  const name = async () => (await ask(card, { token }, gus.token)).data.roomByLink?.name;
  t.equal(await name(), 'room');
  await done(eve, 'updateRoom', { channelId, membersMayInvite: false });
  t.equal(codeOf(await act(gus, 'joinByLink', { token })), 'NOT_FOUND');
  t.equal(await name(), undefined);
  await done(eve, 'updateRoom', { channelId, membersMayInvite: true, requiresApproval: true });
  t.equal(codeOf(await act(gus, 'joinByLink', { token })), 'CONFLICT');
  t.notOk((await act(gus, 'requestToJoin', { channelId })).errors, 'they ask instead');
  t.equal((await done(gus, 'joinByLink', { token: owners })).role, 'MEMBER', 'who approves has approved');
});

t.test('C2 a declined invitation holds off the next for 7 days, however short it was', async (t) => {
  const [hal, ida] = await people('hal', 'ida');
  const channelId = await room(hal);
  await done(hal, 'inviteToRoom', { channelId, userId: ida.id, expiresIn: 60 });
  await done(ida, 'declineInvitation', { channelId });
  const { rows } = await owner.query(
    "select expires_at > now() + interval '6 days 23 hours' as holds from chat.room_invitations where user_id = $1",
    [ida.id],
  );
  t.strictSame(rows, [{ holds: true }]);
});

t.test('S4 what leaves rows behind, or tells others, is counted: bots, rooms and requests', async (t) => {
  const [jon, kim] = await people('jon', 'kim');
  await spend(`bot:${jon.id}`, 40);
  const bot = await ask(
    'mutation { createBot(input: { username: "jon-bot", displayName: "Bot" }) { user { id } } }',
    {},
    jon.token,
  );
  t.equal(codeOf(bot), 'TOO_MANY_REQUESTS');

  const channelId = await room(jon);
  const { rows } = await owner.query('select count from identity.attempts where subject = $1', [`room:${jon.id}`]);
  t.strictSame(rows, [{ count: 1 }]);
  await done(jon, 'leaveChannel', { channelId });
  const left = await owner.query('select owner_id, closed_at is not null as closed from chat.channels where id = $1', [
    channelId,
  ]);
  t.strictSame(left.rows, [{ owner_id: null, closed: true }], 'a room that everyone has left is closed');

  const asked = await room(kim, { isPublic: true });
  await done(kim, 'updateRoom', { channelId: asked, requiresApproval: true });
  await spend(`ask:${jon.id}`, 29);
  await done(jon, 'requestToJoin', { channelId: asked });
  await done(jon, 'withdrawRequest', { channelId: asked });
  t.equal(codeOf(await act(jon, 'requestToJoin', { channelId: asked })), 'TOO_MANY_REQUESTS');
});

t.test('C12 one person does not take all the webhooks of a room', async (t) => {
  const [lea, max] = await people('lea', 'max');
  const channelId = await room(lea);
  await bring(lea, channelId, max);
  const hook = (token: string) =>
    ask(
      'mutation ($id: UUID!) { createWebhook(input: { channelId: $id, url: "https://plinth.test/hook" }) { newWebhook { id } } }',
      { id: channelId },
      token,
    );
  for (let made = 0; made < 3; made += 1) t.notOk((await hook(max.token)).errors);
  t.equal(codeOf(await hook(max.token)), 'CONFLICT');
  t.notOk((await hook(lea.token)).errors);
});

t.test('C6 files._attach asks itself whether the caller may see the files', async (t) => {
  const [nia, oli] = await people('nia', 'oli');
  const { rows } = await owner.query(
    `with content as (
      insert into files.contents (stored, sha256, bytes, media_type) values ('some', sha256('x'), 1, 'text/plain') returning id
    )
    insert into files.files (content_id, owner_id, name, bytes, media_type, sha256)
    select id, $1, 'secret.txt', 1, 'text/plain', sha256('x') from content returning id`,
    [nia.id],
  );
  const attach = async (by: typeof nia) => {
    const client = await owner.connect();
    try {
      await client.query('begin');
      await client.query("select set_config('plinth.user_id', $1, true)", [by.id]);
      const sent = await client.query("select (chat.send_message((chat.create_room('den')).id, 'look')).id");
      await client.query('select files._attach($1, $2)', [sent.rows[0].id, [rows[0].id]]);
    } finally {
      await client.query('rollback');
      client.release();
    }
  };
  await attach(nia);
  await t.rejects(attach(oli), { code: 'PT404' });
});

t.test('C9 a contact is to whom someone has written, not who has opened a chat with them', async (t) => {
  const [pam, quin] = await people('pam', 'quin');
  await ask('mutation { setPresence(input: { status: ONLINE }) { ok } }', {}, pam.token);
  await ask('mutation { setPresenceVisibility(input: { visibleTo: CONTACTS }) { result } }', {}, pam.token);
  await owner.query('update identity.users set last_seen_at = now() where id = $1', [pam.id]);
  const opened = await ask(
    'mutation ($id: UUID!) { openDirect(input: { userId: $id }) { channel { id } } }',
    { id: pam.id },
    quin.token,
  );
  const channelId = opened.data.openDirect.channel.id;
  const seen = async () =>
    (await ask('query ($id: UUID!) { user(id: $id) { lastSeenAt } }', { id: pam.id }, quin.token)).data.user.lastSeenAt;
  await done(quin, 'sendMessage', { channelId, text: 'are you there?' });
  t.equal(await seen(), null);
  await done(pam, 'sendMessage', { channelId, text: 'I am' });
  t.ok(await seen());
});
