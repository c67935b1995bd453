import { randomInt } from 'node:crypto';
import { Refusal, runScript } from '../../functions/refusal.ts';
import { stopAsked } from '../stop-signal.ts';
import { readArguments } from '../terminal.ts';
import { chaosEvents } from './events.ts';
import { chaosJobs } from './jobs.ts';
import { print } from './summary.ts';

// npm run chaos -- events|jobs [--faults N] [--jobs N] [--seed N] [--json]: kills and disturbs servers, workers, Postgres and clients
// under load, and ends with code 1 where anything was lost by it. What is being done goes to stderr.

const usage =
  'npm run chaos -- events [--faults N] [--seed N] [--json], or -- jobs [--faults N] [--jobs N] [--seed N] [--json]';

type Given = { kind: 'events' | 'jobs'; faults: number; jobs: number; seed: number; json: boolean };

function given(): Given {
  const { positionals, values } = readArguments(
    { faults: { type: 'string' }, jobs: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
    usage,
  );
  const faults = Number(values.faults ?? 20);
  const jobs = Number(values.jobs ?? 2000);
  const seed = Number(values.seed ?? randomInt(2 ** 31));
  const kind = positionals.join();
  const isCount = faults > 0 && jobs > 0 && [faults, jobs, seed].every(Number.isSafeInteger);
  if ((kind === 'events' || kind === 'jobs') && isCount)
    return { kind, faults, jobs, seed, json: values.json ?? false };
  throw new Refusal('Disturb what, and how often?', { remedy: usage });
}

await runScript(async () => {
  const { json, kind, jobs, ...chosen } = given();
  if (kind === 'jobs') {
    const { faults: kills, seed } = chosen;
    const summary = await chaosJobs({ jobs, kills, seed, report: (line) => process.stderr.write(`${line}\n`) });
    console.log(json ? JSON.stringify({ chaos: 'jobs', ...summary }) : summary);
    if (summary.wrong.length > 0) process.exitCode = 1;
    return;
  }
  const summary = await chaosEvents({
    ...{ ...chosen, rate: 150, openFor: 20_000, pausedFor: 6000, haste: 4 },
    report: (line) => process.stderr.write(`${line}\n`),
    stop: stopAsked(),
  });
  if (json) console.log(JSON.stringify({ chaos: 'events', ...summary }));
  else print(summary);
  if (summary.wrong.length > 0) process.exitCode = 1;
});
process.exit();
