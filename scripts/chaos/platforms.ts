import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withOwner } from './database.ts';
import { whileFewer } from './jobs.ts';
import { type Day, judgeDay } from './platform-judge.ts';
import { type Bot, openDoors, openPoster, type Posted, updateOf } from './platform-load.ts';
import { openPostgres, type Postgres } from './postgres.ts';
import { type Random, seeded } from './random.ts';
import { type Fault, openTelegram, type TelegramServer, token } from './telegram.ts';

/** What came of it; `wrong` is what must not be. Times in milliseconds. */
export type PlatformsSummary = {
  messages: number;
  /** What was told again, forged, or is no JSON. */
  repeated: number;
  forged: number;
  broken: number;
  seconds: number;
  /** How long Telegram waited for an answer of the webhook. */
  answeredP50: number;
  answeredP99: number;
  /** Messages a second, from the first that was told to the last that was applied, and to the last answer. */
  appliedASecond: number;
  answersASecond: number;
  /** The answers, by what became of them. */
  answers: Record<string, number>;
  /** What Telegram did in place of answering. */
  faults: Record<string, number>;
  /** Of workers, and the calls that may have been under way in them. */
  kills: number;
  wrong: string[];
};

const workerScript = path.join(import.meta.dirname, 'worker.ts');
const doors = 2;
const workers = 3;
/** As many requests at once as Telegram makes. */
const connections = 40;
/** How many conversations one worker sends in at once, the `concurrency` of the queue in schema.sql. */
const sendsAtOnce = 8;
const tries = 3;

// Whatever is told is answered, so that every answer can be told from the others; at a pace that shows what Plinth can do.
const application = `
set role plinth_owner;
create schema chaos;
create function chaos.answer() returns trigger language plpgsql as $$
begin
  perform platforms._say(new.channel_id, 'Re: ' || (select text from chat.messages where id = new.message_id));
  return null;
end $$;
create trigger answer after insert on platforms.external_messages
  for each row when (new.direction = 'inbound') execute function chaos.answer();
update platforms.platforms
set calls_per_second = 100000, chat_calls_per_second = 1000, chat_burst = 100
where id = 'telegram';
update access.rate_limits set count = 1000000000;
`;

/** By how many of a hundred faults are of a kind. */
const kinds: [number, Fault][] = [
  [50, { kind: 'status', status: 500, description: 'Internal Server Error' }],
  [5, { kind: 'status', status: 429, retryAfter: 1, description: 'Too Many Requests' }],
  [10, { kind: 'page', status: 502 }],
  [11, { kind: 'cut' }],
  [11, { kind: 'lost' }],
  [11, { kind: 'bad JSON' }],
  [2, { kind: 'silent' }],
];

/**
 * A day of a bot: so many messages told to two servers as Telegram tells them, 5 % of them twice, some requests forged or no JSON, answers
 * sent to a Telegram that refuses, breaks off, is silent and answers nonsense, and workers killed (-9) meanwhile. Every message has to be
 * stored once, every answer sent once, all in order.
 *
 * @param share how many of 1,000 calls Telegram fails at.
 */
export async function chaosPlatforms({
  messages,
  kills,
  share,
  seed,
  report,
}: {
  messages: number;
  kills: number;
  share: number;
  seed: number;
  report: (line: string) => void;
}): Promise<PlatformsSummary> {
  const postgres = await openPostgres(report);
  const closing: (() => unknown)[] = [postgres.close];
  const wrong: string[] = [];
  try {
    await withOwner(postgres.url, (owner) => owner.query(application));
    const faults: { kind: string; text: string }[] = [];
    const chance = seeded(seed + 1);
    const telegram = await openTelegram({ teardown: (close) => void closing.unshift(close) }, (method, { text }) => {
      if (method !== 'sendMessage' || chance.below(1000) >= share) return;
      const fault = chosen(chance);
      faults.push({ kind: fault.kind === 'status' ? `${fault.status}` : fault.kind, text });
      return fault;
    });
    const own = { TELEGRAM_API: telegram.url };
    const places = await openDoors(postgres, doors, own, (what) => wrong.push(what));
    closing.unshift(places.close);
    const crew = startWorkers(places.env);
    closing.unshift(crew.close);
    const bot = await places.connect('harbour', token);
    const urls = places.servers.map(({ url }) => `${url}${bot.path}`);
    const began = performance.now();
    const load = tellAll({ messages, urls, bot, random: seeded(seed), fail: (what) => wrong.push(what) });
    const killing = killNowAndThen({ kills, crew, progress: () => load.posted() / messages, random: seeded(seed + 2) });
    const told = await load.done;
    report(`${messages} messages are told`);
    await Promise.all([killing, applied(postgres, report)]);
    const appliedIn = (performance.now() - began) / 1000;
    await sent(postgres, report);
    const seconds = (performance.now() - began) / 1000;
    const day = await dayOf(postgres, { telegram, told: told.texts, faults, cutOff: kills * sendsAtOnce });
    wrong.push(...judgeDay(day), ...(await judgeFigures(postgres, day)));
    return {
      ...{ messages, repeated: told.repeated, forged: told.forged, broken: told.broken, seconds: Math.round(seconds) },
      ...{ answeredP50: at(told.times, 0.5), answeredP99: at(told.times, 0.99) },
      ...{ appliedASecond: Math.round(messages / appliedIn), answersASecond: Math.round(messages / seconds) },
      ...{ answers: countBy(day.answers.map(({ state }) => state)), faults: countBy(faults.map(({ kind }) => kind)) },
      ...{ kills, wrong: wrong.slice(0, 50) },
    };
  } finally {
    for (const close of closing) await close();
  }
}

