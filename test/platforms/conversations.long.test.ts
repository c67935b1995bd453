import pg from 'pg';
import t from 'tap';
import { actsIn } from '../accounts/acts.ts';
import { openPlatformWorld, writes } from './platform-world.ts';

const world = await openPlatformWorld(t);
const { ask, connect, eventually, post, said, sql, telegram } = world;
const { act, say } = actsIn(world);
await world.start();

t.test('a machine that nobody can reach fetches what comes, one process at a time', async (t) => {
  await world.start();
  const bot = await connect('kira', { isPolled: true });
  t.equal(telegram.of('deleteWebhook').length, 1, 'Telegram is not to call anyone');
  const first = writes(801, 'one');
  telegram.updates.push(first, writes(801, 'two'));
  await eventually('both are there', async () => (await said(bot, 801)).length === 2);
  await eventually('they are confirmed', async () =>
    telegram.of('getUpdates').some(({ parameters }) => parameters.offset === first.update_id + 2),
  );
  await sql('select platforms.poll_due()');
  await sql("select platforms._enqueue('poll_platform', jsonb_build_object('integration', $1::text), 'another key')", [
    bot.id,
  ]);
  const idle = await eventually(
    'another one leaves it to the first',
    async () => (await sql("select result from jobs.runs where key = 'another key' and state = 'succeeded'"))[0],
  );
  t.strictSame(idle.result, { skipped: true });
  telegram.updates.push(writes(801, 'three'));
  await eventually('and so is the third', async () => (await said(bot, 801)).length === 3);
  await act(bot.owner, 'disconnectIntegration', { id: bot.id }, 'integration { status }');
});

t.test('a conversation goes from state to state, to a person, and closes by itself (F3)', async (t) => {
  const bot = await connect('lena');
  const integrationId = bot.id;
  const follows = (input: object) =>
    act(bot.owner, 'setTransition', { integrationId, ...input }, 'transition { state trigger nextState }');
  await follows({ state: 'initial', trigger: '*', nextState: 'asked', reply: 'Size or price?' });
  await follows({ state: 'asked', trigger: ' Price ', nextState: 'told', reply: '7 euros.' });
  await follows({ state: 'told', trigger: '*', nextState: 'told', escalates: true });
  for (const text of ['Hi', 'PRICE', 'Too much!', 'Really!']) await post(bot, writes(802, text));
  const place = await eventually(
    'a person is wanted',
    async () =>
      (
        await sql("select * from platforms.conversations where integration_id = $1 and status = 'escalated'", [bot.id])
      )[0],
  );
  t.match(place, { state: 'told', reason: 'After “Too much!”.' });
  await eventually('all is answered', async () => telegram.shown.filter(({ chat }) => chat === '802').length === 2);
  t.strictSame(
    telegram.shown.filter(({ chat }) => chat === '802').map(({ text }) => text),
    ['Size or price?', '7 euros.'],
  );

  const channelId = place.channel_id;
  const move = (input: object) =>
    act(bot.owner, 'setConversationState', { channelId, ...input }, 'conversation { state context }');
  t.equal((await move({ state: 'x', was: 'initial' })).errors?.[0]?.extensions?.code, 'CONFLICT');
  t.match((await move({ state: 'sold', was: 'told', context: { order: 7 } })).data.setConversationState.conversation, {
    state: 'sold',
    context: { order: 7 },
  });

  await sql("update chat.channels set active_at = now() - interval '31 days' where id = $1", [channelId]);
  await sql("update platforms.conversations set heard_at = now() - interval '31 days' where channel_id = $1", [
    channelId,
  ]);
  t.equal(Number((await sql('select platforms.close_due() as closed'))[0]?.closed), 1);
  t.equal(Number((await sql('select platforms.close_due() as closed'))[0]?.closed), 0);
  await post(bot, writes(802, 'Are you there?'));
  const again = await eventually(
    'it is open again',
    async () =>
      (await sql("select * from platforms.conversations where channel_id = $1 and status = 'active'", [channelId]))[0],
  );
  t.equal(again.closed_at, null);
});

t.test('figures count what has gone through, exactly, whoever commits when (F6)', async (t) => {
  const bot = await connect('mona');
  for (let n = 0; n < 20; n += 1) await post(bot, writes(803, `${n}`));
  const rows = await eventually('all are there', async () => {
    const all = await said(bot, 803);
    return all.length === 20 && all;
  });
  const channelId = rows[0]?.channel_id as string;
  await say(bot.owner, channelId, 'one');
  await eventually('it is sent', async () => telegram.shown.some(({ chat }) => chat === '803'));
  await eventually(
    'it is known',
    async () =>
      (await sql("select from platforms.deliveries where channel_id = $1 and state = 'sent'", [channelId])).length > 0,
  );
  const figures = async () =>
    Object.fromEntries(
      (
        await sql(
          "select metric, sum(count) as count from platforms.metrics where integration_id = $1 and period = 'day' group by metric",
          [bot.id],
        )
      ).map(({ metric, count }) => [metric, Number(count)]),
    );
  // One that commits after others have been counted; and several that count at once.
  const late = new pg.Client({ connectionString: world.databaseUrl });
  await late.connect();
  t.teardown(() => late.end());
  await late.query('begin');
  await late.query(
    "insert into platforms.external_messages (integration_id, external_id, channel_id, message_id, direction) values ($1, 'late', $2, gen_random_uuid(), 'inbound')",
    [bot.id, channelId],
  );
  await Promise.all(Array.from({ length: 3 }, () => sql('select platforms.roll_up()')));
  t.match(await figures(), { messages_received: 20, messages_sent: 1, api_calls: 1, response_time: 1 });
  t.notMatch(await figures(), { errors: Number }, 'nothing went wrong');
  await late.query('commit');
  await Promise.all(Array.from({ length: 3 }, () => sql('select platforms.roll_up()')));
  t.match(await figures(), { messages_received: 21, messages_sent: 1 });

  // A restored database counts transactions anew.
  await sql("update platforms.counted set until = '900000000:900000000:'");
  await sql("insert into events.restores (backup) values ('made up')");
  await sql('select platforms.roll_up()');
  await post(bot, writes(803, 'after'));
  await eventually('it is there', async () => (await said(bot, 803)).length === 22);
  await sql('select platforms.roll_up()');
  await sql('select platforms.roll_up()');
  t.match(await figures(), { messages_received: 22, messages_sent: 1 });

  const { data } = await ask(
    'query ($id: UUID!) { integration(id: $id) { metrics(first: 50) { nodes { metric period count } } } }',
    { id: bot.id },
    bot.owner.token,
  );
  const received = data.integration.metrics.nodes.filter(
    ({ metric }: { metric: string }) => metric === 'MESSAGES_RECEIVED',
  );
  for (const period of ['HOUR', 'DAY', 'MINUTE'])
    t.ok(received.some((each: { period: string }) => each.period === period));
});
