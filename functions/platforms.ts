import type pg from 'pg';
import type { Taken } from './intake.ts';
import type { Sealed } from './sealing.ts';

/** An integration as an adapter needs it, its credentials encrypted. */
export type Held = Sealed & { platform_id: string; is_polled: boolean };

/** Something that a platform has told, to be stored as it came: `id` is the platform's, so that it is stored once. */
export type Told = { id: string; body: unknown };

/** A message that is to be sent, or changed, or deleted, on a platform. */
export type Outgoing = {
  /** The delivery, and the number of the call: what comes of it is told with both. */
  id: string;
  attempt: number;
  /** How often it was tried, this one included; what the platform put off is not counted. */
  tries: number;
  action: 'send' | 'edit' | 'delete';
  integration: string;
  platform: string;
  chat: string;
  /** The message, by our id: the same whenever it is sent again. */
  message: string;
  text: string | null;
  /** Rows of buttons below it, as the message's metadata has them. */
  buttons: unknown;
  /** What was approved there, to be sent in place of the text: `{name, language, components}`. */
  template: unknown;
  /** The ids that it has there; none until it is sent. */
  external: string[];
  reply_to: string | null;
  files: { name: string; media_type: string; bytes: number; stored: string }[];
  /** When they last wrote; null for never. */
  heard_at: string | null;
};

/** How a call ended that did not go well; `isOfChat` where only this conversation was put off. */
export type Failed = {
  problem: string;
  took: number;
  retryIn: number | null;
  isPutOff: boolean;
  isOfChat: boolean;
  isUnsure: boolean;
};

/** A file of a message, still on the platform. */
export type RemoteFile = { id: string; kind: string; name?: string; media_type?: string; bytes?: number };

/** A file that is to be fetched, under which name it is to be stored, and how large it may be. */
export type Wanted = {
  id: string;
  /** How often it was tried, this one included, and how often it may be. */
  tries: number;
  most_tries: number;
  integration: string;
  file: RemoteFile;
  stored: string;
  most: number;
};

type Ask = (query: pg.QueryConfig) => Promise<pg.QueryResult>;

const credentialsText = 'select platform_id, sealed, key_id, is_polled from platforms._credentials($1)';

/** What the server asks, for whoever knocks at a webhook. */
export function openArrivals(ask: Ask) {
  return {
    async held(integration: string): Promise<Held | undefined> {
      return (await ask({ name: 'credentials', text: credentialsText, values: [integration] })).rows[0];
    },
    receive: (integration: string, told: Told[]) => receive(ask, integration, told),
  };
}

/** @returns how much of it is new; null where the integration is not connected. */
async function receive(ask: Ask, integration: string, told: Told[]): Promise<number | null> {
  const text = 'select platforms._receive($1, $2) as fresh';
  return (await ask({ name: 'receive', text, values: [integration, storable(told)] })).rows[0].fresh;
}

/** JSON that jsonb takes: it has no place for NUL and for halves of characters. */
export function storable(value: unknown): string {
  return JSON.stringify(value, (_, each) =>
    typeof each === 'string' ? each.replaceAll('\0', '').toWellFormed() : each,
  );
}

