import t from 'tap';
import { openWorld } from '../world.ts';
import { award, bid, take, tender } from './sample.ts';
import { asking } from './tenders.ts';

// Red flags whose fence is found from all tenders, or from all companies that bid: what stands out from the others.

const world = await openWorld(t);
const { ask, run, flagged, explain, explainCompany } = asking(world, await world.person('olga', { operator: true }));

/** Quantile of type 8 of Hyndman and Fan, from their definition: p(k) = (k − 1/3) / (n + 1/3), and lines between. */
function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const places = sorted.map((_, index) => (index + 1 - 1 / 3) / (sorted.length + 1 / 3));
  const above = places.findIndex((place) => place >= share);
  if (above === 0) return sorted[0] as number;
  if (above === -1) return sorted.at(-1) as number;
  const [low, high] = [sorted[above - 1] as number, sorted[above] as number];
  const [from, to] = [places[above - 1] as number, places[above] as number];
  return low + ((high - low) * (share - from)) / (to - from);
}

const setThresholds = (indicatorCode: string, thresholds: object) =>
  ask('mutation ($input: SetThresholdsInput!) { setThresholds(input: $input) { indicator { thresholds } } }', {
    input: { indicatorCode, thresholds },
  });

const findings = async () =>
  (
    await world.owner.query(
      `select indicator_code, tender_id, customer_bin, supplier_bin, outcome, value from procurement.findings
       order by indicator_code, tender_id, customer_bin, supplier_bin`,
    )
  ).rows;

const [winner, other, third] = ['000000000001', '000000000002', '000000000003'] as const;
/** A tender with two bids, of which the one of 1,000 wins. */
const priced = (ref: string, next: number) => [
  tender(ref),
  bid(ref, winner, '1000'),
  bid(ref, other, `${next}`),
  award(ref, winner),
];
const usual = Array.from({ length: 12 }, (_, n) => 1050 + 2 * n);

await take(world, [
  ...usual.flatMap((next) => priced(`next at ${next}`, next)),
  ...priced('close', 1001),
  ...priced('discounted', 1900),
  ...priced('lowest lost', 999),
  ...priced('several won', 1001),
  award('several won', other),
  ...priced('not settled', 1001),
  award('not settled', other, { status: 'pending' }),
  ...priced('bid together', 1001),
  bid('bid together', `${other} ${third}`, '1002'),
  tender('in two currencies'),
  bid('in two currencies', winner, '1000'),
  bid('in two currencies', other, '1001', { currency: 'USD' }),
  award('in two currencies', winner),
  tender('nobody else'),
  bid('nobody else', winner, '1000'),
  award('nobody else', winner),
]);
await run();
const gaps = [...usual, 1001, 1900].map((next) => (next - 1000) / 1000);
const [q1, q3] = [quantile(gaps, 0.25), quantile(gaps, 0.75)];

type Told = { value: number; inputs: { fence: number; compared_with: number } };

t.test('R024: the next bid is much closer to the winning one than in other tenders', async (t) => {
  t.strictSame(await flagged('r024'), ['close']);
  const told = (await explain('close', 'r024')) as unknown as Told;
  t.equal(told.value, 0.001);
  t.equal(told.inputs.compared_with, 14);
  t.ok(Math.abs(told.inputs.fence - (q1 - 1.5 * (q3 - q1))) < 1e-12, `${told.inputs.fence}`);
  t.match(await explain('next at 1050', 'r024'), { outcome: 'CLEAR', value: 0.05 });
});

t.test('R058: the next bid is much higher than in other tenders', async (t) => {
  t.strictSame(await flagged('r058'), ['discounted']);
  const told = (await explain('discounted', 'r058')) as unknown as Told;
  t.equal(told.value, 0.9);
  t.ok(Math.abs(told.inputs.fence - (q3 + 1.5 * (q3 - q1))) < 1e-12, `${told.inputs.fence}`);
  t.match(await explain('next at 1072', 'r058'), { outcome: 'CLEAR' });
});

