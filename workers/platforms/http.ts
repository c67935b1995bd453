import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { secondsToWait } from '../../functions/http-answer.ts';
import { within } from '../../functions/within.ts';
import { Refused } from './adapter.ts';

/**
 * Asks over HTTP. Gives up where no answer has begun in time, in milliseconds; its body may take longer.
 *
 * @param signal calls it off until then; whoever reads the body breaks that off by itself.
 */
export function answerOf(
  address: string,
  request: RequestInit,
  inTime: number,
  signal: AbortSignal,
): Promise<Response> {
  return within(inTime, signal, (own) => fetch(address, { ...request, signal: own }));
}

/** Posts what is read as it is sent, and tells its length ahead: `fetch` does not, on every runtime. */
export function upload(
  address: string,
  { headers, body, signal }: { headers: Record<string, string>; body: AsyncIterable<Uint8Array>; signal: AbortSignal },
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = (address.startsWith('https:') ? https : http).request(address, { method: 'POST', headers, signal });
    request.on('error', reject);
    request.on('response', (answer) => {
      const told = Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]);
      text(answer)
        .then((said) => resolve(new Response(said, { status: answer.statusCode ?? 500, headers: told })))
        .catch(reject);
    });
    pipeline(Readable.from(body, { objectMode: false }), request).catch(reject);
  });
}

/**
 * The bytes of a file that was asked for.
 *
 * @param platform whom to name where it is refused.
 * @throws Refused, final where the file is gone.
 */
export function bodyOf({ ok, status, body, headers }: Response, platform: string): AsyncIterable<Uint8Array> {
  if (ok && body) return body;
  // What it says beside the status is nobody's to read, and may have no end.
  body?.cancel().catch(() => {});
  const message = `${platform} does not hand the file over: it answered ${status}`;
  const isPassing = status === 408 || status === 429 || status >= 500;
  throw new Refused(message, {
    retryAfter: isPassing ? secondsToWait(headers.get('retry-after')) : undefined,
    isFinal: !isPassing,
  });
}

/** Why no connection came about, so that nothing was sent; undefined where one did, or may have. */
export function unreachable(error: unknown): string | undefined {
  const { code, cause } = (error ?? {}) as { code?: string; cause?: { code?: string } };
  const why = code ?? cause?.code;
  return why && /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(why) ? why : undefined;
}
