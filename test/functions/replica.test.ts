import pino from 'pino';
import t from 'tap';
import { openReplica } from '../../functions/replica.ts';
import { openRequests } from '../../functions/requests.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { until } from '../events/listen.ts';
import { openWorld } from '../world.ts';

// test/recovery/replica.long.test.ts has a replica that answers.

t.test('T11 who has written is forgotten after a while, where the replica is lost as well', async (t) => {
  const { databaseUrl } = await openWorld(t);
  const log = pino({ level: 'silent' });
  const nowhere = 'postgres://nobody@127.0.0.1:1/none';
  const open = (url: string) => openRequests(url, { size: 1, log });
  const replica = openReplica(await serverUrl(databaseUrl), nowhere, 200, open, log);
  t.teardown(replica.close);
  for (let n = 0; n < 1000; n += 1) replica.wrote(`user ${n}`);
  t.match(replica.state(), { state: 'lost', writers: 1000 });
  await until(() => replica.state().writers === 0, 'That all are forgotten');
  t.match(replica.state(), { state: 'lost' });
});
