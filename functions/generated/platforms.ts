// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { keyOf, oneOf, optional, orNull, pg, row, type ValueOf } from '../kinds.ts';
import { Message } from './chat.ts';

/** What a run fetches. */
export const RunKind = oneOf('platforms.run_kind', ['full', 'incremental', 'orders', 'products']);
export type RunKind = ValueOf<typeof RunKind>;

/** At work, all fetched, some of it fetched, or nothing. */
export const RunStatus = oneOf('platforms.run_status', ['running', 'success', 'partial', 'failed']);
export type RunStatus = ValueOf<typeof RunStatus>;

/** A fetch of the data of an integration. */
export const PlatformRun = row('platforms.runs', {
  /** The key. */
  id: pg.uuid,
  /** Of which integration. */
  integrationId: pg.uuid,
  /** What was to be fetched. */
  kind: RunKind,
  /** What came of it. */
  status: RunStatus,
  /** How many records were taken over. */
  recordsSynced: pg.int4,
  /** How many could not be. */
  recordsFailed: pg.int4,
  /** How often the platform was asked. */
  calls: pg.int4,
  /** How often it failed to answer. */
  failures: pg.int4,
  /** How long it took to answer, in milliseconds, together. */
  took: pg.float8,
  /** What went wrong: a list of `{record, message}`, 100 at most. */
  errors: pg.jsonb,
  /** How far it has come, for whoever goes on. */
  cursor: orNull(pg.jsonb),
  /** When it began. */
  startedAt: pg.timestamptz,
  /** When it ended; null while it is at work. */
  finishedAt: orNull(pg.timestamptz),
});
export type PlatformRun = ValueOf<typeof PlatformRun>;

/** Who answers the conversations of an integration beside its owner. */
export const Agent = row('platforms.agents', {
  /** The integration. */
  integrationId: pg.uuid,
  /** Who. */
  userId: pg.uuid,
  /** Since when. */
  createdAt: pg.timestamptz,
});
export type Agent = ValueOf<typeof Agent>;

/** Answered as it goes; left alone by bots; ended; or waiting for a person to answer. */
export const ConversationStatus = oneOf('platforms.conversation_status', ['active', 'paused', 'closed', 'escalated']);
export type ConversationStatus = ValueOf<typeof ConversationStatus>;

/** What is said with someone on another platform; its messages are those of its channel. */
export const Conversation = row('platforms.conversations', {
  /** Its channel, and the key. */
  channelId: pg.uuid,
  /** The integration that it goes through. */
  integrationId: pg.uuid,
  /** Its id on the platform. */
  chatId: pg.text,
  /** With whom; null where that is gone. */
  contactId: orNull(pg.uuid),
  /** How it stands. */
  status: ConversationStatus,
  /** Where a bot is in it; `initial` at first. */
  state: pg.text,
  /** What a bot keeps of it, up to 64 kB. */
  context: pg.jsonb,
  /** Who is to answer; null for nobody in particular. */
  assignedTo: orNull(pg.uuid),
  /** Since when it has been waiting for a person; null where it is not. */
  escalatedAt: orNull(pg.timestamptz),
  /** Why it was escalated or paused; null where nobody said. */
  reason: orNull(pg.text),
  /** When they last wrote. */
  heardAt: orNull(pg.timestamptz),
  /** When it was closed; null while it is open. What they write opens it again. */
  closedAt: orNull(pg.timestamptz),
  /** When it began. */
  createdAt: pg.timestamptz,
});
export type Conversation = ValueOf<typeof Conversation>;

/** Being checked, in use, refused by the platform, or ended by its owner. */
export const IntegrationStatus = oneOf('platforms.integration_status', ['pending', 'connected', 'error', 'disconnected']);
export type IntegrationStatus = ValueOf<typeof IntegrationStatus>;

/** A user's connection to a platform: a bot, a phone number, a shop. */
export const Integration = row('platforms.integrations', {
  /** The key; a part of the address of its webhook. */
  id: pg.uuid,
  /** Whose it is. */
  userId: pg.uuid,
  /** The platform. */
  platformId: pg.text,
  /** What it is called there; null until that is known. */
  name: orNull(pg.text),
  /** Its id there; null until that is known. */
  account: orNull(pg.text),
  /** Whether it works. */
  status: IntegrationStatus,
  /** Why it does not work; null where it does. */
  statusMessage: orNull(pg.text),
  /** Whether what comes is fetched, for want of an address that the platform can reach. */
  isPolled: pg.bool,
  /** After how long without a message a conversation is closed. */
  closeAfter: pg.interval,
  /** How often its data are fetched. */
  syncInterval: pg.interval,
  /** When its data were last fetched; null for never. */
  lastSyncAt: orNull(pg.timestamptz),
  /** When they will be fetched next; null where that is not planned. */
  nextSyncAt: orNull(pg.timestamptz),
  /** When it was made. */
  createdAt: pg.timestamptz,
  /** When it last changed. */
  updatedAt: pg.timestamptz,
});
export type Integration = ValueOf<typeof Integration>;

