import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError, type GraphQLFormattedError, type VariableValues } from 'graphql';
import type { LogFollower } from '../functions/event-log.ts';
import type { Batch, LoggedEvent, Restored } from '../functions/log-reader.ts';
import { isPassing } from '../functions/requests.ts';
import type { CompiledSubscription } from './compile-subscription.ts';
import { openDelivery } from './delivery.ts';
import { tellError } from './errors.ts';
import { callOf, type Engine } from './execute.ts';
import { piecesOf } from './render.ts';
import { cursorWithin, expired, missedSince, type Numbered } from './replay.ts';
import {
  type Group,
  type Listener,
  type Shared,
  type Subscriber,
  type SubscriptionLimits,
  togetherKey,
  type Wanted,
} from './subscriber.ts';

export type Subscriptions = {
  /** Begins a subscription; what is wrong with it is told to the listener. Gives what ends it. */
  subscribe(wanted: Wanted, listener: Listener): () => void;
  /** To be called with what the log follower hands on. */
  take(given: Batch | { signals: LoggedEvent[] } | Restored): void;
  /** To be called when the API has changed: everything is compiled anew. */
  changed(): void;
  count(): number;
  /** Since the process began: events that were read, texts that were sent, and clients who read too slowly. */
  totals(): { events: number; deliveries: number; cutOff: number };
  /** Forgets them all without a word: they come back, to another process. */
  close(): void;
};

// They are kept for as long as the subscription lasts. 500 ids are 20,000 characters.
const longestVariables = 65_536;
const mostWaiting = 20_000;
// Fewer groups render a topic with all else that they are sent: one statement each.
const leastTogether = 3;
const everyone = '00000000-0000-0000-0000-000000000000';

/**
 * Serves subscriptions from the log. docs/events.md tells how nothing is lost or repeated.
 *
 * @param told called with each user who is sent something.
 */
