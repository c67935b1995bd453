import { spawn } from 'node:child_process';
import { globSync, statfsSync } from 'node:fs';
import { freemem } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { runScript } from '../functions/refusal.ts';
import { dropTemplates, startOwn } from '../test/scratch-database.ts';
import { stopAsked } from './stop-signal.ts';
import { testReport } from './test-report.ts';

// npm test [-- all | FILE…]: the tests that take less than a quarter of a minute each, every one, or those of the files named, against a
// Postgres of its own that is thrown away, or against the server of TEST_DATABASE_URL. Its last line counts assertions.

const memoryFolder = '/dev/shm';
const roomNeeded = 4 * 1024 ** 3;

/** Whether what is thrown away has room in memory: there a database is made in a tenth of the time that it takes on a disk. */
function fitsInMemory(): boolean {
  try {
    const { bavail, bsize } = statfsSync(memoryFolder);
    return bavail * bsize >= roomNeeded && freemem() >= 2 * roomNeeded;
  } catch {
    return false;
  }
}

const repository = path.join(import.meta.dirname, '..');

/** Those that are named; without names all but what takes long. */
function filesOf(named: string[]): string[] {
  const every = globSync('test/*/*.test.ts', { cwd: repository }).sort();
  if (named.join() === 'all') return every;
  if (named.length > 0) return named;
  const short = every.filter((file) => !file.endsWith('.long.test.ts'));
  console.log(`${every.length - short.length} files take longer and are left out: npm test -- all runs them, too`);
  return short;
}

/** @returns whether every test passed, and the last line. */
async function runTests(databaseUrl: string, stop: Promise<void>): Promise<{ code: number; summary: string }> {
  const files = filesOf(process.argv.slice(2));
  const child = spawn(process.execPath, [path.join(repository, 'test/all.ts'), ...files], {
    cwd: repository,
    env: { ...process.env, TEST_DATABASE_URL: databaseUrl, TAP: '1', TAP_TIMEOUT: '300' },
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  stop.then(() => child.kill('SIGTERM'));
  const report = testReport(console.log);
  const lines = createInterface({ input: child.stdout });
  lines.on('line', report.line);
  const code = new Promise<number>((resolve) => child.once('exit', (status) => resolve(status ?? 1)));
  await new Promise((resolve) => lines.once('close', resolve));
  const { passed, failed } = report.counts() ?? { passed: 0, failed: 0 };
  const failures = (await code) === 0 ? failed : Math.max(failed, 1);
  return { code: await code, summary: `${passed} passed, ${failures} failed` };
}

async function onThrowAway(stop: Promise<void>): Promise<{ code: number; summary: string }> {
  const database = await startOwn(console.log);
  return runTests(database.url, stop).finally(database.stop);
}

/** On a server that stays: the databases that the tests copy from go with them. */
async function onGiven(url: string, stop: Promise<void>): Promise<{ code: number; summary: string }> {
  try {
    return await runTests(url, stop);
  } finally {
    await dropTemplates(url);
  }
}

await runScript(async () => {
  if (!process.env.TMPDIR && fitsInMemory()) process.env.TMPDIR = memoryFolder;
  const stop = stopAsked();
  const given = process.env.TEST_DATABASE_URL;
  const { code, summary } = given ? await onGiven(given, stop) : await onThrowAway(stop);
  console.log(summary);
  process.exitCode = code;
});
process.exit();
