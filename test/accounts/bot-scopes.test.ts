import { randomUUID } from 'node:crypto';
import t from 'tap';
import { openWorld } from '../world.ts';
import { actsIn, codeOf } from './acts.ts';

const world = await openWorld(t);
const { ask, owner, person } = world;
const { act, join, room, say } = actsIn(world);

/** A bot that is an admin of a room, with a session of each scope. */
async function adminBot(name: string) {
  const [boss, member, other] = [await person(name), await person(`${name}-member`), await person(`${name}-other`)];
  const channelId = await room(boss);
  await join(member, channelId);
  const made = await act(boss, 'createBot', { username: `${name}-bot`, displayName: 'A bot' }, 'user { id }');
  const id: string = made.data.createBot.user.id;
  await act(boss, 'addMember', { channelId, userId: id }, 'member { role }');
  await act(boss, 'changeMemberRole', { channelId, userId: id, role: 'ADMIN' }, 'member { role }');
  const signIn = async (...scopes: string[]) => {
    const held = await act(boss, 'createBotToken', { botId: id, name: 'x', scopes }, 'botToken { token }');
    const { token } = held.data.createBotToken.botToken;
    const opened = await act(undefined, 'openBotSession', { token }, 'sessionTokens { accessToken }');
    const session: string = opened.data.openBotSession.sessionTokens.accessToken;
    return { id, username: `${name}-bot`, token: session };
  };
  return { boss, member, other, channelId, signIn };
}
const kinds = async (channelId: string): Promise<string[]> =>
  (await owner.query('select kind::text from chat.messages where channel_id = $1 order by id', [channelId])).rows.map(
    ({ kind }) => kind,
  );

t.test('S4 a bot that may only send governs nothing; one that may manage does', async (t) => {
  const { member, other, channelId, signIn } = await adminBot('ann');
  const [sends, manages] = [await signIn('SEND'), await signIn('MANAGE')];
  for (const [name, input, result] of [
    ['inviteToRoom', { channelId, userId: other.id }, 'roomInvitation { userId }'],
    ['createRoomLink', { channelId }, 'newRoomLink { token }'],
    ['updateRoom', { channelId, slowModeSeconds: 10 }, 'channel { id }'],
    ['muteMember', { channelId, userId: member.id }, 'roomMute { reason }'],
    ['setMemberPermission', { channelId, userId: member.id, permission: 'INVITE', isAllowed: true }, 'member { role }'],
    ['setRetention', { channelId, days: 1 }, 'channel { id }'],
    ['banFromRoom', { channelId, userId: other.id }, 'roomBan { reason }'],
    ['createOrganization', { name: 'bot works' }, 'organization { id }'],
  ] as const) {
    t.equal(codeOf(await act(sends, name, input, result)), 'FORBIDDEN', name);
    const answer = await act(manages, name, input, result);
    t.notOk(answer.errors, `${name} ${answer.errors?.[0]?.message ?? ''}`);
  }
  const { rows } = await owner.query('select count(*)::integer as n from accounts.retentions');
  t.equal(rows[0].n, 1);
});

t.test('S4 what a bot sends later takes the scope to send, and is marked as a bot’s', async (t) => {
  const { boss, channelId, signIn } = await adminBot('bea');
  const [sends, manages] = [await signIn('SEND'), await signIn('MANAGE')];
  const later = { channelId, text: 'later', sendAt: new Date(Date.now() + 3_600_000) };
  const schedule = (by: typeof boss) => act(by, 'scheduleMessage', later, 'scheduledMessage { id }');
  t.equal(codeOf(await schedule(manages)), 'FORBIDDEN');
  const ids: string[] = [];
  for (const by of [sends, boss]) ids.push((await schedule(by)).data.scheduleMessage.scheduledMessage.id);
  const change = { id: ids[0], text: 'something else' };
  t.equal(codeOf(await act(manages, 'changeScheduledMessage', change, 'scheduledMessage { id }')), 'FORBIDDEN');
  await owner.query("update chat.scheduled_messages set send_at = now() - interval '1 second'");
  const client = await owner.connect();
  try {
    await client.query('begin');
    for (const id of ids) await client.query('select chat.send_scheduled($1)', [{ id }]);
    const { rows } = await client.query("select current_setting('plinth.scopes', true) as scopes");
    t.notOk(rows[0].scopes, 'which holds for it alone');
    await client.query('commit');
  } finally {
    client.release();
  }
  t.strictSame(await kinds(channelId), ['bot', 'text']);
});

t.test('S4 whatever kind a bot says it sends is a bot’s, and one with a file is found as such', async (t) => {
  const { boss, channelId, signIn } = await adminBot('cal');
  const bot = await signIn('SEND');
  for (const kind of ['TEXT', 'IMAGE', 'FILE'])
    t.notOk((await act(bot, 'sendMessage', { channelId, text: `walrus ${kind}`, kind }, 'message { id }')).errors);
  t.strictSame(await kinds(channelId), ['bot', 'bot', 'bot']);
  const withFile = await say(bot, channelId, 'walrus with bytes');
  await owner.query(
    `with content as (
      insert into files.contents (id, stored, sha256, bytes, media_type) values ($1::uuid, 'some', sha256('x'), 1, 'text/plain') returning id
    ), file as (
      insert into files.files (content_id, owner_id, name, bytes, media_type, sha256) select id, $2, 'one.txt', 1, 'text/plain', sha256('x') from content returning id
    )
    insert into files.attachments (message_id, position, file_id, channel_id) select $3, 1, id, $4 from file`,
    [randomUUID(), bot.id, withFile, channelId],
  );
  const search = async (hasFile: boolean): Promise<string[]> =>
    (
      await ask(
        'query ($hasFile: Boolean) { searchMessages(query: "walrus", hasFile: $hasFile) { nodes { text } } }',
        { hasFile },
        boss.token,
      )
    ).data.searchMessages.nodes.map(({ text }: { text: string }) => text);
  t.strictSame(await search(true), ['walrus with bytes']);
  t.equal((await search(false)).length, 3);
});
