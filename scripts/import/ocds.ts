import path from 'node:path';
import type { SourceRow } from '../../functions/contract-imports.ts';
import { withDatabase } from '../../functions/database.ts';
import { Refusal } from '../../functions/refusal.ts';
import { loadSettings } from '../../functions/vault.ts';
import { ocds, readRelease } from '../../workers/procurement/ocds.ts';
import { stopAsked } from '../stop-signal.ts';
import { contentHash, readJson } from './json.ts';
import { countRows, inBatches, takeBatches } from './take.ts';

// npm run import -- ocds SOURCE FILE…: releases and records of the Open Contracting Data Standard, a package or a value a line.

/** @throws Refusal where the source has no plain name, a file cannot be read, or someone stops it. */
export async function runOcds([code = '', ...files]: string[]): Promise<void> {
  const settings = await loadSettings(process.env);
  if (!/^[a-z][a-z0-9-]{0,30}$/.test(code)) {
    throw new Refusal(`"${code}" is no name for a source.`, {
      remedy: 'Name it by small letters, such as ocds-moldova.',
    });
  }
  let asked = false;
  stopAsked().then(() => {
    asked = true;
  });
  await withDatabase(settings, { log: console.log, upToDate: true }, async (url) => {
    for (const file of files) {
      const total = await countRows(rowsOf(file));
      const input = { name: path.basename(file), fingerprint: await contentHash(file, 'ocds', code) };
      await takeBatches(url, ocds(code), input, {
        batches: ({ position }) => inBatches(rowsOf(file), position),
        total: () => total,
        stopped: () => asked,
      });
    }
  });
}

async function* rowsOf(file: string): AsyncGenerator<SourceRow> {
  for await (const told of readJson(file, ['releases', 'records'])) {
    yield 'reason' in told ? told : readRelease(told.value, told.line);
  }
}
