import { rounded } from '../rounds.ts';

/** How long something took, and how often it failed. */
export type Figure = {
  name: string;
  count: number;
  /** A second. */
  rate: number;
  /** In milliseconds. */
  mean: number;
  p95: number;
  p99: number;
  failed: number;
};

/** Times by what was done, in milliseconds, and what went wrong with it. */
export type Clock = {
  took(name: string, milliseconds: number): void;
  failed(name: string, why: string): void;
  /** Forgets everything until now. */
  reset(): void;
  figures(): Figure[];
  /** What went wrong, and how often, since the process began. */
  reasons(): Record<string, number>;
};

/** How long after it was written an event came; all else that is measured are requests. */
const event = 'event';

export function startClock(now: () => number = () => performance.now()): Clock {
  let began = now();
  let times = new Map<string, number[]>();
  let failures = new Map<string, number>();
  const reasons: Record<string, number> = {};

  const figureOf = (name: string, values: number[], failed: number): Figure => {
    const sorted = values.toSorted((a, b) => a - b);
    const share = (part: number) => rounded(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
    const mean = sorted.length === 0 ? 0 : sorted.reduce((all, each) => all + each, 0) / sorted.length;
    const rate = rounded((sorted.length * 1000) / (now() - began));
    return { name, count: sorted.length, rate, mean: rounded(mean), p95: share(0.95), p99: share(0.99), failed };
  };

  return {
    took(name, milliseconds) {
      const list = times.get(name);
      if (list) list.push(milliseconds);
      else times.set(name, [milliseconds]);
    },
    failed(name, why) {
      failures.set(name, (failures.get(name) ?? 0) + 1);
      reasons[`${name}: ${why}`] = (reasons[`${name}: ${why}`] ?? 0) + 1;
    },
    reset() {
      began = now();
      times = new Map();
      failures = new Map();
    },
    figures() {
      const names = [...new Set([...times.keys(), ...failures.keys()])].sort();
      const asked = names.filter((name) => name !== event);
      return [
        figureOf(
          'all requests',
          asked.flatMap((name) => times.get(name) ?? []),
          asked.reduce((all, name) => all + (failures.get(name) ?? 0), 0),
        ),
        ...names.map((name) => figureOf(name, times.get(name) ?? [], failures.get(name) ?? 0)),
      ];
    },
    reasons: () => reasons,
  };
}

/** The bounds of what is carried: of all requests together, and of how late events come. */
const bounds = { mean: 100, p99: 2000, failedShare: 0.00025 };

/** Which bounds are broken, in words. */
export function broken({ name, count, mean, p99, failed }: Figure): string[] {
  const found: string[] = [];
  if (mean >= bounds.mean) found.push(`${name}: a mean of ${mean} ms`);
  if (p99 >= bounds.p99) found.push(`${name}: a p99 of ${p99} ms`);
  if (failed > (count + failed) * bounds.failedShare) found.push(`${name}: ${failed} of ${count + failed} failed`);
  return found;
}
