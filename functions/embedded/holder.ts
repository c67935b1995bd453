import { execFileSync } from 'node:child_process';
import { linkSync, readFileSync, readlinkSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Refusal } from '../refusal.ts';

// One process of Plinth holds a data folder at a time. It writes its name into `holder.json` and removes the file after
// its Postgres has ended; a file whose process is gone tells the next start that a Postgres may be left behind.

/**
 * A process: its id, and when it began, because ids are used again (in a container that restarts, the very same ones). `url` is
 * where it serves, once it does.
 */
type Holder = { pid: number; began: string; url?: string };

/** The living process of Plinth that holds the data folder, if one does. */
export function livingHolder(dataDirectory: string): Holder | undefined {
  const holder = readHolder(dataDirectory);
  return holder && isSame(holder) ? holder : undefined;
}

/** @throws Refusal that names the living process of Plinth that has the data folder, and where it serves. */
export function refuseHeld(dataDirectory: string): void {
  const living = livingHolder(dataDirectory);
  if (!living) return;
  const { pid, url } = living;
  throw inUse(dataDirectory, `the Plinth of process ${pid}${url ? `, which serves ${url}` : ''}`, pid);
}

/** Notes where this process, which has the data folder, serves. */
export function noteAddress(dataDirectory: string, url: string): void {
  const holder = readHolder(dataDirectory);
  if (holder?.pid !== process.pid) return;
  const file = path.join(dataDirectory, 'holder.json');
  writeFileSync(`${file}.${process.pid}`, JSON.stringify({ ...holder, url } satisfies Holder));
  renameSync(`${file}.${process.pid}`, file);
}

/**
 * Takes the data folder for this process, and ends a Postgres that an earlier holder left behind.
 *
 * @param cluster the folder of Postgres's files, where there may be none yet.
 * @throws Refusal when another living process has it.
 */
export async function takeFolder(
  dataDirectory: string,
  cluster: string,
  log: (message: string) => void,
): Promise<void> {
  const file = path.join(dataDirectory, 'holder.json');
  const left = readHolder(dataDirectory);
  refuseHeld(dataDirectory);
  const orphan = runningPostgres(cluster);
  if (orphan && !left) throw inUse(dataDirectory, `a Postgres that Plinth did not start, process ${orphan}`, orphan);
  if (left) rmSync(file, { force: true });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify({ pid: process.pid, began: beginning(process.pid) } satisfies Holder));
  try {
    linkSync(draft, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw inUse(dataDirectory, 'another Plinth that is starting', readHolder(dataDirectory)?.pid);
  } finally {
    rmSync(draft, { force: true });
  }
  if (orphan) await endPostgres(orphan, log);
  // What is left of a Postgres that was killed; its process id may be another program's by now.
  rmSync(path.join(cluster, 'postmaster.pid'), { force: true });
}

/** Gives the data folder up, after Postgres has ended. */
export function leaveFolder(dataDirectory: string): void {
  rmSync(path.join(dataDirectory, 'holder.json'), { force: true });
}

function inUse(dataDirectory: string, by: string, pid: number | undefined): Refusal {
  return new Refusal(`The data folder ${dataDirectory} is in use by ${by}.`, {
    remedy: `Stop that one${pid ? ` (kill ${pid})` : ''}, or set PLINTH_DATA to another folder.`,
  });
}

/** A fast shutdown, which loses nothing committed; an immediate one, which does not either, if that takes too long. */
async function endPostgres(pid: number, log: (message: string) => void): Promise<void> {
  log(`Postgres (process ${pid}) is left from a start that was killed: stopping it`);
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    for (let waited = 0; waited < 15_000; waited += 50) {
      if (!isAlive(pid)) return;
      await delay(50);
    }
  }
  throw new Refusal(`A Postgres left from an earlier start (process ${pid}) does not stop.`, {
    remedy: `kill -9 ${pid}`,
  });
}

/** The Postgres that runs on a cluster, if one does: its process id. */
function runningPostgres(cluster: string): number | undefined {
  try {
    const pid = Number(readFileSync(path.join(cluster, 'postmaster.pid'), 'utf8').split('\n')[0]);
    return pid > 0 && isAlive(pid) && worksIn(pid, cluster) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Postgres makes its cluster its working folder; elsewhere than on Linux its command line names it. */
function worksIn(pid: number, cluster: string): boolean {
  try {
    if (process.platform === 'linux') return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(cluster);
    return execFileSync('ps', ['-p', `${pid}`, '-o', 'command='], { encoding: 'utf8' }).includes(cluster);
  } catch {
    return false;
  }
}

function readHolder(dataDirectory: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path.join(dataDirectory, 'holder.json'), 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

function isSame({ pid, began }: Holder): boolean {
  return isAlive(pid) && beginning(pid) === began;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return !isZombie(pid);
}

/** A process that has ended and whose parent has not looked yet still takes signals. */
function isZombie(pid: number): boolean {
  return process.platform === 'linux' && statFields(pid)[0] === 'Z';
}

/** When a process began, as text that only that process has on this machine until it starts anew; '' if unknown. */
function beginning(pid: number): string {
  try {
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-p', `${pid}`, '-o', 'lstart='], { encoding: 'utf8' });
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${statFields(pid)[19]}`;
  } catch {
    return '';
  }
}

/** The fields of /proc/<pid>/stat from the third on (proc_pid_stat(5)): the command before them may hold anything. */
function statFields(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}
