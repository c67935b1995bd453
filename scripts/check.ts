import { spawnSync } from 'node:child_process';
import path from 'node:path';

// npm run check: everything that a tool can judge. All of it runs, and what failed is told together at the end.

const repository = path.join(import.meta.dirname, '..');
const node = process.execPath;

const checks: Record<string, string[]> = {
  'types (tsc)': ['node_modules/.bin/tsc', '--noEmit'],
  'format and lint (biome)': ['node_modules/.bin/biome', 'check', '--error-on-warnings'],
  'schema.sql (db lint)': [node, 'scripts/db.ts', 'lint'],
  'unused code and dependencies (knip)': ['node_modules/.bin/knip'],
  'generated files (generate --check)': [node, 'scripts/generate.ts', '--check'],
  'docs/settings.md (settings --check)': [node, 'scripts/settings.ts', '--check'],
};

const failures: { name: string; output: string }[] = [];
for (const [name, [program = '', ...args]] of Object.entries(checks)) {
  const began = performance.now();
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: repository, encoding: 'utf8' });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'failed'}  ${name} (${seconds} s)`);
  if (status !== 0) failures.push({ name, output: `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trim() });
}
for (const { name, output } of failures) console.log(`\n${name} failed:\n${output}`);
console.log(`${Object.keys(checks).length - failures.length} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
