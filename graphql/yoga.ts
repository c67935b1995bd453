import type { IncomingMessage } from 'node:http';
import { createYoga, type Plugin } from '@graphql-yoga/node';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';
import { GraphQLError } from 'graphql';
import type { Settings } from '../functions/settings.ts';
import type { Asked } from './execute.ts';
import { bodyOf, type Outcome, type Params } from './respond.ts';

/**
 * Yoga for what is not a plain JSON request: GET, GraphiQL, other media types, and malformed requests, each told as the
 * specification of GraphQL over HTTP says. What to answer is ours.
 *
 * @param answer gives the outcome of a request; undefined where its parameters are malformed.
 */
export function openYoga(
  { graphiql }: Pick<Settings, 'graphiql'>,
  answer: (params: Params, asked: Asked, readOnly: boolean) => Promise<Outcome | undefined>,
) {
  const ours: Plugin<{ asked: Asked }> = {
    async onParams({ params, setParams, request, context, setResult }) {
      // Yoga does not read the name of a trusted document from the URL.
      const documentId = new URL(request.url).searchParams.get('documentId');
      const outcome = await answer(
        { ...params, ...(documentId !== null && { documentId }) },
        (context as unknown as { asked: Asked }).asked,
        request.method === 'GET',
      );
      if (!outcome) return;
      // It insists on a document, where a trusted one was only named.
      if (params.query === undefined) setParams({ ...params, query: '' });
      const { http } = outcome;
      // `extensions.http` tells it the status and headers.
      const errors = outcome.errors?.map(
        ({ message, extensions, ...rest }) =>
          new GraphQLError(message, { ...rest, extensions: { ...extensions, ...(http && { http }) } } as object),
      );
      const result = { ...(outcome.executed && { data: {} }), ...(errors && { errors }) };
      setResult({ ...result, stringify: () => bodyOf(outcome) } as never);
    },
  };
  const yoga = createYoga<{ asked: Asked }>({
    graphqlEndpoint: '/graphql',
    graphiql: graphiql && { title: 'Plinth', defaultQuery: firstQuery, shouldPersistHeaders: true },
    ...(graphiql && { renderGraphiQL }),
    landingPage: false,
    logging: false,
    maskedErrors: false,
    cors: false,
    batching: false,
    multipart: false,
    parserAndValidationCache: false,
    extraParamNames: ['documentId'],
    plugins: [ours],
  });

  return async (request: IncomingMessage, body: string, asked: Asked) => {
    const { method = 'GET' } = request;
    const headers = Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
      value === undefined || name.startsWith(':') ? [] : [[name, String(value)]],
    );
    const init = { method, headers, ...(method !== 'GET' && method !== 'HEAD' && { body }) };
    const response = await yoga.fetch(new Request(new URL(request.url ?? '/', 'http://localhost'), init), { asked });
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: await response.text(),
    };
  };
}

const firstQuery = `# Without a token you are anonymous.
# \`npm run token -- alice\` prints one.
# Headers: { "Authorization": "Bearer …" }

query MyChannels {
  me {
    username
  }
  myChannels(first: 10) {
    nodes {
      id
      kind
      name
      unread
      lastMessage {
        text
        sender {
          username
        }
      }
    }
  }
}
`;
