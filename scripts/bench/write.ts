import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { serverUrl } from '../../functions/server-role.ts';
import { type Case, writeCase } from './cases.ts';
import { claimsOf, type Ground, type Report, type Viewer } from './ground.ts';
import { measureRounds, type Row, rounded } from './rounds.ts';
import { startSystems } from './systems.ts';

const connections = [1, 16];

/**
 * Writes: sendMessage by Plinth, its peers and the limit, and for comparison what pgbench makes of the same function, called
 * in the same way. Every message is durable when it is answered.
 */
export async function benchWrite(ground: Ground, viewer: Viewer, quick: boolean, report: Report): Promise<Row[]> {
  const send = writeCase(viewer);
  const bench = await startSystems(ground, viewer, [send], ['limit', 'plinth', 'postgraphile', 'yoga']);
  let rows: Row[];
  try {
    rows = await measureRounds(bench, [send], { connections, quick, report });
  } finally {
    await bench.close();
  }
  // pgbench prepares its statements before it has taken the role.
  await ground.owner.query('grant usage on schema chat to plinth_server');
  await ground.owner.query('grant execute on function chat.send_message to plinth_server');
  for (const count of connections) {
    report(`pgbench, ${count} connection${count === 1 ? '' : 's'}`);
    const measured = await pgbench(ground, viewer, send, count, quick ? 2 : 6);
    if (!measured) {
      report('There is no pgbench on the PATH: its line is left out.');
      break;
    }
    const ratioTo = (system: string) =>
      rounded(measured.rps / (rows.find((row) => row.system === system && row.connections === count)?.rps ?? 0));
    const ratios = { ratioToLimit: ratioTo('limit'), ratioToPostgraphile: ratioTo('postgraphile') };
    rows.push({ name: send.name, system: 'pgbench', connections: count, ...measured, ...ratios });
  }
  return rows;
}

/** A transaction of the role, the claims and the function, pipelined as Plinth sends them. */
function scriptOf(viewer: Viewer, send: Case): string {
  const channels = send.variables.map(({ channelId }) => `'${channelId}'`);
  const claims = JSON.stringify(claimsOf(viewer));
  return [
    `\\set place random(1, ${channels.length})`,
    '\\startpipeline',
    'begin;',
    `select identity.begin_request('member', '${claims}'::jsonb, '10s');`,
    `select id, seq from chat.send_message((array[${channels.join(', ')}]::uuid[])[:place], '${send.variables[0]?.text}');`,
    'commit;',
    '\\endpipeline',
  ].join('\n');
}

/** Runs pgbench; it tells no percentiles. Nothing where it is not installed. */
async function pgbench(ground: Ground, viewer: Viewer, send: Case, count: number, seconds: number) {
  const script = path.join(ground.folder, 'send.sql');
  writeFileSync(script, scriptOf(viewer, send));
  const { username, password, hostname, port, pathname } = new URL(await serverUrl(ground.url));
  const options = ['-n', '-M', 'prepared', '-c', count, '-j', '1', '-T', seconds, '-f', script, pathname.slice(1)];
  const env = { PGHOST: hostname, PGPORT: port, PGUSER: username, PGPASSWORD: decodeURIComponent(password) };
  try {
    const { stdout } = await promisify(execFile)('pgbench', options.map(String), { env: { ...process.env, ...env } });
    const [, rps] = /^tps = ([\d.]+)/m.exec(stdout) ?? [];
    return { rps: rounded(Number(rps)), p50: Number.NaN, p99: Number.NaN };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
