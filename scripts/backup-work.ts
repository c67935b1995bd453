import { Refusal } from '../functions/refusal.ts';
import type { BackupWork } from '../workers/task.ts';
import { stopAsked } from './stop-signal.ts';

/** Backups and restores at a terminal: Ctrl-C stops them in order, and a terminal sees how far they are. */
export function workOnTerminal(given: Pick<BackupWork, 'databaseUrl' | 'settings' | 'log'>): BackupWork {
  const stop = new AbortController();
  void stopAsked().then(() => stop.abort(new Refusal('Stopped: everything is as it was before.')));
  return {
    ...given,
    signal: stop.signal,
    progress(share = 0, note = '') {
      if (!process.stderr.isTTY) return;
      const line = share < 1 ? `${Math.floor(share * 100)} % ${note}`.slice(0, 70) : '';
      process.stderr.write(`\r${line.padEnd(70)}${share < 1 ? '' : '\r'}`);
    },
  };
}

/** A size for a person. */
export function sizeOf(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)), units.length - 1);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
