import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connected } from '../connection.ts';
import { Refusal } from '../refusal.ts';
import { program } from './binaries.ts';
import { clusterOf } from './cluster.ts';
import type { Place } from './place.ts';
import { plainEnvironment } from './run-as.ts';

/** A Postgres that runs. `ended` is settled when it has, asked or not. */
export type RunningPostgres = { ended: Promise<void>; stop(): Promise<void> };

const largestLog = 10 * 1024 * 1024;

/**
 * Starts Postgres under a watcher that waits for the end of its standard input, which comes when this process ends,
 * however it ends: then Postgres gets a fast shutdown. Both are in a session of their own, where the Ctrl-C of the
 * terminal does not reach them: Postgres must outlive the server that still closes its connections.
 */
const watcher = `
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
{ while read -r line; do :; done; kill -INT "$server"; } <&3 &
watch=$!
exec 3<&-
wait "$server"
code=$?
kill "$watch" 2>/dev/null
exit "$code"`;

/** Starts Postgres on a cluster. It may not be ready yet: see {@link waitUntilReady}. */
export function launch(place: Place, port: number, logFile: string, flags: string[]): RunningPostgres {
  const settings = {
    listen_addresses: '127.0.0.1',
    port: `${port}`,
    unix_socket_directories: '',
    max_connections: '100',
    shared_buffers: '256MB',
    timezone: 'UTC',
    log_timezone: 'UTC',
    lc_messages: 'C',
    // What health tells of statements. Others than queries it would keep with their values, passwords too.
    shared_preload_libraries: 'pg_stat_statements',
    'pg_stat_statements.track_utility': 'off',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const args = [program(place.binaries, 'postgres'), '-D', clusterOf(place.base), ...options, ...flags];
  const output = openLog(logFile);
  const child = spawn('/bin/sh', ['-c', watcher, 'sh', ...args], {
    ...place.account,
    cwd: '/',
    env: plainEnvironment,
    detached: true,
    stdio: ['pipe', output, output],
  });
  closeSync(output);
  // The pipe breaks when the watcher has ended first, which `ended` tells.
  child.stdin?.on('error', () => {});
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const stop = async () => {
    child.stdin?.end();
    await ended;
  };
  return { ended, stop };
}

/**
 * Waits until Postgres answers, through the recovery that follows a crash if need be.
 *
 * @throws Refusal with the end of its log when it ends instead.
 */
export async function waitUntilReady(
  { ended }: RunningPostgres,
  url: string,
  logFile: string,
  log: (message: string) => void,
): Promise<void> {
  let over = false;
  ended.then(() => {
    over = true;
  });
  const began = Date.now();
  let told = began;
  while (!over) {
    try {
      return await connected(url, async () => {}, { connectionTimeoutMillis: 5_000 });
    } catch (error) {
      const refused = (error as { code?: string }).code === '28P01';
      // Another Postgres may have taken the port: then this one is about to end, and its log says so.
      await delay(refused ? 500 : 20);
      if (refused && !over) throw wrongPassword(logFile, error);
    }
    if (Date.now() - told > 10_000) {
      told = Date.now();
      log(`Postgres is not ready yet after ${Math.round((told - began) / 1000)} s (recovery?); its log is ${logFile}`);
    }
  }
  throw new Refusal(`Postgres did not start. The end of its log, ${logFile}:\n${logTail(logFile)}`, {
    remedy: 'Put right what it says and start again, or set PLINTH_DATA to another folder.',
  });
}

/** A port of 127.0.0.1 that nobody listens on, the wanted one if it is free. */
export function freePort(wanted = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => (wanted ? freePort().then(resolve, reject) : reject(error)));
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : wanted));
    });
  });
}

/** The last lines of a log. */
export function logTail(logFile: string): string {
  if (!existsSync(logFile)) return `(${logFile} is gone)`;
  return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-15).join('\n');
}

function wrongPassword(logFile: string, cause: unknown): Refusal {
  return new Refusal('The password kept in postgres.json is not that of the database.', {
    remedy: `Put back the postgres.json that belongs to it (beside ${logFile}).`,
    cause,
  });
}

function openLog(logFile: string): number {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size > largestLog) renameSync(logFile, `${logFile}.1`);
  return openSync(logFile, 'a', 0o600);
}
