import t from 'tap';
import { query } from '../scratch-database.ts';
import { edited, library, openLibraries, picture, refusalOf } from './libraries.ts';

const { bring, scratch, withLibrary } = await openLibraries(t);

/** Changes that a live database takes, each as replacements in the library. */
const live: Record<string, [from: string, to: string][]> = {
  'a function body': [["title ilike '%'", "title like '%'"]],
  'options of a function': [['volatile security definer', 'volatile security invoker parallel safe']],
  'a further argument': [['(book bigint)', "(book bigint, note text default '')"]],
  'another result': [['borrow(book bigint) returns library.books', 'borrow(book bigint) returns record']],
  'an argument with another name, without its default': [
    ['words text, most integer default 10', 'term text, most integer'],
  ].concat([["'%' || words || '%'", "'%' || term || '%'"]]) as [string, string][],
  'a new function, with the privileges that a new object has': [
    [
      'create procedure library.close_day()',
      "create function library.hours() returns text\nlanguage sql return '9 to 5';\ncreate procedure library.close_day()",
    ],
    [
      'create schema library;',
      "create function public.motto() returns text language sql return 'Quiet!';\ncreate schema library;",
    ],
  ],
  'a new function with a grant and a comment': [
    [
      '-- The books of a shelf.',
      "create function library.hours() returns text language sql return '9';\ncomment on function library.hours is 'When.';",
    ],
    ['grant execute on function library.find_books', 'grant execute on function library.hours, library.find_books'],
  ],
  'a function removed with its comment and grant': [
    [
      library.slice(
        library.indexOf('create function library.find_books'),
        library.indexOf('create function library.borrow'),
      ),
      '',
    ],
    ['grant execute on function library.find_books to library_guest;', ''],
  ],
  'a procedure removed': [
    [
      library.slice(
        library.indexOf('create procedure'),
        library.indexOf('-- ----', library.indexOf('create procedure')),
      ),
      '',
    ],
  ],
  'a trigger changed': [['before update of number on', 'before update of number, id on']],
  'a trigger removed': [
    [
      library.slice(library.indexOf('create trigger'), library.indexOf('-- ----', library.indexOf('create trigger'))),
      '',
    ],
  ],
  'a policy changed, one renamed': [
    ["to library_guest using (state = 'in')", "to library_guest using (state <> 'out')"],
    ['policy everyone_sees_shelves', 'policy guests_see_shelves'],
  ],
  'a policy and the function that it alone calls removed': [
    [
      library.slice(
        library.indexOf('create policy readers'),
        library.indexOf('-- ----', library.indexOf('create policy readers')),
      ),
      '',
    ],
    [
      library.slice(
        library.indexOf('create function library._is_open'),
        library.indexOf('create function library.find'),
      ),
      '',
    ],
    ['library.borrow, library._is_open', 'library.borrow'],
  ],
  'columns taken out of a grant': [['select (id, title, shelf, state)', 'select (id, title)']],
  'a grant taken back later': [
    [
      'revoke execute on function public',
      'revoke select on library.shelves from library_guest;\nrevoke execute on function public',
    ],
  ],
  'the same grants in another order': [
    ['revoke all on all tables in schema library from library_reader;\n', ''],
    [
      'revoke execute on function public',
      'revoke all on all tables in schema library from library_reader;\nrevoke execute on function public',
    ],
  ],
  'a revoke in the schema public taken out': [['revoke execute on function public._reject from public;', '']],
  'privileges of a schema and a type': [
    [
      'grant select on library.shelves',
      'grant usage on schema library to library_reader;\nrevoke usage on type library.state from public;\ngrant select on library.shelves',
    ],
  ],
  comments: [
    ["comment on column library.books.isbn  is 'Its number; null for an old one.';\n", ''],
    ["'As it stands on the cover.'", "'What it is called, which is ''this'' is.'"],
    [
      "comment on trigger numbers_stay on library.books is 'A number is for ever.';\n",
      "comment on table library.languages is 'Tongues.';\n",
    ],
    ["comment on table library.languages is 'What books are written in.';\n", ''],
  ],
};

const everything = Object.entries(live)
  .filter(([name]) =>
    ['a function body', 'a trigger changed', 'columns taken out of a grant', 'comments', 'another result'].includes(
      name,
    ),
  )
  .flatMap(([, replacements]) => replacements);

t.test('a live database takes these changes, and is then as one made from the new file', async (t) => {
  const url = await withLibrary();
  const before = await query(url, picture);
  for (const [name, replacements] of [...Object.entries(live), ['several at once', everything] as const]) {
    const text = edited(...replacements);
    t.match(
      await bring(url, text),
      [/schema\.sql has changed, and the database with it:\n {2}\S.*\n(.*\n)*applied in/],
      name,
    );
    const fresh = await scratch.create();
    await bring(fresh, text);
    t.strictSame(await query(url, picture), await query(fresh, picture), name);
    await bring(url, library);
    t.strictSame(await query(url, picture), before, `${name}, and back`);
  }
});

