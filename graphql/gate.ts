import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError } from 'graphql';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { Cache } from '../functions/cache.ts';
import { countTogether, type Rules, readRules } from '../functions/gate.ts';
import { type Limit, openRateLimits, type Standing } from '../functions/rate-limits.ts';
import { countedAddress } from './address.ts';
import type { Asked } from './execute.ts';
import type { Operation } from './operations.ts';

/** Turns requests away before they cost anything: during maintenance (C15), and who asks too often (F7). */
export type Gate = {
  /**
   * Counts a request, whatever is in it; and its operation, once that is known.
   *
   * @returns headers that tell of a limit of which half is used.
   * @throws GraphQLError with the code TOO_MANY_REQUESTS or MAINTENANCE, and the status and headers of its answer.
   */
  arrive(asked: Asked): Record<string, string>;
  /** Counts what `hasRoom` has let through, once it is known to be worth counting. */
  count(caller: Asked['caller']): void;
  /** Counts a document that is not known: to read it costs more than most that it asks for. */
  read(caller: Asked['caller']): Record<string, string>;
  /** Whether `arrive` would count it; to be asked before anything is read of a request that has not arrived. */
  hasRoom(caller: Asked['caller']): boolean;
  admit(asked: Asked, operation: Operation): Record<string, string>;
  /** To be called when the rules have changed; ends when it goes by the new ones. */
  changed(): Promise<void>;
  state(): { counted: number; refused: number };
  close(): void;
};

const retryAfterUnknown = 60;
const kinds = ['request', 'document', 'query', 'mutation', 'subscription'];
const none: Record<string, string> = {};

/**
 * Opens the gate. What it goes by are rows of the database (access.rate_limits, identity.maintenance), which says the same to whatever
 * gets past.
 *
 * @param processes how many servers there are: alone, one has nobody to share its counts with.
 * @param isField whether the API has a field of this name.
 * @param closed told when the roles that may read have changed.
 */
export async function openGate({
  pool,
  cache,
  processes,
  isField,
  closed,
  log,
}: {
  pool: pg.Pool;
  cache: Cache;
  processes: () => number;
  isField: (name: string) => boolean;
  closed: () => void;
  log: Logger;
}): Promise<Gate> {
  // What was told of, so that it is told of once as long as it stands.
  let inVain = new Set<string>();
  let rules = await read();
  let reading: Promise<void> | undefined;
  let again = false;
  let ended = false;
  const limits = openRateLimits(async (counts) => {
    if (cache.isShared) return cache.count('rateLimits', counts);
    if (processes() < 2 || counts.length === 0) return undefined;
    return countTogether(pool, counts);
  });

  async function read(): Promise<Rules & { at: number }> {
    const read = await readRules(pool);
    const before = inVain;
    inVain = new Set();
    for (const { subject, covers } of read.limits) {
      if (kinds.includes(covers) || isField(covers)) continue;
      inVain.add(`${subject} ${covers}`);
      if (before.has(`${subject} ${covers}`)) continue;
      log.warn({ subject, covers }, 'A rate limit covers nothing: the API has no such field (access.rate_limits).');
    }
    return { ...read, at: performance.now() };
  }

  /** Reads the rules, however long it takes; and once more where they may have changed meanwhile. */
  async function reload(): Promise<void> {
    do {
      again = false;
      try {
        const before = JSON.stringify(closedTo(rules));
        rules = await read();
        if (before !== JSON.stringify(closedTo(rules))) closed();
      } catch (error) {
        log.warn({ error: (error as Error).message }, 'The rules of who is let in cannot be read; trying again.');
        await sleep(200);
        again = true;
      }
    } while (again && !ended);
    reading = undefined;
  }

  function takingsOf({ role, claims }: Asked['caller'], timesOf: (covers: string) => number) {
    if (rules.limits.length === 0 || rules.unlimited.includes(role)) return [];
    const takings = [];
    for (const limit of rules.limits) {
      const times = timesOf(limit.covers);
      const who = limit.subject === 'user' ? claims.sub : claims.address;
      if (times > 0 && who) takings.push({ limit, who: limit.subject === 'user' ? who : countedAddress(who), times });
    }
    return takings;
  }

  function count(caller: Asked['caller'], timesOf: (covers: string) => number): Record<string, string> {
    const takings = takingsOf(caller, timesOf);
    if (takings.length === 0) return none;
    const standing = limits.take(takings);
    if (standing.isRefused) throw tooMany(standing);
    return standing.remaining < standing.limit.count / 2 ? headersOf(standing) : none;
  }

  const ofRequest = (covers: string): number => Number(covers === 'request');

  return {
    arrive: ({ caller }) => count(caller, ofRequest),
    count(caller) {
      const takings = takingsOf(caller, ofRequest);
      if (takings.length > 0) limits.take(takings);
    },
    read: (caller) => count(caller, (covers) => Number(covers === 'document')),
    hasRoom(caller) {
      const takings = takingsOf(caller, ofRequest);
      return takings.length === 0 || !limits.isFull(takings);
    },
    admit(asked, operation) {
      const { role } = asked.caller;
      const writes = operation.kind === 'mutation';
      for (const each of rules.closed) {
        if (each.role !== role || each.writes !== writes) continue;
        const left = each.endsIn === null ? retryAfterUnknown : each.endsIn - (performance.now() - rules.at) / 1000;
        if (left > 0) throw maintenance(each.message, left);
      }
      return count(asked.caller, (covers) => (covers === operation.kind ? 1 : (operation.fields.get(covers) ?? 0)));
    },
    changed() {
      again = true;
      reading ??= reload();
      return reading;
    },
    state: limits.state,
    close() {
      ended = true;
      limits.close();
    },
  };
}

function closedTo({ closed }: Rules): [string, boolean][] {
  return closed.map(({ role, writes }) => [role, writes]);
}

function nameOf({ subject, covers }: Limit): string {
  return `${subject}-${covers}`;
}

/** As the draft of the IETF on RateLimit header fields says. */
function headersOf({ limit, remaining, wait }: Standing): Record<string, string> {
  return {
    'ratelimit-policy': `"${nameOf(limit)}";q=${limit.count};w=${Math.round(limit.seconds)}`,
    ratelimit: `"${nameOf(limit)}";r=${remaining}${wait > 0 ? `;t=${wait}` : ''}`,
  };
}

function tooMany(standing: Standing): GraphQLError {
  const { limit, wait } = standing;
  const within = `${limit.count} in ${Math.round(limit.seconds)} s from one ${limit.subject}`;
  const message = `Too many requests (${limit.covers}: at most ${within}). Try again in ${wait} s.`;
  const headers = { 'retry-after': String(wait), ...headersOf(standing) };
  return new GraphQLError(message, {
    extensions: { code: 'TOO_MANY_REQUESTS', retryAfter: wait, http: { status: 429, headers } },
  });
}

function maintenance(message: string, left: number): GraphQLError {
  const wait = Math.max(1, Math.ceil(left));
  const http = { status: 503, headers: { 'retry-after': String(wait) } };
  return new GraphQLError(message, { extensions: { code: 'MAINTENANCE', retryAfter: wait, http } });
}
