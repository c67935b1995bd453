import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApolloClient, gql, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import t from 'tap';
import { WebSocket } from 'ws';
import { openProxy } from '../postgres-proxy.ts';
import { openWorld } from '../world.ts';
import { openActs } from './acts.ts';
import { openBrowser } from './browser.ts';
import { openQueue, until } from './listen.ts';

t.setTimeout(150_000);
const world = await openWorld(t);
const acts = openActs(world);
const [ann, bob] = [await world.person('ann'), await world.person('bob')];
const { url } = world.server;
const query = `subscription Said($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) { event { cursor } message { id text } }
}`;
type Said = { messageEvents: { event: { cursor: string }; message: { id: string; text: string } } };
const headers = { authorization: `Bearer ${bob.token}` };

/** A room, what it was said since, and what a client has heard of it. */
async function openRoom() {
  const id = await acts.room(ann, [bob]);
  const heard = openQueue<string>('the client');
  const hear = (data: unknown) => heard.push((data as Said).messageEvents.message.text);
  return {
    id,
    heard,
    hear,
    variables: { id, after: await acts.cursor() },
    say: (text: string) => acts.send(ann, id, text),
  };
}
const openWs = (at = url) =>
  createWsClient({ url: `${at.replace('http', 'ws')}graphql`, webSocketImpl: WebSocket, connectionParams: headers });

