import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type GraphQLSchema, lexicographicSortSchema, printSchema } from 'graphql';
import { readSchema, schemaFile } from '../functions/apply.ts';
import { readCatalog } from '../functions/catalog.ts';
import { connected } from '../functions/connection.ts';
import { withDatabase } from '../functions/database.ts';
import { Refusal, runScript } from '../functions/refusal.ts';
import { connectionOptions } from '../functions/requests.ts';
import { onScratch } from '../functions/scratch-database.ts';
import { loadSettings } from '../functions/vault.ts';
import { buildSchema } from '../graphql/schema.ts';
import { breakingChanges } from './generate/breaking.ts';
import { writeCallers } from './generate/callers.ts';

// npm run generate [-- --check]: writes what follows from schema.sql, or with --check tells what does not follow it any more.

const repository = path.join(import.meta.dirname, '..');
const contract = 'graphql/schema.graphql';
const generated = 'functions/generated';

/** The text of every generated file, by its path from the repository. */
async function generate(): Promise<Record<string, string>> {
  const catalog = await withDatabase(
    await loadSettings(process.env),
    { log: console.log, upToDate: false },
    async (server) =>
      onScratch(server, await readSchema(schemaFile), (_, url) =>
        connected(url, readCatalog, { options: connectionOptions }),
      ),
  );
  const callers = Object.entries(writeCallers(catalog)).map(([name, text]) => [`${generated}/${name}.ts`, text]);
  return { [contract]: print(buildSchema(catalog)), ...Object.fromEntries(callers) };
}

function print(schema: GraphQLSchema): string {
  return `# Made from schema.sql by \`npm run generate\`.\n\n${printSchema(lexicographicSortSchema(schema))}\n`;
}

/** The generated files that are there, by their paths. */
function present(): Record<string, string> {
  const callers = readdirSync(path.join(repository, generated)).map((file) => `${generated}/${file}`);
  const files = [contract, ...callers].filter((file) => existsSync(path.join(repository, file)));
  return Object.fromEntries(files.map((file) => [file, readFileSync(path.join(repository, file), 'utf8')]));
}

await runScript(async () => {
  const before = present();
  const after = await generate();
  const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((file) => before[file] !== after[file])
    .map((file) => ({
      file,
      what: !(file in after) ? 'is no longer made' : file in before ? 'differs' : 'is missing',
    }));
  const breaking = await breakingChanges(before[contract], after[contract] as string);
  const broken = breaking.map((change) => `\n  breaks clients: ${change}`).join('');
  if (process.argv.includes('--check')) {
    if (changed.length === 0) return console.log('Everything generated follows schema.sql.');
    const lines = changed.map(({ file, what }) => `  ${file} ${what}`).join('\n');
    throw new Refusal(`What is generated does not follow schema.sql:\n${lines}${broken}`, {
      remedy: 'npm run generate',
    });
  }
  for (const { file } of changed) {
    const target = path.join(repository, file);
    const text = after[file];
    if (text === undefined) rmSync(target);
    else writeFileSync(target, text);
    console.log(`${text === undefined ? 'removed' : 'wrote'} ${file}`);
  }
  if (changed.length === 0) console.log('Nothing has changed.');
  else if (broken) console.log(`The API has changed in ways that matter to its clients:${broken}`);
});
