-- What a schema file makes of a database, as rows of text: two databases with the same rows have the same schema. (schema-adopt.ts)
--
-- Left out: the order of columns and with it bodies in standard SQL, where `select *` stands for them (adopting makes those anew from
-- the file); what the engines of jobs make for themselves; objects of extensions, partitions and what belongs to them (upkeep makes those), data, roles, and Plinth's own record. Privileges stand in one order, and those that an object has by default like those granted.
with spaces as (
  select * from pg_catalog.pg_namespace
  where nspname !~ '^pg_' and nspname not in ('information_schema', 'graphile_worker', 'pgboss')
),
foreign_to_us (classid, objid) as (
  select classid, objid from pg_catalog.pg_depend where deptype = 'e'
  union
  select 'pg_catalog.pg_class'::regclass, oid from pg_catalog.pg_class where relispartition
  union
  select 'pg_catalog.pg_class'::regclass, indexrelid
  from pg_catalog.pg_index join pg_catalog.pg_class as partition on partition.oid = indrelid and relispartition
),
relations as (
  select class.*, format('%I.%I', nspname, relname) as name
  from pg_catalog.pg_class as class join spaces on spaces.oid = relnamespace
  where ('pg_catalog.pg_class'::regclass, class.oid) not in (select * from foreign_to_us)
    and relname !~ '^schema_versions' and relkind <> 't'
),
rights (classid, objid, objsubid, list) as (
  select classid, objid, objsubid, string_agg(item::text, ' ' order by item::text)
  from (
    select 'pg_catalog.pg_namespace'::regclass, oid, 0, coalesce(nspacl, acldefault('n', nspowner)) from spaces
    union all
    select 'pg_catalog.pg_class'::regclass, oid, 0,
      coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)) from relations
    union all
    select 'pg_catalog.pg_class'::regclass, attrelid, attnum, attacl from pg_catalog.pg_attribute
    union all
    select 'pg_catalog.pg_type'::regclass, oid, 0, coalesce(typacl, acldefault('T', typowner)) from pg_catalog.pg_type
    union all
    select 'pg_catalog.pg_proc'::regclass, oid, 0, coalesce(proacl, acldefault('f', proowner)) from pg_catalog.pg_proc
  ) as objects (classid, objid, objsubid, acl)
  cross join unnest(acl) as item
  group by classid, objid, objsubid
),
picture (kind, name, state, classid, objid, objsubid) as (
  select 'schema', quote_ident(nspname), nspowner::regrole::text, 'pg_catalog.pg_namespace'::regclass, oid, 0 from spaces
  union all
  select case relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view' when 'i' then 'index' when 'I' then 'index'
      when 'c' then 'type' else 'table' end, name,
    concat_ws(' ', relkind, relowner::regrole, reloptions, case when relrowsecurity then 'row level security' end,
      case when relforcerowsecurity then 'forced' end, pg_get_indexdef(oid), pg_get_partkeydef(oid),
      case when relkind in ('v', 'm') then pg_get_viewdef(oid) end,
      (select case when not indisvalid then 'invalid' end from pg_catalog.pg_index where indexrelid = relations.oid)),
    'pg_catalog.pg_class'::regclass, oid, 0
  from relations
  union all
  select 'column', format('%s.%I', relations.name, attname),
    concat_ws(' ', format_type(atttypid, atttypmod), case when attnotnull then 'not null' end,
      nullif(attidentity, ''), nullif(attgenerated, ''), 'default ' || pg_get_expr(adbin, adrelid)),
    'pg_catalog.pg_class'::regclass, attrelid, attnum
  from pg_catalog.pg_attribute join relations on relations.oid = attrelid and relkind not in ('i', 'I', 'S')
  left join pg_catalog.pg_attrdef on adrelid = attrelid and adnum = attnum
  where attnum > 0 and not attisdropped
  union all
  select 'constraint', format('%I on %s', conname, coalesce(relations.name, contypid::regtype::text)), pg_get_constraintdef(con.oid),
    'pg_catalog.pg_constraint'::regclass, con.oid, 0
  from pg_catalog.pg_constraint as con join spaces on spaces.oid = connamespace
  left join relations on relations.oid = conrelid
  where contype <> 'n' and (relations.oid is not null or contypid <> 0)
  union all
  select 'type', type.oid::regtype::text,
    concat_ws(' ', typowner::regrole, typtype, case when typtype = 'd' then format_type(typbasetype, typtypmod) end,
      case when typnotnull then 'not null' end, typdefault,
      (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_catalog.pg_enum where enumtypid = type.oid)),
    'pg_catalog.pg_type'::regclass, type.oid, 0
  from pg_catalog.pg_type as type join spaces on spaces.oid = typnamespace
  where typtype in ('e', 'd', 'r') and ('pg_catalog.pg_type'::regclass, type.oid) not in (select * from foreign_to_us)
  union all
  select 'function', routine.oid::regprocedure::text,
    case when prosqlbody is null and prokind <> 'a' then concat_ws(' ', proowner::regrole, pg_get_functiondef(routine.oid))
    else concat_ws(' ', proowner::regrole, pg_get_function_arguments(routine.oid), pg_get_function_result(routine.oid), provolatile, proparallel,
      case when prosecdef then 'security definer' end, case when proisstrict then 'strict' end, prorows, procost, proconfig) end,
    'pg_catalog.pg_proc'::regclass, routine.oid, 0
  from pg_catalog.pg_proc as routine join spaces on spaces.oid = pronamespace
  where ('pg_catalog.pg_proc'::regclass, routine.oid) not in (select * from foreign_to_us)
  union all
  select 'trigger', format('%I on %s', tgname, relations.name), concat_ws(' ', tgenabled, pg_get_triggerdef(tg.oid)),
    'pg_catalog.pg_trigger'::regclass, tg.oid, 0
  from pg_catalog.pg_trigger as tg join relations on relations.oid = tgrelid
  where not tgisinternal
  union all
  select 'policy', format('%I on %s', polname, relations.name),
    concat_ws(' ', polcmd, polpermissive, array(select rolname from pg_catalog.pg_roles where oid = any (polroles) order by 1),
      pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)),
    'pg_catalog.pg_policy'::regclass, policy.oid, 0
  from pg_catalog.pg_policy as policy join relations on relations.oid = polrelid
)
select picture.kind, picture.name,
  concat_ws(E'\n', state, 'privileges: ' || rights.list, 'comment: ' || nullif(col_or_object.comment, '')) as state
from picture
left join rights using (classid, objid, objsubid)
left join lateral (
  select description as comment from pg_catalog.pg_description as told
  where told.classoid = picture.classid and told.objoid = picture.objid and told.objsubid = picture.objsubid
) as col_or_object on true
union all
select 'default privileges', concat_ws(' ', defaclrole::regrole, nspname, defaclobjtype),
  (select string_agg(item::text, ' ' order by item::text) from unnest(defaclacl) as item)
from pg_catalog.pg_default_acl left join spaces on spaces.oid = defaclnamespace
order by 1, 2
