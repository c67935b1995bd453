import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import type { Test } from 'tap';

/** A worker in a process of its own, which can be killed. */
export function startProcess(t: Test, world: { env: Record<string, string>; databaseUrl: string }): ChildProcess {
  const script = path.join(import.meta.dirname, '..', '..', 'scripts', 'worker.ts');
  const env = { ...process.env, ...world.env, DATABASE_URL: world.databaseUrl, LOG_LEVEL: 'silent' };
  const child = spawn(process.execPath, [script], { env, stdio: 'ignore' });
  t.teardown(() => void child.kill('SIGKILL'));
  return child;
}
