import t from 'tap';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { fieldOf, listen, messageEvents, until } from './listen.ts';

t.setTimeout(180_000);

t.test('S1 those who come back after a cursor leave connections to everyone else, and write no log', async (t) => {
  const world = await openWorld(t, { env: { POOL_SIZE: '4' } });
  const acts = openActs(world);
  const [ann, bob] = [await world.person('ann'), await world.person('bob')];
  const room = await acts.room(ann);
  const after = await acts.cursor();
  await acts.send(ann, room, 'missed');
  world.logged.length = 0;
  // What looks up a cursor waits here, and nothing else does.
  const lock = await world.owner.connect();
  await lock.query('begin; lock table events.topic_kinds in access exclusive mode');
  const variables = { id: room, after };
  const ears = Array.from({ length: 12 }, () =>
    listen(t, world.server.url, { query: messageEvents, variables, token: ann.token }),
  );
  const waiting = `
    select count(*)::integer as count
    from pg_stat_activity
    where datname = current_database() and application_name = 'plinth' and wait_event_type = 'Lock'`;
  await until(async () => (await world.owner.query(waiting)).rows[0].count >= 1, 'Waiting');
  for (let tries = 0; tries < 5; tries += 1) {
    const answer = await world.ask('query($id: UUID!) { user(id: $id) { username } }', { id: bob.id }, bob.token);
    t.match(answer, { data: { user: { username: 'bob' } } });
  }
  t.ok((await world.owner.query(waiting)).rows[0].count <= 2, 'half of the connections at most');
  await lock.query('commit');
  lock.release();
  for (const ear of ears) t.equal(fieldOf(await ear.next()).message.text, 'missed');
  t.same(
    world.logged.filter(({ msg }) => msg === 'subscription'),
    [],
  );
});
