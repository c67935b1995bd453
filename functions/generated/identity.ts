// Made from schema.sql by `npm run generate`.
import { z } from 'zod';
import { caller } from '../callers.ts';

/** Someone who uses Plinth. */
export const User = z.object({
  /** The key; rises with the time of sign-up. */
  id: z.guid(),
  /** The name to mention and find them by; unique in any case. */
  username: z.string(),
  /** The name to show, 2 to 100 characters. */
  displayName: z.string(),
  /** What they say of themselves. */
  bio: z.string().nullable(),
  /** The address of their picture. */
  avatarUrl: z.string().nullable(),
  /** Where they say they are. */
  location: z.string().nullable(),
  /** The address of their own page. */
  website: z.string().nullable(),
  /** When they were last active; null for never. */
  lastSeenAt: z.iso.datetime({ offset: true }).nullable(),
  /** When the account was removed; null while it is in use. */
  removedAt: z.iso.datetime({ offset: true }).nullable(),
  /** When they signed up. */
  createdAt: z.iso.datetime({ offset: true }),
  /** When this profile last changed. */
  updatedAt: z.iso.datetime({ offset: true }),
  /** Where they were imported from, and their id there; null otherwise. */
  externalRef: z.string().nullable(),
});
export type User = z.output<typeof User>;
export const userJson = `
  (select to_json(item) from (select
    r.id,
    r.username,
    r.display_name as "displayName",
    r.bio,
    r.avatar_url as "avatarUrl",
    r.location,
    r.website,
    r.last_seen_at as "lastSeenAt",
    r.removed_at as "removedAt",
    r.created_at as "createdAt",
    r.updated_at as "updatedAt",
    r.external_ref as "externalRef"
  ) as item)`;

/** What a signed-in client keeps. */
export const SessionTokens = z.object({
  /** Sent with every request; lives 15 minutes. */
  accessToken: z.json().nullable(),
  /** Good for one refreshSession; never sent elsewhere. */
  refreshToken: z.string().nullable(),
  /** When the session ends unless it is refreshed before. */
  expiresAt: z.iso.datetime({ offset: true }).nullable(),
  /** Who is signed in. */
  user: User.nullable(),
});
export type SessionTokens = z.output<typeof SessionTokens>;
export const sessionTokensJson = `
  (select to_json(item) from (select
    r.access_token as "accessToken",
    r.refresh_token as "refreshToken",
    r.expires_at as "expiresAt",
    (select ${userJson} from (select (r.user).*) as r where not (r is null)) as user
  ) as item)`;

/** A code is on its way, if the recipient can have one. */
export const CodeRequest = z.object({
  /** Names this request: verifyCode needs it beside the code. */
  id: z.guid().nullable(),
  /** The phone number or address it goes to. */
  recipient: z.string().nullable(),
  /** Until when it can be used. */
  expiresAt: z.iso.datetime({ offset: true }).nullable(),
  delivery: z.json().nullable(),
});
export type CodeRequest = z.output<typeof CodeRequest>;
export const codeRequestJson = `
  (select to_json(item) from (select
    r.id,
    r.recipient,
    r.expires_at as "expiresAt",
    r.delivery
  ) as item)`;

/** Whether the user may sign in. */
export const AccountStatus = z.enum(['active', 'inactive', 'banned']);
export type AccountStatus = z.output<typeof AccountStatus>;

/** The private side of a user; each sees only their own. */
export const Account = z.object({
  /** Whose account it is. */
  userId: z.guid(),
  /** Phone number in E.164 form; null for none. */
  phone: z.string().nullable(),
  /** E-mail address; null for none. */
  email: z.string().nullable(),
  /** When the address was verified; null if it was not. */
  emailVerifiedAt: z.iso.datetime({ offset: true }).nullable(),
  /** Whether they may sign in. */
  status: AccountStatus,
  /** Whether they run the place: their requests run as operator. */
  isOperator: z.boolean(),
  /** Their time zone, by its IANA name. */
  timeZone: z.string(),
  /** Their language, as a BCP 47 tag. */
  language: z.string(),
  /** Whatever a client wants to remember for them, up to 16 kB. */
  preferences: z.json(),
});
export type Account = z.output<typeof Account>;
export const accountJson = `
  (select to_json(item) from (select
    r.user_id as "userId",
    r.phone,
    r.email,
    r.email_verified_at as "emailVerifiedAt",
    r.status,
    r.is_operator as "isOperator",
    r.time_zone as "timeZone",
    r.language,
    r.preferences
  ) as item)`;

/**
 * Signs in with an e-mail address and a password.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const logIn = caller({
  sql: 'identity.log_in',
  volatile: true,
  input: z.strictObject({
    email: z.string(),
    password: z.string(),
  }),
  arguments: [
    '"email" => $email::text',
    '"password" => $password::text',
  ],
  json: sessionTokensJson,
  result: SessionTokens,
});

/** Ends the session that this request came with. */
export const logOut = caller({
  sql: 'identity.log_out',
  volatile: true,
  input: z.strictObject({}),
  arguments: [],
  result: z.void(),
});

