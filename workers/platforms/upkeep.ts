import { z } from 'zod';
import { asOwner, connected } from '../../functions/connection.ts';
import { openPlatforms } from '../../functions/platforms.ts';
import { openPolicies } from '../../functions/policies.ts';
import { NoKey, openSealing } from '../../functions/sealing.ts';
import type { Settings } from '../../functions/settings.ts';
import type { Task } from '../task.ts';
import { Refused } from './adapter.ts';
import { adapters } from './adapters.ts';
import { linkTo, type Opened, openLink, withPlatforms } from './link.ts';
import { openAsk } from './shop-api.ts';
import { shops } from './shops.ts';

const payload = z.strictObject({ integration: z.uuid() });
// Less than the timeout of the task: it ends by itself, and asks for the next.
const pollsFor = 9 * 60_000;
const resealedAtOnce = 100;

/** The address of an integration's webhook; undefined where nobody outside can reach us. */
function webhookOf({ publicUrl }: Pick<Settings, 'publicUrl'>, platform: string, integration: string) {
  return publicUrl && `${publicUrl.replace(/\/+$/, '')}/webhooks/${platform}/${integration}`;
}

/** Tries the credentials of an integration, and has its platform call our webhook. */
export const checkIntegrationTask: Task<z.output<typeof payload>> = {
  name: 'check_integration',
  payload,
  run: ({ integration }, work) =>
    withPlatforms(work, async (platforms) => {
      try {
        const opened = await openLink(platforms, integration, work);
        if (!opened) return { skipped: true };
        const { apiClient } = openPolicies(work.log);
        const found = await apiClient('an integration is checked', () =>
          once(() => check(opened, integration, work.settings)),
        );
        await platforms.checked(integration, found);
        return found;
      } catch (error) {
        if (!(error instanceof Refused || error instanceof NoKey)) throw error;
        // That it is asked too often says nothing of the credentials: the job is tried again later.
        if (error instanceof Refused && error.retryAfter !== undefined) throw error;
        await platforms.checked(integration, { problem: error.message });
        return { problem: error.message };
      }
    }),
};

function check({ platform, link, isPolled }: Opened, integration: string, settings: Settings) {
  const adapter = adapters.get(platform);
  const shop = shops.get(platform);
  if (isPolled && !adapter?.poll) throw new Refused('This platform cannot be polled.', { isFinal: true });
  if (adapter) return adapter.check(link, isPolled ? undefined : webhookOf(settings, platform, integration));
  if (shop) return shop.check({ ...link, ask: openAsk({ name: shop.name, ...link }).ask });
  throw new Refused('There is no way to this platform yet.', { isFinal: true });
}

/** What no repetition mends is not repeated. */
async function once<Value>(work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Refused && error.isFinal ? Object.assign(error, { permanent: true }) : error;
  }
}

/** Fetches what has come, where the platform cannot reach us. One at a time for an integration, on whatever machine. */
export const pollPlatformTask: Task<z.output<typeof payload>> = {
  name: 'poll_platform',
  payload,
  run: ({ integration }, work) =>
    connected(asOwner(work.databaseUrl), async (client) => {
      const platforms = openPlatforms(client);
      // Held by the connection: it is free as soon as this process is gone.
      if (!(await platforms.becomePoller(integration))) return { skipped: true };
      const until = Date.now() + pollsFor;
      let fetched = 0;
      while (Date.now() < until) {
        work.signal.throwIfAborted();
        const linked = await linkTo(platforms, integration, work);
        if (!linked?.isPolled || !linked.adapter.poll) return { fetched };
        let told: Awaited<ReturnType<typeof linked.adapter.poll>>;
        try {
          told = await linked.adapter.poll(linked.link, await platforms.lastTold(integration));
        } catch (error) {
          if (error instanceof Refused && error.isOfCredentials) {
            await platforms.checked(integration, { problem: error.message });
            return { fetched, problem: error.message };
          }
          throw error;
        }
        const fresh = told.length > 0 ? await platforms.receive(integration, told) : 0;
        if (fresh === null) return { fetched };
        fetched += fresh;
      }
      await platforms.pollAgain(integration);
      return { fetched };
    }),
};

/** Encrypts what older keys encrypt with the newest. Both decrypt meanwhile, so nothing has to stop. */
export const resealCredentialsTask: Task = {
  name: 'reseal_credentials',
  payload: z.looseObject({}),
  run: (_, work) =>
    withPlatforms(work, async (platforms) => {
      const sealing = await openSealing(work.settings.credentialsKey);
      const { keyId } = sealing;
      if (!keyId) return { skipped: true };
      let resealed = 0;
      const lost: string[] = [];
      for (;;) {
        const held = await platforms.toReseal(keyId, resealedAtOnce + lost.length);
        const others = held.filter(({ integration_id: id }) => !lost.includes(id));
        if (others.length === 0) break;
        for (const each of others) {
          work.signal.throwIfAborted();
          try {
            await platforms.resealed(each.integration_id, each, await sealing.reseal(each));
            resealed += 1;
          } catch (error) {
            if (!(error instanceof NoKey)) throw error;
            lost.push(each.integration_id);
          }
        }
      }
      if (lost.length > 0)
        work.log.warn({ integrations: lost }, 'credentials are encrypted with a key that is not set');
      return { resealed, lost: lost.length };
    }),
};
