import { randomBytes } from 'node:crypto';
import {
  buildClientSchema,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLObjectType,
  getIntrospectionQuery,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isLeafType,
} from 'graphql';
import t from 'tap';
import { openWorld } from '../world.ts';

// Every query, given what nobody should give it: it answers or says in a code what is wrong. The fields come from the
// schema, so that a new function is tried too. Of mutations: every-mutation.long.test.ts.

const world = await openWorld(t);
const { ask, person } = world;
const [ann, service] = [await person('ann'), await world.service()];
const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);
const room = await ask(
  'mutation { createRoom(input: { name: "room", isPublic: true }) { channel { id } } }',
  {},
  ann.token,
);
const roomId = room.data.createRoom.channel.id as string;

// Random, so that it does not shrink to what an index can hold.
const long = randomBytes(10_000).toString('hex');
const hostile: Record<string, unknown[]> = {
  String: [
    '',
    ' ',
    long,
    '\u0000',
    '\ud800',
    "'; drop table chat.messages; --",
    '$1',
    '%s\\',
    '{}',
    '\u202e\u{1F600}',
    null,
    1,
    true,
    [],
    {},
  ],
  UUID: [
    roomId,
    ann.id,
    '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '00000000-0000-0000-0000-000000000000',
    "x' or 1=1",
    '',
    null,
    1,
    {},
  ],
  BigInt: ['0', '-1', '9223372036854775807', '9223372036854775808', '1.5', '1e9', 'NaN', '', null, 2 ** 60, {}],
  Int: [0, -1, 2147483647, -2147483648, 2147483648, 1.5, 'x', null, {}],
  Boolean: [true, false, 'true', 0, null],
  DateTime: [
    '2026-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
    '294276-12-31T23:59:59Z',
    '294277-01-01T00:00:00Z',
    '0000-01-01T00:00:00Z',
    '2026-13-45T99:99:99Z',
    'now',
    'infinity',
    null,
    {},
  ],
  JSON: [
    null,
    1,
    'text',
    [],
    {},
    [[]],
    [{}],
    [null],
    [1],
    [{ message_id: {}, user_id: [], room_id: 1 }],
    [{ message_id: 'a', user_id: 'b', room_id: 'c', room: long, sent_at: 'x', text: 1 }],
    [{ message_id: 'a', user_id: 'b', room_id: long, room: 'c', sent_at: '2026-01-01T00:00:00Z', text: 'x' }],
    [{ message_id: 'a', user_id: long, room_id: 'c', room: 'c', username: 'who', sent_at: '2026-01-01T00:00:00Z' }],
    [{ message_id: 'a', user_id: 'b', room_id: 'c', username: '', sent_at: '2026-01-01', text: 'x' }],
    { nul: '\u0000' },
    { deep: JSON.parse(`${'['.repeat(500)}${']'.repeat(500)}`) },
  ],
};

function valuesFor(type: GraphQLInputType): unknown[] {
  const named = getNamedType(type);
  if (isEnumType(named)) return [...named.getValues().map(({ name }) => name), 'NOPE', '', null, 1];
  return hostile[named.name] ?? [null, {}, [], 'x'];
}
/** A value that is of the type, for the arguments beside the one that is tried. */
function plain(type: GraphQLInputType): unknown {
  const name = getNamedType(type).name;
  return (
    { UUID: roomId, BigInt: '1', Int: 1, DateTime: '2026-01-01T00:00:00Z', JSON: [], Boolean: true }[name] ??
    'some text'
  );
}

type Try = { query: string; variables: object; what: string };

/** The arguments of pages, of which one compiler makes all: those of every tenth list are tried. */
const ofPages = new Map(['first', 'last', 'after', 'before', 'orderBy'].map((name) => [name, 0]));
function isTried(name: string): boolean {
  const seen = ofPages.get(name);
  if (seen !== undefined) ofPages.set(name, seen + 1);
  return seen === undefined || seen % 10 === 0;
}

/** Each argument of a query with each hostile value, the required others plain. */
function triesOf(field: GraphQLField<unknown, unknown>): Try[] {
  const selection = isLeafType(getNamedType(field.type)) ? '' : '{ __typename }';
  return field.args.flatMap((place) => {
    if (isInputObjectType(getNamedType(place.type)) || !isTried(place.name)) return [];
    return valuesFor(place.type).map((value) => {
      const others = field.args.filter((each) => each !== place && String(each.type).endsWith('!'));
      const variables = Object.fromEntries([
        ...others.map((each) => [each.name, plain(each.type)]),
        [place.name, value],
      ]);
      const used = [...others, place];
      return {
        query: `query (${used.map((each) => `$${each.name}: ${each.type}`).join(', ')}) { ${field.name}(${used.map((each) => `${each.name}: $${each.name}`).join(', ')}) ${selection} }`,
        variables,
        what: `${field.name}(${place.name}: ${String(JSON.stringify(value)).slice(0, 40)})`,
      };
    });
  });
}

t.test('no argument of a query is answered with an error that nobody foresaw', async (t) => {
  const tries = Object.values((schema.getQueryType() as GraphQLObjectType).getFields()).flatMap(triesOf);
  t.ok(tries.length > 100, `${tries.length} ways to ask`);
  const bad: { what: string; role: string; told: unknown }[] = [];
  // Who may not read a field is told so before any argument is read: once is enough.
  const refused = new Set<string>();
  const attempt = async ({ query, variables, what }: Try, role: string, token: string | undefined) => {
    const field = `${role} ${what.replace(/\(.*/s, '')}`;
    if (refused.has(field)) return;
    const answer = await ask(query, variables, token);
    if (answer.errors?.[0]?.message === 'The caller may not do this.') refused.add(field);
    const untyped = (answer.errors ?? []).filter(
      ({ message, extensions }) =>
        extensions?.code === 'INTERNAL' || message.length > 500 || /syntax error|pg_|select |relation "/i.test(message),
    );
    if (untyped.length > 0 || (!answer.errors && !answer.data)) bad.push({ what, role, told: untyped });
  };
  for (const [role, token] of [
    ['member', ann.token],
    ['service', service],
    ['anonymous', undefined],
  ] as const) {
    for (let from = 0; from < tries.length; from += 8)
      await Promise.all(tries.slice(from, from + 8).map((each) => attempt(each, role, token)));
  }
  t.strictSame(bad, []);
});

t.test('nothing of it reached the log as unforeseen', async (t) => {
  t.strictSame(
    world.logged.filter(({ level }) => Number(level) >= 50).map(({ err }) => err),
    [],
  );
  t.notOk((await ask('{ me { username } }', {}, ann.token)).errors, 'and whoever asked is still there');
});
