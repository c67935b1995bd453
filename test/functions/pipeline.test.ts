import pg from 'pg';
import t from 'tap';
import { pipeline, prepare } from '../../functions/pipeline.ts';
import { openScratch } from '../scratch-database.ts';

t.test('what a connection has prepared is bounded by its length', async (t) => {
  const scratch = await openScratch();
  t.teardown(scratch.close);
  const client = new pg.Client({ connectionString: await scratch.create() });
  await client.connect();
  t.teardown(() => client.end());
  const prepared = async () => {
    const { rows } = await client.query(
      'select count(*)::int as count, coalesce(sum(length(statement)), 0)::int as letters from pg_prepared_statements',
    );
    return rows[0] as { count: number; letters: number };
  };
  const statement = (n: number, letters: number, sql = `select ${n}`) => prepare(sql.padEnd(letters));
  const run = (of: ReturnType<typeof prepare>) => pipeline(client, [{ statement: of, values: [] }]);

  t.test('the oldest goes, what is used stays', async (t) => {
    const kept = statement(0, 5000);
    for (let n = 1; n <= 100; n += 1) {
      t.same(await run(statement(n, 5000)), [[[String(n)]]]);
      t.same(await run(kept), [[['0']]]);
    }
    const { count, letters } = await prepared();
    t.ok(count > 20 && letters < 300_000, `${count} of ${letters} letters`);
  });

  t.test('also where all of them fail', async (t) => {
    for (let n = 0; n < 200; n += 1)
      await t.rejects(run(statement(n, 5000, `select 1 / (${n} - ${n})`)), { code: '22012' });
    t.ok((await prepared()).letters < 300_000);
    t.same(await run(statement(7, 5000)), [[['7']]]);
  });

  t.test('a long one is prepared for its one use', async (t) => {
    const { letters } = await prepared();
    const long = statement(1, 100_000);
    for (const _ of [1, 2]) t.same(await run(long), [[['1']]]);
    t.same(
      await pipeline(
        client,
        [long, statement(2, 90_000), long].map((each) => ({ statement: each, values: [] })),
      ),
      [[['1']], [['2']], [['1']]],
    );
    t.ok((await prepared()).letters <= letters);
  });
});
