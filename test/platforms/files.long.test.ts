import t from 'tap';
import type { Sent } from '../../scripts/chaos/telegram.ts';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

const world = await openPlatformWorld(t);
const { connect, eventually, filesOf, person, post, said, sql, telegram, upload } = world;
const { act } = actsIn(world);
await world.start();
const bot = await connect('olga');

// One red pixel, and one of another colour.
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==',
  'base64',
);
const pdf = Buffer.from('%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n');

let last = 0;

/** Someone sends a document; gives the message, which is there before its file. */
async function sends(chat: number, bytes: Buffer, own: object = {}) {
  last += 1;
  const id = `document${last}`;
  telegram.files.set(id, { path: `documents/file_${last}.pdf`, bytes });
  const document = { file_id: id, file_unique_id: id, file_name: 'offer.pdf', ...own };
  const update = writes(chat, '', { text: undefined, document });
  await post(bot, update);
  const external = `${chat}:${update.message.message_id}`;
  return eventually('the message is there', async () =>
    (await said(bot, chat)).find(({ external_id: known }) => known === external),
  );
}

const metadataOf = async (id: string) =>
  (await sql('select metadata from chat.messages where id = $1', [id]))[0]?.metadata.files[0];

/** Waits until it is there, or is known never to be. */
const settled = (id: string) =>
  eventually('its file is settled', async () => {
    const file = await metadataOf(id);
    return (file.file_id ?? file.problem) && file;
  });

/** What waits for its next try need not. */
async function hurry(channel: string): Promise<void> {
  await sql('update platforms.remote_files set due_at = now() where channel_id = $1', [channel]);
  await sql('select platforms._ask_to_fetch($1)', [channel]);
}

const triesOf = async (id: string): Promise<number | undefined> =>
  (await sql('select attempts from platforms.remote_files where message_id = $1 and due_at > now()', [id]))[0]
    ?.attempts;

t.test('a photo is fetched, kept and told of, for who sees the message (F4, C12)', async (t) => {
  telegram.files.set('large', { path: 'photos/file_7.png', bytes: png });
  const photo = [
    { file_id: 'small', file_unique_id: 's', width: 9, height: 9 },
    { file_id: 'large', file_unique_id: 'l', width: 90, height: 90, file_size: png.length },
  ];
  await post(bot, writes(551, '', { text: undefined, photo, caption: 'This one' }));
  const [message] = await eventually('the message is there', async () => {
    const rows = await said(bot, 551);
    return rows.length === 1 && rows;
  });
  const [file] = await eventually('its file is there', async () => {
    const files = await filesOf(bot.owner, message?.id);
    return files.length > 0 && files;
  });
  t.match(file, { name: 'file_7.png', mediaType: 'image/png', owner: { username: 'olga' } });
  const answer = await fetch(new URL(file?.url as string, world.server.url));
  t.ok(Buffer.from(await answer.arrayBuffer()).equals(png), 'byte for byte');
  t.match(await metadataOf(message?.id), { id: 'large', kind: 'photo', file_id: file?.id });
  const told = await sql("select data from events.log where topic = 'channel:' || $1 and type = 'file_attached'", [
    message?.channel_id,
  ]);
  t.match(told, [{ data: { message_id: message?.id, file_id: file?.id } }], 'subscribers are told, once');
  const other = await person('paul');
  t.strictSame(await filesOf(other, message?.id), [], 'nobody else sees it');

  const again = await sends(551, png, { file_name: '../../etc/passwd\u202e' });
  await settled(again.id);
  t.match(
    await filesOf(bot.owner, again.id),
    [{ name: 'passwd', mediaType: 'image/png' }],
    'what it is, its bytes say',
  );
  t.equal((await sql('select from files.contents')).length, 1, 'the same bytes are kept once');
  t.equal((await sql('select from platforms.remote_files')).length, 0);
  t.notMatch(JSON.stringify(world.logged), world.telegramToken, 'the token is in no log');
});

