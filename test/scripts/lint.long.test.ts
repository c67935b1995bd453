import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { lintSchema as lintOn } from '../../scripts/lint/schema.ts';
import { openScratch } from '../scratch-database.ts';

const library = readFileSync(path.join(import.meta.dirname, '..', 'fixtures', 'library.sql'), 'utf8');

const scratch = await openScratch();
t.teardown(() => scratch.close());
const server = await scratch.create();
const lintSchema = (text: string, fileName: string) => lintOn(server, text, fileName);

/** The findings as `line: rule: message`; line 0 is that of the first change. */
async function lint(text: string): Promise<string[]> {
  const changed = text.split('\n').findIndex((line, index) => line !== library.split('\n')[index]) + 1;
  const findings = await lintSchema(text, 'library.sql');
  return findings.map(({ line, rule, message }) => `${line - changed}: ${rule}: ${message}`);
}

function edited(from: string, to: string): string {
  if (!library.includes(from)) throw new Error(`The fixture has no ${from}`);
  return library.replace(from, () => to);
}

t.test('a file in the form that it should have has no findings', async (t) => {
  t.strictSame(await lintSchema(library, 'library.sql'), []);
});

const shelves = 'create table library.shelves (\n  name  text    primary key,\n  floor integer not null\n);';
const borrow = "language plpgsql volatile security definer set search_path = ''";

