import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout as sleep } from 'node:timers/promises';
import { AwsClient, AwsV4Signer } from 'aws4fetch';
import { Refusal } from './refusal.ts';
import { checkName, NotStored, type Patience, type Storage, type Stored } from './storage.ts';
import { within } from './within.ts';

/** Where an S3 is, for us and for clients, and by which key. */
export type S3 = {
  endpoint: string;
  publicEndpoint: string;
  bucket: string;
  prefix: string;
  key: string;
  secret: string;
  region: string;
};

const mebibyte = 1024 * 1024;
const firstPart = 8 * mebibyte;
const firstHeld = mebibyte / 16;
// S3 takes 10,000 parts: they double every 1,000, so that a file may grow to the 5 TB that S3 takes.
const partsOfOneSize = 1000;
const largestPart = 1024 * mebibyte;

/** Files in a bucket of any S3-compatible service, addressed as endpoint/bucket/prefix/name. */
export function s3Storage(
  { endpoint, publicEndpoint, bucket, prefix, key, secret, region }: S3,
  { tries, answersWithin }: Patience,
): Storage {
  // Trying again is done here: the client only does it for answers, not for connections that break.
  const client = new AwsClient({ accessKeyId: key, secretAccessKey: secret, service: 's3', region, retries: 0 });
  const rootAt = (address: string): string => `${address.replace(/\/+$/, '')}/${encodeURIComponent(bucket)}`;
  const root = rootAt(endpoint);
  const place = `s3://${bucket}${prefix && `/${prefix}`}`;
  const under = prefix && `${prefix}/`;
  const addressOf = (name: string, at = root): string =>
    `${at}/${(under + checkName(name)).split('/').map(encodeURIComponent).join('/')}`;

  type Request = {
    method: string;
    url: string;
    body?: Uint8Array<ArrayBuffer> | string;
    signal?: AbortSignal | undefined;
    headers?: Record<string, string> | undefined;
  };

  async function ask({ method, url, body, signal, headers }: Request): Promise<Response> {
    // Signed with its hash, so that what the service stores is what was sent.
    const hash = createHash('sha256')
      .update(body ?? '')
      .digest('hex');
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      try {
        // Only until it answers: reading a large file may take longer.
        const response = await within(answersWithin, signal, (own) =>
          client.fetch(url, {
            method,
            headers: {
              'x-amz-content-sha256': hash,
              ...headers,
              ...(body !== undefined && { 'content-type': 'application/octet-stream' }),
            },
            ...(body !== undefined && { body }),
            signal: own,
          }),
        );
        if (response.ok || response.status === 404) return response;
        const text = await response.text();
        const isOver = response.status < 500 && response.status !== 429 && response.status !== 408;
        if (isOver || attempt === tries) throw refusal(method, response.status, text);
      } catch (cause) {
        signal?.throwIfAborted();
        if (cause instanceof Refusal) throw cause;
        if (attempt === tries) {
          const reason = (cause as Error).cause ?? cause;
          throw new Refusal(`${place} at ${endpoint} does not answer: ${(reason as Error).message || reason}`, {
            remedy: 'Check S3_ENDPOINT and the network, and try again.',
            cause,
          });
        }
      }
      await sleep(100 * 4 ** attempt * (0.5 + Math.random()));
    }
  }

  function refusal(method: string, status: number, text: string): Refusal {
    const code = inside(text, 'Code') ?? `status ${status}`;
    const remedies: Record<string, string> = {
      NoSuchBucket: `Make the bucket ${bucket}, or name another one.`,
      SignatureDoesNotMatch: 'Check S3_KEY, S3_SECRET and S3_REGION.',
      InvalidAccessKeyId: 'Check S3_KEY and S3_SECRET.',
      AccessDenied: 'Let the key of S3_KEY read, write, list and delete there.',
    };
    return new Refusal(`${place} refuses ${method}: ${code} ${inside(text, 'Message') ?? ''}`.trim(), {
      remedy: remedies[code] ?? 'Check the S3 settings, and what the service itself logs.',
    });
  }

  async function putParts(
    name: string,
    parts: AsyncGenerator<Uint8Array<ArrayBuffer>>,
    signal?: AbortSignal,
  ): Promise<number> {
    const url = addressOf(name);
    const first = await parts.next();
    const second = first.done ? first : await parts.next();
    if (second.done) {
      const body = first.done ? new Uint8Array() : first.value;
      found(await ask({ method: 'PUT', url, body, signal }), name);
      return body.length;
    }
    const begun = await found(await ask({ method: 'POST', url: `${url}?uploads=`, signal }), name).text();
    const upload = `uploadId=${encodeURIComponent(inside(begun, 'UploadId') ?? '')}`;
    try {
      const tags: string[] = [];
      let bytes = 0;
      const send = async (body: Uint8Array<ArrayBuffer>): Promise<void> => {
        const part = `${url}?partNumber=${tags.length + 1}&${upload}`;
        const { headers } = found(await ask({ method: 'PUT', url: part, body, signal }), name);
        tags.push(headers.get('etag') ?? '');
        bytes += body.length;
      };
      await send((first as { value: Uint8Array<ArrayBuffer> }).value);
      await send(second.value);
      for await (const body of parts) await send(body);
      const list = tags.map((tag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${tag}</ETag></Part>`);
      const body = `<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`;
      const answer = await found(await ask({ method: 'POST', url: `${url}?${upload}`, body, signal }), name).text();
      // S3 begins its answer with 200 before it knows.
      if (answer.includes('<Error>')) throw refusal('POST', 200, answer);
      return bytes;
    } catch (error) {
      await ask({ method: 'DELETE', url: `${url}?${upload}` }).catch(() => {});
      throw error;
    }
  }

  function found(response: Response, name: string): Response {
    if (response.status === 404) throw new NotStored(name, place);
    return response;
  }

  return {
    place,
    async put(name, from, signal) {
      const response = await putParts(name, inParts(from), signal).catch((error) => {
        if (!(error instanceof NotStored)) throw error;
        throw new Refusal(`${place} does not exist.`, { remedy: `Make the bucket ${bucket}, or name another one.` });
      });
      return response;
    },
    async get(name, signal, part) {
      const headers = part && { range: `bytes=${part.start}-${part.end}` };
      const { body } = found(await ask({ method: 'GET', url: addressOf(name), signal, headers }), name);
      return body ? Readable.fromWeb(body as ReadableStream, { ...(signal && { signal }) }) : Readable.from([]);
    },
    async list(wanted) {
      const all: Stored[] = [];
      for (let token: string | undefined = ''; token !== undefined; ) {
        const query = new URLSearchParams({ 'list-type': '2', prefix: under + wanted });
        if (token) query.set('continuation-token', token);
        // The signature counts a space as %20.
        const response = await ask({ method: 'GET', url: `${root}?${query.toString().replaceAll('+', '%20')}` });
        const text = await response.text();
        if (response.status === 404) throw refusal('GET', 404, text);
        for (const [, item = ''] of text.matchAll(/<Contents>(.*?)<\/Contents>/gs)) {
          const name = (inside(item, 'Key') ?? '').slice(under.length);
          all.push({ name, bytes: Number(inside(item, 'Size')), at: new Date(inside(item, 'LastModified') ?? 0) });
        }
        token = inside(text, 'IsTruncated') === 'true' ? inside(text, 'NextContinuationToken') : undefined;
      }
      return all.sort((one, other) => (one.name < other.name ? -1 : 1));
    },
    async remove(name) {
      await ask({ method: 'DELETE', url: addressOf(name) });
    },
    async presign(name, bytes, seconds) {
      const signed = await new AwsV4Signer({
        method: 'PUT',
        url: `${addressOf(name, rootAt(publicEndpoint))}?X-Amz-Expires=${seconds}`,
        // What the service sees of the size: a client that sends another one is refused.
        headers: { 'content-length': String(bytes) },
        accessKeyId: key,
        secretAccessKey: secret,
        service: 's3',
        region,
        signQuery: true,
        allHeaders: true,
      }).sign();
      return String(signed.url);
    },
  };
}

/** Cuts a stream into parts, of which one is held in memory. */
async function* inParts(from: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let size = firstPart;
  // Grown as it fills: of a file that is small, or sent slowly, little is held.
  let part = new Uint8Array(firstHeld);
  let filled = 0;
  let count = 0;
  for await (const chunk of from) {
    for (let rest = chunk; rest.length > 0; ) {
      const taken = rest.subarray(0, size - filled);
      if (filled + taken.length > part.length) {
        const grown = new Uint8Array(Math.min(size, Math.max(filled + taken.length, part.length * 2)));
        grown.set(part.subarray(0, filled));
        part = grown;
      }
      part.set(taken, filled);
      filled += taken.length;
      rest = rest.subarray(taken.length);
      if (filled < size) continue;
      yield part;
      count += 1;
      size = Math.min(firstPart * 2 ** Math.floor(count / partsOfOneSize), largestPart);
      part = new Uint8Array(firstHeld);
      filled = 0;
    }
  }
  if (filled > 0) yield part.slice(0, filled);
}

/** The text of the first element of that name. */
function inside(xml: string, name: string): string | undefined {
  const [, text] = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml) ?? [];
  return text?.replace(/&(amp|lt|gt|quot|apos|#\d+);/g, (_, entity: string) =>
    entity.startsWith('#') ? String.fromCodePoint(Number(entity.slice(1))) : (entities[entity] as string),
  );
}

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
