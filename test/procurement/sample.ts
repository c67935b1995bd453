import { randomUUID } from 'node:crypto';
import { importContracts, type Source, type StagedRecord } from '../../functions/contract-imports.ts';
import type { World } from '../world.ts';

type Fields = Record<string, string>;

/** What every contract of the tests has unless it says otherwise: 10 % below plan, in force. */
const usual: Fields = {
  type: 'annual',
  status: '190',
  region: 'KZ-75',
  fiscal_year: '2024',
  signed_on: '2024-03-01',
  customer_bin: '000740000001',
  supplier_bin: '010840000002',
  plan_sum: '1000',
  contract_sum: '900',
};

export const contract = (ref: string, fields: Fields = {}): StagedRecord => ({
  kind: 'contract',
  record: Object.fromEntries(Object.entries({ ref, ...usual, ...fields }).filter(([, value]) => value !== '')),
});

export const payment = (contract: string, paid_on: string, fields: Fields = {}): StagedRecord => ({
  kind: 'payment',
  record: { ref: `${contract} ${paid_on}`, contract, paid_on, ...fields },
});

/** Takes records in, as an import does, one to a line. */
export function take(
  { databaseUrl }: Pick<World, 'databaseUrl'>,
  records: StagedRecord[],
  source: Source = { code: 'test' },
) {
  const input = { name: 'test', fingerprint: randomUUID() };
  return importContracts(databaseUrl, source, input, async (contracts) => {
    const rows = records.map((record, index) => ({ line: index + 1, records: [record] }));
    const counts = await contracts.take(rows, rows.length);
    await contracts.finish();
    return counts;
  });
}
