import t from 'tap';
import { query } from '../scratch-database.ts';
import { edited, library, openLibraries, picture, refusalOf } from './libraries.ts';

const { bring, scratch, withLibrary } = await openLibraries(t);

/** Changes that need a plan, and the line that says so. */
const planned: Record<string, [line: RegExp, ...replacements: [from: string, to: string][]]> = {
  'a new column': [
    /:\d+ {2}table library\.shelves {2}changed/,
    ['floor integer not null', 'floor integer not null,\n  room text'],
  ],
  'values of a type in another order': [/:\d+ {2}type library\.state {2}changed/, ["'in', 'out'", "'out', 'in'"]],
  'an index less': [
    /sql {2}index books_shelf_id_idx {2}removed/,
    ['create index books_shelf_id_idx on library.books (shelf, id);', ''],
  ],
  'row security': [
    /sql {2}alteration library\.languages {2}removed/,
    ['alter table library.languages enable row level security;', ''],
  ],
  'a role': [/:\d+ {2}alter role library_guest set statement_timeout = '9s' {2}added/, ["= '5s'", "= '9s'"]],
  'default privileges': [
    /:\d+ {2}alter default privileges .* {2}added/,
    [
      'revoke execute on functions',
      'grant execute on functions to library_guest;\nalter default privileges in schema library revoke execute on functions',
    ],
  ],
  'a block': [/:\d+ {2}do \$\$ {2}changed/, ['library_reader;\n  execute', 'library_reader; perform 1;\n  execute']],
  'data that stays as it is': [
    /:\d+ {2}library\.languages {2}changed|data library\.languages {2}changed/,
    ["('ru')", "('pt')"],
  ],
  'data without on conflict': [
    /:\d+ {2}data library\.languages {2}added/,
    ['create domain', "insert into library.languages values ('de');\ncreate domain"],
  ],
};

t.test('what needs a plan is refused with a list and the way on, and nothing changes', async (t) => {
  const url = await withLibrary();
  const before = await query(url, picture);
  for (const [name, [line, ...replacements]] of Object.entries(planned)) {
    const alsoLive = edited(...replacements, ["title ilike '%'", "title like '%'"]);
    const refusal = await refusalOf(bring(url, alsoLive));
    t.match(refusal.message, line, name);
    t.notMatch(refusal.message, 'find_books', 'only what stands in the way is listed');
    t.match(refusal.remedy, /npm run db -- adopt.*npm run db -- reset/);
    t.strictSame(await query(url, picture), before, `${name}: as before`);
  }
});

t.test('a mistake in a function is there to be corrected; nobody is told to empty the database for it', async (t) => {
  const url = await withLibrary();
  const refusal = await refusalOf(bring(url, edited(['hour from at', 'hour from noon'])));
  t.match(refusal.message, 'column "noon" does not exist');
  t.match(refusal.remedy, 'Correct it');
  t.notMatch(refusal.remedy, 'reset');
});

t.test('a change that fails half way is undone and told with the changes it was among', async (t) => {
  const url = await withLibrary();
  const before = await query(url, picture);
  const shorter = library
    .replace(
      'create function library._next_number() returns integer',
      'create function library._next_number() returns bigint',
    )
    .replace("title ilike '%'", "title like '%'");
  const refusal = await refusalOf(bring(url, shorter));
  t.match(refusal.message, 'cannot drop function library._next_number()');
  t.match(refusal.message, 'function library.find_books(text, integer)  changed');
  t.match(refusal.remedy, 'npm run db -- reset');
  t.strictSame(await query(url, picture), before);
});

t.test('production never changes by itself', async (t) => {
  const url = await scratch.create();
  await bring(url, library, false);
  const before = await query(url, picture);
  const refusal = await refusalOf(bring(url, edited(["title ilike '%'", "title like '%'"]), false));
  t.match(refusal.message, 'function library.find_books(text, integer)  changed');
  t.match(refusal.remedy, 'by hand');
  t.strictSame(await query(url, picture), before);
});

t.test('a database that has the schemas from elsewhere is left alone', async (t) => {
  const url = await scratch.create();
  await query(url, 'create schema library');
  const refusal = await refusalOf(bring(url, library));
  t.match(refusal.message, 'has library already, but not from Plinth');
  t.match(refusal.remedy, 'empty');
  t.strictSame(await query(url, "select to_regclass('schema_versions') as versions"), [{ versions: null }]);
});