t.test('an enum gets further labels and a view another query, beside data that stands on them', async (t) => {
  const view = "create view library.away with (security_invoker) as select id from library.books where state = 'out';";
  const before = edited(['-- The books of a shelf.', `${view}\n-- The books of a shelf.`]);
  const after = before
    .replace("as enum ('in', 'out')", "as enum ('new', 'in', 'lent', 'it''s gone', 'out')")
    .replace(
      "select id from library.books where state = 'out'",
      "select id, title from library.books where state <> 'in'",
    );
  const url = await scratch.create();
  await bring(url, before);
  await query(url, "insert into library.books (title, shelf, state) values ('Atlas', 'maps', 'out')");
  await bring(url, after);
  const fresh = await scratch.create();
  await bring(fresh, after);
  t.strictSame(await query(url, picture), await query(fresh, picture));
  t.strictSame(await query(url, 'select title from library.away'), [{ title: 'Atlas' }]);
  for (const [from, to] of [
    ["'lent', ", ''],
    ["'new', 'in'", "'in', 'new'"],
    ['select id, title from', 'select title from'],
  ] as const) {
    const { remedy } = await refusalOf(bring(url, after.replace(from, to)));
    t.match(remedy, /adopt/, from);
  }
});

t.test('data that is rewritten on conflict, and further data, are taken too', async (t) => {
  const url = await withLibrary();
  await bring(url, edited(["('maps', 2)", "('maps', 3), ('novels', 4)"], ["('ru')", "('ru'), ('pt')"]));
  t.strictSame(await query(url, 'select name, floor from library.shelves order by name'), [
    { name: 'maps', floor: 3 },
    { name: 'novels', floor: 4 },
    { name: 'poetry', floor: 1 },
  ]);
  t.strictSame(await query(url, "select string_agg(code, ' ' order by code) as codes from library.languages"), [
    { codes: 'en pt ru' },
  ]);
});

t.test(
  'what differs only in comments, space, order or the spelling of types is noted and nothing is done',
  async (t) => {
    const url = await withLibrary();
    const before = await query(url, picture);
    const text = edited(
      ['-- The books of a shelf.\n', ''],
      ['most integer default 10', 'most   int default 10 /* ten */'],
      ['create type library.state as enum', 'CREATE TYPE library.state AS ENUM'],
      ["comment on domain library.isbn is 'The number of an edition.';\n", ''],
      [
        'create table library.shelves',
        "comment on domain library.isbn is 'The number of an edition.';\ncreate table library.shelves",
      ],
    );
    t.match(await bring(url, text, false), [/comments only/], 'in production too');
    t.strictSame(await query(url, picture), before);
    t.strictSame(await bring(url, text), []);
  },
);

t.test('rights that someone gave by hand to a role of their own stay', async (t) => {
  const url = await withLibrary();
  await query(url, `grant usage on schema library to pg_monitor; grant select on library.books to pg_monitor`);
  await bring(url, edited(['select (id, title, shelf, state)', 'select (id)']));
  t.strictSame(await query(url, "select has_table_privilege('pg_monitor', 'library.books', 'select') as read"), [
    { read: true },
  ]);
});

t.test(
  'what is new and takes nothing away is taken, and the database is then as one made from the new file',
  async (t) => {
    const url = await withLibrary();
    await query(url, "insert into library.books (title, shelf) values ('Atlas', 'maps')");
    const more = edited(
      [
        'create schema library;',
        `create schema archive;
       create type archive.reason as enum ('old', 'lost');
       create schema library;`,
      ],
      [
        '-- The books of a shelf.',
        `create table archive.cards (book bigint primary key references library.books (id), reason archive.reason not null, at date);
       comment on table archive.cards is 'What is gone.';
       create index cards_reason_idx on archive.cards (reason);
       create index books_title_idx on library.books (title);
       create view archive.lost with (security_invoker) as select book from archive.cards where reason = 'lost';
       alter table archive.cards enable row level security;
       create policy all_see_cards on archive.cards for select to library_guest using (true);`,
      ],
      [
        'grant select on library.shelves',
        'grant usage on schema archive to library_guest; grant select on archive.cards to library_guest;\ngrant select on library.shelves',
      ],
    );
    t.match(await bring(url, more), [/table archive\.cards {2}added[\s\S]*applied in/]);
    const fresh = await scratch.create();
    await bring(fresh, more);
    t.strictSame(await query(url, picture), await query(fresh, picture));
    t.strictSame(await query(url, 'select title from library.books'), [{ title: 'Atlas' }]);
    const refusal = await refusalOf(bring(url, library));
    t.match(refusal.message, /table archive\.cards {2}removed/, 'it is not taken away again by itself');
  },
);
