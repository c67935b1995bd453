// Made from schema.sql by `npm run generate`.
import { mutation, query } from '../callers.ts';
import { arrayOf, keyOf, optional, orNull, pg, row, type ValueOf } from '../kinds.ts';
import { PlatformRun, RunKind } from './platforms.ts';

/** One line of an order. */
export const OrderItem = row('commerce.order_items', {
  /** The shop. */
  integrationId: pg.uuid,
  /** The order's id on the platform. */
  orderId: pg.text,
  /** Its place in the order, from 1. */
  position: pg.int4,
  /** The variant's id there. */
  variantId: orNull(pg.text),
  /** What the seller calls it. */
  article: orNull(pg.text),
  /** What it was called when it was ordered. */
  name: orNull(pg.text),
  /** How many. */
  quantity: pg.int4,
  /** What one of them costs; null where that is not told. */
  price: orNull(pg.numeric),
});
export type OrderItem = ValueOf<typeof OrderItem>;

/** A product as it lies on a shelf: one size of it. What is in stock and what is ordered are variants. */
export const Variant = row('commerce.variants', {
  /** The shop. */
  integrationId: pg.uuid,
  /** Its id on the platform. */
  externalId: pg.text,
  /** The product's id there. */
  productId: pg.text,
  /** Which size; null where there is one only. */
  size: orNull(pg.text),
  /** Its barcodes. */
  barcodes: arrayOf(pg.text),
});
export type Variant = ValueOf<typeof Variant>;

/**
 * Asks for a run that fetches what a shop sells, has and was ordered; for its owner. One of a kind is at work at a
 * time: asked for again, it is the same run. `FULL` fetches everything, `INCREMENTAL` what has changed, `PRODUCTS` and
 * `ORDERS` a part of that.
 */
export const requestSync = mutation('commerce.request_sync', {
  integrationId: pg.uuid,
  kind: optional(RunKind),
}, PlatformRun);

/** What was ordered; null where the shop no longer sells it. */
export const variant = query('commerce.variant', {
  item: keyOf(OrderItem, 'integrationId', 'orderId', 'position'),
}, orNull(Variant));
