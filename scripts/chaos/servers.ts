import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../functions/embedded/server.ts';

/** A server that is started again whenever it ends. */
export type ServerProcess = {
  name: string;
  url: string;
  isReady(): boolean;
  leads(): Promise<boolean>;
  /** Settled when the process has ended. */
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  close(): Promise<void>;
};

const entry = path.join(import.meta.dirname, '..', 'start.ts');
const linesKept = 20;

/**
 * Keeps a server process running on a port of its own.
 *
 * @param env all of its environment but the port.
 * @param fell told when it ended after it had been ready and without being asked, with its last lines.
 */
export async function keepServer(
  name: string,
  env: Record<string, string>,
  fell: (what: string) => void,
): Promise<ServerProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  let child: ChildProcess;
  let ended: Promise<void>;
  let ready = false;
  let asked = false;
  let closed = false;

  function start(): void {
    const lines: string[] = [];
    asked = false;
    const own = spawn(process.execPath, [entry], {
      // RUNNER_PID has it end when this process does.
      env: { ...env, PATH: process.env.PATH, HOST: '127.0.0.1', PORT: `${port}`, RUNNER_PID: `${process.pid}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = own;
    for (const stream of [own.stdout, own.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        if (line.startsWith('Plinth is ready')) ready = true;
        lines.push(line);
        if (lines.length > linesKept) lines.shift();
      });
    }
    ended = new Promise((resolve) => {
      own.once('close', () => {
        if (ready && !asked) fell(`${name} ended by itself:\n${lines.join('\n')}`);
        ready = false;
        resolve();
        // Started while Postgres is down, it ends at once.
        if (!closed) setTimeout(() => !closed && start(), 100);
      });
    });
  }

  async function kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    asked = true;
    ready = false;
    child.kill(signal);
    await ended;
  }

  start();
  return {
    name,
    url,
    isReady: () => ready,
    async leads() {
      try {
        const answer = await fetch(`${url}ready`, { signal: AbortSignal.timeout(2000) });
        return ((await answer.json()) as { events: { leader: boolean } }).events.leader;
      } catch {
        return false;
      }
    },
    kill,
    async close() {
      closed = true;
      await Promise.race([kill('SIGTERM'), sleep(3000)]);
      await kill('SIGKILL');
    },
  };
}
