import type { Readable } from 'node:stream';
import sharp from 'sharp';

// What people send is read by nothing but these.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif'].map((format) => `VipsForeignLoad${format}`),
});
// Jobs run beside each other already, and nothing is read twice.
sharp.concurrency(1);
sharp.cache(false);

const seconds = 60;

export type Preview = { data: Buffer; width: number; height: number; image: { width: number; height: number } };

/** It is no image, a broken one, or one of too many pixels. */
export class NoImage extends Error {}

/**
 * Makes a smaller image, upright, without what cameras write into theirs. Of one that moves, the first picture.
 *
 * @param pixels the most that the image may have: its header says, before memory is taken for them.
 * @param size the longest side of the preview.
 * @throws NoImage; whatever the source throws.
 */
export async function makePreview(from: Readable, pixels: number, size: number): Promise<Preview> {
  const image = sharp({ limitInputPixels: pixels, failOn: 'error', sequentialRead: true });
  let lost: Error | undefined;
  from.once('error', (error) => {
    lost = error;
    image.destroy(error);
  });
  try {
    from.pipe(image);
    const { autoOrient } = await image.metadata();
    const { data, info } = await image
      .timeout({ seconds })
      .autoOrient()
      .resize(size, size, { fit: 'inside', withoutEnlargement: true })
      .webp({ quality: 80 })
      .toBuffer({ resolveWithObject: true });
    return { data, width: info.width, height: info.height, image: autoOrient };
  } catch (error) {
    if (lost) throw lost;
    throw new NoImage((error as Error).message, { cause: error });
  } finally {
    from.destroy();
  }
}
