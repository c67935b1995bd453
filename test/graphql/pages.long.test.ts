import t from 'tap';
import { type Answer, openWorld, schemaWith } from '../world.ts';

const halves = `
create table things.halves (code text unique, n integer);
insert into things.halves select null, n from generate_series(1, 7) as n;
grant select on things.halves to anonymous;`;
const schema = schemaWith('things') + halves;

// Few values for many rows, so that equals and nulls lie on the edges of pages.
const rows = `
insert into things.boxes select n, 'box ' || n, case when n % 2 = 0 then 'owner ' || n % 3 end from generate_series(1, 5) as n;
insert into things.things (
  id, box_id, "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name", "uuid",
  "timestamptz", "timestamp", "date", "time", "timetz", "interval", "inet", "cidr", state, weight
)
select
  n, nullif(n % 6, 0), n % 3, nullif(n % 4, 0), n % 3, n % 5 / 10.0, nullif(n % 3, 1) / 3.0, n % 7 / 7.0,
  (array['a', 'B', 'ä', '', null])[n % 5 + 1], n % 2, n % 3, 'n' || n % 3, md5((n % 9)::text)::uuid,
  now() - n % 4 * interval '1 microsecond', timestamp 'epoch', date 'epoch' + n % 3, time '00:00' + n % 3 * interval '1 us',
  '12:00+03', n % 3 * interval '1 month', '192.0.2.1', '192.0.2.0/24', (enum_range(null::things.state))[n % 4], nullif(n % 5, 0)
from generate_series(1, 23) as n`;

const size = 5;
type Page = {
  nodes: { id: string }[];
  edges: { cursor: string }[];
  pageInfo: Record<string, unknown>;
  totalCount: number;
};
const fields =
  '{ nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount }';
const ids = (pages: Page[]): string[] => pages.flatMap(({ nodes }) => nodes.map(({ id }) => id));

/** Every page of a connection, by following cursors until there is none. */
async function follow(read: (variables: object) => Promise<Page>, backward: boolean): Promise<Page[]> {
  const pages = [await read(backward ? { last: size } : { first: size })];
  for (;;) {
    const { pageInfo } = pages.at(-1) as Page;
    if (!pageInfo[backward ? 'hasPreviousPage' : 'hasNextPage']) return pages;
    pages.push(
      await read(backward ? { last: size, before: pageInfo.startCursor } : { first: size, after: pageInfo.endCursor }),
    );
  }
}

