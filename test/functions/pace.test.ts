import t from 'tap';
import { openPace } from '../../functions/pace.ts';

t.test('D13 never do more calls begin within a stretch of time than may, and they keep their order', async (t) => {
  const [most, within] = [5, 200];
  const pace = openPace({ most, within });
  const begun: number[] = [];
  const order: number[] = [];
  const calls = Array.from({ length: 18 }, (_, index) =>
    pace.run(async () => {
      begun.push(performance.now());
      order.push(index);
      return index;
    }),
  );
  t.match(pace.state(), { waiting: 18 });
  t.strictSame(
    await Promise.all(calls),
    order.map((_, index) => index),
  );
  t.strictSame(
    order,
    [...order].sort((one, other) => one - other),
  );
  for (const [index, at] of begun.entries()) {
    const later = begun[index + most];
    if (later !== undefined) t.ok(later - at >= within, `${later - at}`);
  }
  t.match(pace.state(), { waiting: 0 });
});

t.test('D13 who gives up waiting uses nothing up and holds nobody up', async (t) => {
  const pace = openPace({ most: 1, within: 300 });
  await pace.run(async () => {});
  const gone = new AbortController();
  let ran = false;
  const given = pace.run(async () => {
    ran = true;
  }, gone.signal);
  const next = pace.run(async () => 'next');
  gone.abort();
  await t.rejects(given);
  t.equal(await next, 'next');
  t.notOk(ran);
});

t.test('D13 what they ask to wait is waited; a failed call is its caller’s', async (t) => {
  const pace = openPace({ most: 10, within: 10 });
  const held = performance.now();
  pace.hold(150);
  await t.rejects(
    pace.run(() => Promise.reject(new Error('down'))),
    { message: 'down' },
  );
  t.ok(performance.now() - held >= 150);
});
