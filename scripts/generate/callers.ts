import type { Catalog, PgFunction } from '../../functions/catalog.ts';
import { Refusal } from '../../functions/refusal.ts';
import { plain } from '../../functions/sql-names.ts';
import { readComment } from '../../functions/tags.ts';
import { camelCase } from '../../graphql/names.ts';
import { block, docstring, type Exported, field, literal } from './source.ts';
import { readTypes, type Types, type Value } from './types.ts';

/**
 * Writes the typed callers of what a catalog grants.
 *
 * @returns the source of `functions/generated/<schema>.ts` for each schema that has a function or a type which one returns.
 * @throws Refusal for a type that a caller cannot carry, and for two functions or types of one name.
 */
export function writeCallers(catalog: Catalog): Record<string, string> {
  const types = readTypes(catalog);
  const callers = catalog.functions.flatMap((fn) => readCaller(fn, types) ?? []);
  const all = [...types.named, ...callers];
  const schemas = [...new Set(all.map(({ schema }) => schema))].sort();
  return Object.fromEntries(
    schemas.map((schema) => {
      const own = all.filter((each) => each.schema === schema);
      refuseNamesakes(schema, own);
      return [schema, writeFile(schema, own)];
    }),
  );
}

/** Nothing for what the API hides, unless the service role, whose programs are ours, may execute it. */
function readCaller(fn: PgFunction, types: Types): Exported | undefined {
  const { schema } = fn;
  const object = `function ${schema}.${fn.name}`;
  const { description, tags } = readComment(fn.comment, object);
  if (tags.subscription || (tags.hide && !fn.roles.includes('service'))) return undefined;
  const given = fn.arguments.map((argument) => readArgument(argument, object, types));
  const result = readResult(fn, object, types, tags.notNull === true);
  const name = camelCase(tags.name ?? fn.name);
  const hashed =
    tags.argon2id &&
    `\`${camelCase(tags.argon2id.split(' ')[0] ?? '')}\` is an argon2id hash (functions/passwords.ts).`;
  const open = `export const ${name} = ${fn.volatile ? 'mutation' : 'query'}('${plain(schema)}.${plain(fn.name)}', {`;
  const close = `}${result ? `, ${result.source}` : ''});`;
  const fields = given.map(({ source }) => source);
  const line = `${open}${fields.length > 0 ? ` ${fields.join(' ').slice(0, -1)} ` : ''}${close}`;
  return {
    schema,
    name,
    source: [
      ...docstring([description, hashed].filter(Boolean).join('\n')),
      ...(line.length <= widest ? [line] : block(open, fields, close)),
    ].join('\n'),
    uses: [...given, ...(result ? [result] : [])].flatMap(({ uses }) => uses),
  };
}

const widest = 120;

function readArgument({ name, type, hasDefault }: PgFunction['arguments'][number], object: string, types: Types) {
  const usedBy = `the argument ${name || 'without a name'} of ${object}`;
  const { source, uses, key } = types.value(type, usedBy);
  if (name === '' || key?.length === 0) {
    throw new Refusal(`A typed caller cannot pass ${usedBy}.`, {
      remedy: 'Give it a name and a scalar type (jsonb carries anything), or do not grant the function to an API role.',
    });
  }
  const kind = key ? `keyOf(${[source, ...key.map(literal)].join(', ')})` : source;
  return { source: field(camelCase(name), name, hasDefault ? `optional(${kind})` : kind), uses };
}

function readResult(fn: PgFunction, object: string, types: Types, notNull: boolean): Value | undefined {
  const returned = (fn.columns.length === 1 ? fn.columns[0]?.type : fn.returns) as string;
  if (types.isVoid(returned)) return undefined;
  const { source, uses } =
    fn.columns.length > 1
      ? types.columnsOf(fn.schema, fn.name, fn.columns)
      : types.value(returned, `the result of ${object}`);
  const many = fn.returnsSet && fn.rows !== 1;
  return { source: many ? `setOf(${source})` : notNull ? source : `orNull(${source})`, uses };
}

function refuseNamesakes(schema: string, all: Exported[]): void {
  const twice = all.find(({ name }, index) => all.findIndex((each) => each.name === name) !== index);
  if (!twice) return;
  const what = /^[A-Z]/.test(twice.name) ? 'types' : 'functions';
  throw new Refusal(`Two ${what} of the section ${schema} would be called ${twice.name}.`, {
    remedy: 'Give one of them another name: a line "@name other_name" in its comment.',
  });
}

function writeFile(schema: string, all: Exported[]): string {
  const sources = all.map(({ source }) => source).join('\n\n');
  const named = (names: string[]) =>
    names.filter((name) => new RegExp(`\\b${name.replace('type ', '')}[(.<]`).test(sources));
  const foreign = new Map<string, Set<string>>();
  for (const { schema: from, name } of all.flatMap(({ uses }) => uses).filter((each) => each.schema !== schema))
    foreign.set(from, (foreign.get(from) ?? new Set()).add(name));
  const imports: [string[], string][] = [
    [named(['mutation', 'query']), '../callers.ts'],
    [
      named(['arrayOf', 'as', 'keyOf', 'oneOf', 'optional', 'orNull', 'pg', 'row', 'setOf', 'type ValueOf']),
      '../kinds.ts',
    ],
    ...[...foreign].sort().map(([from, names]): [string[], string] => [[...names].sort(), `./${from}.ts`]),
  ];
  const lines = imports
    .filter(([names]) => names.length > 0)
    .map(([names, from]) => `import { ${names.join(', ')} } from '${from}';`);
  return `// Made from schema.sql by \`npm run generate\`.\n${lines.join('\n')}\n\n${sources}\n`;
}