/** What is wrong, as a replacement in the fixture, and what is found. */
const mistakes: Record<string, [from: string, to: string, ...found: string[]]> = {
  'a tab': ['  name  text ', '\tname  text ', '0: tab: indent with spaces'],
  'space at the end': ['begin\n  raise', 'begin \n  raise', '0: trailing-space: space at the end of the line'],
  'a long line': ['-- The books of a shelf.', `-- ${'я'.repeat(118)}`, '0: line-length: 121 characters, at most 120'],
  'no end of line': [
    '_reject from public;\n',
    '_reject from public;',
    'final-newline: the file does not end with one line end',
  ],
  'a keyword in upper case': ['create schema', 'CREATE schema', '0: lower-case: write create, not CREATE'],
  'a type in upper case': ['floor integer', 'floor INTEGER', '0: lower-case: write integer, not INTEGER'],
  'upper case in the body of a function': [
    'returning * into',
    'RETURNING * into',
    '0: lower-case: write returning, not RETURNING',
  ],
  'a section that is not in the contents': [
    '--   library      books, and who',
    '--   library      books, or who',
    '0: contents: "library" is not the section at this place',
    'contents: "library" is not so in the table of contents',
  ],
  'parts in another order': [
    '-- Policies',
    '-- Tables',
    '0: order: "Tables" stands before',
    'order: policy',
    'order: policy',
    'order: policy',
  ],
  'a statement in another part': [
    shelves,
    `${shelves}\ncreate policy early on library.shelves using (true);`,
    '0: order: policy early on library.shelves belongs under "Policies", not "Tables"',
  ],
  'a function that a search_path can mislead': [
    borrow,
    'language plpgsql volatile',
    "-1: search-path: library.borrow(bigint) lacks set search_path = ''",
  ],
  'a definer that is standard SQL': [
    "stable set search_path = ''\nreturn extract",
    'stable security definer\nreturn extract',
    "-1: search-path: library._is_open(timestamptz) lacks set search_path = ''",
  ],
  'a search_path with something in it': [borrow, borrow.replace("''", "'library'"), '-1: search-path'],
  'a function without a comment': [
    "comment on function library.borrow is 'Takes a book home.';",
    '',
    '-10: comment: library.borrow(bigint) has no comment',
  ],
  'a table without a comment': [
    "comment on table library.shelves is 'Where books stand.';",
    '',
    '-4: comment: table library.shelves has no comment',
  ],
  'a check without a name': [
    'constraint title_has_1_to_200_characters check',
    'check',
    '-9: constraint-name: a check of library.books has no name',
  ],
  'a check of a domain without a name': [
    'text constraint isbn_has_13_digits check',
    'text check',
    '0: constraint-name: a check of library.isbn',
  ],
  'a time without a zone': [
    'floor integer not null',
    'floor integer not null,\n  since timestamp',
    '-2: comment: column since of library.shelves is granted and has no comment',
    '-2: type: library.shelves has timestamp; use timestamptz',
  ],
  'a serial': [
    'floor integer',
    'floor serial',
    '-2: type: library.shelves has serial; use integer generated always as identity',
  ],
  'a text with a length': [
    'floor integer',
    'floor varchar(3)',
    '-2: type: library.shelves has varchar; use text with a check',
  ],
  'json in an argument': [
    'words text,',
    'words json,',
    '0: type: library.find_books(json, integer) has json; use jsonb',
  ],
  'a table without row level security': [
    'alter table library.languages enable row level security;\n',
    '',
    'row-security: library.languages is in a schema that others may use; enable row level security',
  ],
  'a granted column without a comment': [
    "comment on column library.books.shelf    is 'Where it stands.';\n",
    '',
    'comment: column shelf of library.books is granted and has no comment',
  ],
  'a schema without a comment': [
    "comment on schema library is 'Books and loans.';\n",
    '',
    'comment: schema library has no comment',
  ],
  'a function granted to who may not use its schema': [
    'grant execute on function library.find_books to library_guest;',
    'grant execute on function library.find_books to library_guest, pg_monitor;',
    'schema-usage: library.find_books(text, integer) is granted to pg_monitor, who may not use schema library',
  ],
  'a view that serves rows past row level security': [
    '-- The books of a shelf.',
    'create view library.titles as select title from library.books; grant select on library.titles to library_guest;',
    '0: order: view library.titles belongs under "Views"',
    '0: order: grant',
    '0: view-rights: library.titles serves rows past row level security',
  ],
  'a reference without an index': [
    'create index books_shelf_id_idx on library.books (shelf, id);',
    'create index books_shelf_id_idx on library.books (id, shelf);',
    'foreign-key-index: no index of library.books begins with shelf, which refers to another table',
  ],
  'a reference with an index for some of its rows': [
    'where language is not null',
    "where state = 'in'",
    'foreign-key-index: no index of library.books begins with language',
  ],
  'an index that another one covers': [
    '-- The books of a shelf.',
    'create index books_shelf_idx on library.books (shelf);',
    '0: redundant-index: books_shelf_idx is not needed beside books_shelf_id_idx',
  ],
  'an index like the primary key': [
    '-- The books of a shelf.',
    'create index books_id_idx on library.books (id);',
    '0: redundant-index: books_id_idx is not needed beside the primary key of library.books',
  ],
};

for (const [name, [from, to, ...found]] of Object.entries(mistakes)) {
  t.test(name, async (t) => {
    const findings = await lint(edited(from, to));
    t.equal(findings.length, found.length, findings.join('\n'));
    for (const [index, finding] of found.entries()) t.match(findings[index], finding);
  });
}

t.test('what looks alike but is no mistake', async (t) => {
  const fine: [from: string, to: string][] = [
    ['-- The books of a shelf.', 'create unique index books_title_key on library.books (title, shelf);'],
    ['-- The books of a shelf.', "create index books_in_idx on library.books (shelf) where state = 'in';"],
    ['-- The books of a shelf.', 'create index books_title_idx on library.books using hash (id);'],
    ['-- The books of a shelf.', 'create index books_shelf_idx on library.books (shelf desc, title);'],
    ["stable set search_path = ''\nreturn extract", 'stable\nreturn extract'],
    ['Where books stand.', 'WHERE BOOKS STAND, timestamp varchar(3).'],
    [
      'floor integer not null\n);',
      "floor integer not null,\n  since timestamptz\n);\ncomment on column library.shelves.since is 'From when on.';",
    ],
  ];
  for (const [from, to] of fine) t.strictSame(await lintSchema(edited(from, to), 'library.sql'), [], to);
});
