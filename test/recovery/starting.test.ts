import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { applySchema, schemaFile } from '../../functions/apply.ts';
import { connected } from '../../functions/connection.ts';
import { until } from '../events/listen.ts';
import { launch, temporaryFolder } from '../running-plinth.ts';
import { asPostgres, clusterFolder, makeCluster, programs } from './cluster.ts';

const skip = !programs && "needs Debian's postgresql, which .ci/run installs";

t.test('E3 workers and servers wait for a Postgres that is still starting up, and say so', { skip }, async (t) => {
  const cluster = await makeCluster(t, await clusterFolder(t), 'data', { flags: '-c hot_standby=off' });
  await cluster.start();
  await connected(cluster.url, (client) => applySchema(client, readFileSync(schemaFile, 'utf8'), 'schema.sql'));
  await cluster.stop();
  // As long as it recovers it lets nobody in.
  writeFileSync(path.join(cluster.data, 'standby.signal'), '');
  await cluster.start();
  const env = { DATABASE_URL: cluster.url, PORT: '0' };
  const started = ['worker', 'start'].map((script) => {
    const { child, ended } = launch(script, [], { ...env, PLINTH_DATA: temporaryFolder(t) });
    t.teardown(() => void child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data));
    return { script, child, ended, said: () => said };
  });
  for (const { script, said } of started) {
    await until(() => /is not ready yet \(the database system/.test(said()), `${script}: ${said()}`);
  }
  await asPostgres(path.join(programs as string, 'pg_ctl'), ['-D', cluster.data, '-w', 'promote']);
  for (const { script, child, ended, said } of started) {
    await until(() => /Plinth works|Plinth is ready/.test(said()), `${script}: ${said()}`);
    child.kill('SIGTERM');
    t.match(await ended, { status: 0 }, script);
    t.equal(said().match(/is not ready yet/g)?.length, 1, 'once');
    t.notMatch(said(), /^ +at /m, 'no stack');
  }
});
