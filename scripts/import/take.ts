import { type Counts, importContracts, type Source, type SourceRow } from '../../functions/contract-imports.ts';
import { Refusal } from '../../functions/refusal.ts';
import { isLost } from '../../functions/requests.ts';
import { showProgress } from './progress.ts';

const batchSize = 2_000;

/** What is read: its name, what tells it from others, and where it begins again. */
type Input = { name: string; fingerprint: string };
/** `done` is how many rows of the source it is, where what hangs on them stands among its rows. */
type Batch = { rows: SourceRow[]; cursor?: string | undefined; done?: number };

/**
 * Takes in batches of rows, each in a transaction that also notes how far it has come, and tells what came of them.
 *
 * @param batches gives the batches after those that were done before; a batch is done when the next one is asked for.
 * @param total how many rows there are in all.
 * @throws Refusal where the database goes away, or someone stops it.
 */
export async function takeBatches(
  databaseUrl: string,
  source: Source,
  input: Input,
  {
    batches,
    total,
    stopped,
  }: {
    batches(from: { position: number; cursor: string | undefined }): AsyncGenerator<Batch>;
    total(): number;
    stopped(): boolean;
  },
): Promise<void> {
  const began = performance.now();
  const progress = showProgress(total(), 'rows');
  const sum: Counts = { added: 0, changed: 0, known: 0, rejected: 0 };
  let done = 0;
  await importContracts(databaseUrl, source, input, async (contracts) => {
    done = contracts.position;
    if (done > 0) console.log(`${input.name}: goes on after ${done} rows`);
    for await (const { rows, cursor, done: some = rows.length } of batches(contracts)) {
      done += some;
      const counts = await contracts.take(rows, done, cursor);
      for (const key of Object.keys(sum) as (keyof Counts)[]) sum[key] += counts[key];
      progress.show(done);
      if (stopped())
        throw new Refusal(`Stopped after ${done} of ${total()} rows.`, { remedy: 'Run it again to go on.' });
    }
    await contracts.finish();
  })
    .catch((cause) => {
      if (stopped() && !(cause instanceof Refusal)) {
        throw new Refusal(`Stopped after ${done} rows.`, { remedy: 'Run it again to go on.', cause });
      }
      if (!isLost(cause)) throw cause;
      const message = `The database went away: ${(cause as Error).message}`;
      throw new Refusal(message, { remedy: 'Run it again: it goes on where it was.', cause });
    })
    .finally(() => progress.end());
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${input.name}: ${done} rows; records: ${sum.added} new, ${sum.changed} changed, ${sum.known} known, ${sum.rejected} rejected ` +
      `(procurement.rejects); ${seconds.toFixed(1)} s`,
  );
}

/** How many there are: read to their end. */
export async function countRows(rows: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of rows) count += 1;
  return count;
}

/** Rows of a file as batches, without those that are done. */
export async function* inBatches(rows: AsyncIterable<SourceRow>, position: number): AsyncGenerator<Batch> {
  let batch: SourceRow[] = [];
  let passed = 0;
  for await (const row of rows) {
    passed += 1;
    if (passed <= position) continue;
    batch.push(row);
    if (batch.length < batchSize) continue;
    yield { rows: batch };
    batch = [];
  }
  if (batch.length > 0) yield { rows: batch };
}
