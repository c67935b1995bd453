import path from 'node:path';
import { z } from 'zod';
import { openCallers, type Runner } from '../../functions/callers.ts';
import { withDatabase } from '../../functions/database.ts';
import { ensureMonth, importMessages } from '../../functions/generated/chat.ts';
import { Refusal } from '../../functions/refusal.ts';
import { isLost } from '../../functions/requests.ts';
import { loadSettings } from '../../functions/vault.ts';
import { stopAsked } from '../stop-signal.ts';
import { readGitter } from './gitter.ts';
import type { Bad, Message } from './message.ts';
import { openSorter, type Sorter } from './order.ts';
import { showProgress } from './progress.ts';
import { openRejects, type Rejects } from './rejects.ts';

// npm run import -- gitter FILE…: reads archives of messages, brings them into order, and sends them to chat.import_messages, which
// knows what it has already. Each batch is a transaction: what was sent stays, whatever happens to the rest.

const formats: Record<string, (file: string) => AsyncGenerator<Message | Bad>> = { gitter: readGitter };
const batchSize = 500;

type Row = Message & { file: string; number: number };

/** Oldest first in each room; of one moment, an archive that is newest first has the later one on top. */
const order = (row: Row): (string | number)[] => [row.room_id, Date.parse(row.sent_at) || 0, -row.number];

type Read = { rows: number; rooms: Set<string>; users: Set<string> };

async function readAll(format: string, files: string[], sorter: Sorter<Row>, rejects: Rejects): Promise<Read> {
  const read: Read = { rows: 0, rooms: new Set(), users: new Set() };
  for (const file of files) {
    const before = read.rows;
    for await (const item of (formats[format] as (typeof formats)[string])(file)) {
      read.rows += 1;
      if ('reason' in item) rejects.add(file, item);
      else {
        await sorter.add({ ...item, file, number: read.rows });
        read.rooms.add(item.room_id);
        read.users.add(item.user_id);
      }
    }
    console.log(`${path.basename(file)}: ${read.rows - before} rows`);
  }
  return read;
}

const rejectedList = z.array(z.object({ line: z.number(), reason: z.string() }));

/** Makes the months that a batch needs, each in a short transaction: who writes waits for that, and not for the batch. */
async function makeMonths(service: Runner, batch: Row[], made: Set<string>): Promise<void> {
  for (const { sent_at } of batch) {
    // Without a time, or with one out of range, the message is going to be rejected.
    const time = Date.parse(sent_at);
    if (!(time >= Date.UTC(1990) && time < Date.now())) continue;
    const at = new Date(time).toISOString();
    const month = at.slice(0, 7);
    if (!made.has(month)) await ensureMonth(service, { at });
    made.add(month);
  }
}

/** Sends one batch, and gives back how many are new. */
async function send(service: Runner, source: string, batch: Row[], rejects: Rejects) {
  // `line` is the place in the batch, where lines of several files meet.
  const items = batch.map(({ file, number, ...message }, line) => ({ ...message, line }));
  const result = await importMessages(service, { source, batch: items });
  for (const { line, reason } of rejectedList.parse(result?.rejected ?? [])) {
    const row = batch[line] as Row;
    rejects.add(row.file, { line: row.line, reason });
  }
  return { added: result?.added ?? 0, known: result?.known ?? 0 };
}

/** Takes over archives of messages. */
export async function runMessages(format: string, files: string[]): Promise<void> {
  const settings = await loadSettings(process.env);
  let asked = false;
  stopAsked().then(() => {
    asked = true;
  });
  const sorter = openSorter(order);
  const rejects = openRejects();
  try {
    await withDatabase(settings, { log: console.log, upToDate: true }, async (url) => {
      const began = performance.now();
      const read = await readAll(format, files, sorter, rejects);
      const sum = { added: 0, known: 0, done: rejects.count() };
      const callers = await openCallers(url, settings);
      const service = callers.as({ role: 'service', claims: {} });
      const progress = showProgress(read.rows, 'rows');
      const months = new Set<string>();
      try {
        for await (const batch of batches(sorter.sorted())) {
          if (asked) break;
          await makeMonths(service, batch, months);
          const { added, known } = await send(service, format, batch, rejects);
          sum.added += added;
          sum.known += known;
          sum.done += batch.length;
          progress.show(sum.done);
        }
      } catch (cause) {
        if (!isLost(cause)) throw cause;
        const message = `The database went away after ${sum.done} of ${read.rows} rows: ${(cause as Error).message}`;
        const remedy = 'Run it again: what was added stays, and only the rest is added then.';
        throw new Refusal(message, { remedy, cause });
      } finally {
        progress.end();
        await callers.close();
      }
      const seconds = (performance.now() - began) / 1000;
      console.log(
        `${sum.done} rows: ${sum.added} new, ${sum.known} known, ${rejects.count()} rejected; ${read.users.size} users in ` +
          `${read.rooms.size} ${read.rooms.size === 1 ? 'room' : 'rooms'}; ${seconds.toFixed(1)} s, ${Math.round(sum.done / seconds)} rows a second`,
      );
      for (const file of rejects.files()) console.log(`Rejected rows, with their lines and reasons: ${file}`);
      if (!asked) return;
      throw new Refusal(`Stopped: ${read.rows - sum.done} rows are left.`, { remedy: 'Run it again to add them.' });
    });
  } finally {
    rejects.close();
    await sorter.close();
  }
}

async function* batches(rows: AsyncGenerator<Row>): AsyncGenerator<Row[]> {
  let batch: Row[] = [];
  for await (const row of rows) {
    batch.push(row);
    if (batch.length < batchSize) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
