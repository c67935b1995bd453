import { createHash, timingSafeEqual } from 'node:crypto';

/** Whether two secrets are the same; takes as long whatever they are, and however long. */
export function isSame(one: string | undefined, other: string | undefined): boolean {
  const [first, second] = [one, other].map((text) =>
    createHash('sha256')
      .update(text ?? '')
      .digest(),
  ) as [Buffer, Buffer];
  return timingSafeEqual(first, second) && !!one && !!other;
}