function chosen(random: Random): Fault {
  let place = random.below(100);
  const found = kinds.find(([weight]) => {
    place -= weight;
    return place < 0;
  }) as [number, Fault];
  return found[1];
}

function startWorkers(env: Record<string, string>) {
  const crew: ChildProcess[] = [];
  let closed = false;
  const start = (index: number): void => {
    const child = spawn(process.execPath, [workerScript], {
      env: { ...env, PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    crew[index] = child;
    child.once('exit', () => closed || start(index));
  };
  for (let index = 0; index < workers; index += 1) start(index);
  return {
    kill: (index: number): unknown => crew[index]?.kill('SIGKILL'),
    close(): void {
      closed = true;
      for (const worker of crew) worker.kill('SIGKILL');
    },
  };
}

/** Kills workers while messages are told, evenly. */
async function killNowAndThen({
  kills,
  crew,
  progress,
  random,
}: {
  kills: number;
  crew: ReturnType<typeof startWorkers>;
  progress: () => number;
  random: Random;
}): Promise<void> {
  for (let killed = 1; killed <= kills; killed += 1) {
    while (progress() < killed / (kills + 1)) await sleep(20);
    crew.kill(random.below(workers));
  }
}

/** Tells all messages: those of a chat one after another, as Telegram does, and again until they are taken. */
function tellAll({
  messages,
  urls,
  bot,
  random,
  fail,
}: {
  messages: number;
  urls: string[];
  bot: Bot;
  random: Random;
  fail: (what: string) => void;
}) {
  const poster = openPoster(connections + 10);
  // A lane has whole chats: it waits for the answer to each message before it tells the next.
  const chats = connections * Math.ceil(messages / 50 / connections);
  const texts = new Map<string, string[]>();
  const times: number[] = [];
  const counted = { repeated: 0, forged: 0, broken: 0 };
  let posted = 0;

  const insist = async (url: string, body: string): Promise<Posted> => {
    for (let again = 0; ; again += 1) {
      const answer = await poster.post(url, bot.secret, body);
      times.push(answer.took);
      if (answer.status === 200) return answer;
      fail(`a message was answered ${answer.status || 'by nothing'}`);
      if (again === 10) throw new Error('The webhook takes nothing');
      await sleep(200);
    }
  };
  const expect = async (status: number, secret: string, body: string): Promise<void> => {
    const answer = await poster.post(random.pick(urls), secret, body);
    if (answer.status !== status) fail(`what is not theirs was answered ${answer.status} in place of ${status}`);
  };

  async function lane(first: number): Promise<void> {
    const late: string[] = [];
    for (let number = first; number < messages; number += connections) {
      const chat = (number % chats) + 1;
      const text = `${chat}/${Math.floor(number / chats) + 1}`;
      if (number < chats) texts.set(`${chat}`, []);
      texts.get(`${chat}`)?.push(text);
      const body = JSON.stringify(updateOf(number + 1, chat, text));
      const [url = '', other = ''] = random.shuffle(urls);
      const chance = random.below(1000);
      // To both servers at once, or again later.
      const twice = chance < 25;
      await Promise.all([insist(url, body), ...(twice ? [insist(other, body)] : [])]);
      posted += 1;
      if (chance >= 25 && chance < 50) late.push(body);
      if (chance < 50) counted.repeated += 1;
      if (late.length > 3) await insist(other, late.shift() as string);
      if (chance >= 990) {
        counted.forged += 1;
        await expect(404, `${bot.secret}x`, JSON.stringify(updateOf(messages + number + 1, chat, 'forged')));
      } else if (chance >= 980) {
        counted.broken += 1;
        await expect(400, bot.secret, body.slice(0, -1));
      }
    }
    for (const body of late) await insist(random.pick(urls), body);
  }

  const lanes = Array.from({ length: connections }, (_, index) => lane(index));
  const done = Promise.all(lanes).then(() => {
    poster.close();
    return { texts, times, ...counted };
  });
  return { done, posted: () => posted };
}

async function left(postgres: Postgres, from: string): Promise<number> {
  return withOwner(postgres.url, async (owner) => {
    const { rows } = await owner.query(`select count(*)::integer as count from platforms.${from}`);
    return rows[0].count;
  });
}

function applied(postgres: Postgres, report: (line: string) => void): Promise<void> {
  return whileFewer(
    () => left(postgres, 'inbound where applied_at is null'),
    (count) => report(`${count} messages are to be applied`),
  );
}

function sent(postgres: Postgres, report: (line: string) => void): Promise<void> {
  return whileFewer(
    () => left(postgres, "deliveries where state in ('queued', 'sending')"),
    (count) => report(`${count} answers are to be sent`),
  );
}

type Kept = { telegram: TelegramServer; told: Day['told']; faults: { kind: string; text: string }[]; cutOff: number };

function dayOf({ url }: Postgres, { telegram, told, faults, cutOff }: Kept): Promise<Day> {
  return withOwner(url, async (owner) => {
    const { rows: stored } = await owner.query(
      `select place.chat_id as chat, message.text
      from platforms.external_messages as known
      join platforms.conversations as place on place.channel_id = known.channel_id
      join chat.messages as message on message.id = known.message_id
      where known.direction = 'inbound' order by place.chat_id, message.seq`,
    );
    const { rows: answers } = await owner.query(
      `select place.chat_id as chat, message.text, coalesce(delivery.state::text, 'never sent') as state, array(
        select known.external_id from platforms.external_messages as known where known.message_id = message.id
      ) as "shownAs"
      from platforms.conversations as place
      join chat.messages as message on message.channel_id = place.channel_id and message.kind = 'bot'
      left join platforms.deliveries as delivery on delivery.message_id = message.id
      order by place.chat_id, message.seq`,
    );
    const shown = telegram.shown.map(({ chat, text, message_id: id }) => ({ chat, text, id: `${id}` }));
    const counts = (of: RegExp): Map<string, number> => {
      const counted = new Map<string, number>();
      for (const { kind, text } of faults) if (of.test(kind)) counted.set(text, (counted.get(text) ?? 0) + 1);
      return counted;
    };
    return { told, stored, answers, shown, refused: counts(/^500$/), leftOpen: counts(/^\D/), cutOff, tries };
  });
}

/** Whether what is counted is what was there (F6), and nothing was set aside. */
function judgeFigures({ url }: Postgres, day: Day): Promise<string[]> {
  return withOwner(url, async (owner) => {
    await owner.query('select platforms.roll_up()');
    const { rows } = await owner.query(
      `select
        (select sum(count) from platforms.metrics where metric = 'messages_received' and period = 'day')::integer as received,
        (select sum(count) from platforms.metrics where metric = 'messages_sent' and period = 'day')::integer as sent,
        (select count(*) from platforms.inbound where error is not null)::integer as aside`,
    );
    const { received, sent, aside } = rows[0];
    const taken = day.answers.filter(({ state }) => state === 'sent').length;
    return [
      received !== day.stored.length && `${received} messages are counted, and ${day.stored.length} are there`,
      sent !== taken && `${sent} answers are counted as sent, and ${taken} were`,
      aside !== 0 && `${aside} messages were set aside`,
    ].filter((line) => line !== false);
  });
}

function countBy(words: string[]): Record<string, number> {
  const counted: Record<string, number> = {};
  for (const word of words) counted[word] = (counted[word] ?? 0) + 1;
  return counted;
}

function at(times: number[], share: number): number {
  const sorted = times.toSorted((one, other) => one - other);
  return Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10;
}
