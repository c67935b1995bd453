import {
  buildClientSchema,
  type GraphQLArgument,
  type GraphQLInputObjectType,
  type GraphQLObjectType,
  type GraphQLType,
  getIntrospectionQuery,
  getNamedType,
  isEnumType,
  isLeafType,
} from 'graphql';
import t from 'tap';
import { openWorld } from '../world.ts';
import {
  answersTo,
  everything,
  filterProbes,
  isNothing,
  isRelation,
  ofRows,
  type Probe,
  type Refused,
  refusals,
  rowType,
} from './probes.ts';

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

const rootFields = Object.values((schema.getQueryType() as GraphQLObjectType).getFields());
const open = rootFields.filter(({ args, type }) => isRoot(args) && !isLeafType(getNamedType(type)));
const connections = rootFields.filter(({ type }) => getNamedType(type).name.endsWith('Connection'));

function isRoot(args: readonly GraphQLArgument[]): boolean {
  return !args.some((each) => String(each.type).endsWith('!'));
}

type Told = { probes: Probe[]; answers: string[] };

/** Each root field; those by key with every id of the victim's, or with one of nothing. */
function rootProbes(depth: number, refused: Refused, values = valuesOf): Probe[] {
  return rootFields.flatMap((field): Probe[] => {
    const required = field.args.filter((each) => String(each.type).endsWith('!'));
    const isRow = !isLeafType(getNamedType(field.type));
    const body = isRow ? ofRows(field, everything(rowType(field), depth, refused)) : '';
    if (required.length === 0) return [{ name: field.name, given: {}, body }];
    return values((required[0] as GraphQLArgument).type).map((value) => ({
      name: field.name,
      given: Object.fromEntries(
        required.map((each, index) => [
          each.name,
          { type: String(each.type), value: index === 0 ? value : valuesOf(each.type).at(-1) },
        ]),
      ),
      body,
    }));
  });
}

/**
 * All that a caller is told: every root field, and where that was answered with any row, what its rows lead to. What they lead to is
 * rows of tables, or what a function makes of a row, and each table is a root of its own: one step on from every root leaves out no
 * path but those through what the step before would have shown.
 *
 * @param steps how far; two for who is in the same rooms.
 */
async function told(token: string | undefined, steps: number): Promise<Told> {
  const refused = await refusals(ask, open, token);
  const probes = rootProbes(0, refused);
  const answers = await answersTo(ask, probes, token);
  const further = rootProbes(1, refused).filter(
    ({ name }, index) => !isNothing(answers[index] as string) && probes[index]?.name === name,
  );
  // One relation at a time: more of them at once is over the limit of what may be joined.
  const furthest =
    steps < 2
      ? []
      : open
          .filter((root) => further.some(({ name }) => name === root.name))
          .flatMap((root) =>
            relationsOf(root, refused).map((relation) => ({
              name: root.name,
              given: {},
              body: ofRows(root, `{ ${relation.name} ${ofRows(relation, everything(rowType(relation), 1, refused))} }`),
            })),
          );
  const more = [...further, ...furthest];
  return { probes: [...probes, ...more], answers: [...answers, ...(await answersTo(ask, more, token, 1))] };
}

function relationsOf(root: (typeof rootFields)[number], refused: Refused) {
  const type = rowType(root);
  return Object.values(type.getFields()).filter(
    (field) => isRelation(field) && isRoot(field.args) && !refused.has(`${type.name}.${field.name}`),
  );
}

const hers = await told(alice.token, 1);

t.test('what is planted is there for who may read it', async (t) => {
  const { answers } = hers;
  for (const each of secrets)
    t.ok(
      answers.some((answer) => answer.includes(each)),
      `alice reads ${each}`,
    );
});

const toldTo = new Map<string, Told>();

