import pg from 'pg';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';

// In which order everything is locked: users, organizations, channels, what is in them, and at the commit the counts of
// topics. Two transactions that come the other way round meet here at the one moment when they would wait in a circle.

const world = await openWorld(t);
const { owner, person } = world;
const { room, add, done } = openActs(world);

const clients: pg.Client[] = [];
t.teardown(() => Promise.all(clients.map((client) => client.end())));

/** A connection of someone's, in a transaction. */
async function begin(who?: Person) {
  const client = new pg.Client({ connectionString: world.databaseUrl });
  await client.connect();
  clients.push(client);
  await client.query('begin');
  if (who) await client.query("select set_config('plinth.user_id', $1, true)", [who.id]);
  const { rows } = await client.query('select pg_backend_pid() as pid');
  return {
    pid: rows[0].pid as number,
    run: (text: string, values: unknown[] = []) => client.query(text, values),
    commit: () => client.query('commit'),
    /** Runs a statement that is to wait for someone. @returns what becomes of the transaction, once it waits */
    async waits(text: string, values: unknown[] = []): Promise<{ outcome: Promise<string> }> {
      const outcome = client
        .query(text, values)
        .then(() => client.query('commit'))
        .then(
          () => 'done',
          (error: { code: string }) => client.query('rollback').then(() => error.code),
        );
      let settled = false;
      void outcome.finally(() => {
        settled = true;
      });
      while (!settled) {
        const waiting = await owner.query('select from pg_stat_activity where pid = $1 and wait_event_type = $2', [
          rows[0].pid,
          'Lock',
        ]);
        if (waiting.rowCount === 1) return { outcome };
      }
      throw new Error(`It waited for nobody: ${await outcome}`);
    },
  };
}

const lockRoom = 'select from chat.channels where id = $1 for no key update';
const removal = 'select identity.remove_account()';
t.test('C13 who has told someone of one thing may wait for another', async (t) => {
  const [ann, bob] = [await person('tell-ann'), await person('tell-bob')];
  const place = await room(ann, [bob]);
  const [mover, reader] = [await begin(ann), await begin(bob)];
  await mover.run("select events.publish('user:' || $1, 'moved')", [bob.id]);
  await reader.run(lockRoom, [place]);
  const moved = await mover.waits(lockRoom, [place]);
  await reader.run("select events.publish('user:' || $1, 'read')", [bob.id]);
  await reader.commit();
  t.equal(await moved.outcome, 'done');
  const { rows } = await owner.query('select type, seq from events.log where topic = $1 order by seq desc limit 2', [
    `user:${bob.id}`,
  ]);
  t.strictSame(
    rows.map(({ type }) => type),
    ['moved', 'read'],
    'and what was told is numbered as it was committed',
  );
});

t.test('C13 however many tell many at once, all of it is counted, without a gap', async (t) => {
  const topics = ['user:storm-1', 'user:storm-2', 'user:storm-3', 'organization:storm', 'system:storm'];
  const pool = new pg.Pool({ connectionString: world.databaseUrl, max: 8 });
  t.teardown(() => pool.end());
  await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      const client = await pool.connect();
      try {
        await client.query('begin');
        for (let at = 0; at < topics.length; at += 1) {
          const topic = topics[(n * 3 + at * (n % 2 ? 1 : 4)) % topics.length];
          await client.query("select events.publish($1, 'told', jsonb_build_object('by', $2::integer))", [topic, n]);
        }
        await client.query(n % 10 === 0 ? 'rollback' : 'commit');
      } finally {
        client.release();
      }
    }),
  );
  const { rows } = await owner.query(
    `select count(*)::integer, min(seq)::integer, max(seq)::integer, count(distinct seq)::integer as numbers
    from events.log where topic = any ($1) group by topic`,
    [topics],
  );
  t.strictSame(rows, Array(5).fill({ count: 54, min: 1, max: 54, numbers: 54 }));
  t.equal((await owner.query('select from events.untold')).rowCount, 0, 'and nothing of it is left');
});

t.test('C2 someone is added to a room while their account goes', async (t) => {
  const [ann, bob] = [await person('add-ann'), await person('add-bob')];
  const places = [await room(ann, [bob]), await room(ann, [bob])].sort() as [string, string];
  const holder = await begin();
  await holder.run(lockRoom, [places[0]]);
  const leaver = await begin(bob);
  const removed = await leaver.waits(removal);
  const adder = await begin(ann);
  const added = await adder.waits('select chat.add_member($1, $2)', [places[1], bob.id]);
  await holder.commit();
  t.equal(await removed.outcome, 'done');
  t.equal(await added.outcome, 'PT404', 'and is not there any more');
});

t.test('C2 who leads a room goes while someone comes', async (t) => {
  const [ann, bob, cat] = [await person('lead-ann'), await person('lead-bob'), await person('lead-cat')];
  const place = await room(ann, [bob], true);
  await done(ann, 'leaveChannel', { channelId: place });
  await done(cat, 'joinRoom', { channelId: place });
  const coming = await begin(cat);
  await coming.run(lockRoom, [place]);
  const leaver = await begin(bob);
  const removed = await leaver.waits(removal);
  // The leader was told that they came; that they have gone takes its place.
  const told = await coming.run('delete from notifications.notifications where recipient_id = $1', [bob.id]);
  t.equal(told.rowCount, 1);
  await coming.commit();
  t.equal(await removed.outcome, 'done');
});

t.test('C7 someone is merged while their organization is at work', async (t) => {
  const [ann, bob, old] = [await person('merge-ann'), await person('merge-bob'), await person('merge-old')];
  const operator = await person('merge-op', { operator: true });
  const { organization } = await done(ann, 'createOrganization', { name: 'Works' }, 'organization { id }');
  await owner.query(
    `insert into organizations.memberships (organization_id, user_id, role_id)
    values ($1, $2, organizations._system_role('member'))`,
    [organization.id, old.id],
  );
  const place = await room(ann, [old]);
  await add(ann, place, bob);
  const office = await begin();
  await office.run('select from organizations.organizations where id = $1 for no key update', [organization.id]);
  const held = 'select from organizations.memberships where organization_id = $1 and user_id = $2 for no key update';
  await office.run(held, [organization.id, old.id]);
  const merger = await begin(operator);
  const merged = await merger.waits("select accounts.merge_accounts($1, $2, 'One person')", [old.id, bob.id]);
  await office.run(lockRoom, [place]);
  await office.commit();
  t.equal(await merged.outcome, 'done');
});

t.test('C2 who was imported goes while someone writes a row that names them', async (t) => {
  const [ann, bob] = [await person('ref-ann'), await person('ref-bob')];
  await owner.query("update identity.users set external_ref = 'gitter:bob' where id = $1", [bob.id]);
  const place = await room(ann, [bob]);
  const writer = await begin(ann);
  await writer.run(lockRoom, [place]);
  const leaver = await begin(bob);
  const removed = await leaver.waits(removal);
  await writer.run('insert into chat.room_mutes (channel_id, user_id, muted_by) values ($1, $2, $3)', [
    place,
    bob.id,
    ann.id,
  ]);
  await writer.commit();
  t.equal(await removed.outcome, 'done');
});
