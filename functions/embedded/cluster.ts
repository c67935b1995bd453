import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { Refusal } from '../refusal.ts';
import { program } from './binaries.ts';
import { makeFolder, type Place } from './place.ts';
import { runAs } from './run-as.ts';

// What is kept of an embedded database beside its files, in `<dataDirectory>/postgres.json` (mode 600): the password of
// the superuser, the port it was last on (0 before the first start), and the folder it is in.

const recordSchema = z.object({ password: z.string(), port: z.int(), base: z.string() });

export type Kept = z.output<typeof recordSchema>;

/**
 * What an earlier start kept.
 *
 * @throws Refusal when the record cannot be read, or the database that it tells of is gone.
 */
export function readKept(dataDirectory: string): Kept | undefined {
  const file = path.join(dataDirectory, 'postgres.json');
  let kept: Kept;
  try {
    kept = recordSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    const missing = ['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '');
    if (missing && !existsSync(path.join(dataDirectory, 'postgres'))) return undefined;
    throw new Refusal(
      `${file}, which holds the password of the database, ${missing ? 'is missing' : 'cannot be read'}.`,
      { remedy: `Put it back from a backup, or begin anew with an empty database: rm -r ${dataDirectory}`, cause },
    );
  }
  if (existsSync(clusterOf(kept.base))) return kept;
  // The start that made the database was killed before the database had its name.
  if (kept.port === 0) return undefined;
  throw new Refusal(`The database of ${dataDirectory} was kept in ${clusterOf(kept.base)}, and is not there.`, {
    remedy: `Put it back, or begin anew with an empty database: rm ${file}`,
  });
}

/** Keeps a record, in place of an earlier one. */
export function writeKept(dataDirectory: string, kept: Kept): void {
  const file = path.join(dataDirectory, 'postgres.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function clusterOf(base: string): string {
  return path.join(base, 'postgres');
}

/** @throws Refusal when the cluster was made by another major version of Postgres. */
export function checkVersion({ base, binaries }: Place): void {
  const found = readFileSync(path.join(clusterOf(base), 'PG_VERSION'), 'utf8').trim();
  if (found === binaries.major) return;
  throw new Refusal(`${clusterOf(base)} holds data of Postgres ${found}, and this is Postgres ${binaries.major}.`, {
    remedy: `Run a Postgres ${found} on it and set DATABASE_URL, or set PLINTH_DATA to another folder.`,
  });
}

/**
 * Makes an empty cluster, whole or not at all: initdb works under another name, so that what a killed start leaves is
 * never taken for a database. Its record is kept before it has its name.
 *
 * @param durable false where nothing needs to survive the machine's fall.
 * @throws Refusal with what initdb said.
 */
export async function makeCluster(dataDirectory: string, place: Place, durable: boolean): Promise<Kept> {
  const { base, binaries, account } = place;
  for (const left of readdirSync(base)) {
    if (left.startsWith('postgres.new-')) rmSync(path.join(base, left), { recursive: true, force: true });
  }
  const draft = path.join(base, `postgres.new-${randomBytes(4).toString('hex')}`);
  const password = randomBytes(24).toString('base64url');
  makeFolder(draft, account);
  const passwordFile = `${draft}-password`;
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account) chownSync(passwordFile, account.uid, account.gid);
  const common = ['-D', path.join(draft, 'cluster'), '-U', 'postgres', '-E', 'UTF8', '-A', 'scram-sha-256'];
  const args = [...common, `--pwfile=${passwordFile}`, '--no-instructions', ...(durable ? [] : ['--no-sync'])];
  try {
    // Trigrams split words by the C library's notion of a letter: with the locale C, Cyrillic has none.
    let made = await runAs(account, program(binaries, 'initdb'), [...args, '--locale=C.UTF-8']);
    if (made.failed && made.output.includes('locale')) {
      const builtin = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
      made = await runAs(account, program(binaries, 'initdb'), [...args, ...builtin]);
    }
    if (made.failed) {
      throw new Refusal(`The database could not be made in ${base}:\n${made.output}`, {
        remedy: 'Put right what initdb says and start again, or set PLINTH_DATA to another folder.',
      });
    }
    const kept = { password, port: 0, base };
    writeKept(dataDirectory, kept);
    renameSync(path.join(draft, 'cluster'), clusterOf(base));
    return kept;
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(draft, { recursive: true, force: true });
  }
}
