import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { Refusal } from '../functions/refusal.ts';
import { brokenBackup, type Shelf, unfit } from './backup-files.ts';
import { keyId, seal, unseal } from './seal.ts';
import { NotStored, type Storage } from './storage.ts';

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

/** @throws Refusal where there is no such backup, it was not finished, its manifest was altered, or no key opens it. */
export async function readManifest({ storage, backup, keys }: Shelf): Promise<Manifest> {
  const path = `${backup}/${fileName}`;
  const stored = await storage.get(path).then(text, async (error) => {
    if (!(error instanceof NotStored)) throw error;
    const some = await storage.list(`${backup}/`);
    const remedy = 'npm run backup -- list';
    if (some.length > 0) throw new Refusal(`The backup ${backup} was not finished.`, { remedy, cause: error });
    throw new Refusal(`There is no backup ${backup} in ${storage.place}.`, { remedy, cause: error });
  });
  const frame = frameSchema.safeParse(json(stored)).data;
  if (!frame) throw unfit(backup, `${fileName} is not as it was written`);
  let content = frame.manifest ?? '';
  if (frame.key !== null) {
    const sealed = one(Buffer.from(frame.sealed ?? '', 'base64url'));
    content = await whole(unseal(sealed, keys, path)).then(String, (error) => {
      throw brokenBackup(backup, fileName, error);
    });
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

async function whole(from: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of from) parts.push(part);
  return Buffer.concat(parts);
}
