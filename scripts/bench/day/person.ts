import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../chaos/random.ts';
import { type Account, openAccount, type Positions, type Told } from './account.ts';
import { type Followed, openConnection } from './connection.ts';
import type { Clock } from './figures.ts';
import { ask, type Data, Refused } from './http.ts';
import {
  type Action,
  directShare,
  documents,
  emoji,
  idleTime,
  isLikely,
  newShare,
  pickAction,
  replyShare,
} from './model.ts';

/** What a person is made of. */
export type Person = { id: string; name: string; positions: Positions; rooms: string[]; contacts: string[] };

/** What all people of a day share. */
export type Day = {
  port: number;
  random: Random;
  clock: Clock;
  /** A token that holds for some minutes. */
  token(person: Person): Promise<string>;
  text(): string;
  word(): string;
  stranger(person: Person): string;
  /** The id of each message that the server has acknowledged, by its nonce. */
  acknowledged: Map<string, string>;
  /** Told of what must not be, in a sentence. */
  tell(what: string): void;
};

/** Someone who uses the messenger: a session of HTTP requests and a WebSocket. */
export type ActivePerson = Person & {
  /** Everything that became unread anywhere. */
  account: Account;
  /** Of the channel that is on the screen, and which that is. */
  watched(): { channelId: string; account: Account } | undefined;
  /** Lets what they are doing end, and does no more; they go on listening. */
  rest(): Promise<void>;
  leave(): Promise<void>;
};

type Message = { id: string; seq: string; replyToId: string | null; replyCount: string };
type Screen = { channelId: string; messages: Message[]; end: string | undefined; account: Account; followed: Followed };

const mostOffline = 2_000;
/** Tokens hold for 15 minutes: until then they have come back with a new one, as clients do. */
const longestConnected = 600_000;

