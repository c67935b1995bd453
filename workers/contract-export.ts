import { z } from 'zod';
import { asOwner, connected } from '../functions/connection.ts';
import {
  exportToMake,
  noteExportMade,
  type Table,
  type Value,
  type Wanted,
  withExportRows,
} from '../functions/contract-exports.ts';
import { serverUrl } from '../functions/server-role.ts';
import { compressed } from './gzip.ts';
import { storeExport } from './stored-exports.ts';
import type { Task } from './task.ts';
import { writeCsv, writeJsonLines } from './text-tables.ts';
import { writeXlsx } from './xlsx.ts';

const payload = z.strictObject({ export: z.uuid() });

type Format = { ending: string; write(table: Table, wanted: Wanted): AsyncIterable<Uint8Array> };
const formats: Record<Wanted['format'], Format> = {
  xlsx: {
    ending: 'xlsx',
    write: (table, wanted) =>
      writeXlsx(table, { name: wanted.kind === 'contracts' ? 'Contracts' : 'Findings', about: aboutOf(table, wanted) }),
  },
  csv: { ending: 'csv.gz', write: (table) => compressed(writeCsv(table)) },
  jsonl: { ending: 'jsonl.gz', write: (table) => compressed(writeJsonLines(table)) },
};

/**
 * Writes the contracts or findings that a user asked for, as they may see them. Run twice, it writes the same file again; its user is
 * told once.
 */
export const exportContractsTask: Task<z.output<typeof payload>> = {
  name: 'export_contracts',
  payload,
  run: ({ export: id }, { databaseUrl, settings, signal, progress }) =>
    connected(asOwner(databaseUrl), async (client) => {
      const wanted = await exportToMake(client, id);
      if (!wanted) return { state: 'done before, or not wanted any more' };
      const url = settings.serverDatabaseUrl ?? (await serverUrl(databaseUrl));
      return withExportRows(url, wanted, signal, async ({ columns, total, pages }) => {
        let rows = 0;
        async function* counted(): AsyncGenerator<Value[][]> {
          for await (const page of pages) {
            signal.throwIfAborted();
            rows += page.length;
            progress(rows / total, `${rows} of ${total} rows`);
            yield page;
          }
        }
        const { ending, write } = formats[wanted.format];
        const content = write({ columns, total, pages: counted() }, wanted);
        const { file, bytes } = await storeExport(settings, `${id}.${ending}`, content, signal);
        await noteExportMade(client, id, { file, bytes, rows, address: settings.publicUrl });
        return { rows, bytes };
      });
    }),
};

/** What the last sheet says. */
function aboutOf({ total }: Table, { kind, criteria, username, asked_at }: Wanted): [string, string][] {
  return [
    ['What', kind],
    ['Rows', `${total}`],
    ['Asked for by', username],
    ['Asked for at', asked_at],
    ['Made at', new Date().toISOString()],
    ...Object.entries(criteria).map(([name, value]): [string, string] => [name.replaceAll('_', ' '), `${value}`]),
  ];
}
