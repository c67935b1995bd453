import { readFileSync } from 'node:fs';
import path from 'node:path';
import v8 from 'node:v8';
import vm from 'node:vm';
import t from 'tap';
import { openWorld, schemaFile } from '../world.ts';

v8.setFlagsFromString('--expose-gc');
const collectGarbage = vm.runInNewContext('gc') as () => void;
const heap = (): number => {
  collectGarbage();
  return process.memoryUsage().heapUsed / 2 ** 20;
};
const things = readFileSync(path.join(import.meta.dirname, '../fixtures/things.sql'), 'utf8');
const schema = readFileSync(schemaFile, 'utf8') + things;

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
    for (let n = 1; n <= 60; n += 1) await ask(...form(n));
    const grown = heap() - before;
    t.ok(grown < 12, `${name}: ${grown.toFixed(1)} MB of 30 or more`);
  }
});

t.test('what is remembered of documents is bounded', async (t) => {
  const { ask } = await openWorld(t, { schema, env: { LOG_LEVEL: 'silent' } });
  const before = heap();
  for (let n = 0; n < 400; n += 1) {
    const conditions = `{ int4: { eq: ${n} } }`.repeat(200);
    const answer = await ask(`{ things(filter: { or: [${conditions}] }) { totalCount } }`);
    t.same(answer, { data: { things: { totalCount: 0 } } });
  }
  const grown = heap() - before;
  t.ok(grown < 60, `${grown.toFixed(1)} MB of 100 or more`);
});
