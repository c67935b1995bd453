import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import { onClient } from './callers.ts';
import { asOwner, connected } from './connection.ts';
import { beginImport, finishImport, mergeStaged, rejectRecord } from './generated/procurement.ts';

/** A record of a source, in the words of procurement.staged_records: all values are text, and what is not told is left out. */
export type StagedRecord = { kind: RecordKind; record: Record<string, string> };
export const recordKinds = ['company', 'plan', 'contract', 'unit', 'payment', 'act', 'tender', 'bid', 'award'] as const;
type RecordKind = (typeof recordKinds)[number];

/** What one row (or page) of a source gave: records, or why it gave none. */
export type SourceRow = { line: number; records: StagedRecord[] } | { line: number; reason: string };

export type Source = { code: string; name?: string; namesCompanies?: boolean; binPattern?: string; isLinked?: boolean };
export type Counts = Record<'added' | 'changed' | 'known' | 'rejected', number>;

/** An import that is under way. */
export type ContractImport = {
  /** How many rows of the source are done: what comes after them is to be taken in. */
  position: number;
  /** What the source calls the place of what comes next, where it has said so. */
  cursor: string | undefined;
  /** Takes in rows, and notes that all up to `position` are done: both or, where the process is killed, neither. */
  take(rows: SourceRow[], position: number, cursor?: string): Promise<Counts>;
  finish(): Promise<void>;
};

/**
 * Begins an import of a source, or goes on with the one of the same fingerprint that was stopped. Of two processes that import the same,
 * the second waits.
 *
 * @param name the file or the address.
 * @param fingerprint what tells this input and its mapping from others.
 */
export function importContracts<Result>(
  databaseUrl: string,
  source: Source,
  { name, fingerprint }: { name: string; fingerprint: string },
  work: (contracts: ContractImport) => Promise<Result>,
): Promise<Result> {
  return connected(asOwner(databaseUrl), async (client) => {
    await client.query("select pg_advisory_lock(hashtext('procurement.import'), hashtext($1))", [fingerprint]);
    const run = onClient(client);
    const { code, name: sourceName, ...rest } = source;
    const begun = await beginImport(run, {
      sourceCode: code,
      name,
      fingerprint,
      ...rest,
      ...(sourceName && { sourceName }),
    });
    if (!begun) throw new Error('procurement.begin_import gave nothing.');
    const importId = begun.id;
    return work({
      position: Number(begun.position),
      cursor: begun.cursor ?? undefined,
      take: (rows, position, cursor) =>
        inTransaction(client, async () => {
          let unread = 0;
          for (const row of rows) {
            if (!('reason' in row)) continue;
            await rejectRecord(run, { importId, line: `${row.line}`, reason: row.reason });
            unread += 1;
          }
          await stage(client, importId, rows);
          const merged = await mergeStaged(run, { importId, position: `${position}`, ...(cursor && { cursor }) });
          const { added, changed, known, rejected } = merged ?? {};
          return {
            added: Number(added),
            changed: Number(changed),
            known: Number(known),
            rejected: Number(rejected) + unread,
          };
        }),
      finish: async () => {
        await finishImport(run, { importId });
      },
    });
  });
}

async function stage(client: pg.ClientBase, importId: string, rows: SourceRow[]): Promise<void> {
  function* lines() {
    for (const row of rows) {
      if ('reason' in row) continue;
      for (const { kind, record } of row.records)
        yield `${importId}\t${row.line}\t${kind}\t${JSON.stringify(record).replaceAll('\\', '\\\\')}\n`;
    }
  }
  const copy = client.query(from('copy procurement.staged_records (import_id, line, kind, record) from stdin'));
  await pipeline(Readable.from(lines()), copy);
}

async function inTransaction<Result>(client: pg.ClientBase, work: () => Promise<Result>): Promise<Result> {
  await client.query('begin');
  try {
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
}
