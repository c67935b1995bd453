import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';
import type { Settings } from './settings.ts';

/** What is logged with. */
export type Log = {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
};

/** The log of a process, on its standard output: lines of JSON, or lines to read. */
export function makeLog({ logLevel, logFormat }: Pick<Settings, 'logLevel' | 'logFormat'>): Logger {
  const options = { level: logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime, serializers: { err: told } };
  // Written in this thread: what was logged before the process ended has been written.
  if (logFormat === 'pretty') return pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l' }));
  return pino(options, pino.destination({ dest: 1, sync: true }));
}

/** An error without the connection that pg hangs on it. */
function told(error: Error): object {
  const { client: _, ...rest } = pino.stdSerializers.err(error);
  return rest;
}
