import type { Adapter } from './adapter.ts';
import { generic } from './generic.ts';
import { telegram } from './telegram.ts';
import { whatsapp } from './whatsapp.ts';

/** The adapters, by the platform of each: the rows of platforms.platforms that can be connected to. */
export const adapters = new Map<string, Adapter>(
  [telegram, whatsapp, generic].map((adapter) => [adapter.platform, adapter]),
);
