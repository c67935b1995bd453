import { createHash } from 'node:crypto';
import { fileTypeFromBuffer } from 'file-type';
import type { Storage } from './storage.ts';

/** What the bytes of a file are. */
export type Taken = { sha256: string; bytes: number; mediaType: string };

/** Why a file was not taken: it is too large, whoever sent it broke off or was too slow, or the storage failed. */
export class NotTaken extends Error {
  readonly reason: 'too large' | 'cut short' | 'too slow' | 'storage';

  constructor(reason: NotTaken['reason'], cause?: unknown) {
    super(`the file was not taken: ${reason}`, { cause });
    this.name = 'NotTaken';
    this.reason = reason;
  }
}

// Enough to tell every kind of file that is told by its beginning.
const headBytes = 64 * 1024;

/**
 * Writes a file into a storage as it comes, and tells what it is. What fails leaves nothing there.
 *
 * @param limits.most the largest that is taken, in bytes.
 * @param limits.patience how long the next bytes may take to come, in milliseconds.
 * @throws NotTaken
 */
export async function takeIn(
  storage: Storage,
  stored: string,
  from: AsyncIterable<Uint8Array>,
  { most, patience, signal }: { most: number; patience: number; signal: AbortSignal },
): Promise<Taken> {
  const hash = createHash('sha256');
  const heads: Uint8Array[] = [];
  let bytes = 0;
  let broken: NotTaken | undefined;
  async function* measured(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of inTime(from, patience)) {
        if (bytes < headBytes) heads.push(chunk.subarray(0, headBytes - bytes));
        bytes += chunk.length;
        if (bytes > most) throw new NotTaken('too large');
        hash.update(chunk);
        yield chunk;
      }
    } catch (error) {
      // Kept: what a storage makes of an error of ours is its own.
      broken = error instanceof NotTaken ? error : new NotTaken('cut short', error);
      throw broken;
    }
  }
  try {
    await storage.put(stored, measured(), signal);
  } catch (error) {
    if (broken) throw broken;
    throw new NotTaken(signal.aborted ? 'cut short' : 'storage', error);
  }
  return { sha256: hash.digest('hex'), bytes, mediaType: await mediaTypeOf(Buffer.concat(heads)) };
}

async function* inTime(from: AsyncIterable<Uint8Array>, patience: number): AsyncGenerator<Uint8Array> {
  const reader = from[Symbol.asyncIterator]();
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new NotTaken('too slow')), patience).unref();
      });
      const next = await Promise.race([reader.next(), late]).finally(() => clearTimeout(timer));
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not waited for: a reader that is stuck would never end.
    reader.return?.()?.catch(() => {});
  }
}

/** What a file is, by its first bytes: nobody's word is taken for it. */
async function mediaTypeOf(head: Uint8Array): Promise<string> {
  const known = await fileTypeFromBuffer(head).catch(() => undefined);
  if (known) return known.mime.split(';', 1)[0] as string;
  return isText(head) ? 'text/plain' : 'application/octet-stream';
}

function isText(head: Uint8Array): boolean {
  if (head.some((byte) => byte < 32 && ![9, 10, 12, 13, 27].includes(byte))) return false;
  try {
    // The last letter may be cut off.
    new TextDecoder('utf-8', { fatal: true }).decode(head, { stream: true });
    return true;
  } catch {
    return false;
  }
}
