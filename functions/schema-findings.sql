-- What the objects that a schema file states lack. $1: [{kind, name, line}, …] of its statements. (schema-findings.ts)
--
-- - A caller's search_path must not decide what the names in a function mean. Where the body is standard SQL ("return …", "begin
--   atomic") its names are bound when the function is made, and run with the caller's rights it may do without the setting, which
--   would keep Postgres from inlining it.
-- - A foreign key without an index makes deleting what it refers to read the whole table.
-- - An index is not needed where another one of the same kind begins with its columns; of two that are alike, the later one.

with stated as (
  select * from jsonb_to_recordset($1) as stated (kind text, name text, line integer)
),
tables as (
  select stated.name, stated.line, class.*
  from stated join pg_catalog.pg_class as class on class.oid = to_regclass(stated.name)
  where stated.kind = 'table'
),
types as (
  select stated.name, stated.line, type.*
  from stated join pg_catalog.pg_type as type on type.oid = to_regtype(stated.name)
  where stated.kind = 'type'
),
functions as (
  select stated.name, stated.line, routine.*
  from stated join pg_catalog.pg_proc as routine on routine.oid = to_regprocedure(stated.name)
  where stated.kind = 'function'
),
used_types as (
  select owner.name, owner.line, atttypid as type,
    case when pg_get_serial_sequence(owner.name, attname) is not null and attidentity = '' then 'serial' end as written
  from (select name, line, oid from tables union all select name, line, typrelid from types) as owner
  join pg_catalog.pg_attribute on attrelid = owner.oid and attnum > 0 and attislocal and not attisdropped
  union
  select name, line, typbasetype, null from types
  union
  select name, line, unnest(coalesce(proallargtypes, proargtypes::oid[]) || prorettype), null from functions
),
indexes as (
  select tables.oid as table, tables.name as table_name, tables.line as table_line, index.*,
    pg_get_expr(indpred, indrelid) as condition,
    array(
      select concat_ws(' ', pg_get_indexdef(indexrelid, n, false), indoption[n - 1], indclass[n - 1], indcollation[n - 1])
      from generate_series(1, indnkeyatts) as n
    ) as columns
  from tables join pg_catalog.pg_index as index on indrelid = tables.oid
  join pg_catalog.pg_class as class on class.oid = indexrelid
  join pg_catalog.pg_am as method on method.oid = class.relam and amname = 'btree'
  where not tables.relispartition
),
named_indexes as (
  select indexes.*, coalesce(stated.line, table_line) as line,
    case when indisprimary then 'the primary key of ' || table_name else quote_ident(relname) end as name
  from indexes join pg_catalog.pg_class as class on class.oid = indexrelid
  left join stated on stated.kind = 'index' and stated.name = quote_ident(relname)
)
select line, 'constraint-name' as rule, 'a check of ' || name || ' has no name' as message
from (
  select name, line, relname as owner, conname, conislocal
  from tables join pg_catalog.pg_constraint on conrelid = tables.oid and contype = 'c'
  union all
  select name, line, typname, conname, true
  from types join pg_catalog.pg_constraint on contypid = types.oid and contype = 'c'
) as checks
where conislocal and starts_with(conname, owner || '_') and conname ~ '_check[0-9]*$'
union all
select line, 'type', format('%s has %s; use %s', used.name, better.type, better.use)
from used_types as used join pg_catalog.pg_type as type on type.oid = used.type
left join pg_catalog.pg_type as element on element.oid = type.typelem and type.typcategory = 'A'
join (values
  ('timestamp', 'timestamptz', 'timestamp'),
  ('varchar', 'text with a check', 'varchar'),
  ('bpchar', 'text with a check', 'char'),
  ('json', 'jsonb', 'json'),
  ('serial', 'integer generated always as identity', 'serial')
) as better (name, use, type) on better.name = coalesce(written, element.typname, type.typname)
union all
select line, 'search-path', name || ' lacks set search_path = '''''
from functions
where 'search_path=""' <> all (coalesce(proconfig, '{}')) and (prosqlbody is null or prosecdef)
union all
select line, 'comment', name || ' has no comment'
from functions
where proname !~ '^_' and obj_description(oid, 'pg_proc') is null
union all
select line, 'comment', 'table ' || name || ' has no comment'
from tables
where not relispartition and obj_description(oid, 'pg_class') is null
union all
select line, 'comment', format('column %s of %s is granted and has no comment', quote_ident(attname), name)
from tables join pg_catalog.pg_attribute on attrelid = oid and attnum > 0 and not attisdropped
where not relispartition and col_description(oid, attnum) is null and exists (
  select grantee from aclexplode(relacl) where grantee <> relowner
  union all
  select grantee from aclexplode(attacl) where grantee <> relowner
)
union all
select line, 'comment', 'schema ' || name || ' has no comment'
from stated
where kind = 'schema' and obj_description(to_regnamespace(name), 'pg_namespace') is null
union all
select distinct line, 'schema-usage', format('%s is granted to %s, who may not use schema %I', name, grantee::regrole, nspname)
from (
  select name, line, relnamespace as space, relowner as owner, relacl as acl from tables
  union all
  select name, line, relnamespace, relowner, attacl
  from tables join pg_catalog.pg_attribute on attrelid = oid and attnum > 0
  union all
  select name, line, pronamespace, proowner, proacl from functions
) as object join pg_catalog.pg_namespace on pg_namespace.oid = space, aclexplode(acl) as given
where grantee not in (0, owner) and not has_schema_privilege(grantee, space, 'usage')
union all
select line, 'row-security', tables.name || ' is in a schema that others may use; enable row level security'
from tables join pg_catalog.pg_namespace as space on space.oid = relnamespace
where not relrowsecurity and exists (select from aclexplode(nspacl) as given where given.grantee <> nspowner)
union all
select line, 'foreign-key-index', format('no index of %s begins with %s, which refers to another table', name, columns)
from tables join pg_catalog.pg_constraint on conrelid = tables.oid and contype = 'f' and conparentid = 0
cross join lateral (
  select string_agg(quote_ident(attname), ', ' order by position) as columns
  from unnest(conkey) with ordinality as key (number, position)
  join pg_catalog.pg_attribute on attrelid = conrelid and attnum = number
) as key
where not exists (
  select from indexes
  where indexes.table = conrelid and (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey
    and (condition is null or condition in (
      select format('(%I IS NOT NULL)', attname) from pg_catalog.pg_attribute
      where attrelid = conrelid and attnum = any (conkey)
    ))
)
union all
select index.line, 'redundant-index', index.name || ' is not needed beside ' || min(other.name)
from named_indexes as index join named_indexes as other
  on other.table = index.table and other.indexrelid <> index.indexrelid
  and other.condition is not distinct from index.condition
  and other.columns[1:cardinality(index.columns)] = index.columns
where index.indnkeyatts = index.indnatts and case
  when index.indisunique
  then other.indisunique and other.columns = index.columns and other.indexrelid < index.indexrelid
  else other.indisunique or other.columns <> index.columns or other.indexrelid < index.indexrelid
end
group by index.indexrelid, index.line, index.name;
