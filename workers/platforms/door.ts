import type { openArrivals } from '../../functions/platforms.ts';
import { type Credentials, openSealing } from '../../functions/sealing.ts';
import type { Arrived } from './adapter.ts';
import { adapters } from './adapters.ts';

/** What is answered to a request at a webhook. */
type Answered = { status: number; body: string };

/** Takes what platforms tell: checks that it is theirs, stores it, and leaves the rest to a job. */
export type Door = (
  arrivals: ReturnType<typeof openArrivals>,
  platform: string,
  integration: string,
  arrived: Arrived,
) => Promise<Answered>;

const nothingHere: Answered = { status: 404, body: 'There is no such webhook.' };

const notConnected: Answered = { status: 503, body: 'This integration is not connected yet.' };

/** @param keys what credentials are encrypted with. */
export function openDoor(keys: Uint8Array[] | undefined): Door {
  const opening = openSealing(keys);

  return async (arrivals, platform, integration, arrived) => {
    const adapter = adapters.get(platform);
    const held = adapter && (await arrivals.held(integration));
    if (!adapter || held?.platform_id !== platform) return nothingHere;
    const credentials: Credentials = await (await opening).open(held);
    // The same as where there is none: which integrations there are is not for whoever guesses.
    if (!adapter.verify(arrived, credentials)) return nothingHere;
    const greeting = adapter.greet?.(arrived, credentials);
    if (greeting !== undefined) return { status: 200, body: greeting };
    if (arrived.method !== 'POST') return { status: 405, body: 'Send it by POST.' };
    let told: ReturnType<typeof adapter.receive>;
    try {
      told = adapter.receive(JSON.parse(arrived.body), credentials);
    } catch {
      return { status: 400, body: 'That is nothing that the platform sends.' };
    }
    // Platforms ask again.
    if ((await arrivals.receive(integration, told)) === null) return notConnected;
    return { status: 200, body: '' };
  };
}
