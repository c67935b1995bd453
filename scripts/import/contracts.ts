import { createReadStream, readFileSync } from 'node:fs';
import path from 'node:path';
import { type CsvError, parse } from 'csv-parse';
import type { SourceRow } from '../../functions/contract-imports.ts';
import { withDatabase } from '../../functions/database.ts';
import { Refusal } from '../../functions/refusal.ts';
import { loadSettings } from '../../functions/vault.ts';
import { stopAsked } from '../stop-signal.ts';
import { contentHash } from './json.ts';
import { columnsOf, type Mapping, readMapping, recordsOf } from './mapping.ts';
import { countRows, inBatches, takeBatches } from './take.ts';

// npm run import -- csv MAPPING FILE…: reads contracts as a mapping says, and copies them in batches to where SQL takes them in
// (procurement.merge_staged). Each batch is a transaction that also notes how far it has come.

/** @throws Refusal where the mapping is none, a column is missing, the database goes away, or someone stops it. */
export async function runContracts([mappingFile = '', ...files]: string[]): Promise<void> {
  const settings = await loadSettings(process.env);
  const mapping = readMapping(mappingFile);
  let asked = false;
  stopAsked().then(() => {
    asked = true;
  });
  await withDatabase(settings, { log: console.log, upToDate: true }, async (url) => {
    for (const file of files) await importFile(url, file, { mapping, mappingFile, stopped: () => asked });
  });
}

type Reading = { mapping: Mapping; mappingFile: string; stopped: () => boolean };

async function importFile(databaseUrl: string, file: string, { mapping, mappingFile, stopped }: Reading) {
  const total = await countRows(readCsv(file, mapping));
  const input = { name: path.basename(file), fingerprint: await contentHash(file, readFileSync(mappingFile, 'utf8')) };
  await takeBatches(databaseUrl, mapping.source, input, {
    batches: ({ position }) => inBatches(readCsv(file, mapping), position),
    total: () => total,
    stopped,
  });
}

/** The rows of a file, good and bad, in its order: the same each time. */
async function* readCsv(file: string, mapping: Mapping): AsyncGenerator<SourceRow> {
  const wanted = columnsOf(mapping);
  let names: string[] | undefined;
  let line = 1;
  // What could not be parsed comes by the side, while the parser is some rows ahead: it is told before the row that follows it.
  const broken: { row: SourceRow; after: number }[] = [];
  function* brokenBefore(records: number): Generator<SourceRow> {
    while (broken[0] && broken[0].after < records) yield (broken.shift() as (typeof broken)[number]).row;
  }
  const parser = parse({
    delimiter: mapping.csv.delimiter,
    bom: true,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip: (error) => {
      const { message, lines, records } = error as CsvError & { lines: number; records: number };
      broken.push({ row: { line: lines, reason: message.replace(/ at line \d+/, '') }, after: records });
      return undefined;
    },
  });
  const source = createReadStream(file, { encoding: mapping.csv.encoding });
  source.on('error', (error) => parser.destroy(error));
  for await (const { record, info } of source.pipe(parser) as AsyncIterable<{
    record: string[];
    info: { lines: number; records: number };
  }>) {
    yield* brokenBefore(info.records);
    if (names === undefined) {
      names = record.map((name) => name.trim());
      const missing = [...wanted].filter((name) => !names?.includes(name));
      if (missing.length > 0) {
        throw new Refusal(`${file} has no column "${missing.join('", "')}".`, {
          remedy: `Correct the mapping. Its columns are: ${names.join(', ')}`,
        });
      }
    } else yield readRow(record, names, line, mapping);
    line = info.lines + 1;
  }
  yield* brokenBefore(Infinity);
}

function readRow(record: string[], names: string[], line: number, mapping: Mapping): SourceRow {
  if (record.length !== names.length) return { line, reason: `It has ${record.length} columns, not ${names.length}.` };
  if (record.some((value) => value.includes('\0')))
    return { line, reason: 'It holds a NUL character, which no text may.' };
  const row = Object.fromEntries(names.map((name, index) => [name, record[index] as string]));
  return { line, records: recordsOf(mapping, row) };
}
