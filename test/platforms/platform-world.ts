import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Test } from 'tap';
import { openSealing } from '../../functions/sealing.ts';
import { openTelegram, type TelegramServer, token } from '../../scripts/chaos/telegram.ts';
import { tasks } from '../../workers/tasks.ts';
import type { Workers } from '../../workers/workers.ts';
import { temporaryFolder } from '../running-plinth.ts';
import { type JobsWorld, openJobsWorld } from '../workers/jobs-world.ts';
import type { Person } from '../world.ts';

export type Connected = { id: string; owner: Person; secret: string };

// biome-ignore lint/suspicious/noExplicitAny: a row of messages, and how it is known on the platform
type Said = Record<string, any>;

type SeenFile = { id: string; name: string; mediaType: string; url: string; owner: { username: string } };

export type PlatformWorld = JobsWorld & {
  telegram: TelegramServer;
  telegramToken: string;
  env: Record<string, string>;
  /** Workers with the tasks of Plinth. */
  start(env?: Record<string, string>): Promise<Workers>;
  /** A user with a bot, or what else the credentials are of, known to be right. */
  connect(
    username: string,
    options?: { isPolled?: boolean; platform?: string; credentials?: object },
  ): Promise<Connected>;
  /** Posts an update to the webhook of an integration, as Telegram does. */
  post(to: Connected, update: object, headers?: Record<string, string>): Promise<Response>;
  /** Waits until a condition holds; gives what it gave. */
  eventually<Value>(what: string, look: () => Promise<Value | undefined | false | null>): Promise<Value>;
  /** What someone sees of the delivery of a message. */
  deliveryOf(by: Person, message: string): Promise<Record<string, unknown>>;
  /** The same, when it has come to a state. */
  comesTo(by: Person, message: string, state: string): Promise<Record<string, unknown>>;
  /** Uploads a file; gives its id. */
  upload(by: Person, name: string, bytes: Uint8Array): Promise<string>;
  /** What someone sees of the files of a message. */
  filesOf(by: Person, message: string): Promise<SeenFile[]>;
  /** What is said in the conversation with a chat. */
  said(to: { id: string }, chat: number | string): Promise<Said[]>;
};

/**
 * A world with workers and a Telegram of its own.
 *
 * @param own settings beside those that platforms need.
 */
