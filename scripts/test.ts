import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { runScript } from '../functions/refusal.ts';
import { dropTemplates, startOwn } from '../test/scratch-database.ts';
import { stopAsked } from './stop-signal.ts';
import { testReport } from './test-report.ts';

// npm test [-- files and options of tap]: every test against a Postgres of its own that is thrown away, or against the
// server of TEST_DATABASE_URL. Its last line counts assertions.

const repository = path.join(import.meta.dirname, '..');
const tap = path.join(repository, 'node_modules/tap/dist/esm/run.mjs');
const builtPlugins = path.join(repository, 'node_modules/@tapjs/test/test-built/dist/esm/index.js');
const secondsForAFile = 120;

/** Runs tap's program with this terminal's input; `take` gets each line that it prints. */
async function runTap(args: string[], databaseUrl: string, stop: Promise<void>, take: (line: string) => void) {
  const child = spawn(process.execPath, [tap, ...args], {
    cwd: repository,
    env: { ...process.env, TEST_DATABASE_URL: databaseUrl },
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  stop.then(() => child.kill('SIGTERM'));
  const lines = createInterface({ input: child.stdout });
  lines.on('line', take);
  const code = new Promise<number>((resolve) => child.once('exit', (status) => resolve(status ?? 1)));
  await new Promise((resolve) => lines.once('close', resolve));
  return code;
}

/** @returns whether every test passed, and the last line. */
async function runTests(databaseUrl: string, stop: Promise<void>): Promise<{ code: number; summary: string }> {
  // tap builds its plugins into node_modules when they are not those of package.json, and only its next run has them.
  if (readFileSync(builtPlugins, 'utf8').includes('@tapjs/typescript'))
    await runTap(['build'], databaseUrl, stop, console.log);
  const report = testReport(console.log);
  const options = ['run', '--jobs=2', '--reporter=tap', `--timeout=${secondsForAFile}`, ...process.argv.slice(2)];
  const code = await runTap(options, databaseUrl, stop, report.line);
  const { passed, failed } = report.counts() ?? { passed: 0, failed: 0 };
  return { code, summary: `${passed} passed, ${code === 0 ? failed : Math.max(failed, 1)} failed` };
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
  const stop = stopAsked();
  const given = process.env.TEST_DATABASE_URL;
  const { code, summary } = given ? await onGiven(given, stop) : await onThrowAway(stop);
  console.log(summary);
  process.exitCode = code;
});
process.exit();
