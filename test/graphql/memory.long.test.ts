import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import t from 'tap';
import { openMemory } from '../../graphql/remember.ts';
import { openWorld, schemaWith } from '../world.ts';

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc') as () => void;
const heap = (): number => {
  collectGarbage();
  return process.memoryUsage().heapUsed / 2 ** 20;
};
const schema = schemaWith('things');

t.test('what a request brought is gone with it', async (t) => {
  const { ask } = await openWorld(t, { schema, env: { LOG_LEVEL: 'silent' } });
  const large = (n: number): string => String(n).padEnd(500_000, 'x');
  const forms: Record<string, (n: number) => [string, object]> = {
    'a cursor that is none': (n) => [
      `query Q${n}($after: String) { things(after: $after) { nodes { id } } }`,
      { after: large(n) },
    ],
    'a filter': (n) => [
      `query Q${n}($filter: ThingFilter) { things(filter: $filter) { nodes { id } } }`,
      { filter: { text: { eq: large(n) }, or: [{ text: { in: [large(n)] } }] } },
    ],
    'an argument of a mutation': (n) => [
      `mutation Q${n}($input: AddThingInput!) { addThing(input: $input) { thing { id } } }`,
      { input: { thing: { text: large(n), int4: 'none' } } },
    ],
    'a password': (n) => [
      `mutation Q${n}($input: LogInInput!) { logIn(input: $input) { sessionTokens { accessToken } } }`,
      { input: { email: large(n), password: 'eight characters' } },
    ],
  };
  for (const [name, form] of Object.entries(forms)) {
    await ask(...form(0));
    const before = heap();
    for (let n = 1; n <= 30; n += 1) await ask(...form(n));
    const grown = heap() - before;
    t.ok(grown < 8, `${name}: ${grown.toFixed(1)} MB of 15 or more`);
  }
});

t.test('a body that comes byte by byte holds about what it brings', async (t) => {
  const { server } = await openWorld(t, { env: { LOG_LEVEL: 'silent' } });
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const all = (): number => heap() + process.memoryUsage().external / 2 ** 20;
  const before = all();
  socket.write(
    'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
  );
  for (let sent = 0; sent < 200_000; sent += 1000) {
    if (!socket.write('1\r\n \r\n'.repeat(1000))) await once(socket, 'drain');
  }
  await setTimeout(1000);
  const grown = all() - before;
  t.ok(grown < 10, `${grown.toFixed(1)} MB`);
});

t.test('what is remembered is bounded by bytes; what was used last stays longest', (t) => {
  const remember = openMemory<{ bytes: number }>(100, ({ bytes }) => bytes);
  const made: string[] = [];
  const ask = (key: string, bytes: number): unknown =>
    remember(key, () => {
      made.push(key);
      return { bytes };
    });
  for (const key of ['a', 'b', 'a', 'c', 'a', 'b', 'c']) ask(key, 40);
  t.equal(made.join(''), 'abcbc', 'two of 41 bytes fit, and a is always the one that was used');
  ask('large', 1000);
  ask('large', 1000);
  t.equal(made.join(''), 'abcbclarge', 'one that is too large is there until the next comes');
  ask('a', 40);
  ask('large', 1000);
  t.equal(made.join(''), 'abcbclargealarge');
  t.end();
});
