import assert from 'node:assert/strict';
import fc from 'fast-check';
import pg from 'pg';
import t, { type Test } from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';

// What must hold after anything that people can do, in any order: sequences made by fast-check, on a real database.

// On a slow machine the runs are fewer: each property ends with its time.
t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner, person } = world;
const everyone = [await person('ann'), await person('bob'), await person('cat'), await person('dan')];
const pool = new pg.Pool({ connectionString: world.databaseUrl, max: 20 });
// The database may be gone before an idle connection is.
pool.on('error', () => {});
t.teardown(() => pool.end());

/** Runs a function of SQL as a user, in a transaction of its own; null where it was refused. */
async function as({ id }: Person, call: string, values: unknown[] = []): Promise<Record<string, unknown> | null> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query("select set_config('plinth.user_id', $1, true)", [id]);
    const { rows } = await client.query(`select * from ${call}`, values);
    await client.query('commit');
    return rows[0] ?? {};
  } catch (error) {
    await client.query('rollback');
    // Refusals are part of life; anything else is a defect.
    if (!/^PT4/.test((error as { code: string }).code)) throw error;
    return null;
  } finally {
    client.release();
  }
}
async function newRoom(by: Person, isPublic = true): Promise<string> {
  const room = await as(by, "chat.create_room('room', null, $1)", [isPublic]);
  return room?.id as string;
}

/** A property fails with the shortest sequence that breaks it, and the seed to run it again. */
function holds<Values>(
  t: Test,
  property: fc.IAsyncProperty<Values>,
  parameters: fc.Parameters<Values>,
): Promise<unknown> {
  return t.resolves(fc.assert(property, parameters));
}

/** What is unread, counted message by message. */
async function recount(channel: string): Promise<{ user: string; unread: number }[]> {
  const { rows } = await owner.query(
    `select member.user_id as user, (
      select count(*) from chat.messages as message
      where message.channel_id = member.channel_id and message.deleted_at is null
        and message.seq > coalesce(member.last_read_seq, member.joined_seq)
    )::integer as unread
    from chat.members as member where member.channel_id = $1 order by 1`,
    [channel],
  );
  return rows;
}

type Action = { who: number; what: 'send' | 'edit' | 'delete' | 'join' | 'leave' | 'read' | 'readTo'; which: number };
const action: fc.Arbitrary<Action> = fc.record({
  who: fc.nat({ max: everyone.length - 1 }),
  what: fc.oneof(
    { weight: 5, arbitrary: fc.constant('send' as const) },
    { weight: 5, arbitrary: fc.constantFrom('edit', 'delete', 'delete', 'join', 'leave', 'read', 'readTo') },
  ),
  which: fc.nat({ max: 30 }),
});

async function act(channel: string, { who, what, which }: Action): Promise<void> {
  const by = everyone[who] as Person;
  const { rows } = await owner.query('select id, seq from chat.messages where channel_id = $1 order by id', [channel]);
  const message = rows[which % Math.max(rows.length, 1)];
  if (what === 'send') await as(by, "chat.send_message($1, 'hello')", [channel]);
  if (what === 'edit' && message) await as(by, "chat.edit_message($1, 'changed')", [message.id]);
  if (what === 'delete' && message) await as(by, 'chat.delete_message($1)', [message.id]);
  if (what === 'join') await as(by, 'chat.join_room($1)', [channel]);
  if (what === 'leave') await as(by, 'chat.leave_channel($1)', [channel]);
  if (what === 'read') await as(by, 'chat.mark_read($1)', [channel]);
  if (what === 'readTo' && message) await as(by, 'chat.mark_read($1, $2)', [channel, message.seq]);
}

async function unreadOf(channel: string): Promise<{ user: string; unread: number }[]> {
  const told = await Promise.all(
    everyone.map(async ({ id, token }) => {
      const { data } = await ask('query ($id: UUID!) { channel(id: $id) { unread } }', { id: channel }, token);
      return { user: id, unread: data.channel.unread as number | null };
    }),
  );
  return told
    .filter((each): each is { user: string; unread: number } => each.unread !== null)
    .sort((a, b) => (a.user < b.user ? -1 : 1));
}

