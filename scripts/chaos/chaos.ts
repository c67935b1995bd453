import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Refusal, runScript } from '../../functions/refusal.ts';
import { stopAsked } from '../stop-signal.ts';
import { chaosEvents } from './events.ts';
import { print } from './summary.ts';

// npm run chaos -- events [--faults N] [--seed N] [--json]: kills and disturbs servers, Postgres and clients under load, and ends with
// code 1 where anything was lost by it. What is being done goes to stderr.

const usage = 'npm run chaos -- events [--faults N] [--seed N] [--json]';

function given(): { faults: number; seed: number; json: boolean } {
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { faults: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
    });
    const faults = Number(values.faults ?? 20);
    const seed = Number(values.seed ?? randomInt(2 ** 31));
    if (positionals.join() === 'events' && faults > 0 && Number.isSafeInteger(faults) && Number.isSafeInteger(seed)) {
      return { faults, seed, json: values.json ?? false };
    }
  } catch (cause) {
    throw new Refusal((cause as Error).message, { remedy: usage, cause });
  }
  throw new Refusal('Disturb what, and how often?', { remedy: usage });
}

await runScript(async () => {
  const { json, ...chosen } = given();
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