t.test('R024 and R058 say what keeps a tender from being compared', async (t) => {
  const reasons: Record<string, RegExp> = {
    'lowest lost': /lowest bid did not win/,
    'several won': /Not exactly one award/,
    'not settled': /not settled/,
    'bid together': /bid together/,
    'in two currencies': /several currencies/,
    'nobody else': /no other valid bid/,
  };
  for (const [ref, reason] of Object.entries(reasons)) {
    t.match(await explain(ref, 'r024'), { outcome: 'NOT_COMPUTABLE', reason }, ref);
    t.match(await explain(ref, 'r058'), { outcome: 'NOT_COMPUTABLE', reason }, ref);
  }
});

t.test(
  'a fence that is found follows every change, and only what it passes over is judged with what changed',
  async (t) => {
    await take(world, [bid('close', other, '1060', { ref: 'close/000000000002/1001' })]);
    t.equal((await run()).r024, 1, 'nothing else is nearer than the new fence');
    t.strictSame(await flagged('r024'), []);
    // Now that most are within 0.2 % of 5 %, those that differ stand out, though nothing changed in them.
    await take(
      world,
      usual
        .slice(2)
        .map((next) =>
          bid(`next at ${next}`, other, `${1052 + (next % 3) / 10}`, { ref: `next at ${next}/${other}/${next}` }),
        ),
    );
    const judged = await run();
    t.equal(judged.r024, 11, 'the ten that changed and one that did not');
    t.strictSame(await flagged('r024'), ['next at 1050']);
    t.strictSame(await flagged('r058'), ['close', 'discounted']);
    const before = await findings();
    await run(false);
    t.strictSame(await findings(), before, 'as a run on everything');
    t.equal((await run()).r024, 0, 'nothing has changed');
    await take(
      world,
      usual
        .slice(2)
        .map((next) => bid(`next at ${next}`, other, `${next}`, { ref: `next at ${next}/${other}/${next}` })),
    );
    await run();
  },
);

t.test('a fence may be tried, and set', async (t) => {
  const tried = await ask(
    `mutation { tryThresholds(input: {indicatorCode: "r024", thresholds: {fence: 0.052}}) {
      indicatorRun { results(first: 1) { nodes { flagged thresholds } } } } }`,
  );
  t.match(tried.tryThresholds.indicatorRun.results.nodes, [{ flagged: '2', thresholds: { fence: 0.052, iqr: 1.5 } }]);
  await setThresholds('r024', { fence: 0.052 });
  await run();
  t.strictSame(await flagged('r024'), ['next at 1050', 'next at 1052'], 'on the fence is past it');
  await take(world, [bid('close', other, '1001', { ref: 'close/000000000002/1001' })]);
  t.equal((await run()).r024, 1);
  t.strictSame(await flagged('r024'), ['close', 'next at 1050', 'next at 1052']);
  await setThresholds('r024', { fence: null });
  await run();
  t.strictSame(await flagged('r024'), ['close']);
});

t.test('too few to compare with: not computable; where most are equal, only what differs stands out', async (t) => {
  await setThresholds('r058', { sample: 15 });
  await run();
  t.strictSame(await flagged('r058'), []);
  t.match(await explain('discounted', 'r058'), { outcome: 'NOT_COMPUTABLE', reason: /14 tenders .* at least 15/ });
  const { rows } = await world.owner.query(
    `select low.bound as low, high.bound as high, high.quartile
     from procurement._fence('{"fence": null, "iqr": 1.5, "sample": 4}', '{0,0,0,0,0,0,0,0,7}', false) as low,
       procurement._fence('{"fence": null, "iqr": 1.5, "sample": 4}', '{0,0,0,0,0,0,0,0,7}', true) as high`,
  );
  t.strictSame(rows, [{ low: 0, high: 0, quartile: 0 }], 'over 0, not 0 itself');
});

const bin = (prefix: number, n: number) => `${prefix}${`${n}`.padStart(11, '0')}`;
const couples = Array.from({ length: 10 }, (_, n) => n);
const [loser, once, disqualified] = ['900000000001', '900000000002', '900000000003'] as const;

