import t from 'tap';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';
import { startProcess } from './worker-process.ts';

const world = await openPlatformWorld(t);
const { connect, eventually, filesOf, post, said, sql, telegram } = world;
const { say } = actsIn(world);

t.test('a worker that is killed while it sends: nothing is sent twice, nothing after it is lost', async (t) => {
  const first = startProcess(t, world);
  const bot = await connect('nora');
  await post(bot, writes(901, 'Hello'));
  const [heard] = await eventually('it is there', async () => {
    const rows = await said(bot, 901);
    return rows.length > 0 && rows;
  });
  const channel = heard?.channel_id as string;
  telegram.faults.set('sendMessage', [{ kind: 'slow' }]);
  await say(bot.owner, channel, 'first');
  await telegram.until('sendMessage', 1);
  await say(bot.owner, channel, 'second');
  await post(bot, writes(901, 'meanwhile'));
  first.kill('SIGKILL');
  await new Promise((resolve) => first.once('exit', resolve));
  await world.start();
  await eventually('the second is sent', async () => telegram.shown.some(({ text }) => text === 'second'));
  await eventually('what came meanwhile is there', async () =>
    (await said(bot, 901)).some(({ text }) => text === 'meanwhile'),
  );
  // The platform goes on with what it was asked; the answer reaches nobody.
  telegram.release();
  await eventually('Telegram has shown both', async () => telegram.shown.length === 2);
  t.strictSame(
    telegram.of('sendMessage').map(({ parameters }) => parameters.text),
    ['first', 'second'],
  );
  const states = async () =>
    (await sql('select state from platforms.deliveries where channel_id = $1 order by id', [channel])).map(
      ({ state }) => state,
    );
  await eventually('both are settled', async () => (await states()).join() === 'unsure,sent');
  t.equal((await said(bot, 901)).filter(({ direction }) => direction === 'inbound').length, 2);
});

t.test('a worker that is killed while it fetches a file: the file is there, once', async (t) => {
  const bytes = Buffer.from('%PDF-1.4\nof a worker that was killed\n');
  telegram.files.set('killed', { path: 'documents/file_9.pdf', bytes });
  const bot = await connect('otto');
  telegram.faults.set('download', [{ kind: 'slow' }]);
  const first = startProcess(t, world);
  const document = { file_id: 'killed', file_unique_id: 'k', file_name: 'contract.pdf' };
  await post(bot, writes(902, '', { text: undefined, document }));
  await telegram.until('download', 1);
  first.kill('SIGKILL');
  await new Promise((resolve) => first.once('exit', resolve));
  await world.start();
  const message = await eventually('it is there', async () => {
    const [row] = await said(bot, 902);
    return row?.metadata.files[0].file_id && row;
  });
  telegram.release();
  t.match(await filesOf(bot.owner, message.id), [{ name: 'contract.pdf', mediaType: 'application/pdf' }]);
  t.equal((await sql('select from platforms.remote_files')).length, 0);
});
