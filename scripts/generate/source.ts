import { snakeCase } from '../../functions/kinds.ts';

/** Something that a file of functions/generated exports. */
export type Exported = {
  /** The section of schema.sql, which is the file. */
  schema: string;
  name: string;
  source: string;
  /** The types that its source names. */
  uses: Exported[];
};

/** A comment of SQL as a docstring. */
export function docstring(text = ''): string[] {
  const lines = text.replaceAll('*/', '* /').split('\n').filter(Boolean);
  if (lines.length <= 1) return lines.map((line) => `/** ${line} */`);
  return ['/**', ...lines.map((line) => ` * ${line}`), ' */'];
}

/** A string in TypeScript, in single quotes where it has none. */
export function literal(text: string): string {
  return /['\\\n]/.test(text) ? JSON.stringify(text) : `'${text}'`;
}

/** A field or an argument: with its name in SQL where its own does not tell. */
export function field(name: string, sqlName: string, kind: string): string {
  return `${name}: ${snakeCase(name) === sqlName ? kind : `as(${literal(sqlName)}, ${kind})`},`;
}

export function block(open: string, lines: string[], close: string): string[] {
  return [open, ...lines.map((line) => `  ${line}`), close];
}
