import { createHmac } from 'node:crypto';
import { connected } from './connection.ts';
import { Refusal } from './refusal.ts';

const role = 'plinth_server';

/**
 * The URL by which the server logs in as plinth_server. Its password follows from the owner's, so that every server of one database
 * comes to the same one without it being kept anywhere; it is set where it is not yet that.
 *
 * @param ownerUrl the owner's connection to the database.
 * @throws Refusal where the role cannot log in and the owner may not change that.
 */
export async function serverUrl(ownerUrl: string): Promise<string> {
  const url = new URL(ownerUrl);
  const { username: owner, password: secret } = url;
  url.username = role;
  url.password = secret
    ? createHmac('sha256', decodeURIComponent(secret)).update(`${role} of ${owner}`).digest('hex')
    : '';
  const first = await logIn(url.href);
  if (!first) return url.href;
  if (secret) {
    await setPassword(ownerUrl, url.password);
    if (!(await logIn(url.href))) return url.href;
  }
  throw new Refusal(`The role ${role} cannot log in: ${first.message}`, {
    remedy: `Give it a password (alter role ${role} password '…') and set SERVER_DATABASE_URL to its connection.`,
    cause: first,
  });
}

/**
 * The URL by which the server logs in to a replica: with the name and password of the primary, whose roles it has.
 *
 * @param url the server's connection to the primary.
 */
export function replicaUrl(readUrl: string, url: string): string {
  const replica = new URL(readUrl);
  if (replica.username === role) return replica.href;
  const { username, password } = new URL(url);
  return Object.assign(replica, { username, password }).href;
}

const patience = { connectionTimeoutMillis: 10_000 };

async function logIn(url: string): Promise<Error | undefined> {
  return connected(url, async () => undefined, patience).catch((error: Error) => error);
}

async function setPassword(ownerUrl: string, password: string): Promise<void> {
  try {
    await connected(
      ownerUrl,
      (client) => client.query(`alter role ${role} password ${client.escapeLiteral(password)}`),
      patience,
    );
  } catch (cause) {
    throw new Refusal(
      `The role ${role} has another password, and the owner may not set it: ${(cause as Error).message}`,
      { remedy: 'Set SERVER_DATABASE_URL to the connection of plinth_server.', cause },
    );
  }
}
