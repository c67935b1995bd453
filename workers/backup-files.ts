import { createHash } from 'node:crypto';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { Refusal } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { NotStored, openStorage, type Storage } from '../functions/storage.ts';
import { Broken, seal, unseal, WrongKey } from './seal.ts';

/** A file of a backup as it is stored. */
export type BackupFile = { name: string; bytes: number; sha256: string };

export type Compression = 'zstd' | 'gzip' | 'none';

// Deno 2.9 has zstd, and loses the end of what it decompresses where that is read as it comes.
const hasZstd = 'createZstdCompress' in zlib && !('Deno' in globalThis);

/** The best that this runtime has. */
export const bestCompression: Compression = hasZstd ? 'zstd' : 'gzip';

const ending: Record<Compression, string> = { zstd: '.zst', gzip: '.gz', none: '' };

function compressor(compression: Compression) {
  if (compression === 'none') return new PassThrough();
  return compression === 'zstd' ? zlib.createZstdCompress() : zlib.createGzip({ level: 5 });
}

function decompressor(compression: Compression) {
  if (compression === 'none') return new PassThrough();
  if (compression === 'gzip') return zlib.createGunzip();
  if (hasZstd) return zlib.createZstdDecompress();
  throw new Refusal('The backup is compressed by zstd, which this runtime cannot read.', {
    remedy: 'Run it on Node 22.18 or newer.',
  });
}

/** Where the files of a backup are: a storage, the backup's name, and the keys; without any nothing is encrypted. */
export type Shelf = { storage: Storage; backup: string; keys: Uint8Array[] };

/** Where the settings say that a backup is. */
export function shelfOf(settings: Settings, backup: string): Shelf {
  return { storage: openStorage(settings.backupStorage, settings), backup, keys: settings.backupKey ?? [] };
}

/** Stores what a stream gives as a file of a backup, compressed and encrypted on the way. */
export async function store(
  { storage, backup, keys }: Shelf,
  given: { name: string; from: Readable; compression: Compression },
  signal?: AbortSignal,
): Promise<BackupFile> {
  const [key] = keys;
  const name = `${given.name}${ending[given.compression]}${key ? '.sealed' : ''}`;
  const hash = createHash('sha256');
  let bytes = 0;
  await pipeline(
    given.from,
    compressor(given.compression),
    async (compressed: AsyncIterable<Uint8Array>) => {
      const written = key ? seal(compressed, key, `${backup}/${name}`) : compressed;
      bytes = await storage.put(`${backup}/${name}`, hashed(written, hash), signal);
    },
    { ...(signal && { signal }) },
  );
  return { name, bytes, sha256: hash.digest('hex') };
}

async function* hashed(
  from: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const bytes of from) {
    hash.update(bytes);
    yield bytes;
  }
}

/**
 * Reads a file of a backup into `into`, whose input fails before its end where the file is not as it was written.
 *
 * @throws Refusal where it is missing, was altered or cut short, or is encrypted with another key.
 */
export async function fetchFile(
  { storage, backup, keys }: Shelf,
  file: BackupFile,
  compression: Compression,
  into: (content: AsyncIterable<Uint8Array>) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const path = `${backup}/${file.name}`;
  const stored = await storage.get(path, signal).catch((error) => {
    throw error instanceof NotStored ? unfit(backup, `${file.name} is missing`, error) : error;
  });
  try {
    await pipeline(
      stored,
      (all: AsyncIterable<Uint8Array>) => unaltered(all, file),
      (all: AsyncIterable<Uint8Array>) => (file.name.endsWith('.sealed') ? unseal(all, keys, path) : all),
      decompressor(compression),
      into,
      { ...(signal && { signal }) },
    );
  } catch (error) {
    throw brokenBackup(backup, file.name, error);
  }
}

async function* unaltered(from: AsyncIterable<Uint8Array>, file: BackupFile): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of from) {
    bytes += chunk.length;
    hash.update(chunk);
    yield chunk;
  }
  if (bytes < file.bytes) throw new Broken(`it is cut short: ${bytes} of ${file.bytes} bytes`);
  if (bytes > file.bytes || hash.digest('hex') !== file.sha256) throw new Broken('it was altered');
}

/** What is wrong with a backup, for a person. */
export function unfit(backup: string, problem: string, cause?: unknown): Refusal {
  return new Refusal(`The backup ${backup} cannot be used: ${problem}.`, {
    remedy: 'Use another one: npm run backup -- list.',
    cause,
  });
}

/** An error of reading a file as a Refusal, where it is the file that is at fault. */
export function brokenBackup(backup: string, name: string, error: unknown): unknown {
  if (error instanceof WrongKey) {
    return new Refusal(`${name} of the backup ${backup} cannot be decrypted: ${error.message}.`, {
      remedy: 'Set BACKUP_KEY to that key, or add it behind a comma.',
      cause: error,
    });
  }
  const code = (error as { code?: string }).code ?? '';
  const isBroken =
    error instanceof Broken || /^(Z_|ZSTD_|ERR_ZSTD|ERR_ZLIB)/.test(code) || code === 'ERR_STREAM_PREMATURE_CLOSE';
  return isBroken ? unfit(backup, `${name}: ${(error as Error).message}`, error) : error;
}
