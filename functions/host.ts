import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';

/** What the machine does: shares from 0 to 1, and bytes a second; without what this system does not tell. */
type HostMetrics = { cpu_usage?: number; memory_usage: number; disk_usage?: number; network_io?: number };

/** The disk that a folder is on, in bytes; undefined where there is no such folder. */
export async function diskOf(folder: string): Promise<{ size: number; free: number } | undefined> {
  const disk = await statfs(folder).catch(() => undefined);
  return disk && { size: disk.blocks * disk.bsize, free: disk.bavail * disk.bsize };
}

/** Measures the machine since it was asked last. @param folder one on the disk to watch. */
export function openHostMetrics(folder: string): () => Promise<HostMetrics> {
  let before = { at: performance.now(), ...cpuTimes(), bytes: networkBytes() };
  return async () => {
    const now = { at: performance.now(), ...cpuTimes(), bytes: networkBytes() };
    const disk = await diskOf(folder);
    const metrics: HostMetrics = { memory_usage: 1 - freemem() / totalmem() };
    if (disk) metrics.disk_usage = 1 - disk.free / disk.size;
    const passed = now.total - before.total;
    if (passed > 0) metrics.cpu_usage = 1 - (now.idle - before.idle) / passed;
    if (now.bytes !== undefined && before.bytes !== undefined) {
      metrics.network_io = Math.max(0, (now.bytes - before.bytes) / ((now.at - before.at) / 1000));
    }
    before = now;
    return metrics;
  };
}

function cpuTimes(): { idle: number; total: number } {
  let [idle, total] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}

/** What came and went over all networks but the machine's own; undefined where /proc does not tell. */
function networkBytes(): number | undefined {
  try {
    const lines = readFileSync('/proc/net/dev', 'utf8').split('\n').slice(2);
    const counted = lines.map((line) => line.trim().split(/[:\s]+/)).filter(([name]) => name && name !== 'lo');
    return counted.reduce((sum, fields) => sum + Number(fields[1]) + Number(fields[9]), 0);
  } catch {
    return undefined;
  }
}
