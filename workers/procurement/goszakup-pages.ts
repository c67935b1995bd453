import { secondsToWait, textOf } from '../../functions/http-answer.ts';
import type { Log } from '../../functions/log.ts';
import { openPace } from '../../functions/pace.ts';
import { openPolicies } from '../../functions/policies.ts';
import { Refusal } from '../../functions/refusal.ts';

/** A page of a register: its items, how many the register has, and what to name for the page after it; nothing after the last. */
type Page = { items: unknown[]; total: number; next: string | undefined };

export type Service = {
  /** @param after what the page before the first one said comes after it; to go on where it was stopped. */
  readPages(path: string, after?: string): AsyncGenerator<Page>;
};

// What the service allows is not documented: as much as bothers nobody.
const pace = { most: 5, within: 1000 };
const answersWithin = 60_000;
const mostBytes = 64 * 1024 * 1024;
const perPage = 500;

/**
 * Opens the unified services: registers are read page by page, in their order, which is the newest first. What fails is asked again
 * (policy `api`), and all as slowly as the service wishes (Retry-After).
 *
 * @throws Refusal where the token is not taken, or a register does not go on.
 */
export function openGoszakup({
  address,
  token,
  log,
  signal,
}: {
  address: string;
  token: string;
  log: Pick<Log, 'warn'>;
  signal?: AbortSignal;
}): Service {
  const policies = openPolicies(log);
  const { run, hold } = openPace(pace);
  return {
    async *readPages(path, after) {
      let place = after;
      do {
        const url = new URL(path, address);
        url.searchParams.set('limit', `${perPage}`);
        // Built anew, not followed: some registers name a next page without their version, and the token goes nowhere else.
        if (place !== undefined) {
          url.searchParams.set('page', 'next');
          url.searchParams.set('search_after', place);
        }
        const page = await policies.api(
          `goszakup ${path}`,
          (stopped) => run(() => readPage(url, token, stopped, hold), stopped),
          signal,
        );
        if (page.next !== undefined && page.next === place) {
          throw new Refusal(`${path} gives the same page again after ${place}.`, {
            remedy: 'Run it again later to go on.',
          });
        }
        yield page;
        place = page.next;
      } while (place !== undefined);
    },
  };
}

async function readPage(
  url: URL,
  token: string,
  signal: AbortSignal,
  hold: (milliseconds: number) => void,
): Promise<Page> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answersWithin)]);
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
    redirect: 'error',
    signal: patience,
  });
  if (response.status === 401 || response.status === 403) {
    await response.body?.cancel();
    throw Object.assign(
      new Refusal(`The service does not take the token (${response.status}).`, {
        remedy: 'Set GOSZAKUP_TOKEN; a token is good for a year, and is renewed in the profile at goszakup.gov.kz.',
      }),
      { permanent: true },
    );
  }
  if (!response.ok) {
    await response.body?.cancel();
    const seconds = secondsToWait(response.headers.get('retry-after'));
    if (seconds) hold(Math.min(seconds, 300) * 1000);
    const isOver = response.status < 500 && response.status !== 429 && response.status !== 408;
    throw Object.assign(new Error(`${url.pathname} answered ${response.status}.`), { permanent: isOver });
  }
  const { items, total, next_page } = JSON.parse(await textOf(response, mostBytes)) as Record<string, unknown>;
  if (!Array.isArray(items)) throw new Error(`${url.pathname} gave no items.`);
  const next = typeof next_page === 'string' && next_page ? searchAfter(next_page, url) : undefined;
  return { items, total: Number(total) || 0, next: items.length === 0 ? undefined : next };
}

function searchAfter(nextPage: string, url: URL): string {
  const place = new URL(nextPage, url).searchParams.get('search_after');
  if (!place || place.length > 100) throw new Error(`${url.pathname} names no place for the next page.`);
  return place;
}
