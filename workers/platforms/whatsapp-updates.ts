import { z } from 'zod';
import type { RemoteFile, Told } from '../../functions/platforms.ts';
import type { Update } from './adapter.ts';

// What the webhook `messages` tells
// (https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages).

/** What is sent along with a message, to be told of it again: see whatsapp-messages.ts. */
export const alongOf = (delivery: string): string => `plinth ${delivery}`;

const medium = z.looseObject({
  id: z.string(),
  mime_type: z.string().optional(),
  filename: z.string().optional(),
  caption: z.string().optional(),
  voice: z.boolean().optional(),
});
const mediaKinds = ['image', 'video', 'audio', 'document', 'sticker'] as const;

const reply = z.looseObject({ id: z.string(), title: z.string() });

const messageForm = z.looseObject({
  id: z.string(),
  // Who hides their number is known by a user id only.
  from: z.string().optional(),
  from_user_id: z.string().optional(),
  group_id: z.string().optional(),
  timestamp: z.coerce.number(),
  type: z.string(),
  context: z.looseObject({ id: z.string().optional() }).optional(),
  text: z.looseObject({ body: z.string() }).optional(),
  image: medium.optional(),
  video: medium.optional(),
  audio: medium.optional(),
  document: medium.optional(),
  sticker: medium.optional(),
  button: z.looseObject({ payload: z.string().optional(), text: z.string() }).optional(),
  interactive: z.looseObject({ button_reply: reply.optional(), list_reply: reply.optional() }).optional(),
  reaction: z.looseObject({ message_id: z.string(), emoji: z.string().optional() }).optional(),
  location: z.looseObject({ latitude: z.number(), longitude: z.number(), name: z.string().optional() }).optional(),
  contacts: z
    .array(
      z.looseObject({
        name: z.looseObject({ formatted_name: z.string() }),
        phones: z.array(z.looseObject({ phone: z.string().optional() })).optional(),
      }),
    )
    .optional(),
  order: z.looseObject({ product_items: z.array(z.unknown()), text: z.string().optional() }).optional(),
  system: z.looseObject({ body: z.string() }).optional(),
});
type Message = z.output<typeof messageForm>;

const statusForm = z.looseObject({
  id: z.string(),
  status: z.string(),
  biz_opaque_callback_data: z.string().optional(),
  errors: z
    .array(
      z.looseObject({
        code: z.number(),
        title: z.string().optional(),
        error_data: z.looseObject({ details: z.string().optional() }).optional(),
      }),
    )
    .optional(),
});

const contactForm = z.looseObject({
  wa_id: z.string().optional(),
  user_id: z.string().optional(),
  profile: z.looseObject({ name: z.string().optional(), username: z.string().optional() }).optional(),
});
type Contact = z.output<typeof contactForm>;

const storedForm = z.union([
  z.strictObject({ message: messageForm, contacts: z.array(contactForm) }),
  z.strictObject({ status: statusForm }),
]);

const named = z.looseObject({ id: z.string().min(1) });
const webhookForm = z.looseObject({
  object: z.literal('whatsapp_business_account'),
  entry: z.array(
    z.looseObject({
      changes: z.array(
        z.looseObject({
          field: z.string(),
          value: z.looseObject({
            metadata: z.looseObject({ phone_number_id: z.string() }).optional(),
            contacts: z.array(z.unknown()).optional(),
            messages: z.array(named).optional(),
            statuses: z.array(named.extend({ status: z.string() })).optional(),
          }),
        }),
      ),
    }),
  ),
});

/**
 * Takes a request apart: one may tell of many messages and states, each of which may be told again in another.
 *
 * @param number the id of our phone number: what is told of another one is not ours.
 */
export function toldOf(body: unknown, number: string): Told[] {
  return webhookForm
    .parse(body)
    .entry.flatMap(({ changes }) => changes)
    .filter(({ field, value }) => field === 'messages' && value.metadata?.phone_number_id === number)
    .flatMap(({ value: { messages = [], statuses = [], contacts = [] } }) => [
      ...messages.map((message) => ({ id: message.id, body: { message, contacts } })),
      ...statuses.map((status) => ({ id: `${status.id} ${status.status}`, body: { status } })),
    ]);
}

/** What one of them says. */
export function updatesOf(body: unknown): Update[] {
  const stored = storedForm.parse(body);
  return 'status' in stored ? receiptOf(stored.status) : messageUpdates(stored.message, stored.contacts);
}

function receiptOf({ id, status, errors, biz_opaque_callback_data: along }: z.output<typeof statusForm>): Update[] {
  const state = (['sent', 'delivered', 'read', 'failed'] as const).find((each) => each === status);
  if (!state) return [];
  const delivery = /^plinth (\d{1,18})$/.exec(along ?? '')?.[1];
  const [error] = errors ?? [];
  const problem = error && `WhatsApp says ${error.code}: ${error.error_data?.details ?? error.title ?? 'nothing more'}`;
  return [{ kind: 'receipt', message: id, state, ...(delivery && { delivery }), ...(problem && { error: problem }) }];
}

function messageUpdates(message: Message, contacts: Contact[]): Update[] {
  const { id, type, context, reaction, interactive, button, group_id: group } = message;
  const author = message.from ?? message.from_user_id;
  // Groups are not served; that a reaction was taken back is nothing to answer.
  if (!author || group || (type === 'reaction' && !reaction?.emoji)) return [];
  const known = contacts.find((each) => [each.wa_id, each.user_id].includes(author)) ?? contacts[0];
  const about = {
    chat: author,
    message: id,
    contact: { id: author, name: known?.profile?.name ?? '', username: known?.profile?.username },
    sent_at: new Date(message.timestamp * 1000).toISOString(),
  };
  const answered = reaction?.message_id ?? context?.id;
  const to = answered === undefined ? {} : { reply_to: answered };
  const chosen = interactive?.button_reply ?? interactive?.list_reply;
  const pressed = chosen ?? (button && { id: button.payload ?? button.text, title: button.text });
  if (pressed) return [{ kind: 'press', ...about, ...to, text: pressed.title, pressed: pressed.id }];
  const kind = mediaKinds.find((each) => message[each]);
  const file = kind && fileOf(kind, message[kind] as z.output<typeof medium>);
  return [
    {
      kind: 'message',
      ...about,
      ...to,
      text: textOf(message, file) || '[something that is not shown here]',
      shape: kind === 'image' ? 'image' : kind ? 'file' : 'text',
      revision: message.timestamp,
      ...(file && { files: [file] }),
    },
  ];
}

function fileOf(kind: string, { id, filename, mime_type: type, voice }: z.output<typeof medium>): RemoteFile {
  return {
    id,
    kind: voice ? 'voice' : kind,
    ...(filename && { name: filename }),
    ...(type && { media_type: type.split(';', 1)[0] as string }),
  };
}

function textOf(message: Message, file: RemoteFile | undefined): string | undefined {
  const { text, reaction, location, contacts, order, system } = message;
  if (text) return text.body;
  if (file) return mediaKinds.map((kind) => message[kind]?.caption).find(Boolean) ?? file.name ?? `[${file.kind}]`;
  if (reaction) return `[${reaction.emoji}]`;
  if (location)
    return `[location ${location.latitude}, ${location.longitude}]${location.name ? ` ${location.name}` : ''}`;
  if (contacts)
    return contacts.map(({ name, phones }) => `[contact ${name.formatted_name} ${phones?.[0]?.phone ?? ''}]`).join(' ');
  if (order) return `[order of ${order.product_items.length}] ${order.text ?? ''}`.trim();
  return system?.body;
}
