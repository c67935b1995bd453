import { readCases } from './cases.ts';
import type { Ground, Report, Viewer } from './ground.ts';
import { measureRounds, type Row } from './rounds.ts';
import { checkSame } from './same.ts';
import { startSystems } from './systems.ts';

/** Reads: pages, the chat list and single messages, by Plinth, its peers and the limit. */
export async function benchRead(ground: Ground, viewer: Viewer, quick: boolean, report: Report): Promise<Row[]> {
  const cases = await readCases(ground.owner, viewer);
  const bench = await startSystems(ground, viewer, cases, ['limit', 'bare', 'plinth', 'postgraphile', 'yoga']);
  try {
    await checkSame(bench.systems, cases);
    report('All systems give the same answers');
    return await measureRounds(bench, cases, { connections: [1, 16, 64], quick, report });
  } finally {
    await bench.close();
  }
}
