import t from 'tap';
import { openWorld, type Person } from '../world.ts';

// What hangs on messages goes with them: one by one as retention removes them, or all of a month that is detached.

const world = await openWorld(t);
const { ask, owner, person } = world;
const rows = async (text: string, values: unknown[] = []) => (await owner.query(text, values)).rows;
const clear = async (most = 10_000): Promise<number> =>
  Number((await rows('select chat.clear_gone_months($1) as done', [most]))[0].done);
async function clearAll(most?: number): Promise<void> {
  while ((await clear(most)) > 0);
}
const roomOf = async (by: Person): Promise<string> =>
  (await ask('mutation { createRoom(input: { name: "room", isPublic: true }) { channel { id } } }', {}, by.token)).data
    .createRoom.channel.id;

await owner.query("select operations.ensure_partitions('2025-01-01')");
await clearAll();

/** A message of a time, as an import writes it, with everything that can hang on one. */
async function say(channelId: string, by: Person, at: string, replyTo: string | null = null): Promise<string> {
  const [{ id }] = await rows(
    `select (chat._post(channel, $2, 'text', 'said', null, $4, '{}', $3)).id
    from chat.channels as channel where channel.id = $1`,
    [channelId, by.id, at, replyTo],
  );
  for (const statement of [
    "insert into chat.reactors (message_id, emoji, user_id, channel_id) values ($1, '👍', $2, $3)",
    "insert into chat.message_edits (message_id, channel_id, text) values ($1, $3, 'before' || left($2::text, 0))",
    'insert into chat.mentions (message_id, channel_id, seq, user_id) values ($1, $3, 1, $2)',
    'insert into chat.pins (message_id, pinned_by, channel_id) values ($1, $2, $3)',
    'insert into chat.bookmarks (message_id, user_id, channel_id) values ($1, $2, $3)',
    'insert into chat.forwards (message_id, author_id, channel_id, from_message_id, said_at) values ($1, $2, $3, public.uuid_v7(), now())',
    "insert into chat.scheduled_messages (reply_to_id, user_id, channel_id, text, send_at) values ($1, $2, $3, 'later', now())",
    "insert into notifications.notifications (message_id, recipient_id, channel_id, type) values ($1, $2, $3, 'mention')",
  ])
    await owner.query(statement, [id, by.id, channelId]);
  await owner.query(
    `with content as (
      insert into files.contents (sha256, stored, bytes, media_type) values (sha256($1::text::bytea), $1, 1, 'text/plain') returning *
    ), file as (
      insert into files.files (owner_id, content_id, name, media_type, bytes, sha256)
      select $2, id, 'file', media_type, bytes, sha256 from content returning id
    )
    insert into files.attachments (message_id, position, file_id, channel_id) select $1::uuid, 1, id, $3 from file`,
    [id, by.id, channelId],
  );
  return id;
}

/** How many rows name the message, table by table; those without one are left out. */
async function hangingOn(id: string): Promise<Record<string, number>> {
  const links = await rows('select named, named_column from chat._message_links where loses is not null');
  const found: Record<string, number> = {};
  for (const { named, named_column: column } of links) {
    const [{ count }] = await rows(`select count(*)::integer as count from ${named} where ${column} = $1`, [id]);
    if (count > 0) found[named] = count;
  }
  return found;
}
const all = {
  'chat.message_edits': 1,
  'chat.mentions': 1,
  'chat.reactors': 1,
  'chat.reactions': 1,
  'chat.pins': 1,
  'chat.threads': 1,
  'chat.forwards': 1,
  'chat.bookmarks': 1,
  'chat.drafts': 1,
  'chat.scheduled_messages': 1,
  'files.attachments': 1,
  'notifications.notifications': 1,
};
const unread = async (by: Person, id: string): Promise<number> =>
  (await ask('query ($id: UUID!) { channel(id: $id) { unread } }', { id }, by.token)).data.channel.unread;

