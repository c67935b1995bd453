import { hostname } from 'node:os';
import { asService } from '../functions/callers.ts';
import { recordMetrics } from '../functions/generated/stats.ts';
import type { Requests } from '../functions/requests.ts';

const every = 60_000;

export type RequestFigures = {
  answered(status: number, seconds: number): void;
  close(): void;
};

/** Notes each minute what this server's requests came to (C18): the share that failed on our side, and their mean time. */
export function openRequestFigures(requests: Requests): RequestFigures {
  const serverId = `${hostname()}:${process.pid}`;
  let [count, failed, seconds] = [0, 0, 0];

  const timer = setInterval(() => {
    if (count === 0) return;
    const metrics = { error_rate: failed / count, response_time: (seconds / count) * 1000 };
    [count, failed, seconds] = [0, 0, 0];
    // A minute that cannot be noted is a gap in the figures, and nothing more.
    recordMetrics(asService(requests, 'metrics'), { serverId, metrics }).catch(() => {});
  }, every);
  timer.unref();

  return {
    answered(status, took) {
      count += 1;
      seconds += took;
      if (status >= 500) failed += 1;
    },
    close: () => clearInterval(timer),
  };
}
