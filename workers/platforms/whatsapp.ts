import { createHmac } from 'node:crypto';
import { type Adapter, type Link, Refused } from './adapter.ts';
import { answerOf, bodyOf } from './http.ts';
import { isSame } from './same.ts';
import { bearerOf, callSafely, posted } from './whatsapp-api.ts';
import { sendMessage } from './whatsapp-messages.ts';
import { toldOf, updatesOf } from './whatsapp-updates.ts';

const fileAnswersWithin = 30_000;

/** The Cloud API of WhatsApp (https://developers.facebook.com/documentation/business-messaging/whatsapp). */
export const whatsapp: Adapter = {
  platform: 'whatsapp',

  verify({ method, headers, query, body }, { webhook_secret: secret, app_secret: key }) {
    if (method === 'GET')
      return query.get('hub.mode') === 'subscribe' && isSame(query.get('hub.verify_token') ?? '', secret);
    const signature = createHmac('sha256', key ?? '')
      .update(body)
      .digest('hex');
    return isSame(headers['x-hub-signature-256'], key && `sha256=${signature}`);
  },

  greet: ({ method, query }) =>
    method === 'GET' ? /^[\w-]{1,200}$/.exec(query.get('hub.challenge') ?? '')?.[0] : undefined,

  receive: (body, { phone_number_id: number }) => toldOf(body, number as string),

  parse: updatesOf,

  send: sendMessage,

  async fetch({ id }, link) {
    const { url } = await callSafely(link, encodeURIComponent(id));
    const address = addressOf(url, link);
    let answer: Response;
    try {
      const headers = { authorization: bearerOf(link.credentials), 'user-agent': 'Plinth' };
      answer = await answerOf(address, { headers }, fileAnswersWithin, link.signal);
    } catch (error) {
      throw new Refused(`WhatsApp did not answer: ${(error as Error).message}`);
    }
    return { from: bodyOf(answer, 'WhatsApp') };
  },

  async check(link, webhook) {
    const { phone_number_id: number, webhook_secret: secret } = link.credentials;
    const found = await callSafely(link, `${number}?fields=verified_name,display_phone_number`);
    if (webhook) {
      // It asks at the webhook at once whether we are there.
      const webhook_configuration = { override_callback_uri: webhook, verify_token: secret };
      await callSafely(link, `${number}`, posted({ webhook_configuration }));
    }
    return { account: String(number), name: `${found.verified_name} ${found.display_phone_number}` };
  },
};

/** Where a file is: the token goes along, so that only hosts of Meta are asked, and whoever stands in for them. */
function addressOf(given: unknown, { settings }: Link): string {
  const url = URL.canParse(String(given)) ? new URL(String(given)) : undefined;
  const isTheirs =
    url?.protocol === 'https:' && /\.(fbsbx\.com|facebook\.com|fbcdn\.net|whatsapp\.net)$/.test(url.hostname);
  if (url && (isTheirs || url.origin === new URL(settings.whatsappApi).origin)) return url.href;
  throw new Refused('WhatsApp tells no address of the file that is its own.', { isFinal: true });
}
