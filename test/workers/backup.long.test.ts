import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { startFauxqs } from 'fauxqs';
import pg from 'pg';
import t, { type Test } from 'tap';
import { openStorage } from '../../functions/storage.ts';
import { backUp } from '../../workers/backup.ts';
import { listBackups, proveBackup, pruneBackups } from '../../workers/backup-care.ts';
import { backupTask, proveBackupTask, pruneBackupsTask } from '../../workers/backup-tasks.ts';
import { restore } from '../../workers/restore.ts';
import { until } from '../events/listen.ts';
import { launch, runScript } from '../running-plinth.ts';
import { openWorld } from '../world.ts';
import { contents, fill, key, openBench } from './backups.ts';

t.setTimeout(300_000);
const world = await openWorld(t);
const room = await fill(world);
const { databaseUrl, owner, ask } = world;

async function record(name: string) {
  return (await owner.query('select * from operations.backups where name = $1', [name])).rows[0];
}

/** A connection that holds a table, so that whoever reads it waits. */
async function hold(t: Test, table: string): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: databaseUrl });
  client.on('error', () => {});
  await client.connect();
  await client.query(`begin; lock table ${table} in access exclusive mode`);
  t.teardown(() => client.end().catch(() => {}));
  return {
    async release() {
      await client.query('rollback');
    },
  };
}

const waiting = async (): Promise<boolean> => {
  const { rows } = await owner.query(
    "select pid from pg_stat_activity where application_name = 'plinth backup' and datname = current_database() and wait_event_type = 'Lock'",
  );
  return rows.length > 0;
};

t.test('E5 T9 a backup is noted while it runs, when it is finished, and counts when it is proven', async (t) => {
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const operator = await world.person('operator', { operator: true });
  const health = async (token = operator.token) =>
    ask('{ backupStatus { verdict newest lostSeconds restoreSeconds problem } }', {}, token);
  t.match((await health()).data.backupStatus, { verdict: 'MISSING', newest: null });
  const { name, kind, rows, bytes } = await backUp(bench);
  t.equal(kind, 'monthly', 'the first of a month');
  t.match(await record(name), {
    state: 'finished',
    row_count: String(rows),
    bytes: String(bytes),
    parts: 'all',
    error: null,
  });
  t.match((await health()).data.backupStatus, { verdict: 'MISSING' });
  const proof = await proveBackup(bench);
  t.match(proof, { name, rows, bytes });
  t.match(await record(name), { state: 'proven', restore_seconds: proof.seconds });
  const { data } = await health();
  t.match(data.backupStatus, { verdict: 'GOOD', newest: name, restoreSeconds: proof.seconds, problem: null });
  t.ok(data.backupStatus.lostSeconds > 0);
  t.match(await ask('{ backups(first: 5) { nodes { name state kind } } }', {}, operator.token), {
    data: { backups: { nodes: [{ name, state: 'PROVEN', kind: 'MONTHLY' }] } },
  });
  const other = await world.person('nobody');
  t.match(await health(other.token), { errors: [{ extensions: { code: 'FORBIDDEN' } }] });
  await t.rejects(proveBackup(bench), { message: 'There is no backup that is not proven yet.' });
  t.equal((await backUp(bench)).kind, 'daily', 'the second of a month, and of a week');
});

t.test('E5 a backup that cannot be restored is noted as failed', async (t) => {
  const bench = openBench(t, databaseUrl);
  const { name } = await backUp(bench, { form: 'portable' });
  rmSync(path.join(bench.folder, name, 'schema.sql.zst'), { force: true });
  rmSync(path.join(bench.folder, name, 'schema.sql.gz'), { force: true });
  await t.rejects(proveBackup(bench, name), { message: /schema\.sql\.\w+ is missing/ });
  t.match(await record(name), { state: 'failed', error: /is missing/ });
});

t.test('E5 production does not back up in the clear unless it is told to; development says so', async (t) => {
  const production = { PLINTH_ENV: 'production', JWT_KEYS: `k1:${key()}` };
  const bench = openBench(t, databaseUrl);
  await t.rejects(backUp(bench.with(production)), { name: 'Refusal', message: /BACKUP_KEY/, remedy: /BACKUP_PLAIN/ });
  await backUp(bench.with({ ...production, BACKUP_KEY: key() }), { form: 'portable' });
  t.notMatch(JSON.stringify(bench.said), /not encrypted/);
  await backUp(bench.with({ ...production, BACKUP_PLAIN: 'true' }), { form: 'portable' });
  t.match(bench.said.at(-1), { level: 40, msg: /not encrypted/ });
  t.throws(() => bench.with({ BACKUP_KEY: 'short' }), { message: /BACKUP_KEY key 1 must hold 32 bytes/ });
});

