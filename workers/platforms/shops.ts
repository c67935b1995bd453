import { ozon } from './ozon.ts';
import type { Shop } from './shop.ts';
import { wildberries } from './wildberries.ts';

/** The shops, by the platform of each. */
export const shops = new Map<string, Shop>([wildberries, ozon].map((shop) => [shop.platform, shop]));
