-- As many contracts as the setting bench.size says, over ten years, with their payments and versions. Contract n is 10 % below plan, was
-- paid after a month, and has nobody to itself, but for what is planted: of each 1,000 one for each indicator, and of each 10,000 six that a
-- customer and a supplier have with each other alone. plant.ref tells which are which.

set session_replication_role = replica;

insert into procurement.sources (code, name) values ('bench', 'Made for measuring');
insert into procurement.regions (code, name) select 'R' || n, 'Region ' || n from generate_series(0, 16) as n;
select procurement._ensure_year(year) from generate_series(2015, 2024) as year;

create temp table plant (indicator text not null, ref text not null);

create temp table bench_contracts as
select
  n, md5('bench:contract:' || n)::uuid as id, 2015 + n % 10 as year, n % 1000 as kind,
  -- Couples of their own: six contracts in a row.
  n % 10000 between 500 and 505 as is_coupled,
  make_date(2015 + n % 10, 1 + n % 12, 1 + n % 28) as signed_on,
  (1000 + n % 100000)::numeric as plan_sum
from generate_series(1, current_setting('bench.size')::integer) as n;

insert into procurement.companies (bin, name, region_code)
select lpad(n::text, 12, '0'), 'Company ' || n, 'R' || n % 17
from generate_series(0, current_setting('bench.size')::integer / 20) as n
union all
select side || lpad((n / 10000)::text, 11, '0'), 'Couple ' || n / 10000, 'R0'
from bench_contracts, unnest(array['8', '9']) as side
where n % 10000 = 500;

insert into procurement.contracts (
  id, fiscal_year, source_code, source_ref, root_id, version, category, type_code, status_code, region_code,
  customer_bin, supplier_bin, signed_on, plan_sum, contract_sum, actual_sum, first_paid_on
)
select
  id, year, 'bench', n::text, id, 1, 'category ' || n % 500, 'annual', 390, 'R' || n % 17,
  case
    when is_coupled then '8' || lpad((n / 10000)::text, 11, '0')
    else lpad((n::bigint * 7919 % (current_setting('bench.size')::bigint / 250))::text, 12, '0')
  end,
  case
    when is_coupled then '9' || lpad((n / 10000)::text, 11, '0')
    else lpad((n::bigint * 104729 % (current_setting('bench.size')::bigint / 25))::text, 12, '0')
  end,
  signed_on, plan_sum,
  case kind when 1 then plan_sum * 0.6 when 2 then plan_sum * 0.995 else plan_sum * 0.9 end,
  plan_sum * 0.5, signed_on + case kind when 3 then 5 else 30 end
from bench_contracts;

-- Two payments each.
insert into procurement.payments (id, contract_id, source_ref, paid_on, paid_sum)
select
  md5('bench:payment:' || n || ':' || part)::uuid, id, n || ':' || part,
  signed_on + case when part = 1 and kind = 3 then 5 else 30 * part end, plan_sum * 0.4
from bench_contracts, generate_series(1, 2) as part;

-- One of ten has a second version: most 5 % more, some half as much again.
insert into procurement.contracts (
  id, fiscal_year, source_code, source_ref, root_id, parent_id, version, category, type_code, status_code, region_code,
  signed_on, plan_sum, contract_sum, actual_sum
)
select
  md5('bench:contract:' || n || ':2')::uuid, year, 'bench', n || ':2', id, id, 2, 'category ' || n % 500, 'annual', 390,
  'R' || n % 17, signed_on + 60, plan_sum,
  plan_sum * 0.9 * case kind when 4 then 1.5 else 1.05 end, plan_sum * 0.5 * case kind when 5 then 1.5 else 1.05 end
from bench_contracts
where kind in (4, 5) or kind % 10 = 6;

insert into plant (indicator, ref)
select listed.indicator, n::text
from bench_contracts
join (
  values (1, 'super_dumping'), (2, 'minimal_dumping'), (3, 'fast_payment'), (4, 'sum_growth'), (5, 'actual_growth')
) as listed (kind, indicator) using (kind)
union all
select 'partnership', '8' || lpad((n / 10000)::text, 11, '0') from bench_contracts where n % 10000 = 505;

drop table bench_contracts;
reset session_replication_role;
