import { Gauge } from 'prom-client';
import { type HealthCheck, health } from '../functions/generated/operations.ts';
import type { Requests } from '../functions/requests.ts';
import type { Collector } from './metrics.ts';

// Prometheus asks more often than any of this changes.
const readEvery = 60_000;
const longest = 10_000;
const verdicts = { ok: 0, warn: 1, critical: 2, unknown: -1 };

/** What operations.health says of the database, read at most once a minute. */
export function collectHealth(requests: Requests): Collector {
  let known: { at: number; checks: Promise<HealthCheck[] | undefined> } | undefined;

  function checks(): Promise<HealthCheck[] | undefined> {
    if (!known || Date.now() - known.at > readEvery) known = { at: Date.now(), checks: read() };
    return known.checks;
  }

  async function read(): Promise<HealthCheck[] | undefined> {
    const caller = { role: 'service', claims: {} } as const;
    try {
      return await health((calls, { readOnly }) =>
        requests.run(caller, calls, { readOnly, operation: 'health', signal: AbortSignal.timeout(longest) }),
      );
    } catch {
      // Asked again with the next scrape. That the database is not there is told by plinth_database_up.
      known = undefined;
      return undefined;
    }
  }

  return (registry) => {
    const registers = [registry];
    new Gauge({
      name: 'plinth_database_up',
      help: 'Whether the database tells its health: 0 or 1.',
      registers,
      async collect() {
        this.set(Number((await checks()) !== undefined));
      },
    });
    new Gauge({
      name: 'plinth_health_value',
      help: 'What a check of operations.health measured, in its unit.',
      labelNames: ['check', 'area', 'unit'],
      registers,
      async collect() {
        this.reset();
        for (const { name, area, unit, value } of (await checks()) ?? []) {
          if (value !== null) this.set({ check: name ?? '', area: area ?? '', unit: unit ?? '' }, Number(value));
        }
      },
    });
    new Gauge({
      name: 'plinth_health_verdict',
      help: 'What a check came to: 0 ok, 1 warn, 2 critical, -1 unknown.',
      labelNames: ['check', 'area'],
      registers,
      async collect() {
        this.reset();
        for (const { name, area, verdict } of (await checks()) ?? []) {
          this.set({ check: name ?? '', area: area ?? '' }, verdicts[verdict ?? 'unknown']);
        }
      },
    });
  };
}
