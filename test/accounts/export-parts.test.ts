import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { actsIn } from './acts.ts';

// What an export has of which table: all that names a user, or a reason why not.

const world = await openWorld(t);
const { owner, person } = world;
const { act, direct, room, say } = actsIn(world);

type Line = { type: string; data: Record<string, unknown> };

/** The lines of an export of someone, by pages of so many. */
async function linesOf(exportId: string, most = 1000): Promise<Line[]> {
  const lines: Line[] = [];
  let share = 0;
  for (let after: string | null = null; ; ) {
    const page: { rows: { place: string; line: string; share: number }[] } = await owner.query(
      'select place, line, share from accounts._export_lines($1, $2, $3)',
      [exportId, after, most],
    );
    if (page.rows.length === 0) break;
    if (page.rows.length > most) throw new Error('A page has more lines than were asked for.');
    for (const row of page.rows) {
      if (row.share < share || row.share > 1) throw new Error('Progress goes from 0 to 1.');
      share = row.share;
    }
    lines.push(...page.rows.map(({ line }) => JSON.parse(line)));
    after = page.rows.at(-1)?.place ?? null;
  }
  return lines;
}

const exportOf = async ({ id }: Person): Promise<string> =>
  (await owner.query('insert into accounts.exports (user_id) values ($1) returning id', [id])).rows[0].id;

t.test('every column that names a user is exported, or left out for a reason', async (t) => {
  const { rows: columns } = await owner.query(
    `select distinct format('%s.%s', attribute.attrelid::regclass, attribute.attname) as named
    from pg_attribute as attribute
    join pg_class as held on held.oid = attribute.attrelid and held.relkind in ('r', 'p') and not held.relispartition
    join pg_namespace as schema on schema.oid = held.relnamespace
    left join pg_constraint as pointing
      on pointing.conrelid = held.oid and pointing.contype = 'f' and pointing.confrelid = 'identity.users'::regclass
      and attribute.attnum = any (pointing.conkey)
    where attribute.attnum > 0 and not attribute.attisdropped
      and schema.nspname !~ '^(pg_|information_schema|graphile|pgboss)'
      and (
        pointing.oid is not null
        or (attribute.atttypid in ('uuid'::regtype, 'uuid[]'::regtype)
          and attribute.attname ~ '^(.*_)?(user|owner|recipient)(_id|s)$')
      )`,
  );
  const { rows: parts } = await owner.query(
    `select named || '.' || named_column as named, type, reason from accounts._export_parts`,
  );
  const listed = parts.map(({ named }) => named).filter((named) => named !== 'identity.users.id');
  t.strictSame(listed.sort(), columns.map(({ named }) => named).sort());
  for (const { named, type, reason } of parts) t.ok((type === null) !== (reason === null), named);
});