t.test('E5 F10 a backup is the database of one moment, while others write', async (t) => {
  const bench = openBench(t, databaseUrl);
  const writer = await world.person(`writer${randomBytes(2).toString('hex')}`);
  await ask(
    'mutation ($input: JoinChannelInput!) { joinChannel(input: $input) { member { role } } }',
    { input: { channelId: room } },
    writer.token,
  );
  let writing = true;
  const write = async (): Promise<number> => {
    let count = 0;
    for (; writing; count++) {
      await ask(
        'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }',
        { input: { channelId: room, text: `while ${count}` } },
        writer.token,
      );
    }
    return count;
  };
  const writers = Promise.all([write(), write()]);
  for (const form of ['portable', undefined] as const) {
    const { name } = await backUp(bench, { form });
    const into = `moment_${randomBytes(6).toString('hex')}`;
    t.teardown(() => owner.query(`drop database if exists ${into} with (force)`));
    await restore(bench, { name, into });
    const client = new pg.Client({ connectionString: Object.assign(new URL(databaseUrl), { pathname: into }).href });
    await client.connect();
    const { rows } = await client.query(
      `select channel.name from chat.channels as channel
      where last_seq <> (select count(*) from chat.messages where channel_id = channel.id)
        or last_seq <> (select coalesce(max(seq), 0) from chat.messages where channel_id = channel.id)`,
    );
    await client.end();
    t.strictSame(rows, []);
  }
  writing = false;
  const counts = await writers;
  t.ok(counts[0] + counts[1] > 5, `${counts} messages were sent meanwhile`);
});

t.test('E5 a backup that is killed in the middle counts for nothing, and stops no other', async (t) => {
  const bench = openBench(t, databaseUrl);
  const held = await hold(t, 'chat.nonces');
  const { child, ended } = launch('backup', ['--form', 'portable'], bench.env);
  await until(waiting, 'a backup that waits');
  const second = await runScript('backup', [], bench.env);
  t.match(second, { status: 1, stderr: /Another backup is running\.\nWait for it/ });
  child.kill('SIGKILL');
  await ended;
  await held.release();
  const { rows } = await owner.query("select name from operations.backups where state = 'running'");
  t.equal(rows.length, 1);
  const [{ name }] = rows;
  t.notOk(existsSync(path.join(bench.folder, name, 'manifest.json')));
  const storage = openStorage(bench.folder, bench.settings);
  t.match(await listBackups(storage, []), [{ name, problem: 'it was not finished' }]);
  await t.rejects(restore(bench, { name }), { message: /was not finished/ });
  await until(async () => !(await waiting()));
  const next = await backUp(bench, { form: 'portable' });
  t.match(await record(name), { state: 'failed', error: 'It was cut short.' });
  t.match(await record(next.name), { state: 'finished' });
});

