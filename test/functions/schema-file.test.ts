import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parseSchema } from '../../functions/schema-file.ts';

const library = readFileSync(path.join(import.meta.dirname, '..', 'fixtures', 'library.sql'), 'utf8');

async function only(sql: string) {
  const { statements } = await parseSchema(sql, 'schema.sql');
  const [statement] = statements;
  if (!statement || statements.length > 1) throw new Error(`One statement was expected: ${sql}`);
  return statement;
}

t.test('a statement knows what it is about', async (t) => {
  const subjects: [sql: string, kind: string, name: string][] = [
    ['create schema chat', 'schema', 'chat'],
    ['create extension if not exists pg_trgm', 'extension', 'pg_trgm'],
    ['create role member', 'role', 'member'],
    ["alter role member set work_mem = '1MB'", 'role', "alter role member set work_mem = '1MB'"],
    ['grant anonymous to member', 'membership', 'grant anonymous to member'],
    ['create table chat."Rooms" ()', 'table', 'chat."Rooms"'],
    ['create table chat.old partition of chat.messages default', 'table', 'chat.old'],
    ['alter table chat.rooms enable row level security', 'alteration', 'chat.rooms'],
    ['create sequence chat.numbers', 'sequence', 'chat.numbers'],
    ['create view chat.open as select 1 as one', 'view', 'chat.open'],
    ['create materialized view chat.counts as select 1 as one', 'view', 'chat.counts'],
    ['create unique index rooms_key on chat.rooms (name)', 'index', 'rooms_key'],
    ["create type chat.kind as enum ('room')", 'type', 'chat.kind'],
    ['create type chat.pair as (a text)', 'type', 'chat.pair'],
    ['create domain chat.name as text', 'type', 'chat.name'],
    ['alter function chat.f owner to member', 'function owner', 'chat.f'],
    ['alter table chat.rooms owner to member', 'alteration', 'chat.rooms'],
    ['alter schema chat owner to member', 'owner', 'chat'],
    ['alter function chat.f stable', 'function option', 'alter function chat.f stable'],
    ['create trigger first after insert on chat.rooms execute function f()', 'trigger', 'first on chat.rooms'],
    ['create policy mine on chat.rooms using (true)', 'policy', 'mine on chat.rooms'],
    ['grant select on chat.rooms\n  to member', 'grant', 'grant select on chat.rooms'],
    ['revoke all on schema chat from public', 'grant', 'revoke all on schema chat from public'],
    [
      'alter default privileges revoke execute on functions from public',
      'default privileges',
      'alter default privileges revoke execute on functions from public',
    ],
    ["comment on column chat.rooms.name is ''", 'comment', 'on column chat.rooms.name'],
    ["comment on constraint one on chat.rooms is ''", 'comment', 'on constraint chat.rooms.one'],
    ["comment on function chat.f(int, text[]) is ''", 'comment', 'on function chat.f(integer, text[])'],
    ["comment on function chat.f is ''", 'comment', 'on function chat.f'],
    ["comment on domain chat.name is ''", 'comment', 'on domain chat.name'],
    ['insert into chat.rooms default values', 'data', 'chat.rooms'],
    ['select chat.f()', 'data', 'select chat.f()'],
    ['do $$ begin end $$', 'block', 'do $$ begin end $$'],
    ['set local role member', 'setting', 'set local role member'],
    ['drop table chat.rooms', 'other', 'drop table chat.rooms'],
  ];
  for (const [sql, kind, name] of subjects) t.match(await only(sql), { kind, name }, sql);
});

t.test('a function goes by the types of what is passed to it', async (t) => {
  const signatures: [rest: string, name: string][] = [
    ['() returns void', 'f()'],
    ['(a int, b chat.rooms, c text[]) returns int', 'f(integer, chat.rooms, text[])'],
    ['(a varchar(3), inout b boolean, variadic c double precision[])', 'f(varchar, boolean, double precision[])'],
    ['(a chat.rooms.name%type, out b text)', 'f(chat.rooms.name%type)'],
    ['(a timestamptz) returns table (b text)', 'f(timestamptz)'],
    ['("Of" "Type") returns int', 'f("Type")'],
  ];
  for (const [rest, name] of signatures) {
    t.match(await only(`create function f${rest} language sql as ''`), { kind: 'function', name }, rest);
  }
  t.match(await only("create procedure p(a int, out b text) language sql as ''"), { name: 'p(integer, text)' });
});

t.test('text and line are those of the file, whatever letters and comments stand before', async (t) => {
  const sql = `-- ключ 😀\ncreate schema a; /* é\n*/ comment on schema a is\n  'Ключ 😀; nothing';\n\n\n  create schema b -- end\n`;
  const { statements } = await parseSchema(sql, 'schema.sql');
  t.match(statements, [
    { text: 'create schema a', line: 2 },
    { text: "comment on schema a is\n  'Ключ 😀; nothing'", line: 3 },
    { line: 7, name: 'b' },
  ]);
  const lines = library.split('\n');
  const parsed = await parseSchema(library, 'library.sql');
  t.ok(parsed.statements.length > 40);
  for (const { text, line } of parsed.statements)
    t.ok(lines[line - 1]?.includes(text.split('\n')[0] ?? ''), `line ${line}`);
});

t.test('space, comments, case and the spelling of a type do not count, everything else does', async (t) => {
  const meaning = async (sql: string) => (await only(sql)).meaning;
  const table = await meaning(
    "create table a.b (c integer default 1, d text[] check (d = any ('{}')), e int[] default array[1])",
  );
  t.equal(
    await meaning(
      "CREATE TABLE a.b (\n  C int DEFAULT 1, -- one\n  d text[] check (d=any('{}')),\n e int[] default array[ 1 ])",
    ),
    table,
  );
  t.not(
    await meaning("create table a.b (c integer default 2, d text[] check (d = any ('{}')), e int[] default array[1])"),
    table,
  );
  t.not(await meaning("comment on table a.b is 'x'"), await meaning("comment on table a.b is 'X'"));
  const body = (text: string) => meaning(`create function f() returns int language sql as '${text}'`);
  t.not(await body('select 1'), await body('select  1'), 'a body is a string');
  const standard = (text: string) => meaning(`create function f() returns int language sql return ${text}`);
  t.equal(await standard('1 + 2'), await standard('1+2'));
  t.not(await standard('1 + 2'), await standard('1 + 3'));
});

t.test('a syntax error is told with its line', async (t) => {
  await t.rejects(parseSchema('-- 😀😀😀\ncreate schema a;\n\ncreate tabel b;\n', 'schema.sql'), {
    name: 'Refusal',
    message: /^schema\.sql:4: syntax error at or near "tabel"\n\n {2}create tabel b;/,
  });
  await t.rejects(parseSchema("select '", 'schema.sql'), { message: /^schema\.sql:1: unterminated quoted string/ });
});

t.test('a transaction inside of the file is refused', async (t) => {
  await t.rejects(parseSchema('create schema a;\nbegin;\ncommit;', 'schema.sql'), {
    message: /^schema\.sql:2: "begin"/,
  });
});

t.test('a file may be empty or have comments only', async (t) => {
  t.strictSame((await parseSchema('', 'schema.sql')).statements, []);
  t.strictSame((await parseSchema('-- nothing\n', 'schema.sql')).statements, []);
});
