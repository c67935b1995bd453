// Runs a script of this folder: node scripts/run.mjs <name> [arguments]. Plain JavaScript, because it must run on every
// Node from 20 on and before anything is installed: it installs what the lock file names and is missing, and fetches a
// newer Node only where the machine's cannot run TypeScript. On Deno it installs the same and runs on Deno.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const scripts = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const repository = path.dirname(scripts);
const onDeno = 'Deno' in globalThis;
const needDevelopment = ['bench', 'chaos', 'check', 'generate', 'test'];
/** What can do nothing without being told what: the comment at its head tells, before anything is installed. */
const needArguments = ['bench', 'chaos'];
/** The first Node that runs TypeScript as it is. */
const oldestNode = [22, 18];

const [name = '', ...args] = process.argv.slice(2);
const script = [path.join(scripts, `${name}.ts`), path.join(scripts, name, `${name}.ts`)].find((file) =>
  existsSync(file),
);
if (!name || !script) {
  const names = readdirSync(scripts)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => path.basename(file, '.ts'));
  console.error(`There is no script "${name}" in scripts/. There are: ${names.sort().join(', ')}`);
  process.exit(1);
}

if (needArguments.includes(name) && args.length === 0) {
  console.error(usageOf(script));
  process.exit(1);
}

await install(repository, needDevelopment.includes(name) ? '--include=dev' : '--omit=dev');
if (name === 'bench') await install(path.join(scripts, 'bench'), '--include=dev');
// A worker is to stay small while it writes exports, whose rows are gone as soon as they are made (npm run bench -- exports).
const memory = name === 'worker' ? ['--max-semi-space-size=8'] : [];
const program = onDeno
  ? [process.execPath, 'run', '-A', ...memory.map((flag) => `--v8-flags=${flag}`)]
  : [await runtime(), ...memory];
process.exitCode = await run(program, [script, ...args]);

/** The comment that begins with how the script is called, up to the first line of code. */
function usageOf(file) {
  const [comment] = readFileSync(file, 'utf8').match(/^\/\/ npm run .*(\n\/\/ .*)*/m) ?? [''];
  return comment.replaceAll(/^\/\/ /gm, '');
}

/** Installs from a folder's lock file when something of it is missing; says so, with the time that it took. */
async function install(folder, development) {
  const missing = missingPackages(folder, development === '--include=dev');
  if (missing.length === 0) return;
  const began = Date.now();
  const where = path.relative(repository, folder) || 'this folder';
  const some = missing.slice(0, 3).join(', ') + (missing.length > 3 ? ', …' : '');
  console.log(`Installing what ${where} lacks: ${missing.length} packages (${some})`);
  // Not npm ci: it refuses a lock file without the optional packages of platforms that a registry does not carry. No
  // package needs its install scripts (functions/embedded/binaries.ts makes the links of Postgres itself).
  const options = ['--no-save', development, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const command = [...npm(), 'install', ...options];
  const code = await finish(spawn(command[0], command.slice(1), { cwd: folder, stdio: 'inherit' }));
  if (code !== 0) {
    console.error(`Installing failed. Check the network and the disk, then try again; what ran: ${command.join(' ')}`);
    process.exit(1);
  }
  console.log(`Installed in ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

/** npm as it was called, else the one on the path; on Deno, npm run by Deno, so that there is one lock file. */
function npm() {
  if (onDeno)
    return [process.execPath, 'run', '-A', '--quiet', '--no-lock', '--node-modules-dir=none', 'npm:npm@11.21.2'];
  const cli = process.env.npm_execpath;
  return cli && path.basename(cli).startsWith('npm') ? [process.execPath, cli] : ['npm'];
}

/** What the lock file names and node_modules has not, or has in another version. More than it names does not matter. */
function missingPackages(folder, withDevelopment) {
  const wanted = readLock(path.join(folder, 'package-lock.json'));
  const present = readLock(path.join(folder, 'node_modules', '.package-lock.json'));
  return (
    Object.entries(wanted)
      .filter(([place, entry]) => place && !entry.link && fits(entry) && (withDevelopment || !entry.dev))
      .filter(([place, entry]) => present[place]?.version !== entry.version)
      // What an optional package of another platform would need is in the lock file too, and npm leaves it out.
      .filter(([place, entry]) => present[place] || !entry.optional || entry.os || entry.cpu)
      .map(([place]) => place.replace(/^.*node_modules\//, ''))
  );
}

function readLock(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : {};
}

/** Whether a package is for this platform. */
function fits({ os, cpu, libc }) {
  const glibc = onDeno
    ? globalThis.Deno.build.target.endsWith('-gnu')
    : process.report?.getReport().header.glibcVersionRuntime !== undefined;
  const matches = (list, value) =>
    !list || [list].flat().some((item) => item === value || (item[0] === '!' && item !== `!${value}`));
  return (
    matches(os, process.platform) &&
    matches(cpu, process.arch) &&
    (process.platform !== 'linux' || matches(libc, glibc ? 'glibc' : 'musl'))
  );
}

/** The Node to run on: this one, or where it is too old the one of scripts/runtime. */
async function runtime() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return process.execPath;
  const folder = path.join(scripts, 'runtime');
  await install(folder, '--omit=dev');
  const modules = path.join(folder, 'node_modules');
  const binaries = readdirSync(modules).flatMap((entry) => [
    path.join(modules, entry, 'bin', 'node'),
    path.join(modules, entry, 'bin', 'node.exe'),
  ]);
  const node = binaries.find((file) => existsSync(file));
  if (node) return node;
  console.error(
    `Plinth needs Node ${oldestNode.join('.')} or newer, and there is none to fetch for this platform. Install one.`,
  );
  process.exit(1);
}

/** Runs a program to its end with this terminal; signals that come to this process are its to obey. */
async function run([program, ...before], after) {
  const folder = path.dirname(program);
  // By RUNNER_PID the script knows whose death to look out for (scripts/stop-signal.ts).
  const env = {
    ...process.env,
    PATH: `${folder}${path.delimiter}${process.env.PATH ?? ''}`,
    RUNNER_PID: `${process.pid}`,
    // A second start takes the types off no file again: 0.4 s less of each process.
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? path.join(repository, 'node_modules', '.cache', 'node'),
  };
  const child = spawn(program, [...before, ...after], { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // npm and deno task can be killed without a word, too. Started by hand, this process may outlive who started it.
  const parent = process.ppid;
  const watch = setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), 500);
  if (!process.env.INIT_CWD) clearInterval(watch);
  const code = await finish(child);
  clearInterval(watch);
  return code;
}

/** The exit code of a process, as a shell would tell it. */
function finish(child) {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      console.error(`${child.spawnfile}: ${error.message}`);
      resolve(1);
    });
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + ({ SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }[signal] ?? 0)),
    );
  });
}
