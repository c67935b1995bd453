import { createServer, connect as dial } from 'node:net';
import { SignJWT } from 'jose';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { openWorld, type Person } from '../world.ts';
import { openActs } from './acts.ts';
import { listen, openQueue, until } from './listen.ts';

// GraphQL over server-sent events, byte by byte, and the bounds of both transports.

t.setTimeout(150_000);
const env = { MAX_SUBSCRIPTIONS_PER_CONNECTION: '2', MAX_EVENT_BYTES: '600000', MAX_BACKLOG_BYTES: '2000000' };
// A client that does not read answers no ping either, and is to be cut off for the one, not for the other.
const world = await openWorld(t, { env, heartbeat: 60_000 });
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const graphql = `${world.server.url}graphql`;
const query = `subscription($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) { event { cursor seq } message { text } }
}`;
const bearer = ({ token }: Person) => ({ authorization: `Bearer ${token}` });
const accept = { accept: 'text/event-stream' };

type Block = { event?: string; id?: string; data?: string };

/** A stream as it comes: blocks of lines. */
async function open(t: Test, headers: Record<string, string>, body?: object, search = '') {
  const gone = new AbortController();
  t.teardown(() => gone.abort());
  const response = await fetch(`${graphql}${search}`, {
    method: body ? 'POST' : 'GET',
    headers: { ...accept, ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
    signal: gone.signal,
  });
  const blocks = openQueue<Block>('the stream');
  const ended = (async () => {
    let block: Record<string, string> = {};
    let text = '';
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = `${text}${chunk}`.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const [, name = '', value = ''] = /^(\w*): ?(.*)$/s.exec(line) ?? [];
        if (line === ':') continue;
        if (line !== '') block[name] = block[name] === undefined ? value : `${block[name]}\n${value}`;
        else if (Object.keys(block).length > 0) {
          blocks.push(block);
          block = {};
        }
      }
    }
  })().catch(() => {});
  const { status } = response;
  return {
    status,
    headers: response.headers,
    next: blocks.next,
    ended,
    close: () => gone.abort(),
  };
}
const textOf = ({ data = '' }: Block): string => JSON.parse(data).data.messageEvents.message.text;
const subscribersAre = (count: number) =>
  until(
    async () => (await (await fetch(`${world.server.url}ready`)).json()).events.subscribers === count,
    `${count} subscribers`,
  );

t.test('distinct connections: each event has its cursor as id, by POST and by GET', async (t) => {
  const room = await acts.room(ann, [bob]);
  const after = await acts.cursor();
  for (const text of ['one', 'two\nlines \u2028 "x"\r\n', 'three']) await acts.send(ann, room, text);
  const variables = { id: room, after };
  const post = await open(t, bearer(bob), { query, variables });
  t.match(post.headers.get('content-type'), /^text\/event-stream/);
  t.match(post.headers.get('cache-control'), /no-cache/);
  const [one, two] = [await post.next(), await post.next()];
  t.same([one.event, textOf(one), one.id], ['next', 'one', JSON.parse(one.data ?? '').data.messageEvents.event.cursor]);
  t.equal(textOf(two), 'two\nlines \u2028 "x"\r\n');
  const search = `?${new URLSearchParams({ query, variables: JSON.stringify(variables) })}`;
  const get = await open(t, { ...bearer(bob), 'last-event-id': two.id ?? '' }, undefined, search);
  t.equal(textOf(await get.next()), 'three', 'Last-Event-ID goes before the cursor of the document');
  const wrong = await open(t, { ...bearer(bob), 'last-event-id': 'x' }, { query, variables });
  t.match(JSON.parse((await wrong.next()).data ?? ''), { errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] });
  t.match(await wrong.next(), { event: 'complete' });
  await wrong.ended;
});

t.test('what is accepted decides: a stream, JSON, or neither', async (t) => {
  const single = await open(t, bearer(ann), { query: '{ me { username } }' });
  t.match(await single.next(), { event: 'next', data: '{"data":{"me":{"username":"ann"}}}' });
  t.match(await single.next(), { event: 'complete' });
  await single.ended;
  const both = { accept: 'application/json, text/event-stream' };
  t.match(
    (await open(t, { ...bearer(ann), ...both }, { query: '{ me { username } }' })).headers.get('content-type'),
    /json/,
  );
  const live = { query: 'subscription { userEvents { event { id } } }' };
  t.match((await open(t, { ...bearer(ann), ...both }, live)).headers.get('content-type'), /event-stream/);
  t.match(await world.ask(live.query, {}, ann.token), {
    errors: [{ message: /WebSocket/, extensions: { code: 'BAD_REQUEST' } }],
  });
  t.equal((await open(t, { authorization: 'Bearer forged' }, live)).status, 401);
});

