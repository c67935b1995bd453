import type { Catalog, PgFunction } from '../../functions/catalog.ts';
import { Refusal } from '../../functions/refusal.ts';
import { plain, quote } from '../../functions/sql-names.ts';
import { readComment } from '../../functions/tags.ts';
import { camelCase } from '../../graphql/names.ts';
import { jsonName, type Named, readTypes, type Types } from './types.ts';

/**
 * Writes the typed callers of what a catalog grants.
 *
 * @returns the source of `functions/generated/<schema>.ts` for each schema that has a function or a type which one returns.
 * @throws Refusal for a type that a caller cannot carry, and for two functions of one name.
 */
export function writeCallers(catalog: Catalog): Record<string, string> {
  const types = readTypes(catalog);
  const callers = catalog.functions.flatMap((fn) => readCaller(fn, types) ?? []);
  const schemas = [...new Set([...types.named, ...callers].map(({ schema }) => schema))].sort();
  return Object.fromEntries(
    schemas.map((schema) => {
      const own = callers.filter((each) => each.schema === schema);
      refuseNamesakes(own);
      return [
        schema,
        writeFile(
          schema,
          types.named.filter((each) => each.schema === schema),
          own,
        ),
      ];
    }),
  );
}

type Caller = { schema: string; name: string; source: string; uses: Named[]; needsJson: Named | undefined };

/** Nothing for what the API hides, unless the service role, whose programs are ours, may execute it. */
function readCaller(fn: PgFunction, types: Types): Caller | undefined {
  const object = `function ${fn.schema}.${fn.name}`;
  const { description, tags } = readComment(fn.comment, object);
  if (tags.subscription || (tags.hide && !fn.roles.includes('service'))) return undefined;
  const given = fn.arguments.map((argument) => readArgument(argument, object, types));
  const result = readResult(fn, object, types, tags.notNull === true);
  const name = camelCase(tags.name ?? fn.name);
  const hashed =
    tags.argon2id &&
    `\`${camelCase(tags.argon2id.split(' ')[0] ?? '')}\` is an argon2id hash (functions/passwords.ts).`;
  const source = [
    ...docstring([description, hashed].filter(Boolean).join('\n')),
    `export const ${name} = caller({`,
    `  sql: '${plain(fn.schema)}.${plain(fn.name)}',`,
    `  volatile: ${fn.volatile},`,
    ...block(
      'input: z.strictObject({',
      given.map(({ input }) => input),
      '}),',
    ),
    ...block(
      'arguments: [',
      given.map(({ sql }) => literal(sql)),
      '],',
    ),
    ...result.lines.map((line) => `  ${line}`),
    '});',
  ].join('\n');
  return {
    schema: fn.schema,
    name,
    source,
    uses: [...given, result].flatMap(({ uses }) => uses),
    needsJson: result.needsJson,
  };
}

/** A list over several lines, or in one where it is empty. */
function block(open: string, items: string[], close: string): string[] {
  if (items.length === 0) return [`  ${open}${close}`];
  return [`  ${open}`, ...items.map((item) => `    ${item},`), `  ${close}`];
}

function readArgument({ name, type, hasDefault }: PgFunction['arguments'][number], object: string, types: Types) {
  const apiName = camelCase(name);
  const usedBy = `argument ${name || '(without a name)'} of ${object}`;
  const value = types.value(type, usedBy);
  const uses = value.named ? [value.named] : [];
  const table = types.tableOf(type);
  const key = table?.primaryKey ?? [];
  if (name === '' || (!value.input && key.length === 0)) {
    throw new Refusal(`A typed caller cannot pass ${usedBy}.`, {
      remedy: 'Give it a name and a scalar type (jsonb carries anything), or do not grant the function to an API role.',
    });
  }
  if (value.input) {
    const input = `${apiName}: ${value.input}${hasDefault ? '.nullish()' : ''}`;
    return { input, sql: `${quote(name)} => $${apiName}::${value.cast}`, uses };
  }
  // A row is given by its key.
  const columns = key.map((column) => {
    const oid = table?.columns.find((each) => each.name === column)?.type ?? '';
    return `one.${plain(column)} = $${apiName}.${camelCase(column)}::${types.value(oid, usedBy).cast}`;
  });
  const picked = key.map((column) => `${camelCase(column)}: true`).join(', ');
  return {
    input: `${apiName}: ${value.output}.pick({ ${picked} })`,
    sql: `${quote(name)} => (select one from ${value.cast} as one where ${columns.join(' and ')})`,
    uses,
  };
}

