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
  record: told({ ref, ...usual, ...fields }),
});

export const payment = (contract: string, paid_on: string, fields: Fields = {}): StagedRecord => ({
  kind: 'payment',
  record: { ref: `${contract} ${paid_on}`, contract, paid_on, ...fields },
});

const told = (fields: Fields): Fields => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));

/** What every tender of the tests has unless it says otherwise: open, by price alone, three weeks long, over. */
export const tender = (ref: string, fields: Fields = {}): StagedRecord => ({
  kind: 'tender',
  record: told({
    ref,
    method: 'open',
    award_criteria: 'priceOnly',
    status: 'complete',
    region: 'KZ-75',
    customer_bin: '000740000001',
    starts_at: '2024-03-01T09:00:00Z',
    ends_at: '2024-03-22T09:00:00Z',
    ...fields,
  }),
});

/** A valid bid, submitted in time. */
export const bid = (tender: string, tenderers: string, bid_sum: string, fields: Fields = {}): StagedRecord => ({
  kind: 'bid',
  record: told({
    ref: `${tender}/${tenderers}/${bid_sum}`,
    tender,
    tenderers,
    bid_sum,
    currency: 'KZT',
    status: 'valid',
    submitted_at: '2024-03-20T09:00:00Z',
    ...fields,
  }),
});

export const award = (tender: string, suppliers: string, fields: Fields = {}): StagedRecord => ({
  kind: 'award',
  record: told({ ref: `${tender}/${suppliers}`, tender, suppliers, status: 'active', ...fields }),
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
