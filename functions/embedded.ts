import path from 'node:path';
import { findBinaries } from './embedded/binaries.ts';
import { checkVersion, clusterOf, makeCluster, readKept, writeKept } from './embedded/cluster.ts';
import { leaveFolder, livingHolder, takeFolder } from './embedded/holder.ts';
import { findPlace } from './embedded/place.ts';
import { freePort, launch, logTail, waitUntilReady } from './embedded/server.ts';

/** An embedded Postgres that answers at `url` as its superuser. */
export type EmbeddedDatabase = {
  url: string;
  /** A fast shutdown; nothing committed is lost. May be called more than once. */
  stop(): Promise<void>;
  /** Settled when Postgres has ended; with the end of its log if nobody called stop. */
  ended: Promise<string | undefined>;
};

/**
 * Starts the Postgres that npm installed, making its database on the first call. It listens on 127.0.0.1 only, on the port that it
 * had if that is free, and ends by itself when this process dies.
 *
 * @param dataDirectory Plinth's data folder (the setting PLINTH_DATA): `postgres/`, `postgres.json`, `postgres.log`.
 * @param flags more arguments of postgres, such as ['-c', 'fsync=off'].
 * @param log told what is done, in sentences.
 * @throws Refusal: data of another version, a folder held by another process or not writable, no Postgres for the
 *   platform, initdb or postgres failed.
 */
export async function startEmbedded(options: {
  dataDirectory: string;
  log: (message: string) => void;
  flags?: string[];
}): Promise<EmbeddedDatabase> {
  const { dataDirectory, log, flags = [] } = options;
  const folder = path.resolve(dataDirectory);
  const packaged = await findBinaries();
  let kept = readKept(folder);
  const place = await findPlace(folder, kept?.base, packaged, log);
  await takeFolder(folder, clusterOf(place.base), log);
  try {
    if (kept) checkVersion(place);
    else {
      log('Making the database (once)');
      kept = await makeCluster(folder, place, !flags.includes('fsync=off'));
    }
    const port = await freePort(kept.port);
    writeKept(folder, { ...kept, port });
    const logFile = path.join(folder, 'postgres.log');
    const running = launch(place, port, logFile, flags);
    const url = urlOf(kept.password, port);
    try {
      await waitUntilReady(running, url, logFile, log);
    } catch (error) {
      await running.stop();
      throw error;
    }
    let asked = false;
    const ended = running.ended.then(() => {
      // Only the watcher may have ended: then the folder stays marked, so that the next start looks for a Postgres.
      if (!asked) return logTail(logFile);
      leaveFolder(folder);
    });
    const stop = async () => {
      asked = true;
      await running.stop();
      await ended;
    };
    return { url, stop, ended };
  } catch (error) {
    leaveFolder(folder);
    throw error;
  }
}

/** The address of the embedded Postgres that another process of Plinth runs on this data folder, if one does. */
export function runningEmbedded(dataDirectory: string): string | undefined {
  const folder = path.resolve(dataDirectory);
  const kept = livingHolder(folder) ? readKept(folder) : undefined;
  return kept && urlOf(kept.password, kept.port);
}

function urlOf(password: string, port: number): string {
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}
