import t from 'tap';
import { type Limit, openRateLimits } from '../../functions/rate-limits.ts';
import { until } from '../events/listen.ts';

const alone = async () => undefined;

t.test('F7 what was asked in the window before counts as far as it is within reach', async (t) => {
  let now = 600_000;
  const limits = openRateLimits(alone, () => now);
  t.teardown(limits.close);
  const limit: Limit = { subject: 'user', covers: 'query', count: 10, seconds: 60 };
  const ask = (who: string, times = 1) => limits.take([{ limit, who, times }]);

  for (let times = 1; times <= 10; times += 1) t.match(ask('ann'), { isRefused: false, remaining: 10 - times });
  // It is refused until the first of them is out of reach: a tenth into the next window.
  t.match(ask('ann'), { isRefused: true, remaining: 0, wait: 66 });
  t.match(ask('bob'), { isRefused: false }, 'someone else is not');
  now += 60_000;
  t.match(ask('ann'), { isRefused: true, wait: 6 }, 'not twice as many at the seam of two windows');
  now += 6_000;
  t.match(ask('ann'), { isRefused: false });
  t.match(ask('ann'), { isRefused: true });
  now += 27_000;
  t.match(ask('ann', 4), { isRefused: false }, 'half a window later half of them');
  t.match(ask('ann', 2), { isRefused: true });
  now += 180_000;
  t.match(ask('ann', 10), { isRefused: false });
});

t.test('F7 a wait that was told is long enough, and not longer than a second too long', async (t) => {
  let now = 600_000;
  let seed = 1;
  const random = (below: number): number => {
    seed = (seed * 16807) % 2147483647;
    return seed % below;
  };
  const limits = openRateLimits(alone, () => now);
  t.teardown(limits.close);
  for (let round = 0; round < 300; round += 1) {
    const limit: Limit = { subject: 'user', covers: `f${round}`, count: 1 + random(50), seconds: 1 + random(100) };
    const ask = () => limits.take([{ limit, who: 'ann', times: 1 }]);
    let standing = ask();
    for (let step = 0; step < 200 && !standing.isRefused; step += 1) {
      now += random(limit.seconds * 20);
      standing = ask();
    }
    if (!standing.isRefused) continue;
    const { wait } = standing;
    const then = now;
    if (wait > 1) {
      now = then + (wait - 1) * 1000 - 1;
      if (!ask().isRefused) t.fail(`round ${round}: ${wait} s were too many`);
      else {
        now = then + wait * 1000;
        if (ask().isRefused) t.fail(`round ${round}: ${wait} s were not enough`);
      }
    } else {
      now = then + wait * 1000;
      if (ask().isRefused) t.fail(`round ${round}: ${wait} s were not enough`);
    }
  }
  t.pass('300 limits');
});

t.test('F7 a request that one limit refuses is counted against none', async (t) => {
  const limits = openRateLimits(alone, () => 600_000);
  t.teardown(limits.close);
  const [wide, narrow] = [
    { subject: 'user', covers: 'mutation', count: 100, seconds: 60 },
    { subject: 'user', covers: 'sendMessage', count: 1, seconds: 60 },
  ] as const;
  const both = () => limits.take([wide, narrow].map((limit) => ({ limit, who: 'ann', times: 1 })));
  t.match(both(), { isRefused: false });
  for (let times = 0; times < 5; times += 1) t.match(both(), { isRefused: true, limit: narrow });
  t.match(limits.take([{ limit: wide, who: 'ann', times: 1 }]), { remaining: 98 });
  t.match(limits.state(), { counted: 2, refused: 5 });
});

t.test('F7 of more who ask all the time than can be told at once, everyone is told of in their turn', async (t) => {
  const told: Set<string>[] = [];
  const share = async (counts: { key: string; by: number }[]): Promise<number[]> => {
    // Again, while it is under way.
    ask();
    told.push(new Set(counts.filter(({ by }) => by > 0).map(({ key }) => key)));
    return counts.map(() => 0);
  };
  const limits = openRateLimits(share, () => 600_000);
  t.teardown(limits.close);
  const limit: Limit = { subject: 'user', covers: 'query', count: 1000, seconds: 60 };
  function ask(): void {
    for (let user = 0; user < 2500; user += 1) limits.take([{ limit, who: `user ${user}`, times: 1 }]);
  }
  ask();
  await until(() => told.length >= 3, 'The third time');
  t.equal(new Set(told.slice(0, 3).flatMap((each) => [...each])).size, 2500);
});