t.test('T4 pages', async (t) => {
  const { ask, owner, person } = await openWorld(t, { schema });
  await owner.query(rows);
  const all =
    'query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: ThingOrder)' +
    `{ things(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) ${fields} }`;
  const read =
    (orderBy?: string) =>
    async (variables: object): Promise<Page> => {
      const { data, errors } = await ask(all, { orderBy, ...variables });
      if (errors) throw new Error(JSON.stringify(errors));
      return data.things;
    };
  const orders: string[] = (
    await ask('{ __type(name: "ThingOrder") { enumValues { name } } }')
  ).data.__type.enumValues.map(({ name }: { name: string }) => name);

  t.test('in every order, forward and back, have each row once, at its place, whatever is equal or null', async (t) => {
    t.ok(orders.length >= 40, 'there is an order for each column that has one');
    for (const order of orders) {
      const [, column, direction] = /^(.*)_(ASC|DESC)$/.exec(order) as unknown as [string, string, string];
      const sql = `select id::text as place from things.things order by "${column.toLowerCase()}" ${direction} nulls last, id ${direction}`;
      const expected = (await owner.query(sql)).rows.map(({ place }) => place);
      t.same(ids(await follow(read(order), false)), expected, `${order} forward`);
      t.same(ids((await follow(read(order), true)).reverse()), expected, `${order} back`);
    }
  });

  t.test('tell what stands before and after them, and how many rows there are in all', async (t) => {
    const pages = await follow(read('INT4_DESC'), false);
    t.same(
      pages.map(({ nodes }) => nodes.length),
      [5, 5, 5, 5, 3],
    );
    t.same(
      pages.map(({ totalCount }) => totalCount),
      [23, 23, 23, 23, 23],
    );
    t.same(
      pages.map(({ pageInfo }) => pageInfo.hasNextPage),
      [true, true, true, true, false],
    );
    t.same(
      pages.map(({ pageInfo }) => pageInfo.hasPreviousPage),
      [false, true, true, true, true],
    );
    for (const { edges, pageInfo } of pages) {
      t.same([pageInfo.startCursor, pageInfo.endCursor], [edges[0]?.cursor, edges.at(-1)?.cursor]);
    }
  });

  t.test('of the middle are found from both sides', async (t) => {
    const whole = await read('TEXT_ASC')({ first: 100 });
    const [after, before] = [whole.edges[4]?.cursor, whole.edges[10]?.cursor];
    const between = ids([whole]).slice(5, 10);
    t.same(ids([await read('TEXT_ASC')({ first: 100, after, before })]), between);
    t.same(ids([await read('TEXT_ASC')({ last: 2, after, before })]), between.slice(-2));
  });

  t.test('may be empty', async (t) => {
    const none = await read('ID_ASC')({ first: 0 });
    t.same([none.nodes, none.pageInfo.startCursor, none.pageInfo.hasNextPage], [[], null, true]);
    const end = (await read('ID_ASC')({ last: 1 })).pageInfo.endCursor;
    const past = await read('ID_ASC')({ first: 5, after: end });
    t.same([past.nodes, past.pageInfo.endCursor, past.pageInfo.hasNextPage], [[], null, false]);
  });

  t.test('are not mixed up: a cursor of another order, another connection or none at all is refused', async (t) => {
    const { endCursor } = (await read('INT4_ASC')({ first: 1 })).pageInfo;
    const box = (await ask('{ boxes(first: 1) { pageInfo { endCursor } } }')).data.boxes.pageInfo.endCursor;
    const forged = Buffer.from(JSON.stringify(['+id', 7])).toString('base64url');
    for (const [order, after] of [
      ['INT4_DESC', endCursor],
      ['INT8_ASC', endCursor],
      ['INT4_ASC', box],
      ['ID_ASC', forged],
      ['ID_ASC', ''],
      ['ID_ASC', 'x'],
    ]) {
      const { errors } = await ask(all, { orderBy: order, after });
      t.match(errors, [{ extensions: { code: 'BAD_USER_INPUT', argument: 'after' } }], `${order} ${after}`);
    }
    // Of the right form, with values that are not: Postgres refuses them.
    const nonsense = Buffer.from(JSON.stringify(['+id', "1' or true"])).toString('base64url');
    t.match((await ask(all, { orderBy: 'ID_ASC', after: nonsense })).errors, [
      { extensions: { code: 'BAD_USER_INPUT' } },
    ]);
  });

  t.test('have a size that makes sense', async (t) => {
    for (const wrong of [{ first: -1 }, { last: -1 }, { first: 101 }, { last: 1000 }, { first: 1, last: 1 }]) {
      t.match((await ask(all, wrong)).errors, [{ extensions: { code: 'BAD_USER_INPUT' } }], JSON.stringify(wrong));
    }
  });

  t.test('of rows that nothing tells apart have each once', async (t) => {
    await owner.query("insert into things.notes select 'the same' from generate_series(1, 12)");
    const query = `query ($first: Int, $after: String) { notes(first: $first, after: $after) ${fields.replace('{ id }', '{ id: text }')} }`;
    const pages = await follow(async (variables) => (await ask(query, variables)).data.notes, false);
    t.equal(ids(pages).length, 12);
  });

  t.test('of rows whose unique column may be null have each once', async (t) => {
    const query = `query ($first: Int, $after: String) { halves(first: $first, after: $after) ${fields.replace('{ id }', '{ id: n }')} }`;
    const pages = await follow(async (variables) => (await ask(query, variables)).data.halves, false);
    t.same(ids(pages).map(Number).sort(), [1, 2, 3, 4, 5, 6, 7]);
  });

  t.test('of a function keep its order, and go on from where a row now stands', async (t) => {
    const query = `query ($first: Int, $after: String, $last: Int, $before: String) { heaviest(atLeast: "2", first: $first, after: $after, last: $last, before: $before) ${fields} }`;
    const heaviest = async (variables: object): Promise<Page> => (await ask(query, variables)).data.heaviest;
    const expected = (await owner.query('select id::text from things.heaviest(2)')).rows.map(({ id }) => id);
    t.same(ids(await follow(heaviest, false)), expected);
    t.same(ids((await follow(heaviest, true)).reverse()), expected);

    const first = await heaviest({ first: 3 });
    await owner.query('insert into things.things (id, weight) values (100, 1000)');
    t.same(
      ids([await heaviest({ first: 3, after: first.pageInfo.endCursor })]),
      expected.slice(3, 6),
      'one row came before the page',
    );
    await owner.query('delete from things.things where id = $1', [expected[2]]);
    t.same(
      (await heaviest({ first: 1, after: first.pageInfo.endCursor })).nodes.length,
      1,
      'the row of the cursor is gone',
    );
    t.same((await heaviest({ first: 100 })).totalCount, expected.length);
  });

  t.test('E2 T6 C4 of channels and messages', async (t) => {
    const alice = await person('alice');
    const asAlice = (query: string, variables: object = {}): Promise<Answer> => ask(query, variables, alice.token);
    const channels: string[] = [];
    for (const n of [1, 2, 3, 4, 5, 6, 7]) {
      const made = await asAlice(
        'mutation ($name: String!) { createRoom(input: { name: $name }) { channel { id } } }',
        { name: `room ${n}` },
      );
      channels.push(made.data.createRoom.channel.id);
      await person(`searched${n}`);
    }
    const [channelId] = channels;
    const send = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }';
    const sent: string[] = [];
    for (const n of [1, 2, 3, 4, 5, 6, 7, 8]) {
      sent.push(
        (await asAlice(send, { input: { channelId, text: `plinths and columns ${n}` } })).data.sendMessage.message.id,
      );
    }

    const onward = `query ($channelId: UUID!, $last: UUID!) {
      channel(id: $channelId) { messages(filter: { id: { gt: $last } }, orderBy: ID_ASC) { nodes { id } totalCount } }
    }`;
    const { messages } = (await asAlice(onward, { channelId, last: sent[2] })).data.channel;
    t.same(
      [messages.nodes.map(({ id }: { id: string }) => id), messages.totalCount],
      [sent.slice(3), 5],
      'onward from the last id that a client has',
    );

    for (const [field, args, expected] of [
      ['searchMessages', '(query: "column", ', [...sent].reverse()],
      ['searchUsers', '(query: "searched", ', undefined],
      ['myChannels', '(', [channelId, ...channels.slice(1).reverse()]],
    ] as const) {
      const query = `query ($first: Int, $after: String, $last: Int, $before: String) { ${field}${args}first: $first, after: $after, last: $last, before: $before) ${fields} }`;
      const page = async (variables: object): Promise<Page> => (await asAlice(query, variables)).data[field];
      const forward = ids(await follow(page, false));
      t.same(forward, expected ?? forward, field);
      t.equal(new Set(forward).size, field === 'searchMessages' ? 8 : 7, `${field} has each once`);
      t.same(ids((await follow(page, true)).reverse()), forward, `${field} back`);
    }
  });
});