t.test('each part has its lines, once, whatever the size of a page', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const [place, chat] = [await room(ann, 'club'), await direct(ann, bob.id)];
  const id = await say(ann, place, 'hello');
  const other = await say(bob, chat, '@ann look');
  const later = await say(ann, place, 'later');
  const acts: [string, object, string][] = [
    ['addReaction', { messageId: other, emoji: '👍' }, 'message { id }'],
    ['addReaction', { messageId: other, emoji: '🎉' }, 'message { id }'],
    ['pinMessage', { messageId: id }, 'pin { messageId }'],
    ['addBookmark', { messageId: id, note: 'mine' }, 'bookmark { note }'],
    ['setDraft', { channelId: place, text: 'not yet' }, 'channel { id }'],
    ['setNotifications', { channelId: place, level: 'MENTIONS' }, 'notificationSetting { level }'],
    ['setPresenceVisibility', { visibleTo: 'NOBODY' }, 'result'],
    ['deleteMessage', { id: later }, 'message { id }'],
    [
      'scheduleMessage',
      { channelId: place, text: 'tomorrow', sendAt: new Date(Date.now() + 86_400_000).toISOString() },
      'scheduledMessage { id }',
    ],
    ['createBot', { username: 'ann-bot', displayName: 'Bot' }, 'user { id }'],
    ['createOrganization', { name: 'Works' }, 'organization { id }'],
    ['createWebhook', { channelId: place, url: 'https://example.org/hook' }, 'newWebhook { secret }'],
    ['createRoomLink', { channelId: place }, 'newRoomLink { token }'],
  ];
  const secrets: string[] = [];
  for (const [name, input, result] of acts) {
    const answer = await act(ann, name, input, result);
    t.notOk(answer.errors, `${name} ${JSON.stringify(answer.errors)}`);
    const made = answer.data[name]?.[result.split(' ')[0] as string];
    secrets.push(...[made?.secret, made?.token].filter(Boolean));
    if (name === 'createBot') {
      const token = await act(
        ann,
        'createBotToken',
        { botId: made.id, name: 'ci', scopes: ['SEND'] },
        'botToken { token }',
      );
      secrets.push(token.data.createBotToken.botToken.token);
    }
  }
  t.equal(secrets.length, 3);
  // What takes another day, or another program, to come about.
  for (const statement of [
    "insert into presence.days values ($1, '2026-01-01', 60, 1, '2026-01-01', '2026-01-01'), ($1, '2026-01-02', 90, 2, '2026-01-02', '2026-01-02')",
    "insert into presence.sessions values ($1, 'online', now(), now())",
    "insert into presence.devices values ($1, public.uuid_v7(), 'online', now())",
    "insert into notifications.notifications (recipient_id, type, title, key) values ($1, 'system_alert', 'Note', 'k')",
    `with content as (
      insert into files.contents (sha256, stored, bytes, media_type) values (sha256('x'), 'content/x', 1, 'text/plain') returning *
    )
    insert into files.files (owner_id, content_id, name, media_type, bytes, sha256)
    select $1, id, 'x.txt', media_type, bytes, sha256 from content`,
    'insert into chat.room_mutes (channel_id, user_id, muted_by) select id, $1, owner_id from chat.channels limit 1',
    "insert into accounts.acts (kind, user_id, reason) values ('impersonated', $1, 'a ticket'), ('held', $1, 'a case')",
    'insert into files.quotas values ($1, 5)',
  ])
    await owner.query(statement, [ann.id]);

  const made = await exportOf(ann);
  const lines = await linesOf(made);
  t.strictSame(await linesOf(made, 1), lines, 'a line a page');
  t.strictSame(await linesOf(made, 7), lines);
  const of = (type: string) => lines.filter((line) => line.type === type).map(({ data }) => data);
  const counts = Object.fromEntries([...new Set(lines.map(({ type }) => type))].map((type) => [type, of(type).length]));
  t.match(counts, {
    user: 1,
    account: 1,
    session: 1,
    bot: 1,
    organization: 1,
    organization_membership: 1,
    room_owned: 1,
    membership: 2,
    room_mute: 1,
    room_link: 1,
    notification_setting: 1,
    notification: 2,
    presence_visibility: 1,
    presence_device: 1,
    presence_session: 1,
    online_day: 2,
    file_quota: 1,
    file_usage: 1,
    file: 1,
    webhook: 1,
    impersonation: 1,
    draft: 1,
    scheduled_message: 1,
    bookmark: 1,
    pin: 1,
    mention: 1,
    deletion: 1,
    reaction: 2,
    message: 2,
  });
  t.match(of('organization_membership')[0], { organization_name: 'Works', role: 'owner', permissions: { '*': ['*'] } });
  t.match(of('bot')[0], { username: 'ann-bot', tokens: [{ name: 'ci', scopes: ['send'] }] });
  t.match(
    of('membership').find(({ channel_kind }) => channel_kind === 'direct'),
    { with_username: 'bob' },
  );
  const text = JSON.stringify(lines);
  for (const secret of secrets) t.notOk(text.includes(secret), 'no token and no secret');
  t.notMatch(text, /"hash"|stored|content_id|look|a case/, 'no hash, no name in the storage, nothing that others said');
  const { url } = of('file')[0] as { url: string };
  t.match(url, /^\/files\/[0-9a-f-]+\?expires=\d+&signature=/);
  const days = (Number(/expires=(\d+)/.exec(url)?.[1]) - Date.now() / 1000) / 86_400;
  t.ok(days > 6.9 && days < 7.1, 'its bytes can be fetched for as long as the export is kept');
  const others = await linesOf(await exportOf(bob));
  t.notMatch(JSON.stringify(others), /not yet|tomorrow|ann-bot|mine/, 'of another, nothing of this');
});

t.test('without a section an export has the rest', async (t) => {
  const gus = await person('gus');
  await owner.query('drop schema platforms cascade');
  const types = (await linesOf(await exportOf(gus))).map(({ type }) => type);
  t.ok(types.includes('user') && types.includes('account'));
});
