import { bot, type Section } from './section.ts';

export const commerce: Section = {
  uses: {
    'commerce.products_pkey': `select * from commerce.products where integration_id = ${bot} order by external_id limit 20`,
    'commerce.products_integration_id_article_idx': `select * from commerce.products where integration_id = ${bot} and article = 'a77'`,
    'commerce.variants_pkey': `select * from commerce._variants(${bot}, 'v77', 10)`,
    'commerce.variants_integration_id_product_id_idx': `select * from commerce.variants where integration_id = ${bot} and product_id = 'p77'`,
    'commerce.warehouses_pkey': `select * from commerce.warehouses where integration_id = ${bot} order by external_id limit 20`,
    'commerce.stocks_pkey': `select * from commerce.stocks where integration_id = ${bot} and warehouse_id = 'w7' order by variant_id limit 20`,
    'commerce.stocks_integration_id_variant_id_idx': `select * from commerce.stocks where integration_id = ${bot} and variant_id = 'v77'`,
    'commerce.orders_pkey': `select * from commerce.orders where integration_id = ${bot} and external_id = 'o77'`,
    'commerce.orders_integration_id_ordered_at_idx': `select * from commerce.orders where integration_id = ${bot} order by ordered_at desc, external_id desc limit 20`,
    'commerce.orders_integration_id_status_idx': `select * from commerce.orders where integration_id = ${bot} and status = 'cancelled' order by ordered_at desc, external_id desc limit 20`,
    'commerce.orders_open_idx': `select * from commerce._open_orders(${bot}, 'fbs', 'o77', 10)`,
    'commerce.order_items_pkey': `select * from commerce.order_items where integration_id = ${bot} and order_id = 'o77'`,
    'commerce.marks_pkey': null,
  },
  rows: `
  create temp table good as
    select bot.id, step from bot cross join lateral generate_series(1, case when bot.n = 77 then 2000 else 2 end) as step;
  insert into commerce.products (integration_id, external_id, article, name, fetched_at) select id, 'p' || step, 'a' || step, 'x', now() from good;
  insert into commerce.variants (integration_id, external_id, product_id) select id, 'v' || step, 'p' || step from good;
  insert into commerce.warehouses (integration_id, external_id, name, scheme, fetched_at) select id, 'w' || step, 'x', 'fbs', now() from good;
  insert into commerce.stocks (integration_id, warehouse_id, variant_id, quantity, fetched_at) select id, 'w' || step % 50, 'v' || step, 1, now() from good;
  insert into commerce.orders (integration_id, external_id, scheme, status, ordered_at, fetched_at)
    select id, 'o' || step, 'fbs', (case step % 50 when 0 then 'new' when 1 then 'cancelled' else 'delivered' end)::commerce.order_status, now() - step * interval '1 minute', now()
    from good;
  insert into commerce.order_items (integration_id, order_id, position, quantity) select id, 'o' || step, 1, 1 from good;
  `,
};
