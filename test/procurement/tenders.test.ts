import t from 'tap';
import { openWorld } from '../world.ts';
import { award, bid, take, tender } from './sample.ts';
import { asking } from './tenders.ts';

// Red flags on tenders and their bids, each with planted cases: flagged, clear, not computable, and nothing else flagged.

const world = await openWorld(t);
const { run, flagged, explain } = asking(world, await world.person('olga', { operator: true }));

const [one, two, three] = ['000000000101', '000000000102', '000000000103'] as const;

await take(world, [
  tender('single bid'),
  bid('single bid', one, '100'),
  tender('single, as told', { tenderer_count: '1', method: 'selective' }),
  tender('two bids'),
  bid('two bids', one, '100'),
  bid('two bids', two, '130'),
  tender('two told, one shown', { tenderer_count: '2' }),
  bid('two told, one shown', one, '100'),
  tender('one of two taken back'),
  bid('one of two taken back', one, '100'),
  bid('one of two taken back', two, '100', { status: 'withdrawn' }),
  tender('two together'),
  bid('two together', `${one} ${two}`, '100'),
  tender('direct', { method: 'direct' }),
  bid('direct', one, '100'),
  tender('no method', { method: '' }),
  bid('no method', one, '100'),
  tender('no bids told'),
  tender('cancelled', { status: 'cancelled' }),
  bid('cancelled', one, '100'),
]);

t.test('R018: one tenderer alone, by a method that asks several', async (t) => {
  await run();
  t.strictSame(
    await flagged('r018'),
    ['single bid', 'single, as told', 'one of two taken back', 'two together'].sort(),
  );
  t.match(await explain('single bid', 'r018'), {
    outcome: 'FLAGGED',
    value: 1,
    thresholds: { methods: ['open', 'selective'] },
    inputs: { method: 'open', tenderers: 1 },
    reason: '1 have bid; one alone is remarkable.',
  });
  t.match(await explain('two bids', 'r018'), { outcome: 'CLEAR', value: 2 });
  t.match(await explain('two told, one shown', 'r018'), { outcome: 'CLEAR', value: 2 });
  t.match(await explain('no method', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: 'The method is not told.' });
  t.match(await explain('no bids told', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /not told/ });
  t.match(await explain('direct', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /tenders of this kind/ });
  t.match(await explain('cancelled', 'r018'), { outcome: 'NOT_COMPUTABLE', reason: /cancelled/ });
});

t.test('a bid that comes later clears its tender: the next run looks at it, and at no other', async (t) => {
  await take(world, [bid('single bid', three, '120'), award('two bids', one)]);
  const judged = await run();
  t.equal(judged.r018, 2);
  t.notOk((await flagged('r018')).includes('single bid'));
  t.equal((await run()).r018, 0, 'then there is nothing to judge');
});
