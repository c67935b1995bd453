import { randomBytes } from 'node:crypto';
import {
  buildClientSchema,
  type GraphQLEnumType,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputObjectType,
  type GraphQLObjectType,
  getIntrospectionQuery,
  getNamedType,
  isLeafType,
  isNonNullType,
} from 'graphql';
import t from 'tap';
import { openOffice } from '../organizations/acts.ts';
import { openWorld } from '../world.ts';
import { hugeValues, meantValue, unfitValues, unmeantValues } from './hostile-values.ts';
import { openThings } from './things.ts';

// Every mutation of the schema with missing, wrong, huge, hostile and concurrent input: it does what it may, or it is refused with a
// code and has changed nothing. The mutations are read from the schema, so that what is granted tomorrow is tried tomorrow.

t.setTimeout(550_000);
const world = await openWorld(t, {
  env: {
    MAX_ALIASES: '1000',
    MAX_TOKENS: '100000',
    MAX_QUERY_BYTES: '1000000',
    MAX_BODY_BYTES: '16000000',
    LOG_LEVEL: 'error',
    CREDENTIALS_KEY: randomBytes(32).toString('base64url'),
  },
});
const { ask, person, owner, logged } = world;
const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);

type Field = GraphQLField<unknown, unknown>;
type Input = Record<string, unknown>;
type Call = { field: Field; input: Input };
type Failed = { code?: string | undefined; message: string };
/** What each call failed with, none where it did not; all that failed; and what was answered. */
type Outcome = { failed: (Failed | undefined)[]; failures: Failed[]; data: Input | undefined };

/** What takes away what others are tried on comes last, each alone. */
const ending =
  /^(delete|remove|close|archive|leave|revoke|transfer|handOver|logOut|mergeAccounts|impersonate|setAccountStatus|beginMaintenance|endMaintenance)/;
const all = Object.values((schema.getMutationType() as GraphQLObjectType).getFields());
const fields = [...all.filter(({ name }) => !ending.test(name)), ...all.filter(({ name }) => ending.test(name))];

const inputOf = ({ args }: Field) => args[0] && (getNamedType(args[0].type) as GraphQLInputObjectType);
const argumentsOf = (field: Field): GraphQLInputField[] => Object.values(inputOf(field)?.getFields() ?? {});

/** Scalars of what a mutation returns; nothing that leads on, which queries are tried for. */
function answerOf({ type }: Field): string {
  const inner = Object.values((getNamedType(type) as GraphQLObjectType).getFields()).map((field) => {
    if (isLeafType(getNamedType(field.type))) return field.name;
    const { id } = (getNamedType(field.type) as GraphQLObjectType).getFields();
    return `${field.name} { __typename ${id ? 'id' : ''} }`;
  });
  return `{ ${inner.join(' ')} }`;
}

/** Runs calls in one request, one after another, each a transaction of its own. */
async function run(calls: Call[], token: string | undefined): Promise<Outcome> {
  const declared = calls.flatMap(({ field }, index) => (inputOf(field) ? [`$i${index}: ${field.args[0]?.type}`] : []));
  const list = calls.map(
    ({ field }, index) => `m${index}: ${field.name}${inputOf(field) ? `(input: $i${index})` : ''} ${answerOf(field)}`,
  );
  const query = `mutation ${declared.length > 0 ? `(${declared.join(', ')})` : ''} { ${list.join(' ')} }`;
  const variables = Object.fromEntries(calls.map(({ input }, index) => [`i${index}`, input]));
  const { data, errors = [] } = await ask(query, variables, token);
  const failed = calls.map((_, index): Failed | undefined => {
    const error = data ? errors.find(({ path }) => path?.[0] === `m${index}`) : errors[0];
    return error && { code: error.extensions?.code, message: error.message };
  });
  const failures = errors.map(({ message, extensions }) => ({ message, code: extensions?.code }));
  return { failed, failures, data };
}

const { rows: documented } = await owner.query('select distinct code from public.error_codes');
const codes = new Set(['BAD_REQUEST', ...documented.map(({ code }) => code)]);

