import {
  buildClientSchema,
  type GraphQLArgument,
  type GraphQLInputObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type GraphQLType,
  getIntrospectionQuery,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isObjectType,
} from 'graphql';
import t from 'tap';
import { openWorld } from '../world.ts';

// Nobody reads what is another's, by any path that the schema has. The paths are made from the schema itself, so that
// what is granted tomorrow is tried tomorrow.

const roomy = { MAX_COST: '2000000000', MAX_TOKENS: '100000', MAX_QUERY_BYTES: '1000000', MAX_ALIASES: '1000' };
const world = await openWorld(t, { env: roomy });
const { ask, person, owner, service } = world;
const [alice, bob, mallory] = [await person('alice'), await person('bob'), await person('mallory')];
const [root, stranger] = [await person('root', { operator: true }), await service()];
const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);

/** What is planted in everything of alice's that others may not read. */
const secret = 'xyzzy-secret';
const phone = '+79990001122';

async function sent(token: string, mutation: string, variables: object) {
  const { data, errors } = await ask(mutation, variables, token);
  if (errors) throw new Error(errors[0]?.message);
  return data;
}
const createRoom = 'mutation ($input: CreateRoomInput!) { createRoom(input: $input) { channel { id } } }';
const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }';
const addMember = 'mutation ($input: AddMemberInput!) { addMember(input: $input) { member { role } } }';
const room = async (input: object) => (await sent(alice.token, createRoom, { input })).createRoom.channel.id as string;
const write = async (channelId: string, text: string, replyToId?: string) =>
  (await sent(alice.token, send, { input: { channelId, text, replyToId } })).sendMessage.message.id as string;

// Alice's world: a room that mallory is in, one that she was taken out of, one that she never saw, and a direct chat.
const square = await room({ name: 'square', isPublic: true });
const shared = await room({ name: 'shared' });
const left = await room({ name: `left ${secret}` });
const vault = await room({ name: `vault ${secret}`, description: secret });
const direct = (
  await sent(alice.token, 'mutation ($id: UUID!) { openDirect(input: { userId: $id }) { channel { id } } }', {
    id: bob.id,
  })
).openDirect.channel.id as string;
await sent(alice.token, addMember, { input: { channelId: shared, userId: mallory.id } });
await sent(alice.token, addMember, { input: { channelId: left, userId: mallory.id } });
await sent(alice.token, addMember, { input: { channelId: vault, userId: bob.id } });
await write(square, 'hello everyone');
await write(shared, 'hello mallory');
const hidden: string[] = [left, vault, direct];
for (const channel of [left, vault, direct]) {
  const first = await write(channel, `first ${secret}`);
  const answer = await write(channel, `answer ${secret}`, first);
  await sent(
    alice.token,
    'mutation ($id: UUID!) { editMessage(input: { id: $id, text: "edited xyzzy-secret" }) { message { id } } }',
    { id: first },
  );
  hidden.push(first, answer);
}
await sent(alice.token, 'mutation ($input: RemoveMemberInput!) { removeMember(input: $input) { ok } }', {
  input: { channelId: left, userId: mallory.id },
});
await owner.query(
  `update identity.accounts set phone = $2, email = $3, preferences = jsonb_build_object('note', $3::text) where user_id = $1`,
  [alice.id, phone, `${secret}@plinth.test`],
);
await owner.query('update identity.sessions set user_agent = $2 where user_id = $1', [alice.id, secret]);
await owner.query("insert into identity.passwords (user_id, hash) values ($1, '$argon2id$' || $2)", [alice.id, secret]);
await sent(stranger, 'mutation { expireCodes { result } }', {});
await ask(
  'mutation ($phone: String!) { requestCode(input: { phone: $phone, displayName: "xyzzy-secret" }) { codeRequest { recipient } } }',
  { phone },
);
const sessions = await owner.query('select id from identity.sessions where user_id = $1', [alice.id]);
hidden.push(...sessions.rows.map(({ id }) => id as string));
const upload = await sent(
  alice.token,
  'mutation { createUpload(input: { name: "xyzzy-secret", bytes: "1" }) { fileUpload { id } } }',
  {},
);
hidden.push(upload.createUpload.fileUpload.id);

const secrets = [secret, phone, ...hidden];
const attackers: [name: string, token: string | undefined][] = [
  ['another member', mallory.token],
  ['anonymous', undefined],
  ['a service', stranger],
  ['an operator', root.token],
];

