import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { streamXlsxRows } from 'hucre/xlsx';
import { Refusal } from '../../functions/refusal.ts';
import { readSettings } from '../../functions/settings.ts';
import { openExports } from '../../workers/stored-exports.ts';
import { type Ground, type Report, runFile } from './ground.ts';
import { hasLibreOffice, readByLibreOffice } from './libre-office.ts';
import { rounded } from './rounds.ts';

const size = { full: 1_000_000, quick: 50_000 };
const column = 'Contract sum';
const mostMemory = 256e6;

type Found = { rows: number; sum: number; sheets: number };

/**
 * What an export of a million contracts takes, from the moment that a worker begins it until its encrypted file is stored and its user told:
 * rows a second, and the most memory of that worker, which does nothing else. The workbook is then read by another library, and by
 * LibreOffice where it is installed: both must find as many rows and the same sums.
 *
 * @throws Refusal where they do not, or where it takes more than 256 MB of memory.
 */
export async function benchExports({ owner, url, folder }: Ground, quick: boolean, report: Report) {
  await owner.query("select set_config('bench.size', $1, false)", [`${quick ? size.quick : size.full}`]);
  await runFile(owner, 'contracts.sql');
  await owner.query(`set session_replication_role = replica;
    update procurement.contracts
    set number = 'No. ' || source_ref, subject = 'Поставка товаров и услуг по договору ' || source_ref || ', category';
    reset session_replication_role`);
  await owner.query('vacuum analyze');
  const { rows } = await owner.query<{ count: string; sum: string }>(
    'select count(*), sum(contract_sum) from procurement.contracts',
  );
  const [{ count, sum }] = rows as [{ count: string; sum: string }];
  report(`${count} contracts and versions`);
  const env = {
    PLINTH_ENV: 'development',
    LOG_LEVEL: 'warn',
    DATABASE_URL: url,
    BACKUP_STORAGE: path.join(folder, 'exports'),
    BACKUP_KEY: randomBytes(32).toString('base64url'),
  };
  const { rows: made } = await owner.query<{ id: string }>(
    `with made as (insert into identity.users (username, display_name) values ('bench', 'Bench') returning id)
    insert into identity.accounts (user_id, is_operator) select id, true from made returning user_id as id`,
  );
  const file = path.join(folder, 'export.xlsx');
  const cases: Record<string, string | number>[] = [];
  for (const format of ['csv', 'jsonl', 'xlsx']) {
    const { seconds, memory, bytes, stored } = await makeExport(owner, `${made[0]?.id}`, format, env);
    if (memory > mostMemory)
      throw new Refusal(`An export as ${format} takes ${Math.round(memory / 1e6)} MB of memory.`);
    await pipeline(await openExports(readSettings(env))(stored), createWriteStream(file));
    cases.push({
      case: format,
      rows: Number(count),
      seconds: rounded(seconds),
      'rows a second': Math.round(Number(count) / seconds),
      'MB of the file': rounded(bytes / 1e6),
      'MB of memory at most': Math.round(memory / 1e6),
    });
  }
  const check = (who: string, read: Found): void => {
    // In floating point, one after the other: to a hundredth of a millionth.
    if (read.rows !== Number(count) || Math.abs(read.sum / Number(sum) - 1) > 1e-8) {
      throw new Refusal(`${who} reads ${read.rows} rows and a sum of ${read.sum}, not ${count} and ${sum}.`);
    }
    report(`Read by ${who}: ${read.rows} rows in ${read.sheets} sheets, the same sum`);
  };
  check('another library', await readBack(file));
  if (hasLibreOffice()) check('LibreOffice', await readByLibreOffice(file, column, folder));
  else report('LibreOffice (soffice) is not on this machine: not read by it');
  return cases;
}

/** By a worker of its own, so that its memory is its own. */
async function makeExport(owner: Ground['owner'], user: string, format: string, env: Record<string, string>) {
  const { rows } = await owner.query(
    "insert into accounts.exports (user_id, kind, format) values ($1, 'contracts', $2) returning id",
    [user, format],
  );
  await owner.query(
    `update accounts.exports set run_id = (jobs.enqueue('export_contracts', jsonb_build_object('export', id))).id
    where id = $1`,
    [rows[0].id],
  );
  // As `npm run worker` starts it.
  const program = ['--max-semi-space-size=8', path.join(import.meta.dirname, '..', 'worker.ts')];
  const worker = spawn(process.execPath, program, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  try {
    return await endOf(owner, rows[0].id, worker);
  } finally {
    worker.kill();
    if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit');
  }
}

async function endOf(owner: Ground['owner'], id: string, worker: ChildProcess) {
  while (worker.exitCode === null) {
    const { rows } = await owner.query(
      `select run.state, run.error, known.file, known.bytes, extract(epoch from run.finished_at - run.started_at)::float8 as seconds
      from accounts.exports as known join jobs.runs as run on run.id = known.run_id
      where known.id = $1`,
      [id],
    );
    const { state, error, file, bytes, seconds } = rows[0] ?? {};
    if (state === 'failed') throw new Refusal(`The export failed: ${error}`);
    if (state === 'succeeded')
      return { seconds, stored: file as string, bytes: Number(bytes), memory: mostMemoryOf(worker) };
    await sleep(200);
  }
  throw new Refusal('The worker ended before the export did.');
}

/** The most that a process has had in memory at once, in bytes (https://man7.org/linux/man-pages/man5/proc_pid_status.5.html). */
function mostMemoryOf({ pid }: ChildProcess): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

/** Every row of every sheet but the last, which says what the file is. */
async function readBack(file: string): Promise<Found> {
  const bytes = new Uint8Array(readFileSync(file));
  const found = { rows: 0, sum: 0, sheets: 0 };
  for (let sheet = 0; ; sheet += 1) {
    let place = -1;
    for await (const { index, values } of streamXlsxRows(bytes, { sheet })) {
      if (index === 0) place = values.indexOf(column);
      if (place === -1) return found;
      if (index === 0) continue;
      found.rows += 1;
      found.sum += Number(values[place]);
    }
    found.sheets += 1;
  }
}
