import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Span } from '../functions/span.ts';

/** A request over HTTP while it is being answered. */
export type Exchange = { request: IncomingMessage; response: ServerResponse; id: string; span?: Span | undefined };

/** What is answered. */
export type Reply = { status: number; headers: Record<string, string>; body: string };

export function json(status: number, value: unknown): Reply {
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body: JSON.stringify(value) };
}

export function refuse(
  status: number,
  code: string,
  message: string,
  headers: Record<string, string> = {},
  extensions: Record<string, unknown> = {},
): Reply {
  const reply = json(status, { errors: [{ message, extensions: { ...extensions, code } }] });
  const isLast = status === 413 || status === 503;
  return { ...reply, headers: { ...reply.headers, ...headers, ...(isLast && { connection: 'close' }) } };
}
