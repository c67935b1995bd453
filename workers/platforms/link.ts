import { asOwner, connected } from '../../functions/connection.ts';
import { openPlatforms, type Platforms } from '../../functions/platforms.ts';
import { openSealing } from '../../functions/sealing.ts';
import { openStorage } from '../../functions/storage.ts';
import type { Work } from '../task.ts';
import type { Adapter, Link } from './adapter.ts';
import { adapters } from './adapters.ts';

/** An integration that is in use: how its platform is spoken to, and with what. */
export type Linked = { adapter: Adapter; link: Link; isPolled: boolean };

/** Does something with the section `platforms`, on a connection of its own. */
export function withPlatforms<Result>(
  { databaseUrl }: Pick<Work, 'databaseUrl'>,
  work: (platforms: Platforms) => Promise<Result>,
): Promise<Result> {
  return connected(asOwner(databaseUrl), (client) => work(openPlatforms(client)));
}

/**
 * @returns nothing where the integration is disconnected or gone.
 * @throws NoKey where its credentials cannot be decrypted here.
 */
export async function linkTo(
  platforms: Platforms,
  integration: string,
  { settings, signal }: Pick<Work, 'settings' | 'signal'>,
): Promise<Linked | undefined> {
  const held = await platforms.held(integration);
  const adapter = held && adapters.get(held.platform_id);
  if (!held || !adapter) return;
  const credentials = await (await openSealing(settings.credentialsKey)).open(held);
  const storage = openStorage(settings.fileStorage, settings);
  return {
    adapter,
    isPolled: held.is_polled,
    link: { credentials, settings, signal, open: (stored) => storage.get(stored, signal) },
  };
}
