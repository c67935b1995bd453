import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

// The calls of schema.sql that tell something are read as text: which types can an event have?

const root = path.join(import.meta.dirname, '../..');
const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');
const sql = read('schema.sql').replaceAll(/--.*/g, '');

type Declared = { name: string; parameters: string[]; body: string; start: number };

/** What stands between a parenthesis, whose place is given, and its end, split at its commas. */
function listAt(text: string, open: number): string[] {
  const parts = [''];
  let [depth, quoted] = [0, false];
  for (let place = open; place < text.length; place += 1) {
    const sign = text[place] as string;
    if (sign === "'") quoted = !quoted;
    const opens = !quoted && '([{'.includes(sign);
    if (opens) depth += 1;
    if (opens && depth === 1) continue;
    if (!quoted && ')]}'.includes(sign)) depth -= 1;
    if (depth === 0) break;
    if (!quoted && sign === ',' && depth === 1) parts.push('');
    else parts[parts.length - 1] += sign;
  }
  return parts.map((part) => part.trim());
}

const functions: Declared[] = [...sql.matchAll(/create function ([a-z]+\.\w+)\(/g)].map(
  ({ 0: head, 1: name, index }) => ({
    name: name as string,
    parameters: listAt(sql, index + head.length - 1).map((parameter) => parameter.split(/\s/)[0] as string),
    body: sql.slice(index, sql.indexOf('create function', index + 1)),
    start: index,
  }),
);
const around = (place: number) => functions.findLast(({ start }) => start < place) as Declared;

/** What is passed for a parameter wherever the function is called. */
function passed({ name, start }: Declared, position: number): string[] {
  const calls = [...sql.matchAll(new RegExp(`${name.replace('.', '\\.')}\\(`, 'g'))];
  return calls
    .filter(({ index }) => index !== start + 'create function '.length)
    .flatMap(({ 0: head, index }) => {
      const argument = listAt(sql, index + head.length - 1)[position];
      return argument ? valuesOf(argument, around(index)) : [];
    });
}

/** The texts that an expression can be; what only the database knows is *. */
function valuesOf(expression: string, within: Declared): string[] {
  const text = expression.replace(/::[\w.]+$/, '').trim();
  if (/^case\b/.test(text))
    return [...text.matchAll(/\b(?:then|else)\s+('\w+'|\w+)/g)].flatMap(({ 1: one }) =>
      valuesOf(one as string, within),
    );
  const parts = text.split(/\s*\|\|\s*/);
  if (parts.length > 1) {
    return parts.reduce<string[]>(
      (begun, part) => begun.flatMap((one) => valuesOf(part, within).map((other) => one + other)),
      [''],
    );
  }
  if (text.startsWith("'")) return [text.slice(1, -1)];
  if (text === 'tg_argv[0]')
    return [...sql.matchAll(new RegExp(`execute function ${within.name.replace('.', '\\.')}\\('(\\w+)'\\)`, 'g'))].map(
      ([, argument]) => argument as string,
    );
  if (text === 'tg_table_name')
    return [
      ...sql.matchAll(
        new RegExp(`on \\w+\\.(\\w+)\\s+for each \\w+ execute function ${within.name.replace('.', '\\.')}\\(`, 'g'),
      ),
    ].map(([, table]) => table as string);
  const variable = text.split('.').at(-1) as string;
  const position = within.parameters.indexOf(variable);
  if (position >= 0 && !(text.includes('.') && text.split('.')[0] !== within.name.split('.')[1]))
    return passed(within, position);
  const assigned = new RegExp(`\\b${variable}\\s+text\\s*:=\\s*(case\\b[^;]*);`).exec(within.body)?.[1];
  return assigned ? valuesOf(assigned, within) : ['*'];
}

const publishers = ['events.publish', 'events.signal', 'events._signal'].map(
  (name) => functions.find((known) => known.name === name) as Declared,
);
const states = listAt(sql, sql.indexOf('(', sql.indexOf('create type jobs.run_state as enum'))).map((state) =>
  state.slice(1, -1),
);
const published = new Set(
  publishers
    .flatMap((publisher) => passed(publisher, 1))
    .flatMap((type) => (type === 'run_*' ? states.map((state) => `run_${state}`) : [type])),
);
const section = read('docs/events.md').split('## What happens')[1]?.split('\n## ')[0] ?? '';
const listed = new Set(
  section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...(line.split('|')[1] as string).matchAll(/`(\w+)`/g)].map(([, type]) => type as string)),
);

t.test('every type of an event stands in docs/events.md, and no other', async (t) => {
  t.ok(published.has('message_sent') && published.has('member_banned') && published.has('role_created'));
  t.strictSame([...published].sort(), [...listed].sort());
});
