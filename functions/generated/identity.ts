// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

/** Someone who uses Plinth. */
export const User = row('identity.users', {
  /** The key; rises with the time of sign-up. */
  id: pg.uuid,
  /** The name to mention and find them by; unique in any case. */
  username: pg.text,
  /** The name to show, 2 to 100 characters. */
  displayName: pg.text,
  /** What they say of themselves. */
  bio: orNull(pg.text),
  /** The address of their picture. */
  avatarUrl: orNull(pg.text),
  /** Where they say they are. */
  location: orNull(pg.text),
  /** The address of their own page. */
  website: orNull(pg.text),
  /** When the account was removed; null while it is in use. */
  removedAt: orNull(pg.timestamptz),
  /** When they signed up. */
  createdAt: pg.timestamptz,
  /** When this profile last changed. */
  updatedAt: pg.timestamptz,
  /** Where they were imported from, and their id there; null otherwise. */
  externalRef: orNull(pg.text),
});
export type User = ValueOf<typeof User>;

/** What a signed-in client keeps. */
export const SessionTokens = row('identity.session_tokens', {
  /** Sent with every request; lives 15 minutes. */
  accessToken: orNull(pg.jsonb),
  /** Good for one refreshSession; never sent elsewhere. */
  refreshToken: orNull(pg.text),
  /** When the session ends unless it is refreshed before. */
  expiresAt: orNull(pg.timestamptz),
  /** Who is signed in. */
  user: orNull(User),
});
export type SessionTokens = ValueOf<typeof SessionTokens>;

/** Whether the user may sign in. */
export const AccountStatus = oneOf('identity.account_status', ['active', 'inactive', 'banned']);
export type AccountStatus = ValueOf<typeof AccountStatus>;

/**
 * What a token of a bot lets it do beside reading. `SEND`: sends and changes messages. `MANAGE`: makes rooms, joins and
 * leaves, brings people in and out, and governs: settings, rights, mutes, bans, invitations, links, retention,
 * organizations.
 */
export const BotScope = oneOf('identity.bot_scope', ['send', 'manage']);
export type BotScope = ValueOf<typeof BotScope>;

/** A token by which a bot signs in. */
export const BotToken = row('identity.bot_token', {
  /** Names it, for revoking. */
  id: orNull(pg.uuid),
  /** The bot. */
  botId: orNull(pg.uuid),
  /** What its owner calls it. */
  name: orNull(pg.text),
  /** The token itself: shown when it is made, never again. */
  token: orNull(pg.text),
  /** What it lets the bot do beside reading. */
  scopes: orNull(arrayOf(BotScope)),
  /** Until when it is good. */
  expiresAt: orNull(pg.timestamptz),
  /** When a session was last opened by it; null for never. */
  lastUsedAt: orNull(pg.timestamptz),
});
export type BotToken = ValueOf<typeof BotToken>;

/** The private side of a user; each sees only their own. */
export const Account = row('identity.accounts', {
  /** Whose account it is. */
  userId: pg.uuid,
  /** Phone number in E.164 form; null for none. */
  phone: orNull(pg.text),
  /** E-mail address; null for none. */
  email: orNull(pg.text),
  /** When the address was verified; null if it was not. */
  emailVerifiedAt: orNull(pg.timestamptz),
  /** Whether they may sign in. */
  status: AccountStatus,
  /** Whether they run the place: their requests run as operator. */
  isOperator: pg.bool,
  /** Their time zone, by its IANA name. */
  timeZone: pg.text,
  /** Their language, as a BCP 47 tag. */
  language: pg.text,
  /** Whatever a client wants to remember for them, up to 16 kB. */
  preferences: pg.jsonb,
});
export type Account = ValueOf<typeof Account>;

/** A phone number or an e-mail address that is another now. */
export const AccountChange = row('identity.account_change', {
  /** The account as it is now. */
  account: orNull(Account),
  /** What the one before is told. */
  delivery: orNull(pg.jsonb),
});
export type AccountChange = ValueOf<typeof AccountChange>;

/** A code is on its way, if the recipient can have one. */
export const CodeRequest = row('identity.code_request', {
  /** Names this request: verifyCode needs it beside the code. */
  id: orNull(pg.uuid),
  /** The phone number or address it goes to. */
  recipient: orNull(pg.text),
  /** Until when it can be used. */
  expiresAt: orNull(pg.timestamptz),
  delivery: orNull(pg.jsonb),
});
export type CodeRequest = ValueOf<typeof CodeRequest>;

/** The tokens of a bot of the caller's, without what they are. */
export const botTokens = query('identity.bot_tokens', { botId: pg.uuid }, setOf(BotToken));