/** An id of nothing. */
const nobodys = '0193f5a2-8c4e-7c31-9d3a-5e2f6b7a8c90';

/** What says nothing of those that it does not find. */
const silent = ['cancelUploads', 'markNotificationsRead', 'removeBookmark', 'sendAlert'];

/** What an operator may do to anyone's rooms and accounts. */
const operators = ['handOverRoom', 'mergeAccounts', 'placeHold', 'releaseHold'];

/** An answer without what an operator may read: the log of moderation names the rooms that it is of. */
function forOperators(answer: string): string {
  const kept = (_: string, value: unknown) =>
    (value as { __typename?: string } | null)?.__typename === 'ModerationEntry'
      ? { ...(value as object), channelId: undefined }
      : value;
  return JSON.stringify(JSON.parse(answer, kept));
}

/** Values of a type that are good ones, whatever they name. */
function valuesOf(type: GraphQLType): unknown[] {
  const named = getNamedType(type);
  if (isEnumType(named)) return named.getValues().map(({ name }) => name);
  const values: Record<string, unknown[]> = {
    UUID: [...hidden, alice.id],
    String: [secret, 'first', 'xyzzy', 'alice', phone],
    DateTime: ['2026-01-01T00:00:00Z'],
    Date: ['2026-01-01'],
    BigInt: ['1'],
    Int: [1],
    Boolean: [true],
    JSON: [{}],
  };
  const known = values[named.name];
  if (!known) throw new Error(`No value of ${named.name} is known.`);
  return known;
}

/** Every scalar of a type, and what it leads to, down to a depth. */
function everything(type: GraphQLOutputType, depth: number): string {
  const fields = Object.values((getNamedType(type) as GraphQLObjectType).getFields()).map((field) => {
    if (field.args.some((each) => String(each.type).endsWith('!'))) return '';
    if (isLeafType(getNamedType(field.type))) return field.name;
    const inner = getNamedType(field.type).name;
    if (inner === 'PageInfo') return `${field.name} { hasNextPage endCursor }`;
    // Pages and their rows are no step of their own; each row is read once.
    if (field.name === 'edges') return 'edges { cursor }';
    if (field.name === 'nodes') return `nodes ${everything(field.type, depth)}`;
    return depth > 0 ? `${field.name} ${everything(field.type, depth - 1)}` : '';
  });
  return `{ __typename ${fields.filter(Boolean).join(' ')} }`;
}

type Probe = { query: string; variables: object };

const rootFields = Object.values((schema.getQueryType() as GraphQLObjectType).getFields());
const connections = rootFields.filter(({ type }) => getNamedType(type).name.endsWith('Connection'));

/** Each root field, with all that its rows lead to; those by key with every id of the victim's. */
function readProbes(depth = 2): Probe[] {
  return rootFields.flatMap(({ name, type, args }) => {
    const required = args.filter((each) => String(each.type).endsWith('!'));
    const body = isObjectType(getNamedType(type)) ? everything(type, required.length > 0 ? 1 : depth) : '';
    if (required.length === 0) return [{ query: `{ ${name} ${body} }`, variables: {} }];
    const declared = required.map((each) => `$${each.name}: ${each.type}`).join(', ');
    const given = required.map((each) => `${each.name}: $${each.name}`).join(', ');
    return valuesOf((required[0] as GraphQLArgument).type).map((value) => ({
      query: `query (${declared}) { ${name}(${given}) ${body} }`,
      variables: Object.fromEntries(
        required.map((each, index) => [each.name, index === 0 ? value : valuesOf(each.type).at(-1)]),
      ),
    }));
  });
}

/** Conditions on every column that a filter can reach, directly and through relations. */
function conditions(type: GraphQLInputObjectType, depth: number): object[] {
  return Object.values(type.getFields()).flatMap((field): object[] => {
    const inner = getNamedType(field.type);
    if (['and', 'or', 'not'].includes(field.name) || !isInputObjectType(inner)) return [];
    const operators = inner.getFields();
    if (operators.eq) {
      const scalar = String(operators.eq.type);
      const values = scalar === 'UUID' ? [vault, hidden[3], alice.id] : scalar === 'String' ? [phone, secret] : [];
      return [
        ...values.map((value) => ({ [field.name]: { eq: value } })),
        ...(operators.lt && values[0] ? [{ [field.name]: { lt: values[0] } }] : []),
        ...(operators.startsWith ? [{ [field.name]: { startsWith: '+7999' } }] : []),
        { [field.name]: { isNull: true } },
      ];
    }
    if (depth === 0) return [];
    if (operators.some) {
      const inside = conditions(getNamedType(operators.some.type) as GraphQLInputObjectType, depth - 1);
      return [{}, ...inside].flatMap((condition) => [
        { [field.name]: { some: condition } },
        { [field.name]: { none: condition } },
        { [field.name]: { every: condition } },
      ]);
    }
    return [{}, ...conditions(inner, depth - 1)].map((condition) => ({ [field.name]: condition }));
  });
}

