// The limit: plain node:http that sends Postgres the very statements that Plinth was seen to send, in one round trip, and
// writes the JSON text that comes back. It parses nothing and knows one caller. BENCH_BARE, a user's id, leaves out the first
// statement: no role, no claims, no policies, as the owner; the user is a setting of the connection.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import pg from 'pg';
import { type Call, pipeline, prepare } from '../../../functions/pipeline.ts';
import { connectionOptions } from '../../../functions/requests.ts';
import type { Captured } from '../capture.ts';
import { openSystem, tellReady } from './system.ts';

const { port, databaseUrl, poolSize, captured } = openSystem();
const bare = process.env.BENCH_BARE;
const options = bare ? `${connectionOptions} -c plinth.user_id=${bare}` : connectionOptions;
const pool = new pg.Pool({ connectionString: databaseUrl, options, max: poolSize });
const prepared = new Map<string, ReturnType<typeof prepare>>();

function statementOf(text: string) {
  const known = prepared.get(text) ?? prepare(text);
  prepared.set(text, known);
  return known;
}

const answers = new Map<string, { calls: Call[]; key: string | null }>();
for (const { name, key, sent } of JSON.parse(readFileSync(captured, 'utf8')) as Captured[]) {
  const calls = sent.map(({ text, values }) => ({ statement: statementOf(text), values }));
  answers.set(`/${name}`, { calls: bare ? calls.slice(1) : calls, key });
}

const server = createServer(async (request, response) => {
  request.resume();
  const answer = answers.get(request.url ?? '');
  if (!answer) return response.writeHead(404).end();
  const client = await pool.connect();
  let data: string | null | undefined;
  try {
    data = (await pipeline(client, answer.calls)).at(-1)?.[0]?.[0];
  } finally {
    client.release();
  }
  const body = answer.key ? `{"data":{"${answer.key}":${data}}}` : `{"data":${data}}`;
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.listen(port, '127.0.0.1', tellReady);