/** Someone on a platform who has written to an integration. */
export const Contact = row('platforms.contacts', {
  /** The key. */
  id: pg.uuid,
  /** The integration that they wrote to. */
  integrationId: pg.uuid,
  /** Their id there. */
  externalId: pg.text,
  /** What they are called there. */
  name: pg.text,
  /** Their username there; null for none. */
  username: orNull(pg.text),
  /** Their language, as the platform says; null where it does not. */
  language: orNull(pg.text),
  /** Which of our users they are; null where they have not linked their account. */
  userId: orNull(pg.uuid),
  /** When they linked their account; null for never. */
  linkedAt: orNull(pg.timestamptz),
  /** When they were first met. */
  createdAt: pg.timestamptz,
});
export type Contact = ValueOf<typeof Contact>;

/** A code that links an account on a platform, once. */
export const LinkCode = row('platforms.link_code', {
  /** To be sent there as `/connect CODE`: shown this once. */
  code: orNull(pg.text),
  /** Until when. */
  expiresAt: orNull(pg.timestamptz),
});
export type LinkCode = ValueOf<typeof LinkCode>;

/** What the platform is asked to do with a message. */
export const DeliveryAction = oneOf('platforms.delivery_action', ['send', 'edit', 'delete']);
export type DeliveryAction = ValueOf<typeof DeliveryAction>;

