import { createHash } from 'node:crypto';
import path from 'node:path';
import type { SourceRow } from '../../functions/contract-imports.ts';
import { withDatabase } from '../../functions/database.ts';
import { Refusal } from '../../functions/refusal.ts';
import { loadSettings } from '../../functions/vault.ts';
import { goszakup, type Register, readItem, registers, unitsOf } from '../../workers/procurement/goszakup.ts';
import { openGoszakup, type Service } from '../../workers/procurement/goszakup-pages.ts';
import { stopAsked } from '../stop-signal.ts';
import { contentHash, readJson } from './json.ts';
import { countRows, inBatches, takeBatches } from './take.ts';

// npm run import -- goszakup REGISTER [FILE…]: contracts of goszakup.gov.kz from its unified services (OWS v3), page by page, or from files
// with their pages or items. `contracts+units` asks for the units of each contract as well, which takes a request for each.

const withUnits = 'contracts+units';

/** @throws Refusal where there is no such register, no token, or someone stops it. */
export async function runGoszakup([name = '', ...files]: string[]): Promise<void> {
  const settings = await loadSettings(process.env);
  const register = name === withUnits ? 'contracts' : name;
  if (!isRegister(register)) {
    const known = [...Object.keys(registers), withUnits].join(', ');
    throw new Refusal(`There is no register "${name}".`, { remedy: `Name one of: ${known}` });
  }
  const stopping = new AbortController();
  stopAsked().then(() => stopping.abort(new Refusal('Stopped.', { remedy: 'Run it again to go on.' })));
  const stopped = () => stopping.signal.aborted;
  await withDatabase(settings, { log: console.log, upToDate: true }, async (url) => {
    for (const file of files) {
      const rows = () => rowsOf(file, register);
      const total = await countRows(rows());
      const input = { name: path.basename(file), fingerprint: await contentHash(file, 'goszakup', register) };
      await takeBatches(url, goszakup, input, {
        batches: ({ position }) => inBatches(rows(), position),
        total: () => total,
        stopped,
      });
    }
    if (files.length > 0) return;
    const { goszakupApi: address, goszakupToken: token } = settings;
    const from = registers[register];
    if (!from)
      throw new Refusal('Units are no register of their own.', { remedy: `Import ${withUnits}, or name files.` });
    if (!token) throw new Refusal('There is no token for goszakup.gov.kz.', { remedy: 'Set GOSZAKUP_TOKEN.' });
    const log = { warn: (fields: object, text?: string) => console.error(text, JSON.stringify(fields)) };
    const service = openGoszakup({ address, token, log, signal: stopping.signal });
    const place = `${new URL(address).host}${from}${name === withUnits ? ' with units' : ''}`;
    let total = 0;
    const input = { name: place, fingerprint: createHash('sha256').update(place).digest('hex') };
    await takeBatches(url, goszakup, input, {
      async *batches({ position, cursor }) {
        let line = position;
        for await (const page of service.readPages(from, cursor)) {
          total = page.total;
          const rows = page.items.map((item) => readItem(register, item, ++line));
          if (name === withUnits) await addUnits(service, page.items, rows);
          yield { rows, cursor: page.next, done: page.items.length };
        }
      },
      total: () => total,
      stopped,
    });
  });
}

const isRegister = (name: string): name is Register => Object.hasOwn(registers, name);

/** Puts what contracts buy beside them; what cannot be read of it is a row of its own, behind those of the page. */
async function addUnits(service: Service, items: unknown[], rows: SourceRow[]): Promise<void> {
  await Promise.all(
    items.map(async (item, index) => {
      const row = rows[index];
      const from = unitsOf(item);
      if (!from || !row || 'reason' in row) return;
      for await (const { items: units } of service.readPages(from)) {
        for (const unit of units) {
          const read = readItem('units', unit, row.line);
          if ('records' in read) row.records.push(...read.records);
          else rows.push(read);
        }
      }
    }),
  );
}

async function* rowsOf(file: string, register: Register): AsyncGenerator<SourceRow> {
  for await (const told of readJson(file, ['items'])) {
    yield 'reason' in told ? told : readItem(register, told.value, told.line);
  }
}
