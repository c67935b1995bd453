import t from 'tap';
import { openWorld } from '../world.ts';
import { award, bid, take, tender } from './sample.ts';
import { asking } from './tenders.ts';

// Red flags on tenders by their own bids, each with planted cases: flagged, clear, not computable, and nothing else flagged.
// What is compared with all other tenders: tender-outliers.test.ts.

const world = await openWorld(t);
const { run, flagged, explain } = asking(world, await world.person('olga', { operator: true }));

const [one, two, three] = ['000000000101', '000000000102', '000000000103'] as const;
/** A tender in which nothing is remarkable: two bid in time, the lower one wins. */
const plain = (ref: string, fields: Record<string, string> = {}) => [
  tender(ref, fields),
  bid(ref, one, '100'),
  bid(ref, two, '110'),
  award(ref, one),
];

await take(world, [
  ...plain('plain'),

  tender('single bid'),
  bid('single bid', one, '100'),
  tender('single, as told', { tenderer_count: '1', method: 'selective' }),
  tender('two told, one shown', { tenderer_count: '2' }),
  bid('two told, one shown', one, '100'),
  tender('one of two taken back'),
  bid('one of two taken back', one, '100'),
  bid('one of two taken back', two, '100', { status: 'withdrawn' }),
  tender('two together'),
  bid('two together', `${one} ${two}`, '100'),
  ...plain('direct', { method: 'direct', tenderer_count: '1' }),
  ...plain('no method', { method: '' }),
  tender('nothing told', { starts_at: '', ends_at: '' }),
  ...plain('cancelled', { status: 'cancelled', tenderer_count: '1', ends_at: '2024-03-02T09:00:00Z' }),

  ...plain('15 days', { starts_at: '2024-03-07T09:00:00Z' }),
  ...plain('an hour under 15 days', { starts_at: '2024-03-07T10:00:00Z' }),
  ...plain('7 days by quotation', { starts_at: '2024-03-15T09:00:00Z', method_details: 'quotation' }),
  ...plain('ends before it starts', { starts_at: '2024-04-01T09:00:00Z' }),

  tender('same price'),
  bid('same price', one, '100'),
  bid('same price', two, '100.00', { status: 'disqualified' }),
  bid('same price', three, '90'),
  award('same price', three),
  tender('same price twice by one'),
  bid('same price twice by one', one, '100'),
  bid('same price twice by one', one, '100', { ref: 'again' }),
  bid('same price twice by one', two, '120'),
  tender('same number, other currency'),
  bid('same number, other currency', one, '100'),
  bid('same number, other currency', two, '100', { currency: 'USD' }),
  tender('a bid without a sum'),
  bid('a bid without a sum', one, '100'),
  bid('a bid without a sum', two, ''),
  award('a bid without a sum', one),

  tender('late winner'),
  bid('late winner', one, '100', { submitted_at: '2024-03-22T21:00:00Z' }),
  bid('late winner', two, '110'),
  award('late winner', one),
  tender('late loser'),
  bid('late loser', one, '100'),
  bid('late loser', two, '110', { submitted_at: '2024-03-23T09:00:00Z' }),
  award('late loser', one),
  tender('on the deadline'),
  bid('on the deadline', one, '100', { submitted_at: '2024-03-22T14:00:00+05:00' }),
  bid('on the deadline', two, '110'),
  award('on the deadline', one),
  tender('winner of unknown time'),
  bid('winner of unknown time', one, '100', { submitted_at: '' }),
  bid('winner of unknown time', two, '110'),
  award('winner of unknown time', one),

  tender('all others disqualified'),
  bid('all others disqualified', one, '100'),
  bid('all others disqualified', two, '110', { status: 'disqualified' }),
  bid('all others disqualified', three, '120', { status: 'disqualified' }),
  award('all others disqualified', one),
  tender('own second bid disqualified'),
  bid('own second bid disqualified', one, '100'),
  bid('own second bid disqualified', one, '105', { status: 'disqualified' }),
  award('own second bid disqualified', one),
  tender('not settled'),
  bid('not settled', one, '100'),
  bid('not settled', two, '110', { status: 'disqualified' }),
  award('not settled', one, { status: 'pending' }),

  tender('lowest disqualified'),
  bid('lowest disqualified', one, '100'),
  bid('lowest disqualified', two, '80', { status: 'disqualified' }),
  bid('lowest disqualified', three, '130'),
  award('lowest disqualified', one),
  tender('lowest disqualified, by quality', { award_criteria: 'ratedCriteria' }),
  bid('lowest disqualified, by quality', one, '100'),
  bid('lowest disqualified, by quality', two, '80', { status: 'disqualified' }),
  bid('lowest disqualified, by quality', three, '130'),
  award('lowest disqualified, by quality', one),
]);
const wholeRun = await run();

t.test('each judges all tenders of its kind that were not cancelled', async (t) => {
  const { rows } = await world.owner.query(
    "select count(*)::int as count from procurement.tenders where status <> 'cancelled'",
  );
  t.equal(wholeRun.r003, rows[0].count);
  t.equal(wholeRun.r018, rows[0].count - 1, 'what is bought directly is not asked who else bid');
  t.equal(wholeRun.r036, rows[0].count - 1, 'what is not decided by price is not asked for the lowest price');
});

