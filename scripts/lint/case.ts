import { type Token, tokensOf } from '../../functions/sql-tokens.ts';
import type { Finding } from './finding.ts';

/** Keywords, types and names in upper case, in statements and in the bodies of functions. */
export async function findInCase(text: string): Promise<Finding[]> {
  return find(text, 1);
}

async function find(sql: string, firstLine: number): Promise<Finding[]> {
  const bytes = Buffer.from(sql);
  const findings: Finding[] = [];
  let line = firstLine;
  let seen = 0;
  for (const token of await tokensOf(sql)) {
    for (; seen < token.start; seen++) if (bytes[seen] === newline) line++;
    const body = dollarQuoted.exec(token.text)?.groups;
    if (body) findings.push(...(await find(body.text ?? '', line)));
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
function isWord({ tokenName, text }: Token): boolean {
  return /^[a-z_]/i.test(text) && !/CONST|COMMENT/.test(tokenName);
}
