import type { Outgoing } from '../../functions/platforms.ts';
import { type Link, Refused } from './adapter.ts';
import { call, callSafely, posted } from './whatsapp-api.ts';
import { alongOf } from './whatsapp-updates.ts';

// What is sent to /PHONE_NUMBER_ID/messages
// (https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages).

type Content = { type: string } & Record<string, unknown>;
type Template = { name: string; language: string; components?: unknown[] };
type Button = { text: string; data?: string; url?: string };

const longestCaption = 1024;
const uploadsTake = 120_000;
const largestImage = 5 * 1024 * 1024;

/** Sends what a delivery says: its files, one a message, then its text where no caption has it. */
export async function sendMessage(outgoing: Outgoing, link: Link): Promise<string[]> {
  if (outgoing.action !== 'send') {
    throw new Refused('WhatsApp lets nobody change or delete what was sent.', { isFinal: true });
  }
  const contents = await contentsOf(outgoing, link).catch((error) => {
    throw error instanceof Refused ? error : new Refused(`A file cannot be read: ${(error as Error).message}`);
  });
  const ids: string[] = [];
  for (const content of contents) {
    const body = {
      messaging_product: 'whatsapp',
      recipient_type: 'individual',
      ...recipientOf(outgoing.chat),
      ...(ids.length === 0 && outgoing.reply_to && { context: { message_id: outgoing.reply_to } }),
      // Its states tell of the delivery, whether the call is answered or not; of one in parts they would tell too much.
      ...(contents.length === 1 && { biz_opaque_callback_data: alongOf(outgoing.id) }),
      ...content,
    };
    try {
      ids.push(await post(body, link));
    } catch (error) {
      if (ids.length === 0) throw error;
      throw new Error(`${ids.length} of ${contents.length} parts were sent. ${(error as Error).message}`);
    }
  }
  return ids;
}

async function post(body: object, link: Link): Promise<string> {
  const { messages } = await call(link, `${link.credentials.phone_number_id}/messages`, posted(body));
  const id = (messages as { id?: string }[] | undefined)?.[0]?.id;
  if (!id) throw new Error('WhatsApp did not answer with the id of a message.');
  return id;
}

/** A phone number, or the user id of who hides it. */
function recipientOf(chat: string): { to: string } | { recipient: string } {
  return /^\d+$/.test(chat) ? { to: chat } : { recipient: chat };
}

async function contentsOf({ text, template, buttons, files }: Outgoing, link: Link): Promise<Content[]> {
  if (template) {
    if (files.length > 0) throw new Refused('A template brings its own files, in its components.', { isFinal: true });
    const { name, language, components } = template as Template;
    return [{ type: 'template', template: { name, language: { code: language }, ...(components && { components }) } }];
  }
  const said = text ?? '';
  const asked = interactiveOf(said, buttons);
  const media: Content[] = [];
  // All of them before anything is sent: what fails until then can be tried again.
  for (const file of files) media.push(await uploaded(file, link));
  if (asked) return [...media, { type: 'interactive', interactive: asked }];
  const [first] = media;
  if (!first) return [{ type: 'text', text: { body: said } }];
  if (first.type === 'audio' || said.length > longestCaption) return [...media, { type: 'text', text: { body: said } }];
  (first[first.type] as { caption?: string }).caption = said;
  return media;
}

/** Rows of buttons `{text, data}`: three as buttons, up to ten as a list; or one `{text, url}`. */
function interactiveOf(text: string, given: unknown): object | undefined {
  if (!Array.isArray(given) || given.length === 0) return;
  const buttons = given.flat() as Button[];
  const [only] = buttons;
  if (only?.url && buttons.length === 1) {
    const parameters = { display_text: String(only.text), url: String(only.url) };
    return { type: 'cta_url', body: { text }, action: { name: 'cta_url', parameters } };
  }
  if (buttons.some(({ url }) => url) || buttons.length > 10) {
    throw new Refused('WhatsApp takes up to ten buttons that answer, or one that leads to an address.', {
      isFinal: true,
    });
  }
  const replies = buttons.map(({ text: title, data }) => ({ id: String(data ?? title), title: String(title) }));
  if (replies.length > 3) {
    return { type: 'list', body: { text }, action: { button: '☰', sections: [{ rows: replies }] } };
  }
  return {
    type: 'button',
    body: { text },
    action: { buttons: replies.map((reply) => ({ type: 'reply', reply })) },
  };
}

async function uploaded(file: Outgoing['files'][number], link: Link): Promise<Content> {
  const form = await formOf(file, link);
  const where = `${link.credentials.phone_number_id}/media`;
  const { id } = await callSafely(link, where, { method: 'POST', ...form, take: uploadsTake });
  const type = kindOf(file);
  return { type, [type]: { id, ...(type === 'document' && { filename: file.name }) } };
}

/** What WhatsApp shows as such; all else is a document. */
function kindOf({ media_type: type, bytes }: Outgoing['files'][number]): 'image' | 'video' | 'audio' | 'document' {
  if (/^image\/(jpeg|png)$/.test(type) && bytes <= largestImage) return 'image';
  if (/^video\/(mp4|3gpp)$/.test(type)) return 'video';
  return /^audio\/(aac|amr|mpeg|mp4|ogg)$/.test(type) ? 'audio' : 'document';
}

/** A form with a file in it that is read as it is sent; its length is told ahead. */
async function formOf(
  { stored, name, media_type: type, bytes }: Outgoing['files'][number],
  { open }: Link,
): Promise<{ body: AsyncIterable<Uint8Array>; headers: Record<string, string> }> {
  const boundary = `plinth-${crypto.randomUUID()}`;
  const field = (field: string, value: string): string =>
    `--${boundary}\r\ncontent-disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`;
  const shown = name.replace(/["\r\n\\]/g, '_');
  const head = Buffer.from(
    `${field('messaging_product', 'whatsapp')}${field('type', type)}--${boundary}\r\n` +
      `content-disposition: form-data; name="file"; filename="${shown}"\r\ncontent-type: ${type}\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const from = await open(stored);
  async function* parts(): AsyncGenerator<Uint8Array> {
    yield head;
    yield* from;
    yield tail;
  }
  return {
    body: parts(),
    headers: {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(head.length + bytes + tail.length),
    },
  };
}
