import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { type Table, type Wanted, withExportRows } from '../../functions/contract-exports.ts';
import { compressed } from '../../workers/gzip.ts';
import { writeCsv, writeJsonLines } from '../../workers/text-tables.ts';
import { writeXlsx } from '../../workers/xlsx.ts';

// One export in a process of its own, so that its memory is its own: node one-export.ts URL FORMAT FILE. Says what it took, as JSON.

const formats: Record<Wanted['format'], (table: Table) => AsyncIterable<Uint8Array>> = {
  csv: (table) => compressed(writeCsv(table)),
  jsonl: (table) => compressed(writeJsonLines(table)),
  xlsx: (table) => writeXlsx(table, { name: 'Contracts', about: [['What', 'contracts']] }),
};

const [url = '', format = '', file = ''] = process.argv.slice(2);
const wanted: Wanted = {
  kind: 'contracts',
  format: format as Wanted['format'],
  criteria: {},
  user_id: '00000000-0000-0000-0000-000000000000',
  username: 'bench',
  role: 'operator',
  asked_at: new Date().toISOString(),
};
let memory = 0;
const timer = setInterval(() => {
  memory = Math.max(memory, process.memoryUsage.rss());
}, 50);
const began = performance.now();
await withExportRows(url, wanted, new AbortController().signal, (table) =>
  pipeline(formats[wanted.format](table), createWriteStream(file)),
);
clearInterval(timer);
console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000, memory }));
