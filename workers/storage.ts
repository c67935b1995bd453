import path from 'node:path';
import type { Readable } from 'node:stream';
import { Refusal } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
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
  /** @throws NotStored where there is nothing of that name. */
  get(name: string, signal?: AbortSignal): Promise<Readable>;
  /** Everything whose name begins so, by name. */
  list(prefix: string): Promise<Stored[]>;
  /** Removes it where it is there. */
  remove(name: string): Promise<void>;
};

/** There is nothing of that name. */
export class NotStored extends Error {
  readonly storedName: string;

  constructor(name: string, place: string) {
    super(`${name} is not in ${place}`);
    this.name = 'NotStored';
    this.storedName = name;
  }
}

type StorageSettings = Pick<Settings, 's3Endpoint' | 's3Key' | 's3Secret' | 's3Region'>;

/**
 * Opens a storage.
 *
 * @param where a path, or s3://bucket/prefix: then the S3 settings say which S3.
 * @throws Refusal for an s3:// address without a bucket or without its keys.
 */
export function openStorage(where: string, settings: StorageSettings): Storage {
  if (!where.startsWith('s3://')) return folderStorage(path.resolve(where));
  const [bucket = '', ...prefix] = where.slice('s3://'.length).replace(/\/+$/, '').split('/');
  if (!bucket) throw new Refusal(`${where} names no bucket.`, { remedy: 'Write it as s3://bucket/prefix.' });
  const { s3Endpoint, s3Key, s3Secret, s3Region } = settings;
  if (!s3Key || !s3Secret) {
    throw new Refusal(`${where} needs a key to S3.`, { remedy: 'Set S3_KEY and S3_SECRET.' });
  }
  const endpoint = s3Endpoint ?? `https://s3.${s3Region}.amazonaws.com`;
  return s3Storage({ endpoint, bucket, prefix: prefix.join('/'), key: s3Key, secret: s3Secret, region: s3Region });
}

/** A name that stays within its storage. */
export function checkName(name: string): string {
  const isPlain =
    /^[\w.~-]+(\/[\w.~-]+)*$/.test(name) && !name.split('/').some((part) => part === '.' || part === '..');
  if (!isPlain) throw new Error(`"${name}" is not a name for a stored file`);
  return name;
}
