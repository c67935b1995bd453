import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { GraphQLError, type GraphQLFormattedError, type VariableValues } from 'graphql';
import type { Batch, LogFollower, LoggedEvent, Restored } from '../functions/event-log.ts';
import { openTurns } from '../functions/turns.ts';
import type { CompiledSubscription } from './compile-subscription.ts';
import { tellError } from './errors.ts';
import { type Asked, callOf, type Engine } from './execute.ts';
import type { Operation } from './operations.ts';
import { failed, isRefusal, isTransient, piecesOf, type Rendered, render, type Sent } from './render.ts';
import { cursorWithin, expired, missedSince, type Numbered } from './replay.ts';

/** The client's side of a subscription. */
export type Listener = {
  next(sent: Sent): void;
  /** The last word: errors, or none where the server has nothing more to say. */
  end(errors?: GraphQLFormattedError[]): void;
  /** How many bytes wait to be taken by the client. */
  backlog(): number;
};

export type SubscriptionLimits = {
  poolSize: number;
  maxSubscriptionsPerUser: number;
  maxBacklogBytes: number;
  maxEventBytes: number;
};

/** What is asked for; `open` is called again when the API has changed. @throws GraphQLErrors */
type Wanted = {
  open(): Operation;
  variables: Record<string, unknown>;
  asked: Asked;
  after?: string | undefined;
};

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

type Subscriber = {
  wanted: Wanted;
  listener: Listener;
  user: string;
  /**
   * `leaving`: is sent what was handed on before, and then starts again; `replaying`: what comes waits in `pending` while it is sent what
   * it had missed.
   */
  state: 'new' | 'leaving' | 'replaying' | 'live' | 'ended';
  /** Where it starts from. */
  cursor: string | undefined;
  topics: string[];
  group?: Group;
  /** The numbers of the batches that are for it: after the first, up to the last. */
  first: number;
  last: number;
  pending: Sent[];
  /** How many characters wait in `pending`. */
  pendingSize: number;
  /** Has to start again: its right has to be asked anew, or it was left behind. */
  stale: boolean;
  /** Where everyone's right had to be asked again since it asked for its own; what it may listen to is not known before it joins. */
  rechecked: Set<string>;
};

/** Subscribers who are sent the same texts for the same events: one statement serves them all. */
type Group = {
  key: string;
  compiled: CompiledSubscription;
  values: VariableValues;
  members: Set<Subscriber>;
  /** Its batches, one after another. */
  tail: Promise<void>;
  waiting: number;
};

const mostPending = 1000;
// They are kept for as long as the subscription lasts. 500 ids are 20,000 characters.
const longestVariables = 65_536;
const mostWaiting = 20_000;
// What may wait for all clients together, in bytes: each may have its share of it.
const mostTogether = 512 * 1024 * 1024;
const leastShare = 32 * 1024;
// After so many the rest of the process gets its turn: requests, and what the sockets have to say about what was written.
const sendingsATurn = 1000;
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
  const { take: takeTurn } = openTurns(Math.ceil(limits.poolSize / 2));
  const byTopic = new Map<string, Set<Subscriber>>();
  const byUser = new Map<string, Set<Subscriber>>();
  const groups = new Map<string, Group>();
  let batches = 0;
  const totals = { events: 0, deliveries: 0, cutOff: 0 };
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
      const { errorCodes, unforeseen } = engine();
      const { id } = subscriber.wanted.asked;
      const list = Array.isArray(error) ? error : [error];
      end(
        subscriber,
        list.map((each) => tellError(each, errorCodes, id, unforeseen)),
      );
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
          const texts = await patiently(subscriber, () => renderInTurn(subscriber.group as Group, some, asked));
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
    const key = JSON.stringify([
      name,
      role,
      compiled.personal ? subscriber.user : '',
      // The same right: what one of them may see of an event, the others may.
      ...callOf(compiled.listen, values).values,
      ...callOf(compiled.selection, values).values,
    ]);
    const group = groups.get(key) ?? {
      ...{ key, compiled, values, members: new Set(), tail: Promise.resolve(), waiting: 0 },
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
        if (!isTransient(error) || subscriber.state === 'ended') throw error;
        await sleep(wait);
      }
    }
  }

  function patientLog(subscriber: Subscriber): Pick<LogFollower, 'seqsAt' | 'missed'> {
    return {
      seqsAt: (...given) => patiently(subscriber, () => log().seqsAt(...given)),
      missed: (...given) => patiently(subscriber, () => log().missed(...given)),
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
    totals.events += events.length;
    const work = new Map<Group, Numbered[]>();
    for (const numbered of events) {
      const listening = new Set<Group>();
      for (const { group } of byTopic.get(numbered.event.topic) ?? []) if (group) listening.add(group);
      for (const group of listening) {
        const list = work.get(group);
        if (list) list.push(numbered);
        else work.set(group, [numbered]);
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
        .then(() => deliver(group, list, number))
        .finally(() => {
          group.waiting -= list.length;
        });
    }
  }

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
    const share = Math.max(leastShare, mostTogether / all.size);
    if (listener.backlog() <= Math.min(limits.maxBacklogBytes, share)) return;
    totals.cutOff += 1;
    const message = 'You read more slowly than events come. Subscribe again after this cursor.';
    const extensions = { code: 'TOO_SLOW', ...(sent.cursor && { cursor: sent.cursor }) };
    end(subscriber, [new GraphQLError(message, { extensions }).toJSON()]);
  }

  /** All listeners share some connections: who asks for much leaves room for the others. */
  async function renderInTurn(group: Group, events: Numbered[], asked: Asked): Promise<Rendered> {
    const endTurn = await takeTurn(asked.caller.claims.sub ?? '');
    try {
      return await render(engine(), group, events, asked, limits.maxEventBytes);
    } finally {
      endTurn();
    }
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
        if (isTransient(error)) {
          await sleep(wait);
          continue;
        }
        const { errorCodes, unforeseen } = engine();
        const errors = [tellError(error, errorCodes, asked.id, unforeseen)];
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

  return {
    subscribe,
    take,
    changed: () => {
      for (const subscriber of all) restart(subscriber);
    },
    count: () => all.size,
    totals: () => totals,
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
