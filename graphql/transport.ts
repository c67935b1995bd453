import type { IncomingMessage } from 'node:http';
import type { Claims, Tokens } from '../functions/tokens.ts';
import type { Asked } from './execute.ts';
import type { Params } from './respond.ts';
import type { Hold, TakePlace } from './shares.ts';
import type { Listener } from './subscriber.ts';

/** Who a connection belongs to, and until when (in milliseconds of the clock). */
export type Identity = { claims: Claims; endsAt: number };

/** What a transport of long-lived connections stands on. */
export type Transport = {
  verify: Tokens['verify'];
  /** What is known of a request on a connection of that identity. */
  asked(request: IncomingMessage, claims: Claims, id: string): Omit<Asked, 'signal'>;
  /**
   * Answers an operation of any kind, once or many times, and gives what ends it before its time.
   *
   * @param after a cursor that goes before the one in the document.
   */
  serve(params: Params, asked: Asked, listener: Listener, after?: string): () => void;
  /** The most that a connection may carry at once. */
  maxSubscriptions: number;
  maxBodyBytes: number;
  maxBacklogBytes: number;
  /** How often a connection that is quiet is written to, so that no proxy takes it for dead, in milliseconds. */
  heartbeat: number;
  /** Whose share of the places and of the memory a connection takes. */
  sender(request: IncomingMessage): string;
  takePlace: TakePlace;
  hold: Hold;
};

const nobody: Identity = { claims: { role: 'anonymous' }, endsAt: Number.POSITIVE_INFINITY };

/** Who `Bearer …` is; anonymous without it. @throws an error whose message can be told to the client. */
export async function identify(verify: Tokens['verify'], authorization: unknown): Promise<Identity> {
  const [scheme, token] = typeof authorization === 'string' ? authorization.split(' ') : [];
  return token && scheme?.toLowerCase() === 'bearer' ? verify(token) : nobody;
}
