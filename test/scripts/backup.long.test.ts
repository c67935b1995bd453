import { randomBytes } from 'node:crypto';
import pg from 'pg';
import t from 'tap';
import { backUp } from '../../workers/backup.ts';
import { runScript } from '../running-plinth.ts';
import { contents, fill, key, openBench } from '../workers/backups.ts';
import { openWorld } from '../world.ts';

t.setTimeout(300_000);
const world = await openWorld(t);
await fill(world);
const { databaseUrl, owner } = world;
const urlOf = (database: string): string => Object.assign(new URL(databaseUrl), { pathname: database }).href;

t.test('E5 the script asks before it overwrites, and needs no database to restore into', async (t) => {
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const { name } = await backUp(bench);
  const into = `restored_${randomBytes(6).toString('hex')}`;
  t.teardown(() => owner.query(`drop database if exists ${into} with (force)`));
  const fresh = { ...bench.env, DATABASE_URL: urlOf(into) };
  const first = await runScript('restore', [name], fresh);
  t.match(first, { status: 0, stdout: /every table is what it was/ }, first.stderr);
  const client = new pg.Client({ connectionString: urlOf(into) });
  await client.connect();
  await client.query('delete from chat.messages');
  await client.end();
  const asked = await runScript('restore', [name], fresh);
  t.match(asked, { status: 1, stdout: /is going to be replaced, and what it holds lost/, stderr: /--yes/ });
  t.equal((await contents(urlOf(into)))['chat.messages']?.length, 0);
  const forced = await runScript('restore', [name, '--yes', '--keep'], fresh);
  const [, former = ''] = /What was there before is the database (\w+)/.exec(forced.stdout) ?? [];
  t.teardown(() => owner.query(`drop database if exists ${former}`));
  t.equal(forced.status, 0, forced.stderr);
  t.strictSame((await contents(urlOf(into)))['chat.messages'], (await contents(databaseUrl))['chat.messages']);
  t.equal((await contents(urlOf(former)))['chat.messages']?.length, 0);
  t.match(await runScript('restore', ['20000101T000000Z-0000'], fresh), { status: 1, stderr: /There is no backup/ });
});

t.test('E5 T9 the script makes, lists and proves backups, and ends with a code for monitors', async (t) => {
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const first = await runScript('backup', ['--prove'], bench.env);
  t.match(
    first,
    { status: 0, stdout: /^\d{8}T\d{6}Z-\w{4}: \w+, .*is proven: \d+ rows restored and compared/s },
    first.stderr,
  );
  t.match(await runScript('backup', ['list'], { ...bench.env, DATABASE_URL: '' }), {
    status: 0,
    stdout: /proof not known.*1 in /s,
  });
  t.match(await runScript('backup', ['list'], bench.env), { status: 0, stdout: /Z-\w{4} {2}proven {2}/ });
  t.match(await runScript('backup', ['prove', '20000101T000000Z-0000'], bench.env), {
    status: 1,
    stderr: /There is no backup/,
  });
  t.match(await runScript('backup', ['--all'], bench.env), { status: 1, stderr: /--all.*\nnpm run backup/s });
});
