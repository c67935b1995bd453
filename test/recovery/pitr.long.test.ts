import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import type pg from 'pg';
import t from 'tap';
import { applySchema } from '../../functions/apply.ts';
import { connected } from '../../functions/connection.ts';
import { schemaFile } from '../world.ts';
import { asPostgres, clusterFolder, makeCluster, programs, run } from './cluster.ts';

const script = path.join(import.meta.dirname, '..', '..', 'scripts', 'pitr.sh');
const backrest = await run('pgbackrest', ['version']).catch(() => undefined);
const missing = [...(backrest ? [] : ['pgbackrest']), ...(programs ? [] : ['postgresql'])];
const skip = missing.length > 0 && `needs Debian's ${missing.join(' and ')}, which .ci/run installs`;

t.test('F10 a database that was destroyed comes back as it was at a given time', { skip }, async (t) => {
  const home = await clusterFolder(t);
  const cluster = await makeCluster(t, home, 'data');
  const { url } = cluster;
  const env = {
    PITR_CONFIG: path.join(home, 'pgbackrest.conf'),
    PITR_FOLDER: path.join(home, 'archive'),
    PITR_KEY: 'a key of the test',
    ...{ PGHOST: home, PGPORT: String(cluster.port), PGUSER: 'postgres', PGDATABASE: 'postgres' },
  };
  const pitr = (...args: string[]) => run('bash', [script, ...args], env);
  const query = (sql: string, values: unknown[] = []) =>
    connected(url, async (client) => (await client.query(sql, values)).rows);
  const names = async () => (await query('select username from identity.users order by 1')).map((row) => row.username);
  const add = (name: string) => query('insert into identity.users (username, display_name) values ($1, $1)', [name]);

  await t.rejects(pitr('status'), /There is no .*pgbackrest.conf.\n.*configure first/, 'before it is configured');
  await cluster.start();
  await connected(url, (client) => applySchema(client as pg.Client, readFileSync(schemaFile, 'utf8'), 'schema.sql'));
  await pitr('configure');
  await cluster.stop();
  await cluster.start();
  t.equal(statSync(env.PITR_CONFIG).mode & 0o077, 0, 'nobody else may read the key');
  await add('before');
  t.match(await pitr('backup'), /full backup: /);
  t.match(await pitr('check'), /arrives in the archive/);

  await add('between');
  // pgBackRest knows the end of a backup to the second: a time of that second is not after it.
  const [{ now }] = await query('select pg_sleep(1.1), clock_timestamp()::text as now');
  await query('delete from identity.users');
  await add('after');
  const [{ now: later }] = await query('select now()::text');
  await add('at_last');
  await pitr('check');
  t.same(await names(), ['after', 'at_last']);

  const stored = ['archive', 'backup'].flatMap((kind) =>
    readdirSync(path.join(env.PITR_FOLDER, kind), { recursive: true, withFileTypes: true }).filter((file) =>
      file.isFile(),
    ),
  );
  t.ok(stored.length > 5);
  for (const { parentPath, name } of stored) {
    const start = readFileSync(path.join(parentPath, name)).subarray(0, 8).toString();
    t.equal(start, 'Salted__', `${name} is encrypted`);
  }

  await t.rejects(pitr('restore', now), /Postgres runs in/, 'not under a server that runs');
  await cluster.stop('immediate');
  rmSync(cluster.data, { recursive: true });
  await pitr('restore', now);
  await cluster.start();
  t.match(await pitr('restored'), /postgres knows that it was restored/);
  t.same(await names(), ['before', 'between'], 'what came later is not there, and what was then is');
  await add('since');

  t.comment('once more, on the new timeline, as it was last');
  await pitr('check');
  await cluster.stop();
  await asPostgres('rm', ['-rf', path.join(cluster.data, 'base')]);
  await pitr('restore');
  await cluster.start();
  await pitr('restored');
  t.same(await names(), ['before', 'between', 'since']);

  t.comment('that was too early: later, on the timeline that was left');
  await pitr('check');
  await cluster.stop();
  await pitr('restore', later, '1');
  await cluster.start();
  await pitr('restored');
  t.same(await names(), ['after']);
});
