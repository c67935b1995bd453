import { hash } from '@node-rs/argon2';
import { Overloaded } from './turns.ts';

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const parameters = { algorithm: 2, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;

// A hash takes a core for some 20 ms and 19 MiB: only so many at once, and only so many waiting.
const mostAtOnce = 2;
const mostWaiting = 200;
let running = 0;
const waiting: (() => void)[] = [];

/**
 * Hashes a password with argon2id, in the PHC string form `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
 *
 * @param like a PHC string whose parameters and salt to use, so that equal passwords give equal strings; a new salt without it.
 * @throws Overloaded where too many wait already.
 */
export async function hashPassword(password: string, like?: string): Promise<string> {
  if (waiting.length >= mostWaiting) throw new Overloaded('Too many passwords wait to be checked.');
  if (running < mostAtOnce) running += 1;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await hash(password, like ? parse(like) : parameters);
  } finally {
    // Whoever waited longest takes this place over.
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }
}

function parse(phc: string): Parameters<typeof hash>[1] {
  const [, m, t, p, salt] = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)/.exec(phc) ?? [];
  if (!salt) throw new Error('A salt is an argon2id string: $argon2id$v=19$m=…,t=…,p=…$salt');
  return {
    algorithm: parameters.algorithm,
    memoryCost: Number(m),
    timeCost: Number(t),
    parallelism: Number(p),
    salt: Buffer.from(salt, 'base64'),
  };
}
