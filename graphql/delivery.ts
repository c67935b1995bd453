import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError, type GraphQLFormattedError } from 'graphql';
import { isPassing } from '../functions/requests.ts';
import { openTurns } from '../functions/turns.ts';
import { tellError } from './errors.ts';
import type { Asked, Engine } from './execute.ts';
import { failed, isRefusal, type Rendered, render, type Sent } from './render.ts';
import type { Numbered } from './replay.ts';
import type { Group, Subscriber, SubscriptionLimits } from './subscriber.ts';

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
 * @param end ends one of them, with errors.
 */
export function openDelivery(
  engine: () => Engine,
  limits: SubscriptionLimits,
  count: () => number,
  end: (subscriber: Subscriber, errors: GraphQLFormattedError[]) => void,
  told?: (user: string) => void,
) {
  const { take: takeTurn } = openTurns(Math.ceil(limits.poolSize / 2));
  const totals = { deliveries: 0, cutOff: 0 };

  /** Whom a batch is for is told by its number: a list of them for each event would fill the memory. */
  async function deliver(group: Group, events: Numbered[], number: number): Promise<void> {
    const isFor = ({ first, last, state }: Subscriber): boolean =>
      first < number && number <= last && state !== 'ended';
    const texts = await renderForAll(group, events, isFor);
    let sendings = 0;
    for (const numbered of events) {
      const sent = texts.get(numbered);
      if (!sent) continue;
      for (const subscriber of group.members) {
        if (!isFor(subscriber) || !subscriber.topics.includes(numbered.event.topic)) continue;
        if (subscriber.state === 'replaying') keep(subscriber, sent);
        else send(subscriber, sent);
        sendings += 1;
        if (sendings % sendingsATurn === 0) await nextTurn();
      }
      await paced(group.members);
    }
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