t.test('R003: fewer than 15 whole days to submit', async (t) => {
  t.strictSame(await flagged('r003'), ['7 days by quotation', 'an hour under 15 days']);
  t.match(await explain('an hour under 15 days', 'r003'), { value: 14, reason: /14 whole days; less than 15/ });
  t.match(await explain('15 days', 'r003'), { outcome: 'CLEAR', value: 15 });
  t.match(await explain('nothing told', 'r003'), { outcome: 'NOT_COMPUTABLE', value: null });
  t.match(await explain('ends before it starts', 'r003'), { outcome: 'NOT_COMPUTABLE' });
});

t.test('R018: one tenderer alone, by a method that asks several', async (t) => {
  t.strictSame(
    await flagged('r018'),
    ['single bid', 'single, as told', 'one of two taken back', 'two together', 'own second bid disqualified'].sort(),
  );
  t.match(await explain('single bid', 'r018'), {
    outcome: 'FLAGGED',
    value: 1,
    thresholds: { methods: ['open', 'selective'] },
    inputs: { method: 'open', tenderers: 1 },
    reason: 'Tenderers: 1; one alone is remarkable.',
  });
  t.match(await explain('plain', 'r018'), { outcome: 'CLEAR', value: 2 });
  t.match(await explain('two told, one shown', 'r018'), { outcome: 'CLEAR', value: 2 });
  t.match(await explain('no method', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: 'The method is not told.' });
  t.match(await explain('nothing told', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /not told/ });
  t.match(await explain('direct', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /tenders of this kind/ });
  t.match(await explain('cancelled', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /cancelled/ });
});

t.test('R028: different tenderers bid the same sum in the same currency', async (t) => {
  t.strictSame(await flagged('r028'), ['same price']);
  t.match(await explain('same price', 'r028'), { value: 2, inputs: { bid_sum: 100, tenderers: [one, two] } });
  t.match(await explain('same price twice by one', 'r028'), { outcome: 'CLEAR' });
  t.match(await explain('same number, other currency', 'r028'), { outcome: 'CLEAR' });
  t.match(await explain('single bid', 'r028'), { outcome: 'CLEAR' });
  t.match(await explain('a bid without a sum', 'r028'), { outcome: 'NOT_COMPUTABLE', reason: /sum of a bid/ });
  t.match(await explain('nothing told', 'r028'), { outcome: 'NOT_COMPUTABLE', reason: 'No bid is told.' });
});

t.test('R030: the winning bid came after the deadline', async (t) => {
  t.strictSame(await flagged('r030'), ['late winner']);
  t.match(await explain('late winner', 'r030'), { value: 12, reason: /12\.00 hours after the deadline/ });
  t.match(await explain('late loser', 'r030'), { outcome: 'CLEAR' });
  t.match(await explain('on the deadline', 'r030'), { outcome: 'CLEAR', value: 0 });
  t.match(await explain('winner of unknown time', 'r030'), { outcome: 'NOT_COMPUTABLE', reason: /is not told/ });
  t.match(await explain('single bid', 'r030'), { outcome: 'NOT_COMPUTABLE', reason: 'No award is in force.' });
});

t.test('R035: one tenderer is left and wins, all others are disqualified', async (t) => {
  t.strictSame(await flagged('r035'), ['all others disqualified']);
  t.match(await explain('all others disqualified', 'r035'), {
    value: 2,
    inputs: { valid_tenderers: 1, disqualified_tenderers: 2, winners: [one] },
  });
  t.match(await explain('own second bid disqualified', 'r035'), { outcome: 'CLEAR', value: 0 });
  t.match(await explain('plain', 'r035'), { outcome: 'CLEAR' });
  t.match(await explain('not settled', 'r035'), { outcome: 'NOT_COMPUTABLE', reason: /not settled/ });
});

t.test('R036: the lowest bid is disqualified, where price alone decides', async (t) => {
  t.strictSame(await flagged('r036'), ['lowest disqualified']);
  t.match(await explain('lowest disqualified', 'r036'), {
    value: 0.2,
    inputs: { lowest_disqualified: 80, lowest_other: 100, award_criteria: 'priceOnly' },
  });
  t.match(await explain('all others disqualified', 'r036'), { outcome: 'CLEAR' });
  t.match(await explain('a bid without a sum', 'r036'), { outcome: 'NOT_COMPUTABLE', reason: /sum of a bid/ });
  t.match(await explain('not settled', 'r036'), { outcome: 'NOT_COMPUTABLE', reason: 'No award is in force.' });
  t.match(await explain('lowest disqualified, by quality', 'r036'), { reason: /tenders of this kind/ });
});

t.test('a run on what changed looks at that tender and no other, and says what a run on everything says', async (t) => {
  t.equal((await run()).r018, 0, 'nothing has changed');
  await take(world, [bid('single bid', three, '100'), award('two together', `${one} ${two}`)]);
  const judged = await run();
  for (const code of ['r003', 'r018', 'r028', 'r030', 'r035', 'r036']) t.equal(judged[code], 2, code);
  t.notOk((await flagged('r018')).includes('single bid'), 'it is not single any more');
  t.ok((await flagged('r028')).includes('single bid'), 'but the price is the same');

  const all = async () =>
    (
      await world.owner.query(
        'select indicator_code, tender_id, outcome, value from procurement.findings order by 1, 2',
      )
    ).rows;
  const before = await all();
  await run(false);
  t.strictSame(await all(), before);

  await world.owner.query("delete from procurement.tenders where source_ref = 'same price'");
  await run();
  t.strictSame(await flagged('r028'), ['single bid'], 'what is gone is found no more');
});
