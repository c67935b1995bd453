import t from 'tap';
import { type Answer, openWorld, type Person } from '../world.ts';

// A database of 140 months takes its time to be made and dropped on a busy machine.
t.setTimeout(120_000);
const world = await openWorld(t);
const { ask, owner, person } = world;
const service = await world.service();
const codeOf = (answer: Answer): string | undefined => answer.errors?.[0]?.extensions?.code;
const ensure = (input: object = {}): Promise<Answer> =>
  ask('mutation ($input: EnsurePartitionsInput!) { ensurePartitions(input: $input) { result } }', { input }, service);
const send = (by: Person, channelId: string, text = 'hello'): Promise<Answer> =>
  ask(
    'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id seq } } }',
    { input: { channelId, text } },
    by.token,
  );

/** The partitions of messages, the oldest first, as their months. */
async function months(): Promise<string[]> {
  const { rows } = await owner.query(
    "select replace(substr(relname, 10), '_', '-') as month from pg_class join pg_inherits on inhrelid = oid where inhparent = 'chat.messages'::regclass order by 1",
  );
  return rows.map(({ month }) => month);
}
async function monthAt(offset: number): Promise<string> {
  const { rows } = await owner.query(
    "select to_char(date_trunc('month', now() at time zone 'UTC') + make_interval(months => $1), 'YYYY-MM') as month",
    [offset],
  );
  return rows[0].month;
}
const dropMonth = (month: string) => owner.query(`drop table chat.messages_${month.replace('-', '_')}`);

t.test(
  'T10 C16 this month and the three to come have partitions from the start; asking again makes none',
  async (t) => {
    const expected = await Promise.all([0, 1, 2, 3].map(monthAt));
    t.strictSame(await months(), expected);
    t.equal((await ensure()).data.ensurePartitions.result, 0);
    t.strictSame(await months(), expected);
  },
);

t.test('C16 months that are missing are made once, also by several at the same moment', async (t) => {
  const before = await months();
  await dropMonth(await monthAt(2));
  await dropMonth(await monthAt(3));
  const answers = await Promise.all(Array.from({ length: 8 }, () => ensure()));
  t.strictSame(answers.map(codeOf).filter(Boolean), []);
  t.equal(
    answers.reduce((sum, { data }) => sum + data.ensurePartitions.result, 0),
    2,
  );
  t.strictSame(await months(), before);
});

t.test('C16 history back to 2015 gets its months, without gaps', async (t) => {
  const { rows } = await owner.query(
    "select array(select to_char(month, 'YYYY-MM') from generate_series(timestamp '2015-01-01', now() at time zone 'UTC' + interval '3 months', interval '1 month') as month) as all",
  );
  const answer = await ensure({ since: '2015-01-20T00:00:00Z' });
  t.equal(answer.data.ensurePartitions.result, rows[0].all.length - 4);
  t.strictSame(await months(), rows[0].all);
  const gaps = await owner.query(`
    with bounds as (
      select substring(pg_get_expr(relpartbound, oid) from 'FROM \\(''([^'']+)')::uuid as low, substring(pg_get_expr(relpartbound, oid) from 'TO \\(''([^'']+)')::uuid as high
      from pg_class join pg_inherits on inhrelid = oid where inhparent = 'chat.messages'::regclass
    ) select low from bounds where not exists (select from bounds as before where before.high = bounds.low) order by low`);
  t.equal(gaps.rowCount, 1, 'each begins where the one before ends');
});

t.test('what is out of range is refused', async (t) => {
  for (const input of [{ since: '1970-01-01T00:00:00Z' }, { monthsAhead: -1 }, { monthsAhead: 121 }]) {
    t.equal(codeOf(await ensure(input)), 'BAD_USER_INPUT', JSON.stringify(input));
  }
  const member = await person('nobody');
  t.equal(
    codeOf(await ask('mutation { ensurePartitions(input: {}) { result } }', {}, member.token)),
    'FORBIDDEN',
    'members do not make partitions',
  );
});

