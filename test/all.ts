import { availableParallelism } from 'node:os';
import t from 'tap';

// Runs the test files of its arguments, each as a process of its own. Not by the program of tap, which loads what
// gathers coverage into every process that a test starts: half a second of each, and another memory than users have.

const secondsForAFile = 600;

// One more than cores: tests wait for much.
t.jobs = availableParallelism() + 1;
t.setTimeout(0);
for (const file of process.argv.slice(2))
  t.spawn(process.execPath, [file], { name: file, timeout: secondsForAFile * 1000, buffered: true });
