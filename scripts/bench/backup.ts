import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import pino from 'pino';
import { readSettings } from '../../functions/settings.ts';
import { backUp } from '../../workers/backup.ts';
import { findTool, runTool } from '../../workers/postgres-tools.ts';
import { restoreAside } from '../../workers/restore.ts';
import type { BackupWork } from '../../workers/task.ts';
import type { Ground, Report } from './ground.ts';
import { median } from './rounds.ts';

type Row = Record<string, string | number>;

/**
 * Backups and restores of the same database, in turn, beside pg_dump and pg_restore alone. Megabytes are those of the database with its
 * indexes. A restore of Plinth counts and compares every table as well, and its backup counts every table.
 */
export async function benchBackup(ground: Ground, quick: boolean, report: Report): Promise<Row[]> {
  const { url, owner, folder } = ground;
  const { rows: size } = await owner.query(
    "select pg_database_size(current_database())::float8 / 1e6 as megabytes, current_setting('server_version_num')::integer / 10000 as major",
  );
  const { megabytes, major } = size[0];
  const dumps = await findTool('pg_dump', major);
  const restores = await findTool('pg_restore', major);
  const key = randomBytes(32).toString('base64url');
  const work = (env: Record<string, string>): BackupWork => ({
    databaseUrl: url,
    settings: readSettings({ PLINTH_DATA: folder, BACKUP_STORAGE: path.join(folder, 'backups'), ...env }),
    signal: new AbortController().signal,
    progress() {},
    log: pino({ level: 'silent' }),
  });
  const byPlinth = (form: 'portable' | 'pg_dump', env: Record<string, string>) => async () => {
    const began = performance.now();
    const { name, bytes } = await backUp(work(env), { form });
    const backup = performance.now() - began;
    const { seconds } = await restoreAside(work(env), name);
    return { backup: backup / 1000, restore: seconds, stored: bytes / 1e6 };
  };
  const bare = async () => {
    const target = path.join(folder, 'bare');
    const name = `plinth_bare_${randomBytes(4).toString('hex')}`;
    let began = performance.now();
    await runTool(dumps?.program ?? '', ['--format=directory', '--jobs=4', '--compress=5', `--file=${target}`], url);
    const backup = (performance.now() - began) / 1000;
    const stored = readdirSync(target).reduce((sum, file) => sum + statSync(path.join(target, file)).size, 0) / 1e6;
    await owner.query(`create database ${name}`);
    try {
      began = performance.now();
      const options = ['--format=directory', '--jobs=4', `--dbname=${name}`, target];
      await runTool(restores?.program ?? '', options, Object.assign(new URL(url), { pathname: name }).href);
      return { backup, restore: (performance.now() - began) / 1000, stored };
    } finally {
      await owner.query(`drop database ${name} with (force)`);
      rmSync(target, { recursive: true });
    }
  };
  const systems: [string, () => Promise<{ backup: number; restore: number; stored: number }>][] = [
    ['portable', byPlinth('portable', {})],
    ['portable, encrypted', byPlinth('portable', { BACKUP_KEY: key })],
  ];
  if (dumps && restores)
    systems.push(
      ['by pg_dump, encrypted', byPlinth('pg_dump', { BACKUP_KEY: key })],
      ['pg_dump and pg_restore alone', bare],
    );
  else report(`There is no pg_dump of Postgres ${major}: its lines are left out.`);
  const measured = new Map(systems.map(([system]) => [system, [] as Awaited<ReturnType<typeof bare>>[]]));
  for (let round = 1; round <= (quick ? 1 : 3); round++) {
    for (const [system, run] of systems) {
      report(`round ${round}: ${system}`);
      measured.get(system)?.push(await run());
    }
  }
  return [...measured].map(([system, runs]) => {
    const middle = (of: (run: (typeof runs)[number]) => number): number => median(runs.map(of));
    const [backup, restore] = [middle((run) => run.backup), middle((run) => run.restore)];
    return {
      ...{ system, megabytes: round(megabytes), stored: round(middle((run) => run.stored)) },
      ...{ backupSeconds: round(backup), backupMBs: round(megabytes / backup) },
      ...{ restoreSeconds: round(restore), restoreMBs: round(megabytes / restore) },
    };
  });
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
