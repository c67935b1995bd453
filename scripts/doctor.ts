import { onClient } from '../functions/callers.ts';
import { connected } from '../functions/connection.ts';
import { withDatabase } from '../functions/database.ts';
import { type HealthCheck, health } from '../functions/generated/operations.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { loadSettings } from '../functions/vault.ts';
import { inColumns } from './terminal.ts';

// npm run doctor: the health of the database, the worst first, with remedies; --json for machines. Exit code 1 where something is
// critical, or nothing can be told.

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  if (args.some((arg) => arg !== '--json')) throw new Refusal('npm run doctor takes --json, and nothing else.');
  const settings = await loadSettings(process.env);
  const checks = await withDatabase(settings, { log: console.error, upToDate: false }, readHealth);
  if (args.includes('--json')) console.log(JSON.stringify(checks, null, 2));
  else console.log(report(checks));
  if (checks.some(({ verdict }) => verdict === 'critical')) process.exitCode = 1;
}

function readHealth(url: string): Promise<HealthCheck[]> {
  return connected(url, (client) => health(onClient(client))).catch((cause) => {
    if (!['3F000', '42883'].includes(cause.code)) throw cause;
    const remedy = 'Start Plinth once, which applies schema.sql: npm start. See how it stands: npm run db -- status.';
    throw new Refusal('The database cannot tell its health: it has not the schema of this version.', { remedy, cause });
  });
}

/** A line for each check, and one for what to do about it where it is not ok. */
function report(checks: HealthCheck[]): string {
  const cells = checks.map(({ verdict, name, value, unit, threshold, detail }) => [
    verdict ?? '',
    name ?? '',
    value === null ? '–' : `${short(value)} ${unit}`,
    threshold === null ? '' : `(${short(threshold)})`,
    detail ?? '',
  ]);
  const width = Math.max(...checks.map(({ verdict }) => verdict?.length ?? 0));
  const lines = inColumns(cells).flatMap((line, index) => {
    const { remedy } = checks[index] as HealthCheck;
    return [line, ...(remedy === null ? [] : [`${''.padEnd(width + 2)}→ ${remedy}`])];
  });
  const counted = Object.entries(Object.groupBy(checks, ({ verdict }) => verdict ?? 'unknown'));
  return [...lines, '', counted.map(([verdict, some]) => `${some?.length} ${verdict}`).join(', ')].join('\n');
}

/** `10737418240` → `10,737,418,240`, `12.50` → `12.5`. */
function short(number: string): string {
  return Number(number).toLocaleString('en', { maximumFractionDigits: 3 });
}

await runScript(main);
process.exit();
