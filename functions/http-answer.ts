/** An answer has more bytes than it may. */
export class TooLong extends Error {}

/** The whole of an answer. @throws TooLong past so many bytes */
export async function textOf({ body }: Response, mostBytes: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body ?? []) {
    bytes += part.length;
    if (bytes > mostBytes) throw new TooLong(`The answer has more than ${mostBytes} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/**
 * In how many seconds it may be asked again, as a header says it: so many, or a date (Retry-After, RFC 9110, 10.2.3); undefined where it
 * says neither.
 */
export function secondsToWait(header: string | null): number | undefined {
  if (!header) return;
  const seconds = /^\d+(\.\d+)?$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(seconds, 0) : undefined;
}
