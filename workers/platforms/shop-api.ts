import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import type { Problem, Usage } from '../../functions/commerce.ts';
import { secondsToWait, TooLong, textOf } from '../../functions/http-answer.ts';
import type { Credentials } from '../../functions/sealing.ts';
import { Refused } from './adapter.ts';

const answersWithin = 30_000;
const mostBytes = 32 * 1024 * 1024;
// What a platform asks to wait for and does not say how long, and the longest that it is believed; in seconds.
const usualWait = 30;
const longestWait = 3600;

type Question = { url: string; headers: Record<string, string>; body?: unknown };

/** Asks a question and gives what is answered. @throws Refused */
export type Ask = <Value>(question: Question, schema: z.ZodType<Value>) => Promise<Value>;

type Asker = {
  /** What the platform is called in errors. */
  name: string;
  credentials: Credentials;
  signal: AbortSignal;
  /** Waits until the platform may be asked; gives the time. */
  turn?(): Promise<Date>;
  /** How long an answer may take, its body included, in milliseconds. */
  patience?: number;
};

/** Questions to a platform's API over HTTP, by JSON; and what they have taken so far. Nothing is asked twice by itself. */
export function openAsk({ name, credentials, signal, turn, patience = answersWithin }: Asker): {
  ask: Ask;
  usage(): Usage;
} {
  let calls = 0;
  let took = 0;
  let first: Date | undefined;
  const concealed = (text: string): string =>
    Object.values(credentials).reduce((left, secret) => (secret ? left.replaceAll(secret, '…') : left), text);

  async function answerOf(question: Question): Promise<{ response: Response; text: string }> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
    const { url, headers, body } = question;
    try {
      const response = await fetch(url, {
        ...(body !== undefined && { method: 'POST', body: JSON.stringify(body) }),
        headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
        redirect: 'error',
        signal: limit,
      });
      return { response, text: await textOf(response, mostBytes) };
    } catch (error) {
      // Stopped by us: the platform has nothing to do with it.
      signal.throwIfAborted();
      if (error instanceof TooLong) {
        throw new Refused(`${name} answered more than ${mostBytes} bytes.`, { isFinal: true });
      }
      const cause = (error as { cause?: NodeJS.ErrnoException }).cause ?? (error as NodeJS.ErrnoException);
      // Those of the web have numbers for codes.
      const why = typeof cause.code === 'string' ? cause.code : cause.message;
      throw new Refused(`${name} did not answer: ${concealed(why)}`);
    }
  }

  return {
    usage: () => ({ calls, took, asked_at: (first ?? new Date()).toISOString() }),
    async ask(question, schema) {
      const at = (await turn?.()) ?? new Date();
      signal.throwIfAborted();
      first ??= at;
      calls += 1;
      const began = performance.now();
      const { response, text } = await answerOf(question).finally(() => {
        took += performance.now() - began;
      });
      if (!response.ok) throw refusal(name, response, concealed(said(text)));
      const parsed = schema.safeParse(jsonOf(text));
      if (!parsed.success)
        throw new Refused(`${name} answered what cannot be read: ${concealed(problemsOf(parsed.error))}`);
      return parsed.data;
    },
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What an answer that is none says of itself; nothing where it is no JSON. */
function said(text: string): string {
  const body = jsonOf(text) as Record<string, unknown> | undefined;
  const words = [body?.detail, body?.message, body?.errorText, body?.title].find((each) => typeof each === 'string');
  return String(words ?? '').slice(0, 300);
}

function refusal(name: string, response: Response, words: string): Refused {
  const { status, headers } = response;
  const message = `${name} answered ${status}${words && `: ${words}`}`;
  const wanted = secondsToWait(headers.get('x-ratelimit-retry') ?? headers.get('retry-after'));
  const asked = wanted && Math.min(wanted, longestWait);
  if (status === 429) return new Refused(message, { retryAfter: asked ?? usualWait });
  if (status >= 500) return new Refused(message, { retryAfter: asked });
  return new Refused(message, { isFinal: true, isOfCredentials: status === 401 || isOfKey(status, words) });
}

/** That a key is none; a right that it lacks is another matter, and concerns one stream. */
function isOfKey(status: number, words: string): boolean {
  return (status === 403 || status === 404) && /invalid api-?key|client-id|company.*not found|deactivated/i.test(words);
}

function problemsOf({ issues }: z.ZodError): string {
  return issues
    .map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message))
    .join('; ')
    .slice(0, 300);
}

/**
 * Reads the items of a page one by one, so that one that is wrong costs no other.
 *
 * @param what what they are called in problems.
 * @param key what each has its id in.
 */
export function readEach<Value>(
  what: string,
  items: unknown[],
  key: string,
  schema: z.ZodType<Value>,
): { read: Value[]; problems: Problem[] } {
  const read: Value[] = [];
  const problems: Problem[] = [];
  for (const [index, item] of items.entries()) {
    const parsed = schema.safeParse(item);
    if (parsed.success) {
      read.push(parsed.data);
      continue;
    }
    const id = (item as Record<string, unknown> | null)?.[key];
    const named = typeof id === 'string' || typeof id === 'number' ? String(id).slice(0, 200) : `at place ${index + 1}`;
    problems.push({ record: `${what} ${named}`, message: problemsOf(parsed.error) });
  }
  return { read, problems };
}

/** Waits for a turn; what is soon is waited for here. */
export async function waitFor(seconds: number, signal: AbortSignal): Promise<void> {
  if (seconds > 0) await sleep(seconds * 1000 + 5, undefined, { signal });
}