t.test('R025, R038 and R048 compare companies with each other', async (t) => {
  await world.owner.query('delete from procurement.tenders');
  await setThresholds('r048', { tenders: 2 });
  await take(world, [
    // Ten customers with four tenders each, which two suppliers win in turn; one company bids everywhere and never wins.
    ...couples.flatMap((n) =>
      [0, 1, 2, 3].flatMap((turn) => {
        const ref = `tender ${n} ${turn}`;
        const supplier = bin(turn % 2 === 0 ? 7 : 8, n);
        const classifications = supplier === bin(7, 0) ? `45${turn}00000 33100000 7${turn}000000` : '45200000 45300000';
        return [
          tender(ref, { customer_bin: bin(6, n) }),
          bid(ref, bin(7, n), '100'),
          bid(ref, bin(8, n), '110'),
          bid(ref, loser, '120'),
          award(ref, supplier, { classifications: supplier === bin(8, 9) ? '' : classifications }),
        ];
      }),
    ),
    bid('tender 0 0', once, '130'),
    bid('tender 0 1', disqualified, '130'),
    bid('tender 0 2', disqualified, '130', { status: 'disqualified' }),
    bid('tender 0 3', disqualified, '130', { status: 'disqualified' }),
  ]);
  await run();

  t.strictSame(await flagged('r025'), [loser], 'who bids often and never wins');
  t.match(await explainCompany(loser, 'r025'), [{ value: 0, inputs: { bids: 40, won: 0, least_bids: 4, fence: 0.5 } }]);
  t.match(await explainCompany(once, 'r025'), [{ outcome: 'CLEAR', value: 0 }], 'one bid is not often');
  t.match(await explainCompany(bin(7, 1), 'r025'), [{ outcome: 'CLEAR', value: 0.5 }]);

  t.strictSame(await flagged('r038'), [bin(6, 0), disqualified].sort(), 'a customer and a tenderer');
  t.match(await explainCompany(disqualified, 'r038'), [{ inputs: { is_customer: false, bids: 3, disqualified: 2 } }]);
  t.match(await explainCompany(bin(6, 0), 'r038'), [{ inputs: { is_customer: true, bids: 16, disqualified: 2 } }]);
  t.match(await explainCompany(bin(6, 1), 'r038'), [{ outcome: 'CLEAR', value: 0 }]);
  t.strictSame(await explainCompany(once, 'r038'), [], 'one bid alone is not judged');

  t.strictSame(await flagged('r048'), [bin(7, 0)], '45, 33, 70 and 72');
  t.match(await explainCompany(bin(7, 0), 'r048'), [{ value: 4, inputs: { tenders: 2, fence: 1 } }]);
  t.match(await explainCompany(bin(7, 1), 'r048'), [{ outcome: 'CLEAR', value: 1 }]);
  t.match(await explainCompany(bin(8, 9), 'r048'), [{ outcome: 'NOT_COMPUTABLE', reason: /classes .* not told/ }]);
});

t.test('with fences that are set, a run on changes judges the companies of what changed', async (t) => {
  await setThresholds('r025', { fence: 0.25, bids: 4 });
  await setThresholds('r038', { fence: 0.5 });
  await setThresholds('r048', { fence: 3 });
  await run();
  t.strictSame(await flagged('r025'), [loser]);
  t.strictSame(await flagged('r038'), [disqualified]);
  t.strictSame(await flagged('r048'), [bin(7, 0)]);

  // The bid of who was disqualified turns out to be of another.
  await take(world, [
    bid('tender 0 3', once, '130', { ref: `tender 0 3/${disqualified}/130`, status: 'disqualified' }),
  ]);
  const judged = await run();
  t.equal(judged.r025, 5, 'the two suppliers of that customer, who bid there, and who did before');
  t.strictSame(await flagged('r038'), [once, disqualified].sort(), 'half of its bids are enough');
  const before = await findings();
  await run(false);
  t.strictSame(await findings(), before, 'as a run on everything');
});
