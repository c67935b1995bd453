import pg from 'pg';
import t from 'tap';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { until } from './listen.ts';

t.setTimeout(120_000);
const world = await openWorld(t);
const { owner, person } = world;
const acts = openActs(world);
const [ann, bob, cat] = [await person('ann'), await person('bob'), await person('cat')];
const pool = new pg.Pool({ connectionString: world.databaseUrl, max: 20 });
pool.on('error', () => {});
t.teardown(() => pool.end());

/** Runs SQL as a user, in one transaction. */
async function as({ id }: Person, text: string, values: unknown[] = []): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query("select set_config('plinth.user_id', $1, true)", [id]);
    await client.query(text, values);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

async function logOf(topic: string) {
  const { rows } = await owner.query('select * from events.log where topic = $1 order by seq', [topic]);
  return rows;
}
/** The types of what a topic has been told since a number of events. */
async function typesOf(topic: string, since = 0): Promise<string[]> {
  return (await logOf(topic)).slice(since).map(({ type }) => type);
}
const codeOf = (error: unknown): string | undefined => (error as { code?: string } | undefined)?.code;
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error) => error,
  );

t.test('C13 an event has an envelope: what, when, who, by which request', async (t) => {
  const id = await acts.room(ann);
  const response = await fetch(`${world.server.url}graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-request-id': 'trace-me',
      authorization: `Bearer ${ann.token}`,
    },
    body: JSON.stringify({
      query: `mutation { sendMessage(input: { channelId: "${id}", text: "hello" }) { message { id seq } } }`,
    }),
  });
  const { message } = (await response.json()).data.sendMessage;
  const event = (await logOf(`channel:${id}`)).at(-1);
  t.match(event, { kind: 'channel', type: 'message_sent', version: '1.0', producer: 'plinth', user_id: ann.id });
  t.equal(event.trace_id, 'trace-me');
  t.same(event.data, { channel_id: id, message_id: message.id, seq: 1 });
  t.match(event.id, /^[0-9a-f]{8}-[0-9a-f]{4}-/);
  t.ok(Math.abs(Date.now() - event.at.getTime()) < 60_000);
});

t.test('C13 each kind of topic is kept as long as it says', async (t) => {
  const { rows } = await owner.query(
    'select stream, extract(day from kept)::integer as days from events.topic_kinds order by 1',
  );
  t.same(Object.fromEntries(rows.map(({ stream, days }) => [stream, days])), {
    chat: 7,
    notification: 7,
    organization: 30,
    procurement: 7,
    run: 7,
    search: 1,
    system: 60,
    user: 30,
  });
});

t.test('every change that someone may follow is an event', async (t) => {
  const topics = { room: '', ann: `user:${ann.id}`, bob: `user:${bob.id}` };
  const counts = new Map<string, number>();
  /** What an act tells the room and two people. */
  const told = async (act: () => Promise<unknown>) => {
    for (const topic of Object.values(topics)) counts.set(topic, (await logOf(topic)).length);
    await act();
    const found = await Promise.all(Object.values(topics).map((topic) => typesOf(topic, counts.get(topic))));
    return Object.fromEntries(Object.keys(topics).map((name, index) => [name, found[index]]));
  };
  const id = await acts.room(ann, [], true);
  topics.room = `channel:${id}`;
  t.same(await typesOf(topics.room), ['member_joined'], 'made');
  t.same(await told(() => acts.join(bob, id)), { room: ['member_joined'], ann: [], bob: ['membership_joined'] });
  let message = '';
  const send = async () => {
    message = await acts.send(ann, id, 'one');
  };
  t.same(await told(send), { room: ['message_sent'], ann: [], bob: [] });
  t.same(await told(() => acts.edit(ann, message, 'two')), { room: ['message_edited'], ann: [], bob: [] });
  t.same(await told(() => acts.read(bob, id)), { room: [], ann: [], bob: ['message_read'] });
  t.same(await told(() => acts.read(bob, id)), { room: [], ann: [], bob: [] }, 'read already');
  t.same(await told(() => acts.delete(ann, message)), { room: ['message_deleted'], ann: [], bob: [] });
  const promote = "update chat.members set role = 'moderator' where channel_id = $1 and user_id = $2";
  t.same(await told(() => owner.query(promote, [id, bob.id])), {
    room: ['member_changed'],
    ann: [],
    bob: ['membership_changed'],
  });
  const rename = "update chat.channels set name = 'Hall' where id = $1";
  t.same(await told(() => owner.query(rename, [id])), { room: ['channel_changed'], ann: [], bob: [] });
  t.same(await told(() => acts.leave(bob, id)), { room: ['member_left'], ann: [], bob: ['membership_left'] });
  await acts.join(bob, id);
  t.same(await told(() => acts.remove(ann, id, bob)), { room: ['member_left'], ann: [], bob: ['membership_left'] });

  const direct = await acts.direct(ann, bob);
  await acts.send(ann, direct, 'psst');
  topics.room = `channel:${direct}`;
  t.same(await told(() => acts.read(bob, direct)), { room: ['message_read'], ann: [], bob: ['message_read'] });

  const again = () => owner.query('select identity.open_session($1)', [bob.id]);
  const logOut = () => owner.query('update identity.sessions set revoked_at = now() where user_id = $1', [bob.id]);
  await again();
  t.same(await told(logOut), { room: [], ann: [], bob: ['session_ended', 'session_ended'] }, 'one for each session');
  await again();
  t.same(await told(() => owner.query('delete from identity.sessions where user_id = $1', [bob.id])), {
    room: [],
    ann: [],
    bob: ['session_ended'],
  });
  const operator = 'update identity.accounts set is_operator = not is_operator where user_id = $1';
  t.same(await told(() => owner.query(operator, [bob.id])), { room: [], ann: [], bob: ['account_changed'] });
  t.match((await logOf(topics.bob)).at(-1), { rechecks: bob.id });
});

t.test('T6 an import is told once a room and batch, whoever wrote', async (t) => {
  const line = (n: number) => ({
    ...{ line: n, room_id: 'r1', room: 'Imported', user_id: 'u1', username: 'someone' },
    ...{ message_id: `m${n}`, sent_at: `2020-01-01T00:00:0${n}Z`, text: `text ${n}` },
  });
  const batch = JSON.stringify([1, 2, 3].map(line));
  await owner.query("select chat.import_messages('gitter', $1)", [batch]);
  const { rows } = await owner.query("select id from chat.channels where external_ref = 'gitter:r1'");
  t.same(await typesOf(`channel:${rows[0].id}`), ['member_joined', 'messages_imported']);
  await owner.query("select chat.import_messages('gitter', $1)", [batch]);
  t.equal((await logOf(`channel:${rows[0].id}`)).length, 2, 'what was known is not told again');
});

t.test('an event and its change happen together or not at all', async (t) => {
  const id = await acts.room(ann);
  const before = (await logOf(`channel:${id}`)).length;
  const failed = await failureOf(
    as(ann, `do $$ begin perform chat.send_message('${id}', 'never'); raise 'no'; end $$`),
  );
  t.equal(codeOf(failed), 'P0001');
  t.equal((await logOf(`channel:${id}`)).length, before);
  await acts.send(ann, id, 'after all');
  const seqs = (await logOf(`channel:${id}`)).map(({ seq }) => Number(seq));
  t.same(seqs, [1, 2], 'and its number is not used up');
});

t.test('the numbers of a topic have no gap, in the order of commits, whoever writes at once', async (t) => {
  const room = await acts.room(ann);
  const publish = "select events.publish('system:all', 'tick', jsonb_build_object('writer', $1::integer))";
  let writing = true;
  let looks = 0;
  const look = async (): Promise<void> => {
    while (writing) {
      const { rows } = await pool.query(
        'select topic from events.log group by topic having count(*) <> max(seq) or min(seq) <> 1',
      );
      if (rows.length > 0) t.fail('a snapshot saw a number without the one before it', { topics: rows });
      looks += 1;
    }
  };
  const looking = look();
  await Promise.all(
    Array.from({ length: 16 }, async (_, writer) => {
      for (let n = 0; n < 15; n += 1) {
        if (n % 3 === 0) await as(ann, 'select chat.send_message($1, $2)', [room, `${writer} ${n}`]);
        else await as(ann, publish, [writer]);
      }
    }),
  );
  writing = false;
  await looking;
  t.ok(looks > 1, 'whoever looks meanwhile sees the beginning of each topic');
  for (const [topic, count] of [
    ['system:all', 160],
    [`channel:${room}`, 81],
  ] as const) {
    const events = await logOf(topic);
    const numbers = events.map(({ seq }) => Number(seq));
    t.same(
      numbers,
      numbers.map((_, index) => index + 1),
      topic,
    );
    t.equal(numbers.length, count);
  }
});

t.test('a transaction that stays open holds up nobody on other topics, and its own topic in order', async (t) => {
  const [mine, other] = [await acts.room(ann), await acts.room(cat)];
  const open = await pool.connect();
  await open.query('begin');
  await open.query("select set_config('plinth.user_id', $1, true)", [ann.id]);
  await open.query("select chat.send_message($1, 'early')", [mine]);
  await acts.send(cat, other, 'meanwhile');
  const late = acts.send(ann, mine, 'late');
  await until(async () => {
    const { rows } = await owner.query(
      "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    );
    return rows.length > 0;
  }, 'The second writer of the topic');
  t.same(await typesOf(`channel:${mine}`), ['member_joined']);
  await open.query('commit');
  open.release();
  await late;
  const { rows } = await owner.query(
    `select message.text from events.log as log join chat.messages as message on message.id = (log.data ->> 'message_id')::uuid
     where log.topic = $1 order by log.seq`,
    [`channel:${mine}`],
  );
  t.same(
    rows.map(({ text }) => text),
    ['early', 'late'],
  );
});

t.test('who sends and reads in one direct chat at once is not in their own way', async (t) => {
  const id = await acts.direct(ann, cat);
  const failures: unknown[] = [];
  const work = [];
  for (const who of [ann, cat, ann, cat]) {
    work.push(
      (async () => {
        for (let n = 0; n < 40; n += 1) {
          const call = n % 2 ? 'select chat.mark_read($1)' : "select chat.send_message($1, 'x')";
          const failed = await failureOf(as(who, call, [id]));
          if (failed) failures.push(codeOf(failed));
        }
      })(),
    );
  }
  await Promise.all(work);
  t.same(failures, []);
});

t.test('the day of an event is made where it is missing, once, however many write', async (t) => {
  const { rows } = await owner.query("select to_char(now() at time zone 'UTC', 'YYYY_MM_DD') as day");
  await owner.query(`drop table events.log_search_${rows[0].day}`);
  await Promise.all(Array.from({ length: 8 }, () => as(ann, "select events.publish('search:all', 'found')")));
  t.equal((await logOf('search:all')).length, 8);
  const made = await owner.query('select events.ensure_partitions(5)::integer as days');
  t.equal(made.rows[0].days, 18, 'two more days for each of nine kinds');
});

t.test('a topic of no kind, and an event that is too large, are refused', async (t) => {
  const publish = (topic: string, size: number) =>
    failureOf(
      owner.query(
        "select events.publish($1, 'x', jsonb_build_object('x', (select string_agg(gen_random_uuid()::text, '') from generate_series(1, $2))))",
        [topic, size],
      ),
    );
  t.match(await publish('nowhere:1', 1), { code: 'PT400', message: /no kind of topic called nowhere/ });
  t.match(await publish('system:1', 500), { constraint: 'data_is_at_most_16_kb' });
  t.equal(await publish('system:1', 400), undefined);
});