t.test('every column that names a message says what becomes of its row', async (t) => {
  const columns = await rows(
    `select format('%s.%s', attribute.attrelid::regclass, attribute.attname) as named
    from pg_attribute as attribute
    join pg_class as held on held.oid = attribute.attrelid and held.relkind in ('r', 'p') and not held.relispartition
    join pg_namespace as schema on schema.oid = held.relnamespace
    where attribute.attnum > 0 and not attribute.attisdropped and attribute.atttypid = 'uuid'::regtype
      and attribute.attname ~ '(^|_)(message|reply_to|reply)_id$' and schema.nspname !~ '^(pg_|graphile|pgboss)'`,
  );
  const links = await rows(`select named || '.' || named_column as named, loses, reason from chat._message_links`);
  t.strictSame(links.map(({ named }) => named).sort(), columns.map(({ named }) => named).sort());
  for (const { named, loses, reason } of links) t.ok((loses === null) !== (reason === null), named);
});

t.test('with a month that is detached goes what hung on its messages, in batches, once', async (t) => {
  const [ann, bob] = [await person('ann'), await person('bob')];
  const place = await roomOf(ann);
  await owner.query('insert into chat.members (channel_id, user_id, joined_seq) values ($1, $2, 0)', [place, bob.id]);
  const old = [await say(place, ann, '2025-01-10T00:00:00Z'), await say(place, ann, '2025-01-11T00:00:00Z')];
  const reply = await say(place, ann, '2025-01-12T00:00:00Z', old[0]);
  const kept = await say(place, ann, '2025-02-10T00:00:00Z');
  const answer = await say(place, ann, '2025-02-11T00:00:00Z', kept);
  await owner.query('update chat.drafts set reply_to_id = null');
  await owner.query("insert into chat.drafts (channel_id, user_id, text, reply_to_id) values ($1, $2, 'unsaid', $3)", [
    place,
    ann.id,
    old[0],
  ]);
  t.strictSame(await hangingOn(old[0] as string), all);
  t.equal(await unread(bob, place), 5);
  await clearAll();
  t.strictSame(await hangingOn(old[0] as string), all, 'as long as it is there');

  await owner.query('alter table chat.messages detach partition chat.messages_2025_01');
  let runs = 0;
  for (let done = await clear(4); done > 0; done = await clear(4)) runs += 1;
  t.ok(runs > 4, 'a few at a time');
  for (const id of [...old, reply]) t.strictSame(await hangingOn(id), {});
  const { 'chat.drafts': _, ...onKept } = all;
  t.strictSame(await hangingOn(kept), onKept, 'nothing else went');
  const [draft] = await rows('select text, reply_to_id from chat.drafts where channel_id = $1', [place]);
  t.strictSame(draft, { text: 'unsaid', reply_to_id: null }, 'what is unsaid stays');
  t.equal(await unread(bob, place), 2, 'only what is there is unread');
  const { data } = await ask(
    'query ($id: UUID!) { channel(id: $id) { pins { nodes { pinnedMessage { id } } } } bookmarks { nodes { bookmarkedMessage { id } } } }',
    { id: place },
    ann.token,
  );
  const pinned = data.channel.pins.nodes.map((pin: { pinnedMessage: { id: string } }) => pin.pinnedMessage.id);
  t.strictSame(pinned.sort(), [kept, answer].sort());
  t.equal(data.bookmarks.nodes.length, 2);
  t.equal((await rows('select from files.files where loose_since is not null')).length, 3, 'its files wait to go');
  t.equal(await clear(), 0, 'and nothing is left to do');
  await clearAll();
  t.equal(await unread(bob, place), 2);
});

t.test('a month that comes back before it was cleared keeps what hangs on it', async (t) => {
  const cal = await person('cal');
  const place = await roomOf(cal);
  const id = await say(place, cal, '2025-03-10T00:00:00Z');
  await clearAll();
  const [{ bound }] = await rows(
    "select pg_get_expr(relpartbound, oid) as bound from pg_class where oid = 'chat.messages_2025_03'::regclass",
  );
  await owner.query('alter table chat.messages detach partition chat.messages_2025_03');
  await clear(1);
  await owner.query(`alter table chat.messages attach partition chat.messages_2025_03 ${bound}`);
  const before = await hangingOn(id);
  t.ok(Object.keys(before).length > 5);
  await clearAll();
  t.strictSame(await hangingOn(id), before);
  t.strictSame(await rows("select gone_at from chat.known_months where name = 'messages_2025_03'"), [
    { gone_at: null },
  ]);
});

