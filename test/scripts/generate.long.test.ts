import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import t, { type Test } from 'tap';
import { type Callers, onClient, openCallers, type Runner } from '../../functions/callers.ts';
import * as chat from '../../functions/generated/chat.ts';
import { requestCode, verifyCode } from '../../functions/generated/identity.ts';
import { ensurePartitions } from '../../functions/generated/operations.ts';
import { breakingChanges } from '../../scripts/generate/breaking.ts';
import { launch, temporaryFolder } from '../running-plinth.ts';
import { openScratch } from '../scratch-database.ts';
import { openWorld, type Person } from '../world.ts';

const repository = path.join(import.meta.dirname, '..', '..');
const scratch = await openScratch();
t.teardown(() => scratch.close());
const DATABASE_URL = await scratch.create();

/** A copy of what the generator reads and writes, with a schema.sql of its own. */
function copyOf(t: Test, change: (schema: string) => string): string {
  const copy = temporaryFolder(t);
  for (const name of ['functions', 'graphql', 'scripts', 'package.json'])
    cpSync(path.join(repository, name), path.join(copy, name), {
      recursive: true,
      filter: (source) => !source.includes('node_modules'),
    });
  symlinkSync(path.join(repository, 'node_modules'), path.join(copy, 'node_modules'));
  writeFileSync(path.join(copy, 'schema.sql'), change(readFileSync(path.join(repository, 'schema.sql'), 'utf8')));
  return copy;
}

const generate = (folder: string, ...args: string[]) =>
  launch('generate', args, { DATABASE_URL }, undefined, path.join(folder, 'scripts')).ended;

t.test('what is checked in follows schema.sql', async (t) => {
  t.match(await generate(repository, '--check'), {
    status: 0,
    stderr: '',
    stdout: /Everything generated follows schema\.sql/,
  });
});

t.test('a schema that lost something is told by file and by what breaks clients, until it is generated', async (t) => {
  const granted = ', chat.unread_total to member;';
  const copy = copyOf(t, (schema) => {
    t.match(schema, granted);
    return schema.replace(granted, ' to member;');
  });
  const before = readFileSync(path.join(copy, 'graphql/schema.graphql'), 'utf8');
  const { status, stderr } = await generate(copy, '--check');
  t.equal(status, 1);
  t.match(stderr, /graphql\/schema\.graphql differs/);
  t.match(stderr, /functions\/generated\/chat\.ts differs/);
  t.notMatch(stderr, /identity\.ts/);
  t.match(stderr, /breaks clients: .*unreadTotal.*removed/);
  t.match(stderr, /npm run generate$/m);
  t.equal(readFileSync(path.join(copy, 'graphql/schema.graphql'), 'utf8'), before, 'nothing was written');

  t.match(await generate(copy), {
    status: 0,
    stdout: /wrote graphql\/schema\.graphql\nwrote functions\/generated\/chat\.ts\n.*matter/,
  });
  t.match(await generate(copy, '--check'), { status: 0 });
  t.match(await generate(copy), { status: 0, stdout: /Nothing has changed/ });
});

t.test('only what clients would miss is called breaking', async (t) => {
  const before = 'type Query { a: Int b(x: Int): String }';
  t.strictSame(await breakingChanges(before, 'type Query { a: Int b(x: Int, y: Int): String c: Int }'), []);
  t.match(await breakingChanges(before, 'type Query { a: String b(x: Int!): String }'), [/Query\.a/, /x/]);
  t.strictSame(await breakingChanges(undefined, before), []);
});

const section = `
create schema samples;
grant usage on schema samples to member, service;
create type samples.mood as enum ('good', 'bad');
create domain samples.score as integer not null check (value >= 0);
create table samples.things (
  part integer not null,
  number bigint not null,
  price numeric,
  mood samples.mood not null default 'good',
  tags text[],
  sizes bigint[],
  body bytea,
  facts jsonb,
  born date,
  hidden text,
  primary key (part, number)
);
comment on table samples.things is 'A thing.';
comment on column samples.things.hidden is '@hide';
comment on column samples.things.part is '@name piece';
grant select on samples.things to service;
create function samples.put_thing(thing_part integer, number bigint, price numeric default 1.5, mood samples.mood default 'bad',
  tags text[] default null, sizes bigint[] default null, body bytea default null, facts jsonb default null, born date default null)
returns samples.things language sql as $$
  insert into samples.things values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'secret') returning *;
$$;
comment on function samples.put_thing is E'Keeps a thing.\\nTwo lines.\\n\\n@notNull';
create function samples.weight(thing samples.things) returns numeric language sql stable
return thing.price * thing.number;
create function samples.pairs() returns table (left_side bigint, right_side samples.mood) language sql stable rows 10 as $$
  values (9007199254740993, 'good'::samples.mood), (null, null), (2, 'bad');
$$;
create function samples.claim() returns samples.score language sql volatile return 7;
comment on function samples.claim is '@hide';
create function samples.tell_member() returns text language sql stable return 'member';
comment on function samples.tell_member is '@hide';
create function samples.as_they_are(facts jsonb[]) returns jsonb[] language sql stable return facts;
create function samples.echo("user" text default 'nobody') returns text language sql stable return "user";
revoke execute on all functions in schema samples from public;
grant execute on all functions in schema samples to service;
revoke execute on function samples.tell_member from service;
grant execute on function samples.tell_member to member;
`;

