import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { type BackupFile, type Shelf, store } from './backup-files.ts';
import { lanes } from './lanes.ts';
import { runTool, type Tool } from './postgres-tools.ts';
import type { BackupWork } from './task.ts';

// What can be made again from the rest: their tables are none of Plinth's.
const derived = ['graphile_worker', 'pgboss'];

/** Stores what pg_dump writes of a moment. pg_dump needs a folder for it first: in PLINTH_DATA, for this user alone. */
export async function dump(
  { databaseUrl, settings, signal }: Pick<BackupWork, 'databaseUrl' | 'settings' | 'signal'>,
  shelf: Shelf,
  { tool, snapshot }: { tool: Tool; snapshot: string },
): Promise<BackupFile[]> {
  return inFolder(settings.plinthData, async (folder) => {
    const target = path.join(folder, 'dump');
    const run = (compression: string): Promise<void> =>
      runTool(
        tool.program,
        [
          ...['--format=directory', `--file=${target}`, `--jobs=${lanes}`, `--snapshot=${snapshot}`, compression],
          ...['--no-password', ...derived.map((schema) => `--exclude-schema=${schema}`)],
        ],
        databaseUrl,
        signal,
      );
    if (tool.major < 16) await run('--compress=5');
    else {
      // One that was built without zstd says so before it begins.
      await run('--compress=zstd').catch(async (error: Error) => {
        if (!/zstd/i.test(error.message)) throw error;
        await rm(target, { recursive: true, force: true });
        await run('--compress=gzip:5');
      });
    }
    const files: BackupFile[] = [];
    for (const file of (await readdir(target)).sort()) {
      const from = createReadStream(path.join(target, file));
      files.push(await store(shelf, { name: `dump/${file}`, from, compression: 'none' }, signal));
      await rm(path.join(target, file));
    }
    return files;
  });
}

/** Runs `work` with a folder that is there as long as it runs; what a process that was killed left behind goes after a day. */
export async function inFolder<Result>(data: string, work: (folder: string) => Promise<Result>): Promise<Result> {
  const begin = 'backup-';
  await mkdir(data, { recursive: true });
  for (const name of await readdir(data)) {
    const left = path.join(data, name);
    const isOld = name.startsWith(begin) && Date.now() - +(await stat(left)).mtime > 86_400_000;
    if (isOld) await rm(left, { recursive: true, force: true });
  }
  const folder = await mkdtemp(path.join(data, begin));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
