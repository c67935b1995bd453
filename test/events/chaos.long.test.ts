import t from 'tap';
import { chaosEvents } from '../../scripts/chaos/events.ts';

// The short form of `npm run chaos -- events`, on a Postgres of its own because it is killed.

t.setTimeout(280_000);

t.test('nothing is lost, repeated or out of order while servers, Postgres and clients fail', async (t) => {
  const lines: string[] = [];
  const { faults, messages, events, wrong } = await chaosEvents({
    ...{ faults: 10, seed: 1, rate: 60, openFor: 3000, pausedFor: 1000, haste: 100 },
    report: (line) => void lines.push(line),
    stop: new Promise(() => {}),
  });
  t.same(wrong, [], wrong.length > 0 ? lines.join('\n') : 'nothing was wrong');
  t.equal(faults.length, 9, 'every kind of fault came');
  t.ok(messages.acknowledged > 100, `${messages.acknowledged} messages were acknowledged`);
  t.same([messages.lost, messages.twice, messages.untold], [0, 0, 0]);
  t.ok(events.delivered > messages.acknowledged * 4, `${events.delivered} events were delivered`);
  t.same([events.lost, events.repeated, events.outOfOrder, events.different], [0, 0, 0, 0]);
});
