import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { inherited } from '../running-plinth.ts';
import { openScratch, query } from '../scratch-database.ts';
import { createWithSchema } from '../world.ts';

const script = path.join(import.meta.dirname, '..', '..', 'scripts', 'db.ts');
const library = path.join(import.meta.dirname, '..', 'fixtures', 'library.sql');
const scratch = await openScratch();
t.teardown(() => scratch.close());

/** Runs `npm run db -- …` without a terminal. */
function db(args: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    env: { ...inherited, ...env },
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

t.test('without a command it lists them', async (t) => {
  t.match(db([]), {
    status: 1,
    stderr: /npm run db -- status .*\n.* reset .*\n.* adopt .*\n.* url .*\n.* operator .*\n.* lint /,
  });
  t.match(db(['rest']), { status: 1, stderr: /There is no command "rest"/ });
});

t.test('reset applies schema.sql, and takes away what was there before', async (t) => {
  const DATABASE_URL = await scratch.create();
  t.match(db(['status'], { DATABASE_URL }), { status: 0, stdout: /empty/ });
  t.match(
    db(['reset'], { DATABASE_URL }),
    { status: 0, stdout: /schema\.sql applied/ },
    'nothing to lose, no question',
  );
  t.match(db(['status'], { DATABASE_URL }), { status: 0, stdout: /it has not changed since/ });
  await query(DATABASE_URL, "insert into identity.users (username, display_name) values ('someone', 'Someone')");
  t.match(db(['reset'], { DATABASE_URL }), {
    status: 1,
    stdout: /Everything in the database scratch_\w+ at .* is going to be lost:[\s\S]* {2}identity: \d+ tables/,
    stderr: /no terminal to ask at[\s\S]*--yes/,
  });
  t.strictSame(await query(DATABASE_URL, 'select count(*)::int from identity.users'), [{ count: 1 }]);
  t.match(db(['reset', '--yes'], { DATABASE_URL }), { status: 0 });
  t.strictSame(await query(DATABASE_URL, 'select count(*)::int from identity.users'), [{ count: 0 }]);
});

t.test('production is not emptied', async (t) => {
  const DATABASE_URL = await scratch.create();
  const JWT_KEYS = `k1:${Buffer.alloc(32, 7).toString('base64url')}`;
  const refused = db(['reset', '--yes'], { DATABASE_URL, JWT_KEYS, PLINTH_ENV: 'production' });
  t.match(refused, { status: 1, stderr: /production/ });
  t.strictSame(await query(DATABASE_URL, "select to_regclass('schema_versions') as versions"), [{ versions: null }]);
});

t.test('what is made on the connection that url prints belongs to the owner, and nobody may call it', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  for (const given of [DATABASE_URL, `${DATABASE_URL}?options=-c%20statement_timeout%3D5s&application_name=dba`]) {
    const { stdout, status } = db(['url'], { DATABASE_URL: given });
    t.equal(status, 0);
    t.match(stdout, /role%3Dplinth_owner\n$/);
    t.notMatch(stdout, /\+/, 'libpq reads + as it is');
    t.strictSame(
      await query(
        stdout.trim(),
        `create or replace function chat.answer() returns integer language sql return 42;
         select proowner::regrole::text as owner, has_function_privilege('anonymous', oid, 'execute') as callable from pg_proc where proname = 'answer'`,
      ),
      [{ owner: 'plinth_owner', callable: false }],
    );
  }
});

t.test('operator makes a user one, and says so where there is nobody', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  await query(
    DATABASE_URL,
    "with made as (insert into identity.users (username, display_name) values ('Ann', 'Ann'), ('bob', 'Bob') returning id) insert into identity.accounts (user_id) select id from made",
  );
  t.match(db(['operator'], { DATABASE_URL }), { status: 1, stderr: /Who\?/ });
  t.match(db(['operator', 'carol'], { DATABASE_URL }), { status: 1, stderr: /Nobody called "carol" can sign in/ });
  t.match(db(['operator', 'ann'], { DATABASE_URL }), { status: 0, stdout: /ann is an operator/ });
  t.strictSame(
    await query(
      DATABASE_URL,
      'select username from identity.users join identity.accounts on user_id = id where is_operator',
    ),
    [{ username: 'Ann' }],
  );
});

t.test('status lists what has changed, and what becomes of it', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  await query(
    DATABASE_URL,
    `insert into schema_versions (sha256, content)
     select 'x', content || 'create table public.extra (); create function public.f() returns int language sql return 1;'
     from schema_versions`,
  );
  t.match(db(['status'], { DATABASE_URL }), {
    status: 0,
    stdout:
      /next start[^:]*:\n {2}schema\.sql {2}function public\.f\(\) {2}removed\n.*not applied.*\n {2}schema\.sql {2}table public\.extra {2}removed/i,
  });
});

t.test('lint reports with file and line, and fails when there is something', async (t) => {
  t.match(db(['lint', library]), { status: 0, stdout: /library\.sql: nothing to report/ });
  const itself = db(['lint', script]);
  t.match(itself, { status: 1, stderr: /db\.ts:1: syntax error/ });
});
