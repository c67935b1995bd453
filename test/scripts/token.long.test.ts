import path from 'node:path';
import t from 'tap';
import { openTokens } from '../../functions/tokens.ts';
import { runScript, startPlinth, temporaryFolder } from '../running-plinth.ts';
import { openScratch, query } from '../scratch-database.ts';
import { createWithSchema } from '../world.ts';

const key = Buffer.alloc(32, 7);
const JWT_KEYS = `k1:${key.toString('base64url')}`;
const scratch = await openScratch();
t.teardown(() => scratch.close());

t.test('a token for someone of the seed opens the API of a server beside it', async (t) => {
  const { url, env } = await startPlinth(t);
  t.match(await runScript('token', ['alice'], env), {
    status: 1,
    stdout: '',
    stderr:
      /^There is no user alice in the database at 127\.0\.0\.1:\d+\/postgres\.\n`npm run seed` makes a small world with a user alice\./m,
  });
  await runScript('seed', [], env);
  const { status, stdout, stderr } = await runScript('token', ['Alice'], env);
  t.equal(status, 0, stderr);
  t.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/, 'the token and nothing else');
  const ask = async (query: string, token: string) => {
    const response = await fetch(`${url}graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token.trim()}` },
      body: JSON.stringify({ query }),
    });
    return response.json();
  };
  t.strictSame(await ask('{ me { username } }', stdout), { data: { me: { username: 'alice' } } });

  const service = await runScript('token', ['--service'], env);
  t.strictSame(await ask('mutation { ensurePartitions(input: {}) { result } }', service.stdout), {
    data: { ensurePartitions: { result: 0 } },
  });
});

t.test('who is not there is told with the nearest names, and who cannot sign in gets none', async (t) => {
  const DATABASE_URL = await createWithSchema(scratch);
  await query(
    DATABASE_URL,
    `with made as (
      insert into identity.users (username, display_name)
      values ('margarita', 'Margarita'), ('marguerite', 'Marguerite'), ('barred', 'Barred'), ('imported', 'Imported')
      returning id, username
    )
    insert into identity.accounts (user_id, status)
    select id, case username when 'barred' then 'banned' else 'active' end::identity.account_status
    from made where username <> 'imported'`,
  );
  const token = (name: string) => runScript('token', [name], { DATABASE_URL, JWT_KEYS });
  t.match(await token('margerita'), {
    status: 1,
    stdout: '',
    stderr: /no user margerita in the database at \S+\.\nThe nearest names are margarita, marguerite\.\n/,
  });
  t.match(await token('barred'), { status: 1, stdout: '', stderr: /barred cannot sign in: the account is banned/ });
  t.match(await token('imported'), { status: 1, stdout: '', stderr: /imported cannot sign in: there is no account/ });

  await query(DATABASE_URL, "select access.begin_maintenance('We move house.')");
  t.match(
    await token('margarita'),
    { status: 1, stdout: '', stderr: /^We move house\.\nTry again later\.\n$/ },
    'without a stack',
  );
  await query(DATABASE_URL, 'select access.end_maintenance()');

  const { stdout } = await token('margarita');
  const { claims } = await openTokens([{ kid: 'k1', key }]).verify(stdout.trim());
  const { sub, sid, role } = claims;
  const sessions = await query(
    DATABASE_URL,
    'select session.id, user_id from identity.sessions as session join identity.users as person on person.id = user_id',
  );
  t.strictSame([{ id: sid, user_id: sub }], sessions, 'the token is of a session of theirs');
  t.equal(role, 'member');
});

t.test('nobody gets a token in production, or without a name', async (t) => {
  const env = { PLINTH_DATA: path.join(temporaryFolder(t), 'data'), JWT_KEYS };
  const production = { ...env, DATABASE_URL: await scratch.create(), PLINTH_ENV: 'production' };
  for (const name of ['alice', '--service']) {
    t.match(await runScript('token', [name], production), { status: 1, stdout: '', stderr: /production/ });
  }
  for (const args of [[], ['--serivce'], ['alice', 'bob']]) {
    t.match(await runScript('token', args, env), {
      status: 1,
      stdout: '',
      stderr: /npm run --silent token -- <username>/,
    });
  }
});
