import { accessSync, constants, statSync } from 'node:fs';
import { Refusal, runScript } from '../functions/refusal.ts';
import { runContracts } from './import/contracts.ts';
import { runGoszakup } from './import/goszakup.ts';
import { runMessages } from './import/messages.ts';
import { runOcds } from './import/ocds.ts';

// npm run import -- FORMAT FILE…: takes over what others have published. What was imported before is known.

/** `words` come before the files. */
type Format = { files: string; words?: number; atLeast: number; run(files: string[]): Promise<void> };
const formats: Record<string, Format> = {
  gitter: { files: 'FILE…', atLeast: 1, run: (files) => runMessages('gitter', files) },
  csv: { files: 'MAPPING FILE…', atLeast: 2, run: runContracts },
  goszakup: { files: 'REGISTER [FILE…]', words: 1, atLeast: 1, run: runGoszakup },
  ocds: { files: 'SOURCE FILE…', words: 1, atLeast: 2, run: runOcds },
};

/** Before anything is started. */
function check(name: string | undefined, files: string[]): Format {
  const forms = Object.entries(formats).map(
    ([each, { files: arguments_ }]) => `npm run import -- ${each} ${arguments_}`,
  );
  const remedy = forms.join('\n');
  if (!name) throw new Refusal('Import what?', { remedy });
  const format = Object.hasOwn(formats, name) ? formats[name] : undefined;
  if (!format) throw new Refusal(`There is no format "${name}".`, { remedy });
  if (files.length < format.atLeast) throw new Refusal('Import which files?', { remedy });
  for (const file of files.slice(format.words ?? 0)) {
    try {
      accessSync(file, constants.R_OK);
    } catch (cause) {
      throw new Refusal(`${file} cannot be read: ${(cause as Error).message}`, { remedy, cause });
    }
    if (!statSync(file).isFile()) throw new Refusal(`${file} is not a file.`, { remedy });
  }
  return format;
}

await runScript(async () => {
  const [name, ...files] = process.argv.slice(2);
  await check(name, files).run(files);
});
process.exit();
