import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Logger } from 'pino';
import { Refusal } from '../functions/refusal.ts';
import type { Unforeseen } from './errors.ts';

/**
 * Loads what errors that nobody foresaw are reported to: a module that exports `report(error, {id})`. What it throws, now or later, is
 * logged and fails no request; nobody waits for it.
 *
 * @throws Refusal where the module is not that.
 */
export async function loadReporter(file: string | undefined, log: Logger): Promise<Unforeseen | undefined> {
  if (file === undefined) return undefined;
  const remedy = 'Name a module that exports a function report(error, {id}), or leave ERROR_REPORTER out.';
  const loaded: { report?: unknown } = await import(pathToFileURL(path.resolve(file)).href).catch((cause) => {
    throw new Refusal(`ERROR_REPORTER, ${file}, cannot be loaded: ${cause.message}`, { remedy, cause });
  });
  const { report } = loaded;
  if (typeof report !== 'function') throw new Refusal(`ERROR_REPORTER, ${file}, does not export report.`, { remedy });
  return async (error, id) => {
    try {
      await report(error, { id });
    } catch (failure) {
      log.warn({ id, error: String((failure as Error)?.message ?? failure) }, 'an error could not be reported');
    }
  };
}
