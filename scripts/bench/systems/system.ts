import type { IncomingMessage } from 'node:http';
import { openTokens } from '../../../functions/tokens.ts';

/** What every measured system is given, in BENCH_SYSTEM. */
export type SystemSettings = {
  port: number;
  /** The database as plinth_server. */
  databaseUrl: string;
  poolSize: number;
  /** The key that tokens are signed with, in hex. */
  key: string;
  /** The file of what Plinth was seen to send, for the limit. */
  captured: string;
};

/** A measured system's settings, and how it learns who asks: by the same verified tokens as Plinth. It ends with the bench. */
export function openSystem() {
  const settings = JSON.parse(process.env.BENCH_SYSTEM ?? '') as SystemSettings;
  process.once('disconnect', () => process.exit());
  const tokens = openTokens([{ kid: 'bench', key: new Uint8Array(Buffer.from(settings.key, 'hex')) }]);
  return {
    ...settings,
    callerOf: async ({ headers }: Pick<IncomingMessage, 'headers'>) =>
      (await tokens.verify((headers.authorization ?? '').slice('Bearer '.length))).claims,
  };
}

/** Tells the bench that requests are answered. */
export function tellReady(): void {
  console.log('ready');
}
