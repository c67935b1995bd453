import path from 'node:path';
import { Api, GrammyError, HttpError, InputFile } from 'grammy';
import type {
  CallbackQuery,
  InlineKeyboardButton,
  InputMediaPhoto,
  Message,
  ReplyParameters,
  Update as TelegramUpdate,
  User,
} from 'grammy/types';
import type { Outgoing, RemoteFile, Told } from '../../functions/platforms.ts';
import type { Credentials } from '../../functions/sealing.ts';
import { type Adapter, type Author, type Link, Refused, type Update } from './adapter.ts';
import { answerOf, bodyOf, unreachable } from './http.ts';
import { isSame } from './same.ts';

const waitsFor = 10;
const pollsFor = 25;
const kinds = ['message', 'edited_message', 'callback_query'] as const;

/** The Bot API of Telegram (https://core.telegram.org/bots/api), by grammY. */
export const telegram: Adapter = {
  platform: 'telegram',

  verify: ({ headers }, { webhook_secret: secret }) => isSame(headers['x-telegram-bot-api-secret-token'], secret),

  receive: (body) => [toldOf(body as TelegramUpdate)],

  parse(body) {
    const { message, edited_message: edited, callback_query: press } = body as TelegramUpdate;
    if (message) return messageUpdates(message, 'message');
    if (edited) return messageUpdates(edited, 'edit');
    return press ? pressUpdates(press) : [];
  },

  async send(outgoing, link) {
    const api = apiOf(link);
    return asked(link, () => sendBy(api, outgoing, link));
  },

  async fetch({ id }, link) {
    const { file_path: place } = await asked(link, () => apiOf(link).getFile(id, signalOf(link)));
    if (!place) throw new Refused('Telegram does not hand this file over.', { isFinal: true });
    const address = `${rootOf(link)}/file/bot${link.credentials.bot_token}/${place}`;
    const response = await asked(link, () => answerOf(address, {}, waitsFor * 1000, link.signal));
    return { from: bodyOf(response, 'Telegram'), name: path.posix.basename(place) };
  },

  async acknowledge(body, link) {
    const { callback_query: press } = body as TelegramUpdate;
    if (press) await asked(link, () => apiOf(link).answerCallbackQuery(press.id, {}, signalOf(link)));
  },

  async check(link, webhook) {
    const api = apiOf(link);
    return asked(link, async () => {
      const { id, username, first_name: name } = await api.getMe(signalOf(link));
      if (webhook) {
        const secret = link.credentials.webhook_secret as string;
        await api.setWebhook(webhook, { secret_token: secret, allowed_updates: kinds }, signalOf(link));
      } else await api.deleteWebhook({}, signalOf(link));
      return { account: String(id), name: username ? `@${username}` : name };
    });
  },

  async poll(link, after) {
    const offset = after === undefined ? undefined : Number(after) + 1;
    const options = { timeout: pollsFor, limit: 100, allowed_updates: kinds, ...(offset && { offset }) };
    const updates = await asked(link, () => apiOf(link, pollsFor + waitsFor).getUpdates(options, signalOf(link)));
    return updates.map(toldOf);
  },
};

function rootOf({ settings }: Link): string {
  return settings.telegramApi.replace(/\/+$/, '');
}

function apiOf(link: Link, timeoutSeconds = waitsFor): Api {
  const { bot_token: token } = link.credentials as Credentials & { bot_token: string };
  return new Api(token, { apiRoot: rootOf(link), timeoutSeconds });
}

// grammY takes the signal of a library of its own, which has the same form.
function signalOf({ signal }: Link) {
  return signal as unknown as Parameters<Api['getMe']>[0];
}

/** Asks Telegram; what goes wrong is told without the address, in which the token stands. */
async function asked<Value>({ credentials }: Link, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw told(error, credentials.bot_token as string);
  }
}

function told(error: unknown, token: string): Error {
  if (error instanceof Refused) return error;
  if (error instanceof GrammyError) {
    const { error_code: code, description, parameters } = error;
    return new Refused(`Telegram answered ${code}: ${description}`, {
      retryAfter: parameters.retry_after,
      isOfCredentials: code === 401 || code === 404,
      isFinal: code >= 400 && code < 500 && code !== 429 && !/temporarily unavailable/.test(description),
    });
  }
  const cause = error instanceof HttpError ? error.error : error;
  const code = unreachable(cause);
  if (code) return new Refused(`Telegram cannot be reached: ${code}`);
  return new Error(`Telegram did not answer: ${String((cause as Error)?.message ?? error).replaceAll(token, '…')}`);
}

function toldOf(update: TelegramUpdate): Told {
  if (!Number.isSafeInteger(update?.update_id)) throw new Error('it has no update_id');
  return { id: String(update.update_id), body: update };
}

/** Numbers of messages begin anew in each chat. */
function idOf({ chat, message_id: id }: { chat: { id: number }; message_id: number }): string {
  return `${chat.id}:${id}`;
}

function numberOf(external: string | undefined): number {
  return Number(external?.split(':')[1]);
}

function authorOf({ id, first_name: first, last_name: last, username, language_code: language }: User): Author {
  return { id: String(id), name: [first, last].filter(Boolean).join(' '), username, language };
}

