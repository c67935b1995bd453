import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

// Speaks as much of https://core.telegram.org/bots/api as bots of ours ask for: what it answers is what is documented there.

// biome-ignore lint/suspicious/noExplicitAny: the parameters of whatever method was called
type Parameters = Record<string, any>;

/** A call that came: with the files of a form in the places that name them. */
type Called = { method: string; token: string; parameters: Parameters; at: number };

/** A file of a form. */
export type Sent = { name: string; type: string; bytes: Buffer };

/** What it does in place of answering, once. `lost` does what is asked and does not say so. */
export type Fault =
  | { kind: 'status'; status: number; retryAfter?: number; description?: string }
  | { kind: 'page'; status: number }
  | { kind: 'bad JSON' | 'cut' | 'lost' | 'slow' | 'silent' };

export type TelegramServer = {
  url: string;
  calls: Called[];
  /** What it has done of what it was asked to send: the messages that people see. */
  shown: (Parameters & { message_id: number; chat: string })[];
  /** What happens to the next calls of a method, in turn. */
  faults: Map<string, Fault[]>;
  /** What getUpdates gives, until it is confirmed. */
  updates: object[];
  /** What getFile finds, by its id. */
  files: Map<string, { path: string; bytes: Buffer }>;
  /** Waits until so many calls of a method have come. */
  until(method: string, count: number): Promise<Called[]>;
  /** Lets those go on that are slow. */
  release(): void;
  of(method: string): Called[];
};

export const token = '110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw';

/**
 * @param t is told how it is closed.
 * @param choose what happens to a call for which no fault is planned.
 */
export async function openTelegram(
  t: { teardown(close: () => void): unknown },
  choose: (method: string, parameters: Parameters) => Fault | undefined = () => undefined,
): Promise<TelegramServer> {
  const calls: Called[] = [];
  const shown: TelegramServer['shown'] = [];
  const faults = new Map<string, Fault[]>();
  const updates: object[] = [];
  const files: TelegramServer['files'] = new Map();
  const held: (() => void)[] = [];
  let polling = 0;

  const server = createServer(async (request, response) => {
    const [, isFile, given = '', named = ''] = /^(\/file)?\/bot([^/]+)\/(.+)$/.exec(request.url ?? '') ?? [];
    const method = isFile ? 'download' : named;
    const parameters = isFile ? { path: named } : await parametersOf(request);
    calls.push({ method, token: given, parameters, at: Date.now() });
    if (given !== token) return answer(response, 401, { ok: false, error_code: 401, description: 'Unauthorized' });
    const fault = faults.get(method)?.shift() ?? choose(method, parameters);
    if (fault?.kind === 'silent') return;
    if (fault?.kind === 'slow') await new Promise<void>((resolve) => held.push(resolve));
    if (fault?.kind === 'status') {
      const { status, retryAfter, description = 'Fault' } = fault;
      const limits = retryAfter === undefined ? {} : { parameters: { retry_after: retryAfter } };
      return answer(response, status, { ok: false, error_code: status, description, ...limits });
    }
    if (fault?.kind === 'page') return response.writeHead(fault.status).end('<html>Bad Gateway</html>');
    if (isFile) return download(response, named, fault);
    if (fault?.kind === 'cut') return request.socket.destroy();
    const result = await perform(method, parameters);
    if (result instanceof Error) {
      return answer(response, 400, { ok: false, error_code: 400, description: result.message });
    }
    if (fault?.kind === 'lost') return request.socket.destroy();
    if (fault?.kind === 'bad JSON') return response.writeHead(200).end('{"ok":true,"result":{');
    answer(response, 200, { ok: true, result });
  });

  function download(response: ServerResponse, path: string, fault: Fault | undefined): void {
    const bytes = [...files.values()].find((file) => file.path === path)?.bytes;
    if (!bytes) {
      answer(response, 404, { ok: false, error_code: 404, description: 'Not Found' });
      return;
    }
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
    if (fault?.kind === 'cut') response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
    else response.end(bytes);
  }

  async function perform(method: string, parameters: Parameters): Promise<unknown> {
    const { chat_id: chat, message_id: id } = parameters;
    if (method === 'getMe') return { id: 110201543, is_bot: true, first_name: 'Harbour', username: 'harbour_bot' };
    if (method === 'getUpdates') return waitForUpdates(parameters);
    if (method === 'getFile') {
      const found = files.get(parameters.file_id);
      const told = { file_id: parameters.file_id, file_unique_id: 'u', file_size: found?.bytes.length };
      return found ? { ...told, file_path: found.path } : new Error('Bad Request: invalid file_id');
    }
    if (/^send/.test(method)) {
      const parts = method === 'sendMediaGroup' ? parameters.media : [parameters];
      const sent = parts.map((part: Parameters) => {
        const message = { ...part, method, chat: String(chat), message_id: shown.length + 1000 };
        shown.push(message);
        return {
          message_id: message.message_id,
          chat: { id: Number(chat), type: 'private' },
          date: 1,
          text: part.text,
        };
      });
      return method === 'sendMediaGroup' ? sent : sent[0];
    }
    const known = shown.find((each) => each.chat === String(chat) && each.message_id === Number(id));
    if (/^edit/.test(method) && known) Object.assign(known, { text: parameters.text, edited: true });
    if (method === 'deleteMessage' && known) shown.splice(shown.indexOf(known), 1);
    return true;
  }

  async function waitForUpdates({ offset = 0, limit = 100, timeout = 0 }: Parameters): Promise<unknown> {
    polling += 1;
    const mine = polling;
    const until = Date.now() + timeout * 1000;
    const fresh = () => updates.filter((each) => (each as { update_id: number }).update_id >= offset).slice(0, limit);
    while (fresh().length === 0 && Date.now() < until && polling === mine) await wait(10);
    return fresh();
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    polling += 1;
    for (const release of held.splice(0)) release();
    server.closeAllConnections();
    server.close();
  });
  const of = (method: string): Called[] => calls.filter((each) => each.method === method);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    shown,
    faults,
    updates,
    files,
    of,
    async until(method, count) {
      for (let waited = 0; of(method).length < count; waited += 20) {
        if (waited > 30_000) throw new Error(`${of(method).length} of ${count} calls of ${method} have come`);
        await wait(20);
      }
      return of(method);
    },
    release() {
      for (const release of held.splice(0)) release();
    },
  };
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function parametersOf(request: IncomingMessage): Promise<Parameters> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const type = request.headers['content-type'] ?? '';
  if (!type.startsWith('multipart/')) return body.length > 0 ? JSON.parse(body.toString()) : {};
  const form = await new Response(body, { headers: { 'content-type': type } }).formData();
  const files = new Map<string, Sent>();
  for (const [name, value] of form) {
    if (typeof value === 'string') continue;
    files.set(`attach://${name}`, {
      name: value.name,
      type: value.type,
      bytes: Buffer.from(await value.arrayBuffer()),
    });
  }
  const texts = [...form].filter((field): field is [string, string] => typeof field[1] === 'string');
  return Object.fromEntries(texts.map(([name, text]) => [name, placed(name === 'media' ? JSON.parse(text) : text)]));

  // biome-ignore lint/suspicious/noExplicitAny: a value of whatever parameter
  function placed(value: any): any {
    if (Array.isArray(value)) return value.map(placed);
    if (typeof value === 'object')
      return Object.fromEntries(Object.entries(value).map(([at, each]) => [at, placed(each)]));
    return files.get(value) ?? value;
  }
}
