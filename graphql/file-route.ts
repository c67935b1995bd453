import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { create as contentDisposition } from 'content-disposition';
import type { Logger } from 'pino';
import parseRange from 'range-parser';
import type { Download } from '../functions/files.ts';
import { NotTaken } from '../functions/intake.ts';
import type { Part, Storage } from '../functions/storage.ts';
import { addressOf, countedAddress } from './address.ts';
import { isKnown } from './conditional.ts';
import { type Exchange, type Reply, refuse } from './exchange.ts';
import type { Gate } from './gate.ts';
import type { Told, Uploads } from './uploads.ts';

// A client that takes nothing for so long is gone, in milliseconds.
const patience = 60_000;
const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const downloadPath = new RegExp(`^/files/(${uuid})(/preview)?$`);
const uploadPath = new RegExp(`^/files/uploads/(${uuid})$`);

export function isUploadPath(path: string): boolean {
  return uploadPath.test(path);
}

/** Serves /files: downloads by links, and uploads by PUT where the storage takes none itself. */
export function openFileRoute({
  uploads,
  storage,
  log,
  gate,
  trustedProxies,
}: {
  uploads: Uploads;
  storage: Storage;
  log: Logger;
  gate: Gate;
  trustedProxies: number;
}) {
  function turnAway(told: Told | undefined, id: string, headers: Record<string, string>): Reply | undefined {
    if (!told) return;
    log.info({ id, status: told.status, code: told.code }, 'request');
    const { status, code, message, extensions } = told;
    return refuse(status, code, message, headers, extensions);
  }

  /** Answers a request; nothing where the answer has been sent. */
  return async ({ request, response, id }: Exchange, path: string): Promise<Reply | undefined> => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const expires = /^\d{1,15}$/.exec(searchParams.get('expires') ?? '')?.[0] ?? null;
    const signature = searchParams.get('signature');
    const [, uploadId] = uploadPath.exec(path) ?? [];
    const [, fileId, preview] = downloadPath.exec(path) ?? [];
    const address = addressOf(request, trustedProxies);
    const sender = countedAddress(address);
    try {
      // Counted as every request is: who guesses links is soon turned away.
      const claims = { ...(isIP(address) && { address }) };
      gate.arrive({ caller: { role: 'anonymous', claims }, id, signal: gone.signal });
      if (request.method === 'OPTIONS' && (uploadId || fileId)) return { status: 204, headers: {}, body: '' };
      if (uploadId && !storage.presign) {
        if (request.method !== 'PUT') return refuse(405, 'BAD_REQUEST', 'PUT the bytes here.', { allow: 'PUT' });
        const { stored, most } = await uploads.files.openUpload(sender, uploadId, expires, signature);
        await uploads.put(request, sender, stored, most, gone.signal);
        return { status: 204, headers: {}, body: '' };
      }
      if (!fileId) return refuse(404, 'NOT_FOUND', 'There is no such file.');
      if (request.method !== 'GET' && request.method !== 'HEAD')
        return refuse(405, 'BAD_REQUEST', 'A file is read by GET.', { allow: 'GET, HEAD' });
      const download = await uploads.files.openDownload(
        sender,
        fileId,
        preview ? 'preview' : 'file',
        expires,
        signature,
      );
      return await send(request, response, download, gone.signal);
    } catch (error) {
      if (response.headersSent) {
        // Told by the connection: less comes than was announced.
        response.destroy();
        if (!gone.signal.aborted) log.warn({ id, err: error }, 'a download broke off');
        return;
      }
      const told = uploads.tell(error, id, gone.signal);
      if (told && request.method === 'PUT') await uploads.drain(request);
      // What was not read of a body is not the next request.
      return turnAway(told, id, request.complete ? {} : { connection: 'close' });
    }
  };

  async function send(
    request: IncomingMessage,
    response: ServerResponse,
    download: Download,
    gone: AbortSignal,
  ): Promise<Reply | undefined> {
    const headers = headersOf(download);
    if (isKnown(request, headers.etag)) return { status: 304, headers, body: '' };
    const part = partOf(request, download.bytes, headers.etag);
    if (part === 'none') {
      const refused = refuse(416, 'BAD_REQUEST', `The file has ${download.bytes} bytes.`);
      return { ...refused, headers: { ...refused.headers, 'content-range': `bytes */${download.bytes}` } };
    }
    const whole = { start: 0, end: download.bytes - 1 };
    const { start, end } = part ?? whole;
    // Found before anything is said.
    const from =
      request.method === 'GET'
        ? await storage.get(download.stored, gone, { start, end }).catch((cause) => {
            throw new NotTaken('storage', cause);
          })
        : undefined;
    response.writeHead(part ? 206 : 200, {
      ...headers,
      'content-length': end - start + 1,
      ...(part && { 'content-range': `bytes ${start}-${end}/${download.bytes}` }),
    });
    if (!from) {
      response.end();
      return;
    }
    response.setTimeout(patience, () => response.destroy());
    await pipeline(from, response);
    return;
  }
}

/** What goes with a file. It can be shown, or kept; nothing in it runs as a page of ours. */
function headersOf({ name, media_type: type, etag, is_inline: inline, is_public: open, seconds }: Download) {
  return {
    'content-type': /xml|html|script/.test(type) ? 'application/octet-stream' : type,
    'content-disposition': contentDisposition(name, { type: inline ? 'inline' : 'attachment' }),
    'x-content-type-options': 'nosniff',
    'content-security-policy':
      "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox",
    'cross-origin-resource-policy': 'cross-origin',
    'referrer-policy': 'no-referrer',
    etag: `"${etag}"`,
    'accept-ranges': 'bytes',
    'cache-control': `${open ? 'public' : 'private'}, max-age=${Math.max(0, seconds)}, immutable`,
  };
}

/** The one part that is asked for; nothing where the whole is, `none` where there is no such part. */
function partOf({ headers }: IncomingMessage, bytes: number, etag: string): Part | 'none' | undefined {
  if (!headers.range || (headers['if-range'] !== undefined && headers['if-range'] !== etag)) return;
  const parts = parseRange(bytes, headers.range, { combine: true });
  if (parts === -1) return 'none';
  // Several at once need not be served, and players do not ask for them.
  if (parts === -2 || parts.type !== 'bytes' || parts.length !== 1) return;
  return parts[0];
}
