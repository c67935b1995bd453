import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { Refusal } from './refusal.ts';
import type { Settings } from './settings.ts';

/** A key of HMAC-SHA-256 (at least 32 bytes) and the name that tokens signed with it carry. */
export type SigningKey = { kid: string; key: Uint8Array };

const keysFile = z.object({ keys: z.array(z.object({ kid: z.string().min(1), key: z.base64url() })).min(1) });

/**
 * The signing keys of a development installation: made on the first call, kept in `<plinthData>/keys.json` (mode 600).
 * Processes that start together agree on one key: the file appears whole or not at all, and the first one stays.
 *
 * @throws Refusal in production, and when the file cannot be read or written.
 */
export function developmentKeys({
  plinthData,
  development,
}: Pick<Settings, 'plinthData' | 'development'>): SigningKey[] {
  if (!development) {
    throw new Refusal('Production does not sign with development keys.', {
      remedy: 'Set JWT_KEYS (docs/settings.md).',
    });
  }
  return keptKeys(plinthData) ?? makeKeys(plinthData);
}

/** Whether a key is one of those that a development installation keeps in its data folder. */
export function isDevelopmentKey(plinthData: string, key: Uint8Array): boolean {
  return (keptKeys(plinthData) ?? []).some((kept) => Buffer.compare(kept.key, key) === 0);
}

function makeKeys(folder: string): SigningKey[] {
  const file = path.join(folder, 'keys.json');
  const draft = `${file}.${process.pid}`;
  const kept = { keys: [{ kid: `dev-${randomBytes(4).toString('hex')}`, key: randomBytes(32).toString('base64url') }] };
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(draft, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new Refusal(`The development key cannot be written to ${file}: ${(error as Error).message}`, {
        remedy: 'Make the folder writable, or set PLINTH_DATA to another one.',
        cause: error,
      });
    }
  } finally {
    rmSync(draft, { force: true });
  }
  return keptKeys(folder) ?? [];
}

function keptKeys(folder: string): SigningKey[] | undefined {
  const file = path.join(folder, 'keys.json');
  try {
    const { keys } = keysFile.parse(JSON.parse(readFileSync(file, 'utf8')));
    return keys.map(({ kid, key }) => ({ kid, key: new Uint8Array(Buffer.from(key, 'base64url')) }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Refusal(`The development keys in ${file} cannot be read.`, {
      remedy: 'Delete the file: a new key is made at the next start, and older access tokens end.',
      cause: error,
    });
  }
}
