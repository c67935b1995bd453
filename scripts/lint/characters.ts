import type { Finding } from './finding.ts';

const longest = 120;

/** Tabs, space at the end of lines, long lines, the end of the file. */
export function findInCharacters(text: string): Finding[] {
  const lines = text.split('\n');
  const findings = lines.flatMap((content, index): Finding[] => {
    const line = index + 1;
    const length = Array.from(content).length;
    return [
      ...(content.includes('\t') ? [{ line, rule: 'tab', message: 'indent with spaces' }] : []),
      ...(/\s$/.test(content) ? [{ line, rule: 'trailing-space', message: 'space at the end of the line' }] : []),
      ...(length > longest ? [{ line, rule: 'line-length', message: `${length} characters, at most ${longest}` }] : []),
    ];
  });
  if (!text.endsWith('\n'))
    findings.push({ line: lines.length, rule: 'final-newline', message: 'the last line has no end' });
  if (text.endsWith('\n\n'))
    findings.push({ line: lines.length - 1, rule: 'final-newline', message: 'an empty last line' });
  return findings;
}
