import path from 'node:path';
import type { Readable } from 'node:stream';
import { Refusal } from './refusal.ts';
import type { Settings } from './settings.ts';
import { folderStorage } from './storage-folder.ts';
import { s3Storage } from './storage-s3.ts';

/** Something stored: its name within the storage, and its size. */
export type Stored = { name: string; bytes: number; at: Date };

/** A place for files that are written once. A name is a path with slashes; it appears when all of it has been written, never before. */
export type Storage = {
  /** What to call the place to a person; no secrets. */
  place: string;
  /** Writes what a stream gives, holding little of it in memory; gives how many bytes. What is there already is replaced. */
  put(name: string, from: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<number>;
  /**
   * @param part the first and the last byte that are wanted; all of them otherwise.
   * @throws NotStored where there is nothing of that name.
   */
  get(name: string, signal?: AbortSignal, part?: Part): Promise<Readable>;
  /** Everything whose name begins so, by name. */
  list(prefix: string): Promise<Stored[]>;
  /** Removes it where it is there. */
  remove(name: string): Promise<void>;
  /** An address to which a client may PUT so many bytes, for so many seconds; of a storage that takes them itself. */
  presign?(name: string, bytes: number, seconds: number): Promise<string>;
};

export type Part = { start: number; end: number };

/** How long a storage may take to answer, in milliseconds, and how often it is asked. */
export type Patience = { answersWithin: number; tries: number };

/** There is nothing of that name. */
export class NotStored extends Error {
  readonly storedName: string;

  constructor(name: string, place: string) {
    super(`${name} is not in ${place}`);
    this.name = 'NotStored';
    this.storedName = name;
  }
}

type StorageSettings = Pick<Settings, 's3Endpoint' | 's3PublicEndpoint' | 's3Key' | 's3Secret' | 's3Region'>;

/**
 * Opens a storage.
 *
 * @param where a path, or s3://bucket/prefix: then the S3 settings say which S3.
 * @param patience of whoever waits for it; a backup can wait long.
 * @throws Refusal for an s3:// address without a bucket or without its keys.
 */
export function openStorage(
  where: string,
  settings: StorageSettings,
  patience: Patience = { answersWithin: 120_000, tries: 4 },
): Storage {
  if (!where.startsWith('s3://')) return folderStorage(path.resolve(where));
  const [bucket = '', ...prefix] = where.slice('s3://'.length).replace(/\/+$/, '').split('/');
  if (!bucket) throw new Refusal(`${where} names no bucket.`, { remedy: 'Write it as s3://bucket/prefix.' });
  const { s3Endpoint, s3PublicEndpoint, s3Key, s3Secret, s3Region } = settings;
  if (!s3Key || !s3Secret) {
    throw new Refusal(`${where} needs a key to S3.`, { remedy: 'Set S3_KEY and S3_SECRET.' });
  }
  const endpoint = s3Endpoint ?? `https://s3.${s3Region}.amazonaws.com`;
  return s3Storage(
    {
      endpoint,
      publicEndpoint: s3PublicEndpoint ?? endpoint,
      bucket,
      prefix: prefix.join('/'),
      key: s3Key,
      secret: s3Secret,
      region: s3Region,
    },
    patience,
  );
}

/** A name that stays within its storage. */
export function checkName(name: string): string {
  const isPlain =
    /^[\w.~-]+(\/[\w.~-]+)*$/.test(name) && !name.split('/').some((part) => part === '.' || part === '..');
  if (!isPlain) throw new Error(`"${name}" is not a name for a stored file`);
  return name;
}
