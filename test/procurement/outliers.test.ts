import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// D3: sums unlike the others of their category. What is expected is worked out by hand, or here, apart from SQL.

const { world, ask, run, flagged, explain, tried } = await openAnalysis(t);

const category = (name: string, sums: number[], fields: Record<string, string> = {}) =>
  sums.map((sum, n) => contract(`${name} ${n}`, { category: name, contract_sum: `${sum}`, ...fields }));
const refs = (findings: { contract: { sourceRef: string } | null }[]) =>
  findings.map(({ contract }) => contract?.sourceRef);
const near = (actual: number | null | undefined, expected: number) =>
  Math.abs((actual ?? Number.NaN) - expected) < 1e-9;

function median(values: number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2;
}

const handbook = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3];
const roads = [100, 120, 90, 110, 105, 95, 130, 115, 85, 5000];
await take(world, [
  ...category('handbook', handbook),
  ...category('roads', roads),
  ...category('alike', [100, 100, 100, 100, 100, 100, 100, 100, 100, 300]),
  ...category('the same', Array(10).fill(100)),
  ...category('few', [1, 1, 1, 1, 1, 1, 1, 1, 1000]),
  // With VAT they are not compared with what is without.
  ...category('roads', [9000], { contract_sum: '', contract_sum_vat: '9000', ref: 'roads with VAT' }),
  contract('no category', { contract_sum: '1000000' }),
  ...category('roads', [1_000_000], { status: '350', ref: 'cancelled' }),
]);
await run();

t.test('D3: robust z over 3.5 by median and MAD of the logarithms', async (t) => {
  t.strictSame(refs(await flagged('sum_outlier')), ['alike 9', 'handbook 8', 'handbook 9', 'roads 9']);
  const logs = roads.map(Math.log);
  const center = median(logs);
  const mad = median(logs.map((each) => Math.abs(each - center)));
  const found = (await flagged('sum_outlier')).find(({ contract }) => contract?.sourceRef === 'roads 9');
  t.ok(near(found?.value, (0.6745 * (Math.log(5000) - center)) / mad), `${found?.value}`);
  t.match(found?.inputs, { sum: 5000, contracts: 10, category: 'roads' });
  t.ok(near(found?.inputs.median, Math.exp(center)));
  t.match(found?.reason, /Among 10 contracts of its category/);
});

t.test('D3: the example of Iglewicz and Hoaglin, without logarithms', async (t) => {
  const findings = await tried('sum_outlier', { logarithm: false });
  t.strictSame(refs(findings), ['alike 9', 'handbook 8', 'handbook 9', 'roads 9']);
  // Median 2.45, MAD 0.15.
  t.ok(near(findings[1]?.value, (0.6745 * 5.75) / 0.15), `${findings[1]?.value}`);
  // MAD 0: 200 from the median, and 20 on the average.
  t.ok(near(findings[0]?.value, 200 / (1.253314 * 20)), `${findings[0]?.value}`);
});

t.test('D3: beyond 1.5 interquartile ranges outside the middle half; beyond 3 far out', async (t) => {
  // 85 90 95 100 105 110 115 120 130 5000: Q1 96.25, Q3 118.75. 153 is outside by more than 1.5, and within 3.
  await take(world, category('bridges', [85, 90, 95, 100, 105, 110, 115, 120, 153, 5000]));
  const found = (await tried('sum_fences', { logarithm: false })).filter(
    ({ contract }) => contract?.sourceRef.startsWith('bridges') && contract.sourceRef !== 'bridges 9',
  );
  t.strictSame(refs(found), ['bridges 8']);
  t.ok(near(found[0]?.value, (153 - 118.75) / 22.5), `${found[0]?.value}`);
  t.match(found[0]?.inputs, { quartiles: [96.25, 107.5, 118.75], is_far_out: false });
  await run();
  const far = (await flagged('sum_fences')).find(({ contract }) => contract?.sourceRef === 'bridges 9');
  const lower = Math.log(95) + 0.25 * (Math.log(100) - Math.log(95));
  const upper = Math.log(115) + 0.75 * (Math.log(120) - Math.log(115));
  t.ok(near(far?.value, (Math.log(5000) - upper) / (upper - lower)), `${far?.value}`);
  t.match(far?.inputs, { is_far_out: true });
  t.match(await explain('bridges 0', 'sum_fences'), { outcome: 'CLEAR' });
  t.match(await explain('the same 3', 'sum_fences'), { outcome: 'NOT_COMPUTABLE', reason: /one and the same sum/ });
  t.match(await explain('few 8', 'sum_fences'), { outcome: 'NOT_COMPUTABLE' });
});