/** Spends the code that requestEmailChange or requestPhoneChange has sent to the new one; the one before is told. */
export const confirmChange = mutation('identity.confirm_change', { requestId: pg.uuid, code: pg.text }, AccountChange);

/** Makes a bot of the caller's: a user that is a program and signs in by tokens. 20 at most. */
export const createBot = mutation('identity.create_bot', { username: pg.text, displayName: pg.text }, User);

/** Makes a token for a bot of the caller's, shown this once: the bot reads, and does what `scopes` say. 10 at most. */
export const createBotToken = mutation('identity.create_bot_token', {
  botId: pg.uuid,
  name: pg.text,
  scopes: optional(arrayOf(BotScope)),
  expiresAt: optional(pg.timestamptz),
}, BotToken);

/**
 * Signs in with an e-mail address and a password.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const logIn = mutation('identity.log_in', { email: pg.text, password: pg.text }, SessionTokens);

/** Ends the session that this request came with. */
export const logOut = mutation('identity.log_out', {});

/** The signed-in user; null where nobody is. */
export const me = query('identity.me', {}, orNull(User));

/** Signs a bot in by its token, for 15 minutes; there is no refresh token, the token opens the next one. */
export const openBotSession = mutation('identity.open_bot_session', { token: pg.text }, SessionTokens);

/** Exchanges a refresh token for new tokens. A token is good for one exchange; using it again ends the session. */
export const refreshSession = mutation('identity.refresh_session', { refreshToken: pg.text }, SessionTokens);

/** Removes the caller's account and everything personal in it. What they wrote to others stays, without their name. */
export const removeAccount = mutation('identity.remove_account', {});

/** Removes a bot of the caller's, as an account is removed. */
export const removeBot = mutation('identity.remove_bot', { botId: pg.uuid });

/** Sends a 6-digit code to a phone, to sign up (with a display name) or to sign in. The answer is the same either way. */
export const requestCode = mutation('identity.request_code', {
  phone: pg.text,
  displayName: optional(pg.text),
}, CodeRequest);

/**
 * Sends a code to a new e-mail address, or to one's own that is not verified yet; confirmChange then makes it the
 * account's. The answer is the same where another account has it.
 */
export const requestEmailChange = mutation('identity.request_email_change', { email: pg.text }, CodeRequest);

/** Sends a code to an e-mail address, for resetPassword. The answer is the same whether or not it has an account. */
export const requestPasswordReset = mutation('identity.request_password_reset', { email: pg.text }, CodeRequest);

/**
 * Sends a code to a new phone; confirmChange then makes it the account's. The answer is the same where another account
 * has it.
 */
export const requestPhoneChange = mutation('identity.request_phone_change', { phone: pg.text }, CodeRequest);

/**
 * Sets a new password by the code that requestPasswordReset has sent, ends all sessions of the account, and signs in.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const resetPassword = mutation('identity.reset_password', {
  requestId: pg.uuid,
  code: pg.text,
  password: pg.text,
}, SessionTokens);

/** Ends a token of a bot of the caller's, and its sessions, at once. */
export const revokeBotToken = mutation('identity.revoke_bot_token', { id: pg.uuid });

/** Ends one of the caller's sessions, or all of them when `id` is left out; returns how many. */
export const revokeSessions = mutation('identity.revoke_sessions', { id: optional(pg.uuid) }, pg.int4);

/**
 * Users by name or username: any case, part of a word, stems of words, typos. Best match first, then last seen;
 * at most 200.
 */
export const searchUsers = query('identity.search_users', { query: pg.text }, setOf(User));

/**
 * Sends a code to an e-mail address; verifyCode then makes the account. The answer is the same if one exists.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const signUp = mutation('identity.sign_up', {
  email: pg.text,
  password: pg.text,
  displayName: pg.text,
  username: optional(pg.text),
}, CodeRequest);

/** Changes the caller's private settings. What is left out stays. */
export const updateAccount = mutation('identity.update_account', {
  timeZone: optional(pg.text),
  language: optional(pg.text),
  preferences: optional(pg.jsonb),
}, Account);

/** Changes the caller's profile. What is left out stays; an empty text removes what may be empty. */
export const updateProfile = mutation('identity.update_profile', {
  username: optional(pg.text),
  displayName: optional(pg.text),
  bio: optional(pg.text),
  avatarUrl: optional(pg.text),
  location: optional(pg.text),
  website: optional(pg.text),
}, User);

/** The user of that name, in any case; null for none. */
export const userByUsername = query('identity.user_by_username', { username: pg.text }, orNull(User));

/**
 * Spends the code sent for a request (its id is what requestCode and signUp gave): signs up who is new, and signs them
 * in.
 */
export const verifyCode = mutation('identity.verify_code', { requestId: pg.uuid, code: pg.text }, SessionTokens);