t.test('fetched by two runs at once, it is there once, and the second copy is left to be cleaned away', async (t) => {
  telegram.faults.set('download', [{ kind: 'slow' }]);
  const before = telegram.of('download').length;
  const message = await sends(552, Buffer.from(`${pdf}two runs`));
  await telegram.until('download', before + 1);
  // A run that believes the first to be dead: under another key the two overlap.
  await sql(
    "select platforms._enqueue('fetch_files', jsonb_build_object('conversation', $1::text), 'a key of its own')",
    [message.channel_id],
  );
  await settled(message.id);
  telegram.release();
  await eventually('both have ended', async () => {
    const open = "select from jobs.runs where task = 'fetch_files' and state in ('queued', 'running')";
    return (await sql(open)).length === 0;
  });
  t.equal((await filesOf(bot.owner, message.id)).length, 1);
  const told = "select from events.log where type = 'file_attached' and data ->> 'message_id' = $1";
  t.equal((await sql(told, [message.id])).length, 1);
  const copies = `select from files.contents as content join files.leftovers as noted on noted.stored = content.stored`;
  t.strictSame(await sql(copies), [], 'nothing that is kept is to be cleaned away');
});

t.test('what breaks off or fails for a while is fetched again (E3)', async (t) => {
  telegram.faults.set('download', [{ kind: 'cut' }, { kind: 'status', status: 502 }]);
  const unavailable = 'Bad Request: wrong file_id or the file is temporarily unavailable';
  telegram.faults.set('getFile', [{ kind: 'bad JSON' }, { kind: 'status', status: 400, description: unavailable }]);
  const message = await sends(553, Buffer.from(`${pdf}${'x'.repeat(100_000)}`));
  for (const tries of [1, 2, 3, 4]) {
    await eventually(`try ${tries} has failed`, async () => (await triesOf(message.id)) === tries);
    await hurry(message.channel_id);
  }
  t.match(await settled(message.id), { file_id: String, problem: undefined });

  telegram.faults.set('getFile', [{ kind: 'status', status: 429, retryAfter: 600 }]);
  const late = await sends(553, Buffer.from(`${pdf}late`));
  await eventually('it is put off, which is no try', async () => (await triesOf(late.id)) === 0);
  const waits = "select from platforms.remote_files where message_id = $1 and due_at > now() + interval '9 minutes'";
  t.equal((await sql(waits, [late.id])).length, 1, 'as long as Telegram said');
  await sql("update platforms.remote_files set due_at = now() - interval '6 minutes'");
  t.equal(Number((await sql('select platforms.ask_again() as asked'))[0]?.asked), 1, 'what has no run gets one');
  t.match(await settled(late.id), { file_id: String });
});

t.test('the file of a message that was deleted meanwhile is not asked for', async (t) => {
  telegram.faults.set('getFile', [{ kind: 'status', status: 429, retryAfter: 600 }]);
  const message = await sends(556, Buffer.from(`${pdf}deleted`));
  await eventually('it is put off', async () => (await triesOf(message.id)) === 0);
  t.notOk((await act(bot.owner, 'deleteMessage', { id: message.id }, 'message { id }')).errors);
  const asked = telegram.of('getFile').length;
  await hurry(message.channel_id);
  await eventually('nothing waits', async () => (await sql('select from platforms.remote_files')).length === 0);
  t.equal(telegram.of('getFile').length, asked);
  t.equal((await sql('select from files.attachments where message_id = $1', [message.id])).length, 0);
});

