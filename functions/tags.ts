import { nearestName } from './nearest-name.ts';
import { Refusal } from './refusal.ts';

/** What a comment says to the API, beside its text. */
export type Tags = {
  /** What to call it in the API. */
  name?: string;
  /** On a foreign key: what to call the way back. */
  inverse?: string;
  /** Keep it out of the API. */
  hide?: true;
  /** On a function: it never returns null. */
  notNull?: true;
  /** The order of its connection unless a client asks for another: `active_at desc`. */
  order?: string;
  /** What a call costs, in rows, where it is more than it returns. */
  cost?: string;
  /** On a view: it is meant to be read with its owner's rights, past the row level security of what it reads. */
  asOwner?: true;
  /** On a function: an argument that the server hashes before Postgres sees it: `password [salted by schema.function(argument)]`. */
  argon2id?: string;
  /** On a domain: the server signs the value, and the API gives the token. */
  jwt?: true;
  /** On a domain: the server delivers the value after the commit, and the API does not show it. */
  deliver?: true;
  /** On a domain over uuid: the value is a part of a multipart request, by the key that it has been received under. */
  upload?: true;
  /** On a domain: the server makes the value an address to put bytes to. */
  presign?: true;
  /** On a domain over jsonb: the server encrypts the value before Postgres sees it. */
  sealed?: true;
  /** On a function over events.event: the function that gives the right to listen, and the topics: `schema.function`. */
  subscription?: string;
  /** On a function or foreign key: what it gives is the same for whoever may have it. */
  shared?: true;
  /** On a function: what it gives to callers without a token is the same until an event of this topic. */
  keptUntil?: string;
  /** On a mutation: the server gathers its calls, and hands the last of each session to this function once a second. */
  gathered?: string;
};

const withValue = ['name', 'inverse', 'order', 'cost', 'argon2id', 'subscription', 'keptUntil', 'gathered'];
const withoutValue = ['hide', 'notNull', 'jwt', 'deliver', 'upload', 'presign', 'sealed', 'shared', 'asOwner'];

/**
 * Takes a comment apart: its text is the documentation, and each line that begins with @ is a tag.
 *
 * @param comment the comment as it stands in the catalog.
 * @param object what it is a comment on, for the message.
 * @throws Refusal for a tag that there is not, or one whose value is missing.
 */
export function readComment(comment: string | null, object: string): { description: string | undefined; tags: Tags } {
  const lines = (comment ?? '').split('\n');
  const tags: Record<string, string | true> = {};
  for (const line of lines.filter((each) => each.startsWith('@'))) {
    const [, name = '', value = ''] = /^@(\S*)\s*(.*)$/.exec(line) ?? [];
    if (withValue.includes(name) ? value === '' : !withoutValue.includes(name) || value !== '') {
      const known = [...withValue, ...withoutValue];
      const near = known.includes(name) ? undefined : nearestName(name, known);
      throw new Refusal(`The comment on ${object} has a tag that means nothing: ${line}`, {
        remedy: `${near ? `Did you mean @${near}? ` : ''}Tags are ${[...withValue.map((tag) => `@${tag} …`), ...withoutValue.map((tag) => `@${tag}`)].join(', ')}.`,
      });
    }
    tags[name] = value === '' ? true : value.trim();
  }
  const description = lines
    .filter((line) => !line.startsWith('@'))
    .join('\n')
    .trim();
  return { description: description || undefined, tags: tags as Tags };
}
