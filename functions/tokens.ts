import { errors, jwtVerify, SignJWT } from 'jose';
import type { ApiRole } from './catalog.ts';
import type { SigningKey } from './signing-keys.ts';

/** What an access token says: the user, the session, and the role that requests run as. */
export type Claims = { sub?: string; sid?: string; role: ApiRole };

/** How long an access token lives, in seconds. */
const tokenLifetime = 15 * 60;

export type Tokens = {
  /** Signs claims with the newest key. */
  sign(claims: Claims): Promise<string>;
  /**
   * The claims of a token, and when it ends, in milliseconds.
   *
   * @throws an error whose message can be told to the client.
   */
  verify(token: string): Promise<{ claims: Claims; endsAt: number }>;
};

const mostRemembered = 10_000;

/**
 * Signs and verifies access tokens (JWT, HS256).
 *
 * @param keys newest first: the first signs, each verifies the tokens that name it (`kid`).
 */
export function openTokens(keys: SigningKey[]): Tokens {
  const [newest] = keys;
  if (!newest) throw new Error('There is no key to sign with');
  // A token is verified once and then known until it ends: clients send the same one with every request.
  const remembered = new Map<string, { claims: Claims; endsAt: number }>();

  return {
    sign: (claims) =>
      new SignJWT({ ...claims })
        .setProtectedHeader({ alg: 'HS256', kid: newest.kid, typ: 'JWT' })
        .setIssuedAt()
        .setExpirationTime(`${tokenLifetime}s`)
        .sign(newest.key),

    async verify(token) {
      const known = remembered.get(token);
      if (known && known.endsAt > Date.now()) return known;
      try {
        const { payload } = await jwtVerify(
          token,
          ({ kid }) => {
            const signer = keys.find((each) => each.kid === kid);
            if (!signer) throw new errors.JWKSNoMatchingKey();
            return signer.key;
          },
          { algorithms: ['HS256'], requiredClaims: ['exp', 'role'] },
        );
        const claims = { sub: payload.sub, sid: payload.sid, role: payload.role } as Claims;
        if (remembered.size >= mostRemembered) remembered.clear();
        const verified = { claims, endsAt: (payload.exp as number) * 1000 };
        remembered.set(token, verified);
        return verified;
      } catch (cause) {
        remembered.delete(token);
        const expired = cause instanceof errors.JWTExpired;
        throw new Error(
          expired ? 'The access token has expired; refresh the session.' : 'The access token is not valid.',
          { cause },
        );
      }
    },
  };
}
