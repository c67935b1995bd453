import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { GraphQLError } from 'graphql';
import { Refusal } from '../functions/refusal.ts';
import type { Params } from './respond.ts';

/** Documents that clients name by their SHA-256 instead of sending them. */
export type TrustedDocuments = {
  /** The parameters with the document in place of its name; an error where it is not trusted or not known. */
  resolve(params: Params): Params | GraphQLError;
};

/**
 * Reads trusted documents.
 *
 * @param file a JSON object {hash: document}; the hash is the document's SHA-256 in hex, with or without `sha256:` before it.
 * @param only refuse every other document.
 * @throws Refusal for a file that is not that.
 */
export function readTrustedDocuments(file: string | undefined, only: boolean): TrustedDocuments {
  const documents = new Map(file ? Object.entries(readJson(file)) : []);
  for (const [name, text] of documents) {
    const hash = createHash('sha256').update(text).digest('hex');
    if (name !== hash && name !== `sha256:${hash}`) {
      throw new Refusal(`${file} calls a document ${name}, but its SHA-256 is ${hash}.`, {
        remedy: 'Write the file anew from the documents that the clients are built with.',
      });
    }
    documents.set(hash, text);
  }
  const texts = new Set(documents.values());

  return {
    resolve(params) {
      const name = nameOf(params);
      if (name !== undefined && params.query === undefined) {
        const text = documents.get(name.replace(/^sha256:/, ''));
        // Apollo's clients send the document itself after this very message.
        if (text === undefined) return refused('PersistedQueryNotFound', 'PERSISTED_QUERY_NOT_FOUND');
        return { ...params, query: text };
      }
      if (only && typeof params.query === 'string' && !texts.has(params.query)) {
        return refused('Only trusted documents are answered: name one by its hash (documentId).', 'FORBIDDEN');
      }
      return params;
    },
  };
}

function refused(message: string, code: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code } });
}

/** `documentId` is the GraphQL over HTTP proposal's name for it, `extensions.persistedQuery` Apollo's. */
function nameOf({ documentId, extensions }: Params): string | undefined {
  if (typeof documentId === 'string') return documentId;
  const { persistedQuery } = (extensions ?? {}) as { persistedQuery?: { sha256Hash?: unknown } };
  return typeof persistedQuery?.sha256Hash === 'string' ? persistedQuery.sha256Hash : undefined;
}

function readJson(file: string): Record<string, string> {
  try {
    const parsed = JSON.parse(readFileSync(file, 'utf8'));
    if (Object.values(parsed).every((text) => typeof text === 'string')) return parsed;
    throw new Error('it is not an object of texts');
  } catch (cause) {
    throw new Refusal(`The trusted documents in ${file} cannot be read: ${(cause as Error).message}`, {
      remedy: 'It is a JSON object {hash: document}; see docs/settings.md.',
      cause,
    });
  }
}
