import type { Readable } from 'node:stream';
import type { Outgoing, RemoteFile, Told } from '../../functions/platforms.ts';
import type { Credentials } from '../../functions/sealing.ts';
import type { Settings } from '../../functions/settings.ts';

/** A request to the webhook of an integration. */
export type Arrived = {
  method: string;
  /** By names in lower case. */
  headers: Record<string, string | undefined>;
  query: URLSearchParams;
  /** As it was sent: signatures are of these bytes. */
  body: string;
};

/** Whom an update is from. */
export type Author = { id: string; name: string; username?: string | undefined; language?: string | undefined };

/** The bytes of a file of a message, as the platform sends them. */
type Fetched = {
  from: AsyncIterable<Uint8Array>;
  /** What it is called, where the platform says so only now. */
  name?: string;
};

/** What has happened, in our words: what platforms._apply takes. Ids are the platform's, unique within the integration. */
export type Update =
  | {
      /** Said; changed (`text` is the new one); or a button pressed (`pressed` is its data). */
      kind: 'message' | 'edit' | 'press';
      chat: string;
      message: string;
      contact: Author;
      /** Never empty: what has no text is described. */
      text: string;
      shape?: 'text' | 'image' | 'file';
      /** Seconds since 1970 of the last change; of two, the greater is the later. */
      revision?: number;
      sent_at?: string;
      reply_to?: string;
      /** The same for the messages of one album. */
      album?: string;
      files?: RemoteFile[];
      pressed?: string;
    }
  | {
      kind: 'receipt';
      message: string;
      state: 'sent' | 'delivered' | 'read' | 'failed';
      /** The id of the delivery, where the platform gives back what was sent along. */
      delivery?: string;
      error?: string;
    };

/** What an adapter works with. */
export type Link = {
  credentials: Credentials;
  settings: Settings;
  /** Ends what is asked for; what was sent by then may have arrived. */
  signal: AbortSignal;
  /** Reads a file of ours. */
  open(stored: string): Promise<Readable>;
};

/**
 * What speaks the language of one platform. A new platform is a row of platforms.platforms, one of these in adapters.ts, and its
 * test: which messages belong together, what is sent when, what is tried again, is not an adapter's to decide.
 */
export type Adapter = {
  /** The key of its row. */
  platform: string;
  /** Whether a request comes from the platform; secrets are compared by `isSame`, which takes as long whatever they are. */
  verify(arrived: Arrived, credentials: Credentials): boolean;
  /** Answers a request that only asks whether we are there; most platforms have none. It has been verified. */
  greet?(arrived: Arrived, credentials: Credentials): string | undefined;
  /** Takes the body of a request apart into what is stored once each. @throws where it is none of theirs */
  receive(body: unknown, credentials: Credentials): Told[];
  /** What a stored body says; nothing where it concerns nobody. @throws where it cannot be read: it is set aside then. */
  parse(body: unknown): Update[];
  /**
   * Does what a delivery says, and gives the ids of what was sent.
   *
   * @throws Refused where the platform said no, or was not reached; anything else means that it may have done it.
   */
  send(outgoing: Outgoing, link: Link): Promise<string[]>;
  /**
   * Asks for the bytes of a file of a message. Once begun, they may end with any error: they are asked for again.
   *
   * @throws Refused, final where the file is gone or will never be handed over.
   */
  fetch?(file: RemoteFile, link: Link): Promise<Fetched>;
  /** Tells the platform that a press was seen, where it waits for that. Nothing depends on it. */
  acknowledge?(body: unknown, link: Link): Promise<void>;
  /**
   * Tries the credentials, and has the platform call our webhook, or not where it is polled.
   *
   * @param webhook its address; undefined where we have none outside.
   * @throws Refused
   */
  check(link: Link, webhook: string | undefined): Promise<{ account: string; name: string }>;
  /**
   * Waits for what comes, half a minute at most.
   *
   * @param after the id of the last that was stored; undefined at first.
   */
  poll?(link: Link, after: string | undefined): Promise<Told[]>;
};

/** The platform said no, or was never reached: what was asked for has surely not happened. */
export class Refused extends Error {
  /** In how many seconds it may be asked again, where it said so: that is no failure. */
  readonly retryAfter: number | undefined;
  /** Whether to ask again is of no use. */
  readonly isFinal: boolean;
  /** Whether the credentials are at fault: nothing will be taken with them. */
  readonly isOfCredentials: boolean;
  /** Whether only this chat is to wait, where it may be asked again later. */
  readonly isOfChat: boolean;

  constructor(
    message: string,
    {
      retryAfter,
      isFinal = false,
      isOfCredentials = false,
      isOfChat = false,
    }: { retryAfter?: number | undefined; isFinal?: boolean; isOfCredentials?: boolean; isOfChat?: boolean } = {},
  ) {
    super(message);
    this.name = 'Refused';
    this.retryAfter = retryAfter;
    this.isFinal = isFinal || isOfCredentials;
    this.isOfCredentials = isOfCredentials;
    this.isOfChat = isOfChat;
  }
}
