import { createReadStream } from 'node:fs';
import { parse } from 'csv-parse/sync';
import type { Bad, Message } from './message.ts';

// The archive of Gitter (doi.org/10.5281/zenodo.3893363 and its kind): no header, tab-separated, quoted like CSV where a text has
// quotes or lines, newest first.

const columns = ['room_id', 'room', 'sent_at', 'user_id', 'username', 'message_id', 'text'] as const;
/** Where a record begins: only so can a quote that is never closed spoil no more than its own record. */
const beginning = /(?<=\n)(?=[0-9a-f]{24}\t[^\t\n]*\t\d{4}-\d\d-\d\dT)/;
const moment = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const longest = 1_000_000;

/** Reads a file from its first record to its last; never more than one record and a block of the file are in memory. */
export async function* readGitter(file: string): AsyncGenerator<Message | Bad> {
  let line = 1;
  let rest = '';
  for await (const block of createReadStream(file, { encoding: 'utf8', highWaterMark: 262_144 })) {
    const records = `${rest}${block}`.split(beginning);
    rest = (records.at(-1) as string).length < longest ? (records.pop() as string) : '';
    for (const record of records) {
      yield* readRecord(record, line);
      line += countLines(record);
    }
  }
  yield* readRecord(rest, line);
}

/** A record, and lines after it that begin none. */
function readRecord(text: string, firstLine: number): (Message | Bad)[] {
  const found: (Message | Bad)[] = [];
  let line = firstLine;
  try {
    parse(text, {
      delimiter: '\t',
      record_delimiter: ['\r\n', '\n'],
      bom: true,
      relax_column_count: true,
      // Called for each record as it is read, so that those before a broken one count.
      on_record: (record, { lines }) => {
        if (record.length > 1 || record[0] !== '') found.push(readColumns(record, line));
        line = firstLine + lines;
        return null;
      },
    });
  } catch (error) {
    found.push({ line, reason: (error as Error).message.replace(/ at line \d+/, '') });
  }
  return found;
}

function readColumns(record: string[], line: number): Message | Bad {
  if (record.length !== columns.length)
    return { line, reason: `It has ${record.length} columns, not ${columns.length}.` };
  if (record.some((value) => value.includes('\0')))
    return { line, reason: 'It holds a NUL character, which no text may.' };
  const named = Object.fromEntries(columns.map((name, index) => [name, record[index]])) as Omit<Message, 'line'>;
  // Postgres would take much more for a time, such as "yesterday".
  if (!moment.test(named.sent_at)) {
    return { line, reason: `"${named.sent_at.slice(0, 50)}" is not a time such as 2016-12-06T20:30:56.994Z.` };
  }
  return { line, ...named };
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines += 1;
  return lines;
}
