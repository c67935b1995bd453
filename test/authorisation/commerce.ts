import type { Section } from './section.ts';

export const commerce: Section = {
  users: ['member', 'operator', 'service'],
  tables: {
    'commerce.marks': { readers: [], columns: '' },
    'commerce.order_items': {
      readers: ['member'],
      columns: 'integration_id order_id position variant_id article name quantity price',
    },
    'commerce.orders': {
      readers: ['member'],
      columns:
        'integration_id external_id number scheme status platform_status warehouse_id total currency ordered_at fetched_at',
    },
    'commerce.products': {
      readers: ['member'],
      columns:
        'integration_id external_id article name brand category price currency picture_url changed_at fetched_at gone_at',
    },
    'commerce.stocks': {
      readers: ['member'],
      columns: 'integration_id warehouse_id variant_id quantity reserved fetched_at',
    },
    'commerce.variants': { readers: ['member'], columns: 'integration_id external_id product_id size barcodes' },
    'commerce.warehouses': { readers: ['member'], columns: 'integration_id external_id name scheme fetched_at' },
  },
  functions: {
    'commerce.request_sync(uuid,platforms.run_kind)': ['member'],
    'commerce.variant(commerce.order_items)': ['member'],
  },
  privateFunctions: [
    'commerce._ask(uuid,platforms.run_kind)',
    'commerce._end_stream(platforms.runs,jsonb)',
    'commerce._enqueue(platforms.runs,timestamp with time zone,text)',
    'commerce._go_on(uuid,integer)',
    'commerce._has_job(uuid)',
    'commerce._is_shop(text)',
    'commerce._not_fetched(uuid,integer,text,integer,double precision,double precision,boolean,boolean)',
    'commerce._open(uuid)',
    'commerce._open_orders(uuid,commerce.scheme,text,integer)',
    'commerce._plan_sync()',
    'commerce._step(platforms.runs)',
    'commerce._store(uuid,integer,jsonb)',
    'commerce._store_orders(platforms.runs,timestamp with time zone,jsonb)',
    'commerce._store_products(platforms.runs,timestamp with time zone,jsonb)',
    'commerce._store_statuses(platforms.runs,timestamp with time zone,jsonb)',
    'commerce._store_stocks(platforms.runs,timestamp with time zone,jsonb,jsonb)',
    'commerce._streams(platforms.run_kind)',
    'commerce._tell(platforms.runs,jsonb)',
    'commerce._turn(uuid,double precision)',
    'commerce._variants(uuid,text,integer)',
    'commerce.sync_due()',
  ],
};
