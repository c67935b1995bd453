// The terminal sends Ctrl-C to every process of its group, and npm and run.mjs pass it on: one press comes several times.
const onePress = 1_000;

/**
 * Settled when this process is asked to end: by SIGINT, SIGTERM, or the death of the run.mjs that started it. Whoever
 * asks again after that is not made to wait: the process ends at once.
 */
export function stopAsked(): Promise<void> {
  return new Promise((resolve) => {
    let first: number | undefined;
    const ask = () => {
      first ??= Date.now();
      if (Date.now() - first > onePress) process.exit(130);
      resolve();
    };
    process.on('SIGINT', ask);
    process.on('SIGTERM', ask);
    if (process.env.RUNNER_PID === `${process.ppid}`) whenOrphaned(resolve);
  });
}

/** A parent that is killed says nothing; another process takes its place as parent. */
function whenOrphaned(then: () => void): void {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    then();
  }, 500);
  watch.unref();
}
