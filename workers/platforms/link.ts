import { asOwner, connected } from '../../functions/connection.ts';
import { openPlatforms, type Platforms } from '../../functions/platforms.ts';
import { openSealing } from '../../functions/sealing.ts';
import { openStorage } from '../../functions/storage.ts';
import type { Work } from '../task.ts';
import type { Adapter, Link } from './adapter.ts';
import { adapters } from './adapters.ts';

/** What an integration that is in use is spoken to with. */
export type Opened = { platform: string; link: Link; isPolled: boolean };

/** The same, where one chats there: and how. */
export type Linked = Opened & { adapter: Adapter };

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
export async function openLink(
  platforms: Platforms,
  integration: string,
  { settings, signal }: Pick<Work, 'settings' | 'signal'>,
): Promise<Opened | undefined> {
  const held = await platforms.held(integration);
  if (!held) return;
  const credentials = await (await openSealing(settings.credentialsKey)).open(held);
  const storage = openStorage(settings.fileStorage, settings);
  return {
    platform: held.platform_id,
    isPolled: held.is_polled,
    link: { credentials, settings, signal, open: (stored) => storage.get(stored, signal) },
  };
}

/** @returns nothing where the integration is disconnected or gone, or nobody chats there. @throws NoKey */
export async function linkTo(
  platforms: Platforms,
  integration: string,
  work: Pick<Work, 'settings' | 'signal'>,
): Promise<Linked | undefined> {
  const opened = await openLink(platforms, integration, work);
  const adapter = opened && adapters.get(opened.platform);
  return adapter && { ...opened, adapter };
}