/** A failure that tells what nobody foresaw, or the words of Postgres. */
const isForeseen = ({ code, message }: Failed) =>
  codes.has(code) &&
  !/pg_|relation "|column "|syntax error|violates|null value in|byte sequence|\.ts:|\bat \w+ \(/.test(message);

// Not of what is refused: how often was asked is counted whatever the answer, in tables of their own; and servers note by
// themselves who has gone and how they do.
const notOurs = [
  ...['access.rate_counts', 'identity.attempts'],
  ...['presence.devices', 'presence.sessions', 'presence.days', 'stats.system_metrics'],
];

/** What every table of the application holds, as a count and a sum of hashes. */
async function picture(): Promise<Record<string, string>> {
  const { rows: tables } = await owner.query(
    `select format('%I.%I', nspname, relname) as name from pg_class join pg_namespace on pg_namespace.oid = relnamespace
     where relkind in ('r', 'p') and not relispartition and nspname !~ '^(pg_|information_schema)'`,
  );
  const list = tables
    .map(({ name }) => name as string)
    .filter((name) => !notOurs.includes(name))
    .map(
      (name) =>
        `select '${name}' as name, concat(count(*), ' ', sum(hashtext(x::text)::bigint)) as held from ${name} as x`,
    );
  const { rows } = await owner.query(list.join(' union all '));
  return Object.fromEntries(rows.map(({ name, held }) => [name, held]));
}

async function changed(calls: Call[][], token: string | undefined): Promise<string[]> {
  const before = await picture();
  for (const group of calls) await run(group, token);
  const after = await picture();
  return Object.keys(after).filter((name) => after[name] !== before[name]);
}

/** Runs what failed once more; leaves out what does not fail now, for time or another call has made it possible. */
async function unchanged(calls: Call[][], token: string | undefined): Promise<string[]> {
  let failing = calls;
  for (let round = 0; ; round += 1) {
    const before = await picture();
    const again: Call[][] = [];
    let succeeded = 0;
    for (const group of failing) {
      const { failed } = await run(group, token);
      again.push(group.filter((_, index) => failed[index]));
      succeeded += failed.filter((each) => !each).length;
    }
    if (succeeded > 0 && round < 5) {
      failing = again.filter(({ length }) => length > 0);
      continue;
    }
    const after = await picture();
    if (Object.keys(after).every((name) => after[name] === before[name])) return [];
    // Which of them it was.
    const guilty: string[] = [];
    for (const group of failing) {
      const tables = await changed([group], token);
      if (tables.length > 0) guilty.push(`${group[0]?.field.name}: ${tables.join()}`);
    }
    return guilty;
  }
}

// Alice has one of everything that a mutation can name; mallory has nothing; the bot is alice's.
const [alice, bob, mallory] = [await person('alice'), await person('bob'), await person('mallory')];
const operator = await person('operator', { operator: true });
const service = await world.service();
const { done } = openOffice(world);
const makeThings = await openThings(world, { alice, bob, operator });
let things = await makeThings();
const { botId } = things.named;
const scopes = (schema.getType('BotScope') as GraphQLEnumType).getValues().map(({ name }) => name);
const { botToken } = await done(alice, 'createBotToken', { botId, name: 'all', scopes }, 'botToken { token }');
const opening =
  'mutation ($token: String!) { openBotSession(input: { token: $token }) { sessionTokens { accessToken } } }';
const bot = (await ask(opening, botToken)).data.openBotSession.sessionTokens.accessToken as string;

await done(alice, 'addMember', { channelId: things.named.channelId, userId: botId });

/** What has to be given, as it is meant: a thing where the argument names one. */
function meantInput(field: Field): Input {
  const own = things.of[field.name] ?? {};
  const given = argumentsOf(field).filter(({ name, type }) => isNonNullType(type) || name in own);
  return Object.fromEntries(given.map(({ name, type }) => [name, own[name] ?? things.named[name] ?? meantValue(type)]));
}

type Values = (type: GraphQLInputField['type']) => unknown[];

/** A mutation as it is meant, and with each of its arguments as it is not. */
function callsOf(field: Field, values: Values): Call[] {
  const meant = meantInput(field);
  const calls = argumentsOf(field).flatMap(({ name, type }) =>
    values(type).map((value) => ({ ...meant, [name]: value })),
  );
  return [meant, ...calls].map((input) => ({ field, input }));
}

// Only a multipart request has an Upload.
const sendable = fields.filter((field) => argumentsOf(field).every(({ type }) => !String(type).startsWith('Upload')));
/** Some ids of things, each of which is given for any id. */
const there = (): string[] => {
  const { channelId, organizationId, botId, messageId, fileId, runId, integrationId } = things.named;
  return [channelId, organizationId, botId, messageId, fileId, runId, integrationId, alice.id, bob.id] as string[];
};

type Caller = {
  name: string;
  token: string | undefined;
  values: (field: Field) => Values;
  has: (field: Field) => boolean;
};
// A session of its own is not ended by what the caller does to itself.
const lasting = ({ name }: Field) =>
  !/^(logOut|removeAccount|revokeSessions|setAccountStatus|mergeAccounts)$/.test(name);
const few: Values = (type) => unmeantValues(type, []).slice(0, 2);
const many: Values = (type) => unmeantValues(type, there());
/** Mutations that members may ask for. */
const ofMembers = new Set<string>();
const callers: Caller[] = [
  { name: 'anonymous', token: undefined, values: () => few, has: () => true },
  { name: 'a member without a part in it', token: mallory.token, values: () => few, has: lasting },
  { name: 'a bot', token: bot, values: () => (type) => few(type).slice(0, 1), has: lasting },
  { name: 'a service', token: service, values: () => few, has: () => true },
  { name: 'a member', token: alice.token, values: () => many, has: lasting },
  {
    name: 'an operator',
    token: operator.token,
    values: ({ name }) => (ofMembers.has(name) ? few : many),
    has: lasting,
  },
];

/** Mutations that nobody has met with anything but NOT_FOUND, though what they name is there. */
const notFound = new Set(sendable.filter(lasting).map(({ name }) => name));
const mayNot = (failed: Failed | undefined) => failed?.message === 'The caller may not do this.';

for (const { name, token, values, has } of callers) {
  t.test(
    `every mutation by ${name}, with what is hostile, does it or is refused with a code and changes nothing`,
    async (t) => {
      const wrong: unknown[] = [];
      const failing: Call[][] = [];
      let succeeded = 0;
      const tried = async (field: Field): Promise<void> => {
        // Who has no right to a function is told so before any argument is read: once is enough.
        const [meant] = (await run([{ field, input: meantInput(field) }], token)).failed;
        const calls = callsOf(field, mayNot(meant) ? () => [] : values(field));
        if (token === alice.token && !mayNot(meant)) ofMembers.add(field.name);
        if (meant?.code !== 'NOT_FOUND' && !mayNot(meant)) notFound.delete(field.name);
        const { failed, data } = await run(calls, token);
        // Each value is of its type: a request that is refused whole would try none of them.
        if (!data) wrong.push({ name: field.name, ...failed[0] });
        failed.forEach((each, index) => {
          if (each && !isForeseen(each)) wrong.push({ ...each, name: field.name, input: preview(calls[index]) });
        });
        succeeded += failed.filter((each) => !each).length;
        failing.push(calls.filter((_, index) => failed[index]));
      };
      const asked = sendable.filter(has);
      const waiting = asked.filter((field) => !ending.test(field.name)).values();
      const next = async (): Promise<void> => {
        for (const field of waiting) await tried(field);
      };
      await Promise.all([next(), next(), next()]);
      for (const field of asked.filter((each) => ending.test(each.name))) await tried(field);
      t.strictSame(wrong, [], 'each failure has a code, and says nothing of the inside');
      t.strictSame(await unchanged(failing, token), [], 'nothing changed where it failed');
      t.ok(failing.flat().length > 100, `${failing.flat().length} were refused, ${succeeded} done`);
      t.match(await ask('{ __typename }'), { data: { __typename: 'Query' } }, 'the server answers');
      t.strictSame(logged, [], 'nothing that nobody foresaw stands in the log');
      // They have used up what there was.
      if (token === alice.token || token === operator.token) things = await makeThings();
    },
  );
}

t.test('what is tried is there: no mutation but met something else than NOT_FOUND', async (t) => {
  t.strictSame([...notFound].sort(), []);
});

function preview(call: Call | undefined): string {
  return JSON.stringify(call?.input).slice(0, 300);
}

t.test('what is missing, null or of another type is refused before anything is done', async (t) => {
  const before = await picture();
  let count = 0;
  for (const field of fields) {
    const meant = meantInput(field);
    const calls = argumentsOf(field).flatMap(({ name, type }) =>
      unfitValues(type).map((value) => ({ field, input: { ...meant, [name]: value } })),
    );
    if (calls.length === 0) continue;
    // Every variable that does not fit is told of, up to fifty of them.
    for (let from = 0; from < calls.length; from += 40) {
      const some = calls.slice(from, from + 40);
      const { failures } = await run(some, alice.token);
      const named = some.filter((_, index) => !failures.some(({ message }) => message.includes(`"$i${index}"`)));
      t.strictSame(named.map(preview), [], `${field.name}: each of its values is refused`);
      t.ok(failures.every(({ code }) => code === 'BAD_USER_INPUT'));
      count += some.length;
    }
  }
  t.ok(count > 1000, `${count} values`);
  t.strictSame(await picture(), before);
});

/** As whom a mutation is tried that not all may: as the first who may. */
const inTurn = [alice.token, operator.token, service];

t.test('what is huge is refused, or kept whole', async (t) => {
  const wrong: unknown[] = [];
  const failing = new Map<string, Call[][]>(inTurn.map((token) => [token, []]));
  const waiting = sendable.filter(lasting).values();
  const tried = async (field: Field, calls: Call[], [token, ...others]: string[]): Promise<void> => {
    if (!token) return;
    const { failed } = await run(calls, token);
    if (failed.every(mayNot)) return tried(field, calls, others);
    failed.forEach((each, index) => {
      if (each && !isForeseen(each)) wrong.push({ ...each, name: field.name, input: preview(calls[index]) });
    });
    // What nobody took at a tenth of the size is tried again for what it changed.
    const [, ...lesser] = callsOf(field, (type) => hugeValues(type, 100_000));
    failing.get(token)?.push(lesser.filter((_, index) => failed[index]));
  };
  const next = async (): Promise<void> => {
    for (const field of waiting) {
      const [, ...calls] = callsOf(field, (type) => hugeValues(type, 1_000_000));
      if (calls.length > 0) await tried(field, calls, inTurn);
    }
  };
  await Promise.all([next(), next()]);
  t.strictSame(wrong, []);
  for (const [token, calls] of failing) t.strictSame(await unchanged(calls, token), []);
  const refused = [...failing.values()].map((calls) => calls.flat().length);
  t.ok((refused[0] ?? 0) > 50 && (refused[1] ?? 0) > 10, `${refused} were refused`);
  t.strictSame(logged, []);
});

t.test('the same call eight times at once meets no deadlock, and is done once where it has a nonce', async (t) => {
  things = await makeThings();
  const wrong: unknown[] = [];
  const tried = new Map<string, number>(inTurn.map((token) => [token, 0]));
  for (const field of sendable.filter(lasting)) {
    const input = meantInput(field);
    const hasNonce = argumentsOf(field).some(({ name }) => name === 'nonce');
    const call = { field, input: hasNonce ? { ...input, nonce: 'eight-at-once' } : input };
    for (const token of inTurn) {
      const answers = await Promise.all(Array.from({ length: 8 }, () => run([call], token)));
      if (answers.every(({ failed }) => mayNot(failed[0]))) continue;
      tried.set(token, (tried.get(token) ?? 0) + 1);
      for (const { failed } of answers) {
        const [one] = failed;
        if (one && (!isForeseen(one) || one.code === 'RETRY' || one.code === 'TIMEOUT'))
          wrong.push({ name: field.name, ...one });
      }
      const done = new Set(answers.filter(({ failed }) => !failed[0]).map(({ data }) => JSON.stringify(data)));
      if (hasNonce && done.size > 1) wrong.push({ name: field.name, done: [...done] });
      break;
    }
  }
  t.strictSame(wrong, []);
  t.ok(
    [...tried.values()].every((count) => count > 5),
    `${[...tried.values()]} as a member, an operator, a service`,
  );
  t.strictSame(logged, []);
});
