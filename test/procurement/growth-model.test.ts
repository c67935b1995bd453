import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { contract, take } from './sample.ts';

// D3: a model trained on history. What it learns and how good it is are checked by what they mean, apart from the SQL that finds them.

const { world, operator, ask } = await openAnalysis(t);

let state = 20261121;
const chance = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const bin = (n: number) => `${n}`.padStart(12, '0');
const day = (n: number) => new Date(Date.UTC(2020, 0, 1 + n)).toISOString().slice(0, 10);

/** A contract that is over, grown or not. */
const over = (ref: string, signed_on: string, ends_on: string, grown: boolean, fields: Record<string, string>) => {
  const first = contract(ref, { status: '390', signed_on, ends_on, fiscal_year: signed_on.slice(0, 4), ...fields });
  const sum = Number(first.record.contract_sum) * (grown ? 1.5 : 1.1);
  return [
    first,
    {
      kind: first.kind,
      record: { ...first.record, ref: `${ref} closed`, root: ref, version: '2', contract_sum: `${sum}` },
    },
  ];
};

type Model = {
  id: string;
  means: number[];
  deviations: number[];
  coefficients: number[];
  splitOn: string;
  trained: string;
  trainedGrown: string;
  tested: string;
  testedGrown: string;
  auc: number;
  brier: number;
  baseRateBrier: number;
  calibration: { contracts: number; forecast: number; grown: number }[];
  isOfUse: boolean;
  isSettled: boolean;
};
const train = async (input: object = {}): Promise<Model> =>
  (
    await ask(
      `mutation ($input: TrainGrowthModelInput!) { trainGrowthModel(input: $input) { growthModel {
         id means deviations coefficients splitOn trained trainedGrown tested testedGrown auc brier baseRateBrier calibration isOfUse isSettled } } }`,
      { input },
    )
  ).trainGrowthModel.growthModel;
const refused = async (query: string, variables: object) =>
  (await world.ask(query, variables, operator.token)).errors?.[0];

t.test('D3: with too few contracts there is no model', async (t) => {
  t.match(await refused('mutation { trainGrowthModel(input: {}) { growthModel { id } } }', {}), {
    message: /too few contracts/,
    extensions: { code: 'CONFLICT' },
  });
});

t.test('D3: features are what was known when a contract was signed', async (t) => {
  const fields = { customer_bin: bin(1), supplier_bin: bin(2), category: '45231300-8', region: 'KZ-10' };
  await take(world, [
    ...over('before', '2019-01-01', '2019-06-01', true, fields),
    ...over('on the day', '2019-06-01', '2019-12-31', false, { ...fields, supplier_bin: bin(3) }),
    ...over('after', '2019-10-02', '2019-12-31', false, { ...fields, category: '45239999-9', has_advance: 'true' }),
    contract('goes on', { ...fields, signed_on: '2020-03-01', fiscal_year: '2020', category: '' }),
  ]);
  const { growthFeatures } = await ask(
    `{ growthFeatures(first: 10) { nodes { contractId signedOn growth isOver planSumLn discount lastQuarter advance
       customerContractsLn customerGrown supplierContractsLn supplierGrown classContractsLn classGrown } } }`,
  );
  const rows = growthFeatures.nodes.sort((one: { signedOn: string }, other: { signedOn: string }) =>
    one.signedOn < other.signedOn ? -1 : 1,
  );
  t.match(rows[0], { isOver: true, customerContractsLn: 0, customerGrown: 0, lastQuarter: 0, advance: 0 });
  t.ok(Math.abs(rows[0].growth - 50) < 1e-9 && Math.abs(rows[0].discount - 0.1) < 1e-12);
  t.equal(rows[0].planSumLn, Math.log(1000));
  t.match(rows[1], { customerContractsLn: 0, customerGrown: 0 }, 'what ends on the day was not over then');
  t.match(rows[2], {
    lastQuarter: 1,
    advance: 1,
    customerContractsLn: Math.log(2),
    customerGrown: 1 / 11,
    supplierContractsLn: Math.log(2),
    classContractsLn: Math.log(2),
  });
  t.match(rows[3], {
    isOver: false,
    growth: 0,
    customerContractsLn: Math.log(4),
    customerGrown: 1 / 13,
    classGrown: null,
  });
  t.ok(Math.abs(rows[3].supplierContractsLn - Math.log(3)) < 1e-12);
});

let model: Model;