function filterProbes(graph: GraphQLSchema): Probe[] {
  return connections.flatMap(({ name, args }) => {
    const filter = args.find((each) => each.name === 'filter');
    const order = args.find((each) => each.name === 'orderBy');
    const search = args.some((each) => each.name === 'query');
    const given = search ? 'query: "hello", ' : '';
    const body = '{ totalCount nodes { __typename } pageInfo { hasNextPage hasPreviousPage } }';
    const byFilter = filter
      ? conditions(getNamedType(filter.type) as GraphQLInputObjectType, 1).map((value) => ({
          query: `query ($filter: ${filter.type}) { ${name}(${given}filter: $filter) ${body} }`,
          variables: { filter: value },
        }))
      : [];
    const orders = order
      ? (graph.getType(getNamedType(order.type).name) as unknown as { getValues(): { name: string }[] })
      : undefined;
    const byOrder = (orders?.getValues() ?? []).map(({ name: value }) => ({
      query: `{ ${name}(${given}orderBy: ${value}, first: 1) { nodes { __typename } pageInfo { hasNextPage endCursor } } }`,
      variables: {},
    }));
    return [...byFilter, ...byOrder];
  });
}

async function answersTo(probes: Probe[], token: string | undefined): Promise<string[]> {
  const answers: string[] = [];
  for (let from = 0; from < probes.length; from += 8) {
    const some = probes.slice(from, from + 8).map(({ query, variables }) => ask(query, variables, token));
    answers.push(...(await Promise.all(some)).map((answer) => JSON.stringify(answer)));
  }
  return answers;
}

t.test('what is planted is there for who may read it', async (t) => {
  const answers = await answersTo(readProbes(1), alice.token);
  for (const each of secrets)
    t.ok(
      answers.some((answer) => answer.includes(each)),
      `alice reads ${each}`,
    );
});

