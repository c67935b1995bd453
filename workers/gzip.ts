import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';

/** Text by gzip, as it comes. */
export function compressed(text: AsyncIterable<string>): AsyncIterable<Uint8Array> {
  const gzip = createGzip();
  const source = Readable.from(text, { objectMode: false });
  source.on('error', (error) => gzip.destroy(error));
  return source.pipe(gzip);
}
