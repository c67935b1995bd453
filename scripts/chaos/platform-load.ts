import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTokens } from '../../functions/tokens.ts';
import { ask } from './ask.ts';
import { makePeople, withOwner } from './database.ts';
import { keepServer, type ServerProcess } from './servers.ts';

// What tells Plinth of messages as Telegram does, many at once.

/** An update of Telegram: someone writes in a chat. */
export function updateOf(id: number, chat: number, text: string): object {
  const name = { first_name: 'Vera', last_name: `${chat}` };
  return {
    update_id: id,
    message: {
      // In a chat no two messages have one number, whoever wrote them: those of ours begin at 1,000.
      ...{ message_id: 1_000_000_000 + id, date: 1_700_000_000 + id, text },
      chat: { id: chat, type: 'private', ...name },
      from: { id: chat, is_bot: false, ...name },
    },
  };
}

/** How a request was answered: its status, and after how many milliseconds; 0 where the connection broke. */
export type Posted = { status: number; took: number };

/** Posts bodies to a webhook, on connections that are kept. */
export function openPoster(connections: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  return {
    post(url: string, secret: string, body: string): Promise<Posted> {
      const began = performance.now();
      return new Promise((resolve) => {
        const end = (status: number) => resolve({ status, took: performance.now() - began });
        const sent = request(url, {
          ...{ agent, method: 'POST', timeout: 60_000 },
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
            'x-telegram-bot-api-secret-token': secret,
          },
        });
        sent.once('timeout', () => sent.destroy());
        sent.once('error', () => end(0));
        sent.once('response', (response) => {
          response.resume();
          response.once('end', () => end(response.statusCode ?? 0));
          response.once('error', () => end(0));
        });
        sent.end(body);
      });
    },
    close: () => agent.destroy(),
  };
}

/** Someone's bot. `path` is that of its webhook, `secret` what comes with each request to it. */
export type Bot = { integration: string; path: string; secret: string };

/**
 * Servers that take what platforms tell, without workers, and the environment of those.
 *
 * @param own settings beyond what they need.
 */
export async function openDoors(
  { url, folder }: { url: string; folder: string },
  count: number,
  own: Record<string, string>,
  fell: (what: string) => void,
) {
  const key = randomBytes(32);
  const env: Record<string, string> = {
    DATABASE_URL: url,
    PLINTH_DATA: path.join(folder, 'servers'),
    PLINTH_ENV: 'development',
    JWT_KEYS: `chaos:${key.toString('base64url')}`,
    CREDENTIALS_KEY: randomBytes(32).toString('base64url'),
    LOG_LEVEL: 'error',
    LOG_FORMAT: 'json',
    ...own,
  };
  const servers: ServerProcess[] = [];
  const close = () => Promise.all(servers.map((server) => server.close()));
  for (let index = 1; index <= count; index += 1) {
    servers.push(await keepServer(`server ${index}`, { ...env, WORKERS: 'false' }, fell));
  }
  for (let waited = 0; !servers.every((server) => server.isReady()); waited += 100) {
    if (waited > 60_000) {
      await close();
      throw new Error('A server has not become ready.');
    }
    await sleep(100);
  }
  return {
    env,
    servers,
    /** Connects someone to Telegram. */
    async connect(username: string, botToken: string): Promise<Bot> {
      const [person] = await withOwner(url, (owner) => makePeople(owner, [username]));
      if (!person) throw new Error('There is nobody to connect');
      const secret = randomBytes(16).toString('hex');
      const connecting =
        'mutation ($credentials: JSON!) { connectPlatform(input: {platformId: "telegram", credentials: $credentials}) { integration { id } } }';
      const { data, errors } = await ask(
        servers[0]?.url ?? '',
        connecting,
        { credentials: { bot_token: botToken, webhook_secret: secret } },
        await openTokens([{ kid: 'chaos', key }]).sign(person.claims),
        10_000,
      );
      if (errors) throw new Error(`The bot is not connected: ${errors[0]?.message}`);
      const { id } = data.connectPlatform.integration;
      return { integration: id, path: `webhooks/telegram/${id}`, secret };
    },
    close,
  };
}