export async function openPlatformWorld(t: Test, own: Record<string, string> = {}): Promise<PlatformWorld> {
  const telegram = await openTelegram(t);
  const env = {
    CREDENTIALS_KEY: randomBytes(32).toString('base64url'),
    TELEGRAM_API: telegram.url,
    PUBLIC_URL: 'https://plinth.test',
    FILE_STORAGE: temporaryFolder(t),
    ...own,
  };
  const world = await openJobsWorld(t, { env });
  const { ask, person, sql } = world;

  async function eventually<Value>(
    what: string,
    look: () => Promise<Value | undefined | false | null>,
  ): Promise<Value> {
    for (let waited = 0; waited < 40_000; waited += 50) {
      const found = await look();
      if (found) return found;
      await wait(50);
    }
    throw new Error(`It has not come about: ${what}`);
  }

  async function deliveryOf({ token: by }: Person, id: string): Promise<Record<string, unknown>> {
    const query = 'query ($id: UUID!) { message(id: $id) { delivery { state attempts failures error } } }';
    return (await ask(query, { id }, by)).data.message.delivery;
  }

  return {
    ...world,
    deliveryOf,
    comesTo: (by, id, state) =>
      eventually(`${id} is ${state}`, async () => {
        const found = await deliveryOf(by, id);
        return found.state === state && found;
      }),
    telegram,
    telegramToken: token,
    env,
    eventually,
    start: (own = {}) => world.work(tasks, { ...env, ...own }),
    async connect(username, { isPolled = false, platform = 'telegram', credentials = { bot_token: token } } = {}) {
      const owner = await person(username);
      const answer = await ask(
        `mutation ($platform: String!, $credentials: JSON!, $isPolled: Boolean) {
          connectPlatform(input: { platformId: $platform, credentials: $credentials, isPolled: $isPolled }) { integration { id status } }
        }`,
        { platform, credentials, isPolled },
        owner.token,
      );
      if (answer.errors) throw new Error(JSON.stringify(answer.errors));
      const { id } = answer.data.connectPlatform.integration;
      await eventually('it is connected', async () => {
        const [row] = await sql('select status, status_message from platforms.integrations where id = $1', [id]);
        if (row?.status === 'error') throw new Error(row.status_message);
        return row?.status === 'connected';
      });
      const [held] = await sql('select sealed, key_id from platforms.sealed_credentials where integration_id = $1', [
        id,
      ]);
      const sealing = await openSealing([new Uint8Array(Buffer.from(env.CREDENTIALS_KEY, 'base64url'))]);
      const { webhook_secret: secret } = await sealing.open(held as Parameters<typeof sealing.open>[0]);
      return { id, owner, secret: secret as string };
    },
    async upload({ token: by }, name, bytes) {
      const query = 'mutation ($file: Upload!) { uploadFile(input: { file: $file }) { file { id } } }';
      const form = new FormData();
      form.set('operations', JSON.stringify({ query, variables: { file: null } }));
      form.set('map', JSON.stringify({ 0: ['variables.file'] }));
      form.set('0', new Blob([bytes as BlobPart]), name);
      const headers = { authorization: `Bearer ${by}` };
      const answer = await fetch(`${world.server.url}graphql`, { method: 'POST', body: form, headers });
      const { data, errors } = (await answer.json()) as Awaited<ReturnType<typeof ask>>;
      if (errors) throw new Error(JSON.stringify(errors));
      return data.uploadFile.file.id;
    },
    async filesOf({ token: by }, id) {
      const { data } = await ask(
        `query ($id: UUID!) { message(id: $id) { files(first: 10) { nodes { id name mediaType url owner { username } } } } }`,
        { id },
        by,
      );
      return data.message?.files.nodes ?? [];
    },
    post: ({ id, secret }, update, headers = {}) =>
      fetch(`${world.server.url}webhooks/telegram/${id}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-telegram-bot-api-secret-token': secret, ...headers },
        body: JSON.stringify(update),
      }),
    said: ({ id }, chat) =>
      sql(
        `select message.*, known.external_id, known.direction
        from platforms.conversations as place
        join chat.messages as message on message.channel_id = place.channel_id
        left join platforms.external_messages as known on known.message_id = message.id
        where place.integration_id = $1 and place.chat_id = $2::text
        order by message.seq`,
        [id, chat],
      ),
  };
}

let update = 1000;
let message = 0;

type Written = { update_id: number; message: { message_id: number; date: number; text?: string } };

/** An update of Telegram: someone writes. Numbers rise by themselves. */
export function writes(chat: number, text: string, own: object = {}): Written {
  update += 1;
  message += 1;
  return {
    update_id: update,
    message: { message_id: message, date: 1_700_000_000 + message, ...placeOf(chat), text, ...own },
  };
}

function placeOf(chat: number): object {
  const name = { first_name: 'Vera', last_name: `${chat}` };
  return {
    chat: { id: chat, type: 'private', ...name },
    from: { id: chat, is_bot: false, ...name, username: `vera${chat}`, language_code: 'ru' },
  };
}

/** The same message, changed. */
export function edits(chat: number, id: number, text: string, at: number): object {
  update += 1;
  return {
    update_id: update,
    edited_message: { message_id: id, date: 1_700_000_000 + id, edit_date: at, ...placeOf(chat), text },
  };
}

/** A press of a button below a message of ours. */
export function presses(chat: number, below: number, data: string, label: string): object {
  update += 1;
  return {
    update_id: update,
    callback_query: {
      id: `press${update}`,
      chat_instance: '1',
      data,
      from: (placeOf(chat) as { from: object }).from,
      message: {
        ...placeOf(chat),
        message_id: below,
        date: 1_700_000_000,
        text: '?',
        reply_markup: { inline_keyboard: [[{ text: label, callback_data: data }]] },
      },
    },
  };
}