t.test('single connection: what a token reserves, and how it is refused', async (t) => {
  const room = await acts.room(ann, [bob]);
  const reserve = async (by: Person) => (await fetch(graphql, { method: 'PUT', headers: bearer(by) })).text();
  const token = await reserve(bob);
  const name = 'x-graphql-event-stream-token';
  const operate = async (operationId: string | undefined, of = token, variables: object = { id: room }) =>
    (
      await fetch(graphql, {
        method: 'POST',
        headers: { 'content-type': 'application/json', [name]: of },
        body: JSON.stringify({ query, variables, extensions: { operationId } }),
      })
    ).status;
  t.equal(await operate('1'), 404, 'the stream is not open yet');
  const stream = await open(t, { [name]: token });
  t.equal((await open(t, { [name]: token })).status, 409);
  t.equal((await open(t, { [name]: 'guessed' })).status, 404);
  t.equal(await operate('1', 'guessed'), 404);
  t.equal(await operate(undefined), 400);
  t.equal(await operate('1', token, { id: room, after: await acts.cursor() }), 202);
  t.equal(await operate('1'), 409);
  t.equal(await operate('2', token, { id: ann.id }), 202);
  const refused = await stream.next();
  t.match(JSON.parse(refused.data ?? ''), { id: '2', payload: { errors: [{ extensions: { code: 'NOT_FOUND' } }] } });
  t.same(await stream.next(), { event: 'complete', data: '{"id":"2"}' });
  t.equal(await operate('2'), 202, 'its id is free again');
  t.equal(await operate('3'), 429);
  await acts.send(ann, room, 'by token');
  // The second one may hear it too, before or after the first, or not be there yet.
  let said = JSON.parse((await stream.next()).data ?? '');
  if (said.id === '2') said = JSON.parse((await stream.next()).data ?? '');
  t.match(said, { id: '1', payload: { data: { messageEvents: { message: { text: 'by token' } } } } });
  const stop = (id: string) => fetch(`${graphql}?operationId=${id}`, { method: 'DELETE', headers: { [name]: token } });
  t.equal((await stop('1')).status, 200);
  t.equal((await stop('1')).status, 404);
  stream.close();
  await until(async () => (await operate('4')) === 404, 'The end of the reservation');
});

t.test('a reservation ends with the access token that it was made with', async (t) => {
  const claims = JSON.parse(Buffer.from(bob.token.split('.')[1] as string, 'base64url').toString());
  const [key] = world.keys;
  const brief = await new SignJWT({ ...claims, exp: Math.floor(Date.now() / 1000) + 7 })
    .setProtectedHeader({ alg: 'HS256', kid: key?.kid ?? '' })
    .sign(key?.key as Uint8Array);
  const token = await (await fetch(graphql, { method: 'PUT', headers: { authorization: `Bearer ${brief}` } })).text();
  const stream = await open(t, { 'x-graphql-event-stream-token': token });
  t.equal(stream.status, 200);
  await stream.ended;
  t.equal((await open(t, { 'x-graphql-event-stream-token': token })).status, 404);
});

t.test('an event of more bytes than are allowed is told to be fetched', async (t) => {
  const room = await acts.room(ann, [bob]);
  const many = Array.from({ length: 30 }, (_, n) => `t${n}: text`).join(' ');
  const large = `subscription($id: UUID!, $after: String) { messageEvents(channelId: $id, after: $after) { message { ${many} } } }`;
  const ear = listen(t, world.server.url, {
    query: large,
    variables: { id: room, after: await acts.cursor() },
    token: bob.token,
  });
  await acts.send(ann, room, 'ж'.repeat(9_900));
  await acts.send(ann, room, 'ж'.repeat(10_000));
  await acts.send(ann, room, 'small');
  t.match(await ear.next(), { data: { messageEvents: { message: { t0: /жж/ } } } });
  const told = await ear.next();
  t.match(told, { data: null, errors: [{ extensions: { code: 'LIMIT_EXCEEDED', cursor: String } }] });
  t.match(await ear.next(), { data: { messageEvents: { message: { t0: 'small' } } } }, 'and it goes on');
});

