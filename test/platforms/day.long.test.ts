import t from 'tap';
import { answerTo, type Day, judgeDay } from '../../scripts/chaos/platform-judge.ts';
import { chaosPlatforms } from '../../scripts/chaos/platforms.ts';

t.setTimeout(280_000);

t.test('the judge of a day finds what is wrong: everything here is planted', async (t) => {
  /** A day on which all went well: two chats, three messages each. */
  function good(): Day {
    const told = new Map([1, 2].map((chat) => [`${chat}`, [1, 2, 3].map((number) => `${chat}/${number}`)]));
    const texts = [...told].flatMap(([chat, all]) => all.map((text) => ({ chat, text })));
    return {
      told,
      stored: texts,
      answers: texts.map(({ chat, text }, index) => ({
        ...{ chat, text: answerTo(text), state: 'sent', shownAs: [`${chat}:${index}`] },
      })),
      shown: texts.map(({ chat, text }, index) => ({ chat, text: answerTo(text), id: `${index}` })),
      ...{ refused: new Map(), leftOpen: new Map(), cutOff: 0, tries: 3 },
    };
  }
  const after = (change: (day: Day) => void): string[] => {
    const day = good();
    change(day);
    return judgeDay(day);
  };
  const as = (day: Day, place: number, state: string): void => {
    Object.assign(day.answers[place] as object, { state, shownAs: [] });
  };
  const hidden = (day: Day, place: number): void => void day.shown.splice(place, 1);

  t.same(judgeDay(good()), []);
  const planted: Record<string, [(day: Day) => void, RegExp]> = {
    'a message that is not there': [({ stored }) => stored.splice(1, 1), /chat 1: 1 are lost, such as 1\/2/],
    'all of a chat': [({ stored }) => stored.splice(0, 3), /chat 1: 3 are lost/],
    'a message that is there twice': [
      ({ stored }) => stored.splice(1, 0, { chat: '1', text: '1/1' }),
      /more than once/,
    ],
    'messages out of order': [({ stored }) => stored.reverse(), /out of order/],
    'a message of nobody': [({ stored }) => stored.push({ chat: '2', text: 'forged' }), /never told, such as forged/],
    'a chat of nobody': [({ stored }) => stored.push({ chat: '3', text: 'forged' }), /nobody has written there/],
    'a message without an answer': [({ answers }) => answers.splice(5, 1), /chat 2, answers: 1 are lost/],
    'an answer that is sent twice': [
      ({ shown }) => shown.push({ ...(shown[0] as Day['shown'][0]), id: '9' }),
      /sent 2 times/,
    ],
    'an answer that was never said': [
      ({ shown }) => shown.push({ chat: '1', text: 'x', id: '9' }),
      /nobody has said it/,
    ],
    'answers out of order': [({ shown }) => shown.reverse(), /sent out of order/],
    'an answer that is not there': [(day) => hidden(day, 0), /said to be sent, and not there/],
    'the id of another': [({ answers }) => Object.assign(answers[0] as object, { shownAs: ['1:1'] }), /another's id/],
    'one that waits for ever': [(day) => as(day, 5, 'queued'), /queued for ever/],
    'one that failed without a reason': [
      (day) => {
        as(day, 5, 'failed');
        hidden(day, 5);
      },
      /given up before its time/,
    ],
    'one that failed, and is there': [
      (day) => {
        as(day, 5, 'failed');
        day.refused.set(answerTo('2/3'), 3);
      },
      /said to have failed, and there/,
    ],
    'one that is unsure without a reason': [(day) => as(day, 5, 'unsure'), /1 answers are unsure without a reason/],
  };
  for (const [name, [change, says]] of Object.entries(planted)) {
    const wrong = after(change);
    t.ok(
      wrong.some((line) => says.test(line)),
      `${name}: ${wrong.join('; ')}`,
    );
  }
  const excused: Record<string, (day: Day) => void> = {
    'unsure, and there': (day) => {
      as(day, 5, 'unsure');
      day.leftOpen.set(answerTo('2/3'), 1);
    },
    'unsure, and not there': (day) => {
      as(day, 5, 'unsure');
      hidden(day, 5);
      day.leftOpen.set(answerTo('2/3'), 1);
    },
    'unsure, as the worker was killed': (day) => {
      as(day, 5, 'unsure');
      day.cutOff = 8;
    },
    'refused three times': (day) => {
      as(day, 5, 'failed');
      hidden(day, 5);
      day.refused.set(answerTo('2/3'), 3);
    },
  };
  for (const [name, change] of Object.entries(excused)) t.same(after(change), [], name);
});

// The short form of `npm run chaos -- platforms`, on a Postgres of its own.
t.test('a short day: each message is stored once, each answer sent once, in order (F4, E3, D13)', async (t) => {
  const lines: string[] = [];
  const summary = await chaosPlatforms({
    ...{ messages: 400, kills: 2, share: 40, seed: 7 },
    report: (line) => void lines.push(line),
  });
  t.same(summary.wrong, [], lines.join('\n'));
  const { repeated, forged, broken, answers, faults } = summary;
  t.ok(repeated > 0 && forged > 0 && broken > 0, `${repeated} told again, ${forged} forged, ${broken} no JSON`);
  t.ok(Object.keys(faults).length > 1, JSON.stringify(faults));
  t.equal(
    Object.values(answers).reduce((sum, count) => sum + count, 0),
    400,
  );
});
