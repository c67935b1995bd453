import { execFile, spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

// The programs that come with Postgres, where they are installed.

const debian = '/usr/lib/postgresql';

/** A program of Postgres, and its major version. */
export type Tool = { program: string; major: number };

/** The oldest installed that is of this major version at least; undefined for none. On PATH, or where Debian installs it. */
export async function findTool(name: 'pg_dump' | 'pg_restore', atLeast: number): Promise<Tool | undefined> {
  const majors = await readdir(debian).catch(() => []);
  const programs = [name, ...majors.map((major) => path.join(debian, major, 'bin', name))];
  const tools = await Promise.all(programs.map(versionOf));
  return tools
    .filter((tool): tool is Tool => tool !== undefined && tool.major >= atLeast)
    .sort((one, other) => one.major - other.major)[0];
}

async function versionOf(program: string): Promise<Tool | undefined> {
  const said = await promisify(execFile)(program, ['--version']).catch(() => undefined);
  const [, major] = /\(PostgreSQL\) (\d+)/.exec(said?.stdout ?? '') ?? [];
  return major ? { program, major: Number(major) } : undefined;
}

/**
 * Runs one on a database. The connection goes by the environment: arguments are for everyone to see.
 *
 * @throws Error with the end of what it said, where it fails.
 */
export async function runTool(
  program: string,
  args: string[],
  databaseUrl: string,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...connectionOf(databaseUrl) },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(signal && { signal }),
  });
  let said = '';
  child.stderr?.on('data', (data) => {
    said = (said + data).slice(-4000);
  });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`${path.basename(program)} failed: ${said.trim() || `exit code ${code}`}`);
}

/** A URL as the variables that libpq reads. */
function connectionOf(databaseUrl: string): Record<string, string> {
  const { hostname, port, username, password, pathname, searchParams } = new URL(databaseUrl);
  const variables: Record<string, string> = {
    PGHOST: searchParams.get('host') ?? decodeURIComponent(hostname).replace(/^\[(.*)\]$/, '$1'),
    PGPORT: port,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
    PGSSLMODE: searchParams.get('sslmode') ?? '',
    PGSSLROOTCERT: searchParams.get('sslrootcert') ?? '',
    PGOPTIONS: searchParams.get('options') ?? '',
    PGAPPNAME: 'plinth backup',
  };
  return Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
}
