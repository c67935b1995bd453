import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { applySchema, readSchema, schemaFile } from '../../functions/apply.ts';
import { leaveFolder } from '../../functions/embedded/holder.ts';
import { type EmbeddedDatabase, startEmbedded } from '../../functions/embedded.ts';
import { withOwner } from './database.ts';

/** A durable Postgres with schema.sql, to be killed. `folder` is thrown away with it. */
export type Postgres = {
  url: string;
  folder: string;
  /** SIGKILL to every process of it at once: what was not on disk is gone, as when the power fails. */
  kill(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
};

/**
 * Starts an embedded Postgres of its own, whatever DATABASE_URL says.
 *
 * @param more what stands in its schema.sql beyond ours.
 */
export async function openPostgres(report: (line: string) => void, more = ''): Promise<Postgres> {
  const folder = mkdtempSync(path.join(tmpdir(), 'plinth-chaos-'));
  let server: EmbeddedDatabase = await startEmbedded({ dataDirectory: folder, log: report });
  const { url } = server;
  const { text, fileName } = await readSchema(schemaFile);
  await withOwner(url, (owner) => applySchema(owner, text + more, fileName));

  return {
    url,
    folder,
    async kill() {
      const postmaster = await withOwner(url, async (owner) => {
        const { rows } = await owner.query("select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int as pid");
        return rows[0].pid as number;
      });
      // Stopped first, so that it starts no others while they are counted.
      process.kill(postmaster, 'SIGSTOP');
      const all = [...childrenOf(postmaster), postmaster];
      for (const pid of all) send(pid, 'SIGKILL');
      await server.ended;
      while (all.some((pid) => send(pid, 0))) await sleep(5);
      leaveFolder(folder);
    },
    async start() {
      server = await startEmbedded({ dataDirectory: folder, log: () => {} });
    },
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function childrenOf(parent: number): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  const pairs = lines.map((line) => line.trim().split(/\s+/).map(Number) as [number, number]);
  return pairs.filter(([, of]) => of === parent).map(([pid]) => pid);
}

/** Whether the process was there to get it. */
function send(pid: number, signal: 'SIGKILL' | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
