import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { until } from '../events/listen.ts';
import { launch, runScript, temporaryFolder } from '../running-plinth.ts';
import { openScratch } from '../scratch-database.ts';
import { createWithSchema } from '../world.ts';

const repository = path.join(import.meta.dirname, '..', '..');
const runbook = readFileSync(path.join(repository, 'docs', 'runbook.md'), 'utf8');

/** What stands in the blocks marked sh, in order, under the heading above it. */
function blocks(): { heading: string; commands: string }[] {
  const found = runbook.matchAll(/^## (.+)$|^( *)(?:\d\. )?```sh\n([\s\S]*?)^ *```$/gm);
  let heading = 'In each new shell';
  return [...found].flatMap(([, title, , commands]) => {
    if (title) heading = title;
    return commands ? [{ heading, commands }] : [];
  });
}

function has(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const missing = ['psql', 'curl', 'npm'].filter((program) => !has(program));
const skip = missing.length > 0 && `needs ${missing.join(' and ')}`;

// A score of programs, one after another.
t.setTimeout(550_000);

t.test('E5 every command of the runbook that can run is run, on a Plinth that serves', { skip }, async (t) => {
  const scratch = await openScratch();
  t.teardown(scratch.close);
  const folder = temporaryFolder(t);
  const key = (): string => randomBytes(32).toString('base64url');
  const settings = {
    ...{
      DATABASE_URL: await createWithSchema(scratch),
      PLINTH_DATA: path.join(folder, 'data'),
      PORT: '0',
      LOG_LEVEL: 'silent',
    },
    ...{ JWT_KEYS: `k1:${key()}`, BACKUP_KEY: key() },
  };
  t.equal((await runScript('seed', [], settings)).status, 0);
  const { child, ended } = launch('start', [], { ...settings, NODE_ENV: 'production' });
  t.teardown(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  const readyAt = /^Plinth is ready at (\S+)\/$/m;
  await Promise.race([
    until(() => readyAt.test(said), 'That it is ready'),
    ended.then(({ stderr }) => Promise.reject(new Error(stderr))),
  ]);
  const [, url = ''] = readyAt.exec(said) ?? [];
  const env = {
    ...settings,
    ...{ NODE_ENV: 'production', URL: url, NEW_DATABASE_URL: await scratch.create(), HOME: folder },
    PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`,
  };
  const bash = (commands: string): Promise<{ failed: boolean; output: string }> =>
    new Promise((resolve) => {
      const options = { cwd: repository, env, timeout: 120_000 };
      execFile('bash', ['--norc', '-euo', 'pipefail', '-c', commands], options, (error, stdout, stderr) => {
        resolve({ failed: error !== null, output: `${stdout}${stderr}` });
      });
    });
  const [first, ...others] = blocks();
  t.ok(others.length > 15, `${others.length} blocks`);
  const { output } = await bash(`${first?.commands}\necho "$DB"`);
  Object.assign(env, { DB: output.trim() });
  for (const { heading, commands } of others) {
    const { failed, output } = await bash(commands);
    t.notOk(failed, `${heading}: ${commands.trim().split('\n')[0]?.trim()}`, { commands, output });
  }
  const ready = await fetch(`${url}/ready`);
  t.match([ready.status, await ready.json()], [200, { status: 'ready' }], 'it serves at the end');
});
