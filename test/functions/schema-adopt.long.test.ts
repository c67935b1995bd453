import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { bringUpToDate } from '../../functions/apply.ts';
import { makeLog } from '../../functions/log.ts';
import { Refusal } from '../../functions/refusal.ts';
import { adoptSchema } from '../../functions/schema-adopt.ts';
import { installEngines } from '../../workers/workers.ts';
import { query } from '../scratch-database.ts';
import { schemaFile as house } from '../world.ts';
import { edited, openLibraries } from './libraries.ts';

const { scratch, schemaFile, withLibrary } = await openLibraries(t);

const bring = (databaseUrl: string, file = schemaFile, development = true) =>
  bringUpToDate({ databaseUrl, schemaFile: file, development, report: () => {} });

async function adopt(databaseUrl: string): Promise<string> {
  return adoptSchema({ databaseUrl, schemaFile }).catch((error) => {
    if (error instanceof Refusal) return error.message;
    throw error;
  });
}

/** A database with the library, and then a file that has more. */
async function withNewFile(...replacements: [from: string, to: string][]): Promise<string> {
  const url = await withLibrary();
  await query(url, "insert into library.books (title, shelf) values ('Atlas', 'maps')");
  writeFileSync(schemaFile, edited(...replacements));
  return url;
}

const column: [string, string] = ['floor integer not null', "floor integer not null,\n  room text default 'A'"];
const value: [string, string] = ["'in', 'out'", "'in', 'out', 'lost'"];
const asOwner = 'set role library_owner;';

t.test('what the engines of jobs have made for themselves is not in the way', async (t) => {
  const url = await scratch.create();
  await bring(url, house);
  await installEngines(url, makeLog({ logLevel: 'silent', logFormat: 'json' }));
  writeFileSync(schemaFile, `${readFileSync(house, 'utf8')}comment on table chat.channels is 'A place.';\n`);
  t.match(await adopt(url), /schema\.sql says; noted/);
});

t.test('what was done by hand is found to agree, and noted: the next start goes on, with the data', async (t) => {
  const url = await withNewFile(column, value);
  await t.rejects(bring(url), { message: /table library\.shelves {2}changed/ });
  await query(
    url,
    `${asOwner} alter table library.shelves add room text default 'A'; alter type library.state add value 'lost'`,
  );
  t.match(await adopt(url), /is as .*schema\.sql says; noted/);
  await bring(url, schemaFile, false);
  t.strictSame(await query(url, 'select title from library.books'), [{ title: 'Atlas' }]);
  t.match(await adopt(url), /is the one that the database was given/);
});

t.test('what a live database takes by itself comes along', async (t) => {
  const url = await withNewFile(
    column,
    ["title ilike '%'", "title like '%'"],
    ['(id, title, shelf, state)', '(id, title)'],
  );
  await query(url, `${asOwner} alter table library.shelves add room text default 'A'`);
  t.match(await adopt(url), /noted/);
  const [{ def }] = await query(url, "select pg_get_functiondef('library.find_books'::regproc) as def");
  t.match(def, "title like '%'");
});

t.test('what is new need not be done by hand, and where it was, it is compared', async (t) => {
  const more: [string, string] = [
    '-- The books of a shelf.',
    `create schema archive;
    create type archive.reason as enum ('old', 'lost');
    create table archive.cards (book bigint primary key references library.books (id), reason archive.reason not null);
    create index cards_reason_idx on archive.cards (reason);
    create view archive.lost with (security_invoker) as select book from archive.cards where reason = 'lost';
    -- The books of a shelf.`,
  ];
  const url = await withNewFile(column, more);
  await query(url, `${asOwner} alter table library.shelves add room text default 'A'`);
  t.match(await adopt(url), /noted/);
  t.strictSame(await query(url, 'select * from archive.lost'), []);

  const half = await withNewFile(column, more);
  await query(
    half,
    `${asOwner} alter table library.shelves add room text default 'A'; create schema archive;
     create type archive.reason as enum ('old', 'lost'); create table archive.cards (book bigint primary key)`,
  );
  const said = await adopt(half);
  t.match(said, /cards.*reason[\s\S]*So nothing new was taken/);
  t.match(said, /column archive\.cards\.reason: only in/);
});

t.test('what differs is named object by object, and nothing is noted', async (t) => {
  const url = await withNewFile(
    column,
    ["'in', 'out'", "'out', 'in'"],
    ['-- The books of a shelf.', 'create index books_title_idx on library.books (title);'],
  );
  await query(
    url,
    `${asOwner} alter table library.shelves add room varchar default 'A'; create table library.extra (id integer);
     alter table library.books disable row level security; alter table library.books drop constraint title_has_1_to_200_characters`,
  );
  const said = await adopt(url);
  t.match(
    said,
    /column library\.shelves\.room:\n {4}in the database {2}character varying default 'A'::character varying\n {4}in .* {2}text default 'A'::text/,
  );
  t.match(said, /type library\.state:\n {4}in the database .*'in', 'out'\n {4}in .*'out', 'in'/);
  t.match(said, /constraint title_has_1_to_200_characters on library\.books: only in .*schema\.sql/);
  t.match(
    said,
    /table library\.books:\n {4}in the database {2}r library_owner\n {4}in .* r library_owner row level security/,
  );
  t.match(said, / table library\.extra: only in the database/);
  await t.rejects(bring(url), { message: /changed/ });
});

t.test('partitions that upkeep has made, extensions and the record itself are no differences', async (t) => {
  const url = await scratch.create();
  await bring(url, house);
  await query(
    url,
    "select operations.ensure_partitions(now() - interval '3 months'); set role plinth_owner; alter table chat.channels add topic text",
  );
  const text = readFileSync(house, 'utf8');
  writeFileSync(
    schemaFile,
    text.replace(
      '  external_ref    text              unique,                 -- null: made here; else source and its id, gitter:5592…\n',
      '  topic text,\n$&',
    ),
  );
  t.match(await adopt(url), /noted/);
  t.strictSame(
    await query(url, 'select count(*)::int from chat.my_channels()'),
    [{ count: 0 }],
    'select * knows the new column',
  );
});

t.test('an empty database has nothing to adopt', async (t) => {
  t.match(await adopt(await scratch.create()), /no record of a schema/);
});