t.test('D9 clients that applications use', async (t) => {
  t.test('@apollo/client over WebSocket', async (t) => {
    const { heard, hear, variables, say } = await openRoom();
    const ws = openWs();
    t.teardown(() => ws.dispose());
    const client = new ApolloClient({ link: new GraphQLWsLink(ws), cache: new InMemoryCache() });
    t.teardown(() => client.stop());
    const subscription = client.subscribe({ query: gql(query), variables }).subscribe(({ data }) => hear(data));
    t.teardown(() => subscription.unsubscribe());
    await say('one');
    t.equal(await heard.next(), 'one');
    const me = await client.query<{ me: { username: string } }>({ query: gql('query Me { me { id username } }') });
    t.equal(me.data?.me.username, 'bob', 'and asks over the same socket');
  });

  t.test('urql over server-sent events', async (t) => {
    const { heard, hear, variables, say } = await openRoom();
    const sse = createSseClient({ url: `${url}graphql`, headers });
    t.teardown(() => sse.dispose());
    const client = new Client({
      url: `${url}graphql`,
      preferGetMethod: false,
      fetchOptions: { headers },
      exchanges: [
        fetchExchange,
        subscriptionExchange({
          forwardSubscription: (operation) => ({
            subscribe: (sink) => ({
              unsubscribe: sse.subscribe({ ...operation, query: operation.query ?? '' } as never, sink as never),
            }),
          }),
        }),
      ],
    });
    const { unsubscribe } = client.subscription(query, variables).subscribe(({ data }) => hear(data));
    t.teardown(unsubscribe);
    await say('one');
    t.equal(await heard.next(), 'one');
  });

  t.test('urql over its own fetch of an event stream', async (t) => {
    const { heard, hear, variables, say } = await openRoom();
    const client = new Client({
      url: `${url}graphql`,
      preferGetMethod: false,
      fetchOptions: { headers },
      fetchSubscriptions: true,
      exchanges: [fetchExchange],
    });
    const { unsubscribe } = client.subscription(query, variables).subscribe(({ data }) => hear(data));
    t.teardown(unsubscribe);
    await say('one');
    t.equal(await heard.next(), 'one');
  });

  t.test('graphql-ws, whose connection is lost, goes on after the cursor that it was given', async (t) => {
    const { heard, variables, say } = await openRoom();
    const way = await openProxy(url);
    t.teardown(() => way.close());
    let after = variables.after;
    const ws = createWsClient({
      url: `${way.url.replace('http', 'ws')}graphql`,
      webSocketImpl: WebSocket,
      connectionParams: headers,
      retryAttempts: 1000,
      retryWait: () => sleep(50),
      shouldRetry: () => true,
    });
    t.teardown(() => ws.dispose());
    const payload = {
      query,
      variables: {
        ...variables,
        get after() {
          return after;
        },
      },
    };
    const stop = ws.subscribe<Said>(payload, {
      next({ data }) {
        after = data?.messageEvents.event.cursor ?? after;
        heard.push(data?.messageEvents.message.text ?? '');
      },
      error: (error) => heard.push(String(error)),
      complete: () => heard.push('complete'),
    });
    t.teardown(stop);
    for (let n = 0; n < 5; n += 1) {
      await say(`${n}`);
      t.equal(await heard.next(), `${n}`);
      way.cut();
      await say(`${n} meanwhile`);
      way.mend();
      t.equal(await heard.next(), `${n} meanwhile`);
    }
  });

  for (const singleConnection of [false, true]) {
    t.test(`graphql-sse, ${singleConnection ? 'all on one connection' : 'a connection each'}`, async (t) => {
      const [room, other] = [await openRoom(), await openRoom()];
      const client = createSseClient({ url: `${url}graphql`, headers, singleConnection });
      t.teardown(() => client.dispose());
      for (const { variables, hear, heard } of [room, other]) {
        const sink = {
          next: ({ data }: { data?: unknown }) => hear(data),
          error: (error: unknown) => heard.push(String(error)),
          complete: () => heard.push('complete'),
        };
        t.teardown(client.subscribe({ query, variables }, sink as never));
      }
      await other.say('two');
      await room.say('one');
      t.equal(await room.heard.next(), 'one');
      t.equal(await other.heard.next(), 'two');
    });
  }

  t.test('curl -N', async (t) => {
    const { heard, hear, variables, say } = await openRoom();
    const body = JSON.stringify({ query, variables });
    const curl = spawn(
      'curl',
      [
        '-sN',
        `${url}graphql`,
        '-H',
        'accept: text/event-stream',
        '-H',
        'content-type: application/json',
        '-H',
        `authorization: ${headers.authorization}`,
        '-d',
        body,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    t.teardown(() => curl.kill());
    createInterface({ input: curl.stdout }).on('line', (line) => {
      if (line.startsWith('data: ')) hear(JSON.parse(line.slice(6)).data);
    });
    await say('one');
    t.equal(await heard.next(), 'one');
  });
});

t.test('EventSource in Chromium goes on by Last-Event-ID when its connection is lost', async (t) => {
  const { id, variables } = await openRoom();
  const way = await openProxy(url);
  t.teardown(() => way.close());
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(`${way.url}health`);
  const token = await (await fetch(`${url}graphql`, { method: 'PUT', headers })).text();
  const search = new URLSearchParams({ query, variables: JSON.stringify(variables), token });
  await page.evaluate((address) => {
    const seen: string[] = [];
    const source = new EventSource(address);
    let opened = 0;
    Object.assign(globalThis, { seen, opened: () => opened });
    source.onopen = () => (opened += 1);
    source.addEventListener('next', ({ data }) => seen.push(JSON.parse(data).data.messageEvents.message.text));
  }, `/graphql?${search}`);
  const seen = (): Promise<string[]> => page.evaluate('seen');
  const said: string[] = [];
  const say = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      said.push(`message ${said.length}`);
      await acts.send(ann, id, said.at(-1) as string);
    }
  };
  await say(3);
  await until(async () => (await seen()).length === 3, 'The first messages');
  for (const round of [2, 3]) {
    way.cut();
    await say(3);
    way.mend();
    await until(async () => (await page.evaluate('opened()')) === round, 'The connection after it was lost');
    await say(2);
    await until(async () => (await seen()).length >= said.length, 'The rest');
    t.same(await seen(), said, 'nothing missing, nothing twice');
  }
});
