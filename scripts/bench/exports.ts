import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { streamXlsxRows } from 'hucre/xlsx';
import { z } from 'zod';
import { Refusal } from '../../functions/refusal.ts';
import { serverUrl } from '../../functions/server-role.ts';
import { type Ground, type Report, runFile } from './ground.ts';
import { hasLibreOffice, readByLibreOffice } from './libre-office.ts';
import { rounded } from './rounds.ts';

const size = { full: 1_000_000, quick: 50_000 };
const run = promisify(execFile);
const column = 'Contract sum';
const taken = z.object({ seconds: z.number(), memory: z.number() });

type Found = { rows: number; sum: number; sheets: number };

/**
 * What an export of a million contracts takes, from the cursor to the file: rows a second, and the memory of a process that does nothing else. The
 * workbook is then read by another library, and by LibreOffice where it is installed: both must find as many rows and the same sums.
 *
 * @throws Refusal where it does not.
 */
export async function benchExports({ owner, url, folder }: Ground, quick: boolean, report: Report) {
  await owner.query("select set_config('bench.size', $1, false)", [`${quick ? size.quick : size.full}`]);
  await runFile(owner, 'contracts.sql');
  await owner.query('vacuum analyze');
  const { rows } = await owner.query<{ count: string; sum: string }>(
    'select count(*), sum(contract_sum) from procurement.contracts',
  );
  const [{ count, sum }] = rows as [{ count: string; sum: string }];
  report(`${count} contracts and versions`);
  const server = await serverUrl(url);
  const file = path.join(folder, 'export.xlsx');
  const cases: Record<string, string | number>[] = [];
  for (const format of ['csv', 'jsonl', 'xlsx']) {
    const script = path.join(import.meta.dirname, 'one-export.ts');
    const { stdout } = await run(process.execPath, [script, server, format, file]);
    const { seconds, memory } = taken.parse(JSON.parse(stdout));
    cases.push({
      case: format,
      rows: Number(count),
      seconds: rounded(seconds),
      'rows a second': Math.round(Number(count) / seconds),
      'MB of the file': rounded(statSync(file).size / 1e6),
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