t.test('T5 unread equals a recount after any sequence of sends, edits, deletes, joins, leaves and reads', async (t) => {
  let runs = 0;
  let seen = 0;
  await holds(
    t,
    fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40, size: 'max' }), async (actions) => {
      const channel = await newRoom(everyone[0] as Person);
      for (const { id } of everyone.slice(1, 3))
        await as(everyone[0] as Person, 'chat.add_member($1, $2)', [channel, id]);
      for (const each of actions) await act(channel, each);
      const counted = await recount(channel);
      runs += 1;
      seen += counted.filter(({ unread }) => unread > 0).length;
      assert.deepStrictEqual(await unreadOf(channel), counted);
    }),
    // The first is known to leave something: on a slow machine it may be one of few.
    { numRuns: 100, interruptAfterTimeLimit: 8_000, examples: [[[{ who: 0, what: 'send', which: 0 }]]] },
  );
  t.ok(seen >= runs / 4, `there was something unread: ${seen} in ${runs} runs`);
});

t.test('T5 the same when everybody acts at once; numbers have no gaps; order is one', async (t) => {
  await holds(
    t,
    fc.asyncProperty(fc.array(action, { minLength: 20, maxLength: 60, size: 'max' }), async (actions) => {
      const channel = await newRoom(everyone[0] as Person);
      for (const { id } of everyone.slice(1)) await as(everyone[0] as Person, 'chat.add_member($1, $2)', [channel, id]);
      await Promise.all(actions.map((each) => act(channel, each)));
      assert.deepStrictEqual(await unreadOf(channel), await recount(channel));
      const { rows } = await owner.query(
        `select array_agg(seq::integer order by seq) as numbers, array_agg(seq::integer order by id) as by_id,
          array_agg(seq::integer order by sent_at, seq) as by_time, max(seq)::integer = (select last_seq from chat.channels where id = $1) as counted
        from chat.messages where channel_id = $1 having count(*) > 0`,
        [channel],
      );
      for (const { numbers, by_id, by_time, counted } of rows) {
        assert.deepStrictEqual(
          numbers,
          numbers.map((_: number, index: number) => index + 1),
          'from 1, without gaps',
        );
        assert.deepStrictEqual(by_id, numbers, 'in the order of ids');
        assert.deepStrictEqual(by_time, numbers, 'in the order of time');
        assert.ok(counted, 'the channel counts them');
      }
    }),
    { numRuns: 30, interruptAfterTimeLimit: 5_000 },
  );
});

t.test('T4 paging in any order and size gives each row once while others insert', async (t) => {
  const [ann, bob] = everyone as [Person, Person];
  const channel = await newRoom(ann);
  await as(bob, 'chat.join_room($1)', [channel]);
  for (let count = 0; count < 30; count += 1)
    await as(count % 2 ? ann : bob, 'chat.send_message($1, $2)', [channel, `before ${count}`]);
  const query = `query ($channel: UUID!, $order: MessageOrder, $first: Int, $after: String, $last: Int, $before: String) {
    channel(id: $channel) { messages(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
      nodes { id text } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } } }`;
  const order = fc.constantFrom(
    'ID_ASC',
    'ID_DESC',
    'SENDER_ID_ASC',
    'SENDER_ID_DESC',
    'REPLY_TO_ID_ASC',
    'REPLY_TO_ID_DESC',
  );
  await holds(
    t,
    fc.asyncProperty(order, fc.integer({ min: 1, max: 13 }), fc.boolean(), async (order, size, forward) => {
      const there = (await owner.query('select id from chat.messages where channel_id = $1', [channel])).rows.map(
        ({ id }) => id as string,
      );
      const got: string[] = [];
      let cursor: string | null = null;
      for (let more = true; more; ) {
        const page: object = forward ? { first: size, after: cursor } : { last: size, before: cursor };
        const [answer]: [Answer, unknown] = await Promise.all([
          ask(query, { channel, order, ...page }, ann.token),
          as(got.length % 2 ? ann : bob, "chat.send_message($1, 'meanwhile')", [channel]),
        ]);
        const { nodes, pageInfo } = answer.data.channel.messages;
        got.push(...nodes.map(({ id }: { id: string }) => id));
        cursor = forward ? pageInfo.endCursor : pageInfo.startCursor;
        more = (forward ? pageInfo.hasNextPage : pageInfo.hasPreviousPage) && got.length < there.length + 100;
      }
      assert.equal(new Set(got).size, got.length, 'no row twice');
      assert.deepStrictEqual(
        there.filter((id) => !got.includes(id)),
        [],
        'every row that was there',
      );
      await owner.query("delete from chat.messages where channel_id = $1 and text = 'meanwhile'", [channel]);
    }),
    { numRuns: 40, interruptAfterTimeLimit: 7_000 },
  );
});

