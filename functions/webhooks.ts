import { asOwner, connected } from './connection.ts';

/** What is sent for an event, and where. */
type Outgoing = { url: string; secret: string; body: string };

/** What is to be sent; undefined where it is not any longer: the webhook is gone, or its owner is in the channel no longer. */
export async function outgoingOf(databaseUrl: string, webhook: string, event: object): Promise<Outgoing | undefined> {
  const { rows } = await connected(asOwner(databaseUrl), (client) =>
    client.query<Outgoing>('select url, secret, body from webhooks._delivery($1, $2)', [
      webhook,
      JSON.stringify(event),
    ]),
  );
  return rows[0];
}

/** @param isGone whether the address has said that it wants no more. */
export async function noteSent(
  databaseUrl: string,
  webhook: string,
  { wentWell, isGone = false }: { wentWell: boolean; isGone?: boolean },
): Promise<void> {
  await connected(asOwner(databaseUrl), (client) =>
    client.query('select webhooks._note($1, $2, $3)', [webhook, wentWell, isGone]),
  );
}