t.test('E5 Postgres ends the connections of a backup: it fails, says so, and leaves nothing', async (t) => {
  const bench = openBench(t, databaseUrl);
  for (const whose of ["wait_event_type = 'Lock'", 'true']) {
    const held = await hold(t, 'chat.nonces');
    const backup = backUp(bench, { form: 'portable' });
    const failed = t.rejects(backup, { name: 'Refusal', message: /^The connection to the database was lost/ });
    await until(waiting, 'a backup that waits');
    await owner.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'plinth backup' and datname = current_database() and ${whose}`,
    );
    await failed;
    await held.release();
    t.strictSame(existsSync(bench.folder) ? readdirSync(bench.folder) : [], []);
    const { rows } = await owner.query('select state, error from operations.backups order by started_at desc limit 1');
    t.match(rows[0], { state: 'failed', error: /was lost/ });
  }
});

t.test('E5 a backup and a restore that are stopped undo what they did', async (t) => {
  const stop = new AbortController();
  const bench = { ...openBench(t, databaseUrl), signal: stop.signal };
  const held = await hold(t, 'chat.nonces');
  const failed = t.rejects(backUp(bench, { form: 'portable' }), { message: 'enough' });
  await until(waiting, 'a backup that waits');
  stop.abort(new Error('enough'));
  await failed;
  await held.release();
  t.strictSame(readdirSync(bench.folder), []);
  const { rows } = await owner.query('select state, error from operations.backups order by started_at desc limit 1');
  t.match(rows[0], { state: 'failed', error: 'It was stopped.' });
  const { name } = await backUp({ ...bench, signal: new AbortController().signal });
  const soon = AbortSignal.timeout(300);
  await t.rejects(proveBackup({ ...bench, signal: soon }, name), { name: 'TimeoutError' });
  t.match(await record(name), { state: 'finished', error: null });
});

t.test(
  'E5 T9 daily backups go after 7 days, weekly ones after 30, monthly ones never; none before a newer is proven',
  async (t) => {
    await owner.query('begin; delete from operations.backups; commit');
    const now = Date.UTC(2026, 5, 30, 12);
    const day = (ago: number): Date => new Date(now - ago * 86_400_000);
    const add = (name: string, kind: string, ago: number, state: string, parts = 'all') =>
      owner.query(
        `insert into operations.backups (name, kind, form, storage, parts, state, started_at, finished_at, proven_at, error)
      values ($1, $2, 'portable', '/x', $3, $4, $5, $6, $7, $8)`,
        [
          ...[name, kind, parts, state, day(ago)],
          ...[name.startsWith('cut') ? null : day(ago), state === 'proven' ? day(ago) : null],
          state === 'failed' ? 'x' : null,
        ],
      );
    const expired = async () =>
      (await owner.query('select name from operations.expired_backups($1)', [day(0)])).rows.map(({ name }) => name);
    await add('proven 100', 'daily', 100, 'proven');
    await add('monthly 90', 'monthly', 90, 'finished');
    await add('daily 50', 'daily', 50, 'finished');
    t.strictSame(await expired(), [], 'the newest proven one stays however old it is, and so does what is newer');
    await add('cut 2', 'daily', 2, 'failed');
    await add('cut 0', 'daily', 0.5, 'failed');
    t.strictSame(await expired(), ['cut 2'], 'what was cut short goes after a day');
    await add('data 1', 'daily', 1, 'proven', 'data');
    t.strictSame(await expired(), ['cut 2'], 'data alone stands in for none');
    await add('proven 6', 'daily', 6, 'proven');
    await add('weekly 31', 'weekly', 31, 'proven');
    await add('weekly 29', 'weekly', 29, 'proven');
    await add('daily 8', 'daily', 8, 'proven');
    await add('failed 9', 'monthly', 9, 'failed');
    await add('data 8', 'daily', 8, 'finished', 'data');
    await add('running 20', 'daily', 20, 'running');
    t.strictSame(
      (await expired()).sort(),
      ['cut 2', 'daily 50', 'daily 8', 'data 8', 'failed 9', 'proven 100', 'weekly 31'].sort(),
    );
    await owner.query('begin; delete from operations.backups; commit');
  },
);

t.test(
  'E5 pruning removes what is kept no longer, from a bucket of S3 too, and notes what is stored or lost',
  async (t) => {
    const fauxqs = await startFauxqs({ port: 0, logger: false });
    t.teardown(() => fauxqs.stop());
    fauxqs.createBucket('keep');
    const where = {
      BACKUP_STORAGE: 's3://keep/plinth',
      S3_ENDPOINT: fauxqs.address,
      S3_KEY: 'k',
      S3_SECRET: 's',
      BACKUP_KEY: key(),
    };
    const bench = openBench(t, databaseUrl, where);
    const names: string[] = [];
    for (let count = 0; count < 4; count++) names.push((await backUp(bench, { form: 'portable' })).name);
    const [monthly = '', old = '', lost = '', newest = ''] = names;
    await owner.query(
      "update operations.backups set started_at = now() - interval '9 days', finished_at = now() - interval '9 days' where name = $1",
      [old],
    );
    t.match(await pruneBackups(bench), { removed: [], found: [], missing: [] });
    await proveBackup(bench, newest);
    await owner.query('delete from operations.backups where name = $1', [monthly]);
    const storage = openStorage(where.BACKUP_STORAGE, bench.settings);
    await storage.remove(`${lost}/manifest.json`);
    for (const { name } of await storage.list(`${lost}/`)) await storage.remove(name);
    t.strictSame(await pruneBackups(bench), { removed: [old], found: [monthly], missing: [lost] });
    t.match(await record(monthly), { state: 'finished', kind: 'monthly' });
    t.strictSame(
      (await listBackups(storage, bench.settings.backupKey ?? [])).map(({ name }) => name).sort(),
      [monthly, newest].sort(),
    );
    t.strictSame(await pruneBackups(bench), { removed: [], found: [], missing: [] });
    const before = await contents(databaseUrl);
    await restore(bench, { name: newest });
    t.strictSame(await contents(databaseUrl), before);
    t.match(
      await record(newest),
      { state: 'proven', restore_seconds: Number },
      'a restored database knows what it came from',
    );
  },
);

t.test('E5 the tasks of jobs make, prove and prune', async (t) => {
  const bench = openBench(t, databaseUrl, { BACKUP_KEY: key() });
  const work = { ...bench, runId: '1', attempt: 1 };
  const made = (await backupTask.run(backupTask.payload.parse({ form: 'portable' }), work)) as { name: string };
  t.match(await proveBackupTask.run(proveBackupTask.payload.parse({}), work), { name: made.name });
  t.match(await pruneBackupsTask.run(pruneBackupsTask.payload.parse({}), work), { removed: [] });
  t.notOk(backupTask.payload.safeParse({ parts: 'no; such' }).success);
});
