import { z } from 'zod';
import { type NotFetched, openCommerce, type Page, type Step, type Usage } from '../../functions/commerce.ts';
import { asOwner, connected } from '../../functions/connection.ts';
import { openPlatforms, type Platforms } from '../../functions/platforms.ts';
import { patiences, waitBefore } from '../../functions/policies.ts';
import { isPassing } from '../../functions/requests.ts';
import type { Task, Work } from '../task.ts';
import { Refused } from './adapter.ts';
import { openLink } from './link.ts';
import type { Shop } from './shop.ts';
import { openAsk, waitFor } from './shop-api.ts';
import { shops } from './shops.ts';

// Less than the timeout of the task: it asks for another that goes on.
const worksFor = 9 * 60_000;
// For a turn that is later, in seconds, another job waits.
const longestTurn = 10;
const payload = z.strictObject({ run: z.uuid() });

type Commerce = ReturnType<typeof openCommerce>;

/**
 * Fetches what a shop sells, has and was ordered, page by page, from where its run was left. Runs of one integration never overlap. What
 * fails is tried again by another job, as the policy `api` says, so that nobody waits here.
 */
export const syncShopTask: Task<z.output<typeof payload>> = {
  name: 'sync_shop',
  payload,
  run: ({ run }, work) =>
    connected(asOwner(work.databaseUrl), async (client) => {
      const commerce = openCommerce(client);
      const platforms = openPlatforms(client);
      const until = Date.now() + worksFor;
      let step = await commerce.open(run);
      let pages = 0;
      if (!step) return { skipped: true };
      for (; step; pages += 1) {
        work.signal.throwIfAborted();
        if (Date.now() > until) {
          await commerce.goOn(step);
          break;
        }
        work.progress(step.share, step.stream);
        step = await walkOn(step, { commerce, platforms, work });
      }
      return { pages };
    }),
};

/** Fetches a page and stores it; gives what is next. */
async function walkOn(
  step: Step,
  { commerce, platforms, work }: { commerce: Commerce; platforms: Platforms; work: Work },
): Promise<Step | undefined> {
  const { integration } = step;
  // For each page: credentials may be replaced, or taken back, at any time.
  const opened = await openLink(platforms, integration, work);
  const shop = opened && shops.get(opened.platform);
  if (!opened || !shop) {
    const none = { problem: 'There is no way to this platform.', retryIn: null, isPutOff: false, ends: true };
    return commerce.notFetched(step, none, { calls: 0, took: 0 });
  }
  const { ask, usage } = openAsk({
    name: shop.name,
    ...opened.link,
    turn: async () => {
      const { wait, at } = await commerce.turn(integration, longestTurn);
      if (wait > longestTurn) throw new Refused(`${shop.name} asked to wait.`, { retryAfter: wait });
      await waitFor(wait, work.signal);
      return at;
    },
  });
  let page: Page;
  try {
    page = await pageOf(shop, step, { ...opened.link, ask }, commerce);
  } catch (error) {
    // Stopped, or the database was lost: the run is taken up again where it is.
    if (work.signal.aborted || isPassing(error)) throw error;
    return noteFailed(step, error as Error, usage(), { commerce, platforms, work });
  }
  return commerce.store(step, { ...page, ...usage() });
}

function pageOf(
  shop: Shop,
  { stream, at, mark, integration }: Step,
  link: Parameters<Shop['page']>[2],
  commerce: Commerce,
): Promise<Page> {
  return shop.page(stream, at, link, {
    mark,
    variants: (after, most) => commerce.variants(integration, after, most),
    openOrders: (scheme, after, most) => commerce.openOrders(integration, scheme, after, most),
  });
}

async function noteFailed(
  step: Step,
  error: Error,
  usage: Usage,
  { commerce, platforms, work }: { commerce: Commerce; platforms: Platforms; work: Work },
): Promise<Step | undefined> {
  const refused = error instanceof Refused ? error : undefined;
  const isPutOff = refused?.retryAfter !== undefined;
  const mayRetry = !refused?.isFinal && (isPutOff || step.tries < patiences.api.tries);
  const retryIn = mayRetry ? (refused?.retryAfter ?? waitBefore(step.tries, patiences.api) / 1000) : null;
  const { integration, stream, tries } = step;
  work.log.warn({ integration, stream, tries, retryIn, error: error.message }, 'a shop could not be fetched');
  const failed: NotFetched = { problem: error.message, retryIn, isPutOff, ends: refused?.isOfCredentials ?? false };
  const next = await commerce.notFetched(step, failed, usage);
  if (refused?.isOfCredentials) await platforms.checked(integration, { problem: error.message });
  return next;
}
