import pg from 'pg';
import t from 'tap';
import { runScript } from '../running-plinth.ts';
import { openScratch } from '../scratch-database.ts';
import { openWorld } from '../world.ts';

t.test('D10 npm run doctor tells the health of the database, the worst first, with remedies', async (t) => {
  const { databaseUrl, owner } = await openWorld(t);
  const doctor = (...args: string[]) => runScript('doctor', args, { DATABASE_URL: databaseUrl });
  // Whatever the settings of this Postgres, one thing is critical, or nothing is.
  const judge = (critical: number | null) =>
    owner.query(
      `update operations.health_thresholds set warn = null, critical = case when name = 'connections used' then $1::numeric end`,
      [critical],
    );

  await judge(0);
  const bad = await doctor();
  t.equal(bad.status, 1, bad.stderr);
  t.match(bad.stdout, /^critical +connections used +[\d.]+ % +\(0\) +\d+ of \d+\n +→ See databaseConnections/);
  t.match(bad.stdout, /\n\d.*1 critical|\n1 critical/);
  const json = await doctor('--json');
  t.equal(json.status, 1);
  t.match(JSON.parse(json.stdout)[0], { name: 'connections used', verdict: 'critical', remedy: String });

  await judge(null);
  const good = await doctor();
  t.equal(good.status, 0, good.stderr);
  t.notMatch(good.stdout, /critical/);

  t.match(await doctor('--yes'), { status: 1, stderr: /takes --json, and nothing else/ });
});

t.test('a database without the schema cannot tell', async (t) => {
  const scratch = await openScratch();
  t.teardown(scratch.close);
  const url = await scratch.create();
  t.match(await runScript('doctor', [], { DATABASE_URL: url }), {
    status: 1,
    stderr: /has not the schema.*npm start/s,
  });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  t.teardown(() => client.end());
  const { rowCount } = await client.query("select from pg_namespace where nspname = 'operations'");
  t.equal(rowCount, 0, 'and is left as it was');
});
