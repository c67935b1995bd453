import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { until } from '../events/listen.ts';
import { openWorld, schemaWith } from '../world.ts';

const schema = schemaWith('things', 'sleep');

t.test('many clients at once', async (t) => {
  const world = await openWorld(t, { schema });
  const { ask } = world;

  const alice = await world.person('alice');
  const flood = (count: number, seconds: number, signal?: AbortSignal) =>
    Array.from({ length: count }, async () => {
      const response = await fetch(`${world.server.url}graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: `{ sleep(seconds: ${seconds}) }` }),
        ...(signal && { signal }),
      });
      return response.json();
    });

  t.test('one who asks for everything leaves something to others', async (t) => {
    let answered = 0;
    const answers = flood(12, 2).map((answer) => answer.finally(() => (answered += 1)));
    await setTimeout(500);
    for (let times = 0; times < 3; times += 1)
      t.match(await ask('{ me { username } }', {}, alice.token), { data: { me: { username: 'alice' } } });
    t.ok(answered < 12, 'who is answered before all of them');
    t.same(new Set(await Promise.all(answers).then((all) => all.map(({ data }) => data?.sleep))), new Set([true]));
  });

  t.test('who asks for more than can wait is told at once', async (t) => {
    const gone = new AbortController();
    const codes: string[] = [];
    const requests = flood(300, 60, gone.signal).map((answer) =>
      answer.then(({ errors }) => codes.push(errors?.[0].extensions.code)).catch(() => {}),
    );
    // The others wait, until they go away or Postgres ends what they ask for.
    const atOnce = () => codes.filter((code) => code !== 'TIMEOUT');
    await until(() => atOnce().length > 50, 'That they are told');
    t.match(await ask('{ me { username } }', {}, alice.token), { data: { me: { username: 'alice' } } });
    gone.abort();
    await Promise.all(requests);
    t.same(new Set(atOnce()), new Set(['UNAVAILABLE']));
  });

  t.test('clients that go away by the hundred hold nobody up, and cancel nobody else', async (t) => {
    const gone = new AbortController();
    const requests = flood(200, 60, gone.signal).map((answer) => answer.catch(() => {}));
    await setTimeout(300);
    gone.abort();
    await Promise.all(requests);
    const started = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => ask('{ sleep(seconds: 0.01) }', {}, alice.token)),
    );
    t.ok(performance.now() - started < 20_000, 'the next do not wait for what nobody waits for');
    t.same(new Set(answers.map(({ data }) => data?.sleep)), new Set([true]));
  });
});
