import { Refusal, runScript } from '../../functions/refusal.ts';
import { stopAsked } from '../stop-signal.ts';
import { readArguments } from '../terminal.ts';
import { benchBackup } from './backup.ts';
import { benchDay } from './day.ts';
import { benchEvents } from './events.ts';
import { benchExports } from './exports.ts';
import { type Ground, onGround, populate, type Report } from './ground.ts';
import { benchInbound } from './inbound.ts';
import { benchIndicators } from './indicators.ts';
import { benchJobs } from './jobs.ts';
import { benchNotify } from './notify.ts';
import { benchPermissions } from './permissions.ts';
import { benchPolicies } from './policies.ts';
import { benchRead } from './rounds.ts';
import { benchScale } from './scale.ts';
import { benchSearch } from './search.ts';
import { benchStats } from './stats.ts';
import { benchWrite } from './write.ts';

// npm run bench -- read|write|day|events|jobs|scale|search|stats|notify|policies|permissions|indicators|inbound|exports|backup [--quick] [--json] [--gitter FOLDER]: measures on a database of its own, and prints a
// table, or with --json one line for machines. What is being done goes to stderr.

type Options = { quick: boolean; gitter: string | undefined };
type Bench = (ground: Ground, options: Options, report: Report) => Promise<Record<string, string | number>[]>;

const benches: Record<string, Bench> = {
  read: async (ground, { quick, gitter }, report) =>
    benchRead(ground, await populate(ground, gitter, report), quick, report),
  write: async (ground, { quick, gitter }, report) =>
    benchWrite(ground, await populate(ground, gitter, report), quick, report),
  day: (ground, { quick, gitter }, report) => benchDay(ground, gitter, quick, report),
  events: (ground, { quick }, report) => benchEvents(ground, quick, report),
  jobs: (ground, { quick }, report) => benchJobs(ground, quick, report),
  scale: (ground, { quick }, report) => benchScale(ground, quick, report),
  search: (ground, { quick }, report) => benchSearch(ground, quick, report),
  stats: (ground, { quick }, report) => benchStats(ground, quick, report),
  notify: (ground, { quick }, report) => benchNotify(ground, quick, report),
  policies: async (ground, { gitter }, report) => benchPolicies(ground, await populate(ground, gitter, report), report),
  permissions: (ground, { quick }, report) => benchPermissions(ground, quick, report),
  indicators: (ground, { quick }, report) => benchIndicators(ground, quick, report),
  inbound: (ground, { quick }, report) => benchInbound(ground, quick, report),
  exports: (ground, { quick }, report) => benchExports(ground, quick, report),
  backup: async (ground, { gitter, quick }, report) => {
    await populate(ground, gitter, report);
    return benchBackup(ground, quick, report);
  },
};

function given() {
  const usage = `npm run bench -- ${Object.keys(benches).join('|')} [--quick] [--json] [--gitter FOLDER]`;
  const { positionals, values } = readArguments(
    { quick: { type: 'boolean' }, json: { type: 'boolean' }, gitter: { type: 'string' } },
    usage,
  );
  const [name = ''] = positionals;
  const run = benches[name];
  if (run && positionals.length === 1) return { name, run, ...values };
  throw new Refusal('Measure what?', { remedy: usage });
}

await runScript(async () => {
  const { name, run, quick = false, json = false, gitter } = given();
  const report: Report = (line) => process.stderr.write(`${line}\n`);
  await onGround(report, async (ground) => {
    const rows = await Promise.race([run(ground, { quick, gitter }, report), stopAsked()]);
    if (!rows) throw new Refusal('Stopped before it was measured.');
    if (json) console.log(JSON.stringify({ bench: name, cases: rows }));
    else console.table(rows);
  });
});
process.exit();