t.test('what is gone, too large or refused is said in the message, and not asked for again', async (t) => {
  const gone = await sends(554, pdf, { file_id: 'unknown' });
  t.match(await settled(gone.id), { problem: /invalid file_id/ });

  telegram.faults.set('getFile', [{ kind: 'status', status: 400, description: 'Bad Request: file is too big' }]);
  const big = await sends(554, pdf);
  t.match(await settled(big.id), { problem: /file is too big/ });

  await sql('update files.limits set file_bytes = 1000');
  const asked = telegram.of('getFile').length;
  const announced = await sends(554, pdf, { file_size: 1001 });
  t.match(await settled(announced.id), { problem: /1001 bytes, and 1000 may be kept/ });
  t.equal(telegram.of('getFile').length, asked, 'what is known to be too large is not asked for');
  const larger = await sends(554, Buffer.alloc(1001, 'x'), { file_size: 7 });
  t.match(await settled(larger.id), { problem: /more than the 1000 bytes/ }, 'whatever size was told');
  const empty = await sends(554, Buffer.alloc(0));
  t.match(await settled(empty.id), { problem: 'The file is empty.' });
  await sql('update files.limits set file_bytes = default');

  await sql('select files.set_quota($1, 0)', [bot.owner.id]);
  const over = await sends(554, Buffer.from(`${pdf}quota`));
  t.match(await settled(over.id), { problem: /more than the 0 bytes/ });
  await sql('select files.set_quota($1)', [bot.owner.id]);

  telegram.faults.set('getFile', [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 500 },
  ]);
  const hopeless = await sends(554, pdf);
  await eventually('it has failed', async () => (await triesOf(hopeless.id)) === 1);
  await sql('update platforms.remote_files set attempts = 7');
  await hurry(hopeless.channel_id);
  t.match(await settled(hopeless.id), { problem: 'Telegram answered 500: Fault' }, 'eight tries, then no more');

  t.equal((await sql('select from platforms.remote_files')).length, 0, 'nothing is tried again');
  const missing = "select from events.log where topic = 'channel:' || $1 and type = 'file_missing'";
  t.equal((await sql(missing, [gone.channel_id])).length, 7, 'subscribers are told of each');
  t.equal((await sql('select from files.attachments where channel_id = $1', [gone.channel_id])).length, 0);
  t.notMatch(JSON.stringify(await said(bot, 554)), world.telegramToken);
});

t.test('what an operator attaches, Telegram shows: a photo, a document, an album (F4)', async (t) => {
  await post(bot, writes(555, 'Show me'));
  const [heard] = await eventually('it is there', async () => {
    const rows = await said(bot, 555);
    return rows.length === 1 && rows;
  });
  const channelId = heard?.channel_id;
  const give = async (files: [string, Buffer][], own: object = {}): Promise<string> => {
    const fileIds = [];
    for (const [name, bytes] of files) fileIds.push(await upload(bot.owner, name, bytes));
    const sent = await act(bot.owner, 'sendFiles', { channelId, fileIds, ...own }, 'message { id }');
    t.notOk(sent.errors);
    const { id } = sent.data.sendFiles.message;
    await eventually('it is sent', async () => {
      const [row] = await sql('select state, error from platforms.deliveries where message_id = $1', [id]);
      if (row?.error) throw new Error(row.error);
      return row?.state === 'sent';
    });
    return id;
  };
  const shown = () => telegram.shown.filter(({ chat }) => chat === '555');
  const isSame = (file: Sent, name: string, bytes: Buffer) => file.name === name && file.bytes.equals(bytes);

  await give([['red.png', png]], { text: 'Red' });
  const [photo] = shown();
  t.match(photo, { method: 'sendPhoto', caption: 'Red' });
  t.ok(isSame(photo?.photo, 'red.png', png));

  await give([['offer.pdf', pdf]], { replyToId: heard?.id });
  const [, document] = shown();
  t.match(document, { method: 'sendDocument', caption: 'offer.pdf' });
  t.match(JSON.parse(document?.reply_parameters), { message_id: Number(heard?.external_id.split(':')[1]) });
  t.ok(isSame(document?.document, 'offer.pdf', pdf));

  const album = await give(
    [
      ['one.pdf', pdf],
      ['two.png', png],
    ],
    { text: 'Both' },
  );
  const [, , first, second] = shown();
  t.match(first, { method: 'sendMediaGroup', type: 'document', caption: 'Both' });
  t.ok(isSame(first?.media, 'one.pdf', pdf));
  t.ok(isSame(second?.media, 'two.png', png));
  const ids = await sql(
    'select external_id from platforms.external_messages where message_id = $1 order by external_id',
    [album],
  );
  t.strictSame(
    ids.map(({ external_id: id }) => id),
    [`555:${first?.message_id}`, `555:${second?.message_id}`],
    'both ids that it has there are known',
  );
});