t.test('D3: a model finds what makes sums grow, and is measured on what was signed later', async (t) => {
  // The further below plan, the more grow: from 5 % of those at plan to 75 % of those at half of it.
  const planted = Array.from({ length: 700 }, (_, n) => {
    const discount = chance() / 2;
    const grown = chance() < 0.05 + 1.4 * discount;
    return over(`planted ${n}`, day(n), day(n + 60), grown, {
      customer_bin: bin(100 + (n % 7)),
      supplier_bin: bin(200 + (n % 11)),
      contract_sum: (1000 * (1 - discount)).toFixed(2),
    });
  });
  await take(world, planted.flat());
  model = await train();
  t.equal(Number(model.trained) + Number(model.tested), 703, 'what goes on is not learned from');
  t.ok(model.isSettled && model.isOfUse);

  const { rows } = await world.owner.query(
    `select to_char(signed_on, 'YYYY-MM-DD') as day, growth > 20 as grown, array[plan_sum_ln, discount, last_quarter, advance, customer_contracts_ln,
       customer_grown, supplier_contracts_ln, supplier_grown, class_contracts_ln, class_grown] as features
     from procurement.growth_features where is_over`,
  );
  const given = rows.map(({ day, grown, features }) => {
    const x = (features as (number | null)[]).map((feature, n) =>
      feature === null ? 0 : (feature - (model.means[n] ?? 0)) / (model.deviations[n] ?? 1),
    );
    const odds = [1, ...x].reduce((sum, value, n) => sum + value * (model.coefficients[n] ?? 0), 0);
    return { isTest: day >= model.splitOn, y: grown ? 1 : 0, x: [1, ...x], p: 1 / (1 + Math.exp(-odds)) };
  });
  const training = given.filter(({ isTest }) => !isTest);
  const tests = given.filter(({ isTest }) => isTest);
  t.equal(training.length, Number(model.trained));
  t.equal(
    tests.reduce((sum, { y }) => sum + y, 0),
    Number(model.testedGrown),
  );

  // The maximum of the penalised likelihood is where its slope is 0 in every direction.
  for (let n = 0; n < model.coefficients.length; n += 1) {
    const slope = training.reduce((sum, { x, y, p }) => sum + (x[n] ?? 0) * (y - p), 0);
    const penalty = n === 0 ? 0 : (model.coefficients[n] ?? 0);
    t.ok(Math.abs(slope - penalty) < 1e-6, `slope ${n}: ${slope - penalty}`);
  }
  t.ok((model.coefficients[2] ?? 0) > 0.3, 'the discount counts');

  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const pairs = tests
    .filter(({ y }) => y === 1)
    .flatMap((one) =>
      tests.filter(({ y }) => y === 0).map((other) => (one.p > other.p ? 1 : one.p === other.p ? 0.5 : 0)),
    );
  t.ok(Math.abs(model.auc - mean(pairs)) < 1e-9, `${model.auc}`);
  t.ok(Math.abs(model.brier - mean(tests.map(({ y, p }) => (p - y) ** 2))) < 1e-9);
  const rate = mean(training.map(({ y }) => y));
  t.ok(Math.abs(model.baseRateBrier - mean(tests.map(({ y }) => (rate - y) ** 2))) < 1e-9);
  t.equal(model.calibration.length, 10);
  const lowest = tests.map(({ p }) => p).sort((one, other) => one - other);
  const tenth = model.calibration[0];
  t.ok(Math.abs((tenth?.forecast ?? 0) - mean(lowest.slice(0, tenth?.contracts))) < 1e-9);
  t.equal(
    model.calibration.reduce((sum, { grown }) => sum + grown, 0),
    Number(model.testedGrown),
  );
});

t.test('D3: an adopted model forecasts of what it was not trained on, with its parts', async (t) => {
  const count = async () => (await ask('{ growthForecasts(first: 1) { totalCount } }')).growthForecasts.totalCount;
  const forecast = async () => (await ask('mutation { forecastGrowth { result } }')).forecastGrowth.result;
  t.equal(Number(await forecast()), 0);
  const adopt = 'mutation ($id: BigInt!) { adoptGrowthModel(input: {modelId: $id}) { growthModel { adoptedAt } } }';
  await ask(adopt, { id: model.id });
  t.equal(Number(await forecast()), Number(model.tested));
  t.equal(await count(), Number(model.tested));
  const { growthForecasts } = await ask(
    '{ growthForecasts(first: 5, orderBy: PROBABILITY_DESC) { nodes { probability parts forecastContract { signedOn discount } } } }',
  );
  for (const { probability, parts, forecastContract } of growthForecasts.nodes) {
    t.ok(forecastContract.signedOn >= model.splitOn && forecastContract.discount > 25);
    const odds = parts.reduce(
      (sum: number, { contribution }: { contribution: number }) => sum + contribution,
      model.coefficients[0],
    );
    t.ok(Math.abs(probability - 1 / (1 + Math.exp(-odds))) < 1e-9);
    t.equal(parts[0].feature, 'discount');
  }

  // With growth that has nothing to do with anything, there is nothing to learn.
  await take(
    world,
    Array.from({ length: 400 }, (_, n) =>
      over(`noise ${n}`, day(n), day(n + 60), chance() < 0.3, {
        region: 'KZ-71',
        contract_sum: `${500 + chance() * 500}`,
      }),
    ).flat(),
  );
  const noise = await train({ regionCodes: ['KZ-71'] });
  t.equal(Number(noise.trained) + Number(noise.tested), 400, 'of these regions alone');
  t.notOk(noise.isOfUse, `AUC ${noise.auc}`);
  t.match(await refused(adopt, { id: noise.id }), { extensions: { code: 'CONFLICT' } });
});

t.test('D3: an analyst sees models of their regions, and what these forecast', async (t) => {
  const analyst = await world.person('anna');
  await ask('mutation ($input: GrantRegionInput!) { grantRegion(input: $input) { __typename } }', {
    input: { userId: analyst.id, regionCode: 'KZ-75' },
  });
  const seen = async () => {
    const { growthModels, growthForecasts } = await ask(
      '{ growthModels(first: 10) { nodes { id } } growthForecasts(first: 1) { totalCount nodes { parts } } }',
      {},
      analyst.token,
    );
    return [growthModels.nodes.map(({ id }: { id: string }) => id), growthForecasts.totalCount];
  };
  t.strictSame(await seen(), [[], 0], 'of a model that knows other regions they are told nothing');
  const own = await train({ regionCodes: ['KZ-75'] });
  await ask('mutation ($id: BigInt!) { adoptGrowthModel(input: {modelId: $id}) { growthModel { id } } }', {
    id: own.id,
  });
  await ask('mutation { forecastGrowth { result } }');
  t.strictSame(await seen(), [[own.id], Number(own.tested)]);
});
