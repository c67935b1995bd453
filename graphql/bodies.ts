import type { IncomingMessage } from 'node:http';
import type { Hold } from './shares.ts';

/** A body that was read; why not, otherwise. `gone` is a client that broke off. */
export type Body = { text: string } | { refused: 'too large' | 'too many' | 'gone' };

// Bodies up to this size are not counted: those who ask plainly are answered while others send much.
const free = 16 * 1024;

/**
 * Reads the bodies of requests and counts what they hold, until each is answered.
 *
 * @param most the largest body, in bytes.
 * @param hold gives larger ones their memory.
 */
export function openBodies(most: number, hold: Hold) {
  /**
   * @param sender whose share it counts against.
   * @param answered calls back when the request is answered, or its client gone.
   */
  return (request: IncomingMessage, sender: string, answered: (then: () => void) => void): Promise<Body> => {
    const announced = Number(request.headers['content-length'] ?? 0);
    if (announced > most) return Promise.resolve({ refused: 'too large' });
    return new Promise((resolve) => {
      let buffer = Buffer.allocUnsafe(Math.min(Math.max(announced, 1024), free));
      let size = 0;
      let counted = 0;
      let isOpen = true;
      answered(() => {
        isOpen = false;
        hold(sender, -counted);
      });
      const refuse = (refused: 'too large' | 'too many'): void => {
        request.pause();
        resolve({ refused });
      };
      // Doubled when it is full: chunks of one byte each would hold a hundred times what they bring.
      const grow = (needed: number): boolean => {
        const length = Math.min(most, Math.max(needed, buffer.length * 2));
        if (length > free) {
          if (!hold(sender, length - counted)) return false;
          counted = length;
        }
        const grown = Buffer.allocUnsafe(length);
        buffer.copy(grown, 0, 0, size);
        buffer = grown;
        return true;
      };
      request.on('data', (chunk: Buffer) => {
        if (!isOpen) return;
        const needed = size + chunk.length;
        if (needed > most) return refuse('too large');
        if (needed > buffer.length && !grow(needed)) return refuse('too many');
        chunk.copy(buffer, size);
        size = needed;
      });
      request.on('end', () => {
        resolve({ text: buffer.toString('utf8', 0, size) });
        buffer = Buffer.alloc(0);
      });
      request.on('error', () => resolve({ refused: 'gone' }));
    });
  };
}