function messageUpdates(message: Message, kind: 'message' | 'edit'): Update[] {
  const { chat, from, date, edit_date: edited, reply_to_message: answered, media_group_id: album } = message;
  // What happens in channels and groups in nobody's name is no message to us.
  if (!from || from.is_bot) return [];
  const files = filesOf(message);
  const described = files.map(({ kind: what, name }) => name ?? `[${what}]`).join(', ');
  return [
    {
      kind,
      chat: String(chat.id),
      message: idOf(message),
      contact: authorOf(from),
      text: message.text || message.caption || described || otherwise(message),
      shape: message.photo ? 'image' : files.length > 0 ? 'file' : 'text',
      sent_at: new Date(date * 1000).toISOString(),
      revision: edited ?? date,
      ...(answered && { reply_to: idOf(answered) }),
      ...(album && { album }),
      ...(files.length > 0 && { files }),
    },
  ];
}

function filesOf(message: Message): RemoteFile[] {
  const largest = message.photo?.at(-1);
  if (largest) return [remote('photo', { ...largest, mime_type: 'image/jpeg' })];
  for (const kind of ['animation', 'document', 'video', 'audio', 'voice', 'video_note', 'sticker'] as const) {
    const file = message[kind];
    if (file) return [remote(kind, file)];
  }
  return [];
}

function remote(
  kind: string,
  file: { file_id: string; file_size?: number; file_name?: string; mime_type?: string },
): RemoteFile {
  return {
    kind,
    id: file.file_id,
    ...(file.file_name && { name: file.file_name }),
    ...(file.mime_type && { media_type: file.mime_type }),
    ...(file.file_size !== undefined && { bytes: file.file_size }),
  };
}

function otherwise({ location, contact, poll, dice }: Message): string {
  if (location) return `[location ${location.latitude}, ${location.longitude}]`;
  if (contact) return `[contact ${contact.first_name} ${contact.phone_number}]`;
  if (poll) return `[poll] ${poll.question}`;
  return dice ? `[dice ${dice.value}]` : '[something that is not shown here]';
}

function pressUpdates(press: CallbackQuery): Update[] {
  const { message, data } = press;
  if (!message || data === undefined) return [];
  const buttons = ('reply_markup' in message && message.reply_markup?.inline_keyboard.flat()) || [];
  const pressed = buttons.find((each) => 'callback_data' in each && each.callback_data === data);
  return [
    {
      kind: 'press',
      chat: String(message.chat.id),
      message: `press:${press.id}`,
      contact: authorOf(press.from),
      text: pressed?.text ?? (data || '[button]'),
      reply_to: idOf(message),
      pressed: data,
    },
  ];
}

async function sendBy(api: Api, outgoing: Outgoing, link: Link): Promise<string[]> {
  const { action, chat, external, files } = outgoing;
  const signal = signalOf(link);
  const text = outgoing.text ?? '';
  if (action === 'delete') {
    for (const id of external) await gone(api.deleteMessage(chat, numberOf(id), signal));
    return external;
  }
  const markup = keyboardOf(outgoing.buttons);
  if (action === 'edit') {
    const number = numberOf(external[0]);
    if (files.length > 0) await same(api.editMessageCaption(chat, number, { caption: text, ...markup }, signal));
    else await same(api.editMessageText(chat, number, text, markup, signal));
    return external;
  }
  const reply: { reply_parameters?: ReplyParameters } = outgoing.reply_to
    ? { reply_parameters: { message_id: numberOf(outgoing.reply_to), allow_sending_without_reply: true } }
    : {};
  if (files.length === 0) return [idOf(await api.sendMessage(chat, text, { ...reply, ...markup }, signal))];
  const [only] = files;
  if (files.length === 1 && only) {
    const file = inputOf(only, link);
    const options = { caption: text, ...reply, ...markup };
    const sent = only.media_type.startsWith('image/')
      ? await api.sendPhoto(chat, file, options, signal)
      : await api.sendDocument(chat, file, options, signal);
    return [idOf(sent)];
  }
  const type = files.every(({ media_type: type }) => type.startsWith('image/')) ? 'photo' : 'document';
  const album = files.map((file, index) => ({
    type,
    media: inputOf(file, link),
    ...(index === 0 && { caption: text }),
  })) as InputMediaPhoto[];
  return (await api.sendMediaGroup(chat, album, reply, signal)).map(idOf);
}

function inputOf({ stored, name }: Outgoing['files'][number], { open }: Link): InputFile {
  return new InputFile(() => open(stored), name);
}

/** Rows of buttons `{text, data}` or `{text, url}`; anything else in the metadata is a client's own. */
function keyboardOf(buttons: unknown): { reply_markup?: { inline_keyboard: InlineKeyboardButton[][] } } {
  if (!Array.isArray(buttons) || buttons.length === 0) return {};
  const rows = buttons.map((row) =>
    (Array.isArray(row) ? row : [row]).map(
      ({ text, data, url }): InlineKeyboardButton =>
        url ? { text: String(text), url: String(url) } : { text: String(text), callback_data: String(data ?? text) },
    ),
  );
  return { reply_markup: { inline_keyboard: rows } };
}

/** That it is so already is no failure: the call may have been made before. */
async function same(call: Promise<unknown>): Promise<void> {
  await call.catch((error) => {
    if (!(error instanceof GrammyError && /message is not modified/.test(error.description))) throw error;
  });
}

async function gone(call: Promise<unknown>): Promise<void> {
  await call.catch((error) => {
    if (!(error instanceof GrammyError && /message to delete not found/.test(error.description))) throw error;
  });
}
