import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from './ask.ts';

/** A client that sends messages, each again and again until it is acknowledged. */
export type Writer = {
  name: string;
  /** When the request that was acknowledged last had begun. */
  newest(): number;
  close(): Promise<void>;
};

/** Messages that the API has said are sent: the id of each by its nonce. */
export type Acknowledged = Map<string, string>;

const mutation = `mutation Send($channelId: UUID!, $text: String!, $nonce: String!) {
  sendMessage(input: {channelId: $channelId, text: $text, nonce: $nonce}) { message { id text } }
}`;
const answersWithin = 5000;
const said = 'what is said here, over and over, ';
// Below the largest text, and copied by heavy subscribers below the largest event; soon more than sockets hold for who does not read.
const loud = said.repeat(260);

/**
 * Sends messages at a steady pace, one after another.
 *
 * @param every the time between two, in milliseconds; longer where the servers do not keep up.
 */
export function write(
  name: string,
  hub: {
    url(): string;
    channel(): string;
    isLoud(): boolean;
    token(): Promise<string>;
    fail(what: string): void;
    retried(why: string): void;
  },
  every: number,
  acknowledged: Acknowledged,
): Writer {
  let closed = false;
  let newest = 0;

  async function send(nonce: string): Promise<void> {
    const variables = { channelId: hub.channel(), text: `${nonce} ${hub.isLoud() ? loud : said}`, nonce };
    for (;;) {
      let why: string;
      const began = Date.now();
      try {
        const { data, errors } = await ask(hub.url(), mutation, variables, await hub.token(), answersWithin);
        const message = data?.sendMessage?.message;
        if (message) {
          if (message.text !== variables.text) hub.fail(`${nonce} was acknowledged as another message`);
          acknowledged.set(nonce, message.id);
          newest = began;
          return;
        }
        const code = String(errors?.[0]?.extensions?.code);
        // Whatever else the servers may say while they are disturbed, these are not of the moment.
        if (['BAD_USER_INPUT', 'FORBIDDEN', 'NOT_FOUND', 'UNAUTHENTICATED', 'CONFLICT'].includes(code)) {
          hub.fail(`${nonce} was refused: ${code} ${errors?.[0]?.message}`);
          return;
        }
        why = code;
      } catch (error) {
        // The server is gone, or does not answer: another one will.
        why = (error as Error).name === 'TimeoutError' ? 'no answer' : 'no connection';
      }
      hub.retried(why);
      await sleep(50);
    }
  }

  async function run(): Promise<void> {
    let due = performance.now() + Math.random() * every;
    for (let count = 1; !closed; count += 1) {
      await sleep(Math.max(0, due - performance.now()));
      // What was held up is not made up for: a fault is followed by the same load, not by a flood.
      due = Math.max(due + every, performance.now());
      await send(`${name}-${count}`);
    }
  }

  const running = run();
  return {
    name,
    newest: () => newest,
    async close() {
      closed = true;
      await running;
    },
  };
}
