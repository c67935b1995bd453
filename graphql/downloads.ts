import { isIP } from 'node:net';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GraphQLError } from 'graphql';
import type { QueryConfig, QueryResult } from 'pg';
import { exportFileOf } from '../functions/account-exports.ts';
import { addressOf } from './address.ts';
import { type Exchange, type Reply, refuse } from './exchange.ts';
import type { Gate } from './gate.ts';

/** Where downloads are: the rest of the path is the token of a link. */
export const downloadPath = '/exports/';

type Turned = { code: string; http: { status: number; headers: Record<string, string> } };

/**
 * Serves exports by their links: whoever has one needs nothing else. Nothing is kept by caches on the way.
 *
 * @param ask runs a query as plinth_server.
 * @param open reads the file of an export.
 * @param gate counts a download as it does every request: who guesses links is soon turned away.
 */
export function openDownloads({
  ask,
  open,
  gate,
  trustedProxies,
}: {
  ask: (query: QueryConfig) => Promise<QueryResult>;
  open: (file: string) => Promise<Readable>;
  gate: Pick<Gate, 'arrive'>;
  trustedProxies: number;
}) {
  return async ({ request, response, id }: Exchange, path: string): Promise<Reply | undefined> => {
    const address = addressOf(request, trustedProxies);
    const claims: Record<string, string> = isIP(address) ? { address } : {};
    try {
      gate.arrive({ caller: { role: 'anonymous', claims }, id, signal: new AbortController().signal });
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      const { http, code, ...extensions } = error.extensions as Turned;
      return refuse(http.status, code, error.message, http.headers, extensions);
    }
    if (request.method !== 'GET') {
      return refuse(405, 'BAD_REQUEST', 'A download is read by GET.', { allow: 'GET' });
    }
    const token = path.slice(downloadPath.length);
    const file = /^[0-9a-f]{64}$/.test(token) ? await exportFileOf(ask, token) : undefined;
    if (file === undefined) return refuse(404, 'NOT_FOUND', 'The link is good no longer; make another one.');
    const content = await open(file);
    const [ending, type] = kindOf(file);
    response.writeHead(200, {
      'content-type': type,
      'content-disposition': `attachment; filename="export${ending}"`,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
    // Who goes away, or a file that is broken, ends the connection: the client sees that it is not whole.
    await pipeline(content, response).catch(() => response.destroy());
    return undefined;
  };
}

const gzip = 'application/gzip';
const types: Record<string, string> = {
  '.jsonl.gz': gzip,
  '.csv.gz': gzip,
  '.xlsx': 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
};

/** How the name of a download ends, and what it is. */
function kindOf(file: string): [ending: string, type: string] {
  return Object.entries(types).find(([ending]) => file.includes(ending)) ?? ['', 'application/octet-stream'];
}
