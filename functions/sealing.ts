import { Buffer } from 'node:buffer';

// Envelope encryption by WebCrypto: what is secret is encrypted with a key of its own, that key with the master key. To replace
// the master key, only the small keys are encrypted anew.

/** What a platform lets one in by, by name. `webhook_secret` is ours: what the platform has to send along. */
export type Credentials = Record<string, string>;

/** What is stored: base64 of nonce and ciphertext with its tag. */
type Envelope = { wrapped: string; sealed: string };

export type Sealed = { sealed: Envelope; key_id: string };

const nonceBytes = 12;
const mostBytes = 64 * 1024;
/** Of what requests are signed with. */
export const leastSecret = 16;
const purposes = { key: 'plinth credentials key', text: 'plinth credentials' };

/** There is no key to encrypt with, or none that it was encrypted with. */
export class NoKey extends Error {
  readonly code = 'PT409';
  readonly hint = 'Whoever runs the place sets CREDENTIALS_KEY.';
}

class BadCredentials extends Error {
  readonly code = 'PT400';
  readonly column = 'credentials';
}

export type Sealing = {
  /**
   * Encrypts credentials that a client gave as JSON, and adds a webhook secret. The names stay readable.
   *
   * @throws NoKey, and an error with PT400 where they are not texts by name that can be used: told here, since nobody behind sees them.
   */
  seal(json: string): Promise<string>;
  /** @throws NoKey */
  open(held: Sealed): Promise<Credentials>;
  /** The same, with its key encrypted by the newest master key. @throws NoKey */
  reseal(held: Sealed): Promise<Sealed>;
  /** Which key encrypts; undefined where there is none. */
  keyId: string | undefined;
};

/**
 * @param keys master keys of 32 bytes: the first encrypts, all decrypt.
 * @param mayBeHttp whether a `url` among the credentials may be one of plain http.
 */
export async function openSealing(keys: Uint8Array[] = [], mayBeHttp = false): Promise<Sealing> {
  const known = await Promise.all(keys.map(async (key) => ({ id: await idOf(key), key: await imported(key) })));
  const [newest] = known;

  function keyOf(id: string): CryptoKey {
    const found = known.find((each) => each.id === id);
    if (!found) throw new NoKey(`The credentials were encrypted with the key ${id}, which is not set here.`);
    return found.key;
  }

  async function unwrap({ sealed, key_id: id }: Sealed): Promise<Uint8Array<ArrayBuffer>> {
    return decrypt(keyOf(id), sealed.wrapped, purposes.key);
  }

  return {
    keyId: newest?.id,
    async seal(json) {
      if (!newest) throw new NoKey('Credentials cannot be stored: this server has no key to encrypt them with.');
      const given = credentialsOf(json, mayBeHttp);
      const own = crypto.getRandomValues(new Uint8Array(32));
      const secret = given.webhook_secret ?? Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex');
      const text = new TextEncoder().encode(JSON.stringify({ ...given, webhook_secret: secret }));
      return JSON.stringify({
        names: Object.keys(given),
        key_id: newest.id,
        wrapped: await encrypt(newest.key, own, purposes.key),
        sealed: await encrypt(await imported(own), text, purposes.text),
      });
    },
    async open(held) {
      const own = await imported(await unwrap(held));
      return JSON.parse(new TextDecoder().decode(await decrypt(own, held.sealed.sealed, purposes.text)));
    },
    async reseal(held) {
      if (!newest) throw new NoKey('Credentials cannot be encrypted anew: there is no key.');
      const wrapped = await encrypt(newest.key, await unwrap(held), purposes.key);
      return { sealed: { ...held.sealed, wrapped }, key_id: newest.id };
    },
  };
}

function credentialsOf(json: string, mayBeHttp: boolean): Credentials {
  const given: unknown = json.length <= mostBytes && JSON.parse(json);
  const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
  if (isObject && Object.entries(given).every(([name, text]) => name && typeof text === 'string' && text !== '')) {
    for (const [name, text] of Object.entries(given)) {
      const problem = problemOf(name, text, mayBeHttp);
      if (problem) throw new BadCredentials(`The credential ${name} ${problem}.`);
    }
    return given as Credentials;
  }
  throw new BadCredentials('Credentials are an object of texts, such as {"bot_token": "…"}.');
}

/** What is wrong with a credential; nothing of it is in what is said. */
function problemOf(name: string, text: string, mayBeHttp: boolean): string | undefined {
  // What a header can carry: the printable characters of Latin-1. A line that was pasted with its end is none.
  if (!/^[\x20-\x7e\xa0-\xff]+$/.test(text)) return 'has a character that is not of Latin-1';
  if (name === 'secret' && text.length < leastSecret) return `has fewer than ${leastSecret} characters`;
  if (name !== 'url') return undefined;
  const protocol = URL.canParse(text) ? new URL(text).protocol : '';
  if (protocol === 'https:' || (protocol === 'http:' && mayBeHttp)) return undefined;
  return mayBeHttp ? 'is no http or https address' : 'is no https address';
}

/** Tells one key from another, and nothing of it. */
async function idOf(key: Uint8Array): Promise<string> {
  const named = Buffer.concat([Buffer.from(purposes.text), key]);
  return Buffer.from(await crypto.subtle.digest('SHA-256', named)).toString('hex', 0, 8);
}

function imported(key: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', new Uint8Array(key), 'AES-GCM', false, ['encrypt', 'decrypt']);
}

/** @param purpose bound to the text: what was encrypted for one purpose does not decrypt as another. */
async function encrypt(key: CryptoKey, text: Uint8Array<ArrayBuffer>, purpose: string): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(nonceBytes));
  const options = { name: 'AES-GCM', iv, additionalData: new TextEncoder().encode(purpose) };
  const sealed = await crypto.subtle.encrypt(options, key, text);
  return Buffer.concat([iv, new Uint8Array(sealed)]).toString('base64');
}

async function decrypt(key: CryptoKey, from: string, purpose: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(Buffer.from(from, 'base64'));
  const options = {
    name: 'AES-GCM',
    iv: bytes.slice(0, nonceBytes),
    additionalData: new TextEncoder().encode(purpose),
  };
  return new Uint8Array(await crypto.subtle.decrypt(options, key, bytes.slice(nonceBytes)));
}
