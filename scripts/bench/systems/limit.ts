// The limit: plain node:http that sends Postgres the very statements that Plinth was seen to send, in one round trip, and
// writes the JSON text that comes back. It parses nothing and knows one caller. BENCH_BARE leaves out the first statement: no
// role, no claims, no policies, as the owner; the user is a setting of the connection.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type Call, pipeline, prepare } from '../../../functions/pipeline.ts';
import { type Caller, openRequests } from '../../../functions/requests.ts';
import type { Captured } from '../capture.ts';
import { openSystem, tellReady } from './system.ts';

const { port, databaseUrl, poolSize, captured } = openSystem();
const requests = openRequests(databaseUrl, { size: poolSize, log: console });

async function runBare(calls: Call[]) {
  const client = await requests.pool.connect();
  return pipeline(client, calls).finally(() => client.release());
}
const asCaller = (calls: Call[], caller: Caller) => requests.run(caller, calls, { readOnly: false });
const run = process.env.BENCH_BARE ? runBare : asCaller;

const prepared = new Map<string, ReturnType<typeof prepare>>();

function statementOf(text: string) {
  const known = prepared.get(text) ?? prepare(text);
  prepared.set(text, known);
  return known;
}

const answers = new Map<string, { calls: Call[]; caller: Caller; key: string | null }>();
for (const { name, key, caller, calls } of JSON.parse(readFileSync(captured, 'utf8')) as Captured[]) {
  const prepared = calls.map(({ text, values }) => ({ statement: statementOf(text), values }));
  answers.set(`/${name}`, { calls: prepared, caller, key });
}

const server = createServer(async (request, response) => {
  request.resume();
  const answer = answers.get(request.url ?? '');
  if (!answer) return response.writeHead(404).end();
  const data = (await run(answer.calls, answer.caller)).at(-1)?.[0]?.[0];
  const body = answer.key ? `{"data":{"${answer.key}":${data}}}` : `{"data":${data}}`;
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
});
server.listen(port, '127.0.0.1', tellReady);
