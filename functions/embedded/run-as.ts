import { execFile } from 'node:child_process';

/** The user that Postgres runs as; undefined is the user of this process. */
export type Account = { uid: number; gid: number } | undefined;

/** The environment for Postgres's programs: nothing of PG* may reach them, and messages are in English. */
export const plainEnvironment = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/** Runs a program to its end as an account. Never throws: a program that cannot start has failed, with why as its output. */
export function runAs(account: Account, program: string, args: string[]): Promise<{ failed: boolean; output: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { ...account, cwd: '/', env: plainEnvironment }, (error, stdout, stderr) => {
      resolve({ failed: error !== null, output: `${stdout}${stderr}`.trim() || (error?.message ?? '') });
    });
  });
}
