import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { contract, take, tender } from './sample.ts';

// D2: `keeps` of an indicator says which outcomes become findings; the others are counted.

const { world, ask, run } = await openAnalysis(t);
// One that looks at contracts, one at pairs, one at tenders.
const codes = ['super_dumping', 'supplier_concentration', 'r003'];
const bin = (n: number) => `${n}`.padStart(12, '0');

await take(world, [
  contract('far below', { contract_sum: '600' }),
  contract('usual'),
  contract('without plan', { plan_sum: '' }),
  ...Array.from({ length: 10 }, (_, n) => contract(`of one ${n}`, { customer_bin: bin(1), supplier_bin: bin(11) })),
  ...Array.from({ length: 10 }, (_, n) => contract(`of all ${n}`, { customer_bin: bin(2), supplier_bin: bin(20 + n) })),
  tender('short', { ends_at: '2024-03-05T09:00:00Z' }),
  tender('long'),
  tender('without end', { ends_at: '' }),
]);

const keep = (keeps: string) =>
  world.owner.query('update procurement.indicators set keeps = $1 where code = any ($2)', [keeps, codes]);

type Kept = {
  id: string;
  indicatorCode: string;
  outcome: string;
  value: number | null;
  thresholds: object;
  inputs: Record<string, unknown>;
  reason: string;
  run: { id: string };
  contract: { sourceRef: string } | null;
  tender: { sourceRef: string } | null;
  customerBin: string | null;
};
async function findings(): Promise<Kept[]> {
  const { findings } = await ask(
    `query ($filter: FindingFilter) { findings(first: 100, filter: $filter) { nodes {
       id indicatorCode outcome value thresholds inputs reason run { id } contract { sourceRef } tender { sourceRef } customerBin } } }`,
    { filter: { indicatorCode: { in: codes } } },
  );
  return findings.nodes;
}
const nameOf = ({ contract, tender, customerBin }: Kept) => contract?.sourceRef ?? tender?.sourceRef ?? customerBin;
/** Who has which outcome, but for the many contracts that are as usual. */
const told = (kept: Kept[], indicator: string) =>
  kept
    .filter(({ indicatorCode }) => indicatorCode === indicator)
    .filter((each) => !/^of /.test(`${nameOf(each)}`))
    .map((each) => `${nameOf(each)}: ${each.outcome}`)
    .sort();
const sum = (before: number, each: string) => before + Number(each);
const counted = async () => {
  const { rows } = await world.owner.query(
    `select indicator_code, flagged, clear, not_computable from procurement.indicator_results
     where run_id = (select max(id) from procurement.indicator_runs) and indicator_code = any ($1) order by 1`,
    [codes],
  );
  return rows;
};
const flaggedOf = async () => (await ask('{ contractTotals { key contracts flagged } }')).contractTotals;

t.test('D2: with all three kept, each outcome is a finding with inputs, thresholds, reason and its run', async (t) => {
  await run(false);
  const [before, total] = [await counted(), await flaggedOf()];
  await keep('{flagged,clear,not_computable}');
  const id = await run();
  const kept = await findings();
  t.strictSame(told(kept, 'super_dumping'), ['far below: FLAGGED', 'usual: CLEAR', 'without plan: NOT_COMPUTABLE']);
  t.strictSame(told(kept, 'r003'), ['long: CLEAR', 'short: FLAGGED', 'without end: NOT_COMPUTABLE']);
  t.strictSame(told(kept, 'supplier_concentration'), [
    `${bin(1)}: FLAGGED`,
    `${bin(2)}: CLEAR`,
    '000740000001: NOT_COMPUTABLE',
  ]);
  const { rows } = await world.owner.query('select code, thresholds from procurement.indicators');
  const thresholds = Object.fromEntries(rows.map((each) => [each.code, each.thresholds]));
  for (const each of kept) {
    t.strictSame(each.thresholds, thresholds[each.indicatorCode]);
    t.match(each, { run: { id }, reason: /^[A-Z].+\.$/ }, `${nameOf(each)} of ${each.indicatorCode}`);
    t.ok(Object.keys(each.inputs).length > 0, JSON.stringify(each.inputs));
    t.equal(each.value === null, each.outcome === 'NOT_COMPUTABLE' && each.indicatorCode !== 'supplier_concentration');
  }
  t.strictSame(await counted(), before, 'as many of each as were counted');
  t.equal(kept.length, before.flatMap((each) => [each.flagged, each.clear, each.not_computable]).reduce(sum, 0));
  t.strictSame(await flaggedOf(), total, 'what is clear flags no contract');
});

t.test('D2: what changes has its new outcome, and the other findings stay as they are', async (t) => {
  const before = new Map((await findings()).map((each) => [each.id, each]));
  await take(world, [
    contract('usual', { contract_sum: '500' }),
    contract('without plan', { plan_sum: '1000' }),
    tender('long', { ends_at: '2024-03-02T09:00:00Z' }),
  ]);
  await run();
  const kept = await findings();
  t.strictSame(told(kept, 'super_dumping'), ['far below: FLAGGED', 'usual: FLAGGED', 'without plan: CLEAR']);
  t.strictSame(told(kept, 'r003'), ['long: FLAGGED', 'short: FLAGGED', 'without end: NOT_COMPUTABLE']);
  const judged = kept.filter(({ id }) => !before.has(id)).map((each) => `${each.indicatorCode} ${nameOf(each)}`);
  t.strictSame(judged.sort(), [
    'r003 long',
    'super_dumping usual',
    'super_dumping without plan',
    'supplier_concentration 000740000001',
  ]);
});

t.test('D2: what is kept no longer goes with the next run, though nothing else has changed', async (t) => {
  await keep('{flagged,not_computable}');
  await run();
  t.strictSame(told(await findings(), 'r003'), ['long: FLAGGED', 'short: FLAGGED', 'without end: NOT_COMPUTABLE']);
  t.strictSame(told(await findings(), 'supplier_concentration'), [
    `${bin(1)}: FLAGGED`,
    '000740000001: NOT_COMPUTABLE',
  ]);
  await keep('{flagged}');
  await run();
  const outcomes = (await findings()).map(({ outcome }) => outcome);
  t.strictSame(outcomes, ['FLAGGED', 'FLAGGED', 'FLAGGED', 'FLAGGED', 'FLAGGED']);
  await t.rejects(keep('{clear,not_computable}'), /what_is_flagged_is_kept/);
});
