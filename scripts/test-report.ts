/** How many assertions passed and failed. */
export type Counts = { passed: number; failed: number };

/**
 * Reads tap's output line by line and prints what a person wants of it: a line for each file, and of a file that failed
 * whatever is not a success.
 *
 * @returns `line` takes the next line; `counts` is what tap counted, once it has.
 */
export function testReport(print: (line: string) => void): { line(text: string): void; counts(): Counts | undefined } {
  let counts: Counts | undefined;
  let held: string[] = [];
  let failing = false;
  const show = (text: string) => {
    if (!/^\s+(ok |# Subtest|1\.\.|\}|$)/.test(text)) print(text);
  };
  const line = (text: string) => {
    const total = /^# \{ total: \d+(?:, pass: (\d+))?(?:, fail: (\d+))?/.exec(text);
    if (total) counts = { passed: Number(total[1] ?? 0), failed: Number(total[2] ?? 0) };
    if (/^(not )?ok /.test(text)) {
      failing = text.startsWith('not ');
      // A file that ran alone has its lines before its result, one that ran beside others after it.
      if (failing) held.forEach(show);
      held = [];
      print(text.replace(/ \{$/, ''));
    } else if (/^\s/.test(text)) {
      if (failing) show(text);
      else held.push(text);
    } else if (text.startsWith('# Subtest')) {
      failing = false;
    } else if (text === '}') {
      failing = false;
      held = [];
    }
  };
  return { line, counts: () => counts };
}
