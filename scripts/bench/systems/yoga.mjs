// What people write by hand: Yoga with resolvers, node-postgres and DataLoader, each request in a transaction with the role
// and the claims of its token, statements prepared, columns named.
import { createServer } from 'node:http';
import DataLoader from 'dataloader';
import { createSchema, createYoga } from 'graphql-yoga';
import pg from 'pg';
import { connectionOptions } from '../../../functions/requests.ts';
import { openSystem, tellReady } from './system.ts';

const { port, databaseUrl, poolSize, callerOf } = openSystem();
const pool = new pg.Pool({ connectionString: databaseUrl, options: connectionOptions, max: poolSize });
pool.on('error', () => {});

const typeDefs = /* GraphQL */ `
  scalar UUID
  scalar DateTime
  scalar BigInt
  type User { id: UUID! username: String! displayName: String! avatarUrl: String }
  type Message { id: UUID! seq: BigInt! text: String sentAt: DateTime! sender: User }
  type MessageConnection { nodes: [Message!]! }
  type Channel {
    id: UUID!
    kind: String!
    name: String
    unread: Int
    lastMessage: Message
    messages(first: Int!): MessageConnection!
  }
  type ChannelConnection { nodes: [Channel!]! }
  type Query { channel(id: UUID!): Channel message(id: UUID!): Message myChannels(first: Int!): ChannelConnection! }
  input SendMessageInput { channelId: UUID! text: String! }
  type SendMessagePayload { message: Message }
  type Mutation { sendMessage(input: SendMessageInput!): SendMessagePayload! }
`;

const columns = {
  messages: 'id, seq, text, sent_at as "sentAt", sender_id as "senderId"',
  channels: 'id, kind, name, last_message_id as "lastMessageId"',
  users: 'id, username, display_name as "displayName", avatar_url as "avatarUrl"',
};
const statements = {
  begin:
    "select set_config('plinth.user_id', $1, true), set_config('plinth.session_id', $2, true), set_config('role', $3, true)",
  channel: `select ${columns.channels} from chat.channels where id = $1`,
  page: `select ${columns.messages} from chat.messages where channel_id = $1 order by id desc limit $2`,
  messages: `select ${columns.messages} from chat.messages where id = any($1)`,
  users: `select ${columns.users} from identity.users where id = any($1)`,
  myChannels: `select ${columns.channels} from chat.my_channels() order by active_at desc, id limit $1`,
  unread: 'select channel_id as id, unread::integer from chat._memberships where channel_id = any($1)',
  send: `select ${columns.messages} from chat.send_message($1, $2)`,
};

/** The queries of one request: one connection, its transaction opened by the first of them. */
function openRequest({ role, sub, sid }) {
  let opened;
  const open = async () => {
    const client = await pool.connect();
    await client.query('begin');
    await client.query({ name: 'begin', text: statements.begin, values: [sub, sid, role] });
    return client;
  };
  const run = async (name, values) => {
    opened ??= open();
    return (await (await opened).query({ name, text: statements[name], values })).rows;
  };
  const loader = (name) =>
    new DataLoader(async (ids) => {
      const found = new Map((await run(name, [ids])).map((row) => [row.id, row]));
      return ids.map((id) => found.get(id) ?? null);
    });
  return {
    run,
    users: loader('users'),
    messages: loader('messages'),
    unread: loader('unread'),
    async close(failed) {
      if (!opened) return;
      const client = await opened;
      await client.query(failed ? 'rollback' : 'commit');
      client.release();
    },
  };
}

const resolvers = {
  Query: {
    channel: async (_, { id }, { request }) => (await request.run('channel', [id]))[0],
    message: (_, { id }, { request }) => request.messages.load(id),
    myChannels: async (_, { first }, { request }) => ({ nodes: await request.run('myChannels', [first]) }),
  },
  Channel: {
    messages: async ({ id }, { first }, { request }) => ({ nodes: await request.run('page', [id, first]) }),
    lastMessage: ({ lastMessageId }, _, { request }) => lastMessageId && request.messages.load(lastMessageId),
    unread: async ({ id }, _, { request }) => (await request.unread.load(id))?.unread,
  },
  Message: { sender: ({ senderId }, _, { request }) => senderId && request.users.load(senderId) },
  Mutation: {
    sendMessage: async (_, { input }, { request }) => ({
      message: (await request.run('send', [input.channelId, input.text]))[0],
    }),
  },
};

const transaction = {
  onExecute({ args }) {
    const { request } = args.contextValue;
    return { onExecuteDone: ({ result }) => request.close(Boolean(result.errors)) };
  },
};

const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  context: async ({ req }) => ({ request: openRequest(await callerOf(req)) }),
  plugins: [transaction],
  logging: false,
  graphiql: false,
});
createServer(yoga).listen(port, '127.0.0.1', tellReady);
