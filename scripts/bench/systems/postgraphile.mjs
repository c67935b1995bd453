// PostGraphile 5 on the same tables: Amber, Grafserv on node:http, the same row level security and tokens. The tags are what
// a user of it would write: the relation of a channel to its last message, and that the caller's channels can be ordered.
import { createServer } from 'node:http';
import pg from 'pg';
import { postgraphile } from 'postgraphile';
import { jsonParse } from 'postgraphile/@dataplan/json';
import { makePgService } from 'postgraphile/adaptors/pg';
import { context, lambda, listen } from 'postgraphile/grafast';
import { grafserv } from 'postgraphile/grafserv/node';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { extendSchema, gql, pgSmartTags } from 'postgraphile/utils';
import { openSystem, tellReady } from './system.ts';

const { port, databaseUrl, poolSize, callerOf } = openSystem();
const pool = new pg.Pool({ connectionString: databaseUrl, max: poolSize });
pool.on('error', () => {});

const tags = pgSmartTags([
  { kind: 'class', match: 'chat.channels', tags: { foreignKey: '(last_message_id) references chat.messages (id)' } },
  { kind: 'attribute', match: 'chat.channels.active_at', tags: { behavior: '+orderBy' } },
  { kind: 'procedure', match: 'chat.my_channels', tags: { behavior: '+order' } },
  // No two of functions and types may have one name, nor the singular of it.
  { kind: 'class', match: 'identity.bot_token', tags: { name: 'token_of_bot' } },
  ...['chat.mentions', 'chat.reactions', 'chat.reactors', 'identity.bot_tokens'].map((match) => ({
    ...{ kind: 'procedure', match, tags: { name: `${match.replace('.', '_')}_of` } },
  })),
]);

// Who listens to a channel: by LISTEN, with the message read anew for each, as its documentation shows it.
const listening = extendSchema(({ input: { pgRegistry } }) => ({
  typeDefs: gql`
    extend type Subscription {
      messageEvents(channelId: UUID!): MessageEvent
    }
    type MessageEvent {
      timestamp: String
      message: Message
    }
  `,
  objects: {
    Subscription: {
      plans: {
        messageEvents: {
          subscribePlan(_root, { $channelId }) {
            const topic = lambda($channelId, (id) => `channel:${id}`);
            return listen(context().get('pgSubscriber'), topic, jsonParse);
          },
          plan: (event) => event,
        },
      },
    },
    MessageEvent: {
      plans: {
        timestamp: (event) => event.get('timestamp'),
        message: (event) => pgRegistry.pgResources.messages.get({ id: event.get('id') }),
      },
    },
  },
}));

const serving = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [tags, listening],
  pgServices: [makePgService({ pool, schemas: ['chat', 'identity'], pubsub: true })],
  grafserv: { graphiql: false, watch: false, websockets: true },
  grafast: {
    explain: false,
    async context({ node, ws }) {
      const { role, sub, sid } = await callerOf(node?.req ?? { headers: ws.connectionParams });
      return { pgSettings: { role, 'plinth.user_id': sub, 'plinth.session_id': sid } };
    },
  },
});

// Without this, a schema that cannot be made is told only by answers of 500.
const schema = await serving.getSchema();
if (process.env.BENCH_PRINT) {
  const { printSchema } = await import('graphql');
  console.log(printSchema(schema));
}
const server = createServer();
await serving.createServ(grafserv).addTo(server);
server.listen(port, '127.0.0.1', tellReady);