/** How far a message has come. Unsure: the platform was asked and has not answered, so that it may have it or not. */
export const DeliveryState = oneOf('platforms.delivery_state', ['queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'unsure']);
export type DeliveryState = ValueOf<typeof DeliveryState>;

/** What became of a message that was said here, on its platform. */
export const Delivery = row('platforms.deliveries', {
  /** The key. */
  id: pg.int8,
  /** The message. */
  messageId: pg.uuid,
  /** The conversation. */
  channelId: pg.uuid,
  /** What the platform is asked for. */
  action: DeliveryAction,
  /** How far it has come. */
  state: DeliveryState,
  /** How often it was tried; what the platform put off is not counted. */
  attempts: pg.int4,
  /** How often the platform was asked. */
  calls: pg.int4,
  /** How often that did not go well. */
  failures: pg.int4,
  /** How long it took to answer, in milliseconds, together. */
  took: pg.float8,
  /** Not before; later where the platform asks to wait, or has failed. */
  dueAt: pg.timestamptz,
  /** What went wrong last; null for nothing. */
  error: orNull(pg.text),
  /** When it was asked for. */
  createdAt: pg.timestamptz,
  /** When it last changed. */
  updatedAt: pg.timestamptz,
});
export type Delivery = ValueOf<typeof Delivery>;

/** What someone wants by a message, as the service of INTENT_URL says. */
export const MessageIntent = row('platforms.message_intent', {
  /** The intent, such as `order_status`. */
  name: orNull(pg.text),
  /** What was found in the text, by name. */
  entities: orNull(pg.jsonb),
  /** How sure the service is, from 0 to 1. */
  confidence: orNull(pg.float8),
});
export type MessageIntent = ValueOf<typeof MessageIntent>;

/** What follows on what someone writes: the state machine of an integration's conversations. */
export const Transition = row('platforms.transitions', {
  /** The integration. */
  integrationId: pg.uuid,
  /** In which state. */
  state: pg.text,
  /** What they write or press, in lower case; `intent:` and an intent for what they want by it; `*` for anything else. */
  trigger: pg.text,
  /** The state that it leads to. */
  nextState: pg.text,
  /** What is answered; null for nothing. */
  reply: orNull(pg.text),
  /** Whether a person is to take over. */
  escalates: pg.bool,
  /** Where the trigger is an intent: the least confidence that counts, from 0 to 1. */
  sure: pg.float8,
});
export type Transition = ValueOf<typeof Transition>;

/** Lets someone see and take the conversations of an integration; for its owner. */
export const addAgent = mutation('platforms.add_agent', { integrationId: pg.uuid, userId: pg.uuid }, Agent);

/**
 * Makes the integration's owner or an agent the one who answers, or the caller where nobody is named; they come into
 * the channel.
 */
export const assignConversation = mutation('platforms.assign_conversation', {
  channelId: pg.uuid,
  userId: optional(pg.uuid),
}, Conversation);

/** Tries the credentials of an integration again; its `status` tells what came of it. */
export const checkIntegration = mutation('platforms.check_integration', { id: pg.uuid }, Integration);

/**
 * Connects the caller to a platform, or replaces the credentials of their integration there. They are encrypted before
 * they are stored, then tried: `status` tells. `isPolled` where the platform cannot reach this server.
 */
export const connectPlatform = mutation('platforms.connect_platform', {
  platformId: pg.text,
  credentials: pg.jsonb,
  isPolled: optional(pg.bool),
}, Integration);

/** Who wrote it on another platform; null for what was said here. */
export const contact = query('platforms.contact', { message: keyOf(Message, 'id') }, orNull(Contact));

/**
 * A code of 6 letters and digits that links the caller's account on a platform to them, once, within 5 minutes: there,
 * it is sent as `/connect CODE`. One asked for before is good no longer.
 */
export const createLinkCode = mutation('platforms.create_link_code', {}, LinkCode);

/** What became of it on its platform; null for what was not sent to one. */
export const delivery = query('platforms.delivery', { message: keyOf(Message, 'id') }, orNull(Delivery));

/** Ends an integration: its credentials are gone, its conversations stay and can be read. */
export const disconnectIntegration = mutation('platforms.disconnect_integration', { id: pg.uuid }, Integration);

/** What they want by it, as the service of INTENT_URL says; null where it was not asked, or does not know. */
export const intent = query('platforms.intent', { message: keyOf(Message, 'id') }, orNull(MessageIntent));

/** Takes an agent from an integration, and out of its conversations; for its owner. */
export const removeAgent = mutation('platforms.remove_agent', { integrationId: pg.uuid, userId: pg.uuid });

/** Takes a transition away. */
export const removeTransition = mutation('platforms.remove_transition', {
  integrationId: pg.uuid,
  state: pg.text,
  trigger: pg.text,
});

/** Until when one may write freely there; later only by a template. Null: at any time. */
export const repliesUntil = query('platforms.replies_until', {
  conversation: keyOf(Conversation, 'channelId'),
}, orNull(pg.timestamptz));

/** Sends a message again that the platform did not take, or may not have taken. */
export const resendMessage = mutation('platforms.resend_message', { messageId: pg.uuid }, Delivery);

/** Moves a conversation to a state, with another context where one is given; with `was`, only from that state. */
export const setConversationState = mutation('platforms.set_conversation_state', {
  channelId: pg.uuid,
  state: pg.text,
  context: optional(pg.jsonb),
  was: optional(pg.text),
}, Conversation);

/** Pauses a conversation, escalates it to a person, closes it or goes on with it; for whoever serves it. */
export const setConversationStatus = mutation('platforms.set_conversation_status', {
  channelId: pg.uuid,
  status: ConversationStatus,
  reason: optional(pg.text),
}, Conversation);

/**
 * Says what follows where someone writes or presses `trigger` in a state: the next state, what is answered, and whether
 * a person is to take over. `intent:order_status` is what they want by it, where the service of INTENT_URL is at least as
 * `sure`; `*` is anything else.
 */
export const setTransition = mutation('platforms.set_transition', {
  integrationId: pg.uuid,
  state: pg.text,
  trigger: pg.text,
  nextState: pg.text,
  reply: optional(pg.text),
  escalates: optional(pg.bool),
  sure: optional(pg.float8),
}, Transition);

/** Sends a user a text wherever they have linked an account and may be written to; returns in how many conversations. */
export const tellUser = mutation('platforms.tell_user', { userId: pg.uuid, text: pg.text }, orNull(pg.int4));

/** Ends that an account on a platform is known as the caller's. */
export const unlinkContact = mutation('platforms.unlink_contact', { id: pg.uuid });

/** Changes how an integration fetches what comes, and when it closes conversations; what is left out stays. */
export const updateIntegration = mutation('platforms.update_integration', {
  id: pg.uuid,
  isPolled: optional(pg.bool),
  closeAfter: optional(pg.interval),
  syncInterval: optional(pg.interval),
}, Integration);
