import type { Page, Scheme, Stream } from '../../functions/commerce.ts';
import type { Link } from './adapter.ts';
import type { Ask } from './shop-api.ts';

/** What a shop's API is asked with. */
export type ShopLink = Pick<Link, 'credentials' | 'settings'> & { ask: Ask };

/** What a page is wanted for, and what we know already. */
export type Walk = {
  /** What the last page of the last walk gave as `mark`; null where everything is wanted. */
  mark: unknown;
  /** The ids of our variants after this one, in order. */
  variants(after: string, most: number): Promise<string[]>;
  /** The ids of orders that may change yet, after this one, in order. */
  openOrders(scheme: Scheme, after: string, most: number): Promise<string[]>;
};

/**
 * What speaks the language of a platform that people sell on. A new one is a row of platforms.platforms, one of these in shops.ts, and
 * its test. What is stored, when runs begin and what is tried again is not its to decide. A platform may have an Adapter, too: for its chats.
 */
export type Shop = {
  /** The key of its row. */
  platform: string;
  /** What it is called in errors. */
  name: string;
  /** Tries the credentials. @throws Refused */
  check(link: ShopLink): Promise<{ account?: string; name?: string }>;
  /**
   * Fetches a page of a stream. Asked twice for the same page, it gives the same or something later.
   *
   * @param at the `next` of the page before it; null at the beginning.
   * @throws Refused where it cannot be had; what of it cannot be read is among the `problems` of the page.
   */
  page(stream: Stream, at: unknown, link: ShopLink, walk: Walk): Promise<Page>;
};
