import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { checkName, NotStored, type Storage, type Stored } from './storage.ts';

/** Files in a folder, for their owner alone. One that is being written is called NAME.….partial until it is whole and on disk. */
export function folderStorage(folder: string): Storage {
  const fileOf = (name: string): string => path.join(folder, checkName(name));
  return {
    place: folder,
    async put(name, from, signal) {
      const file = fileOf(name);
      const draft = `${file}.${randomBytes(4).toString('hex')}.partial`;
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      try {
        const writer = createWriteStream(draft, { mode: 0o600, flush: true });
        await pipeline(Readable.from(from, { objectMode: false }), writer, { ...(signal && { signal }) });
        await rename(draft, file);
        await flushFolder(path.dirname(file));
        return writer.bytesWritten;
      } catch (error) {
        await rm(draft, { force: true });
        throw error;
      }
    },
    async get(name, signal, part) {
      await stat(fileOf(name)).catch((error: NodeJS.ErrnoException) => {
        throw error.code === 'ENOENT' ? new NotStored(name, folder) : error;
      });
      // By its name: from an open file Deno reads nothing.
      return createReadStream(fileOf(name), { ...(signal && { signal }), ...part });
    },
    async list(prefix) {
      const found: Stored[] = [];
      for (const name of await filesIn(folder, path.posix.dirname(`${prefix}x`))) {
        if (!name.startsWith(prefix)) continue;
        const { size, mtime } = await stat(path.join(folder, name)).catch(() => ({ size: -1, mtime: new Date(0) }));
        if (size >= 0) found.push({ name, bytes: size, at: mtime });
      }
      return found.sort((one, other) => (one.name < other.name ? -1 : 1));
    },
    async remove(name) {
      const file = fileOf(name);
      await rm(file, { force: true });
      // The folders that it was the last in go, too.
      for (let above = path.dirname(file); above !== folder; above = path.dirname(above)) {
        if (
          !(await rmdir(above).then(
            () => true,
            () => false,
          ))
        )
          return;
      }
    },
  };
}

/** The files in a part of the folder, by their names in the whole. */
async function filesIn(folder: string, part: string): Promise<string[]> {
  const entries = await readdir(path.join(folder, part), { recursive: true, withFileTypes: true }).catch((error) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
}

/** A new name is on disk when its folder is. Not every system can say so of a folder. */
async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}
