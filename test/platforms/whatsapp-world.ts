import { createHmac, randomUUID } from 'node:crypto';
import type { Test } from 'tap';
import { openSealing } from '../../functions/sealing.ts';
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
  const { ask, eventually, person, said, server, sql } = world;
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
    async connectNumber(username) {
      const owner = await person(username);
      const answer = await ask(
        `mutation ($credentials: JSON!) {
          connectPlatform(input: { platformId: "whatsapp", credentials: $credentials }) { integration { id } }
        }`,
        { credentials },
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
      const key = Buffer.from(world.env.CREDENTIALS_KEY as string, 'base64url');
      const sealing = await openSealing([new Uint8Array(key)]);
      const { webhook_secret: secret } = await sealing.open(held as Parameters<typeof sealing.open>[0]);
      return { id, owner, secret: secret as string };
    },
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
