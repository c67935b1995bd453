import t from 'tap';
import { openAnalysis } from './analysis.ts';
import { bid, contract, take, tender } from './sample.ts';

// D3: what indicators say, weighed and added up. The sums expected are worked out by hand.

const { world, operator, ask, run } = await openAnalysis(t);
const analyst = await world.person('anna');

const bin = (n: number) => `${n}`.padStart(12, '0');
const sold = (customer: number, supplier: number, ref: string, contract_sum: number, region = 'KZ-75') =>
  contract(ref, { customer_bin: bin(customer), supplier_bin: bin(supplier), contract_sum: `${contract_sum}`, region });

type Score = {
  bin: string | null;
  scoredContract: { sourceRef: string } | null;
  regionCode: string | null;
  score: number;
  contracts: string;
  parts: { indicator: string; weight: number; share: number; contribution: number }[];
};
const list = async (kind: string, token?: string): Promise<Score[]> =>
  (
    await ask(
      `query ($filter: ScoreFilter) { scores(first: 100, orderBy: SCORE_DESC, filter: $filter) { nodes {
         bin scoredContract { sourceRef } regionCode score contracts parts } } }`,
      { filter: { kind: { eq: kind } } },
      token,
    )
  ).scores.nodes;
const told = (scores: Score[]) =>
  scores
    .map(
      ({ bin, scoredContract, regionCode, score }) =>
        `${scoredContract?.sourceRef ?? Number(bin)} ${regionCode ?? 'everywhere'} ${score}`,
    )
    .sort();
const score = async (anew = false) =>
  Number(
    (await ask('mutation ($anew: Boolean) { scoreFindings(input: {anew: $anew}) { result } }', { anew })).scoreFindings
      .result,
  );

await take(world, [
  // Customer 1 and supplier 11: 5 of their 5 and 6 contracts, one of them far below plan, one just below it.
  sold(1, 11, 'far below', 600),
  sold(1, 11, 'just below', 995),
  ...[1, 2, 3].map((n) => sold(1, 11, `usual ${n}`, 900)),
  sold(2, 11, 'other', 900),
  // Customer 3 in two regions: 1 of 2 and 1 of 8 contracts far below plan.
  sold(3, 12, 'here', 500),
  sold(3, 13, 'here too', 900),
  sold(3, 14, 'there', 500, 'KZ-71'),
  ...[1, 2, 3, 4, 5, 6, 7].map((n) => sold(3, 20 + n, `there ${n}`, 900, 'KZ-71')),
]);
await run(false);

t.test('D3: a contract has the weights of what has flagged it or its pair', async (t) => {
  t.ok((await score()) > 0);
  const contracts = await list('CONTRACT');
  t.strictSame(told(contracts.filter(({ regionCode }) => regionCode === null)), [
    'far below everywhere 2',
    'here everywhere 1',
    'just below everywhere 2',
    'there everywhere 1',
    'usual 1 everywhere 1',
    'usual 2 everywhere 1',
    'usual 3 everywhere 1',
  ]);
  const far = contracts.find(({ scoredContract }) => scoredContract?.sourceRef === 'far below');
  t.strictSame(far?.parts, [
    { indicator: 'partnership', weight: 1, share: 1, contribution: 1 },
    { indicator: 'super_dumping', weight: 1, share: 1, contribution: 1 },
  ]);
});

t.test('D3: a company has them by the share of its contracts, in each region and everywhere', async (t) => {
  t.strictSame(told(await list('CUSTOMER')), [
    // 1 of 5 and 1 of 5, and the pair.
    '1 KZ-75 1.4',
    '1 everywhere 1.4',
    // 1 of 8; 1 of 2, as if of 5; 2 of 10.
    '3 KZ-71 0.125',
    '3 KZ-75 0.2',
    '3 everywhere 0.2',
  ]);
  const suppliers = await list('SUPPLIER');
  const [one] = suppliers.filter(({ bin: of, regionCode }) => of === bin(11) && regionCode === null);
  t.equal(one?.contracts, '6');
  const sum = (one?.parts ?? []).reduce((sum, { contribution }) => sum + contribution, 0);
  t.ok(Math.abs((one?.score ?? 0) - (1 + 1 / 6 + 1 / 6)) < 1e-12 && Math.abs(sum - (one?.score ?? 0)) < 1e-12);
});

