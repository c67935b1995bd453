import { z } from 'zod';
import type { Log } from '../../functions/log.ts';
import { type Breaker, openBreaker, openPolicies } from '../../functions/policies.ts';
import type { Settings } from '../../functions/settings.ts';
import type { Update } from './adapter.ts';

/** What someone wants by a message. */
export type Intent = { name: string; entities: Record<string, unknown>; confidence: number };

const mostBytes = 64 * 1024;
const askedAtOnce = 16;

const answer = z.union([
  z.object({ intent: z.null() }),
  z.object({
    // Triggers of transitions are in lower case.
    intent: z.string().trim().toLowerCase().min(1).max(100),
    entities: z.record(z.string(), z.json()).default({}),
    confidence: z.number().min(0).max(1),
  }),
]);

// As long as the process: a service that fails is left alone, whichever run would ask.
const breakers = new Map<string, Breaker>();

type Asked = Pick<Settings, 'intentUrl' | 'intentToken' | 'intentTimeoutMs'>;
type Message = Extract<Update, { text: string }>;

/**
 * Asks the service of INTENT_URL what people want by their messages. All of them together wait INTENT_TIMEOUT_MS at most, and where the
 * service has failed three times, nobody waits for half a minute: what it has not answered by then goes on without.
 *
 * @returns by update what it has answered; commands are not asked about, for there are codes in them.
 */
export async function intentsOf(
  updates: Update[],
  platform: string,
  { settings, log, signal }: { settings: Asked; log: Pick<Log, 'warn'>; signal: AbortSignal },
): Promise<Map<Update, Intent>> {
  const found = new Map<Update, Intent>();
  const { intentUrl: url, intentToken: token, intentTimeoutMs: patience } = settings;
  if (!url) return found;
  const messages = updates.filter(
    (update): update is Message => update.kind === 'message' && !update.text.startsWith('/'),
  );
  const breaker = breakers.get(url) ?? openBreaker('the service of intents', log);
  breakers.set(url, breaker);
  const { optional } = openPolicies(log);
  const until = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
  const next = messages.values();
  const lane = async (): Promise<void> => {
    for (const message of next) {
      if (until.aborted || breaker.isShut()) return;
      const ask = () => breaker.run(() => intentOf(message, { url, token, platform, signal: until }));
      const intent = await optional('an intent is asked for', ask, until);
      if (intent) found.set(message, intent);
    }
  };
  await Promise.all(Array.from({ length: askedAtOnce }, lane));
  return found;
}

async function intentOf(
  { text, contact: { language } }: Message,
  { url, token, platform, signal }: { url: string; token: string | undefined; platform: string; signal: AbortSignal },
): Promise<Intent | undefined> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ text, platform, ...(language && { language }) }),
    redirect: 'error',
    signal,
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`the service of intents answered ${response.status}`);
  }
  const meant = answer.parse(JSON.parse(await textOf(response)));
  return meant.intent === null ? undefined : { ...meant, name: meant.intent };
}

/** @throws where it is larger than what an answer can be. */
async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    // Leaving the loop ends the stream.
    if (bytes > mostBytes) throw new Error(`the service of intents answered with more than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
