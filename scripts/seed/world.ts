import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';

/** The phone numbers are of the range that is kept for fiction. */
const person = z.strictObject({
  username: z.string(),
  displayName: z.string(),
  phone: z.string(),
  location: z.string(),
  bio: z.string(),
});

const conversation = z.strictObject({
  /** A room, made by the first of its people; without it, a direct chat of two. */
  room: z.strictObject({ name: z.string(), description: z.string(), isPublic: z.boolean() }).optional(),
  people: z.array(z.string()),
  /** How many of the last messages someone has not read, all of them from others; who is not named has read all. */
  unread: z.record(z.string(), z.int()).default({}),
  /**
   * A line is `who: text`; `who > other: text` answers the last thing that other said; `⇒` parts what was written first from what
   * an edit made of it; a line that ends with ✂ is deleted after it was sent.
   */
  lines: z.array(z.string()),
});

export type Person = z.output<typeof person>;
export type Conversation = z.output<typeof conversation>;

/** Who lives in the demonstration world, and what they say. */
export const { people, conversations } = z
  .strictObject({ people: z.array(person), conversations: z.array(conversation) })
  .parse(JSON.parse(readFileSync(path.join(import.meta.dirname, 'world.json'), 'utf8')));

/** One message of a conversation. */
export type Line = {
  who: string;
  /** Whose last message it answers. */
  answers: string | undefined;
  text: string;
  /** What an edit makes of it. */
  edited: string | undefined;
  deleted: boolean;
  /** By which sending it twice makes one message. */
  nonce: string;
};

export function readLines({ lines, people }: Conversation): Line[] {
  return lines.map((line, index) => {
    const [, who = '', answers, said = ''] = /^(\w+)(?: > (\w+))?: (.+)$/.exec(line) ?? [];
    if (![who, answers ?? who].every((name) => people.includes(name)))
      throw new Error(`Nobody of ${people.join(', ')} says: ${line}`);
    const [text = '', edited] = said.replace(/ ✂$/, '').split(' ⇒ ');
    const nonce = `seed:${createHash('sha256').update(`${people.join()}\n${index}\n${line}`).digest('hex').slice(0, 16)}`;
    return { who, answers, text, edited, deleted: said.endsWith(' ✂'), nonce };
  });
}
