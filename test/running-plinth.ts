import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';

const scripts = path.join(import.meta.dirname, '..', 'scripts');

/** What a script that a test starts has of the environment. */
export const inherited: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  ...(process.env.NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }),
};

/** What a script said and how it ended. */
export type Ended = { status: number | null; stdout: string; stderr: string };

/** A script of a folder, by default scripts/, as a process of its own; its environment is `env` and nothing else. */
export function launch(name: string, args: string[], env: Record<string, string>, cwd?: string, folder = scripts) {
  const child = spawn(process.execPath, [path.join(folder, `${name}.ts`), ...args], {
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd && { cwd }),
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (said.stdout += data));
  child.stderr.on('data', (data) => (said.stderr += data));
  const ended = new Promise<Ended>((resolve) => child.once('close', (status) => resolve({ status, ...said })));
  return { child, ended };
}

/** Runs a script to its end. */
export function runScript(name: string, args: string[], env: Record<string, string>, cwd?: string): Promise<Ended> {
  return launch(name, args, env, cwd).ended;
}

/** A folder that every user can reach, gone when the test ends: where root starts Postgres, another user runs it. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'plinth-test-'));
  chmodSync(folder, 0o711);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** `npm start` with an embedded Postgres of its own, stopped when the test ends. */
export async function startPlinth(t: Test): Promise<{ url: string; env: Record<string, string> }> {
  const env = { PLINTH_DATA: path.join(temporaryFolder(t), 'data'), PORT: '0', LOG_LEVEL: 'silent' };
  const { child, ended } = launch('start', [], env);
  t.teardown(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  const url = await Promise.race([readyAt(child), ended.then(({ stderr }) => Promise.reject(new Error(stderr)))]);
  return { url, env };
}

async function readyAt(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    const [, url] = /^Plinth is ready at (\S+)/.exec(line) ?? [];
    if (url) return url;
  }
  return new Promise(() => {});
}
