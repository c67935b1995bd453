import { type ExecFileException, execFile } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import type { Test } from 'tap';
import { temporaryFolder } from '../running-plinth.ts';

const debian = '/usr/lib/postgresql';

/** The folder of the newest Postgres that Debian has installed here, with pg_basebackup and the like; the embedded one has none. */
export const programs: string | undefined = existsSync(debian)
  ? readdirSync(debian)
      .sort((one, other) => Number(other) - Number(one))
      .map((major) => path.join(debian, major, 'bin'))
      .find((bin) => existsSync(path.join(bin, 'pg_basebackup')))
  : undefined;

/** Runs a program to its end, as the user postgres where this one is root. @throws Error with what it said. */
export function asPostgres(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const [name, ...list] =
    process.getuid?.() === 0 ? ['runuser', '-u', 'postgres', '--', program, ...args] : [program, ...args];
  return run(name as string, list, env);
}

/** Runs a program to its end. @throws Error with what it said. */
export function run(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd: '/', env: { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC', ...env } };
    const child = execFile(program, args, options, (error: ExecFileException | null, stdout, stderr) => {
      if (error) reject(new Error(`${program} ${args.join(' ')}: ${stdout}${stderr}`, { cause: error }));
      else resolve(stdout.trim());
    });
    child.stdin?.end();
  });
}

/** A Postgres of a test's own, in a folder of its own. */
export type Cluster = {
  url: string;
  port: number;
  data: string;
  /** The folder of its socket. */
  folder: string;
  start(): Promise<void>;
  stop(how?: 'fast' | 'immediate'): Promise<void>;
};

/**
 * A cluster in `folder`/`name`, not started; stopped when the test ends.
 *
 * @param options.make makes the data folder.
 * @param options.flags settings for its command line.
 */
export async function makeCluster(
  t: Test,
  folder: string,
  name: string,
  { make = initdb, flags = '' }: { make?: (data: string, bin: string) => Promise<unknown>; flags?: string } = {},
): Promise<Cluster> {
  const bin = programs as string;
  const data = path.join(folder, name);
  const port = await freePort();
  await make(data, bin);
  const control = (...args: string[]) => asPostgres(path.join(bin, 'pg_ctl'), ['-D', data, '-w', '-t', '60', ...args]);
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off -c shared_buffers=32MB ${flags}`;
  const cluster: Cluster = {
    ...{ port, data, folder, url: `postgres://postgres@127.0.0.1:${port}/postgres` },
    start: async () => void (await control('-o', options, '-l', `${data}.log`, 'start')),
    stop: async (how = 'fast') => void (await control('-m', how, 'stop')),
  };
  t.teardown(() => cluster.stop('immediate').catch(() => {}));
  return cluster;
}

/** A folder in which the user of Postgres may write; gone when the test ends. */
export async function clusterFolder(t: Test): Promise<string> {
  const folder = path.join(temporaryFolder(t), 'home');
  mkdirSync(folder);
  if (process.getuid?.() === 0) chownSync(folder, Number(await run('id', ['-u', 'postgres'])), -1);
  return folder;
}

function initdb(data: string, bin: string): Promise<string> {
  const options = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'];
  return asPostgres(path.join(bin, 'initdb'), options);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
