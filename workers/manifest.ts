import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { Refusal } from '../functions/refusal.ts';
import { NotStored, type Storage } from '../functions/storage.ts';
import { type BackupFile, brokenBackup, type Shelf, unfit } from './backup-files.ts';
import { keyId, seal, unseal, WrongKey } from './seal.ts';

// manifest.json of a backup: what it holds. It is written last, so a backup without it is none. A plain frame tells whether, and with
// which key, it is encrypted.

const count = z.number().int().nonnegative();
const fileSchema = z.object({ name: z.string(), bytes: count, sha256: z.string() });
const named = { schema: z.string(), name: z.string() };

const manifestSchema = z.object({
  name: z.string(),
  kind: z.enum(['daily', 'weekly', 'monthly']),
  form: z.enum(['portable', 'pg_dump']),
  parts: z.string(),
  startedAt: z.string(),
  /** The moment whose data it holds. */
  at: z.string(),
  finishedAt: z.string(),
  /** Postgres's version, and its major; that of pg_dump where it wrote it. */
  version: z.string(),
  major: z.number(),
  /** The role that it was made by, to which belongs what does not belong to Plinth's own roles. */
  owner: z.string(),
  dumpMajor: z.number().nullable(),
  compression: z.enum(['zstd', 'gzip', 'none']),
  schemaHash: z.string(),
  /** schema.sql as it was applied; null for data alone. */
  schemaFile: fileSchema.nullable(),
  schemas: z.array(z.string()),
  tables: z.array(
    z.object({
      ...named,
      columns: z.array(z.string()),
      rows: count,
      checksum: z.string(),
      /** Its rows; null where pg_dump wrote them. */
      file: fileSchema.nullable(),
    }),
  ),
  partitions: z.array(
    z.object({
      ...named,
      parentSchema: z.string(),
      parent: z.string(),
      bound: z.string(),
      key: z.string().nullable(),
      isSecured: z.boolean(),
    }),
  ),
  sequences: z.array(z.object({ ...named, value: z.string().nullable() })),
  /** What pg_dump wrote. */
  dump: z.array(fileSchema),
  rows: count,
  bytes: count,
});
export type Manifest = z.output<typeof manifestSchema>;

const frameSchema = z.object({
  plinth: z.literal('backup'),
  version: z.literal(1),
  /** The id of the key; null where it is not encrypted. */
  key: z.string().nullable(),
  /** The manifest: as base64url where it is encrypted, else as text with its hash. */
  sealed: z.string().optional(),
  sha256: z.string().optional(),
  manifest: z.string().optional(),
});

const fileName = 'manifest.json';
// One of a thousand tables and partitions takes a megabyte. It is read whole before it is known who wrote it.
const largest = 64 * 2 ** 20;

/** Every file that a backup holds beside its manifest. */
export function filesOf({ schemaFile, tables, dump }: Pick<Manifest, 'schemaFile' | 'tables' | 'dump'>): BackupFile[] {
  return [schemaFile, ...tables.map(({ file }) => file), ...dump].filter((file) => file !== null);
}

/** Stores it: from then on the backup counts. */
export async function writeManifest({ storage, backup, keys }: Shelf, manifest: Manifest): Promise<void> {
  const [key] = keys;
  const content = JSON.stringify(manifest);
  const path = `${backup}/${fileName}`;
  const frame: z.output<typeof frameSchema> = key
    ? {
        plinth: 'backup',
        version: 1,
        key: keyId(key),
        sealed: (await whole(seal(one(content), key, path))).toString('base64url'),
      }
    : { plinth: 'backup', version: 1, key: null, sha256: hashOf(content), manifest: content };
  await storage.put(path, Readable.from([Buffer.from(JSON.stringify(frame))]));
}

/**
 * @throws Refusal where there is no such backup, it was not finished, its manifest was altered, no key opens it, or it is in the clear
 *   though there are keys: whoever can write to the storage could have put it there, and what it holds is run as the owner.
 */
export async function readManifest({ storage, backup, keys }: Shelf): Promise<Manifest> {
  const path = `${backup}/${fileName}`;
  const file = await storage.get(path).catch(async (error) => {
    if (!(error instanceof NotStored)) throw error;
    const some = await storage.list(`${backup}/`);
    const remedy = 'npm run backup -- list';
    if (some.length > 0) throw new Refusal(`The backup ${backup} was not finished.`, { remedy, cause: error });
    throw new Refusal(`There is no backup ${backup} in ${storage.place}.`, { remedy, cause: error });
  });
  const stored = await whole(file, largest);
  const frame = stored && frameSchema.safeParse(json(String(stored))).data;
  if (!frame) throw unfit(backup, `${fileName} is not as it was written`);
  let content = frame.manifest ?? '';
  if (frame.key !== null) {
    const sealed = one(Buffer.from(frame.sealed ?? '', 'base64url'));
    content = await whole(unseal(sealed, keys, path)).then(String, (error) => {
      throw brokenBackup(backup, fileName, error);
    });
  } else if (keys.length > 0) {
    throw new Refusal(
      `The backup ${backup} is not encrypted: it may come from anyone who can write to ${storage.place}.`,
      {
        remedy: 'Leave BACKUP_KEY out for this one if you know where it comes from.',
        cause: new WrongKey('it was not encrypted'),
      },
    );
  } else if (hashOf(content) !== frame.sha256) throw unfit(backup, `${fileName} was altered`);
  const manifest = manifestSchema.safeParse(json(content)).data;
  if (manifest?.name !== backup) throw unfit(backup, `${fileName} is not as it was written`);
  return manifest;
}

/** The names of the backups that were finished, the newest first; and of what else is there, with when it was last written to. */
export async function backupsIn(storage: Storage): Promise<{ finished: string[]; others: Map<string, Date> }> {
  const names = new Map<string, Date>();
  const finished = new Set<string>();
  for (const { name, at } of await storage.list('')) {
    const [backup = '', file = '', ...more] = name.split('/');
    if (!backupName.test(backup)) continue;
    if (file === fileName && more.length === 0) finished.add(backup);
    names.set(backup, new Date(Math.max(+at, +(names.get(backup) ?? 0))));
  }
  const others = new Map([...names].filter(([name]) => !finished.has(name)));
  return { finished: [...finished].sort().reverse(), others };
}

const backupName = /^\d{8}T\d{6}Z-[0-9a-f]{4}$/;

/** Removes a backup. Its manifest goes first: a backup that is half removed is none. */
export async function removeBackup(storage: Storage, backup: string): Promise<void> {
  await storage.remove(`${backup}/${fileName}`);
  for (const { name } of await storage.list(`${backup}/`)) await storage.remove(name);
}

function json(given: string): unknown {
  try {
    return JSON.parse(given);
  } catch {
    return undefined;
  }
}

function hashOf(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}

async function* one(content: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield Buffer.from(content);
}

/** All of a stream; nothing where that is more than `most` bytes. */
async function whole(from: AsyncIterable<Uint8Array>): Promise<Buffer>;
async function whole(from: AsyncIterable<Uint8Array>, most: number): Promise<Buffer | undefined>;
async function whole(from: AsyncIterable<Uint8Array>, most = Number.POSITIVE_INFINITY): Promise<Buffer | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of from) {
    length += part.length;
    if (length > most) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
