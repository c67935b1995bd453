import t from 'tap';
import { openOngoing } from '../../graphql/ongoing.ts';
import type { Listener } from '../../graphql/subscriber.ts';

const asked = { caller: { role: 'anonymous', claims: {} }, id: 'test' } as const;
const sent = (text: string) => ({ text, cursor: null, framed: new Map() });

t.test('D9 an id that was given anew is not ended by the operation that had it before', async (t) => {
  const served: { listener: Listener; signal: AbortSignal }[] = [];
  const ongoing = openOngoing((_, { signal }, listener) => {
    served.push({ listener, signal });
    return () => {};
  });
  const heard: string[] = [];
  const begin = (name: string): void =>
    ongoing.begin(
      'a',
      {},
      asked,
      {
        next: ({ text }) => void heard.push(`${name} ${text}`),
        end: () => void heard.push(`${name} ends`),
        backlog: () => 0,
      },
      { done: () => void heard.push(`${name} done`) },
    );
  begin('first');
  t.ok(ongoing.stop('a'));
  t.ok(served[0]?.signal.aborted);
  t.notOk(ongoing.stop('a'));
  begin('second');
  served[0]?.listener.next(sent('late'));
  served[0]?.listener.end();
  t.ok(ongoing.has('a'), 'the second goes on');
  served[1]?.listener.next(sent('answer'));
  served[1]?.listener.end();
  t.same(heard, ['first done', 'second answer', 'second done', 'second ends']);
  t.equal(ongoing.count(), 0);
});

t.test('D9 what ends or is stopped while it begins is left', async (t) => {
  let left = 0;
  const leave = (): void => {
    left += 1;
  };
  const listener: Listener = { next: () => ongoing.stopAll(), end: () => {}, backlog: () => 0 };
  const ongoing = openOngoing((_, __, heard) => {
    heard.next(sent('at once'));
    return leave;
  });
  ongoing.begin('a', {}, asked, listener);
  t.equal(left, 1);
  t.equal(ongoing.count(), 0);
});
