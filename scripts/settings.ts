import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Refusal, runScript } from '../functions/refusal.ts';
import { settingsSchema } from '../functions/settings.ts';

// node scripts/settings.ts [--check]: writes docs/settings.md from the schema of the settings, or tells that it differs.

const file = path.join(import.meta.dirname, '..', 'docs', 'settings.md');

const head = `# Settings

Environment variables. All have a default, except where it says otherwise; an empty variable counts as not set. Mistakes
are reported all at once, before anything starts. This page is made from \`functions/settings.ts\` by
\`node scripts/settings.ts\`.
`;

function page(): string {
  const sections = Object.entries(settingsSchema.shape).map(([name, schema]) => {
    const { description, default: described } = schema.meta() as { description: string; default?: string };
    const plain = schema.safeParse(undefined).data;
    const value = described ?? (plain === undefined ? 'not set' : `\`${plain}\``);
    return `## ${name}\n${description}\n\nDefault: ${value}.\n`;
  });
  return [head, ...sections].join('\n');
}

await runScript(async () => {
  if (!process.argv.includes('--check')) return writeFileSync(file, page());
  if (readFileSync(file, 'utf8') !== page()) {
    throw new Refusal('docs/settings.md differs from functions/settings.ts.', { remedy: 'node scripts/settings.ts' });
  }
});
