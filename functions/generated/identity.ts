// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { oneOf, optional, orNull, pg, row, setOf, type ValueOf } from '../kinds.ts';

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
  /** When they were last active; null for never. */
  lastSeenAt: orNull(pg.timestamptz),
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

/** Whether the user may sign in. */
export const AccountStatus = oneOf('identity.account_status', ['active', 'inactive', 'banned']);
export type AccountStatus = ValueOf<typeof AccountStatus>;

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

/**
 * Signs in with an e-mail address and a password.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const logIn = mutation('identity.log_in', { email: pg.text, password: pg.text }, SessionTokens);

/** Ends the session that this request came with. */
export const logOut = mutation('identity.log_out', {});

/** The signed-in user; null where nobody is. */
export const me = query('identity.me', {}, orNull(User));

/** Exchanges a refresh token for new tokens. A token is good for one exchange; using it again ends the session. */
export const refreshSession = mutation('identity.refresh_session', { refreshToken: pg.text }, SessionTokens);

/** Removes the caller's account and everything personal in it. What they wrote to others stays, without their name. */
export const removeAccount = mutation('identity.remove_account', {});

/** Sends a 6-digit code to a phone, to sign up (with a display name) or to log in. The answer is the same either way. */
export const requestCode = mutation('identity.request_code', {
  phone: pg.text,
  displayName: optional(pg.text),
}, CodeRequest);

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
