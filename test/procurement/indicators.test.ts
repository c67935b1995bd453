import t from 'tap';
import { openWorld } from '../world.ts';
import { contract, payment, take } from './sample.ts';

const world = await openWorld(t);
const operator = await world.person('olga', { operator: true });

async function ask(query: string, variables: object = {}, token = operator.token) {
  const { data, errors } = await world.ask(query, variables, token);
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

async function run(changedOnly = true): Promise<string> {
  const { runIndicators } = await ask(
    'mutation ($changedOnly: Boolean) { runIndicators(input: {changedOnly: $changedOnly}) { indicatorRun { id } } }',
    { changedOnly },
  );
  return runIndicators.indicatorRun.id;
}

/** The contracts that an indicator has flagged, by what their source calls them. */
async function flagged(indicator: string): Promise<string[]> {
  const { findings } = await ask(
    'query ($filter: FindingFilter) { findings(first: 100, filter: $filter) { nodes { contract { sourceRef } customerBin } } }',
    { filter: { indicatorCode: { eq: indicator }, outcome: { eq: 'FLAGGED' } } },
  );
  return findings.nodes
    .map(
      (node: { contract: { sourceRef: string } | null; customerBin: string }) =>
        node.contract?.sourceRef ?? node.customerBin,
    )
    .sort();
}

async function explain(ref: string, indicator: string) {
  const { contracts } = await ask(
    'query ($filter: ContractFilter) { contracts(first: 1, filter: $filter) { nodes { id } } }',
    { filter: { sourceRef: { eq: ref } } },
  );
  const { explainContract } = await ask(
    'query ($id: UUID!) { explainContract(contractId: $id) { indicatorCode outcome value thresholds inputs reason } }',
    { id: contracts.nodes[0].id },
  );
  return explainContract.find((each: { indicatorCode: string }) => each.indicatorCode === indicator);
}

await take(world, [
  contract('30 %', { contract_sum: '700' }),
  contract('31 %', { contract_sum: '690' }),
  contract('as planned', { contract_sum: '1000' }),
  contract('0.5 %', { contract_sum: '995' }),
  contract('1 %', { contract_sum: '990' }),
  contract('above plan', { contract_sum: '1001' }),
  // Without and with VAT are not to be compared: 690 of 1,000 net, not of 1,120 gross.
  contract('mixed', { plan_sum: '', plan_sum_vat: '1120', contract_sum: '690' }),
  contract('gross', { plan_sum: '', plan_sum_vat: '1120', contract_sum: '', contract_sum_vat: '700' }),
  contract('no plan', { plan_sum: '0', contract_sum: '690' }),
  contract('no supplier', { contract_sum: '1', supplier_bin: '' }),
  ...['450', '455', '190', '390'].map((status) => contract(`in ${status}`, { status, contract_sum: '500' })),
  ...['185', '330', '340', '350', '420', '430', '461', '462', '463', '480'].map((status) =>
    contract(`out ${status}`, { status, contract_sum: '500' }),
  ),
  contract('of years', { type: 'multi_year', contract_sum: '500' }),

  contract('paid soon'),
  payment('paid soon', '2024-03-10'),
  payment('paid soon', '2024-06-10'),
  contract('paid on day 10'),
  payment('paid on day 10', '2024-03-11'),
  contract('advance marked'),
  payment('advance marked', '2024-03-02', { is_advance: 'true' }),
  payment('advance marked', '2024-09-02'),
  contract('advance agreed', { has_advance: 'true' }),
  payment('advance agreed', '2024-03-02'),
  contract('not annual', { type: 'standard' }),
  payment('not annual', '2024-03-02'),

  contract('grown'),
  contract('grown 2', { root: 'grown', parent: 'grown', version: '2', contract_sum: '1200' }),
  contract('grown 3', { root: 'grown', parent: 'grown 2', version: '3', contract_sum: '1081' }),
  contract('grown and shrunk'),
  contract('grown and shrunk 2', { root: 'grown and shrunk', version: '2', contract_sum: '2000' }),
  contract('grown and shrunk 3', { root: 'grown and shrunk', version: '3', contract_sum: '950' }),
  contract('executed', { actual_sum: '100' }),
  contract('executed 2', { root: 'executed', version: '2', actual_sum: '121' }),
  contract('not executed', { actual_sum: '0' }),
  contract('not executed 2', { root: 'not executed', version: '2', actual_sum: '500' }),
]);

t.test('D2: the first run judges everything', async (t) => {
  const id = await run();
  const { indicatorResults } = await ask(
    'query ($filter: IndicatorResultFilter) { indicatorResults(first: 100, filter: $filter) { nodes { indicatorCode isFull } } }',
    { filter: { runId: { eq: id } } },
  );
  const { rows } = await world.owner.query('select count(*)::int as asked from procurement.indicators where is_on');
  t.equal(indicatorResults.nodes.length, rows[0].asked);
  t.ok(indicatorResults.nodes.every(({ isFull }: { isFull: boolean }) => isFull));
});

t.test(
  'D2: more than 30 % below plan, both sums without VAT or both with; drafts and cancelled contracts stay out',
  async (t) => {
    t.strictSame(await flagged('super_dumping'), ['31 %', 'gross', 'in 190', 'in 390', 'in 450', 'in 455'].sort());
    t.match(await explain('30 %', 'super_dumping'), { outcome: 'CLEAR', value: 30, thresholds: { percent: 30 } });
    t.match(await explain('mixed', 'super_dumping'), {
      outcome: 'NOT_COMPUTABLE',
      value: null,
      reason: /without or with VAT/,
    });
    t.match(await explain('no plan', 'super_dumping'), { outcome: 'NOT_COMPUTABLE' });
    t.match(await explain('no supplier', 'super_dumping'), { outcome: 'NOT_COMPUTABLE', reason: /BIN/ });
    t.match(await explain('out 350', 'super_dumping'), {
      outcome: 'NOT_COMPUTABLE',
      reason: /status 350 are left out/,
    });
    t.match(await explain('31 %', 'super_dumping'), {
      outcome: 'FLAGGED',
      value: 31,
      inputs: { plan_sum: 1000, contract_sum: 690 },
      reason: 'The agreed sum is 31.00 % below the planned one; over 30 % is remarkable.',
    });
  },
);

t.test('D2: over 0 % and up to 1 % below plan', async (t) => {
  t.strictSame(await flagged('minimal_dumping'), ['0.5 %', '1 %']);
});

t.test('D2: paid less than 10 days after signing, in annual contracts, unless by an advance', async (t) => {
  t.strictSame(await flagged('fast_payment'), ['paid soon']);
  t.match(await explain('paid soon', 'fast_payment'), { value: 9 });
  t.match(await explain('paid on day 10', 'fast_payment'), { outcome: 'CLEAR', value: 10 });
  t.match(await explain('advance agreed', 'fast_payment'), { outcome: 'CLEAR', reason: /advance/ });
  t.match(await explain('advance marked', 'fast_payment'), { outcome: 'CLEAR', value: 185 });
  t.match(await explain('grown', 'fast_payment'), { outcome: 'NOT_COMPUTABLE', reason: /No payment is known/ });
  t.match(await explain('not annual', 'fast_payment'), { outcome: 'NOT_COMPUTABLE', reason: /does not look at/ });
});

t.test('D2: grown by more than 20 % from the first version to the last; 0 executed is not executed yet', async (t) => {
  t.strictSame(await flagged('sum_growth'), ['grown']);
  t.match(await explain('grown', 'sum_growth'), { inputs: { first_sum: 900, last_sum: 1081, last_version: 3 } });
  t.strictSame(await flagged('actual_growth'), ['executed']);
  t.match(await explain('executed', 'actual_growth'), { value: 21 });
  t.match(await explain('not executed', 'actual_growth'), {
    outcome: 'NOT_COMPUTABLE',
    reason: /0 is not executed yet/,
  });
  t.match(await explain('grown 2', 'sum_growth'), { outcome: 'NOT_COMPUTABLE', reason: /later version/ });
});

const couple = (name: string, count: number, fields: Record<string, string>) =>
  Array.from({ length: count }, (_, n) => contract(`${name} ${n}`, fields));

t.test('D2: a customer and a supplier with over half of their contracts and at least 5 with each other', async (t) => {
  await take(world, [
    ...couple('pair', 5, { customer_bin: '000000000011', supplier_bin: '000000000012' }),
    contract('beside', { customer_bin: '000000000011', supplier_bin: '000000000013' }),
    ...couple('few', 4, { customer_bin: '000000000021', supplier_bin: '000000000022' }),
    ...couple('half', 5, { customer_bin: '000000000031', supplier_bin: '000000000032' }),
    ...couple('other half', 5, { customer_bin: '000000000031', supplier_bin: '000000000033' }),
  ]);
  await run();
  const pairs = async () => (await flagged('partnership')).filter((bin) => bin.startsWith('0000000000'));
  t.strictSame(await pairs(), ['000000000011']);
  const { findings } = await ask(
    'query ($filter: FindingFilter) { findings(first: 1, filter: $filter) { nodes { value inputs customer { bin } supplier { bin } } } }',
    { filter: { customerBin: { eq: '000000000011' } } },
  );
  t.match(findings.nodes[0], {
    inputs: { contracts: 5, of_supplier: 5, of_customer: 6 },
    supplier: { bin: '000000000012' },
  });

  // The share of a pair changes when a contract of another pair leaves the supplier.
  await take(world, [contract('other half 0', { customer_bin: '000000000041', supplier_bin: '000000000033' })]);
  await run();
  t.strictSame(await pairs(), ['000000000011', '000000000031'], '5 of 9 are over a half');
});

t.test('a run on what changed judges that and no more', async (t) => {
  const { rows: before } = await world.owner.query('select id from procurement.findings');
  await take(world, [contract('30 %', { contract_sum: '600' }), contract('31 %', { contract_sum: '800' })]);
  const id = await run();
  t.ok((await flagged('super_dumping')).includes('30 %'));
  t.notOk((await flagged('super_dumping')).includes('31 %'));
  const { rows } = await world.owner.query(
    'select indicator_code, is_full, flagged + clear + not_computable as judged from procurement.indicator_results where run_id = $1',
    [id],
  );
  t.strictSame(
    rows.filter(({ indicator_code }) => indicator_code === 'super_dumping'),
    [{ indicator_code: 'super_dumping', is_full: false, judged: '2' }],
  );
  const { rows: after } = await world.owner.query('select id from procurement.findings where run_id <> $1', [id]);
  const usualPair = before.length - after.length;
  t.ok(usualPair <= 2, 'the other findings are as they were');

  await run();
  const { rows: idle } = await world.owner.query(
    'select sum(flagged + clear + not_computable)::int as judged from procurement.indicator_results where run_id = (select max(id) from procurement.indicator_runs)',
  );
  t.equal(idle[0].judged, 0, 'then there is nothing to judge');

  const judgedPairs = async (fields: Record<string, string>): Promise<number> => {
    await take(world, [contract('pair 0', { customer_bin: '000000000011', supplier_bin: '000000000012', ...fields })]);
    await run();
    const { rows: pairs } = await world.owner.query(
      "select (flagged + clear)::int as judged from procurement.indicator_results where indicator_code = 'partnership' order by run_id desc limit 1",
    );
    return pairs[0].judged;
  };
  const pairIsFlagged = async () => (await flagged('partnership')).includes('000000000011');
  t.equal(await judgedPairs({ contract_sum: '901' }), 0, 'what no share counts concerns no pair');
  t.ok(await pairIsFlagged());
  t.equal(await judgedPairs({ status: '350' }), 0, 'a pair that has too few contracts now is judged no more');
  t.notOk(await pairIsFlagged());
  t.equal(await judgedPairs({}), 1);
  t.ok(await pairIsFlagged());

  await run(false);
  t.ok((await flagged('super_dumping')).includes('30 %'), 'a run on everything says the same');
});

t.test('thresholds are tried apart, and adopted by who sets them', async (t) => {
  const before = await flagged('super_dumping');
  const { tryThresholds } = await ask(
    `mutation { tryThresholds(input: {indicatorCode: "super_dumping", thresholds: {percent: 45}}) { indicatorRun {
      isTrial results(first: 1) { nodes { flagged thresholds } } trialFindings(first: 100) { nodes { reason } } } } }`,
  );
  t.match(tryThresholds.indicatorRun, {
    isTrial: true,
    results: { nodes: [{ flagged: '4', thresholds: { percent: 45 } }] },
  });
  t.equal(tryThresholds.indicatorRun.trialFindings.nodes.length, 4);
  t.strictSame(await flagged('super_dumping'), before, 'the findings are as they were');

  const refused = await world.ask(
    'mutation { setThresholds(input: {indicatorCode: "super_dumping", thresholds: {percent: "much"}}) { indicator { code } } }',
    {},
    operator.token,
  );
  t.match(refused.errors?.[0], { extensions: { code: 'BAD_USER_INPUT', argument: 'thresholds' } });
  const { setThresholds } = await ask(
    'mutation { setThresholds(input: {indicatorCode: "super_dumping", thresholds: {percent: 45}}) { indicator { version thresholds defaults } } }',
  );
  t.strictSame(setThresholds.indicator, { version: 2, thresholds: { percent: 45 }, defaults: { percent: 30 } });
  await run();
  t.strictSame(await flagged('super_dumping'), ['in 190', 'in 390', 'in 450', 'in 455'], 'the next run goes by them');
});

t.test('any threshold may be a fraction', async (t) => {
  const { rows } = await world.owner.query<{ code: string; thresholds: object }>(
    `select code, jsonb_object_agg(key, case jsonb_typeof(value) when 'number' then to_jsonb(value::numeric + 0.5) else value end) as thresholds
     from procurement.indicators, jsonb_each(thresholds) group by code order by code`,
  );
  for (const { code, thresholds } of rows) {
    const tried = await world.ask(
      'mutation ($input: TryThresholdsInput!) { tryThresholds(input: $input) { indicatorRun { results(first: 1) { nodes { thresholds } } } } }',
      { input: { indicatorCode: code, thresholds } },
      operator.token,
    );
    t.match(tried.data?.tryThresholds?.indicatorRun.results.nodes, [{ thresholds }], code, tried);
  }
});

t.test('trials go after 7 days with what they found, runs after 90 days unless a finding is of them', async (t) => {
  const tried = async (): Promise<string> => {
    const { tryThresholds } = await ask(
      'mutation { tryThresholds(input: {indicatorCode: "super_dumping", thresholds: {percent: 1}}) { indicatorRun { id } } }',
    );
    return tryThresholds.indicatorRun.id;
  };
  // Each run on everything takes the findings over.
  const runs = {
    'old trial': [await tried(), '7 days 1 minute'],
    'young trial': [await tried(), '6 days 23 hours'],
    'old run': [await run(false), '90 days 1 minute'],
    'young run': [await run(false), '89 days 23 hours'],
    'run with findings': [await run(false), '400 days'],
  };
  for (const [id, age] of Object.values(runs))
    await world.owner.query('update procurement.indicator_runs set started_at = now() - $2::interval where id = $1', [
      id,
      age,
    ]);
  const left = async (from: string, key = 'run_id'): Promise<string[]> => {
    const { rows } = await world.owner.query(`select distinct ${key} as id from procurement.${from}`);
    return Object.entries(runs).flatMap(([name, [id]]) => (rows.some((row) => row.id === id) ? [name] : []));
  };
  t.strictSame(await left('trial_findings'), ['old trial', 'young trial']);
  t.strictSame(await left('findings'), ['run with findings']);
  const { rows } = await world.owner.query('select procurement.expire_runs() as gone');
  t.equal(rows[0].gone, '2');
  const kept = ['young trial', 'young run', 'run with findings'];
  t.strictSame(await left('indicator_runs', 'id'), kept);
  t.strictSame(await left('indicator_results'), kept, 'with what was counted');
  t.strictSame(await left('trial_findings'), ['young trial'], 'and with what was found');
});