export function openSubscriptions(
  engine: () => Engine,
  log: () => Pick<LogFollower, 'atBoundary' | 'position' | 'seqsAt' | 'missed'>,
  limits: SubscriptionLimits,
  told?: (user: string) => void,
): Subscriptions {
  const all = new Set<Subscriber>();
  const joining = new Set<Subscriber>();
  const byTopic = new Map<string, Set<Subscriber>>();
  const byUser = new Map<string, Set<Subscriber>>();
  const groups = new Map<string, Group>();
  let batches = 0;
  let read = 0;
  const boundary = (): Promise<void> => new Promise((reached) => log().atBoundary(() => reached()));
  const delivery = openDelivery(engine, limits, () => all.size, boundary, end, told);
  const { send, inTurn } = delivery;
  // The last cursor handed on of a batch that came in parts and is not complete yet.
  let within: string | undefined;

  function subscribe(wanted: Wanted, listener: Listener): () => void {
    const user = wanted.asked.caller.claims.sub ?? '';
    const own = byUser.get(user)?.size ?? 0;
    if (user && own >= limits.maxSubscriptionsPerUser) {
      const extensions = { code: 'TOO_MANY_REQUESTS' };
      listener.end([new GraphQLError(`You have ${own} subscriptions already.`, { extensions }).toJSON()]);
      return () => {};
    }
    if (JSON.stringify(wanted.variables).length > longestVariables) {
      const message = `The variables of a subscription have at most ${longestVariables} characters.`;
      listener.end([new GraphQLError(message, { extensions: { code: 'LIMIT_EXCEEDED' } }).toJSON()]);
      return () => {};
    }
    const subscriber: Subscriber = {
      ...{ wanted, listener, user, state: 'new', cursor: wanted.after, topics: [] },
      ...{ first: 0, last: 0, pending: [], pendingSize: 0, stale: false, rechecked: new Set() },
    };
    all.add(subscriber);
    add(byUser, user, subscriber);
    void start(subscriber);
    return () => leave(subscriber);
  }

  function leave(subscriber: Subscriber): void {
    subscriber.state = 'ended';
    forget(subscriber);
    all.delete(subscriber);
    joining.delete(subscriber);
    remove(byUser, subscriber.user, subscriber);
  }

  function end(subscriber: Subscriber, errors?: GraphQLFormattedError[]): void {
    if (subscriber.state === 'ended') return;
    leave(subscriber);
    subscriber.listener.end(errors);
  }

  /** Takes it out of where events find it. */
  function forget(subscriber: Subscriber): void {
    for (const topic of subscriber.topics) remove(byTopic, topic, subscriber);
    subscriber.topics = [];
    const { group } = subscriber;
    group?.members.delete(subscriber);
    if (group?.members.size === 0 && groups.get(group.key) === group) groups.delete(group.key);
  }

  async function start(subscriber: Subscriber): Promise<void> {
    try {
      do {
        await subscriber.group?.tail;
        if (!all.has(subscriber)) return;
        subscriber.stale = false;
        subscriber.rechecked.clear();
        joining.add(subscriber);
        await begin(subscriber);
        if (subscriber.state === 'ended') return;
      } while (subscriber.stale);
      subscriber.state = 'live';
      for (const sent of subscriber.pending.splice(0)) send(subscriber, sent);
    } catch (error) {
      const { id } = subscriber.wanted.asked;
      const list = Array.isArray(error) ? error : [error];
      const told = list.map((each) => tellError(each, engine(), id));
      end(subscriber, told);
    }
  }

  /** Asks for the right, joins at a boundary of the log, and sends what was missed up to there. */
  async function begin(subscriber: Subscriber): Promise<void> {
    const { open, variables, asked } = subscriber.wanted;
    const operation = open();
    const values = operation.variables(variables);
    const compiled = operation.compiled(asked.caller.role, values).subscription;
    if (!compiled) throw new GraphQLError('Only a subscription can be listened to.');
    const [positions = []] = await patiently(subscriber, () =>
      engine().requests.run(asked.caller, [callOf(compiled.listen, values)], {
        readOnly: true,
        operation: operation.label,
      }),
    );
    const topics = positions.map(([topic]) => topic as string);
    const isIn = (): boolean => subscriber.state !== 'ended' && !subscriber.stale;
    const boundary = await new Promise<string>((reached) => {
      log().atBoundary((position) => {
        joining.delete(subscriber);
        if (topics.some((topic) => subscriber.rechecked.has(subjectOf(topic)))) subscriber.stale = true;
        if (isIn()) join(subscriber, topics, compiled, values);
        reached(position);
      });
    });
    const kept = positions.filter(([, seq]) => seq !== null) as [string, string][];
    const from = subscriber.cursor ?? compiled.after(values);
    if (isIn() && from !== undefined && kept.length > 0) {
      const places = { topics: kept.map(([topic]) => topic), counted: kept.map(([, seq]) => seq) };
      for await (const page of missedSince(patientLog(subscriber), places, from, boundary)) {
        for (const some of piecesOf(page, compiled)) {
          if (!isIn()) return;
          const texts = await patiently(subscriber, () => delivery.render(subscriber.group as Group, some, asked));
          for (const sent of texts.values()) send(subscriber, sent);
          subscriber.cursor = some.at(-1)?.cursor as string;
          while (isIn() && subscriber.listener.backlog() > limits.maxBacklogBytes / 4) await sleep(20);
        }
        if (!isIn()) return;
      }
    }
    if (isIn()) subscriber.cursor = boundary;
  }

  function join(
    subscriber: Subscriber,
    topics: string[],
    compiled: CompiledSubscription,
    values: VariableValues,
  ): void {
    forget(subscriber);
    Object.assign(subscriber, {
      topics,
      state: 'replaying',
      pending: [],
      pendingSize: 0,
      first: batches,
      last: Infinity,
    });
    for (const topic of topics) add(byTopic, topic, subscriber);
    const { name } = compiled.selection.statement;
    const { role } = subscriber.wanted.asked.caller;
    // The same right: what one of them may see of an event, the others may.
    const same = [
      ...[name, role, ...callOf(compiled.listen, values).values],
      ...callOf(compiled.selection, values).values,
    ];
    // Whoever listens to several topics has others than the next: theirs come in the order of the log, to them alone.
    const isAlone = compiled.personal || topics.length !== 1;
    const key = JSON.stringify([isAlone ? subscriber.user : topics[0], isAlone, ...same]);
    const shares = isAlone && !compiled.personal ? JSON.stringify(same) : undefined;
    const group = groups.get(key) ?? {
      ...{ key, shares, compiled, values, members: new Set(), tail: Promise.resolve(), waiting: 0 },
    };
    groups.set(key, group);
    group.members.add(subscriber);
    subscriber.group = group;
  }

  /** Tries again as long as it is only the connection that is lost: a client notices a pause, nothing else. */
  async function patiently<Result>(subscriber: Subscriber, attempt: () => Promise<Result>): Promise<Result> {
    for (let wait = 50; ; wait = Math.min(wait * 2, 1000)) {
      try {
        return await attempt();
      } catch (error) {
        if (!isPassing(error) || subscriber.state === 'ended') throw error;
        await sleep(wait);
      }
    }
  }

  function patientLog(subscriber: Subscriber): Pick<LogFollower, 'seqsAt' | 'missed'> {
    const { asked } = subscriber.wanted;
    return {
      seqsAt: (...given) => patiently(subscriber, () => inTurn(asked, () => log().seqsAt(...given))),
      missed: (...given) => patiently(subscriber, () => inTurn(asked, () => log().missed(...given))),
    };
  }

  function take(given: Batch | { signals: LoggedEvent[] } | Restored): void {
    if ('restored' in given) {
      within = undefined;
      for (const subscriber of [...all]) end(subscriber, [expired().toJSON()]);
      return;
    }
    if ('signals' in given) {
      spread(given.signals.map((event) => ({ event, cursor: null })));
      return;
    }
    const { since, until, events, rechecks, isLast } = given;
    // Rights first: who may have lost theirs is sent nothing of this batch before they were asked again.
    for (const { topic, rechecks: whose } of rechecks) {
      if (whose === everyone) restartAll(subjectOf(topic));
      else for (const subscriber of byUser.get(whose) ?? []) restart(subscriber);
    }
    const cursorOf = cursorWithin(since, until);
    spread(
      events.map((event, index) => ({
        event,
        cursor: isLast && index === events.length - 1 ? until : cursorOf(event),
      })),
    );
    within = isLast ? undefined : cursorOf(events.at(-1) as LoggedEvent);
  }

  /** Starts all again who listen to something of a subject: who may not read a channel may not see who is typing there either. */
  function restartAll(subject: string): void {
    for (const subscriber of joining) subscriber.rechecked.add(subject);
    for (const [topic, subscribers] of byTopic) {
      if (subjectOf(topic) === subject) for (const subscriber of subscribers) restart(subscriber);
    }
  }

  /** Starts a subscriber again from here: it is still sent what was handed on before. */
  function restart(subscriber: Subscriber): void {
    subscriber.stale = true;
    if (subscriber.state !== 'live') return;
    subscriber.state = 'leaving';
    subscriber.last = batches;
    subscriber.cursor = within ?? log().position();
    void start(subscriber);
  }

  /** Hands events to the groups that listen to them. */
  function spread(events: Numbered[]): void {
    read += events.length;
    const work = new Map<Group, Numbered[]>();
    const shared: Shared = new Map();
    for (const numbered of events) {
      const { topic } = numbered.event;
      const listening = new Set<Group>();
      const sharing = new Map<string, number>();
      for (const { group } of byTopic.get(topic) ?? []) if (group) listening.add(group);
      for (const group of listening) {
        const list = work.get(group);
        if (list) list.push(numbered);
        else work.set(group, [numbered]);
        if (group.shares) sharing.set(group.shares, (sharing.get(group.shares) ?? 0) + 1);
      }
      for (const [shares, count] of sharing) {
        if (count < leastTogether) continue;
        const key = togetherKey(topic, shares);
        const together = shared.get(key);
        if (together) together.events.push(numbered);
        else shared.set(key, { events: [numbered] });
      }
    }
    for (const [group, list] of work) {
      if (group.waiting + list.length <= mostWaiting) continue;
      // It is left behind: what it could not take is read from the log again, when it can.
      for (const member of group.members) restart(member);
      work.delete(group);
    }
    batches += 1;
    const number = batches;
    for (const [group, list] of work) {
      group.waiting += list.length;
      group.tail = group.tail
        .then(() => delivery.deliver(group, list, number, shared))
        .finally(() => {
          group.waiting -= list.length;
        });
    }
  }

  return {
    subscribe,
    take,
    changed: () => {
      for (const subscriber of all) restart(subscriber);
    },
    count: () => all.size,
    totals: () => ({ events: read, ...delivery.totals() }),
    close: () => {
      for (const subscriber of all) leave(subscriber);
    },
  };
}

/** What a topic is about: the id in `channel:<id>` and `typing:<id>`. */
function subjectOf(topic: string): string {
  return topic.slice(topic.indexOf(':') + 1);
}

function add(index: Map<string, Set<Subscriber>>, key: string, subscriber: Subscriber): void {
  const found = index.get(key);
  if (found) found.add(subscriber);
  else index.set(key, new Set([subscriber]));
}

function remove(index: Map<string, Set<Subscriber>>, key: string, subscriber: Subscriber): void {
  const found = index.get(key);
  found?.delete(subscriber);
  if (found?.size === 0) index.delete(key);
}
