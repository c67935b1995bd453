import t from 'tap';
import { followLog, type LogFollower } from '../../functions/event-log.ts';
import { openRequests } from '../../functions/requests.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { readSettings } from '../../functions/settings.ts';
import type { Claims } from '../../functions/tokens.ts';
import type { Engine } from '../../graphql/execute.ts';
import { followDatabase } from '../../graphql/live.ts';
import { openOperations } from '../../graphql/operations.ts';
import { openSubscriptions } from '../../graphql/subscriptions.ts';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { messageEvents, until } from './listen.ts';

// A burst of events for very many listeners of one process: the rest of it comes to its turn in between.

t.setTimeout(120_000);
const world = await openWorld(t);
const acts = openActs(world);
const ann = await world.person('ann');
const settings = readSettings({ PLINTH_ENV: 'development', MAX_SUBSCRIPTIONS_PER_USER: '10000' });
const listeners = 1100;
const messages = 20;

t.test('S1 no more than some thousand sendings stand between two turns of the process', async (t) => {
  const url = await serverUrl(world.databaseUrl);
  const log = { warn: () => {}, error: () => {}, info: () => {} };
  const requests = openRequests(url, { size: 4, log });
  t.teardown(() => requests.close());
  let engine: Engine | undefined;
  let eventLog: LogFollower | undefined;
  const subscriptions = openSubscriptions(
    () => engine as Engine,
    () => eventLog as LogFollower,
    settings,
  );
  const live = await followDatabase(url, log as never, ({ catalog, schema }) => {
    const operations = openOperations(schema, settings);
    const idle = () => {};
    const rest = {
      sign: async () => '',
      deliver: async () => {},
      seal: async (json: string) => json,
      unforeseen: idle,
      signal: idle,
      gather: idle,
    };
    const { maxAnswerBytes } = settings;
    engine = { ...rest, schema, operations, errorCodes: catalog.errorCodes, requests, maxAnswerBytes };
  });
  t.teardown(() => live.close());
  eventLog = await followLog(url, (query) => requests.runAsServer(query, 'listeners'), log, subscriptions.take);
  t.teardown(() => eventLog?.close());

  let [sent, sinceTurn, longest, turns] = [0, 0, 0, 0];
  const ends: unknown[] = [];
  const listener = {
    next() {
      sent += 1;
      sinceTurn += 1;
      longest = Math.max(longest, sinceTurn);
    },
    end: (errors?: unknown) => void ends.push(errors),
    backlog: () => 0,
  };
  const id = await acts.room(ann);
  const { role, sub, sid } = JSON.parse(atob(ann.token.split('.')[1] as string)) as Claims;
  const claims = { ...(sub && { sub }), ...(sid && { sid }) };
  const after = await acts.cursor();
  for (let n = 0; n < listeners; n += 1) {
    const asked = { caller: { role, claims }, id: `${n}`, signal: new AbortController().signal };
    const open = () => (engine as Engine).operations(messageEvents, undefined);
    subscriptions.subscribe({ open, variables: { id }, asked, after }, listener);
  }
  await acts.send(ann, id, 'all of them listen');
  await until(() => sent === listeners, 'Listening');

  let counting = true;
  const turn = (): void => {
    if (sinceTurn > 0) turns += 1;
    sinceTurn = 0;
    if (counting) setImmediate(turn);
  };
  longest = 0;
  turn();
  const burst = "select chat.send_message($1, 'text ' || n) from generate_series(1, $2::integer) as n";
  const client = await world.owner.connect();
  await client.query("select set_config('plinth.user_id', $1, false)", [ann.id]);
  await client.query(burst, [id, messages]);
  client.release();
  await until(() => sent === listeners * (messages + 1), 'The end of the burst');
  counting = false;
  subscriptions.close();
  t.same(ends, []);
  t.ok(longest <= 2000, `${longest} sendings in one turn of ${turns}`);
});
