import t from 'tap';
import { openQueryTimes } from '../../functions/query-times.ts';

const caller = { role: 'anonymous', claims: { request_id: 'r1' } } as const;

function counting(logParameters = false) {
  const logged: object[] = [];
  const log = { warn: (details: object, message: string) => void logged.push({ ...details, message }) };
  const times = openQueryTimes({ slowQueryMs: 200, logParameters }, log as Parameters<typeof openQueryTimes>[1]);
  return { ...times, logged };
}

t.test('E4 round trips are counted by operation, and those from a threshold on are slow', async (t) => {
  const { add, totals, operations, logged } = counting();
  for (let count = 0; count < 9; count++) add(1, 'Nap', caller, []);
  add(250, 'Nap', caller, []);
  add(200, 'Rest', caller, []);
  add(199, 'Rest', caller, []);
  t.match(totals(), { since: Date, queries: 12, slow: 2, milliseconds: 658 });
  const [rest, nap] = operations(10);
  t.strictSame(rest, { operation: 'Rest', queries: 2, slow: 1, milliseconds: 399, longest: 200 }, 'the longest first');
  t.strictSame(nap, { operation: 'Nap', queries: 10, slow: 1, milliseconds: 259, longest: 250 });
  t.equal(operations(1).length, 1);
  t.match(
    logged,
    [
      { operation: 'Nap', ms: 250, role: 'anonymous', id: 'r1' },
      { operation: 'Rest', ms: 200 },
    ],
    'what is slow is logged',
  );
  t.equal(logged.length, 2, 'and nothing else');
});
