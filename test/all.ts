import { availableParallelism } from 'node:os';
import t from 'tap';

// Runs the test files of its arguments, each as a process of its own. Nobody asks for coverage: tap loads what gathers it by
// NODE_OPTIONS into every process that a test starts, which then runs twice as slowly, and with another memory than users have.

const secondsForAFile = 600;

// Those that take longest come first, so that none of them is waited for alone at the end.
const isLong = (file: string): boolean => file.endsWith('.long.test.ts');
const files = process.argv.slice(2);

// Two more than cores: tests wait for much.
t.jobs = availableParallelism() + 2;
t.setTimeout(0);
for (const file of files.toSorted((one, other) => Number(isLong(other)) - Number(isLong(one))))
  t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, file], {
    name: file,
    timeout: secondsForAFile * 1000,
    buffered: true,
  });
