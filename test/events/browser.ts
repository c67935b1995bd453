import { execFileSync } from 'node:child_process';
import { type Browser, chromium } from 'playwright-core';
import type { Test } from 'tap';

/** Chromium, where the machine has it: as Debian packages it, or where CHROMIUM says. It ends with the test. */
export async function openBrowser(t: Test): Promise<Browser> {
  const find = () => execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser']).toString().trim();
  const executablePath = process.env.CHROMIUM || find();
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  t.teardown(() => browser.close());
  return browser;
}
