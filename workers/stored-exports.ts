import { Readable } from 'node:stream';
import { z } from 'zod';
import { keptExports } from '../functions/account-exports.ts';
import { Refusal } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { openStorage } from '../functions/storage.ts';
import { seal, unseal } from './seal.ts';
import type { Task } from './task.ts';

// Exports stand beside the backups, encrypted by the same key.
const folder = 'exports';
const sealed = '.sealed';

/**
 * Stores the file of an export. The same export again replaces it.
 *
 * @param name its id, with what its format is called by.
 * @returns what it is called in the storage, and how large it is there.
 * @throws Refusal where there is no key to encrypt it with, and it was not said that it needs none.
 */
export async function storeExport(
  settings: Settings,
  name: string,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<{ file: string; bytes: number }> {
  const [key] = settings.backupKey ?? [];
  if (!key && !settings.development && !settings.backupPlain) {
    throw new Refusal('There is no key to encrypt the export with (BACKUP_KEY).', {
      remedy: 'Set BACKUP_KEY, or BACKUP_PLAIN=true.',
    });
  }
  const file = `${folder}/${name}${key ? sealed : ''}`;
  const storage = openStorage(settings.backupStorage, settings);
  return { file, bytes: await storage.put(file, key ? seal(content, key, file) : content, signal) };
}

const nothing = z.strictObject({});

/** Removes the files of exports that have expired, or whose user has gone. */
export const pruneExportsTask: Task<z.output<typeof nothing>> = {
  name: 'prune_exports',
  payload: nothing,
  async run(_, { databaseUrl, settings }) {
    const storage = openStorage(settings.backupStorage, settings);
    // Listed first: what is begun meanwhile is not in the list. What is being written has its export's id already.
    const stored = await storage.list(`${folder}/`);
    const kept = await keptExports(databaseUrl);
    const gone = stored.filter(({ name }) => !kept.has(name.slice(folder.length + 1).split('.')[0] as string));
    for (const { name } of gone) await storage.remove(name);
    return { removed: gone.length };
  },
};

/** Reads an export as it is downloaded: compressed, and no longer encrypted. */
export function openExports(settings: Settings): (file: string) => Promise<Readable> {
  return async (file) => {
    const stored = await openStorage(settings.backupStorage, settings).get(file);
    if (!file.endsWith(sealed)) return stored;
    return Readable.from(unseal(stored, settings.backupKey ?? [], file), { objectMode: false });
  };
}
