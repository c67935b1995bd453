import { createHash } from 'node:crypto';
import type { Conversation } from './conversations.ts';

/** One message of a conversation. */
export type Line = {
  who: string;
  /** Whose last message it answers. */
  answers?: string;
  text: string;
  /** What an edit makes of it. */
  edited?: string;
  deleted: boolean;
  /** By which sending it twice makes one message. */
  nonce: string;
};

/** Reads the lines of a conversation; conversations.ts tells their form. */
export function readLines({ lines, people }: Conversation): Line[] {
  const written = lines.split('\n').map((line) => line.trim());
  return written.filter(Boolean).map((line, index) => {
    const [, who, answers, said = ''] = /^(\w+)(?: > (\w+))?: (.+)$/.exec(line) ?? [];
    const stranger = [who, answers].find((name, at) => (at === 0 || name) && !people.includes(name ?? ''));
    if (!who || stranger) throw new Error(`Nobody of ${people.join(', ')} says: ${line}`);
    const [text = '', edited] = said.replace(/ ✂$/, '').split(' ⇒ ');
    const nonce = `seed:${createHash('sha256').update(`${people.join()}\n${index}\n${line}`).digest('hex').slice(0, 16)}`;
    return { who, ...(answers && { answers }), text, ...(edited && { edited }), deleted: said.endsWith(' ✂'), nonce };
  });
}
