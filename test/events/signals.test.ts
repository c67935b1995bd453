import t, { type Test } from 'tap';
import { followLog } from '../../functions/event-log.ts';
import type { LoggedEvent } from '../../functions/log-reader.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { openProxy } from '../postgres-proxy.ts';
import { openWorld } from '../world.ts';
import { until } from './listen.ts';

// Signals go from one server to the others by NOTIFY. What fails on that way must not end a process, and with it this test.

t.setTimeout(180_000);
const world = await openWorld(t);
const { owner } = world;

/** One of the processes that follow the log; the server of the world is another. */
async function follow(t: Test, url: string, take: (signals: LoggedEvent[]) => void = () => {}) {
  const warned: string[] = [];
  const run = (query: object) => owner.query(query as never);
  const log = await followLog(url, run, { warn: (_, message) => void warned.push(message) }, (given) => {
    if ('signals' in given) take(given.signals);
  });
  t.teardown(() => log.close());
  return { ...log, warned };
}

function signal(type: string, data: unknown = {}): LoggedEvent {
  const envelope = { version: '1.0', timestamp: new Date().toISOString(), producer: 'test', metadata: {} };
  return { topic: 'system:signals', seq: null, id: crypto.randomUUID(), type, data, ...envelope };
}

t.test('C13 a connection that is lost between two parts of a long list of signals costs those alone', async (t) => {
  const url = await serverUrl(world.databaseUrl);
  const proxy = await openProxy(url);
  t.teardown(proxy.close);
  const heard: string[] = [];
  await follow(t, url, (signals) => void heard.push(...signals.map(({ type }) => type)));
  const speaker = await follow(t, proxy.url);
  await until(() => speaker.state().processes > 1, 'That it knows of the others');
  const long = 'x'.repeat(7000);
  // A tenth of them.
  proxy.cutAfter(30 * long.length);
  speaker.signal(Array.from({ length: 300 }, (_, n) => signal(`${n}`, long)));
  await until(() => heard.length > 0 && !speaker.state().connected, 'That the connection is lost');
  t.ok(heard.length < 300, `${heard.length} of 300 had gone`);
  proxy.mend();
  await until(() => speaker.state().connected, 'That it is connected again');
  speaker.signal([signal('after')]);
  await until(() => heard.includes('after'), 'What was signalled afterwards');
});

t.test('S1 whatever anyone notifies on the channel of signals, who listens there goes on', async (t) => {
  const heard: string[] = [];
  const follower = await follow(t, await serverUrl(world.databaseUrl), (signals) => {
    heard.push(...signals.map(({ type }) => type));
  });
  const from = crypto.randomUUID();
  const notify = (payload: string) => owner.query('select pg_notify($1, $2)', ['plinth_signals', payload]);
  for (const payload of ['', 'garbage', from, `${from}[{`]) await notify(payload);
  for (const json of ['null', '5', '"text"', '{}', '[null]', '[5]', '[[]]', '[{}]', '[{"topic":5}]'])
    await notify(from + json);
  // Of the right form as far as it goes; nobody listens to such a topic.
  await notify(`${from}[{"topic":"nowhere","type":"half"}]`);
  await notify(from + JSON.stringify([signal('whole')]));
  await until(() => heard.includes('whole'), 'What is a signal');
  t.same(heard, ['half', 'whole']);
  t.match(follower.warned, [/plinth_signals/], 'told once');
  t.equal((await fetch(`${world.server.url}ready`)).status, 200);
});
