// Starts the whole with a command as a person would, asks it a query, stops it, and looks whether anything is left:
// node .ci/smoke.mjs <command> [arguments]. Its last line counts what was right.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { WebSocket } from 'ws';

const patience = 180_000;
let passed = 0;
let failed = 0;

function check(right, what) {
  console.log(`${right ? 'ok' : 'not ok'} - ${what}`);
  if (right) passed += 1;
  else failed += 1;
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, 'localhost', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A Telegram in which one person has written /help; `answered` is what our bot says to that. */
async function openTelegram() {
  const message = { message_id: 1, date: 1, chat: { id: 7, type: 'private' }, from: { id: 7, first_name: 'Vera' } };
  const update = { update_id: 1, message: { ...message, text: '/help' } };
  const results = {
    getMe: () => ({ id: 1, is_bot: true, first_name: 'Harbour', username: 'harbour_bot' }),
    getUpdates: ({ offset = 0 }) => (offset <= 1 ? [update] : new Promise((resolve) => setTimeout(resolve, 1000, []))),
  };
  let answered;
  const said = new Promise((resolve) => {
    answered = resolve;
  });
  const server = createHttpServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const method = request.url.split('/').at(-1);
    const parameters = body ? JSON.parse(body) : {};
    if (method === 'sendMessage') answered(parameters.text);
    const result = (await results[method]?.(parameters)) ?? (method === 'sendMessage' ? message : true);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ok: true, result }));
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  return { url: `http://localhost:${server.address().port}`, said, close: () => server.close() };
}

const telegram = await openTelegram();
const data = mkdtempSync(path.join(tmpdir(), 'plinth-smoke-'));
// Where root runs this, the user postgres must get in.
chmodSync(data, 0o711);
const [program, ...args] = process.argv.slice(2);
const env = {
  ...process.env,
  PORT: `${await freePort()}`,
  PLINTH_DATA: data,
  TELEGRAM_API: telegram.url,
  CREDENTIALS_KEY: randomBytes(32).toString('base64url'),
};
const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
const url = await new Promise((resolve) => {
  let text = '';
  child.stdout.on('data', (chunk) => {
    process.stdout.write(chunk);
    text += chunk;
    const ready = /^Plinth is ready at (\S+)$/m.exec(text);
    if (ready) resolve(ready[1]);
  });
  ended.then(() => resolve(undefined));
  setTimeout(resolve, patience).unref();
});
check(url !== undefined, 'it gets ready');
if (url) {
  const body = JSON.stringify({ query: '{ __typename }' });
  const response = await fetch(`${url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const answer = await response.text();
  check(response.status === 200 && JSON.parse(answer).data.__typename === 'Query', `it answers a query: ${answer}`);
}
if (url) {
  // Nobody is signed in: both transports carry that back, and stay what they are.
  const query = 'subscription { userEvents { event { type } } }';
  const stream = await fetch(`${url}graphql?${new URLSearchParams({ query })}`, {
    headers: { accept: 'text/event-stream' },
  });
  const said = await stream.text();
  check(/^event: next\ndata: .*FORBIDDEN.*event: complete/ms.test(said), 'it speaks server-sent events');
  const socket = new WebSocket(`${url.replace('http', 'ws')}graphql`, 'graphql-transport-ws');
  const told = await new Promise((resolve) => {
    const types = [];
    socket.on('open', () => socket.send('{"type":"connection_init"}'));
    socket.on('error', () => resolve('an error'));
    socket.on('message', (text) => {
      const { type } = JSON.parse(text);
      types.push(type);
      if (type === 'connection_ack') socket.send(JSON.stringify({ type: 'subscribe', id: '1', payload: { query } }));
      else resolve(types.join());
    });
  });
  socket.close();
  check(told === 'connection_ack,error', `it speaks graphql-transport-ws: ${told}`);
}
if (url) {
  const run = (...task) =>
    spawnSync(program, [...args.slice(0, -1), ...task], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  run('seed');
  const { stdout } = run('token', 'alice');
  const query =
    'mutation { connectPlatform(input: { platformId: "telegram", credentials: { bot_token: "1:smoke" }, isPolled: true }) { integration { id } } }';
  const response = await fetch(`${url}graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stdout.trim()}` },
    body: JSON.stringify({ query }),
  });
  const answer = await response.text();
  const said = await Promise.race([telegram.said, new Promise((resolve) => setTimeout(resolve, 60_000, answer))]);
  check(/^Write here/.test(said), `a Telegram bot is connected, and answers: ${said.slice(0, 100)}`);
}
telegram.close();
child.kill('SIGTERM');
console.log(`it ended with ${await ended}`);
const left = () => existsSync(path.join(data, 'postgres/postmaster.pid')) || existsSync(path.join(data, 'holder.json'));
for (let waited = 0; waited < 10_000 && left(); waited += 100) await new Promise((resolve) => setTimeout(resolve, 100));
check(!left(), 'its Postgres has ended');
check(
  !url ||
    (await fetch(url).then(
      () => false,
      () => true,
    )),
  'its server has ended',
);
rmSync(data, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
