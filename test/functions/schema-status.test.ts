import { writeFileSync } from 'node:fs';
import t from 'tap';
import { schemaStatus } from '../../functions/apply.ts';
import { resetDatabase } from '../../functions/schema-reset.ts';
import { query } from '../scratch-database.ts';
import { edited, library, openLibraries, picture, refusalOf } from './libraries.ts';

const { bring, schemaFile, scratch, withLibrary } = await openLibraries(t);

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
