import pg from 'pg';
import t from 'tap';
import { applySchema, bringUpToDate } from '../../functions/apply.ts';
import { query } from '../scratch-database.ts';
import { edited, library, openLibraries, refusalOf } from './libraries.ts';

const { bring, scratch, withLibrary } = await openLibraries(t);

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

t.test('a database of another encoding than UTF-8 is refused, and stays empty', async (t) => {
  const { pathname } = new URL(await scratch.create());
  const name = pathname.slice(1);
  await scratch.query(`drop database ${name}`);
  await scratch.query(`create database ${name} encoding 'SQL_ASCII' locale 'C' template template0`);
  const url = new URL(scratch.url);
  url.pathname = name;
  const { message, remedy } = await refusalOf(bring(url.href, library));
  t.match(message, /encoding SQL_ASCII; it must be UTF8/);
  t.match(remedy, /encoding 'UTF8'/);
  t.strictSame(await query(url.href, "select from pg_namespace where nspname = 'library'"), []);
});

t.test('a schema file that is not there', async (t) => {
  const missing = bringUpToDate({ databaseUrl: '', schemaFile: '/nowhere.sql', development: true, report: () => {} });
  t.match((await refusalOf(missing)).message, 'ENOENT');
});

t.test('applySchema makes a template database on a given connection', async (t) => {
  const url = await scratch.create();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await applySchema(client, library, 'library.sql').finally(() => client.end());
  t.strictSame(await bring(url, library), []);
});
