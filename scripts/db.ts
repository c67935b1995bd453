import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { schemaFile, schemaStatus } from '../functions/apply.ts';
import { asOwner } from '../functions/connection.ts';
import { withDatabase } from '../functions/database.ts';
import { runningEmbedded } from '../functions/embedded.ts';
import { makeOperator } from '../functions/operators.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { adoptSchema } from '../functions/schema-adopt.ts';
import { type Change, listChanges } from '../functions/schema-changes.ts';
import { databaseContents, resetDatabase } from '../functions/schema-reset.ts';
import { loadSettings } from '../functions/vault.ts';
import { lintSchema } from './lint/schema.ts';
import { askForYes } from './terminal.ts';

const plain = { log: console.log, upToDate: false };

const commands: Record<string, { run: (args: string[]) => Promise<void>; about: string }> = {
  status: { run: status, about: 'what has changed in schema.sql since it was applied' },
  reset: { run: reset, about: 'empties the database and applies schema.sql (development only; --yes does not ask)' },
  adopt: { run: adopt, about: 'notes schema.sql as applied, where the database has been brought to it by hand' },
  url: {
    run: url,
    about: 'the connection to the running database, as plinth_owner: psql "$(npm run --silent db -- url)"',
  },
  operator: { run: operator, about: 'makes the user of that name an operator' },
  lint: { run: lint, about: 'what schema.sql (or another file) does not do as the conventions say' },
};

async function main(): Promise<void> {
  const [name = '', ...args] = process.argv.slice(2);
  const command = commands[name];
  if (command) return command.run(args);
  const list = Object.entries(commands).map(([each, { about }]) => `  npm run db -- ${each.padEnd(8)} ${about}`);
  throw new Refusal(name ? `There is no command "${name}".` : 'Which command?', {
    remedy: `There are:\n${list.join('\n')}`,
  });
}

async function status(): Promise<void> {
  await withDatabase(await loadSettings(process.env), plain, async (url) => {
    const found = await schemaStatus({ databaseUrl: url, schemaFile });
    if (found.state === 'empty') return console.log('The database is empty; `npm start` applies schema.sql.');
    const applied = `schema.sql was last applied at ${found.appliedAt.toISOString()}`;
    if (found.state === 'current')
      return console.log(`${applied}; it has not changed since. (What was changed in psql is not compared.)`);
    const { changes } = found;
    if (changes.length === 0) return console.log(`${applied}; only comments, space and order have changed since.`);
    const { live = [], planned = [] } = Object.groupBy(changes, (change) => (change.live ? 'live' : 'planned'));
    const lists = [
      ...section('Applied at the next start in development:', live),
      ...section(
        'Not applied to a database with data (by hand, then npm run db -- adopt; or npm run db -- reset, which empties it):',
        planned,
      ),
    ];
    console.log(`${applied}.\n${lists.join('\n')}`);
  });
}

async function adopt(): Promise<void> {
  await withDatabase(await loadSettings(process.env), plain, async (url) => {
    console.log(await adoptSchema({ databaseUrl: url, schemaFile }));
  });
}

async function operator([username]: string[]): Promise<void> {
  if (!username) throw new Refusal('Who?', { remedy: 'npm run db -- operator USERNAME' });
  await withDatabase(await loadSettings(process.env), plain, (url) => makeOperator(url, username));
  console.log(`${username} is an operator, from the next sign-in or refresh of a session on.`);
}

/** What is made on this connection belongs to whom the objects of schema.sql belong to, and may be called by nobody until it is granted. */
async function url(): Promise<void> {
  const { databaseUrl, plinthData } = await loadSettings(process.env);
  const running = databaseUrl ?? runningEmbedded(plinthData);
  if (!running) throw new Refusal('No database is running.', { remedy: 'Start one: npm start.' });
  console.log(asOwner(running));
}

function section(title: string, changes: Change[]): string[] {
  return changes.length > 0 ? [title, listChanges(changes, 'schema.sql')] : [];
}

async function reset(args: string[]): Promise<void> {
  const settings = await loadSettings(process.env);
  if (!settings.development) {
    throw new Refusal('This is production (PLINTH_ENV): its database is not emptied.', {
      remedy: 'If that is what you want, drop the database and create it again with the tools of Postgres.',
    });
  }
  await withDatabase(settings, plain, async (url) => {
    if (!args.includes('--yes')) await confirm(url);
    await resetDatabase({ databaseUrl: url, schemaFile, report: console.log });
  });
}

/** Nobody loses data by a slip: who cannot be asked has to say --yes. */
async function confirm(url: string): Promise<void> {
  const { host, pathname } = new URL(url);
  const contents = await databaseContents(url);
  if (contents.length === 0) return;
  const lines = contents.map(({ schema, tables, rows }) => `  ${schema}: ${tables} tables, about ${rows} rows`);
  console.log(`Everything in the database ${pathname.slice(1)} at ${host} is going to be lost:\n${lines.join('\n')}`);
  await askForYes();
}

async function lint([file = schemaFile]: string[]): Promise<void> {
  const fileName = path.relative('', file);
  const text = await readFile(file, 'utf8');
  const findings = await withDatabase(await loadSettings(process.env), { log() {}, upToDate: false }, (url) =>
    lintSchema(url, text, fileName),
  );
  for (const { line, rule, message } of findings) console.log(`${fileName}:${line}: ${rule}: ${message}`);
  if (findings.length > 0) throw new Refusal(`${findings.length} ${findings.length === 1 ? 'finding' : 'findings'}`);
  console.log(`${fileName}: nothing to report`);
}

await runScript(main);
