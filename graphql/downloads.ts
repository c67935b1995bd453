import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { QueryConfig, QueryResult } from 'pg';
import { exportFileOf } from '../functions/account-exports.ts';
import { type Exchange, type Reply, refuse } from './exchange.ts';

/** Where downloads are: the rest of the path is the token of a link. */
export const downloadPath = '/exports/';

/**
 * Serves exports by their links: whoever has one needs nothing else. Nothing is kept by caches on the way.
 *
 * @param ask runs a query as plinth_server.
 * @param open reads the file of an export.
 */
export function openDownloads(
  ask: (query: QueryConfig) => Promise<QueryResult>,
  open: (file: string) => Promise<Readable>,
) {
  return async ({ request, response }: Exchange, path: string): Promise<Reply | undefined> => {
    if (request.method !== 'GET') {
      return refuse(405, 'BAD_REQUEST', 'A download is read by GET.', { allow: 'GET' });
    }
    const token = path.slice(downloadPath.length);
    const file = /^[0-9a-f]{64}$/.test(token) ? await exportFileOf(ask, token) : undefined;
    if (file === undefined) return refuse(404, 'NOT_FOUND', 'The link is good no longer; make another one.');
    const content = await open(file);
    response.writeHead(200, {
      'content-type': 'application/gzip',
      'content-disposition': 'attachment; filename="export.jsonl.gz"',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
    // Who goes away, or a file that is broken, ends the connection: the client sees that it is not whole.
    await pipeline(content, response).catch(() => response.destroy());
    return undefined;
  };
}
