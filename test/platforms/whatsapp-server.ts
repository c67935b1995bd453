import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { Test } from 'tap';

// Speaks as much of the Cloud API as is asked of it, as it is documented
// (https://developers.facebook.com/documentation/business-messaging/whatsapp): paths, forms, limits, errors.

// biome-ignore lint/suspicious/noExplicitAny: the body of whatever was asked
type Body = Record<string, any>;

type Called = { what: What; body: Body; at: number };
type What = 'number' | 'webhook' | 'messages' | 'media' | 'address' | 'download';

/** What it does in place of answering, once. `lost` does what is asked and does not say so. */
export type Fault =
  | { kind: 'error'; status: number; code: number; message?: string; details?: string; retryAfter?: number }
  | { kind: 'page'; status: number }
  | { kind: 'none' | 'bad JSON' | 'cut' | 'lost' | 'slow' };

/** What was uploaded or sent; where it is to be had, if not here. */
type Medium = { bytes: Buffer; type: string; name?: string; url?: string };

export type WhatsappServer = {
  /** The root of the API, with a version. */
  url: string;
  calls: Called[];
  /** What people see: the bodies of the messages, each with the id that it got. */
  shown: (Body & { id: string })[];
  /** What was uploaded, and what people have sent, by id. */
  media: Map<string, Medium>;
  faults: Map<What, Fault[]>;
  /** Where webhooks are reached in place of their public address. */
  reach: { origin: string };
  until(what: What, count: number): Promise<Called[]>;
  of(what: What): Called[];
  /** Lets those go on that are slow. */
  release(): void;
};

export const credentials = {
  access_token: 'EAAJB0rZCtoken7ZAZBq1',
  phone_number_id: '106540352242922',
  app_secret: '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
};

