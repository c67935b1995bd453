import type pg from 'pg';
import { asOwner, openPool } from '../../functions/connection.ts';
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

// As many as the queues inbound and outbound run at once, and some for the rest. They are gone when nobody has used them for a while.
const connections = 20;
const pools = new Map<string, pg.Pool>();

/**
 * Does something with the section `platforms`, on a connection that is kept for the next: on a new one Postgres reads and plans each
 * function anew, which takes ten times as long as what they do.
 */
export async function withPlatforms<Result>(
  { databaseUrl }: Pick<Work, 'databaseUrl'>,
  work: (platforms: Platforms) => Promise<Result>,
): Promise<Result> {
  const known = pools.get(databaseUrl);
  const pool = known ?? openPool({ connectionString: asOwner(databaseUrl), max: connections, allowExitOnIdle: true });
  pools.set(databaseUrl, pool);
  const client = await pool.connect();
  let failed = true;
  try {
    const result = await work(openPlatforms(client));
    failed = false;
    return result;
  } finally {
    // Of one on which something failed nobody knows what state it is in.
    client.release(failed);
  }
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
