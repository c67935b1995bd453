import type { SchemaFile, Statement } from '../../functions/schema-file.ts';
import type { Finding } from '../../functions/schema-findings.ts';

/** A heading of the file: `about` is what follows the colon, the level 1 for a section and 2 for a part of one. */
type Heading = { line: number; level: 1 | 2; title: string; about: string };

/** The parts of a section in their order; others, such as a schedule, come after these. */
const parts = ['Types', 'Tables', 'Views', 'Functions', 'Triggers', 'Policies', 'Grants'];

/** Where a kind of statement stands. What is not listed may stand anywhere. */
const places: Record<string, string[]> = {
  type: ['Types', 'Tables'], // one that is made of rows stands after their table
  table: ['Tables'],
  index: ['Tables'],
  view: ['Views'],
  function: ['Functions', 'Triggers', 'Tables'], // one that a default calls stands before the table
  trigger: ['Triggers'],
  policy: ['Policies'],
  grant: ['Grants'],
};

/** The table of contents, and the order of what stands in a section. */
export function findInSections({ text, statements }: SchemaFile): Finding[] {
  const lines = text.split('\n');
  const headings = headingsIn(lines);
  return [...findInContents(lines, headings), ...findInOrder(headings), ...findMisplaced(headings, statements)];
}

const banner = /^-- ([=-])\1{9,}$/;

/** A heading is a line between two banners. */
function headingsIn(lines: string[]): Heading[] {
  return lines.flatMap((content, index): Heading[] => {
    const [above, below] = [lines[index - 1] ?? '', lines[index + 1] ?? ''];
    if (!banner.test(above) || above !== below || !content.startsWith('-- ')) return [];
    const [title = '', ...about] = content.slice('-- '.length).split(':');
    return [{ line: index + 1, level: above.includes('=') ? 1 : 2, title, about: about.join(':').trim() }];
  });
}

/** The table of contents: lines `--   name   what it is about   (schema name)` above the first section. */
function findInContents(lines: string[], headings: Heading[]): Finding[] {
  const sections = headings.filter(({ level }) => level === 1);
  const top = lines.slice(0, sections[0]?.line ?? lines.length);
  const entries = top.flatMap((content, index) => {
    const [, title = '', about = ''] = /^-- {2,}(\S+) {2,}(\S.*?)(?: {2,}\(.*\))?$/.exec(content) ?? [];
    return title ? [{ line: index + 1, title, about }] : [];
  });
  const same = (one: { title: string; about: string }, other: { title: string; about: string } | undefined) =>
    one.title === other?.title && one.about === other.about;
  return [
    ...entries
      .filter((entry, index) => !same(entry, sections[index]))
      .map(({ line, title }) => ({ line, rule: 'contents', message: `"${title}" is not the section at this place` })),
    ...sections
      .filter((section, index) => !same(section, entries[index]))
      .map(({ line, title }) => ({ line, rule: 'contents', message: `"${title}" is not so in the table of contents` })),
  ];
}

function findInOrder(headings: Heading[]): Finding[] {
  let reached = 0;
  return headings.flatMap(({ line, level, title }) => {
    const rank = parts.includes(title) ? parts.indexOf(title) : parts.length;
    const late = level === 2 && rank < reached;
    reached = level === 1 ? 0 : Math.max(reached, rank);
    return late
      ? [{ line, rule: 'order', message: `"${title}" stands before ${parts.slice(rank + 1).join(', ')}` }]
      : [];
  });
}

/** What stands between the banner of a section and its first part (the schema, its use) is not looked at. */
function findMisplaced(headings: Heading[], statements: Statement[]): Finding[] {
  return statements.flatMap(({ kind, name, line }) => {
    const heading = headings.findLast((each) => each.line < line);
    const wanted = places[kind];
    if (!wanted || heading?.level !== 2 || !parts.includes(heading.title) || wanted.includes(heading.title)) return [];
    return [{ line, rule: 'order', message: `${kind} ${name} belongs under "${wanted[0]}", not "${heading.title}"` }];
  });
}
