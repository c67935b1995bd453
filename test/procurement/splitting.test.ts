import t from 'tap';
import { openWorld } from '../world.ts';
import { contract, take } from './sample.ts';
import { asking } from './tenders.ts';

// Contracts split below a sum, each with planted cases: flagged, clear, not computable, and nothing else flagged.

const world = await openWorld(t);
const operator = await world.person('olga', { operator: true });
const { ask, run, flagged, explainCompany } = asking(world, operator);

/** Contracts of a customer, by days and sums: millions without VAT. */
const of = (customer: string, supplier: string, signed: [string, string][], fields: Record<string, string> = {}) =>
  signed.map(([signed_on, sum], n) =>
    contract(`${customer} ${supplier} ${n}`, {
      customer_bin: `00000000000${customer}`,
      supplier_bin: `00000000010${supplier}`,
      signed_on,
      plan_sum: '',
      contract_sum: sum && `${sum}000000`,
      ...fields,
    }),
  );
const pair = (customer: string, supplier: string) => `00000000000${customer} 00000000010${supplier}`;

await take(world, [
  ...of('1', '1', [
    ['2024-03-01', '4'],
    ['2024-03-11', '4'],
    ['2024-03-31', '3'],
    ['2024-06-30', '9'],
  ]),
  // Ten million is not over ten million; on the 31st day it is another window.
  ...of('2', '2', [
    ['2024-03-01', '6'],
    ['2024-03-31', '4'],
    ['2024-04-30', '5'],
  ]),
  // What is over the sum by itself was not split.
  ...of('3', '3', [
    ['2024-03-01', '25'],
    ['2024-03-02', '9'],
  ]),
  ...of('4', '4', [
    ['2024-03-01', '9'],
    ['2024-03-02', ''],
  ]),
  // Of one category, with several suppliers; what has none is of no category.
  ...of('5', '5', [['2024-03-01', '6']], { category: '33600000' }),
  ...of('5', '6', [['2024-03-05', '6']], { category: '33600000' }),
  ...of('5', '7', [['2024-03-05', '6']], { category: '45000000' }),
  ...of('6', '8', [['2024-03-05', '6']]),
  ...of('6', '9', [['2024-03-05', '6']]),
  ...of(
    '7',
    '1',
    [
      ['2024-03-01', '9'],
      ['2024-03-02', '9'],
    ],
    { status: '350' },
  ),
]);

const explained = async (customer: string, supplier: string) => {
  const { rows } = await world.owner.query('select id from procurement.contracts where source_ref = $1', [
    `${customer} ${supplier} 0`,
  ]);
  const { explainContract } = await ask(
    'query ($id: UUID!) { explainContract(contractId: $id) { indicatorCode outcome value inputs reason } }',
    { id: rows[0].id },
  );
  return explainContract.find((each: { indicatorCode: string }) => each.indicatorCode === 'contract_splitting');
};

t.test(
  'several within 30 days, each under the sum and together over it: of a supplier, or of a category',
  async (t) => {
    await run();
    t.strictSame(await flagged('contract_splitting'), [pair('1', '1'), '000000000005']);
    t.match(await explained('1', '1'), {
      outcome: 'FLAGGED',
      value: 11e6,
      inputs: { contracts: 3, total: 11e6, from: '2024-03-01', until: '2024-03-31', refs: ['1 1 0', '1 1 1', '1 1 2'] },
      reason:
        '3 contracts signed from 2024-03-01 to 2024-03-31, each under 10000000, come to 11000000; over 10000000 is remarkable.',
    });
    t.match(await explained('2', '2'), { outcome: 'CLEAR', value: 10e6 });
    t.match(await explained('3', '3'), { outcome: 'CLEAR', value: null, reason: /No 2 contracts under/ });
    t.match(await explained('4', '4'), { outcome: 'NOT_COMPUTABLE', reason: /is not told of 1 of them/ });
    t.match(await explained('7', '1'), { outcome: 'NOT_COMPUTABLE', reason: /status 350/ });
    t.match(await explainCompany('000000000005', 'contract_splitting'), [
      { outcome: 'FLAGGED', inputs: { category: '33600000', contracts: 2, total: 12e6 } },
    ]);
  },
);

t.test(
  'a run on changes judges the customer and the supplier whose contract changed, and says what a full one says',
  async (t) => {
    await take(world, of('2', '2', [['2024-03-01', '7']]));
    const judged = await run();
    t.equal(judged.contract_splitting, 1, 'one pair, though nothing changed that shares count');
    t.equal(judged.partnership, 0);
    t.ok((await flagged('contract_splitting')).includes(pair('2', '2')));
    await take(world, of('2', '2', [['2024-02-01', '7']]));
    await run();
    t.notOk((await flagged('contract_splitting')).includes(pair('2', '2')));
    const before = await flagged('contract_splitting');
    await run(false);
    t.strictSame(await flagged('contract_splitting'), before);
  },
);

t.test('the sum, the days and what is added up are thresholds', async (t) => {
  const count = async (thresholds: object): Promise<string> => {
    const { tryThresholds } = await ask(
      `mutation ($input: TryThresholdsInput!) { tryThresholds(input: $input) {
        indicatorRun { results(first: 1) { nodes { flagged } } } } }`,
      { input: { indicatorCode: 'contract_splitting', thresholds } },
    );
    return tryThresholds.indicatorRun.results.nodes[0].flagged;
  };
  t.equal(await count({ by: ['supplier'] }), '1');
  t.equal(await count({ by: ['category'] }), '1');
  t.equal(await count({ days: 29 }), '1', 'two of them are not over the sum');
  t.equal(await count({ contracts: 3 }), '1');
  t.equal(await count({ sum: 30_000_000 }), '1', 'of 25 and 9 million');
  for (const days of [-1, 29.5]) t.match(await count({ days }), /^[0-9]$/, 'what makes little sense fails no run');
});