export async function openWhatsapp(t: Test): Promise<WhatsappServer> {
  const calls: Called[] = [];
  const shown: WhatsappServer['shown'] = [];
  const media: WhatsappServer['media'] = new Map();
  const faults: WhatsappServer['faults'] = new Map();
  const reach = { origin: '' };
  const held: (() => void)[] = [];
  const { access_token: token, phone_number_id: number } = credentials;

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const what = whatOf(request.method ?? '', url.pathname);
    const body = await bodyOf(request);
    if (!what) return refuse(response, 400, 100, 'Unsupported request');
    calls.push({ what, body, at: Date.now() });
    if (request.headers.authorization !== `Bearer ${token}`) {
      return refuse(response, 401, 190, 'Invalid OAuth access token.');
    }
    const fault = faults.get(what)?.shift();
    if (fault?.kind === 'slow') await new Promise<void>((resolve) => held.push(resolve));
    if (fault?.kind === 'error') return refuse(response, fault.status, fault.code, fault.message ?? 'Fault', fault);
    if (fault?.kind === 'page')
      return response.writeHead(fault.status).end('<html>Sorry, something went wrong.</html>');
    if (what === 'download') return download(response, url.searchParams.get('mid') ?? '', fault);
    if (fault?.kind === 'cut') return request.socket.destroy();
    const answer = await perform(what, body, url.pathname.split('/').at(-1) ?? '');
    if (answer instanceof Problem) return refuse(response, 400, answer.code, answer.message);
    if (fault?.kind === 'lost') return request.socket.destroy();
    const text = JSON.stringify(answer);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(fault?.kind === 'bad JSON' ? text.slice(0, 20) : text);
  });

  function whatOf(method: string, path: string): What | undefined {
    if (method === 'GET' && path === '/attachments') return 'download';
    if (method === 'GET' && path === `/v25.0/${number}`) return 'number';
    if (method === 'POST' && path === `/v25.0/${number}`) return 'webhook';
    if (method === 'POST' && path === `/v25.0/${number}/messages`) return 'messages';
    if (method === 'POST' && path === `/v25.0/${number}/media`) return 'media';
    return method === 'GET' && /^\/v25\.0\/\d+$/.test(path) ? 'address' : undefined;
  }

  async function perform(what: What, body: Body, id: string): Promise<Body | Problem> {
    if (what === 'number') return { verified_name: 'Harbour', display_phone_number: '+1 555-078-3881', id: number };
    if (what === 'webhook') return subscribe(body.webhook_configuration);
    if (what === 'media') {
      if (body.messaging_product !== 'whatsapp' || !body.file) return new Problem(100, 'Invalid parameter');
      const made = String(1_000_000 + media.size);
      media.set(made, { ...body.file, type: body.type });
      return { id: made };
    }
    if (what === 'messages') return post(body);
    const medium = media.get(id);
    if (!medium) return new Problem(100, `Unsupported get request. Object with ID '${id}' does not exist`);
    const { port } = server.address() as AddressInfo;
    const { type, bytes, url = `http://127.0.0.1:${port}/attachments?mid=${id}&ext=1&hash=h` } = medium;
    return { messaging_product: 'whatsapp', url, mime_type: type, sha256: 's', file_size: bytes.length, id };
  }

  /** Asks at the webhook whether it is there, as Meta does before it takes it. */
  async function subscribe({ override_callback_uri: address, verify_token: secret }: Body): Promise<Body | Problem> {
    const url = new URL(new URL(address).pathname, reach.origin);
    url.search = String(
      new URLSearchParams({ 'hub.mode': 'subscribe', 'hub.challenge': '1158201444', 'hub.verify_token': secret }),
    );
    const answer = await fetch(url);
    const isThere = answer.status === 200 && (await answer.text()) === '1158201444';
    return isThere ? { success: true } : new Problem(2200, 'Callback verification failed');
  }

  function post(body: Body): Body | Problem {
    const problem = problemOf(body, media);
    if (problem) return problem;
    const id = `wamid.HBgL${Buffer.from(`${shown.length}`).toString('base64')}`;
    shown.push({ ...body, id });
    const input = body.to ?? body.recipient;
    return { messaging_product: 'whatsapp', contacts: [{ input, wa_id: input }], messages: [{ id }] };
  }

  function download(response: ServerResponse, id: string, fault: Fault | undefined): void {
    const medium = media.get(id);
    if (!medium) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': medium.type, 'content-length': medium.bytes.length });
    if (fault?.kind === 'cut') response.write(medium.bytes.subarray(0, 9), () => response.destroy());
    else response.end(medium.bytes);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const release = (): void => {
    for (const go of held.splice(0)) go();
  };
  t.teardown(() => {
    release();
    server.closeAllConnections();
    server.close();
  });
  const of = (what: What): Called[] => calls.filter((each) => each.what === what);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v25.0`,
    calls,
    shown,
    media,
    faults,
    reach,
    of,
    release,
    async until(what, count) {
      for (let waited = 0; of(what).length < count; waited += 20) {
        if (waited > 30_000) throw new Error(`${of(what).length} of ${count} calls of ${what} have come`);
        await wait(20);
      }
      return of(what);
    },
  };
}

class Problem {
  readonly code: number;
  readonly message: string;

  constructor(code: number, message: string) {
    this.code = code;
    this.message = message;
  }
}

/** What the documentation forbids. */
function problemOf(body: Body, media: WhatsappServer['media']): Problem | undefined {
  const { type, interactive } = body;
  if (body.messaging_product !== 'whatsapp' || !(body.to ?? body.recipient))
    return new Problem(100, 'Invalid parameter');
  if (!body[type]) return new Problem(131008, `Required parameter is missing: ${type}`);
  if (type === 'text' && body.text.body.length > 4096) return new Problem(100, 'text.body is too long');
  if (['image', 'video', 'audio', 'document'].includes(type)) {
    if (!media.has(body[type].id)) return new Problem(131053, 'Media upload error');
    if (type === 'audio' && body.audio.caption) return new Problem(100, 'audio has no caption');
    if ((body[type].caption ?? '').length > 1024) return new Problem(100, 'caption is too long');
  }
  if (type === 'template' && !body.template.language?.code) return new Problem(131008, 'Required parameter is missing');
  if (interactive?.type === 'button') {
    const titles: string[] = interactive.action.buttons.map((each: Body) => each.reply.title);
    if (titles.length > 3 || titles.some((title) => title.length > 20)) {
      return new Problem(131009, 'Parameter value is not valid: buttons');
    }
  }
  if (interactive?.type === 'list') {
    const rows: Body[] = interactive.action.sections.flatMap((each: Body) => each.rows);
    if (rows.length > 10 || rows.some(({ title }) => title.length > 24)) {
      return new Problem(131009, 'Parameter value is not valid: rows');
    }
  }
  return;
}

function refuse(
  response: ServerResponse,
  status: number,
  code: number,
  message: string,
  { details, retryAfter }: { details?: string; retryAfter?: number } = {},
): void {
  const data = details && { error_data: { messaging_product: 'whatsapp', details } };
  const headers = {
    'content-type': 'application/json',
    ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
  };
  const error = {
    message: `(#${code}) ${message}`,
    type: 'OAuthException',
    code,
    ...data,
    fbtrace_id: 'Az8or2yhqkZfEZ',
  };
  response.writeHead(status, headers).end(JSON.stringify({ error }));
}

async function bodyOf(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const type = request.headers['content-type'] ?? '';
  if (!type.startsWith('multipart/')) return body.length > 0 ? JSON.parse(body.toString()) : {};
  if (Number(request.headers['content-length']) !== body.length) throw new Error('an upload tells its length');
  const form = await new Response(body, { headers: { 'content-type': type } }).formData();
  const file = form.get('file') as File;
  return {
    messaging_product: form.get('messaging_product'),
    type: form.get('type'),
    file: { name: file.name, type: file.type, bytes: Buffer.from(await file.arrayBuffer()) },
  };
}