/** What the workers ask of the section `platforms`, as its owner. */
export function openPlatforms(client: pg.ClientBase) {
  const one = async (text: string, values: unknown[]) => (await client.query(text, values)).rows[0];
  return {
    held: (integration: string): Promise<Held | undefined> => one(credentialsText, [integration]),
    receive: (integration: string, told: Told[]) => receive((query) => client.query(query), integration, told),

    /** From now on, what comes asks for another run. */
    async openInbox(integration: string): Promise<void> {
      await client.query('select platforms._open_inbox($1)', [integration]);
    },
    async waiting(integration: string, most: number): Promise<{ id: string; body: unknown }[]> {
      return (await client.query('select id, body from platforms._waiting($1, $2)', [integration, most])).rows;
    },
    async apply(integration: string, id: string, updates: object[]): Promise<boolean> {
      const text = 'select platforms._apply($1, $2, $3) as done';
      const query = { name: 'apply', text, values: [integration, id, storable(updates)] };
      return (await client.query(query)).rows[0].done;
    },
    /** What cannot be applied does not hold up the rest. */
    async setAside(id: string, problem: string): Promise<void> {
      await client.query('select platforms._set_aside($1, $2)', [id, problem]);
    },

    async integrationOf(conversation: string): Promise<string | undefined> {
      const text = 'select integration_id as id from platforms.conversations where channel_id = $1';
      return (await one(text, [conversation]))?.id;
    },
    /** What is to be sent next, or in how many seconds; nothing where nothing is. */
    async claim(conversation: string): Promise<Outgoing | { wait: number } | null> {
      return (await one('select platforms._claim($1) as next', [conversation])).next;
    },
    async sent({ id, attempt }: Outgoing, externalIds: string[], took: number): Promise<void> {
      await client.query('select platforms._sent($1, $2, $3, $4)', [id, attempt, externalIds, took]);
    },
    async notSent({ id, attempt }: Outgoing, failed: Failed): Promise<void> {
      const { problem, took, retryIn, isPutOff, isUnsure, isOfChat } = failed;
      await client.query('select platforms._not_sent($1, $2, $3, $4, $5, $6, $7, $8)', [
        ...[id, attempt, problem, took, retryIn, isPutOff, isUnsure, isOfChat],
      ]);
    },
    async askToSend(conversation: string, seconds: number): Promise<void> {
      await client.query('select platforms._ask_to_send($1, now() + make_interval(secs => $2))', [
        conversation,
        seconds,
      ]);
    },

    /** The file that is to be fetched next, or in how many seconds; nothing where none is. */
    async claimFile(conversation: string): Promise<Wanted | { wait: number } | null> {
      return (await one('select platforms._claim_file($1) as next', [conversation])).next;
    },
    /** @returns whether it is attached now; not where it was before, or its message is gone. */
    async fetched({ id, stored }: Wanted, name: string, { sha256, bytes, mediaType }: Taken): Promise<boolean> {
      const text = 'select platforms._fetched($1, $2, $3, $4, $5, $6) as done';
      return (await one(text, [id, name, stored, Buffer.from(sha256, 'hex'), bytes, mediaType])).done;
    },
    /** @param retryIn seconds; null where it is not tried again. */
    async notFetched({ id }: Wanted, problem: string, retryIn: number | null, isPutOff: boolean): Promise<void> {
      await client.query('select platforms._not_fetched($1, $2, $3, $4)', [id, problem, retryIn, isPutOff]);
    },
    async askToFetch(conversation: string, seconds: number): Promise<void> {
      const text = 'select platforms._ask_to_fetch($1, now() + make_interval(secs => $2))';
      await client.query(text, [conversation, seconds]);
    },

    async checked(
      integration: string,
      found: { account?: string | undefined; name?: string | undefined; problem?: string | undefined },
    ): Promise<void> {
      const { account = null, name = null, problem = null } = found;
      await client.query('select platforms._checked($1, $2, $3, $4)', [integration, account, name, problem]);
    },
    async toReseal(keyId: string, most: number): Promise<(Sealed & { integration_id: string })[]> {
      const text = 'select integration_id, sealed, key_id from platforms._to_reseal($1, $2)';
      return (await client.query(text, [keyId, most])).rows;
    },
    async resealed(integration: string, was: Sealed, now: Sealed): Promise<void> {
      await client.query('select platforms._resealed($1, $2, $3, $4)', [
        ...[integration, JSON.stringify(was.sealed), JSON.stringify(now.sealed), now.key_id],
      ]);
    },
    /** Whether this connection is now the only one that fetches; until it ends. */
    async becomePoller(integration: string): Promise<boolean> {
      const text = "select pg_try_advisory_lock(hashtextextended('poller ' || $1, 0)) as mine";
      return (await one(text, [integration])).mine;
    },
    /** The id of the last that was stored. */
    async lastTold(integration: string): Promise<string | undefined> {
      return (await one('select platforms._last_told($1) as id', [integration])).id ?? undefined;
    },
    /** Asks for the next run that fetches. */
    async pollAgain(integration: string): Promise<void> {
      const text =
        "select platforms._enqueue('poll_platform', jsonb_build_object('integration', $1::text), 'poll ' || $1)";
      await client.query(text, [integration]);
    },
  };
}
export type Platforms = ReturnType<typeof openPlatforms>;