t.test('D3: clear, and not computable', async (t) => {
  t.match(await explain('the same 3', 'sum_outlier'), { outcome: 'CLEAR', value: 0 });
  t.match(await explain('roads 0', 'sum_outlier'), { outcome: 'CLEAR' });
  t.match(await explain('few 8', 'sum_outlier'), {
    outcome: 'NOT_COMPUTABLE',
    reason: /8 contracts of its category; at least 10/,
  });
  t.match(await explain('no category', 'sum_outlier'), { outcome: 'NOT_COMPUTABLE', reason: /category is missing/ });
  t.match(await explain('roads with VAT', 'sum_outlier'), { outcome: 'NOT_COMPUTABLE', reason: /0 contracts/ });
  t.match(await explain('cancelled', 'sum_outlier'), { outcome: 'NOT_COMPUTABLE', reason: /status 350/ });
});

t.test('D3: a change is judged with all of its category, also of the one it leaves', async (t) => {
  const judged = async () => {
    const { rows } = await world.owner.query(
      "select (flagged + clear + not_computable)::int as judged from procurement.indicator_results where indicator_code = 'sum_outlier' order by run_id desc limit 1",
    );
    return rows[0].judged;
  };
  // The tenth comes: 1,000 is an outlier now.
  await take(world, category('few', [1], { ref: 'few 9' }));
  await run();
  t.ok(refs(await flagged('sum_outlier')).includes('few 8'));
  t.equal(await judged(), 10, 'no other category was looked at');
  // One leaves: those of the handbook are too few.
  await take(world, [contract('handbook 0', { category: 'elsewhere', contract_sum: '2.1' })]);
  await run();
  t.strictSame(refs(await flagged('sum_outlier')), ['alike 9', 'bridges 9', 'few 8', 'roads 9']);
});

t.test('D3: an analyst is not told of what was compared with other regions', async (t) => {
  const analyst = await world.person('anna');
  const grant = (regionCode: string) =>
    ask('mutation ($input: GrantRegionInput!) { grantRegion(input: $input) { __typename } }', {
      input: { userId: analyst.id, regionCode },
    });
  await take(world, category('roads', [100], { region: 'KZ-71', ref: 'roads elsewhere' }));
  await run();
  await grant('KZ-75');
  t.notOk(refs(await flagged('sum_outlier', analyst.token)).includes('roads 9'));
  const { contracts } = await ask(
    '{ contracts(first: 1, filter: {sourceRef: {eq: "roads 9"}}) { nodes { id } } }',
    {},
    analyst.token,
  );
  const explained = async () =>
    (
      await ask(
        'query ($id: UUID!) { explainContract(contractId: $id) { indicatorCode value } }',
        { id: contracts.nodes[0].id },
        analyst.token,
      )
    ).explainContract.filter(({ indicatorCode }: { indicatorCode: string }) => indicatorCode === 'sum_outlier');
  t.strictSame(await explained(), []);

  await ask(
    'mutation { setThresholds(input: {indicatorCode: "sum_outlier", thresholds: {by_region: true}}) { indicator { code } } }',
  );
  await run();
  const found = (await flagged('sum_outlier', analyst.token)).find(({ contract }) => contract?.sourceRef === 'roads 9');
  t.match(found, { regionCodes: ['KZ-75'], inputs: { contracts: 10 } }, 'within its region it is told');
  t.equal((await explained()).length, 1);
});
