import type { Cache } from '../functions/cache.ts';
import type { Answer, Asked } from './execute.ts';
import type { Operation } from './operations.ts';

// Clients choose them, and each choice is an entry.
const longestVariables = 500;

/** Carries an answer that is not to be kept past the cache. */
class NotKept extends Error {
  readonly answer: Answer;

  constructor(answer: Answer) {
    super('not kept');
    this.answer = answer;
  }
}

export type Answers = ReturnType<typeof openAnswers>;

/**
 * Answers that are the same for every caller without a token, until an event of the topics that the comments on their functions name
 * (`@keptUntil`). For everyone else Postgres has to say whether their session holds, and may as well answer.
 *
 * @param cache in the memory of this process: docs/decisions/0014 has the figures.
 * @param isCurrent whether the event log is being read: what it would empty is not used while it is not.
 */
export function openAnswers(cache: Cache, isCurrent: () => boolean) {
  const topicsInUse = new Set<string>();

  async function recall(
    { hash, keptUntil }: Operation,
    variables: Record<string, unknown>,
    asked: Asked,
    execute: (asked: Asked) => Promise<Answer>,
  ): Promise<Answer> {
    if (asked.caller.role !== 'anonymous' || keptUntil.length === 0 || !isCurrent()) return execute(asked);
    const given = JSON.stringify(variables);
    if (given.length > longestVariables) return execute(asked);
    for (const topic of keptUntil) topicsInUse.add(topic);
    try {
      const kept = await cache.remember('featureFlags', `${hash} ${given}`, async () => {
        // Others may wait for it: it does not end with the connection of who was first.
        const answer = await execute({ ...asked, signal: new AbortController().signal });
        if (answer.errors || answer.data === null) throw new NotKept(answer);
        return `${answer.rows} ${answer.data}`;
      });
      const end = kept.indexOf(' ');
      return { data: kept.slice(end + 1), rows: Number(kept.slice(0, end)) };
    } catch (error) {
      if (error instanceof NotKept) return error.answer;
      throw error;
    }
  }

  return {
    recall,
    /** To be called with the topics of what has happened, before anyone is told of it. */
    happened(events: { topic: string }[]): void {
      if (events.some(({ topic }) => topicsInUse.has(topic))) void cache.empty('featureFlags');
    },
    /** To be called when the API has changed. */
    changed: () => void cache.empty('featureFlags'),
  };
}