for (const [name, token] of attackers) {
  t.test(`no root field, key, relation or search gives ${name} what is alice's`, async (t) => {
    const { probes, answers: all } = await told(token, token === mallory.token ? 2 : 1);
    toldTo.set(name, { probes, answers: all });
    const answers = token === root.token ? all.map(forOperators) : all;
    t.notOk(
      answers.some((answer) => answer.includes('has invalid value')),
      'each is asked with values of its types',
    );
    const leaks = probes.flatMap((probe, index) =>
      secrets.filter((each) => answers[index]?.includes(each)).map((each) => ({ each, ...probe })),
    );
    t.strictSame(leaks, []);
    t.notOk(
      answers.some((answer) => /INTERNAL|SQL|syntax|relation "/.test(answer)),
      'errors tell nothing of the inside',
    );
    const failed = probes.filter(({ body }, index) => body.includes(' { ') && answers[index]?.startsWith('{"errors"'));
    t.notOk(
      failed.some(({ body }) => /nodes \{.* \{ __typename/.test(body)),
      'what leads on is answered',
    );
  });
}

t.test('a key of alice’s is answered as one that does not exist', async (t) => {
  /** Which of her keys are told apart from one of nothing, given what was answered to each. */
  const differing = async (token: string | undefined, { probes, answers }: Told) => {
    const keyed = probes.flatMap((probe, index) => {
      const [first] = Object.keys(probe.given);
      const given = first && probe.given[first];
      return given && hidden.includes(given.value as string)
        ? [
            {
              answer: answers[index],
              probe: { ...probe, given: { ...probe.given, [first]: { ...given, value: nobodys } } },
            },
          ]
        : [];
    });
    const asked = [...new Map(keyed.map(({ probe }) => [probe.name + probe.body, probe])).values()];
    const none = await answersTo(ask, asked, token);
    const unknown = new Map(asked.map((probe, index) => [probe.name + probe.body, none[index]]));
    return keyed
      .filter(({ answer, probe }) => answer !== unknown.get(probe.name + probe.body))
      .map(({ probe }) => probe.name);
  };
  t.ok((await differing(alice.token, hers)).length > hidden.length, 'she is told more');
  for (const [name, token] of attackers) t.strictSame(await differing(token, toldTo.get(name) as Told), [], name);
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
    const wrong: object[] = [];
    /** Every id in a field of its own: each is a transaction. */
    const tried = async ({ name, args }: (typeof fields)[number]): Promise<void> => {
      const input = args[0] && (getNamedType(args[0].type) as GraphQLInputObjectType);
      const ids = Object.values(input?.getFields() ?? {}).filter(({ type }) => getNamedType(type).name === 'UUID');
      // Whose id it is decides; the user that is to be added or removed is known to everyone.
      const id = ids.find((each) => each.name !== 'userId');
      if (!input || !id) return;
      const targets = [nobodys, ...hidden];
      const query = `mutation (${targets.map((_, index) => `$i${index}: ${input.name}!`)}) {
        ${targets.map((_, index) => `m${index}: ${name}(input: $i${index}) { __typename }`).join(' ')} }`;
      const asked = targets.map((target, index) => [
        `i${index}`,
        Object.fromEntries(
          Object.values(input.getFields())
            .filter((field) => String(field.type).endsWith('!') || field === id)
            .map((field) => [field.name, field === id ? target : given(field.name, field.type)]),
        ),
      ]);
      for (const [attacker, token] of attackers) {
        const { data, errors = [] } = await ask(query, Object.fromEntries(asked), token);
        const answers = targets.map((_, index) => {
          const { message, extensions } = errors.find(({ path }) => path?.[0] === `m${index}`) ?? {};
          return JSON.stringify([data?.[`m${index}`], message, extensions]);
        });
        const unknown = answers[0] as string;
        if (!silent.includes(name) && !errors.some(({ path }) => path?.[0] === 'm0'))
          wrong.push({ name, attacker, why: 'an id of nothing is no error' });
        if (!data) wrong.push({ name, attacker, errors });
        if (unknown.includes('has invalid value')) wrong.push({ name, why: 'values of other types' });
        count += 1;
        if (token === root.token && operators.includes(name)) continue;
        answers.forEach((known, index) => {
          if (known !== unknown) wrong.push({ name, attacker, target: targets[index], known, unknown });
        });
      }
    };
    let count = 0;
    const waiting = fields.values();
    const next = async () => {
      for (const field of waiting) await tried(field);
    };
    await Promise.all([next(), next(), next()]);
    t.strictSame(wrong, []);
    t.ok(count > 100, `${count} mutations by their attackers`);
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
  // Whether she has any right to a table is told by its name alone, before any row of it is read.
  const hello: Probe['given'] = { query: { type: 'String!', value: 'hello' } };
  const bare: Probe[] = connections.map(({ name, args }) => ({
    name,
    given: args.some((each) => each.name === 'query') ? hello : {},
    body: '{ totalCount }',
  }));
  const rights = await answersTo(ask, bare, mallory.token);
  const open = connections.filter((_, index) => !rights[index]?.includes('FORBIDDEN'));
  const values: Record<string, unknown[]> = { UUID: [vault, hidden[3], alice.id], String: [phone, secret] };
  const probes = filterProbes(schema, open, (scalar) => values[scalar] ?? []);
  t.ok(probes.length > 1000, `${probes.length} ways to ask`);
  const few = probes.filter((_, index) => index % 7 === 0);
  const [before, known] = [await answersTo(ask, probes, mallory.token), await answersTo(ask, few, alice.token)];
  t.ok(
    before.filter((answer) => answer.includes('"errors"') && !answer.includes('FORBIDDEN')).length < probes.length / 10,
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
  t.notSame(await answersTo(ask, few, alice.token), known, 'what alice is told has changed');
  const after = await answersTo(ask, probes, mallory.token);
  t.strictSame(
    probes.filter((_, index) => after[index] !== before[index]).slice(0, 3),
    [],
    'each is answered as before',
  );
});
