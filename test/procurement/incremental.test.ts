import t from 'tap';
import type { StagedRecord } from '../../functions/contract-imports.ts';
import { openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// Whatever has changed, a run on that leaves the findings that a run on everything would.

const { world, run } = await openAnalysis(t);

// The same changes each time: numbers from a linear congruential generator.
let state = 20261121;
const below = (limit: number) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
};
const pick = <Value>(values: Value[]) => values[below(values.length)] as Value;
const bin = (n: number) => `${n}`.padStart(12, '0');

const change = (ref: number): StagedRecord =>
  contract(`${ref}`, {
    category: pick(['roads', 'bridges', 'schools', '']),
    customer_bin: bin(below(3)),
    supplier_bin: bin(10 + below(6)),
    region: pick(['KZ-71', 'KZ-75']),
    status: pick(['190', '190', '190', '350']),
    contract_sum: `${below(10) === 0 ? 100_000 + below(900_000) : 500 + below(400)}`,
    plan_sum: '1000',
  });
const move = (): StagedRecord => ({
  kind: 'company',
  record: { bin: bin(10 + below(6)), address: pick(['Abay 1', 'Abay 2', 'Abay 3']), head: pick(['Omarov', 'Serik']) },
});
// The last digits of an average go by the order in which rows are read.
const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(9)) : value);
const findings = async () => {
  const { rows } = await world.owner.query(
    `select indicator_code, contract_id, customer_bin, supplier_bin, region_codes, outcome, value, inputs
     from procurement.findings order by indicator_code, contract_id, customer_bin, supplier_bin`,
  );
  return JSON.parse(JSON.stringify(rows, rounded)) as typeof rows;
};

t.test('D3: few are judged again with all that they are compared with', async (t) => {
  await world.owner.query(
    `update procurement.indicators set thresholds = thresholds || '{"contracts": 5}' where thresholds ? 'contracts'`,
  );
  await take(
    world,
    Array.from({ length: 60 }, (_, n) => change(n)),
  );
  await run(false);
  const seen = new Set<string>();
  for (let round = 0; round < 15; round += 1) {
    await take(world, [
      ...Array.from({ length: below(4) }, () => change(below(70))),
      ...Array.from({ length: below(2) }, move),
    ]);
    if (round % 5 === 4) {
      await world.owner.query('delete from procurement.contracts where source_ref = $1', [`${below(60)}`]);
    }
    await run(true);
    const few = await findings();
    for (const { indicator_code } of few) seen.add(indicator_code);
    await run(false);
    t.strictSame(few, await findings(), `round ${round}`);
  }
  for (const code of ['sum_outlier', 'sum_fences', 'supplier_concentration', 'benford', 'shared_contacts']) {
    t.ok(seen.has(code), `${code} had something to find`);
  }
});
