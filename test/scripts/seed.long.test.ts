import t from 'tap';
import { conversations } from '../../scripts/seed/world.ts';
import { openBarrier } from '../barrier.ts';
import { launch, runScript } from '../running-plinth.ts';
import { openScratch, query } from '../scratch-database.ts';
import { createWithSchema } from '../world.ts';

const scratch = await openScratch();
t.teardown(() => scratch.close());

const rowCounts = `
  select (select count(*)::int from identity.users) as users, (select count(*)::int from identity.sessions) as sessions,
    (select count(*)::int from chat.channels) as channels, (select count(*)::int from chat.members) as members,
    (select count(*)::int from chat.messages) as messages, (select count(*)::int from chat.message_edits) as edits,
    (select count(*)::int from chat.deletions) as deletions`;

t.test('a world with people, rooms, direct chats and several languages is there once', async (t) => {
  const DATABASE_URL = await scratch.create();
  const first = await runScript('seed', [], { DATABASE_URL });
  t.match(first, { status: 0, stderr: '' });
  t.match(first.stdout, /^12 people, 5 rooms, 6 direct chats, 237 messages in [\d.]+ s$/m);
  t.match(first.stdout, /npm run --silent token -- alice/);
  const counts = await query(DATABASE_URL, rowCounts);
  t.strictSame(counts, [{ users: 12, sessions: 12, channels: 11, members: 45, messages: 237, edits: 5, deletions: 2 }]);

  const again = await runScript('seed', [], { DATABASE_URL });
  t.match(again, { status: 0, stdout: /^The demonstration world is there already: nothing was added\.$/m });
  t.strictSame(await query(DATABASE_URL, rowCounts), counts);

  const languages = await query(DATABASE_URL, 'select distinct language from chat.messages order by 1');
  const seen = languages.map(({ language }) => language);
  for (const language of ['english', 'russian', 'portuguese', 'spanish', 'german', 'simple'])
    t.ok(seen.includes(language), language);
  const [{ answered, wrong }] = await query(
    DATABASE_URL,
    `select count(*)::int as answered, count(*) filter (where question.sender_id = reply.sender_id)::int as wrong
     from chat.messages as reply
     join chat.messages as question on question.id = reply.reply_to_id and question.channel_id = reply.channel_id`,
  );
  t.ok(answered > 50 && wrong === 0, 'replies answer someone else in the same channel');
  const unread = await query(
    DATABASE_URL,
    `select coalesce(channel.name, 'direct') as channel, person.username, (channel.last_seq - member.last_read_seq)::int as unread
     from chat.members as member
     join chat.channels as channel on channel.id = member.channel_id
     join identity.users as person on person.id = member.user_id
     where member.last_read_seq < channel.last_seq`,
  );
  const meant = conversations.flatMap(({ room, unread }) =>
    Object.entries(unread).map(([username, count]) => ({ channel: room?.name ?? 'direct', username, unread: count })),
  );
  const sorted = (list: object[]) => list.map((each) => JSON.stringify(each)).sort();
  t.strictSame(sorted(unread), sorted(meant), 'some have not read the last messages');
});

t.test('a seed that was killed goes on where it was', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  const barrier = await openBarrier(t, DATABASE_URL, 'chat.messages');
  await barrier.close('(select count(*) from chat.messages) >= 20');
  const { child, ended } = launch('seed', [], { DATABASE_URL });
  await barrier.reached();
  child.kill('SIGKILL');
  await ended;
  t.match(await query(DATABASE_URL, 'select count(*)::int from chat.messages'), [{ count: 20 }]);
  await barrier.open();
  t.match(await runScript('seed', [], { DATABASE_URL }), { status: 0 });
  const [counts] = await query(DATABASE_URL, rowCounts);
  t.match(counts, { users: 12, channels: 11, members: 45, messages: 237, edits: 5, deletions: 2 });
});

t.test('a name that is taken stays with who has it', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  await query(DATABASE_URL, "insert into identity.users (username, display_name) values ('Bob', 'Another Bob')");
  const { status, stdout } = await runScript('seed', [], { DATABASE_URL });
  t.equal(status, 0);
  t.match(stdout, /^The name bob was taken: it is Bob-Keller here\.$/m);
});

t.test('production gets no demonstration world', async (t) => {
  const JWT_KEYS = `k1:${Buffer.alloc(32, 7).toString('base64url')}`;
  const DATABASE_URL = await scratch.create();
  t.match(await runScript('seed', [], { DATABASE_URL, JWT_KEYS, PLINTH_ENV: 'production' }), {
    status: 1,
    stderr: /production/,
  });
  t.strictSame(await query(DATABASE_URL, "select to_regclass('identity.users') as users"), [{ users: null }]);
});
