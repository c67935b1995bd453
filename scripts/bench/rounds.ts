import { type Case, readCases } from './cases.ts';
import type { Ground, Report, Viewer } from './ground.ts';
import type { Measured } from './load.ts';
import { checkSame } from './same.ts';
import { type Bench, type SystemName, startSystems } from './systems.ts';

/** A line of the result: medians over the rounds; rps is requests a second, p50 and p99 milliseconds. */
export type Row = {
  name: string;
  system: SystemName | 'pgbench';
  connections: number;
  rps: number;
  p50: number;
  p99: number;
  ratioToLimit: number;
  ratioToPostgraphile: number;
};

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

/**
 * Measures every system with every case. In a round each system has its turn, one after the other, so that whatever else the
 * machine does meets all of them.
 */
export async function measureRounds(
  { systems, measure }: Bench,
  cases: Case[],
  { connections, quick, report }: { connections: number[]; quick: boolean; report: Report },
): Promise<Row[]> {
  const rounds = quick ? 1 : 3;
  const rows: Row[] = [];
  for (const [place, each] of cases.entries()) {
    for (const count of connections) {
      report(`${each.name}, ${count} connection${count === 1 ? '' : 's'}`);
      const measured = new Map<SystemName, Measured[]>(systems.map(({ name }) => [name, []]));
      for (let round = 0; round < rounds; round += 1) {
        for (const system of systems) {
          const requests = await system.requests(each, place);
          const load = { connections: count, requests, warmSeconds: quick ? 0.3 : 0.5, seconds: quick ? 0.7 : 1.8 };
          measured.get(system.name)?.push(await measure(system, load));
        }
      }
      rows.push(...rowsOf(each.name, count, measured));
    }
  }
  return rows;
}

function rowsOf(name: string, connections: number, measured: Map<SystemName, Measured[]>): Row[] {
  return [...measured].map(([system, runs]) => {
    const of = (key: 'rps' | 'p50' | 'p99') => rounded(median(runs.map((run) => run[key])));
    const ratioToLimit = ratio(runs, measured.get('limit'));
    const ratioToPostgraphile = ratio(runs, measured.get('postgraphile'));
    return {
      name,
      system,
      connections,
      rps: of('rps'),
      p50: of('p50'),
      p99: of('p99'),
      ratioToLimit,
      ratioToPostgraphile,
    };
  });
}

/** The median of the rounds' own ratios: what slows a round down slows both. */
function ratio(runs: Measured[], others: Measured[] = []): number {
  return rounded(median(runs.map(({ rps }, round) => rps / (others[round]?.rps ?? Number.NaN))));
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