t.test('a partition is like the others: row level security, indexes, keys, no rights', async (t) => {
  const { rows } = await owner.query<{ shape: string; security: boolean }>(`
    select relrowsecurity as security, relacl is null or not exists (select from aclexplode(relacl) where grantee <> relowner) as bare,
      (select string_agg(regexp_replace(pg_get_indexdef(indexrelid), 'messages_\\d+_\\d+\\w*', 'NAME', 'g'), ';' order by pg_get_indexdef(indexrelid)) from pg_index where indrelid = class.oid)
      || (select string_agg(pg_get_constraintdef(oid), ';' order by pg_get_constraintdef(oid)) from pg_constraint where conrelid = class.oid) as shape
    from pg_class as class join pg_inherits on inhrelid = class.oid where inhparent = 'chat.messages'::regclass`);
  t.ok(rows.length > 100);
  t.equal(new Set(rows.map((row) => JSON.stringify(row).replace(/\d{4}_\d\d/g, ''))).size, 1);
  t.ok(rows[0]?.security);
});

t.test('T10 a message whose month has no partition makes it, also when many send at once', async (t) => {
  const people = await Promise.all(Array.from({ length: 6 }, (_, index) => person(`sender-${index}`)));
  const rooms = await Promise.all(
    people.map(
      async ({ token }) =>
        (await ask('mutation { createRoom(input: { name: "room" }) { channel { id } } }', {}, token)).data.createRoom
          .channel.id as string,
    ),
  );
  const month = await monthAt(0);
  await dropMonth(month);
  const answers = await Promise.all(
    people.flatMap((by, index) => [send(by, rooms[index] as string), send(by, rooms[index] as string)]),
  );
  t.strictSame(answers.map(codeOf).filter(Boolean), []);
  t.ok((await months()).includes(month));
  const { rows } = await owner.query(
    'select channel_id, array_agg(seq::integer order by id) as numbers from chat.messages group by 1',
  );
  t.strictSame(
    rows.map(({ numbers }) => numbers),
    people.map(() => [1, 2]),
  );
});

t.test('T10 a message stands in the month of its id, in UTC, to the edge', async (t) => {
  const [by] = (await owner.query('select id from identity.users limit 1')).rows;
  for (const [at, table] of [
    ['2016-02-29T23:59:59.999Z', 'chat.messages_2016_02'],
    ['2016-03-01T00:00:00.000Z', 'chat.messages_2016_03'],
    ['2016-12-31T23:59:59.999Z', 'chat.messages_2016_12'],
    ['2017-01-01T00:30:00+05:00', 'chat.messages_2016_12'],
  ] as const) {
    const { rows } = await owner.query(
      `with room as (insert into chat.channels (kind, name) values ('room', 'old') returning *)
      select (chat._post(room, $1, 'text', 'x', null, null, '{}', $2)).id from room`,
      [by.id, at],
    );
    const found = await owner.query('select tableoid::regclass::text as table from chat.messages where id = $1', [
      rows[0].id,
    ]);
    t.equal(found.rows[0]?.table, table, at);
  }
});

t.test('names of messages are kept for 30 days, those of imported users for ever', async (t) => {
  const { rows } = await owner.query(`
    with users as (
      insert into identity.users (username, display_name, external_ref)
      values ('here', 'Here', null), ('imported', 'Imported', 'gitter:1') returning *
    )
    insert into chat.nonces (sender_id, nonce, message_id, created_at)
    select id, age, gen_random_uuid(), now() - age::interval from users, unnest(array['29 days', '31 days']) as age
    returning nonce`);
  t.equal(rows.length, 4);
  const answer = await ask('mutation { expireNonces { result } }', {}, service);
  t.same(answer.data, { expireNonces: { result: '1' } });
  const left = await owner.query(
    "select username, nonce from chat.nonces join identity.users on id = sender_id where username in ('here', 'imported') order by 1, 2",
  );
  t.same(left.rows, [
    { username: 'here', nonce: '29 days' },
    { username: 'imported', nonce: '29 days' },
    { username: 'imported', nonce: '31 days' },
  ]);
});

t.test('the statistics of messages as a whole are renewed', async (t) => {
  const known = "select from pg_statistic where starelid = 'chat.messages'::regclass";
  t.equal((await owner.query(known)).rowCount, 0, 'as it is without it');
  const answer = await ask('mutation { analyzeMessages { ok } }', {}, service);
  t.same(answer.data, { analyzeMessages: { ok: true } });
  t.ok(Number((await owner.query(known)).rowCount) > 0);
});
