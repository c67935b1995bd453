import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { Client, cacheExchange, fetchExchange } from '@urql/core';
import t from 'tap';
import { openWorld, type World } from '../world.ts';

const send = 'mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { message { id seq text } } }';
const page = `query Page($id: UUID!, $first: Int, $after: String, $last: Int, $before: String) {
  channel(id: $id) {
    id
    messages(first: $first, after: $after, last: $last, before: $before, orderBy: ID_ASC) {
      edges { cursor node { id text sender { id username } } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}`;
type Page = {
  channel: {
    messages: { edges: { node: { text: string } }[]; pageInfo: { startCursor: string; endCursor: string } };
  };
};
const texts = (data: Page): string[] => data.channel.messages.edges.map(({ node }) => node.text);
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `message ${from + i}`);

// A room with messages 1 to 25, and its owner.
async function openRoom({ ask, person }: World) {
  const alice = await person('alice');
  const make = 'mutation { createRoom(input: { name: "Room" }) { channel { id } } }';
  const { id } = (await ask(make, {}, alice.token)).data.createRoom.channel;
  for (const text of numbers(1, 25)) await ask(send, { input: { channelId: id, text } }, alice.token);
  return { alice, id };
}

t.test('D9 T4 clients that applications use', async (t) => {
  const world = await openWorld(t);
  const { alice, id } = await openRoom(world);
  const url = `${world.server.url}graphql`;
  const headers = { authorization: `Bearer ${alice.token}` };

  t.test('@apollo/client', async (t) => {
    const client = new ApolloClient({
      link: new HttpLink({ uri: url, headers }),
      cache: new InMemoryCache({ typePolicies: { Channel: { fields: { messages: relayStylePagination() } } } }),
    });
    t.teardown(() => client.stop());
    t.test('reads forward page by page, and its cache joins the pages to one list', async (t) => {
      const query = { query: gql(page), variables: { id, first: 10 } };
      const watched = client.watchQuery<Page>(query);
      const subscription = watched.subscribe(() => {});
      t.teardown(() => subscription.unsubscribe());
      const joined = (): Page => client.readQuery<Page>(query) as Page;
      await client.query(query);
      for (const end of [20, 25]) {
        await watched.fetchMore({ variables: { after: joined().channel.messages.pageInfo.endCursor } });
        t.same(texts(joined()), numbers(1, end));
      }
    });

    t.test('reads back from the end', async (t) => {
      const read = async (variables: object) => {
        const { data } = await client.query<Page>({
          query: gql(page),
          fetchPolicy: 'no-cache',
          variables: { id, ...variables },
        });
        return data as Page;
      };
      const last = await read({ last: 10 });
      t.same(texts(last), numbers(16, 25));
      const before = await read({ last: 10, before: last.channel.messages.pageInfo.startCursor });
      t.same(texts(before), numbers(6, 15));
    });

    t.test('writes, and knows what it wrote by its type and id', async (t) => {
      const { data } = await client.mutate({
        mutation: gql(send),
        variables: { input: { channelId: id, text: 'by Apollo' } },
      });
      const { message } = (data as { sendMessage: { message: { __typename: string; id: string; text: string } } })
        .sendMessage;
      t.match(message, { __typename: 'Message', text: 'by Apollo' });
      t.equal(client.cache.identify(message), `Message:${message.id}`);
    });

    t.test('tells an error with its code', async (t) => {
      const mutation = client.mutate({ mutation: gql(send), variables: { input: { channelId: id, text: '' } } });
      const error = await mutation.then(
        () => undefined,
        (thrown) => thrown,
      );
      t.ok(CombinedGraphQLErrors.is(error));
      t.match(error.errors[0], { path: ['sendMessage'], extensions: { code: 'BAD_USER_INPUT', argument: 'text' } });
    });
  });

  t.test('@urql/core', async (t) => {
    const client = new Client({
      url,
      preferGetMethod: false,
      exchanges: [cacheExchange, fetchExchange],
      fetchOptions: { headers },
    });
    const read = async (variables: object): Promise<Page> => {
      const { data, error } = await client.query<Page>(page, { id, ...variables }).toPromise();
      if (!data) throw error;
      return data;
    };

    t.test('reads forward and back by cursors', async (t) => {
      const first = await read({ first: 10 });
      t.same(texts(first), numbers(1, 10));
      const second = await read({ first: 10, after: first.channel.messages.pageInfo.endCursor });
      t.same(texts(second), numbers(11, 20));
      const back = await read({ last: 10, before: second.channel.messages.pageInfo.startCursor });
      t.same(texts(back), numbers(1, 10));
    });

    t.test('reads by GET where it prefers that', async (t) => {
      const getting = new Client({
        url,
        preferGetMethod: 'force',
        exchanges: [fetchExchange],
        fetchOptions: { headers },
      });
      const { data } = await getting.query('query Me { me { username } }', {}).toPromise();
      t.equal(data.me.username, 'alice');
    });

    t.test('writes, and what it has read of the type is asked anew', async (t) => {
      const count =
        'query Count($id: UUID!) { channel(id: $id) { id messages(first: 1) { nodes { id } totalCount } } }';
      const before = (await client.query(count, { id }).toPromise()).data.channel.messages.totalCount;
      const sent = await client.mutation(send, { input: { channelId: id, text: 'by urql' } }).toPromise();
      t.equal(sent.data.sendMessage.message.text, 'by urql');
      t.equal((await client.query(count, { id }).toPromise()).data.channel.messages.totalCount, before + 1);
    });

    t.test('tells an error with its code', async (t) => {
      const { error } = await client.mutation(send, { input: { channelId: alice.id, text: 'nowhere' } }).toPromise();
      t.match(error?.graphQLErrors, [{ message: 'There is no such channel.', extensions: { code: 'NOT_FOUND' } }]);
    });
  });
});
