import type { Case } from './cases.ts';
import type { Report } from './ground.ts';
import type { Measured } from './load.ts';
import type { Bench, SystemName } from './systems.ts';

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
  const rows: Row[] = [];
  for (const [system, runs] of measured) {
    const of = (key: 'rps' | 'p50' | 'p99') => rounded(median(runs.map((run) => run[key])));
    rows.push({
      name,
      system,
      connections,
      rps: of('rps'),
      p50: of('p50'),
      p99: of('p99'),
      ratioToLimit: ratio(runs, measured.get('limit')),
      ratioToPostgraphile: ratio(runs, measured.get('postgraphile')),
    });
  }
  return rows;
}

/** The median of the rounds' own ratios: what slows a round down slows both. */
function ratio(runs: Measured[], others: Measured[] = []): number {
  return rounded(median(runs.map(({ rps }, round) => rps / (others[round]?.rps ?? Number.NaN))));
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
