import { Agent, request } from 'node:http';

/** Data of a GraphQL answer. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is that of each document
export type Data = any;

/** The server said no, and nothing has happened. */
export class Refused extends Error {}

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 1000 });
/** What takes longer is given up, in milliseconds. */
const mostWaited = 30_000;

/**
 * Asks by POST on a connection that is kept.
 *
 * @throws Refused with the code of the API, else what the connection says
 */
export function ask(port: number, token: string, query: string, variables: object): Promise<Data> {
  const body = JSON.stringify({ query, variables });
  return new Promise((resolve, reject) => {
    const sent = request({
      ...{ agent, port, host: '127.0.0.1', path: '/graphql', method: 'POST', timeout: mostWaited },
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        authorization: `Bearer ${token}`,
      },
    });
    sent.once('timeout', () => sent.destroy(new Error('no answer')));
    sent.once('error', reject);
    sent.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString();
        try {
          const { data, errors } = JSON.parse(text);
          if (!errors) resolve(data);
          else reject(new Refused(String(errors[0]?.extensions?.code ?? errors[0]?.message)));
        } catch {
          reject(new Error(`HTTP ${response.statusCode}`));
        }
      });
    });
    sent.end(body);
  });
}
