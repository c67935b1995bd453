import { z } from 'zod';
import { openPolicies } from '../../functions/policies.ts';
import { isPassing } from '../../functions/requests.ts';
import type { Task, Work } from '../task.ts';
import type { Adapter, Update } from './adapter.ts';
import { intentsOf } from './intents.ts';
import { type Linked, linkTo, withPlatforms } from './link.ts';

const atOnce = 100;
const payload = z.strictObject({ integration: z.uuid() });

/** Applies what a platform has told, in the order in which it came, until nothing waits. Runs of one integration never overlap. */
export const applyInboundTask: Task<z.output<typeof payload>> = {
  name: 'apply_inbound',
  payload,
  run: ({ integration }, work) =>
    withPlatforms(work, async (platforms) => {
      await platforms.openInbox(integration);
      const linked = await linkTo(platforms, integration, work);
      if (!linked) return { skipped: true };
      let applied = 0;
      let setAside = 0;
      for (;;) {
        const waiting = await platforms.waiting(integration, atOnce);
        if (waiting.length === 0) return { applied, setAside };
        const read = waiting.map(({ id, body }) => ({ id, body, updates: readBy(linked.adapter, body) }));
        const readable = read.flatMap(({ updates }) => (updates instanceof Error ? [] : updates));
        const intents = await intentsOf(readable, linked.adapter.platform, work);
        for (const { id, body, updates } of read) {
          work.signal.throwIfAborted();
          try {
            if (updates instanceof Error) throw updates;
            const meant = updates.map((update) => ({ ...update, intent: intents.get(update) }));
            await platforms.apply(integration, id, meant);
            applied += 1;
            if (updates.some(({ kind }) => kind === 'press')) acknowledge(linked, body, work);
          } catch (error) {
            // Tried again by another run, where it lay with the database.
            if (isPassing(error)) throw error;
            work.log.warn({ integration, event: id, err: error }, 'what a platform told cannot be read');
            await platforms.setAside(id, (error as Error).message);
            setAside += 1;
          }
        }
      }
    }),
};

/** What it says, or why it cannot be read. */
function readBy(adapter: Adapter, body: unknown): Update[] | Error {
  try {
    return adapter.parse(body);
  } catch (error) {
    return error as Error;
  }
}

/** Not waited for: nothing depends on it. */
function acknowledge({ adapter, link }: Linked, body: unknown, { log, signal }: Work): void {
  const { optional } = openPolicies(log);
  void optional('a press is acknowledged', () => adapter.acknowledge?.(body, link), signal);
}
