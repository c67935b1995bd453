import { createHmac, randomUUID } from 'node:crypto';
import type { Test } from 'tap';
import { type Connected, openPlatformWorld, type PlatformWorld } from './platform-world.ts';
import { credentials, openWhatsapp, type WhatsappServer } from './whatsapp-server.ts';

type Value = Record<string, unknown>;

/** A world with a WhatsApp of its own. */
export type WhatsappWorld = PlatformWorld & {
  whatsapp: WhatsappServer;
  /** A user with a number, known to be right. */
  connectNumber(username: string): Promise<Connected>;
  /** Posts to the webhook of an integration what Meta tells, signed. */
  tell(to: Connected, value: Value, headers?: Record<string, string>): Promise<Response>;
  /** Waits for what someone has written; gives the conversation. */
  conversation(to: Connected, from: string): Promise<string>;
};

export async function openWhatsappWorld(t: Test): Promise<WhatsappWorld> {
  const whatsapp = await openWhatsapp(t);
  const world = await openPlatformWorld(t, { WHATSAPP_API: whatsapp.url });
  const { eventually, said, server } = world;
  whatsapp.reach.origin = server.url;

  const tell: WhatsappWorld['tell'] = ({ id }, value, headers = {}) => {
    const body = JSON.stringify(webhook(value));
    return fetch(`${server.url}webhooks/whatsapp/${id}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-hub-signature-256': signatureOf(body), ...headers },
      body,
    });
  };
  return {
    ...world,
    whatsapp,
    tell,
    connectNumber: (username) => world.connect(username, { platform: 'whatsapp', credentials }),
    async conversation(to, from) {
      await tell(to, writes(from, { text: { body: 'Hello' } }));
      return eventually('it is there', async () => (await said(to, from))[0]?.channel_id);
    },
  };
}

export function signatureOf(body: string): string {
  return `sha256=${createHmac('sha256', credentials.app_secret).update(body).digest('hex')}`;
}

export function webhook(value: Value, field = 'messages', number: string = credentials.phone_number_id): object {
  const metadata = { display_phone_number: '15550783881', phone_number_id: number };
  const change = { field, value: { messaging_product: 'whatsapp', metadata, ...value } };
  return { object: 'whatsapp_business_account', entry: [{ id: '102290129340398', changes: [change] }] };
}

export const newId = (): string => `wamid.HBgL${Buffer.from(randomUUID()).toString('base64')}`;

/** Someone writes, just now. The type is the name of what is given, unless it is told. */
export function writes(from: string, content: object, own: object = {}): { messages: [{ id: string }] } & Value {
  const message = {
    from,
    id: newId(),
    timestamp: String(Math.floor(Date.now() / 1000)),
    type: Object.keys(content)[0],
    ...content,
    ...own,
  };
  return { contacts: [{ profile: { name: `Sheena ${from}` }, wa_id: from }], messages: [message] };
}

/** What becomes of a message that was sent there. */
export function states(id: string, status: string, own: object = {}): Value {
  return { statuses: [{ id, status, timestamp: '1749416383', recipient_id: '16505551234', ...own }] };
}
