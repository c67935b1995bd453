/** What was told, what became of it in Plinth, and what people have seen on the platform. */
export type Day = {
  /** The texts that were told, in their order, by chat. */
  told: Map<string, string[]>;
  /** The inbound messages that are stored, in the order of each conversation. */
  stored: { chat: string; text: string }[];
  /** The answers, in the order of each conversation, and what became of each. */
  answers: { chat: string; text: string; state: string; shownAs: string[] }[];
  /** The messages that the platform shows, in the order in which it took them. */
  shown: { chat: string; text: string; id: string }[];
  /** By text, how often the platform refused a message, and how often it left open whether it has it. */
  refused: Map<string, number>;
  leftOpen: Map<string, number>;
  /** How many calls may have been under way in workers that were killed. */
  cutOff: number;
  /** How often a message is tried. */
  tries: number;
};

/** What is answered to a text. */
export function answerTo(text: string): string {
  return `Re: ${text}`;
}

/** What is not as it has to be: each message stored once and in order, each answered once, nothing sent twice. */
export function judgeDay(day: Day): string[] {
  const wrong: string[] = [];
  const say = (is: boolean, what: string): void => {
    if (is) wrong.push(what);
  };
  const stored = byChat(day.stored);
  const answers = byChat(day.answers);
  const shown = byChat(day.shown);
  for (const [chat, texts] of day.told) {
    compare(texts, stored.get(chat), (what) => say(true, `chat ${chat}: ${what}`));
    compare(texts.map(answerTo), answers.get(chat), (what) => say(true, `chat ${chat}, answers: ${what}`));
  }
  for (const chat of stored.keys()) say(!day.told.has(chat), `chat ${chat}: nobody has written there`);

  const times = new Map<string, number>();
  for (const { text } of day.shown) times.set(text, (times.get(text) ?? 0) + 1);
  const known = new Set(day.answers.map(({ text }) => text));
  for (const [text, count] of times) {
    say(count > 1, `sent ${count} times: ${text}`);
    say(!known.has(text), `sent, and nobody has said it: ${text}`);
  }
  for (const [chat, list] of shown) {
    const order = new Map(answers.get(chat)?.map(({ text }, place) => [text, place]));
    const places = list.map(({ text }) => order.get(text) ?? -1);
    say(
      places.some((place, index) => place < (places[index - 1] ?? -1)),
      `chat ${chat}: sent out of order`,
    );
  }

  const ids = new Map(day.shown.map(({ chat, id, text }) => [`${chat}:${id}`, text]));
  let cutOff = 0;
  for (const { text, state, shownAs } of day.answers) {
    const isShown = times.has(text);
    if (state === 'sent') {
      say(!isShown, `said to be sent, and not there: ${text}`);
      say(shownAs.length !== 1 || ids.get(shownAs[0] ?? '') !== text, `known by another's id: ${text}`);
    } else if (state === 'failed') {
      say(isShown, `said to have failed, and there: ${text}`);
      say((day.refused.get(text) ?? 0) < day.tries, `given up before its time: ${text}`);
    } else if (state === 'unsure') {
      if (!day.leftOpen.has(text)) cutOff += 1;
    } else say(true, `${state} for ever: ${text}`);
  }
  say(cutOff > day.cutOff, `${cutOff} answers are unsure without a reason; ${day.cutOff} calls can have been cut off`);
  return wrong;
}

function byChat<Row extends { chat: string }>(rows: Row[]): Map<string, Row[]> {
  return Map.groupBy(rows, ({ chat }) => chat);
}

/** Tells the first differences between what must be there and what is. */
function compare(must: string[], are: { text: string }[] = [], tell: (what: string) => void): void {
  const have = are.map(({ text }) => text);
  const all = new Set(have);
  const lost = must.filter((text) => !all.has(text));
  const expected = new Set(must);
  const strange = have.filter((text) => !expected.has(text));
  if (lost.length > 0) tell(`${lost.length} are lost, such as ${lost[0]}`);
  if (strange.length > 0) tell(`${strange.length} were never told, such as ${strange[0]}`);
  if (all.size < have.length) tell(`${have.length - all.size} are there more than once`);
  const order = must.filter((text) => all.has(text));
  const found = [...all].filter((text) => expected.has(text));
  if (order.some((text, index) => text !== found[index])) tell('out of order');
}