t.test('a nonce sent by 20 clients at once makes one message', async (t) => {
  const [ann] = everyone as [Person];
  const [one, other] = [await newRoom(ann), await newRoom(ann)];
  await holds(
    t,
    fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), fc.uuid(), async (text, nonce) => {
      const sent = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          as(ann, 'chat.send_message($1, $2, $3)', [index % 4 ? one : other, `.${text}`, nonce]),
        ),
      );
      assert.equal(new Set(sent.map((message) => message?.id)).size, 1);
      const { rows } = await owner.query(
        'select count(*)::integer as n from chat.messages where id in (select message_id from chat.nonces where nonce = $1)',
        [nonce],
      );
      assert.equal(rows[0].n, 1);
    }),
    { numRuns: 15, interruptAfterTimeLimit: 6_000 },
  );
  for (const channel of [one, other]) {
    const { rows } = await owner.query(
      'select last_seq = (select count(*) from chat.messages where channel_id = $1) as whole from chat.channels where id = $1',
      [channel],
    );
    t.ok(rows[0].whole, 'the copies took no numbers');
  }
});

const time = fc.date({ min: new Date('1990-01-01'), max: new Date('2200-01-01'), noInvalidDate: true });

t.test(
  'a UUIDv7 carries its time, stands above the floor of its millisecond and has version and variant',
  async (t) => {
    await holds(
      t,
      fc.asyncProperty(fc.array(time, { minLength: 20, maxLength: 20 }), async (times) => {
        const { rows } = await owner.query(
          `select id::text, at, public.uuid_v7_time(id) as carried, public.uuid_v7_floor(at) <= id as above,
          id < public.uuid_v7_floor(at + interval '1 millisecond') as below, public.uuid_v7_time(public.uuid_v7_floor(at)) as floor_time
        from unnest($1::timestamptz[]) as at cross join lateral public.uuid_v7_at(at, null) as id`,
          [times],
        );
        for (const { id, at, carried, above, below, floor_time } of rows) {
          assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
          assert.equal(carried.getTime(), at.getTime());
          assert.equal(floor_time.getTime(), at.getTime());
          assert.ok(above && below, `${id} lies in its millisecond`);
        }
      }),
      { numRuns: 20 },
    );
    const { rows } = await owner.query(
      'select bool_and(id > before) as rising, bool_and(abs(extract(epoch from clock_timestamp() - public.uuid_v7_time(id))) < 60) as now from (select id, lag(id) over (order by n) as before from (select n, public.uuid_v7() as id from generate_series(1, 5000) as n) as made) as pairs',
    );
    t.ok(rows[0].now, 'uuid_v7 is of this moment');
  },
);

t.test('ids made one after another rise whatever the clock does', async (t) => {
  await holds(
    t,
    fc.asyncProperty(fc.array(time, { minLength: 2, maxLength: 60 }), async (times) => {
      const { rows } = await owner.query(
        `with recursive made (n, id) as (
          select 1, public.uuid_v7_at(($1::timestamptz[])[1], null)
          union all select n + 1, public.uuid_v7_at(($1::timestamptz[])[n + 1], id) from made where n < cardinality($1::timestamptz[])
        ) select array_agg(id order by n) = array_agg(id order by id) and count(distinct id) = count(*) as rising from made`,
        [times],
      );
      assert.ok(rows[0].rising);
    }),
    { numRuns: 30 },
  );
});

t.test('messages that are put in with any times keep the order of their numbers', async (t) => {
  const [ann] = everyone as [Person];
  const recent = fc.date({ min: new Date('2025-06-01'), max: new Date('2025-09-30'), noInvalidDate: true });
  await holds(
    t,
    fc.asyncProperty(fc.array(recent, { minLength: 2, maxLength: 12 }), async (times) => {
      const channel = await newRoom(ann);
      for (const at of times) {
        await owner.query(
          "select chat._post(channel, $2, 'text', 'x', null, null, '{}', $3) from chat.channels as channel where id = $1",
          [channel, ann.id, at],
        );
      }
      const { rows } = await owner.query(
        'select array_agg(seq::integer order by id) as numbers from chat.messages where channel_id = $1',
        [channel],
      );
      assert.deepStrictEqual(
        rows[0].numbers,
        times.map((_, index) => index + 1),
      );
    }),
    { numRuns: 15, interruptAfterTimeLimit: 5_000 },
  );
});
