import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import t from 'tap';
import { applySchema, bringUpToDate, schemaStatus } from '../../functions/apply.ts';
import { Refusal } from '../../functions/refusal.ts';
import { resetDatabase } from '../../functions/schema-reset.ts';
import { openScratch } from '../scratch-database.ts';

const fixtures = path.join(import.meta.dirname, '..', 'fixtures');
const library = readFileSync(path.join(fixtures, 'library.sql'), 'utf8');
const picture = readFileSync(path.join(fixtures, 'catalog-picture.sql'), 'utf8');

const folder = mkdtempSync(path.join(tmpdir(), 'plinth-schema-'));
const schemaFile = path.join(folder, 'schema.sql');
const scratch = await openScratch();
t.teardown(async () => {
  await scratch.close();
  rmSync(folder, { recursive: true });
});

/** Brings the database to this text of a schema file and gives back what was reported. */
async function bring(databaseUrl: string, text: string, development = true): Promise<string[]> {
  const lines: string[] = [];
  writeFileSync(schemaFile, text);
  await bringUpToDate({ databaseUrl, schemaFile, development, report: (line) => lines.push(line) });
  return lines;
}

async function refusalOf(work: Promise<unknown>): Promise<Refusal> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error('It was expected to be refused.');
}

async function query(databaseUrl: string, sql: string) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const results = [await client.query(sql)].flat();
    return results.at(-1)?.rows ?? [];
  } finally {
    await client.end();
  }
}

/** The library with each text replaced by the other; a text that is not there is a mistake of the test. */
function edited(...replacements: [from: string, to: string][]): string {
  return replacements.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`The fixture has no ${from}`);
    return text.replace(from, () => to);
  }, library);
}

async function withLibrary(): Promise<string> {
  const url = await scratch.create();
  await bring(url, library);
  return url;
}

t.test('an empty database gets the schema, and a record of it that nobody else may read', async (t) => {
  const url = await scratch.create();
  t.match(await bring(url, library), [/schema\.sql applied: \d+ statements in \d/]);
  const [version] = await query(url, 'select content, sha256, applied_at from public.schema_versions');
  t.equal(version.content, library);
  t.match(version.sha256, /^[0-9a-f]{64}$/);
  t.strictSame(await query(url, "select has_table_privilege('library_reader', 'schema_versions', 'select') as read"), [
    { read: false },
  ]);
  t.strictSame(
    await query(url, "select relowner::regrole::text as owner from pg_class where relname = 'books'"),
    [{ owner: 'library_owner' }],
    'set local role holds for what follows it',
  );
});

t.test('a function that was tried in psql, as another owner and with another result, is taken over', async (t) => {
  const url = await withLibrary();
  await query(url, 'create function library.tried() returns text language sql return null');
  const tried = `${library}create function library.tried() returns integer language sql return 1;\n`;
  t.match(await bring(url, tried), [/function library\.tried\(\) {2}added/]);
  t.strictSame(
    await query(url, "select proowner::regrole::text as owner, library.tried() from pg_proc where proname = 'tried'"),
    [{ owner: 'library_owner', tried: 1 }],
  );
});

t.test('the same file again does nothing', async (t) => {
  const url = await withLibrary();
  t.strictSame(await bring(url, library), []);
  t.strictSame(await query(url, 'select count(*)::int from public.schema_versions'), [{ count: 1 }]);
});

t.test('several processes at once: one applies it, the others find it done', async (t) => {
  const url = await scratch.create();
  const reports = await Promise.all([1, 2, 3, 4].map(() => bring(url, library)));
  t.equal(reports.flat().length, 1);
  t.strictSame(await query(url, 'select count(*)::int from public.schema_versions'), [{ count: 1 }]);
  const changed = edited(["title ilike '%'", "title like '%'"]);
  const further = await Promise.all([1, 2, 3, 4].map(() => bring(url, changed)));
  t.equal(further.flat().length, 1, 'a change too');
  t.strictSame(await query(url, 'select count(*)::int from public.schema_versions'), [{ count: 2 }]);
});

t.test('several databases at once make the roles that they share', async (t) => {
  const suffix = Math.random().toString(36).slice(2);
  const text = library.replaceAll(/library_(owner|guest|reader)/g, `$&_${suffix}`);
  const urls = await Promise.all([1, 2, 3, 4].map(() => scratch.create()));
  const reports = await Promise.all(urls.map((url) => bring(url, text)));
  t.equal(reports.flat().length, 4);
  for (const role of ['owner', 'guest', 'reader']) {
    for (const url of urls) await query(url, `drop owned by library_${role}_${suffix} cascade`);
    await scratch.query(`drop role library_${role}_${suffix}`);
  }
});

