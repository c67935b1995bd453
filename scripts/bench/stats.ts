import { type Ground, makeViewer, type Report, runFile } from './ground.ts';
import { rounded } from './rounds.ts';
import { fill } from './scale.ts';

/** How long the statistics of days take: all days of a year of messages, as after an import, and the day before, as each night. */
export async function benchStats(ground: Ground, quick: boolean, report: Report) {
  const { owner } = ground;
  const size = quick ? 1_000_000 : 10_000_000;
  await runFile(owner, 'people.sql');
  await makeViewer(owner);
  report(`Making ${size.toLocaleString('en')} messages`);
  await fill(ground, size, 12);
  const rows: { name: string; days: number; seconds: number }[] = [];
  for (const name of ['all days', 'the last day']) {
    report(name);
    const began = performance.now();
    const { rows: counted } = await owner.query('select stats.update_daily_stats() as days');
    rows.push({ name, days: counted[0].days, seconds: rounded((performance.now() - began) / 1000) });
  }
  return rows;
}
