import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Settings } from './settings.ts';

/** The log of a process, on its standard output: lines of JSON, or lines to read. */
export function makeLog({ logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>): Logger {
  const options = { level: logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  // Written in this thread: what was logged before the process ended has been written.
  if (logFormat === 'pretty') return pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l' }));
  return pino(options, pino.destination({ dest: 1, sync: true }));
}