t.test('a statement that fails: where, what, and all that Postgres says; nothing remains', async (t) => {
  const url = await scratch.create();
  const broken = edited(['hour from at', 'hour from noon']);
  const refusal = await refusalOf(bring(url, broken));
  const line = broken.split('\n').indexOf('return extract(hour from noon) between 9 and 17;') + 1;
  t.match(refusal.message, `schema.sql:${line}: column "noon" does not exist`);
  t.match(refusal.message, `  ${line - 2} | create function library._is_open(at timestamptz)`);
  t.match(refusal.message, `\n>  ${line} | return extract(hour from noon) between 9 and 17`);
  t.match(refusal.message, '42703');
  const left = await query(
    url,
    "select to_regnamespace('library') as schema, to_regclass('schema_versions') as versions",
  );
  t.strictSame(left, [{ schema: null, versions: null }]);
});

t.test('a failure that Postgres gives no place for: the statement, detail and hint', async (t) => {
  const twice = edited(["'maps', 2)", "'maps', 2), ('maps', 3)"]);
  const refusal = await refusalOf(bring(await scratch.create(), twice));
  const line = twice.split('\n').indexOf('insert into library.shelves (name, floor)') + 1;
  t.match(refusal.message, `schema.sql:${line}: ON CONFLICT DO UPDATE command cannot affect row a second time`);
  t.match(refusal.message, 'Hint: Ensure that no rows proposed for insertion');
  const unknown = edited(["('en'), ('ru')", "('en'), (null)"]);
  t.match((await refusalOf(bring(await scratch.create(), unknown))).message, 'Detail: Failing row contains (null).');
});

t.test('a line deep inside a statement is shown with its beginning', async (t) => {
  const broken = edited(["'in' returning *", "'in' retuning *"]);
  const { message } = await refusalOf(bring(await scratch.create(), broken));
  t.match(message, /create function library\.borrow[\s\S]*\n {2}…\n> +\d+ \| .*retuning \* into borrowed;\n {2}…\n/);
});

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

/** Changes that need a plan, and the line that says so. */
const planned: Record<string, [line: RegExp, ...replacements: [from: string, to: string][]]> = {
  'a new column': [
    /:\d+ {2}table library\.shelves {2}changed/,
    ['floor integer not null', 'floor integer not null,\n  room text'],
  ],
  'a value of a type': [/:\d+ {2}type library\.state {2}changed/, ["'in', 'out'", "'in', 'out', 'lost'"]],
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

t.test('a schema file that is not there', async (t) => {
  const missing = bringUpToDate({ databaseUrl: '', schemaFile: '/nowhere.sql', development: true, report: () => {} });
  t.match((await refusalOf(missing)).message, 'ENOENT');
});

t.test('someone who is not the owner is told so', async (t) => {
  const url = await withLibrary();
  const role = new URL(url);
  role.searchParams.set('options', '-c role=library_guest');
  t.match(
    (await refusalOf(schemaStatus({ databaseUrl: role.href, schemaFile }))).message,
    'permission denied for table schema_versions',
  );
  t.match(
    (await refusalOf(resetDatabase({ databaseUrl: role.href, schemaFile, report: () => {} }))).remedy,
    'as the owner',
  );
});

t.test('status tells an empty, a current and a changed database apart', async (t) => {
  const url = await scratch.create();
  writeFileSync(schemaFile, library);
  t.match(await schemaStatus({ databaseUrl: url, schemaFile }), { state: 'empty' });
  await bring(url, library);
  t.match(await schemaStatus({ databaseUrl: url, schemaFile }), { state: 'current', appliedAt: Date });
  writeFileSync(schemaFile, edited(["'in', 'out'", "'in'"], ['volatile security definer', 'volatile']));
  const status = await schemaStatus({ databaseUrl: url, schemaFile });
  t.match(status, {
    state: 'changed',
    changes: [
      { change: 'changed', live: false, after: { name: 'library.state' } },
      { change: 'changed', live: true, after: { name: 'library.borrow(bigint)' } },
    ],
  });
});

t.test('a reset empties the database and applies the file; one that does not apply loses nothing', async (t) => {
  const url = await withLibrary();
  await query(url, "insert into library.books (title, shelf) values ('Atlas', 'maps'); create schema \"By hand\"");
  writeFileSync(schemaFile, edited(['create index books_shelf_id_idx', 'create indx books_shelf_id_idx']));
  await refusalOf(resetDatabase({ databaseUrl: url, schemaFile, report: () => {} }));
  writeFileSync(schemaFile, edited(['(shelf, id)', '(shelves, id)']));
  await refusalOf(resetDatabase({ databaseUrl: url, schemaFile, report: () => {} }));
  t.strictSame(await query(url, 'select count(*)::int from library.books'), [{ count: 1 }]);

  const text = edited(["'in', 'out'", "'in', 'out', 'lost'"]);
  writeFileSync(schemaFile, text);
  await resetDatabase({ databaseUrl: url, schemaFile, report: () => {} });
  const fresh = await scratch.create();
  await bring(fresh, text);
  t.strictSame(await query(url, picture), await query(fresh, picture));
  t.strictSame(await bring(url, text), []);
});

t.test('applySchema makes a template database on a given connection', async (t) => {
  const url = await scratch.create();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await applySchema(client, library, 'library.sql').finally(() => client.end());
  t.strictSame(await bring(url, library), []);
});
