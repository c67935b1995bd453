import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { z } from 'zod';
import { exportLines, keptExportFiles, noteExported } from '../functions/account-exports.ts';
import { asOwner, connected } from '../functions/connection.ts';
import { Refusal } from '../functions/refusal.ts';
import type { Settings } from '../functions/settings.ts';
import { openStorage } from '../functions/storage.ts';
import { seal, unseal } from './seal.ts';
import type { Task } from './task.ts';

// Exports stand beside the backups, encrypted by the same key.
const folder = 'exports';
const sealed = '.sealed';

const payload = z.strictObject({ export: z.uuid() });

/** Writes all that is kept of a user as compressed lines of JSON. Run twice, it writes the same file again. */
export const exportAccountTask: Task<z.output<typeof payload>> = {
  name: 'export_account',
  payload,
  async run({ export: id }, { databaseUrl, settings, signal, progress }) {
    const [key] = settings.backupKey ?? [];
    if (!key && !settings.development && !settings.backupPlain) {
      throw new Refusal('There is no key to encrypt the export with (BACKUP_KEY).', {
        remedy: 'Set BACKUP_KEY, or BACKUP_PLAIN=true.',
      });
    }
    const name = `${folder}/${id}.jsonl.gz${key ? sealed : ''}`;
    return connected(asOwner(databaseUrl), async (client) => {
      let lines = 0;
      async function* content(): AsyncGenerator<string> {
        for await (const page of exportLines(client, id)) {
          signal.throwIfAborted();
          lines += page.length;
          progress(0.5, `${lines} lines`);
          yield page.join('');
        }
      }
      const gzip = createGzip();
      const source = Readable.from(content(), { objectMode: false });
      source.on('error', (error) => gzip.destroy(error));
      const written = source.pipe(gzip);
      const storage = openStorage(settings.backupStorage, settings);
      const bytes = await storage.put(name, key ? seal(written, key, name) : written, signal);
      await noteExported(client, id, name, bytes);
      return { lines, bytes };
    });
  },
};

const nothing = z.strictObject({});

/** Removes the files of exports that have expired, or whose user has gone. */
export const pruneExportsTask: Task<z.output<typeof nothing>> = {
  name: 'prune_exports',
  payload: nothing,
  async run(_, { databaseUrl, settings }) {
    const storage = openStorage(settings.backupStorage, settings);
    // Listed first: what is finished meanwhile is not in the list.
    const stored = await storage.list(`${folder}/`);
    const kept = await keptExportFiles(databaseUrl);
    const gone = stored.filter(({ name }) => !kept.has(name));
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
