import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import { isPassing } from '../functions/requests.ts';
import { openTurns } from '../functions/turns.ts';
import { tellError } from './errors.ts';
import type { Asked, Engine } from './execute.ts';
import { failed, isRefusal, type Rendered, render, type Sent } from './render.ts';
import type { Numbered } from './replay.ts';
import {
  type Group,
  type Shared,
  type Subscriber,
  type SubscriptionLimits,
  type Together,
  togetherKey,
} from './subscriber.ts';

const mostPending = 1000;
// What may wait for all clients together, in bytes: each may have its share of it.
const mostTogether = 512 * 1024 * 1024;
const leastShare = 32 * 1024;
// After so many the rest of the process gets its turn: requests, and what the sockets have to say about what was written.
const sendingsATurn = 1000;

/**
 * Renders events for groups of subscribers, and sends them what came of it.
 *
 * @param count how many subscribers there are in all.
 * @param boundary settled when everything is handed on that was committed before it was called.
 * @param end ends one of them, with errors.
 */
export function openDelivery(
  engine: () => Engine,
  limits: SubscriptionLimits,
  count: () => number,
  boundary: () => Promise<void>,
  end: (subscriber: Subscriber, errors: GraphQLFormattedError[]) => void,
  told?: (user: string) => void,
) {
  const { take: takeTurn } = openTurns(Math.ceil(limits.poolSize / 2));
  const totals = { deliveries: 0, cutOff: 0 };
  // Of all groups together: many may be sent what was rendered once.
  let sendings = 0;
  let turn: Promise<void> | undefined;

  /** Whom a batch is for is told by its number: a list of them for each event would fill the memory. */
  async function deliver(group: Group, events: Numbered[], number: number, shared: Shared): Promise<void> {
    const isFor = ({ first, last, state }: Subscriber): boolean =>
      first < number && number <= last && state !== 'ended';
    const texts = await textsOf(group, events, isFor, shared);
    for (const numbered of events) {
      const sent = texts.get(numbered);
      if (!sent) continue;
      for (const subscriber of group.members) {
        while (sendings >= sendingsATurn) await nextOfAll();
        if (!isFor(subscriber) || !subscriber.topics.includes(numbered.event.topic)) continue;
        if (subscriber.state === 'replaying') keep(subscriber, sent);
        else send(subscriber, sent);
        sendings += 1;
      }
      await paced(group.members);
    }
  }

  function nextOfAll(): Promise<void> {
    turn ??= nextTurn().then(() => {
      sendings = 0;
      turn = undefined;
    });
    return turn;
  }

  /** What other groups are sent too is rendered once for all of them; the rest, and what that fails at, for this one. */
  async function textsOf(
    group: Group,
    events: Numbered[],
    isFor: (subscriber: Subscriber) => boolean,
    shared: Shared,
  ): Promise<Rendered> {
    const { shares } = group;
    if (!shares || shared.size === 0) return renderForAll(group, events, isFor);
    const texts: Rendered = new Map();
    const alone = new Set(events);
    const topics = new Set(events.map(({ event }) => event.topic));
    await Promise.all(
      Array.from(topics, async (topic) => {
        const together = shared.get(togetherKey(topic, shares));
        const found = together && (await renderTogether(group, topic, together, isFor));
        // Whose right is asked anew is shown what they themselves may see.
        if (!found || isAnyStale(group)) return;
        for (const [numbered, sent] of found) texts.set(numbered, sent);
        for (const numbered of together.events) alone.delete(numbered);
      }),
    );
    if (alone.size === 0) return texts;
    const rest = events.filter((numbered) => alone.has(numbered));
    for (const [numbered, sent] of await renderForAll(group, rest, isFor)) texts.set(numbered, sent);
    return texts;
  }

  function isAnyStale({ members }: Group): boolean {
    for (const { stale } of members) if (stale) return true;
    return false;
  }

  /** Whoever comes first renders as one of theirs; where that fails, everyone tries for themselves. */
  function renderTogether(
    group: Group,
    topic: string,
    together: Together,
    isFor: (subscriber: Subscriber) => boolean,
  ): Promise<Rendered | undefined> | undefined {
    if (together.texts) return together.texts;
    const asked = speakerOf(group, isFor)?.wanted.asked;
    if (!asked) return undefined;
    const work = () => render(engine(), group, together.events, asked, limits.maxEventBytes, topic);
    // It may tell of what was committed after someone's right had ended: until the log was read on, that is not known.
    together.texts = inTurn(asked, work).then(
      (texts) => boundary().then(() => texts),
      () => undefined,
    );
    return together.texts;
  }

  /** Where clients as a whole are slower than events come, what they have not taken waits in the log, not in memory. */
  async function paced(members: Set<Subscriber>): Promise<void> {
    const isBehind = (): boolean => {
      let together = 0;
      for (const { listener } of members) together += listener.backlog();
      return together > mostTogether / 8;
    };
    for (let waited = 0; members.size > 100 && waited < 1000 && isBehind(); waited += 10) await sleep(10);
  }

  function keep(subscriber: Subscriber, sent: Sent): void {
    const isRoom =
      subscriber.pending.length === 0 ||
      (subscriber.pending.length < mostPending && subscriber.pendingSize + sent.text.length <= limits.maxBacklogBytes);
    if (!isRoom) {
      // What it could not hold is read from the log again.
      subscriber.stale = true;
      subscriber.pending = [];
      return;
    }
    subscriber.pending.push(sent);
    subscriber.pendingSize += sent.text.length;
  }

  function send(subscriber: Subscriber, sent: Sent): void {
    const { listener } = subscriber;
    if (subscriber.state === 'ended') return;
    // Before they can ask about it.
    told?.(subscriber.user);
    listener.next(sent);
    totals.deliveries += 1;
    const share = Math.max(leastShare, mostTogether / count());
    if (listener.backlog() <= Math.min(limits.maxBacklogBytes, share)) return;
    totals.cutOff += 1;
    const message = 'You read more slowly than events come. Subscribe again after this cursor.';
    const extensions = { code: 'TOO_SLOW', ...(sent.cursor && { cursor: sent.cursor }) };
    end(subscriber, [new GraphQLError(message, { extensions }).toJSON()]);
  }

  /** All listeners share some connections: who asks for much leaves room for the others. */
  async function inTurn<Result>({ caller }: Asked, work: () => Promise<Result>): Promise<Result> {
    const endTurn = await takeTurn(caller.claims.sub ?? '');
    try {
      return await work();
    } finally {
      endTurn();
    }
  }

  function renderInTurn(group: Group, events: Numbered[], asked: Asked): Promise<Rendered> {
    return inTurn(asked, () => render(engine(), group, events, asked, limits.maxEventBytes));
  }

  /** Renders as one of those it is for; as the next where the first has lost the right, and is told so. */
  async function renderForAll(
    group: Group,
    events: Numbered[],
    isFor: (subscriber: Subscriber) => boolean,
  ): Promise<Rendered> {
    for (let wait = 50; ; wait = Math.min(wait * 2, 1000)) {
      const speaker = speakerOf(group, isFor);
      if (!speaker) return new Map();
      const { asked } = speaker.wanted;
      try {
        return await renderInTurn(group, events, asked);
      } catch (error) {
        if (isPassing(error)) {
          await sleep(wait);
          continue;
        }
        const errors = [tellError(error, engine(), asked.id)];
        if (!isRefusal(error)) return failed(events, errors);
        end(speaker, errors);
      }
    }
  }

  function speakerOf({ members }: Group, isFit: (subscriber: Subscriber) => boolean): Subscriber | undefined {
    let second: Subscriber | undefined;
    for (const member of members) {
      if (!isFit(member)) continue;
      if (!member.stale) return member;
      second ??= member;
    }
    return second;
  }

  return { deliver, send, inTurn, render: renderInTurn, totals: () => totals };
}
