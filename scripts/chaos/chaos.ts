import { randomInt } from 'node:crypto';
import { Refusal, runScript } from '../../functions/refusal.ts';
import { stopAsked } from '../stop-signal.ts';
import { readArguments } from '../terminal.ts';
import { chaosEvents } from './events.ts';
import { chaosJobs } from './jobs.ts';
import { chaosPlatforms } from './platforms.ts';
import { print } from './summary.ts';

// npm run chaos -- events|jobs|platforms [--faults N] [--jobs N] [--messages N] [--seed N] [--json]: kills and disturbs servers, workers,
// Postgres, clients and Telegram under load, and ends with code 1 where anything was lost by it. What is being done goes to stderr.

const usage =
  'npm run chaos -- events [--faults N] [--seed N] [--json], or -- jobs [--faults N] [--jobs N] [--seed N] [--json], ' +
  'or -- platforms [--faults N] [--messages N] [--seed N] [--json]';

type Given = {
  kind: 'events' | 'jobs' | 'platforms';
  faults: number | undefined;
  jobs: number;
  messages: number;
  seed: number;
  json: boolean;
};

function given(): Given {
  const { positionals, values } = readArguments(
    {
      faults: { type: 'string' },
      jobs: { type: 'string' },
      messages: { type: 'string' },
      seed: { type: 'string' },
      json: { type: 'boolean' },
    },
    usage,
  );
  const faults = values.faults === undefined ? undefined : Number(values.faults);
  const jobs = Number(values.jobs ?? 2000);
  const messages = Number(values.messages ?? 10_000);
  const seed = Number(values.seed ?? randomInt(2 ** 31));
  const kind = positionals.join();
  const counts = [faults ?? 1, jobs, messages];
  const isCount = [...counts, seed].every(Number.isSafeInteger) && counts.every((count) => count > 0);
  if ((kind === 'events' || kind === 'jobs' || kind === 'platforms') && isCount)
    return { kind, faults, jobs, messages, seed, json: values.json ?? false };
  throw new Refusal('Disturb what, and how often?', { remedy: usage });
}

await runScript(async () => {
  const { json, kind, jobs, messages, faults, seed } = given();
  const report = (line: string): void => void process.stderr.write(`${line}\n`);
  if (kind !== 'events') {
    const summary =
      kind === 'jobs'
        ? await chaosJobs({ jobs, kills: faults ?? 20, seed, report })
        : await chaosPlatforms({ messages, kills: faults ?? 2, share: 10, seed, report });
    console.log(json ? JSON.stringify({ chaos: kind, ...summary }) : summary);
    if (summary.wrong.length > 0) process.exitCode = 1;
    return;
  }
  const summary = await chaosEvents({
    ...{ faults: faults ?? 20, seed, rate: 150, openFor: 20_000, pausedFor: 6000, haste: 4 },
    report,
    stop: stopAsked(),
  });
  if (json) console.log(JSON.stringify({ chaos: 'events', ...summary }));
  else print(summary);
  if (summary.wrong.length > 0) process.exitCode = 1;
});
process.exit();
