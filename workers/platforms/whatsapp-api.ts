import { secondsToWait } from '../../functions/http-answer.ts';
import { within } from '../../functions/within.ts';
import { type Link, Refused } from './adapter.ts';
import { unreachable, upload } from './http.ts';

// The Graph API as far as the Cloud API of WhatsApp uses it, and what its errors mean
// (https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes).

const callsTake = 15_000;

// Codes of errors. To too many requests it names no time, only that one is to wait ever longer.
const putsOff = new Map([
  [4, 60],
  [80007, 60],
  [130429, 5],
  [131056, 6],
]);
const ofOneChat = 131056;
const ofCredentials = new Set([0, 3, 10, 190, 131005, 131031, 133010]);
const ofItself = new Set([1, 2, 131000, 131016, 131048, 131057, 133004]);

/** What is asked; a body that is read as it is sent comes with its length. */
type Asked = {
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string | AsyncIterable<Uint8Array>;
  /** How long it may take, with its answer, in milliseconds. */
  take?: number;
};

type GraphError = { code?: number; message?: string; error_data?: { details?: string } };

/**
 * Asks the Cloud API.
 *
 * @param where the path below the version: `106540352242922/messages`.
 * @throws Refused where it said no, or was not reached; anything else means that it may have done it.
 */
export async function call(
  { credentials, settings, signal }: Link,
  where: string,
  { method = 'GET', headers: own = {}, body: sent, take = callsTake }: Asked = {},
): Promise<Record<string, unknown>> {
  const address = `${settings.whatsappApi.replace(/\/+$/, '')}/${where}`;
  const headers = { ...own, authorization: bearerOf(credentials) };
  let answer: Response;
  let body: unknown;
  try {
    let text = '';
    [answer, text] = await within(take, signal, async (ended) => {
      const begun = await (typeof sent === 'object'
        ? upload(address, { headers, body: sent, signal: ended })
        : fetch(address, { method, headers, signal: ended, ...(sent !== undefined && { body: sent }) }));
      return [begun, await begun.text()] as const;
    });
    body = JSON.parse(text);
  } catch (error) {
    const code = unreachable(error);
    if (code) throw new Refused(`WhatsApp cannot be reached: ${code}`);
    const said = String((error as Error)?.message ?? error).replaceAll(credentials.access_token as string, '…');
    throw new Error(`WhatsApp did not answer: ${said}`);
  }
  if (answer.ok && typeof body === 'object' && body !== null) return body as Record<string, unknown>;
  throw errorOf(answer, (body as { error?: GraphError } | null)?.error ?? {});
}

/** A request that says something as JSON. */
export function posted(body: object): Asked {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** The same, where to ask twice does no harm: whatever went wrong, nothing has happened. */
export async function callSafely(...asked: Parameters<typeof call>): Promise<Record<string, unknown>> {
  try {
    return await call(...asked);
  } catch (error) {
    throw error instanceof Refused ? error : new Refused((error as Error).message);
  }
}

export function bearerOf({ access_token: token }: Link['credentials']): string {
  return `Bearer ${token}`;
}

function errorOf({ status, headers }: Response, { code = -1, message, error_data: data }: GraphError): Error {
  const said = `${code < 0 ? status : code}: ${data?.details ?? message ?? 'nothing more'}`;
  const isOfCredentials = status === 401 || ofCredentials.has(code) || (code >= 200 && code < 300);
  const isPutOff = status === 429 || putsOff.has(code);
  // A server that fails without saying that it did not send may have sent.
  if (status >= 500 && !isPutOff && !isOfCredentials && !ofItself.has(code)) {
    return new Error(`WhatsApp did not answer: ${said}`);
  }
  return new Refused(`WhatsApp answered ${said}`, {
    retryAfter: isPutOff ? (secondsToWait(headers.get('retry-after')) ?? putsOff.get(code) ?? 60) : undefined,
    isOfChat: code === ofOneChat,
    isOfCredentials,
    isFinal: !isPutOff && !ofItself.has(code),
  });
}