t.test('a month that is dropped, between others that stay, takes its answers out of the count', async (t) => {
  const [dee, eve] = [await person('dee'), await person('eve')];
  const place = await roomOf(dee);
  await owner.query('insert into chat.members (channel_id, user_id, joined_seq) values ($1, $2, 0)', [place, eve.id]);
  const asked = await say(place, dee, '2025-04-10T00:00:00Z');
  await say(place, dee, '2025-05-10T00:00:00Z', asked);
  await say(place, dee, '2025-06-10T00:00:00Z', asked);
  await owner.query('update chat.members set last_read_seq = 1 where user_id = $1', [eve.id]);
  t.equal(await unread(eve, place), 2);
  await clearAll();
  await owner.query('drop table chat.messages_2025_05');
  await clearAll();
  const read = await ask('query ($id: UUID!) { message(id: $id) { replyCount } }', { id: asked }, eve.token);
  t.equal(Number(read.data.message.replyCount), 1);
  t.equal(await unread(eve, place), 1);
});

t.test('while anything is held, what hangs on a month that is dropped stays, and is unread no longer', async (t) => {
  const [hal, ida] = [await person('hal'), await person('ida')];
  const place = await roomOf(hal);
  await owner.query('insert into chat.members (channel_id, user_id, joined_seq) values ($1, $2, 0)', [place, ida.id]);
  const id = await say(place, hal, '2025-10-10T00:00:00Z');
  await clearAll();
  const before = await hangingOn(id);
  await owner.query("insert into accounts.legal_holds (channel_id, reason) values ($1, 'asked for')", [place]);
  await owner.query('drop table chat.messages_2025_10');
  await clearAll();
  t.strictSame(await hangingOn(id), before);
  t.equal(await unread(ida, place), 0);
  t.strictSame(
    await rows(
      'select from files.files as file join files.attachments on file_id = file.id where message_id = $1 and loose_since is not null',
      [id],
    ),
    [],
  );
  await owner.query('delete from accounts.legal_holds');
  await clearAll();
  t.strictSame(await hangingOn(id), {}, 'when nothing is held any more, it goes');
});

t.test('with messages that retention removes goes what hung on them', async (t) => {
  const fin = await person('fin');
  const place = await roomOf(fin);
  const old = await say(place, fin, '2025-07-10T00:00:00Z');
  await say(place, fin, '2025-07-11T00:00:00Z', old);
  const recent = await say(place, fin, new Date().toISOString());
  await owner.query('insert into accounts.retentions (channel_id, days) values ($1, 30)', [place]);
  await owner.query('select accounts.expire_messages()');
  t.strictSame(await hangingOn(old), {});
  t.ok(Object.keys(await hangingOn(recent)).length > 5);
});

t.test('nobody but upkeep asks for it', async (t) => {
  for (const role of ['anonymous', 'member', 'operator', 'service'])
    t.strictSame(
      await rows("select has_function_privilege($1, 'chat.clear_gone_months(integer)', 'execute') as may", [role]),
      [{ may: false }],
    );
});

t.test('what no section has any more is not looked for', async (t) => {
  const gus = await person('gus');
  const place = await roomOf(gus);
  const old = await say(place, gus, '2025-08-10T00:00:00Z');
  const detached = await say(place, gus, '2025-09-10T00:00:00Z');
  await clearAll();
  await owner.query('drop schema platforms cascade');
  await owner.query('delete from chat.messages where id = $1', [old]);
  await owner.query('alter table chat.messages detach partition chat.messages_2025_09');
  await clearAll();
  const { rows: hanging } = await owner.query('select from chat.pins where message_id in ($1, $2)', [old, detached]);
  t.strictSame(hanging, []);
});
