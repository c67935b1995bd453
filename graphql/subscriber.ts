import type { GraphQLFormattedError, VariableValues } from 'graphql';
import type { CompiledSubscription } from './compile-subscription.ts';
import type { Asked } from './execute.ts';
import type { Operation } from './operations.ts';
import type { Rendered, Sent } from './render.ts';
import type { Numbered } from './replay.ts';

/** The client's side of a subscription. */
export type Listener = {
  next(sent: Sent): void;
  /** The last word: errors, or none where the server has nothing more to say. */
  end(errors?: GraphQLFormattedError[]): void;
  /** How many bytes wait to be taken by the client. */
  backlog(): number;
};

export type SubscriptionLimits = {
  poolSize: number;
  maxSubscriptionsPerUser: number;
  maxBacklogBytes: number;
  maxEventBytes: number;
};

/** What is asked for; `open` is called again when the API has changed. @throws GraphQLErrors */
export type Wanted = {
  open(): Operation;
  variables: Record<string, unknown>;
  asked: Asked;
  after?: string | undefined;
};

export type Subscriber = {
  wanted: Wanted;
  listener: Listener;
  user: string;
  /**
   * `leaving`: is sent what was handed on before, and then starts again; `replaying`: what comes waits in `pending` while it is sent what
   * it had missed.
   */
  state: 'new' | 'leaving' | 'replaying' | 'live' | 'ended';
  /** Where it starts from. */
  cursor: string | undefined;
  topics: string[];
  group?: Group;
  /** The numbers of the batches that are for it: after the first, up to the last. */
  first: number;
  last: number;
  pending: Sent[];
  /** How many characters wait in `pending`. */
  pendingSize: number;
  /** Has to start again: its right has to be asked anew, or it was left behind. */
  stale: boolean;
  /** Where everyone's right had to be asked again since it asked for its own; what it may listen to is not known before it joins. */
  rechecked: Set<string>;
};

/** Subscribers who are sent the same texts for the same events: one statement serves them all. */
export type Group = {
  key: string;
  /**
   * Listens to topics of its own, and of each of them is sent the same texts as every group that shares by this; undefined where what it is
   * sent is for it alone.
   */
  shares: string | undefined;
  compiled: CompiledSubscription;
  values: VariableValues;
  members: Set<Subscriber>;
  /** Its batches, one after another. */
  tail: Promise<void>;
  waiting: number;
};

/** The events of a topic in a batch that several groups share, and what was rendered of them: by whoever came first, undefined if they could not. */
export type Together = { events: Numbered[]; texts?: Promise<Rendered | undefined> };

/** What groups share of a batch, by togetherKey. It is gone when the last of them was sent it. */
export type Shared = Map<string, Together>;

export const togetherKey = (topic: string, shares: string): string => `${topic} ${shares}`;
