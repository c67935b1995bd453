import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import t from 'tap';
import { WebSocket } from 'ws';
import { openWorld } from '../world.ts';

const query = `subscription Follow($id: UUID!, $after: String) {
  messageEvents(channelId: $id, after: $after) {
    event { cursor seq type data metadata }
    message { id text sender { username } }
  }
}`;

t.test('a subscriber is sent what is said, and resumes from a cursor', async (t) => {
  const world = await openWorld(t);
  const [ann, bob] = [await world.person('ann'), await world.person('bob')];
  const made = await world.ask(
    'mutation($u: UUID!) { openDirect(input: {userId: $u}) { channel { id } } }',
    { u: bob.id },
    ann.token,
  );
  const id = made.data.openDirect.channel.id;
  const say = (text: string) =>
    world.ask(
      'mutation($id: UUID!, $text: String!) { sendMessage(input: {channelId: $id, text: $text}) { message { id } } }',
      { id, text },
      ann.token,
    );
  const ws = createWsClient({
    url: `${world.server.url.replace('http', 'ws')}graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${bob.token}` },
    retryAttempts: 0,
  });
  const live = ws.iterate({ query, variables: { id } });
  const first = live.next();
  await new Promise((resolve) => setTimeout(resolve, 300));
  console.log(await say('one'));
  const got = (await first).value as unknown as { data: { messageEvents: { event: { cursor: string } } } };
  console.log(JSON.stringify(got));
  await say('two');
  console.log(JSON.stringify((await live.next()).value));
  const sse = createSseClient({
    url: `${world.server.url}graphql`,
    headers: { authorization: `Bearer ${bob.token}` },
    retryAttempts: 0,
  });
  const resumed = sse.iterate({ query, variables: { id, after: got.data.messageEvents.event.cursor } });
  console.log(JSON.stringify((await resumed.next()).value));
  console.log(JSON.stringify(await (await fetch(`${world.server.url}ready`)).json()));
  console.log(JSON.stringify(world.logged.filter((each) => Number(each.level) > 30)));
  await live.return?.();
  await resumed.return?.();
  await ws.dispose();
});
