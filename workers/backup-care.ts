import {
  expired,
  newestUnproven,
  noteFailed,
  noteFound,
  noteProven,
  noteRemoved,
} from '../functions/backup-records.ts';
import { connected } from '../functions/connection.ts';
import { Refusal } from '../functions/refusal.ts';
import { openStorage, type Storage } from '../functions/storage.ts';
import { backupsIn, type Manifest, readManifest, removeBackup } from './manifest.ts';
import { restoreAside } from './restore.ts';
import { WrongKey } from './seal.ts';
import type { BackupWork } from './task.ts';

/** What is proven: the backup, and how long it took to restore, in seconds. */
export type Proof = { name: string; seconds: number; rows: number; bytes: number };

/**
 * Restores a backup into a database of its own, compares every table with what was backed up, drops that database, and notes the backup as
 * proven, or as failed.
 *
 * @param name which; without it the newest that is not proven yet.
 * @throws Refusal where there is none, and where it cannot be restored.
 */
export async function proveBackup(work: BackupWork, name?: string): Promise<Proof> {
  const { databaseUrl, log, signal } = work;
  const wanted = name ?? (await newestUnproven(databaseUrl));
  if (!wanted) throw new Refusal('There is no backup that is not proven yet.', { remedy: 'npm run backup' });
  try {
    const { manifest, seconds } = await restoreAside(work, wanted);
    await noteProven(databaseUrl, wanted, seconds);
    const { rows, bytes } = manifest;
    log.info({ backup: wanted, seconds, rows, bytes }, 'the backup is proven');
    return { name: wanted, seconds, rows, bytes };
  } catch (error) {
    // That someone stopped it, or has not the key, says nothing of the backup.
    if (!signal.aborted && !((error as Error).cause instanceof WrongKey)) {
      const problem = (error as Error).message;
      await noteFailed(databaseUrl, wanted, problem).catch((lost) => log.warn({ error: lost.message }, 'not noted'));
    }
    throw error;
  }
}

/** What was removed, and what else was found out: backups that nobody knew of, and known ones that are gone. */
export type Pruned = { removed: string[]; found: string[]; missing: string[] };

const leftAlone = 86_400_000;

/**
 * Removes the backups that are to be kept no longer (operations.expired_backups), and what a backup that was cut short has left a day ago.
 * Notes what the storage holds and operations.backups does not know, as after a restore.
 */
export async function pruneBackups({ databaseUrl, settings, signal, log }: BackupWork): Promise<Pruned> {
  const storage = openStorage(settings.backupStorage, settings);
  const keys = settings.backupKey ?? [];
  return connected(databaseUrl, async (client) => {
    const { finished, others } = await backupsIn(storage);
    const { known } = await expired(client, storage.place);
    const found: string[] = [];
    for (const name of finished) {
      if (known.includes(name)) continue;
      signal.throwIfAborted();
      const manifest = await readManifest({ storage, backup: name, keys }).catch((error) => {
        log.warn({ backup: name, error: error.message }, 'A backup in the storage cannot be read');
      });
      if (manifest && (await noteFound(client, { ...manifest, storage: storage.place }))) found.push(name);
    }
    const missing: string[] = [];
    const { expired: old } = await expired(client, storage.place);
    for (const name of known) {
      if (finished.includes(name) || old.includes(name) || others.has(name)) continue;
      missing.push(name);
    }
    const left = [...others].filter(([name, at]) => !known.includes(name) && Date.now() - +at > leftAlone);
    const removed = [...old, ...left.map(([name]) => name)];
    for (const name of removed) {
      signal.throwIfAborted();
      await removeBackup(storage, name);
      await noteRemoved(client, name);
      log.info({ backup: name }, 'a backup was removed');
    }
    for (const name of missing) {
      await noteRemoved(client, name);
      log.warn({ backup: name, storage: storage.place }, 'A backup is missing in its storage');
    }
    return { removed, found, missing };
  });
}

/** A backup that is stored; why it cannot be read, where it cannot. */
export type Listed = { name: string; manifest: Manifest } | { name: string; problem: string };

/** Every backup in the storage, the newest first. */
export async function listBackups(storage: Storage, keys: Uint8Array[]): Promise<Listed[]> {
  const { finished, others } = await backupsIn(storage);
  const listed: Listed[] = [...others.keys()].map((name) => ({ name, problem: 'it was not finished' }));
  for (const name of finished) {
    listed.push(
      await readManifest({ storage, backup: name, keys }).then(
        (manifest) => ({ name, manifest }),
        (error: Error) => ({ name, problem: error.message }),
      ),
    );
  }
  return listed.sort((one, other) => (one.name > other.name ? -1 : 1));
}
