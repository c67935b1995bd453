import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../functions/embedded/server.ts';
import { connectionOptions } from '../../functions/requests.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { openTokens } from '../../functions/tokens.ts';
import { capture } from './capture.ts';
import type { Case } from './cases.ts';
import type { Ground, Viewer } from './ground.ts';
import type { Load, Measured } from './load.ts';
import type { SystemSettings } from './systems/system.ts';

/** The systems in the order of the tables; `bare` is the limit without role, claims and policies. */
export type SystemName = 'limit' | 'bare' | 'plinth' | 'postgraphile' | 'yoga';

/** A system that answers, in a process of its own. */
export type System = {
  name: SystemName;
  port: number;
  pid: number;
  requests(of: Case, place: number): Promise<Load['requests']>;
};

/** Everything that is up while a bench runs. */
export type Bench = {
  systems: System[];
  /** What they know tokens by, in hex. */
  key: string;
  /** Puts a load on a system. @throws Error where an answer is an error */
  measure(system: System, load: Omit<Load, 'port'>): Promise<Measured>;
  close(): Promise<void>;
};

const poolSize = 10;
const here = import.meta.dirname;

/** Starts systems on one database, all with the same Node, number of connections and token. */
export async function startSystems(ground: Ground, viewer: Viewer, cases: Case[], names: SystemName[]): Promise<Bench> {
  const key = randomBytes(32);
  const tokens = openTokens([{ kid: 'bench', key }]);
  const claims = { sub: viewer.userId, sid: viewer.sessionId, role: 'member' as const };
  const url = await serverUrl(ground.url);
  const captured = path.join(ground.folder, 'captured.json');
  writeFileSync(captured, JSON.stringify(await capture(url, cases, viewer)));
  const client = fork(path.join(here, 'load.ts'));
  const children: ChildProcess[] = [];
  const close = async () => {
    if (client.connected) client.disconnect();
    await Promise.all(children.map(stop));
  };
  try {
    const systems: System[] = [];
    for (const name of names) {
      const port = await freePort();
      const databaseUrl = name === 'bare' ? bareUrl(ground, viewer) : url;
      const settings: SystemSettings = { port, databaseUrl, poolSize, key: key.toString('hex'), captured };
      const child = run(name, settings, ground);
      children.push(child);
      await untilItAnswers(name, port, child, ground);
      systems.push({
        name,
        port,
        pid: child.pid as number,
        requests: async (of, place) => requestsOf(name, of, place, await tokens.sign(claims)),
      });
    }
    return { systems, key: key.toString('hex'), measure: (system, load) => measure(client, system, load), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** As the owner, with the viewer as a setting of the connection. */
function bareUrl({ url }: Ground, { userId }: Viewer): string {
  const bare = new URL(url);
  bare.searchParams.set('options', `${connectionOptions} -c plinth.user_id=${userId}`);
  return bare.href;
}

function requestsOf(name: SystemName, of: Case, place: number, token: string): Load['requests'] {
  const alone = name === 'limit' || name === 'bare';
  const query = name === 'postgraphile' ? of.postgraphile : of.plinth;
  return of.variables.map((variables, index) => ({
    path: alone ? `/${place}/${index}` : '/graphql',
    body: JSON.stringify({ query, variables }),
    token,
  }));
}

async function measure(client: ChildProcess, { name, port }: System, load: Omit<Load, 'port'>): Promise<Measured> {
  const answered = new Promise<Measured>((resolve, reject) => {
    client.once('message', (result: Measured) => resolve(result));
    client.once('exit', () => reject(new Error(`${name} went away while it was measured.`)));
  });
  client.send({ ...load, port } satisfies Load);
  const measured = await answered;
  client.removeAllListeners('exit');
  if (measured.failed === 0) return measured;
  throw new Error(`${name} answered ${measured.failed} requests wrongly: ${measured.failure}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** Starts one system; what it says goes to a file, as a log does. */
function run(name: SystemName, settings: SystemSettings, { url, folder }: Ground): ChildProcess {
  const { port, key } = settings;
  const own = {
    PORT: String(port),
    HOST: '127.0.0.1',
    DATABASE_URL: url,
    PLINTH_DATA: path.join(folder, 'plinth'),
    JWT_KEYS: `bench:${Buffer.from(key, 'hex').toString('base64url')}`,
    POOL_SIZE: String(settings.poolSize),
    LOG_FORMAT: 'json',
  };
  const programs: Record<SystemName, [string, Record<string, string>]> = {
    limit: ['systems/limit.ts', {}],
    bare: ['systems/limit.ts', { BENCH_BARE: 'yes' }],
    plinth: ['../start.ts', own],
    postgraphile: ['systems/postgraphile.mjs', { NODE_ENV: 'production', GRAPHILE_ENV: 'production' }],
    yoga: ['systems/yoga.mjs', { NODE_ENV: 'production' }],
  };
  const [program, env] = programs[name];
  const log = openSync(path.join(folder, `${name}.log`), 'a');
  const options = (process.env.BENCH_NODE_OPTIONS ?? '').split(' ').filter(Boolean);
  return spawn(process.execPath, [...options, path.join(here, program)], {
    env: { ...process.env, ...env, BENCH_SYSTEM: JSON.stringify(settings) },
    // The channel tells it when this process dies without a word.
    stdio: ['ignore', log, log, 'ipc'],
  });
}

async function untilItAnswers(name: SystemName, port: number, child: ChildProcess, { folder }: Ground): Promise<void> {
  const answers = () => fetch(`http://127.0.0.1:${port}/`, { redirect: 'manual' }).then(Boolean, () => false);
  for (let waited = 0; !(await answers()); waited += 50) {
    if (child.exitCode === null && waited < 30_000) await delay(50);
    else {
      const said = readFileSync(path.join(folder, `${name}.log`), 'utf8').slice(-2000);
      throw new Error(`${name} does not start:\n${said}`);
    }
  }
}