/** Signs in, listens, and acts until they are to rest. */
export async function beActive(person: Person, day: Day): Promise<ActivePerson> {
  const { random, clock, port } = day;
  const { positions } = person;
  const resting = new AbortController();
  const direct: string[] = [];
  let screen: Screen | undefined;
  let own: { id: string; text: string } | undefined;
  let sent = 0;
  let connectedAt = 0;
  let reopening: Promise<void> | undefined;

  async function request(name: string, query: string, variables: object): Promise<Data> {
    const token = await day.token(person);
    const began = performance.now();
    try {
      const data = await ask(port, token, query, variables);
      clock.took(name, performance.now() - began);
      return data;
    } catch (error) {
      clock.failed(name, (error as Error).message);
      throw error;
    }
  }

  /** Something that moves the read position of a channel: without an answer nobody knows whether it has. */
  async function change(channelId: string, name: string, query: string, variables: object): Promise<Data> {
    try {
      return await request(name, query, variables);
    } catch (error) {
      if (!(error instanceof Refused)) positions.doubt(channelId);
      throw error;
    }
  }

  const connection = openConnection(
    port,
    () => day.token(person),
    (why) => {
      clock.failed('stream', why);
      reopening ??= comeBack(500).finally(() => {
        reopening = undefined;
      });
    },
  );

  async function comeBack(wait: number): Promise<void> {
    connection.drop();
    await sleep(wait);
    for (let tries = 1; ; tries += 1) {
      const began = performance.now();
      try {
        await connection.open();
        connectedAt = Date.now();
        clock.took('reconnect', performance.now() - began);
        return;
      } catch (error) {
        clock.failed('reconnect', (error as Error).message);
        if (tries === 20) return day.tell(`${person.name} could not connect: ${(error as Error).message}`);
        await sleep(1000);
      }
    }
  }

  function following(
    query: string,
    field: string,
    variables: Record<string, unknown>,
    after: string,
    account: Account,
  ) {
    const followed: Followed = {
      query,
      variables,
      after,
      next(data) {
        const { event, channel } = data[field] as { event: Told; channel?: { id: string } };
        followed.after = event.cursor;
        account.take(event);
        if (field !== 'userEvents') return;
        // What they missed while they were away is as old as that.
        const written = Date.parse(event.timestamp);
        if (written > connectedAt) clock.took('event', Math.max(0, Date.now() - written));
        // Someone has opened a chat with them.
        if (event.type === 'membership_joined' && channel && !direct.includes(channel.id)) direct.push(channel.id);
      },
    };
    connection.follow(followed);
    return followed;
  }

  async function show(channelId: string): Promise<void> {
    const { cursor, channel } = await request('switch channel', documents.page, { id: channelId });
    const seq = Number(channel.lastSeq);
    if (screen) connection.unfollow(screen.followed);
    const account = openAccount(`${person.name}'s screen`, new Map([[channelId, seq]]), day.tell);
    const followed = following(documents.watch, 'messageEvents', { id: channelId }, cursor, account);
    const { nodes, pageInfo } = channel.messages;
    screen = {
      channelId,
      messages: nodes,
      end: pageInfo.hasNextPage ? pageInfo.endCursor : undefined,
      account,
      followed,
    };
    await change(channelId, 'mark read', documents.markRead, { id: channelId, seq: channel.lastSeq });
    positions.read(channelId, seq);
  }

  const somewhere = (): string =>
    person.rooms.length === 0 || isLikely(random, directShare) ? random.pick(direct) : random.pick(person.rooms);

  const acts: Record<Action, () => Promise<void>> = {
    'switch channel': () => show(somewhere()),
    async scroll() {
      if (!screen?.end) return show(somewhere());
      const shown = screen;
      const { channel } = await request('scroll', documents.older, { id: shown.channelId, after: shown.end });
      shown.messages = channel.messages.nodes;
      shown.end = channel.messages.pageInfo.hasNextPage ? channel.messages.pageInfo.endCursor : undefined;
    },
    async 'unread check'() {
      await request('unread check', documents.unread, {});
    },
    async 'open direct chat'() {
      const userId = isLikely(random, newShare) ? day.stranger(person) : random.pick(person.contacts);
      const { openDirect } = await request('open direct chat', documents.openDirect, { userId });
      if (!direct.includes(openDirect.channel.id)) direct.push(openDirect.channel.id);
      if (!person.contacts.includes(userId)) person.contacts.push(userId);
      await show(openDirect.channel.id);
    },
    async 'send message'() {
      const channelId = somewhere();
      const nonce = `day-${person.id}-${++sent}`;
      const text = `${day.text()} #${nonce}`;
      const answers = screen?.channelId === channelId && screen.messages.length > 0 && isLikely(random, replyShare);
      const replyToId = answers ? random.pick(screen?.messages ?? []).id : null;
      const { sendMessage } = await change(channelId, 'send message', documents.send, {
        ...{ id: channelId, text, nonce, replyToId },
      });
      own = { id: sendMessage.message.id, text };
      day.acknowledged.set(nonce, own.id);
      positions.read(channelId, Number(sendMessage.message.seq));
    },
    async 'read thread'() {
      const messages = screen?.messages ?? [];
      const root = messages.find(({ replyToId, replyCount }) => replyToId || replyCount !== '0') ?? messages[0];
      if (!root) return;
      await request('read thread', documents.thread, { id: root.replyToId ?? root.id });
    },
    async reconnect() {
      reopening ??= comeBack(random.between(100, mostOffline)).finally(() => {
        reopening = undefined;
      });
      await reopening;
    },
    async 'add reaction'() {
      const message = screen?.messages.find(() => isLikely(random, 0.3)) ?? screen?.messages[0];
      if (!message) return;
      await request('add reaction', documents.react, { id: message.id, emoji: random.pick(emoji) });
    },
    async search() {
      await request('search', documents.search, { query: day.word() });
    },
    async 'edit message'() {
      if (!own) return;
      await request('edit message', documents.edit, { id: own.id, text: `Edited: ${own.text}` });
    },
  };

  const signIn = () => request('sign in', documents.state, {});
  const { cursor, myChannels } = await signIn().catch(signIn);
  if (myChannels.pageInfo.hasNextPage) throw new Error(`${person.name} is in too many channels.`);
  type Listed = { id: string; kind: string; lastSeq: string };
  const listed = myChannels.nodes as Listed[];
  direct.push(...listed.filter(({ kind }) => kind === 'DIRECT').map(({ id }) => id));
  const account = openAccount(person.name, new Map(listed.map(({ id, lastSeq }) => [id, Number(lastSeq)])), day.tell);
  following(documents.follow, 'userEvents', {}, cursor, account);
  await comeBack(0);

  async function live(): Promise<void> {
    // They did something before anyone looked.
    for (let wait = random.below(idleTime(random)); ; wait = idleTime(random)) {
      await sleep(wait, undefined, { signal: resting.signal }).catch(() => {});
      if (resting.signal.aborted) break;
      const action = Date.now() - connectedAt > longestConnected ? 'reconnect' : pickAction(random);
      // What fails is counted where it fails; people go on.
      await acts[action]().catch((error: Error) => {
        if (error instanceof TypeError) day.tell(`${person.name} could not ${action}: ${error.stack}`);
      });
    }
    await reopening;
  }
  const living = live();

  return {
    ...person,
    account,
    watched: () => screen,
    async rest() {
      resting.abort();
      await living;
    },
    leave: () => connection.close(),
  };
}