for (const [name, token] of attackers) {
  t.test(`no root field, key, relation or search gives ${name} what is alice's`, async (t) => {
    const probes = readProbes(token === mallory.token ? 2 : 1);
    const told = await answersTo(probes, token);
    const answers = token === root.token ? told.map(forOperators) : told;
    t.notOk(
      answers.some((answer) => answer.includes('has invalid value')),
      'each is asked with values of its types',
    );
    const leaks = probes.flatMap((probe, index) =>
      secrets
        .filter((each) => answers[index]?.includes(each))
        .map((each) => ({ each, query: probe.query.slice(0, 80), variables: probe.variables })),
    );
    t.strictSame(leaks, []);
    t.notOk(
      answers.some((answer) => /INTERNAL|SQL|syntax|relation "/.test(answer)),
      'errors tell nothing of the inside',
    );
  });
}

t.test('a key of alice’s is answered as one that does not exist', async (t) => {
  const keyed = readProbes(1).flatMap(({ query, variables }) => {
    const [name, value] = Object.entries(variables)[0] ?? [];
    return name && hidden.includes(value) ? [{ query, variables, none: { ...variables, [name]: nobodys } }] : [];
  });
  const none = keyed.map(({ query, none }) => ({ query, variables: none }));
  const differing = async (token: string | undefined) => {
    const [known, unknown] = [await answersTo(keyed, token), await answersTo(none, token)];
    return keyed.filter((_, index) => known[index] !== unknown[index]).map(({ query }) => query.slice(0, 80));
  };
  t.ok((await differing(alice.token)).length > hidden.length, 'she is told more');
  for (const [name, token] of attackers) t.strictSame(await differing(token), [], name);
});

t.test('the schema itself names no table of hashes and codes', async (t) => {
  const types = Object.keys(schema.getTypeMap()).join(' ');
  t.notMatch(types, /password(s|Filter|Connection)?\b|Attempt|\bNonce|Deletion|DirectPair|RefreshToken\b|CommonWord/i);
  t.notMatch(JSON.stringify((await ask(getIntrospectionQuery())).data), new RegExp(secret));
});

t.test(
  'mutations answer the same for an id of alice’s as for one that does not exist, and change nothing',
  async (t) => {
    // A flag may name anyone, and tells nothing of them.
    const fields = Object.values((schema.getMutationType() as GraphQLObjectType).getFields()).filter(
      ({ name }) => !/^(logOut|removeAccount|expireCodes|setFlag)$/.test(name),
    );
    const picture = async () =>
      JSON.stringify(
        (
          await owner.query(`select
          (select json_agg(x order by id) from chat.channels as x) as channels, (select json_agg(x order by channel_id, user_id) from chat.members as x) as members,
          (select json_agg(x order by id) from chat.messages as x) as messages, (select json_agg(x order by id) from identity.sessions as x) as sessions,
          (select json_agg(x order by id) from files.file_uploads as x) as uploads`)
        ).rows,
      );
    const before = await picture();
    const given = (name: string, type: GraphQLType) =>
      name === 'userId' ? alice.id : name === 'channelId' ? square : name === 'text' ? 'text' : valuesOf(type)[0];
    for (const { name, args } of fields) {
      const input = args[0] && (getNamedType(args[0].type) as GraphQLInputObjectType);
      const ids = Object.values(input?.getFields() ?? {}).filter(({ type }) => getNamedType(type).name === 'UUID');
      // Whose id it is decides; the user that is to be added or removed is known to everyone.
      const id = ids.find((each) => each.name !== 'userId');
      if (!input || !id) continue;
      const asked = (value: string) => ({
        input: Object.fromEntries(
          Object.values(input.getFields())
            .filter((field) => String(field.type).endsWith('!') || field === id)
            .map((field) => [field.name, field === id ? value : given(field.name, field.type)]),
        ),
      });
      const query = `mutation ($input: ${input.name}!) { ${name}(input: $input) { __typename } }`;
      for (const [attacker, token] of attackers) {
        const unknown = await ask(query, asked(nobodys), token);
        if (!silent.includes(name)) t.ok(unknown.errors, `${name} of nothing is an error for ${attacker}`);
        t.notMatch(unknown.errors?.[0]?.message, /has invalid value/, `${name} is asked with values of its types`);
        for (const target of hidden) {
          const known = await ask(query, asked(target), token);
          if (token === root.token && operators.includes(name)) continue;
          t.strictSame(known, unknown, `${name} by ${attacker}`);
        }
      }
    }
    const reply = { channelId: shared, text: 'hello', replyToId: hidden[3] };
    t.equal(
      (await ask(send, { input: reply }, mallory.token)).errors?.[0]?.extensions?.code,
      'NOT_FOUND',
      'no reply to another channel',
    );
    t.equal(await picture(), before, 'nothing changed');
  },
);

// Last, for it takes alice's secrets away: whatever can be asked, its answer does not depend on them.
t.test('no filter, order, count or cursor tells whether alice’s things exist', async (t) => {
  const probes = filterProbes(schema);
  t.ok(probes.length > 300, `${probes.length} ways to ask`);
  const few = probes.filter((_, index) => index % 7 === 0);
  const [before, hers] = [await answersTo(probes, mallory.token), await answersTo(few, alice.token)];
  t.ok(
    before.filter((answer) => answer.includes('errors') && !answer.includes('FORBIDDEN')).length < probes.length / 10,
    'nearly all of them are answered, where she may ask at all',
  );
  // The log of moderation too, which nobody else can empty.
  await owner.query(
    `begin; set local session_replication_role = replica;
     delete from chat.moderation_entries where channel_id in ('${left}', '${vault}'); commit`,
  );
  await owner.query('delete from chat.channels where id = any ($1)', [[left, vault, direct]]);
  await owner.query('delete from identity.sessions where user_id = $1', [alice.id]);
  await owner.query(
    "delete from identity.passwords; delete from identity.codes; update identity.accounts set phone = null, email = null, preferences = '{}'",
  );
  t.notSame(await answersTo(few, alice.token), hers, 'what alice is told has changed');
  const after = await answersTo(probes, mallory.token);
  t.strictSame(
    probes.filter((_, index) => after[index] !== before[index]).slice(0, 3),
    [],
    'each is answered as before',
  );
});
