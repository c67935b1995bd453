import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';

// A sealed file: magic, id of the key, salt; then the text in chunks, each encrypted by AES-256-GCM with its tag behind it. The key is
// derived from the salt and the name, so that a file cannot stand in for another; the nonce of a chunk is its number and whether it is
// the last, so that none can be left out, doubled or moved, nor the end cut off.

const magic = Buffer.from('plinth\x01\n', 'latin1');
const idBytes = 8;
const saltBytes = 16;
const headBytes = magic.length + idBytes + saltBytes;
const chunkBytes = 256 * 1024;
const tagBytes = 16;

/** Tells one key from another, and nothing of it. */
export function keyId(key: Uint8Array): string {
  return idOf(key).toString('hex');
}

function idOf(key: Uint8Array): Buffer {
  return createHash('sha256').update('plinth backup key').update(key).digest().subarray(0, idBytes);
}

function fileKey(key: Uint8Array, salt: Uint8Array, name: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, salt, `plinth backup file ${name}`, 32));
}

function nonce(number: number, isLast: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(number, 7);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}

/** Encrypts a stream of bytes as the file of that name. */
export async function* seal(from: AsyncIterable<Uint8Array>, key: Uint8Array, name: string): AsyncGenerator<Buffer> {
  const salt = randomBytes(saltBytes);
  yield Buffer.concat([magic, idOf(key), salt]);
  const own = fileKey(key, salt, name);
  let number = 0;
  for await (const [chunk, isLast] of inChunks(from, chunkBytes)) {
    const cipher = createCipheriv('aes-256-gcm', own, nonce(number, isLast));
    yield Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
    number += 1;
  }
}

/** What was sealed is not as it was written, or was sealed as another file. */
export class Broken extends Error {}

/** None of the keys is the one that it was sealed with. */
export class WrongKey extends Error {}

/**
 * Decrypts what `seal` has made. Nothing of a chunk is given before it is known to be authentic.
 *
 * @throws Broken, WrongKey
 */
export async function* unseal(
  from: AsyncIterable<Uint8Array>,
  keys: Uint8Array[],
  name: string,
): AsyncGenerator<Uint8Array> {
  let own: Uint8Array | undefined;
  let number = 0;
  for await (const [chunk, isLast] of inChunks(behindHead(from), chunkBytes + tagBytes)) {
    if (!own || chunk.length < tagBytes) throw new Broken('it is cut short');
    const decipher = createDecipheriv('aes-256-gcm', own, nonce(number, isLast));
    decipher.setAuthTag(chunk.subarray(chunk.length - tagBytes));
    const text = decipher.update(chunk.subarray(0, chunk.length - tagBytes));
    try {
      decipher.final();
    } catch {
      throw new Broken('it was altered or cut short');
    }
    yield text;
    number += 1;
  }

  async function* behindHead(all: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let head = Buffer.alloc(0);
    for await (const bytes of all) {
      if (own) {
        yield bytes;
        continue;
      }
      head = Buffer.concat([head, bytes]);
      if (head.length < headBytes) continue;
      if (!head.subarray(0, magic.length).equals(magic)) throw new Broken('it is not an encrypted file of a backup');
      const id = head.subarray(magic.length, magic.length + idBytes);
      const key = keys.find((each) => idOf(each).equals(id));
      if (!key) throw new WrongKey(`it was encrypted with the key ${id.toString('hex')}`);
      own = fileKey(key, head.subarray(magic.length + idBytes, headBytes), name);
      yield head.subarray(headBytes);
    }
  }
}

/** Cuts a stream into pieces of one size; the last may be shorter or empty, and there is always one. */
async function* inChunks(from: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<[Uint8Array, boolean]> {
  let held: Uint8Array[] = [];
  let length = 0;
  for await (const bytes of from) {
    held.push(bytes);
    length += bytes.length;
    if (length <= size) continue;
    const all = Buffer.concat(held, length);
    let begin = 0;
    // What may be the last is kept back until more comes.
    for (; length - begin > size; begin += size) yield [all.subarray(begin, begin + size), false];
    held = [all.subarray(begin)];
    length -= begin;
  }
  yield [Buffer.concat(held, length), true];
}