t.test('D3: scores follow runs and weights, and are left where neither has changed', async (t) => {
  t.equal(await score(), 0);
  await run();
  t.equal(await score(), 0, 'a run that had nothing to judge changes nothing');
  await ask('mutation { setWeight(input: {indicatorCode: "super_dumping", weight: 2.5}) { indicator { weight } } }');
  t.ok((await score()) > 0);
  t.ok(told(await list('CONTRACT')).includes('far below everywhere 3.5'));
  await ask('mutation { setWeight(input: {indicatorCode: "partnership", weight: 0}) { indicator { weight } } }');
  await score();
  t.ok(told(await list('CONTRACT')).includes('far below everywhere 2.5'));
  t.notOk(told(await list('CONTRACT')).includes('usual 1 everywhere 1'));
  await take(world, [sold(3, 12, 'here', 900)]);
  await run();
  await score();
  t.strictSame(told(await list('CUSTOMER')).slice(2), ['3 KZ-71 0.3125', '3 everywhere 0.25']);
  const refused = await world.ask(
    'mutation { setWeight(input: {indicatorCode: "partnership", weight: -1}) { indicator { weight } } }',
    {},
    operator.token,
  );
  t.match(refused.errors?.[0], { message: /Weight is 0 to 100/ });
});

t.test('D3: an analyst sees scores that count nothing outside their regions', async (t) => {
  await ask('mutation ($input: GrantRegionInput!) { grantRegion(input: $input) { __typename } }', {
    input: { userId: analyst.id, regionCode: 'KZ-71' },
  });
  t.strictSame(told(await list('CUSTOMER', analyst.token)), ['3 KZ-71 0.3125']);
  t.strictSame(told(await list('CONTRACT', analyst.token)), ['there KZ-71 2.5', 'there everywhere 2.5']);
  const { contracts } = await ask(
    '{ contracts(first: 1, filter: {sourceRef: {eq: "there"}}) { nodes { scores(first: 5) { totalCount } } } }',
    {},
    analyst.token,
  );
  t.equal(contracts.nodes[0].scores.totalCount, 2);
});

t.test('D3: a flag of a tender counts in no score, whatever its weight; one of a company that bids does', async (t) => {
  await ask('mutation ($input: SetThresholdsInput!) { setThresholds(input: $input) { indicator { code } } }', {
    input: { indicatorCode: 'r038', thresholds: { fence: 0.5, bids: 1, tenders: 1 } },
  });
  await ask('mutation { setWeight(input: {indicatorCode: "r018", weight: 100}) { indicator { weight } } }');
  await take(world, [
    tender('of one', { customer_bin: bin(51) }),
    bid('of one', bin(61), '900'),
    tender('of two', { customer_bin: bin(52) }),
    bid('of two', bin(62), '900'),
    bid('of two', bin(63), '800', { status: 'disqualified' }),
  ]);
  await run();
  await score();
  const { rows } = await world.owner.query(
    `select indicator_code, tender_id is not null as of_tender, customer_bin, supplier_bin
     from procurement.findings where indicator_code in ('r018', 'r038') order by 1, 3 nulls last`,
  );
  t.strictSame(rows, [
    { indicator_code: 'r018', of_tender: true, customer_bin: bin(51), supplier_bin: null },
    { indicator_code: 'r038', of_tender: false, customer_bin: bin(52), supplier_bin: null },
    { indicator_code: 'r038', of_tender: false, customer_bin: null, supplier_bin: bin(63) },
  ]);
  const bidders = (scores: Score[]) => told(scores).filter((each) => /^[56]\d everywhere/.test(each));
  t.strictSame(bidders(await list('CUSTOMER')), ['52 everywhere 1']);
  t.strictSame(bidders(await list('SUPPLIER')), ['63 everywhere 1']);
});
