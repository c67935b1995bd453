import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bot, openDoors, openPoster, updateOf } from '../chaos/platform-load.ts';
import type { Ground, Report } from './ground.ts';
import { median, rounded } from './rounds.ts';

type Row = Record<string, string | number>;
type Told = { name: string; bots: number; isApplied: boolean };

const worker = path.join(import.meta.dirname, '..', 'chaos', 'worker.ts');
/** As many requests at once as Telegram makes. */
const connections = 40;
const chats = 500;

/**
 * What comes from platforms, from the request of a webhook to the message in its conversation: requests answered a second while nothing
 * applies what they tell, then with one worker that does, for one integration and for four. Server, worker and Postgres are processes of
 * their own, on the cores that there are, this one included.
 */
export async function benchInbound(ground: Ground, quick: boolean, report: Report): Promise<Row[]> {
  const count = quick ? 2000 : 20_000;
  // Nothing is sent: the bots are not checked.
  const nowhere = { TELEGRAM_API: 'http://127.0.0.1:9' };
  const places = await openDoors(ground, 1, nowhere, (what) => report(what));
  const poster = openPoster(connections);
  let next = 1;
  const ways: Told[] = [
    { name: 'answered, with no worker', bots: 1, isApplied: false },
    { name: 'applied, one integration', bots: 1, isApplied: true },
    { name: 'applied, four integrations', bots: 4, isApplied: true },
  ];
  try {
    const [server] = places.servers;
    const bots: Bot[] = [];
    for (const name of ['anna', 'boris', 'clara', 'dora']) bots.push(await places.connect(name, 'bench'));

    const tell = async (to: Bot[], messages: number): Promise<{ times: number[]; seconds: number }> => {
      const times: number[] = [];
      const began = performance.now();
      let left = messages;
      const lane = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          const id = next;
          next += 1;
          const { path: at, secret } = to[id % to.length] as Bot;
          const body = JSON.stringify(updateOf(id, (id % chats) + 1, `message ${id}`));
          const { status, took } = await poster.post(`${server?.url}${at}`, secret, body);
          if (status !== 200) throw new Error(`The webhook answered ${status}`);
          times.push(took);
        }
      };
      await Promise.all(Array.from({ length: connections }, lane));
      return { times, seconds: (performance.now() - began) / 1000 };
    };

    const rows: Row[] = [];
    for (const { name, bots: many, isApplied } of ways) {
      report(name);
      const child = isApplied ? startWorker(places.env) : undefined;
      const to = bots.slice(0, many);
      await tell(to, 200);
      if (child) await applied(ground);
      const first = next;
      const { times, seconds } = await tell(to, count);
      if (child) await applied(ground);
      rows.push({
        name,
        answeredASecond: Math.round(count / seconds),
        ...quantiles('answer', times),
        ...(isApplied && (await figuresOf(ground, first, count))),
      });
      await stopped(child);
      // What was only answered is not the next one's to apply.
      await ground.owner.query('update platforms.inbound set applied_at = now() where applied_at is null');
    }
    return rows;
  } finally {
    poster.close();
    await places.close();
  }
}

function startWorker(env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, [worker], {
    env: { ...env, PATH: process.env.PATH, LOG_LEVEL: 'silent' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function stopped(child: ChildProcess | undefined): Promise<void> {
  if (!child) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

async function applied({ owner }: Ground): Promise<void> {
  for (;;) {
    const { rows } = await owner.query(
      'select exists (select from platforms.inbound where applied_at is null) as waits',
    );
    if (!rows[0].waits) return;
    await sleep(20);
  }
}

/** From the first that was stored to the last that was applied, and how long each waited between. */
async function figuresOf({ owner }: Ground, first: number, count: number): Promise<Row> {
  const { rows } = await owner.query(
    `select
      extract(epoch from max(applied_at) - min(received_at))::float8 as seconds,
      array_agg((1000 * extract(epoch from applied_at - received_at))::float8) as waits, count(error)::integer as wrong
    from platforms.inbound where external_id::bigint >= $1`,
    [first],
  );
  const { seconds, waits, wrong } = rows[0];
  if (waits.length !== count || wrong > 0) throw new Error(`${waits.length - wrong} of ${count} messages are there`);
  return { appliedASecond: Math.round(count / seconds), ...quantiles('applied', waits) };
}

function quantiles(of: string, times: number[]): Row {
  const sorted = times.toSorted((one, other) => one - other);
  const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
  return { [`${of}P50`]: rounded(median(sorted)), [`${of}P99`]: rounded(p99) };
}
