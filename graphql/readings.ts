import { Counter, Gauge } from 'prom-client';
import type { Collector } from './metrics.ts';

/** A number as a meter or Postgres gives it. What is not known is not told: 0 would say that it is. */
type Known = number | bigint | string | boolean | null | undefined;

/** Numbers that are kept elsewhere, read when Prometheus asks; those that end in _total only grow. */
export function readings(list: [name: string, help: string, value: () => Known | Promise<Known>][]): Collector {
  return (registry) => {
    for (const [name, help, value] of list) {
      const metric = { name, help, registers: [registry] };
      if (name.endsWith('_total')) {
        new Counter({
          ...metric,
          async collect() {
            const total = Number(await value());
            this.reset();
            this.inc(total);
          },
        });
      } else {
        new Gauge({
          ...metric,
          async collect() {
            const found = await value();
            if (found === null || found === undefined) this.remove();
            else this.set(Number(found));
          },
        });
      }
    }
  };
}

/** The same of each row of a list, told apart by labels. */
export function readingsOf<Row>(
  rows: () => Promise<Row[]>,
  labels: Record<string, (row: Row) => string | null>,
  list: [name: string, help: string, value: (row: Row) => Known][],
): Collector {
  return (registry) => {
    for (const [name, help, value] of list) {
      new Gauge({
        name,
        help,
        labelNames: Object.keys(labels),
        registers: [registry],
        async collect() {
          const found = await rows();
          this.reset();
          for (const row of found) {
            const number = value(row);
            if (number === null || number === undefined) continue;
            const labelled = Object.entries(labels).map(([label, of]) => [label, of(row) ?? '']);
            this.set(Object.fromEntries(labelled), Number(number));
          }
        },
      });
    }
  };
}
