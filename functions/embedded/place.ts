import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { Refusal } from '../refusal.ts';
import { type Binaries, program } from './binaries.ts';
import { type Account, runAs } from './run-as.ts';

/** Where an embedded database is and who runs it. `base` is the folder of the cluster's folder. */
export type Place = { base: string; binaries: Binaries; account: Account };

/**
 * Decides where the cluster and the programs are. Postgres refuses to run as root, so root hands it to the user
 * `postgres`, who must reach both; what is below a folder closed to that user goes to /var/lib/plinth, and this is said.
 *
 * @param dataDirectory Plinth's data folder; it is made when missing.
 * @param kept where the cluster was at an earlier start, which counts even if the folder has been opened since.
 * @throws Refusal when a folder cannot be made, or the user.
 */
export async function findPlace(
  dataDirectory: string,
  kept: string | undefined,
  packaged: Binaries,
  log: (message: string) => void,
): Promise<Place> {
  try {
    mkdirSync(dataDirectory, { recursive: true });
    if (process.getuid?.() !== 0) return { base: kept ?? dataDirectory, binaries: packaged, account: undefined };
    const account = await postgresAccount();
    // The data folder itself is Plinth's to open (its secrets are closed files); the folders above it are not.
    chmodSync(dataDirectory, statSync(dataDirectory).mode | 0o011);
    const elsewhere = path.join(
      '/var/lib/plinth',
      `${path.basename(path.dirname(dataDirectory))}-${hash(dataDirectory)}`,
    );
    let base = kept ?? dataDirectory;
    if (!kept && !(await reaches(account, dataDirectory))) {
      base = elsewhere;
      mkdirSync(base, { recursive: true });
      log(`The user postgres cannot reach ${dataDirectory}: the database is kept in ${base}`);
    }
    const binaries = (await reaches(account, program(packaged, 'postgres')))
      ? packaged
      : copied(packaged, elsewhere, log);
    return { base, binaries, account };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(`The data folder ${dataDirectory} cannot be used: ${(error as Error).message}`, {
      remedy: 'Make it writable, or set PLINTH_DATA to another folder.',
      cause: error,
    });
  }
}

/** Makes a folder that only the account can look into, as Postgres insists. */
export function makeFolder(folder: string, account: Account): void {
  mkdirSync(folder, { mode: 0o700 });
  if (account) chownSync(folder, account.uid, account.gid);
}

async function reaches(account: Account, target: string): Promise<boolean> {
  return !(await runAs(account, '/bin/sh', ['-c', 'test -x "$1"', 'sh', target])).failed;
}

/** Copies the programs under a name of their version; a copy that was interrupted is under another name. */
function copied(packaged: Binaries, elsewhere: string, log: (message: string) => void): Binaries {
  const folder = path.join(elsewhere, `postgres-${packaged.major}-${hash(versionOf(packaged))}`);
  if (!existsSync(folder)) {
    log(`The user postgres cannot reach ${packaged.folder}: its programs are copied to ${folder}`);
    const draft = `${folder}.${process.pid}`;
    rmSync(draft, { recursive: true, force: true });
    cpSync(packaged.folder, draft, { recursive: true, verbatimSymlinks: true });
    renameSync(draft, folder);
  }
  return { folder, major: packaged.major };
}

function versionOf({ folder }: Binaries): string {
  return readFileSync(path.join(path.dirname(folder), 'package.json'), 'utf8');
}

/** The user postgres of this machine, made when missing. */
async function postgresAccount(): Promise<Account> {
  const existing = lookUp();
  if (existing) return existing;
  const home = ['--home-dir', '/nonexistent', '--no-create-home', '--shell', '/bin/false'];
  await runAs(undefined, 'groupadd', ['--system', '--force', 'postgres']);
  const made = await runAs(undefined, 'useradd', ['--system', '--gid', 'postgres', ...home, 'postgres']);
  const account = lookUp();
  if (account) return account;
  throw new Refusal(`Postgres does not run as root, and the user postgres could not be made: ${made.output}`, {
    remedy: 'Start as another user than root, or make a user named postgres.',
  });
}

function lookUp(): Account {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid && gid ? { uid: Number(uid), gid: Number(gid) } : undefined;
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