t.test('who stops reading is cut off, with a cursor after which nothing is missing', async (t) => {
  const room = await acts.room(ann, [bob]);
  const many = Array.from({ length: 25 }, (_, n) => `t${n}: text`).join(' ');
  const large = query.replace('{ text }', `{ text ${many} }`);
  await subscribersAre(0);
  const socket = new WebSocket(`${graphql.replace('http', 'ws')}`, 'graphql-transport-ws');
  t.teardown(() => socket.terminate());
  // biome-ignore lint/suspicious/noExplicitAny: messages of every type
  const heard = openQueue<any>('the slow socket');
  socket.on('message', (data) => heard.push(JSON.parse(data.toString())));
  await new Promise((resolve) => socket.once('open', resolve));
  socket.send(JSON.stringify({ type: 'connection_init', payload: bearer(bob) }));
  await heard.next();
  const variables = { id: room, after: await acts.cursor() };
  socket.send(JSON.stringify({ type: 'subscribe', id: '1', payload: { query: large, variables } }));
  await subscribersAre(1);
  socket.pause();
  let isOpen = true;
  // At once: nobody waits for long until it takes its last words.
  const cut = subscribersAre(0).then(() => {
    isOpen = false;
    socket.resume();
  });
  let sent = 0;
  while (sent < 100 && isOpen) {
    sent += 1;
    await acts.send(ann, room, `${sent} ${'ж'.repeat(9_000)}`);
  }
  await cut;
  const seen: string[] = [];
  let last = await heard.next();
  for (; last.type === 'next'; last = await heard.next()) seen.push(last.payload.data.messageEvents.message.text);
  t.match(last, { type: 'error', payload: [{ extensions: { code: 'TOO_SLOW', cursor: String } }] });
  const { cursor } = last.payload[0].extensions;
  const ear = listen(t, world.server.url, { query, variables: { id: room, after: cursor }, token: bob.token });
  while (seen.length < sent) seen.push((await ear.next()).data.messageEvents.message.text);
  t.same(
    seen.map((text) => Number(text.split(' ')[0])),
    Array.from({ length: sent }, (_, n) => n + 1),
  );
});

t.test('at every beat each connection is written to: a proxy that cuts idle ones finds none', async (t) => {
  const world = await openWorld(t, { heartbeat: 2000 });
  const acts = openActs(world);
  const [ann, bob] = [await world.person('ann'), await world.person('bob')];
  /** How often the server has written to each. */
  const written: { times: number }[] = [];
  const server = createServer((client) => {
    const target = dial(Number(new URL(world.server.url).port), '127.0.0.1');
    const own = { times: 0 };
    written.push(own);
    target.on('data', () => (own.times += 1));
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const through = `http://127.0.0.1:${(server.address() as { port: number }).port}/`;
  const room = await acts.room(ann, [bob]);
  const variables = { id: room, after: await acts.cursor() };
  const ears = (['ws', 'sse'] as const).map((over) => listen(t, through, { over, query, variables, token: bob.token }));
  const hear = async (text: string) => {
    await acts.send(ann, room, text);
    for (const ear of ears) t.match(await ear.next(), { data: { messageEvents: { message: { text } } } });
  };
  await hear('there');
  t.equal(written.length, 2);
  for (let beats = 1; beats <= 3; beats += 1) {
    const before = written.map(({ times }) => times);
    await until(() => written.every(({ times }, nth) => times > (before[nth] as number)), `Beat ${beats}`);
  }
  await hear('still there');
});

t.test('nobody takes all the places: 100 reservations each, and one that is not there is told so', async (t) => {
  const by = await world.person('greedy');
  const reserve = async () => (await fetch(graphql, { method: 'PUT', headers: bearer(by) })).status;
  for (let n = 0; n < 100; n += 1) t.equal(await reserve(), 201);
  t.equal(await reserve(), 429);
  const query = encodeURIComponent('subscription { userEvents { event { type } } }');
  const unknown = await fetch(`${graphql}?token=gone&query=${query}`, { headers: { accept: 'text/event-stream' } });
  t.equal(unknown.status, 404, 'an EventSource does not come back');
});