function readResult(fn: PgFunction, object: string, types: Types, notNull: boolean) {
  const returned = fn.columns.length === 1 ? fn.columns[0]?.type : fn.returns;
  if (types.isVoid(returned as string)) return { lines: ['result: z.void(),'], uses: [], needsJson: undefined };
  const row = fn.columns.length > 1 ? types.columnsOf(fn.schema, fn.name, fn.columns) : undefined;
  const value = row ? undefined : types.value(returned as string, `the result of ${object}`);
  const named = row ?? value?.named;
  const one = row?.name ?? value?.output;
  const rowJson = named?.fields ? named : undefined;
  const many = fn.returnsSet && fn.rows !== 1;
  return {
    lines: [
      `json: ${rowJson ? jsonName(rowJson) : literal(`to_json(${value?.ready('r')})`)},`,
      ...(many ? ['many: true,'] : []),
      `result: ${many ? `z.array(${one})` : notNull ? one : `${one}.nullable()`},`,
    ],
    uses: named ? [named] : [],
    needsJson: rowJson,
  };
}

function refuseNamesakes(callers: Caller[]): void {
  const twice = callers.find(({ name }, index) => callers.findIndex((each) => each.name === name) !== index);
  if (!twice) return;
  throw new Refusal(`Two functions of the section ${twice.schema} would be called ${twice.name}.`, {
    remedy: 'Give one of them another name: a line "@name other_name" in its comment.',
  });
}

function writeFile(schema: string, named: Named[], callers: Caller[]): string {
  const fields = named.flatMap((each) => each.fields ?? []).flatMap(({ type }) => type.named ?? []);
  const foreign = (each: Named): boolean => each.schema !== schema;
  const imported = new Map<string, Set<string>>();
  const add = (type: Named, name: string): void => {
    imported.set(type.schema, (imported.get(type.schema) ?? new Set()).add(name));
  };
  for (const type of [...fields, ...callers.flatMap(({ uses }) => uses)].filter(foreign)) add(type, type.name);
  for (const type of fields.filter((each) => foreign(each) && each.fields)) add(type, jsonName(type));
  for (const { needsJson } of callers) if (needsJson && foreign(needsJson)) add(needsJson, jsonName(needsJson));
  const imports = [...imported]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([from, names]) => `import { ${[...names].sort().join(', ')} } from './${from}.ts';`);
  return [
    [
      '// Made from schema.sql by `npm run generate`.',
      "import { z } from 'zod';",
      ...(callers.length > 0 ? ["import { caller } from '../callers.ts';"] : []),
      ...imports,
    ].join('\n'),
    ...named.map(writeNamed),
    ...callers.map(({ source }) => source),
  ]
    .join('\n\n')
    .concat('\n');
}

function writeNamed(type: Named): string {
  const exported = `export type ${type.name} = z.output<typeof ${type.name}>;`;
  const head = docstring(type.description ?? '');
  if (type.labels) {
    const labels = type.labels.map(literal).join(', ');
    return [...head, `export const ${type.name} = z.enum([${labels}]);`, exported].join('\n');
  }
  const fields = type.fields ?? [];
  const selected = fields.map(({ column, name, type: value }) => {
    const sql = value.ready(`r.${plain(column)}`);
    return sql === `r.${name}` ? `    ${sql}` : `    ${sql} as ${plain(name)}`;
  });
  return [
    ...head,
    `export const ${type.name} = z.object({`,
    ...fields.flatMap(({ name, description, type: value, nullable }) => [
      ...docstring(description ?? '').map((line) => `  ${line}`),
      `  ${name}: ${value.output}${nullable ? '.nullable()' : ''},`,
    ]),
    '});',
    exported,
    `export const ${jsonName(type)} = \``,
    `  (select to_json(item) from (select\n${selected.join(',\n')}\n  ) as item)\`;`,
  ].join('\n');
}

/** A comment of SQL as a docstring. */
function docstring(text: string): string[] {
  const lines = text.replaceAll('*/', '* /').split('\n').filter(Boolean);
  if (lines.length === 0) return [];
  if (lines.length === 1) return [`/** ${lines[0]} */`];
  return ['/**', ...lines.map((line) => ` * ${line}`), ' */'];
}

/** A string in TypeScript, in single quotes where it has none. */
function literal(text: string): string {
  if (text.includes('${')) return `\`${text}\``;
  return text.includes("'") ? JSON.stringify(text) : `'${text.replaceAll('\\', '\\\\')}'`;
}
