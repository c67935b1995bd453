import type { ScanToken } from 'libpg-query';
import type { Finding } from '../../functions/schema-findings.ts';
import { tokensOf } from '../../functions/sql-parser.ts';

const longest = 120;

/** Tabs, space at the end of lines, long lines, the end of the file. */
export function findInCharacters(text: string): Finding[] {
  const lines = text.split('\n');
  const findings = lines.flatMap((content, index): Finding[] => {
    const length = Array.from(content).length;
    const found: [boolean, string, string][] = [
      [content.includes('\t'), 'tab', 'indent with spaces'],
      [/\s$/.test(content), 'trailing-space', 'space at the end of the line'],
      [length > longest, 'line-length', `${length} characters, at most ${longest}`],
    ];
    return found.flatMap(([is, rule, message]) => (is ? [{ line: index + 1, rule, message }] : []));
  });
  if (/[^\n]\n$/.test(text)) return findings;
  return [
    ...findings,
    { line: lines.length, rule: 'final-newline', message: 'the file does not end with one line end' },
  ];
}

/** Keywords, types and names in upper case, in statements and in the bodies of functions. */
export async function findInCase(sql: string, firstLine = 1): Promise<Finding[]> {
  const bytes = Buffer.from(sql);
  const findings: Finding[] = [];
  let line = firstLine;
  let seen = 0;
  for (const token of await tokensOf(sql)) {
    for (; seen < token.start; seen++) if (bytes[seen] === newline) line++;
    const body = dollarQuoted.exec(token.text)?.groups;
    if (body) findings.push(...(await findInCase(body.text ?? '', line)));
    else if (isWord(token) && token.text !== token.text.toLowerCase()) {
      findings.push({ line, rule: 'lower-case', message: `write ${token.text.toLowerCase()}, not ${token.text}` });
    }
  }
  return findings;
}

const newline = 10;
// Only code is quoted so: what is a text for people stands in quotes.
const dollarQuoted = /^(?<quote>\$\w*\$)(?<text>[\s\S]*)\k<quote>$/;

/** A keyword or a name; names in quotes, strings such as E'…' and X'…', numbers and comments are not. */
function isWord({ tokenName, text }: ScanToken): boolean {
  return /^[a-z_]/i.test(text) && !/CONST|COMMENT/.test(tokenName);
}
