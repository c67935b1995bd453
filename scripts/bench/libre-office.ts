import { execFile, spawnSync } from 'node:child_process';
import { createReadStream, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'csv-parse';

const run = promisify(execFile);
// Commas, quotation marks, UTF-8, values as they are and not as they look, every sheet a file:
// https://help.libreoffice.org/latest/en-US/text/shared/guide/csv_params.html
const filter = 'csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1';

export const hasLibreOffice = (): boolean => spawnSync('soffice', ['--version']).status === 0;

/**
 * What LibreOffice finds in a workbook: how many rows its sheets have below their names, and the sum of a column, but for sheets without it.
 *
 * @param file with the ending .xlsx.
 * @param folder where it may write.
 */
export async function readByLibreOffice(file: string, column: string, folder: string) {
  const out = path.join(folder, 'office');
  const own = `-env:UserInstallation=file://${path.join(folder, 'office-profile')}`;
  await run('soffice', [own, '--headless', '--convert-to', filter, '--outdir', out, file]);
  const found = { rows: 0, sum: 0, sheets: 0 };
  for (const name of readdirSync(out)) {
    let place: number | undefined;
    for await (const cells of createReadStream(path.join(out, name)).pipe(
      parse({ relaxColumnCount: true, bom: true }),
    )) {
      if (place === undefined) {
        place = cells.indexOf(column);
        if (place === -1) break;
        found.sheets += 1;
      } else {
        found.rows += 1;
        found.sum += Number(cells[place]);
      }
    }
  }
  return found;
}
