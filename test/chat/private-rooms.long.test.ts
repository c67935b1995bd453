import {
  buildClientSchema,
  type GraphQLInputObjectType,
  type GraphQLObjectType,
  getIntrospectionQuery,
  getNamedType,
  isEnumType,
  isLeafType,
} from 'graphql';
import t from 'tap';
import { openWorld } from '../world.ts';
import { openActs } from './room-acts.ts';

// A private room, to someone who is not in it, is as one that does not exist: in every field of the API that takes an
// id, now and when there are more of them.

const world = await openWorld(t);
const { ask, owner } = world;
const { done, room, bring, people, membersOf } = openActs(world);
const [ann, bob, eve] = await people('ann', 'bob', 'eve');
const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);
const hidden = await room(ann, { name: 'hidden-room', description: 'hidden-room' });
await bring(ann, hidden, bob);
await done(ann, 'setRoomPassword', { channelId: hidden, password: 'open sesame' });
const link = (await done(ann, 'createRoomLink', { channelId: hidden })) as unknown as { link: { id: string } };
const message = await done(bob, 'sendMessage', { channelId: hidden, text: 'hidden-room words' });
await done(ann, 'muteMember', { channelId: hidden, userId: bob.id });
await done(ann, 'setMemberPermission', { channelId: hidden, userId: bob.id, permission: 'MUTE', isAllowed: true });
const [pat, quinn] = await people('pat', 'quinn');
await done(ann, 'banFromRoom', { channelId: hidden, userId: pat.id });
await done(ann, 'inviteToRoom', { channelId: hidden, userId: quinn.id });
const missing = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

type Named = { name: string; args: readonly { name: string; type: unknown }[]; type: unknown };
const fieldsOf = (type: GraphQLObjectType | null | undefined): Named[] =>
  Object.values((type as GraphQLObjectType).getFields()) as Named[];
/** A value for what is not an id. */
function plain(type: unknown): unknown {
  const named = getNamedType(type as GraphQLObjectType);
  if (isEnumType(named)) return named.getValues().at(-1)?.name;
  return (
    { Int: 3600, BigInt: '1', Boolean: true, JSON: {}, DateTime: '2026-01-01T00:00:00Z' }[named.name] ?? 'some text'
  );
}
const isId = (type: unknown): boolean => String(type).replace('!', '') === 'UUID';

/** The same request about the hidden thing and about one that is not there, with every other argument alike. */
function pairs(kind: 'query' | 'mutation', field: Named): { what: string; query: string; of(id: string): object }[] {
  const input =
    kind === 'mutation' && field.args[0]
      ? (getNamedType(field.args[0].type as GraphQLInputObjectType) as GraphQLInputObjectType)
      : undefined;
  const places = (input ? Object.values(input.getFields()) : field.args) as { name: string; type: unknown }[];
  const selection = isLeafType(getNamedType(field.type as GraphQLObjectType)) ? '' : '{ __typename }';
  return places
    .filter(({ type }) => isId(type))
    .map((place) => {
      const used = places.filter((each) => each === place || String(each.type).endsWith('!'));
      const of = (id: string) =>
        Object.fromEntries(
          used.map((each) => [each.name, each === place ? id : isId(each.type) ? bob.id : plain(each.type)]),
        );
      const query = input
        ? `mutation ($input: ${input.name}!) { ${field.name}(input: $input) ${selection} }`
        : `query (${used.map((each) => `$${each.name}: ${each.type}`).join(', ')}) { ${field.name}(${used.map((each) => `${each.name}: $${each.name}`).join(', ')}) ${selection} }`;
      return { what: `${field.name}.${place.name}`, query, of: (id) => (input ? { input: of(id) } : of(id)) };
    });
}

for (const kind of ['query', 'mutation'] as const)
  t.test(
    `C2 a private room is not there for any ${kind} of an outsider, by its id or that of what is in it`,
    async (t) => {
      const asked = fieldsOf(kind === 'query' ? schema.getQueryType() : schema.getMutationType()).flatMap((field) =>
        pairs(kind, field),
      );
      t.ok(asked.length > 5, `${asked.length} ways to ask`);
      for (const { what, query, of } of asked) {
        const absent = await ask(query, of(missing), eve.token);
        for (const id of [hidden, message.id as string, link.link.id]) {
          await owner.query('delete from identity.attempts');
          t.strictSame(await ask(query, of(id), eve.token), absent, what);
        }
      }
      t.strictSame(await membersOf(hidden), ['ann owner', 'bob member']);
    },
  );

t.test('C2 nor in any list, at whatever filter, nor in a search, nor beside the people in it', async (t) => {
  const lists = fieldsOf(schema.getQueryType()).filter(
    ({ type, args }) => String(type).endsWith('Connection!') && args.every((each) => !String(each.type).endsWith('!')),
  );
  t.ok(lists.length > 10, `${lists.length} lists`);
  const leaves = (type: GraphQLObjectType): string =>
    Object.values(type.getFields())
      .filter((field) => isLeafType(getNamedType(field.type)) && field.args.length === 0)
      .map(({ name }) => name)
      .join(' ');
  const ids = [hidden, message.id as string, link.link.id, 'hidden-room'];
  for (const { name, type } of lists) {
    const connection = getNamedType(type as GraphQLObjectType) as GraphQLObjectType;
    const node = getNamedType(connection.getFields().nodes?.type as GraphQLObjectType) as GraphQLObjectType;
    const answer = await ask(`{ ${name}(first: 100) { totalCount nodes { ${leaves(node)} } } }`, {}, eve.token);
    const text = JSON.stringify(answer);
    t.notOk(
      ids.some((id) => text.includes(id)),
      name,
    );
  }
  const answer = await ask(
    `query ($bob: UUID!, $ann: UUID!) {
      searchMessages(query: "hidden") { totalCount }
      user(id: $bob) { memberships { totalCount } roomMutes { totalCount } moderationMet { totalCount } messagesBySender { totalCount } }
      channels(filter: { ownerId: { eq: $ann } }) { totalCount }
    }`,
    { bob: bob.id, ann: ann.id },
    eve.token,
  );
  t.equal(answer.errors, undefined);
  t.notMatch(JSON.stringify(answer.data), /[1-9]/, 'nothing is counted');
});

t.test('C2 an invited person learns the card of the room, and nothing else of it', async (t) => {
  const { data } = await ask(
    `query ($id: UUID!) {
      channel(id: $id) { name }
      room(channelId: $id) { memberCount }
      members(filter: { channelId: { eq: $id } }) { totalCount }
      messages(filter: { channelId: { eq: $id } }) { totalCount }
      roomInvitations { totalCount }
      moderationEntries { totalCount }
      myInvitations { nodes { card { name description memberCount } } }
    }`,
    { id: hidden },
    quinn.token,
  );
  t.strictSame(data, {
    channel: null,
    room: null,
    members: { totalCount: 0 },
    messages: { totalCount: 0 },
    roomInvitations: { totalCount: 1 },
    moderationEntries: { totalCount: 0 },
    myInvitations: { nodes: [{ card: { name: 'hidden-room', description: 'hidden-room', memberCount: 2 } }] },
  });
});
