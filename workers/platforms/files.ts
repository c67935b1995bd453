import { z } from 'zod';
import { NotTaken, takeIn } from '../../functions/intake.ts';
import type { Platforms, RemoteFile, Wanted } from '../../functions/platforms.ts';
import { patiences, waitBefore } from '../../functions/policies.ts';
import { isRefusal } from '../../functions/refusal.ts';
import { isPassing } from '../../functions/requests.ts';
import { openStorage } from '../../functions/storage.ts';
import type { Task, Work } from '../task.ts';
import { Refused } from './adapter.ts';
import { type Linked, linkTo, withPlatforms } from './link.ts';

const payload = z.strictObject({ conversation: z.uuid() });
// In milliseconds: how long a file may take, less than the timeout of the task, and how long its next bytes.
const longest = 5 * 60_000;
const patience = 30_000;
// Media can be had for days: a platform that is down for an hour loses none.
const waits = { ...patiences.api, longestWait: 3_600_000 };
const storageWait = 60;

/**
 * Fetches the files of what was said in a conversation into our storage, until none waits. Runs of one conversation never overlap; a
 * file that a worker had in hand when it died is fetched again, and what that one wrote is cleaned away.
 */
export const fetchFilesTask: Task<z.output<typeof payload>> = {
  name: 'fetch_files',
  payload,
  run: ({ conversation }, work) =>
    withPlatforms(work, async (platforms) => {
      const integration = await platforms.integrationOf(conversation);
      if (!integration) return { fetched: 0 };
      // Before anything is claimed: what cannot be decrypted here was not tried.
      const linked = await linkTo(platforms, integration, work);
      let [fetched, failed] = [0, 0];
      for (;;) {
        work.signal.throwIfAborted();
        const next = await platforms.claimFile(conversation);
        if (!next) return { fetched, failed };
        if ('wait' in next) {
          await platforms.askToFetch(conversation, next.wait);
          return { fetched, failed, waits: next.wait };
        }
        if (await fetchFile(platforms, next, linked, work)) fetched += 1;
        else failed += 1;
      }
    }),
};

async function fetchFile(
  platforms: Platforms,
  wanted: Wanted,
  linked: Linked | undefined,
  work: Work,
): Promise<boolean> {
  const signal = AbortSignal.any([work.signal, AbortSignal.timeout(longest)]);
  try {
    if (!linked?.adapter.fetch) throw new Refused('There is no way to this platform.', { isFinal: true });
    const { from, name } = await linked.adapter.fetch(wanted.file, { ...linked.link, signal });
    const storage = openStorage(work.settings.fileStorage, work.settings);
    const taken = await takeIn(storage, wanted.stored, from, { most: wanted.most, patience, signal });
    return await platforms.fetched(wanted, nameOf(wanted.file, name, taken.mediaType), taken);
  } catch (error) {
    if (work.signal.aborted) {
      await platforms.notFetched(wanted, 'The worker was told to stop.', 0, true);
      throw error;
    }
    if (isPassing(error)) throw error;
    await noteFailed(platforms, wanted, error as Error, work);
    return false;
  }
}

async function noteFailed(platforms: Platforms, wanted: Wanted, error: Error, { log }: Pick<Work, 'log'>) {
  const { integration, tries, most_tries: mostTries } = wanted;
  const refused = error instanceof Refused ? error : undefined;
  const isOfStorage = error instanceof NotTaken && error.reason === 'storage';
  const putOff = isOfStorage ? storageWait : refused?.retryAfter;
  const mayRetry = putOff !== undefined || (!isFinal(error) && tries < mostTries);
  const retryIn = mayRetry ? (putOff ?? waitBefore(tries, waits) / 1000) : null;
  const problem = problemOf(error, wanted);
  log.warn({ integration, tries, retryIn, error: problem }, 'a file of a message was not fetched');
  await platforms.notFetched(wanted, problem, retryIn, putOff !== undefined);
  if (refused?.isOfCredentials) await platforms.checked(integration, { problem });
}

/** What no repetition mends. Credentials can be replaced; what Postgres refuses once (no quota is left) it refuses again. */
function isFinal(error: Error & { code?: string }): boolean {
  if (error instanceof Refused) return error.isFinal && !error.isOfCredentials;
  return (error instanceof NotTaken && error.reason === 'too large') || isRefusal(error.code);
}

/** What people read of it: no address, no token. */
function problemOf(error: Error & { code?: string }, { most }: Wanted): string {
  if (error instanceof NotTaken) {
    return error.reason === 'too large' ? `It has more than the ${most} bytes that may be kept.` : error.message;
  }
  return error instanceof Refused || error.code?.startsWith('PT') ? error.message : 'It could not be fetched.';
}

/** Of photos and voices platforms tell no name. */
function nameOf({ name, kind }: RemoteFile, said: string | undefined, mediaType: string): string {
  const ending = /^(?:(?:image|audio|video)\/|application\/(?=pdf$))(\w+)/.exec(mediaType)?.[1];
  return name ?? said ?? (ending ? `${kind}.${ending}` : kind);
}