t.test('a section of schema.sql gets typed callers that carry every kind of value', async (t) => {
  const copy = copyOf(t, (schema) => schema + section);
  t.match(await generate(copy), { status: 0, stdout: /wrote functions\/generated\/samples\.ts/ });
  const file = path.join(copy, 'functions/generated/samples.ts');
  const source = readFileSync(file, 'utf8');
  t.match(source, '/**\n * Keeps a thing.\n * Two lines.\n */\nexport const putThing');
  t.notMatch(source, /tellMember/, 'hidden from the API and not for service');
  const samples = await import(file);

  const client = new pg.Client({ connectionString: await scratch.create() });
  await client.connect();
  t.teardown(() => client.end());
  await client.query(section.replace(/^(grant|revoke) .*;$/gm, ''));
  const owner: Runner = onClient(client);
  const big = '9007199254740993';
  const given = {
    thingPart: 1,
    number: big,
    price: '0.10000000000000000001',
    mood: 'good',
    tags: ['a "quoted" one', 'b,c', '\\'],
    sizes: [big],
    body: Buffer.from([0, 255, 10]).toString('base64'),
    facts: 'just text',
    born: '2024-02-29',
  };
  const { thingPart, ...rest } = given;
  t.strictSame(await samples.putThing(owner, given), { piece: 1, ...rest });
  t.match(
    await samples.putThing(owner, { thingPart: 2, number: '1' }),
    { price: '1.5', mood: 'bad', tags: null },
    'defaults',
  );
  t.match(
    await samples.putThing(owner, { thingPart: 3, number: '1', price: null }),
    { price: null },
    'null is not left out',
  );
  t.equal(await samples.weight(owner, { thing: { piece: 2, number: '1' } }), '1.5', 'a row is given by its key');
  t.strictSame(await samples.pairs(owner), [
    { leftSide: big, rightSide: 'good' },
    { leftSide: '2', rightSide: 'bad' },
  ]);
  t.equal(await samples.claim(owner), 7);
  t.strictSame(await samples.asTheyAre(owner, { facts: [{ a: [1] }, 'text', null] }), [{ a: [1] }, 'text', null]);
  t.equal(await samples.echo(owner), 'nobody');
  t.equal(await samples.echo(owner, { user: 'you' }), 'you', 'reserved words are names like others');
  t.rejects(samples.putThing(owner, { thingPart: 1.5, number: '1' }), { name: 'ZodError' });
  t.rejects(samples.putThing(owner, { thingPart: 9, number: '1', mood: 'so-so' }), { name: 'ZodError' });
  t.rejects(samples.putThing(owner, { thingPart: 9, number: '1', colour: 'red' }), { name: 'ZodError' });
});

t.test('a type that no caller can carry, and two of one name, stop the generator', async (t) => {
  const refused = async (sql: string) => (await generate(copyOf(t, (schema) => `${schema}${section}${sql}`))).stderr;
  t.match(
    await refused(
      'create function samples.at(place point) returns text language sql return 1; grant execute on function samples.at to service;',
    ),
    /argument place of function samples\.at/,
  );
  const namesake = 'create function samples.echo(number integer) returns integer language sql return number;';
  t.match(
    await refused(`${namesake} grant execute on function samples.echo(integer) to service;`),
    /Two functions of the section samples would be called echo\.\nGive one of them another name/,
  );
});

t.test('callers run with the rights of who calls, and tell what was refused by its SQLSTATE', async (t) => {
  const { databaseUrl, person, owner } = await openWorld(t);
  const callers = await openCallers(databaseUrl, { serverDatabaseUrl: undefined });
  t.teardown(() => callers.close());
  const [alice, bob] = [await person('alice'), await person('bob')];
  const [asAlice, asBob] = [await as(callers, alice, owner), await as(callers, bob, owner)];
  const anyone = callers.as({ role: 'anonymous', claims: {} });

  const room = await chat.createRoom(asAlice, { name: 'A room' });
  const channelId = room?.id ?? '';
  const message = await chat.sendMessage(asAlice, { channelId, text: 'Hello', nonce: 'one' });
  t.match(message, { text: 'Hello', seq: '1', senderId: alice.id, kind: 'text', metadata: {}, replyToId: null });
  t.strictSame(await chat.sendMessage(asAlice, { channelId, text: 'Hello', nonce: 'one' }), message);
  t.match(await chat.myChannels(asAlice), [{ id: channelId, lastSeq: '1' }]);
  t.match(await chat.lastMessage(asAlice, { channel: { id: channelId } }), { text: 'Hello' });
  t.equal(await chat.lastMessage(asBob, { channel: { id: channelId } }), null, 'row level security holds');
  await t.rejects(chat.sendMessage(asBob, { channelId, text: 'Let me in' }), { code: 'PT404' });
  await t.rejects(chat.createRoom(anyone, { name: 'No' }), { code: '42501' });
  await t.rejects(chat.sendMessage(asAlice, { channelId: 'not an id', text: 'x' }), { name: 'ZodError' });
  t.equal(await chat.leaveChannel(asAlice, { channelId }), undefined, 'nothing is returned where nothing is');

  const phone = '+12025550199';
  const { id } = await requestCode(anyone, { phone, displayName: 'Someone' });
  await t.rejects(verifyCode(anyone, { requestId: id ?? '', code: 'wrong!' }), {
    code: 'PT401',
    message: /wrong, spent or expired/,
  });
  const { rows } = await owner.query('select tries from identity.codes where recipient = $1', [phone]);
  t.strictSame(rows, [{ tries: 1 }], 'a refusal keeps what it counted');

  const client = await owner.connect();
  t.equal(await ensurePartitions(onClient(client)), 0);
  client.release();
});

async function as(callers: Callers, { id }: Person, owner: pg.Pool): Promise<Runner> {
  const { rows } = await owner.query('select id from identity.sessions where user_id = $1', [id]);
  return callers.as({ role: 'member', claims: { sub: id, sid: rows[0].id } });
}