/** The signed-in user; null where nobody is. */
export const me = caller({
  sql: 'identity.me',
  volatile: false,
  input: z.strictObject({}),
  arguments: [],
  json: userJson,
  result: User.nullable(),
});

/** Exchanges a refresh token for new tokens. A token is good for one exchange; using it again ends the session. */
export const refreshSession = caller({
  sql: 'identity.refresh_session',
  volatile: true,
  input: z.strictObject({
    refreshToken: z.string(),
  }),
  arguments: [
    '"refresh_token" => $refreshToken::text',
  ],
  json: sessionTokensJson,
  result: SessionTokens,
});

/** Removes the caller's account and everything personal in it. What they wrote to others stays, without their name. */
export const removeAccount = caller({
  sql: 'identity.remove_account',
  volatile: true,
  input: z.strictObject({}),
  arguments: [],
  result: z.void(),
});

/** Sends a 6-digit code to a phone, to sign up (with a display name) or to log in. The answer is the same either way. */
export const requestCode = caller({
  sql: 'identity.request_code',
  volatile: true,
  input: z.strictObject({
    phone: z.string(),
    displayName: z.string().nullish(),
  }),
  arguments: [
    '"phone" => $phone::text',
    '"display_name" => $displayName::text',
  ],
  json: codeRequestJson,
  result: CodeRequest,
});

/** Ends one of the caller's sessions, or all of them when `id` is left out; returns how many. */
export const revokeSessions = caller({
  sql: 'identity.revoke_sessions',
  volatile: true,
  input: z.strictObject({
    id: z.guid().nullish(),
  }),
  arguments: [
    '"id" => $id::uuid',
  ],
  json: 'to_json(r)',
  result: z.int32(),
});

/**
 * Users by name or username: any case, part of a word, stems of words, typos. Best match first, then last seen;
 * at most 200.
 */
export const searchUsers = caller({
  sql: 'identity.search_users',
  volatile: false,
  input: z.strictObject({
    query: z.string(),
  }),
  arguments: [
    '"query" => $query::text',
  ],
  json: userJson,
  many: true,
  result: z.array(User),
});

/**
 * Sends a code to an e-mail address; verifyCode then makes the account. The answer is the same if one exists.
 * `password` is an argon2id hash (functions/passwords.ts).
 */
export const signUp = caller({
  sql: 'identity.sign_up',
  volatile: true,
  input: z.strictObject({
    email: z.string(),
    password: z.string(),
    displayName: z.string(),
    username: z.string().nullish(),
  }),
  arguments: [
    '"email" => $email::text',
    '"password" => $password::text',
    '"display_name" => $displayName::text',
    '"username" => $username::text',
  ],
  json: codeRequestJson,
  result: CodeRequest,
});

/** Changes the caller's private settings. What is left out stays. */
export const updateAccount = caller({
  sql: 'identity.update_account',
  volatile: true,
  input: z.strictObject({
    timeZone: z.string().nullish(),
    language: z.string().nullish(),
    preferences: z.json().nullish(),
  }),
  arguments: [
    '"time_zone" => $timeZone::text',
    '"language" => $language::text',
    '"preferences" => $preferences::jsonb',
  ],
  json: accountJson,
  result: Account,
});

/** Changes the caller's profile. What is left out stays; an empty text removes what may be empty. */
export const updateProfile = caller({
  sql: 'identity.update_profile',
  volatile: true,
  input: z.strictObject({
    username: z.string().nullish(),
    displayName: z.string().nullish(),
    bio: z.string().nullish(),
    avatarUrl: z.string().nullish(),
    location: z.string().nullish(),
    website: z.string().nullish(),
  }),
  arguments: [
    '"username" => $username::text',
    '"display_name" => $displayName::text',
    '"bio" => $bio::text',
    '"avatar_url" => $avatarUrl::text',
    '"location" => $location::text',
    '"website" => $website::text',
  ],
  json: userJson,
  result: User,
});

/** The user of that name, in any case; null for none. */
export const userByUsername = caller({
  sql: 'identity.user_by_username',
  volatile: false,
  input: z.strictObject({
    username: z.string(),
  }),
  arguments: [
    '"username" => $username::text',
  ],
  json: userJson,
  result: User.nullable(),
});

/**
 * Spends the code sent for a request (its id is what requestCode and signUp gave): signs up who is new, and signs them
 * in.
 */
export const verifyCode = caller({
  sql: 'identity.verify_code',
  volatile: true,
  input: z.strictObject({
    requestId: z.guid(),
    code: z.string(),
  }),
  arguments: [
    '"request_id" => $requestId::uuid',
    '"code" => $code::text',
  ],
  json: sessionTokensJson,
  result: SessionTokens,
});
